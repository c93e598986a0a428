"""What runtime versions name: the catalogue, its locks, the old service's names, and where each of them runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mlgate.adapters.environments.builder import LOCKS, Builder
from mlgate.adapters.environments.environments import UvEnvironments
from mlgate.core import runtimes, versions
from mlgate.core.errors import InvalidArgument
from mlgate.core.runtimes import CATALOGUE, OLD_PYTHONS, OLD_VERSIONS, Runtime
from tests.environments.small import PYTHON

SK = "SCIKIT_LEARN"
#: Of a server that runs on another Python than any environment.
OTHER = {"scikit-learn": "1.8.0", "numpy": "2.3.0", "joblib": "1.5.0"}


@pytest.fixture
def environments(tmp_path: Path) -> UvEnvironments:
    return UvEnvironments(Builder(tmp_path), installed=lambda: OTHER)


@pytest.mark.parametrize("runtime", CATALOGUE, ids=lambda r: r.name)
def test_the_lock_holds_the_catalogues_versions_with_hashes_and_no_addresses(runtime: Runtime) -> None:
    text = (LOCKS / f"{runtime.name}.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+) \\$", text, re.MULTILINE))
    assert {name: pinned.get(name) for name in runtime.asked_for} == runtime.asked_for
    assert text.count("--hash=sha256:") >= len(pinned) == len(re.findall(r"^\S", text, re.MULTILINE))
    assert "://" not in text


@pytest.mark.parametrize("runtime", CATALOGUE, ids=lambda r: r.name)
def test_an_environment_has_what_programs_and_faster_copies_need(runtime: Runtime) -> None:
    needed = {"google-cloud-storage", "gcsfs"}
    needed |= {"tensorboard"} if "TENSORFLOW" in runtime.frameworks else set()
    needed |= {"onnxruntime", "skl2onnx", "onnxmltools"} if runtime.name in ("3.0", "2.12") else set()
    assert needed <= runtime.beside.keys()
    assert not runtime.beside.keys() & runtime.packages.keys()


def test_each_lock_belongs_to_an_environment() -> None:
    assert sorted(path.stem for path in LOCKS.glob("*.txt")) == sorted(runtime.name for runtime in CATALOGUE)


def test_the_guides_table_is_the_catalogue() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
    for runtime in CATALOGUE:
        held = {name.removesuffix("-cpu"): version for name, version in runtime.packages.items()}
        row = (runtime.runtime_version, runtime.python_version, held["scikit-learn"], held["xgboost"])
        assert f"| {' | '.join(row)} | {held.get('tensorflow', '')}" in guide


@pytest.mark.parametrize(
    ("runtime_version", "python_version", "framework", "name"),
    [
        ("3.0", "3.11", SK, "3.0"),
        ("3.0", "3.11", "XGBOOST", "3.0"),
        ("3.0", "3.11", "TENSORFLOW", "3.0-tensorflow"),
        ("2.12", "3.11", SK, "2.12"),
        ("2.11", "3.10", "TENSORFLOW", "2.11-tensorflow"),
        ("2.11", "3.7", SK, "2.11"),
        ("2.11", "3.7", "TENSORFLOW", "2.11-tensorflow"),
        ("1.15", "2.7", "XGBOOST", "2.11"),
        ("2.1", "3.5", SK, "2.11"),
    ],
)
def test_a_name_leads_to_an_environment(runtime_version: str, python_version: str, framework: str, name: str) -> None:
    assert runtimes.choose(runtime_version, python_version, framework).name == name


@pytest.mark.parametrize("old", [(v, p) for v in OLD_VERSIONS for p in OLD_PYTHONS])
def test_every_name_of_the_old_service_is_accepted(old: tuple[str, str]) -> None:
    runtimes.check(*old)


@pytest.mark.parametrize(
    ("runtime_version", "python_version", "field"),
    [
        ("9.9", "3.11", "runtimeVersion"),
        ("2.13", "3.7", "runtimeVersion"),
        ("3.0", "3.7", "pythonVersion"),
        ("2.12", "3.10", "pythonVersion"),
        ("2.11", "3.12", "pythonVersion"),
        ("1.15", "3.11", "pythonVersion"),
    ],
)
def test_a_name_of_nothing_is_refused_with_what_there_is(runtime_version: str, python_version: str, field: str) -> None:
    body = {"deploymentUri": "gs://bucket/m", "runtimeVersion": runtime_version, "pythonVersion": python_version}
    with pytest.raises(InvalidArgument) as caught:
        versions.check_new(body)
    assert [name for name, _ in caught.value.fields] == [f"version.{field}"]
    for part in ("3.0 with 3.11", "2.12 with 3.11", "2.11 with 3.10", "1.15 and 2.1 to 2.11 with 2.7, 3.5 or 3.7"):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("python", "installed", "exact", "old"),
    [
        ("3.11", {"scikit-learn": "1.9.1", "numpy": "2.4.6", "joblib": "1.6.0"}, True, True),
        ("3.12", {"scikit-learn": "1.9.1", "numpy": "2.4.6", "joblib": "1.6.0"}, False, True),
        ("3.11", {"scikit-learn": "1.9.0", "numpy": "2.4.6", "joblib": "1.6.0"}, False, True),
        ("3.11", {"scikit-learn": "1.9.1", "numpy": "2.4.6"}, False, False),
        ("3.11", {}, False, False),
    ],
)
def test_a_python_that_is_there_stands_in_where_it_is_the_same(
    python: str, installed: dict[str, str], exact: bool, old: bool
) -> None:
    runtime = runtimes.choose("3.0", "3.11", SK)
    assert runtimes.can_stand_in(runtime, SK, False, python, installed) is exact
    assert runtimes.can_stand_in(runtime, SK, True, python, installed) is old


def test_nothing_stands_in_for_a_framework_that_it_has_not() -> None:
    runtime = runtimes.choose("3.0", "3.11", "TENSORFLOW")
    assert not runtimes.can_stand_in(runtime, "TENSORFLOW", True, "3.11", OTHER)


@pytest.mark.parametrize("framework", ["", "CUSTOM"])
def test_for_code_that_nobody_has_seen_it_must_be_the_same_in_everything(framework: str) -> None:
    runtime = runtimes.choose("3.0", "3.11", framework)
    assert runtimes.can_stand_in(runtime, framework, True, "3.11", OTHER)
    assert runtimes.can_stand_in(runtime, framework, False, "3.11", runtime.packages)
    assert not runtimes.can_stand_in(runtime, framework, False, "3.11", {**runtime.packages, "pandas": "2.0"})


def test_an_old_name_runs_in_the_servers_own_python_and_says_so(environments: UvEnvironments) -> None:
    chosen = environments.python("2.11", "3.7", SK)
    assert (chosen.name, chosen.directory, chosen.python) == ("server", "", sys.executable)
    assert f"the server's own Python {PYTHON} (scikit-learn 1.8.0)" in chosen.note
    assert "For scikit-learn 1.0.2 choose runtimeVersion 2.11 with pythonVersion 3.10." in chosen.note


def test_an_old_name_runs_in_the_nearest_environment_where_the_server_may_not(tmp_path: Path) -> None:
    found = UvEnvironments(Builder(tmp_path), own=False, installed=lambda: OTHER).describe("1.15", "3.7", SK)
    assert found["runsIn"] == "2.11"
    assert found["note"] == (
        "runtimeVersion 1.15 with pythonVersion 3.7 is the old service's and cannot be had: here it is "
        "runtimeVersion 2.11 with pythonVersion 3.10 (scikit-learn 1.0.2)."
    )


def test_a_name_of_the_catalogue_needs_no_note(environments: UvEnvironments) -> None:
    found = environments.describe("2.12", "3.11", SK)
    assert (found["runsIn"], found["note"], found["environment"]["state"]) == ("2.12", "", "NOT_BUILT")


def test_one_python_for_all_is_an_administrators_choice(tmp_path: Path) -> None:
    chosen = UvEnvironments(Builder(tmp_path), fixed="/some/python").python("2.12", "3.11", SK)
    assert (chosen.directory, chosen.python) == ("", "/some/python")
    assert "one Python of its own" in chosen.note


def test_what_was_chosen_is_found_again_by_its_directory(environments: UvEnvironments, tmp_path: Path) -> None:
    assert environments.interpreter("") == sys.executable
    assert environments.interpreter("2.12-0123") == str(tmp_path / "2.12-0123" / "bin" / "python")
