"""Real environments, built by uv: whole or not at all, once for all who want one, and without a network if need be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mlgate.adapters.environments.builder import interpreter
from mlgate.core.errors import FailedPrecondition
from tests.environments.small import LOCKS, SMALL, builder

ROOT = Path(__file__).parents[2]
#: Nothing answers there.
NOWHERE = "http://somebody:hush@127.0.0.1:9/simple"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of environments, with the small one in it."""
    root = tmp_path_factory.mktemp("runtimes")
    builder(root).build(SMALL, print)
    return root


@pytest.fixture
def wheelhouse(tmp_path: Path) -> str:
    place = tmp_path / "wheelhouse"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
            "--require-hashes", "--dest", str(place), "--requirement", str(LOCKS / "small.txt"),
        ],
        check=True,
    )  # fmt: skip
    return str(place)


def start(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.environments.small", str(root)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def leftovers(root: Path) -> list[str]:
    return [place.name for place in root.iterdir() if place.name.endswith(".part")]


def ask(python: Path, code: str) -> str:
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_an_environment_holds_what_its_lock_says_and_nothing_of_the_servers(built: Path) -> None:
    python = interpreter(built / builder(built).directory(SMALL))
    code = "import importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))"
    assert ask(python, code) == "[('joblib', '1.2.0'), ('six', '1.17.0')]"
    assert not leftovers(built)


def test_its_files_are_hard_links_and_compiled(built: Path) -> None:
    found = Path(ask(interpreter(built / builder(built).directory(SMALL)), "import six; print(six.__file__)"))
    assert found.stat().st_nlink > 1
    assert list((found.parent / "__pycache__").glob("six.*.pyc"))


def test_what_is_built_is_not_built_again(built: Path) -> None:
    lines: list[str] = []
    assert builder(built).build(SMALL, lines.append).is_dir()
    assert lines == []


def test_another_lock_is_another_environment(built: Path, tmp_path: Path) -> None:
    one = builder(built)
    (tmp_path / "small.txt").write_text((LOCKS / "small.txt").read_text() + "\n")
    assert type(one)(built, locks=tmp_path).directory(SMALL) != one.directory(SMALL)
    assert one.directory(replace(SMALL, python_version="3.12")) != one.directory(replace(SMALL, python_version="3.13"))


def test_an_environment_whose_python_was_removed_is_built_again(built: Path) -> None:
    python = interpreter(built / builder(built).directory(SMALL))
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert not builder(built).is_built(SMALL)
    builder(built).build(SMALL, print)
    assert ask(python, "import six; print(six.__version__)") == "1.17.0"


def test_builders_that_come_at_once_build_once(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert "".join(said).count("\nbuilt small-") == 1, said
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("moment", ["", "lib/python*/site-packages/six.py"])
def test_a_builder_that_was_killed_leaves_nothing_that_counts(tmp_path: Path, moment: str) -> None:
    with start(tmp_path) as process:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(f".small-*.part/{moment}")):
            assert time.monotonic() < until
            assert process.poll() is None
        process.kill()
    assert not builder(tmp_path).is_built(SMALL)
    place = builder(tmp_path).build(SMALL, print)
    assert ask(interpreter(place), "import joblib; print(joblib.__version__)") == "1.2.0"
    assert not leftovers(tmp_path)


def test_what_another_killed_builder_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".other-0123.part" / "lib").mkdir(parents=True)
    builder(tmp_path).build(SMALL, print)
    assert not leftovers(tmp_path)


def test_a_wheelhouse_is_enough(tmp_path: Path, wheelhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", NOWHERE)
    place = builder(tmp_path, wheelhouse).build(SMALL, print)
    assert ask(interpreter(place), "import joblib; print(joblib.__version__)") == "1.2.0"


def test_a_wheel_that_the_lock_does_not_name_is_not_installed(tmp_path: Path, wheelhouse: str) -> None:
    wheel = next(Path(wheelhouse).glob("six-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(FailedPrecondition, match="could not be built from the wheelhouse"):
        builder(tmp_path, wheelhouse).build(SMALL, print)
    assert not builder(tmp_path).is_built(SMALL)
    assert not leftovers(tmp_path)


def test_a_wheelhouse_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="the wheelhouse of the settings is not there"):
        builder(tmp_path, str(tmp_path / "none")).build(SMALL, print)


def test_an_index_that_does_not_answer_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", NOWHERE)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    lines: list[str] = []
    with pytest.raises(FailedPrecondition, match="from the package index; the server's log says why"):
        builder(tmp_path).build(SMALL, lines.append)
    assert any("127.0.0.1" in line for line in lines)
    assert not any("hush" in line for line in lines)


def test_a_python_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(FailedPrecondition, match=r"no Python 3\.99 was found"):
        builder(tmp_path).build(replace(SMALL, python_version="3.99"), print)


def test_settings_of_the_server_do_not_reach_the_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLGATE_DATABASE_URL", "postgresql://hush@x/y")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    environment = builder(tmp_path)._environment()
    assert not {"MLGATE_DATABASE_URL", "PYTHONPATH"} & environment.keys()
    assert environment["UV_CACHE_DIR"].startswith(os.fspath(tmp_path))
