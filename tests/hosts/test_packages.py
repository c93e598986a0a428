"""Archives of a user's own code: what can be imported from them, and archives that try more than that."""

from __future__ import annotations

import gzip
import io
import json
import socket
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlgate.adapters.hosts.sandbox import Sandbox
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.adapters.runtimes import packages
from mlgate.adapters.runtimes.contract import Failed
from mlgate.core.errors import FailedPrecondition
from mlgate.ports import ModelSpec
from tests.hosts.packages import add, source_archive, wheel

SETUP = "raise SystemExit('setup.py was run')"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of archives; afterwards nothing of them is left in this process."""
    folder, scratch = tmp_path / "packages", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    kept = set(sys.modules)
    yield folder
    for name in set(sys.modules) - kept:
        del sys.modules[name]
    assert {path.name for path in tmp_path.iterdir()} == {"packages", "scratch"}  # nothing was written elsewhere


@pytest.mark.parametrize(
    ("files", "module"),
    [
        ({"predictor.py": "x = 1"}, "predictor"),  # setup(scripts=[...]), as the old service's guide has it
        ({"mine/__init__.py": "", "mine/deep.py": "x = 1"}, "mine.deep"),
        ({"src/mine/__init__.py": "x = 1"}, "mine"),
        ({"src/mine/__init__.py": "x = 1", "src/mine.egg-info/top_level.txt": "mine\n"}, "mine"),
        ({"lib/mine/__init__.py": "x = 1", "lib/mine.egg-info/top_level.txt": "mine\n"}, "mine"),
        ({"mine/__init__.py": "x = 1", "mine.egg-info/top_level.txt": "mine\n", "src/other.py": ""}, "mine"),
        ({"src/__init__.py": "x = 1"}, "src"),
    ],
)
def test_a_source_archive_can_be_imported_from_and_is_not_built(code: Path, files: dict[str, str], module: str) -> None:
    source_archive(code / "000-mine-0.1.tar.gz", {"setup.py": SETUP, **files})
    packages.install(str(code))
    assert __import__(module, fromlist=["x"]).x == 1


def test_an_archive_without_a_folder_of_its_own_will_do(code: Path) -> None:
    source_archive(code / "000-flat.tar.gz", {"flat_one.py": "x = 1", "flat_two.py": ""}, root="")
    packages.install(str(code))
    assert __import__("flat_one").x == 1


@pytest.mark.parametrize("place", ["", "mine-1.data/purelib/", "mine-1.data/platlib/"])
def test_a_wheel_can_be_imported_from(code: Path, place: str) -> None:
    wheel(code / "000-mine-1-py3-none-any.whl", {f"{place}wheeled.py": "x = 1", "mine-1.dist-info/METADATA": ""})
    packages.install(str(code))
    assert __import__("wheeled").x == 1


def test_packages_come_before_the_environment_in_their_order(code: Path) -> None:
    for number, value in enumerate(("first", "second")):
        source_archive(code / f"{number:03d}-mine.tar.gz", {"joblib.py": "", "ordered.py": f"x = {value!r}"})
    packages.install(str(code))
    assert __import__("ordered").x == "first"


def test_what_only_a_build_could_make_is_named(code: Path) -> None:
    source_archive(code / "000-mine-1.tar.gz", {"a.py": "", "mine.egg-info/top_level.txt": "_compiled\n"})
    with pytest.raises(Failed, match=r"mine-1.tar.gz says that it installs '_compiled'.*give a wheel of it"):
        packages.install(str(code))


def tarred(write: Callable[[tarfile.TarFile], None]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        write(archive)
    return data.getvalue()


def zipped(write: Callable[[zipfile.ZipFile], None]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    return data.getvalue()


def link_in_a_zip(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def sparse(archive: tarfile.TarFile) -> None:
    """A member that says it holds a terabyte of nothing, in a few bytes."""
    size = 1 << 40
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(size),
               "GNU.sparse.map": "0,0", "GNU.sparse.name": "huge"}  # fmt: skip
    add(archive, "huge", pax_headers=headers)


def nested_folders(archive: tarfile.TarFile) -> None:
    for i in range(packages.MOST_FILES + 1):
        add(archive, f"a/{i}", type=tarfile.DIRTYPE)


HOSTILE = {
    "up.tar.gz": (tarred(lambda a: add(a, "a/../../../up.py", b"x")), "outside of its folder"),
    "absolute.tar.gz": (tarred(lambda a: add(a, "/tmp/absolute.py", b"x")), "outside of its folder"),
    "backslash.tar.gz": (tarred(lambda a: add(a, "..\\up.py", b"x")), "outside of its folder"),
    "symlink.tar.gz": (tarred(lambda a: add(a, "s", type=tarfile.SYMTYPE, linkname="/etc")), "a link or a device"),
    "hardlink.tar.gz": (tarred(lambda a: add(a, "h", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "a link or a"),
    "device.tar.gz": (
        tarred(lambda a: add(a, "d", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
        "a link or a device",
    ),
    "pipe.tar.gz": (tarred(lambda a: add(a, "p", type=tarfile.FIFOTYPE)), "a link or a device"),
    "bomb.tar.gz": (tarred(lambda a: add(a, "b", bytes(packages.MOST_BYTES + 1))), "bytes when unpacked"),
    "sparse.tar.gz": (tarred(sparse), "bytes when unpacked|cannot be unpacked"),
    "many.tar.gz": (tarred(nested_folders), "more than 20000 files"),
    "both.tar.gz": (tarred(lambda a: (add(a, "a", b"x"), add(a, "a/b", b"x"))[0]), "cannot be unpacked"),
    "text.tar.gz": (b"no archive at all", "cannot be unpacked"),
    "empty.tar.gz": (b"", "cannot be unpacked"),
    "cut.tar.gz": (tarred(lambda a: add(a, "a", b"x" * 1000))[:60], "cannot be unpacked"),
    "damaged.tar.gz": (tarred(lambda a: add(a, "a", bytes(range(256)) * 99)).replace(b"\x10", b"\x11"), "cannot be"),
    "damaged.whl": (zipped(lambda a: a.writestr("a", bytes(range(256)) * 99)).replace(b"\x04", b"\x05"), "cannot be"),
    "zeros.tar.gz": (gzip.compress(b"x" * 5000), "cannot be unpacked"),
    "up.whl": (zipped(lambda a: a.writestr("a/../../up.py", "x")), "outside of its folder"),
    "absolute.whl": (zipped(lambda a: a.writestr("/tmp/absolute.py", "x")), "outside of its folder"),
    "link.whl": (zipped(link_in_a_zip), "it holds a link"),
    "bomb.whl": (zipped(lambda a: a.writestr("b", bytes(packages.MOST_BYTES + 1))), "bytes when unpacked"),
    "text.whl": (b"no archive at all", "cannot be unpacked"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing_elsewhere(code: Path, name: str) -> None:
    data, says = HOSTILE[name]
    (code / f"000-{name}").write_bytes(data)
    with pytest.raises(Failed, match=says) as failed:
        packages.install(str(code))
    assert f"the package {name}" in failed.value.text
    assert failed.value.text.endswith("(Error code: 4)")


def test_the_limits_count_all_packages_together(code: Path) -> None:
    half = tarred(lambda a: add(a, "a/b", bytes(packages.MOST_BYTES // 2 + 1)))
    for number in range(2):
        (code / f"{number:03d}-half.tar.gz").write_bytes(half)
    with pytest.raises(Failed, match="all packages together hold more than"):
        packages.install(str(code))


SPY = """
import json, os, socket
told = {}
def attempt(name, what):
    try: told[name] = repr(what())
    except OSError as error: told[name] = "refused"
attempt("secret", lambda: open(SECRET).read())
attempt("network", lambda: socket.create_connection(("127.0.0.1", PORT), 2))
attempt("process", lambda: os.fork() or os._exit(0))
attempt("write", lambda: open(os.path.join(os.path.dirname(SECRET), "new"), "w"))
attempt("change", lambda: open(os.path.join(PACKAGES, "new"), "w"))
attempt("environment", lambda: [k for k in os.environ if k.startswith("MLGATE")])
print("TOLD " + json.dumps(told), flush=True)
raise RuntimeError("that was all")
"""


def test_code_of_a_package_runs_in_the_sandbox_alone(
    tmp_path_factory: pytest.TempPathFactory, confined: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLGATE_TEST_SECRET", "secret")
    folder, lines = tmp_path_factory.mktemp("spy"), list[str]()
    secret, model, code = folder / "data" / "secret", folder / "model", folder / "code"
    for place in (secret.parent, model, code):
        place.mkdir()
    secret.write_text("secret")
    supervisor = ModelSupervisor(folder / "run", confined, on_log=lambda uid, line: lines.append(line))
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            facts = f"SECRET, PACKAGES, PORT = {str(secret)!r}, {str(code)!r}, {server.getsockname()[1]}\n"
            source_archive(code / "000-spy-1.tar.gz", {"setup.py": SETUP, "spy.py": facts + SPY})
            options = {"prediction_class": "spy.Routine", "packages": str(code)}
            with pytest.raises(
                FailedPrecondition, match="the module spy cannot be imported: RuntimeError: that was all"
            ):
                supervisor.load(ModelSpec("spy", str(model), "CUSTOM", sys.executable, options=options))
    finally:
        supervisor.close()
    (line,) = [line for line in lines if line.startswith("TOLD ")]
    told = json.loads(line[5:])
    assert told.pop("environment") == "[]"
    assert set(told.values()) == {"refused"}, told
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]
