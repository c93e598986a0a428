from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate.adapters.hosts.sandbox import NONE, Sandbox, probe
from mlgate.adapters.hosts.supervisor import ModelSupervisor


@pytest.fixture(scope="session", params=["bubblewrap", "landlock"])
def confined(request: pytest.FixtureRequest) -> Sandbox:
    """Each way of confinement that this machine has."""
    sandbox = probe(request.param)
    if sandbox.mode == NONE:
        pytest.fail(sandbox.reason)
    return sandbox


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The way of confinement that a server would use here."""
    return probe("auto")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def log() -> list[tuple[str, str]]:
    return []


@pytest.fixture(scope="module")
def supervisor(folder: Path, sandbox: Sandbox, log: list[tuple[str, str]]) -> Iterator[ModelSupervisor]:
    made = ModelSupervisor(folder / "run", sandbox, on_log=lambda uid, line: log.append((uid, line)))
    yield made
    made.close()
