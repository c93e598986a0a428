"""Versions that change while people predict: defaults, scaling, deletion, processes that come, leave and are killed.

Callers ask without a pause on connections of their own; every answer is compared with what it may be at that moment.
"""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import joblib
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from tests.harness import OWNER, PROJECT, Server
from tests.http.people import Api

P = f"/v1/projects/{PROJECT}"
BUCKET = "under-load"
RUNTIME = {"runtimeVersion": "2.11", "pythonVersion": "3.7"}
CALLERS = 8
ASKED = {"instances": [[1.0, 2.0]]}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server of two API processes, with spares and faster copies, as it is by default."""
    given = {"MLGATE_MODEL_SPARES": "1", "MLGATE_FASTER_COPIES": "true", "MLGATE_MODEL_NODES": "2"}
    server = Server(tmp_path_factory.mktemp("load") / "data", workers=2, settings=given).initialize().start()
    try:
        with Api(server) as made:
            made.done(OWNER, "POST", "/storage/v1/b", {"name": BUCKET}, params={"project": PROJECT})
            for label in (1, 2):
                put(made, f"says{label}/model.joblib", constant(label))
            yield made
    finally:
        server.close()


def constant(label: int) -> bytes:
    """A model that always says `label`."""
    buffer = io.BytesIO()
    joblib.dump(DummyClassifier(strategy="constant", constant=label).fit([[0.0, 0.0]], [label]), buffer)
    return buffer.getvalue()


def put(api: Api, name: str, data: bytes) -> None:
    where = {"uploadType": "media", "name": name}
    api.client.post(
        f"/upload/storage/v1/b/{BUCKET}/o",
        params=where,
        content=data,
        headers={"Authorization": f"Bearer {api.bearers[OWNER]}"},
    ).raise_for_status()


def waited(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + 120
    while not operation.get("done"):
        assert time.monotonic() < until, operation
        time.sleep(0.1)
        operation = api.done(OWNER, "GET", f"/v1/{operation['name']}")
    return operation


def deploy(api: Api, model: str, version: str, label: int, **fields: Any) -> dict[str, Any]:
    where = {"name": version, "deploymentUri": f"gs://{BUCKET}/says{label}"}
    body = {**where, **RUNTIME, "fasterCopy": {"disabled": True}, **fields}
    operation = waited(api, api.done(OWNER, "POST", f"{P}/models/{model}/versions", body))
    assert "error" not in operation, operation
    found: dict[str, Any] = operation["response"]
    return found


class Callers:
    """People who ask without a pause; `seen` counts their answers: a prediction, or a status."""

    def __init__(self, api: Api, path: str) -> None:
        self.seen: Counter[Any] = Counter()
        self.errors: list[str] = []
        self._api, self._path = api, path
        self._generation = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CALLERS)]

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self._api.bearers[OWNER]}"}
        with httpx.Client(base_url=self._api.server.url, timeout=60, headers=headers) as client:
            while not self._stop.is_set():
                asked = self._generation
                response = client.post(self._path, json=ASKED)
                good = response.status_code == 200
                with self._lock:
                    if asked != self._generation:
                        continue
                    self.seen[response.json()["predictions"][0] if good else response.status_code] += 1
                    if not good:
                        self.errors.append(response.text)

    def until(self, holds: Callable[[], Any], seconds: float = 60.0) -> None:
        over = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < over, (self.seen, self.errors[-3:])
            time.sleep(0.02)

    def forget(self) -> None:
        """Count only answers to what is asked from now on."""
        with self._lock:
            self._generation += 1
            self.seen.clear()


@contextmanager
def asking(api: Api, path: str) -> Iterator[Callers]:
    callers = Callers(api, path)
    for thread in callers._threads:
        thread.start()
    try:
        yield callers
    finally:
        callers._stop.set()
        for thread in callers._threads:
            thread.join()


def test_a_new_default_counts_from_its_answer_on_and_no_request_fails(api: Api) -> None:
    api.done(OWNER, "POST", f"{P}/models", {"name": "defaults"})
    for label in (1, 2):
        deploy(api, "defaults", f"v{label}", label)
    with asking(api, f"{P}/models/defaults:predict") as callers:
        callers.until(lambda: callers.seen[1] > 50)
        for label in (2, 1, 2, 1, 2):
            api.done(OWNER, "POST", f"{P}/models/defaults/versions/v{label}:setDefault", {})
            callers.forget()
            callers.until(lambda wanted=label: callers.seen[wanted] > 50)  # type: ignore[misc]
            assert set(callers.seen) == {label}
    assert not callers.errors


def test_scaling_is_patched_under_load_and_no_request_fails(api: Api) -> None:
    api.done(OWNER, "POST", f"{P}/models", {"name": "scaled"})
    deploy(api, "scaled", "v1", 1)
    version = f"{P}/models/scaled/versions/v1"
    with asking(api, f"{P}/models/scaled:predict") as callers:
        for mask, body in (
            ("manualScaling.nodes", {"manualScaling": {"nodes": 2}}),
            ("autoScaling.minNodes", {"autoScaling": {"minNodes": 1}}),
            ("manualScaling.nodes", {"manualScaling": {"nodes": 1}}),
            ("description", {"description": "said while it works"}),
            ("labels", {"labels": {"stage": "blue"}}),
        ):
            operation = api.done(OWNER, "PATCH", version, body, params={"updateMask": mask})
            assert "error" not in waited(api, operation)
            callers.forget()
            time.sleep(1.5)
            callers.until(lambda: callers.seen[1] > 20)
    assert not callers.errors
    found = api.done(OWNER, "GET", version)
    assert (found["manualScaling"], found["labels"]) == ({"nodes": 1}, {"stage": "blue"})


def test_a_version_is_deleted_and_made_again_under_load(api: Api) -> None:
    """Whoever asks in between is told that it is not there; nobody gets an answer of the wrong one, or none."""
    api.done(OWNER, "POST", f"{P}/models", {"name": "again"})
    deploy(api, "again", "other", 2)
    deploy(api, "again", "v1", 1)
    with asking(api, f"{P}/models/again/versions/v1:predict") as callers:
        label = 1
        for _ in range(3):
            callers.until(lambda wanted=label: callers.seen[wanted] > 30)  # type: ignore[misc]
            assert set(callers.seen) <= {label, 404}
            assert "error" not in waited(api, api.done(OWNER, "DELETE", f"{P}/models/again/versions/v1"))
            callers.forget()
            callers.until(lambda: callers.seen[404] > 10)
            assert set(callers.seen) == {404}
            label = 3 - label
            deploy(api, "again", "v1", label)
            callers.forget()
    assert set(callers.seen) <= {label, 404}
    assert all("is not deployed" in error for error in callers.errors)


def test_processes_killed_under_load_fail_only_what_is_in_them(api: Api) -> None:
    api.done(OWNER, "POST", f"{P}/models", {"name": "killed"})
    deploy(api, "killed", "v1", 1)
    with asking(api, f"{P}/models/killed:predict") as callers:
        callers.until(lambda: callers.seen[1] > 50)
        for _ in range(5):
            for pid in model_processes(api.server):
                with suppress(ProcessLookupError):  # it may just have gone with its keeper
                    os.kill(pid, signal.SIGKILL)
            before = callers.seen[1]
            callers.until(lambda wanted=before: callers.seen[1] > wanted + 20)  # type: ignore[misc]
    assert set(callers.seen) <= {1, 503}
    assert all("ended during the request" in error for error in callers.errors), callers.errors[:3]


def model_processes(server: Server) -> list[int]:
    """The processes of this server that run a model's code."""
    found, queue = [], [server.process.pid]
    while queue:
        pid = queue.pop()
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            if (
                "runtimes/process.py" in Path(f"/proc/{pid}/cmdline").read_text()
                and "listen" in Path(f"/proc/{pid}/cmdline").read_text()
            ):
                found.append(pid)
            for task in tasks:
                queue += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def test_a_version_says_what_its_faster_copy_is(api: Api) -> None:
    buffer = io.BytesIO()
    joblib.dump(LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]), buffer)
    put(api, "quick/model.joblib", buffer.getvalue())
    api.done(OWNER, "POST", f"{P}/models", {"name": "copies"})

    def version(name: str, **fields: Any) -> Any:
        body = {"name": name, "deploymentUri": f"gs://{BUCKET}/quick", **RUNTIME, **fields}
        operation = waited(api, api.done(OWNER, "POST", f"{P}/models/copies/versions", body))
        assert "error" not in operation, operation
        return api.done(OWNER, "GET", f"{P}/models/copies/versions/{name}").get("fasterCopy")

    said = version("quick")
    assert (said["state"], said["format"]) == ("READY", "ONNX")
    assert said["speedup"] > 1
    assert version("plain", fasterCopy={"disabled": True}) == {"disabled": True}
    for name in ("quick", "plain"):
        answer = api.done(OWNER, "POST", f"{P}/models/copies/versions/{name}:predict", {"instances": [[0.1], [2.9]]})
        assert answer == {"predictions": [0, 1]}
    dummy = deploy(api, "copies", "dummy", 1, fasterCopy={})["fasterCopy"]
    assert dummy["state"] == "UNAVAILABLE"
    assert dummy["reason"]
    body = {"name": "x", "deploymentUri": f"gs://{BUCKET}/quick", **RUNTIME, "fasterCopy": {"state": "READY"}}
    refused = api(OWNER, "POST", f"{P}/models/copies/versions", body)
    assert refused.status_code == 400
    assert "fasterCopy.state is told by the server" in refused.text
