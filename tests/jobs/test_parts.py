"""The small parts of jobs, without a server: building packages, slots, what packages import, bounds of filters."""

from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlgate.adapters.blobs.memory import MemoryBlobs
from mlgate.cli.failure import Failure
from mlgate.cli.packaging import build
from mlgate.core import filters, jobs
from mlgate.runner.contents import framework_of
from mlgate.slots import Slots
from tests.jobs.programs import sdist

# packages


def package(folder: Path, setup: str | None = None) -> Path:
    """A package `trainer` below a folder, with things that do not belong into an archive."""
    for path, text in {
        "trainer/__init__.py": "",
        "trainer/task.py": "print(1)",
        "trainer/words.txt": "a b",
        "trainer/__pycache__/task.cpython-311.pyc": "x",
        "trainer/.hidden": "x",
        "helpers/__init__.py": "",
        "data/census.csv": "1",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    if setup is not None:
        (folder / "setup.py").write_text(setup)
    return folder / "trainer"


def contents(data: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers()}  # type: ignore[union-attr]


def test_a_package_is_built_without_running_its_setup(tmp_path: Path) -> None:
    setup = """
raise RuntimeError("this is not run")
from setuptools import find_packages, setup
REQUIRED = ["numpy>=1.14", 'pandas']
setup(name="census", version="1.2", install_requires=REQUIRED, packages=find_packages())
"""
    name, data = build(package(tmp_path, setup))
    assert name == "census-1.2.tar.gz"
    found = contents(data)
    assert found["census-1.2/census.egg-info/requires.txt"] == "numpy>=1.14\npandas\n"
    assert "Requires-Dist: pandas" in found["census-1.2/PKG-INFO"]
    assert {path for path in found if "info" not in path.lower()} == {
        f"census-1.2/{path}"
        for path in ("setup.py", "helpers/__init__.py", "trainer/__init__.py", "trainer/task.py", "trainer/words.txt")
    }
    assert build(package(tmp_path, setup)) == (name, data)  # the same files, the same bytes


def test_a_package_without_setup_is_built_alone(tmp_path: Path) -> None:
    name, data = build(package(tmp_path))
    assert name == "trainer-0.0.0.tar.gz"
    assert "trainer-0.0.0/helpers/__init__.py" not in contents(data)


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere", package(tmp_path) / "task.py"):
        with pytest.raises(Failure):
            build(place)
    with pytest.raises(Failure, match="cannot be read"):
        build(package(tmp_path, "def ("))


# slots


def test_slots_are_taken_in_the_order_of_waiting() -> None:
    slots, order = Slots(2), list[str]()
    assert slots.try_take(2)

    def waits(name: str, ticket: object, count: int) -> None:
        assert slots.take(ticket, count, lambda: True, seconds=0.05)
        order.append(name)

    threads = []
    for name, count in (("large", 2), ("small", 1)):
        threads.append(threading.Thread(target=waits, args=(name, slots.queue(), count)))
        threads[-1].start()
    assert not slots.try_take(1)
    slots.give_back(1)
    assert not slots.is_free()  # one is free, and the large one is before everybody else
    slots.give_back(1)
    threads[0].join(60)
    slots.give_back(2)
    threads[1].join(60)
    assert order == ["large", "small"]


def test_who_is_not_wanted_any_more_loses_the_place() -> None:
    slots = Slots(1)
    assert slots.try_take(1)
    ticket = slots.queue()
    assert not slots.take(ticket, 1, lambda: False, seconds=0.01)
    slots.give_back(1)
    assert slots.is_free()


# what packages import


def wheel(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("trainer/task.py", text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("text", "framework"),
    [
        ("import tensorflow as tf", "TENSORFLOW"),
        ("x = 1\n  from tensorflow.keras import layers", "TENSORFLOW"),
        ("import keras", "TENSORFLOW"),
        ("# import tensorflow\nimport sklearn", ""),
        ("print('import tensorflow')", ""),
    ],
)
def test_a_program_that_imports_tensorflow_gets_it(text: str, framework: str) -> None:
    blobs = MemoryBlobs()
    for name, data in (("a-1.tar.gz", sdist({"task.py": text})), ("a-1-py3-none-any.whl", wheel(text))):
        writer = blobs.writer()
        writer.write(data)
        assert framework_of(blobs, [(name, writer.commit().digest)]) == framework


def test_what_is_no_archive_imports_nothing() -> None:
    blobs = MemoryBlobs()
    for data in (b"", b"hello", sdist({"task.py": "import tensorflow"})[:40], wheel("import tensorflow")[:30]):
        writer = blobs.writer()
        writer.write(data)
        digest = writer.commit().digest
        assert framework_of(blobs, [("a.whl", digest), ("a.tar.gz", digest)]) == ""


# bounds of filters, the queue, the table


@pytest.mark.parametrize(
    ("text", "equal", "least"),
    [
        ("", {}, {}),
        ("a=1 AND b>=2", {"a": "1"}, {"a": "1", "b": "2"}),
        ("a=1 OR a=2", {}, {"a": "1"}),
        ("a=1 OR b=2", {}, {}),
        ("(a=1 AND b=3) OR (a=1 AND b=4)", {"a": "1"}, {"a": "1", "b": "3"}),
        ("NOT a=1", {}, {}),
        ("-a=1", {}, {}),
        ("a=x* AND b<5", {}, {}),
        ("a>1 a>2", {}, {"a": "2"}),
    ],
)
def test_what_a_filter_demands(text: str, equal: dict[str, str], least: dict[str, str]) -> None:
    bounds = filters.bounds(text, ("a", "b"))
    assert (dict(bounds.equal), dict(bounds.least)) == (equal, least)


def test_names_of_tasks_are_in_the_order_of_the_queue() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def name(priority: int, seconds: float) -> str:
        job = {"trainingInput": {"scheduling": {"priority": priority}}}
        return jobs.task_name("projects/p/jobs/j", job, now + timedelta(seconds=seconds), "1")

    ordered = [name(1000, 9), name(5, 0), name(5, 0.001), name(5, 60), name(0, -100), name(0, 0)]
    assert sorted(ordered) == ordered


def test_the_drawing_is_the_table() -> None:
    lines = jobs.diagram().splitlines()
    assert "    RUNNING --> CANCELLING" in lines
    assert "    SUCCEEDED --> [*]" in lines
    assert len(lines) == 2 + sum(len(following) or 1 for following in jobs.TRANSITIONS.values())
