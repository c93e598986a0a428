"""Deployments that wait for an environment, on a live server: they let others pass, and can be cancelled. The slow
build is one that waits for another builder, whose lock the test holds; afterwards it fails at once, for want of wheels.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlgate.adapters.environments.builder import Builder
from mlgate.core import runtimes
from tests.harness import OWNER, PROJECT, Server
from tests.http.deployed import deploy, eventually, linear, new_bucket, upload
from tests.http.people import Api

M = f"/v1/projects/{PROJECT}/models/m"
SLOW = {"runtimeVersion": "2.12", "pythonVersion": "3.11"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    (tmp_path / "wheels").mkdir()
    server = Server(tmp_path / "data", settings={"MLGATE_WHEELHOUSE": str(tmp_path / "wheels")}).initialize().start()
    with Api(server) as made:
        made.sign_in([OWNER])
        new_bucket(made, PROJECT, "build-models")
        made.done(OWNER, "POST", f"/v1/projects/{PROJECT}/models", {"name": "m"})
        yield made
    server.close()


@contextmanager
def building(server: Server) -> Iterator[None]:
    """Somebody else builds the slow environment meanwhile."""
    builder = Builder(server.data_dir / "runtimes")
    builder.root.mkdir(exist_ok=True)
    runtime = runtimes.choose(SLOW["runtimeVersion"], SLOW["pythonVersion"], "SCIKIT_LEARN")
    with (builder.root / f".{builder.directory(runtime)}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def begin(api: Api, uri: str, name: str) -> str:
    """The name of the operation of a version that needs the slow environment."""
    return str(api.done(OWNER, "POST", f"{M}/versions", {"name": name, "deploymentUri": uri, **SLOW})["name"])


def errors(api: Api, names: list[str]) -> list[dict[str, Any]]:
    """Of those that have ended."""
    found = [api.done(OWNER, "GET", f"/v1/{name}") for name in names]
    return [one["error"] for one in found if one.get("done")]


def test_deployments_that_wait_for_a_build_let_others_pass(api: Api, tmp_path: Path) -> None:
    uri = upload(api, tmp_path, "build-models", "m", linear())
    with building(api.server):
        waiting = [begin(api, uri, f"slow{n}") for n in range(4)]
        assert eventually(lambda: "another process builds" in api.server.log())
        assert "response" in deploy(api, M, "quick", uri)
        assert errors(api, waiting) == []

        for name in waiting:
            api.done(OWNER, "POST", f"/v1/{name}:cancel", {})
        ends = eventually(lambda: errors(api, waiting), lambda found: len(found) == 3)
        assert [error["code"] for error in ends] == [1] * 3  # the fourth builds
    ends = eventually(lambda: errors(api, waiting), lambda found: len(found) == 4)
    assert sum("wheelhouse" in error["message"] for error in ends) == 1


def test_a_server_that_is_killed_leaves_waiting_deployments_to_the_next(api: Api, tmp_path: Path) -> None:
    uri = upload(api, tmp_path, "build-models", "m", linear())
    with building(api.server):
        waiting = [begin(api, uri, f"slow{n}") for n in range(3)]
        assert eventually(lambda: "another process builds" in api.server.log())
        api.server.kill()
    api.server.restart()
    ends = eventually(lambda: errors(api, waiting), lambda found: len(found) == 3)
    assert all("wheelhouse" in error["message"] for error in ends)
