"""kill -9 at random points: what was answered is kept, what was not is whole or absent, and nothing hangs."""

from __future__ import annotations

import io
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.harness import PROJECT, Server

ROUNDS = int(os.environ.get("MLGATE_SOAK_ROUNDS", "3"))
SEED = int(os.environ.get("MLGATE_SOAK_SEED", "20261122"))
P = f"/v1/projects/{PROJECT}"
pytestmark = pytest.mark.xdist_group("recovery")


def pickled_model() -> bytes:
    features, labels = load_iris(return_X_y=True)
    buffer = io.BytesIO()
    joblib.dump(LogisticRegression(max_iter=500).fit(features, labels), buffer)
    return buffer.getvalue()


class Writer(threading.Thread):
    """Runs `step(n)` again and again until the server dies under it; remembers the steps that were answered."""

    def __init__(self, step: Callable[[httpx.Client, int], bool], client: httpx.Client, start: int) -> None:
        super().__init__(daemon=True)
        self.step, self.client, self.n = step, client, start
        self.answered: list[int] = []

    def run(self) -> None:
        while True:
            try:
                if self.step(self.client, self.n):
                    self.answered.append(self.n)
            except httpx.HTTPError:
                return
            self.n += 1


def killed_at_random(server: Server, writers: list[Writer], rng: random.Random, longest: float) -> None:
    for writer in writers:
        writer.start()
    time.sleep(rng.uniform(0.05, longest))  # the random point itself: there is nothing to wait for
    server.kill()
    for writer in writers:
        writer.join(30)
        assert not writer.is_alive()


def test_policy_writes_that_were_answered_survive(make_server: Callable[..., Server]) -> None:
    server, rng = make_server(workers=2), random.Random(SEED)
    http = server.http()
    http.post(f"{P}/models", json={"name": "m"}).raise_for_status()
    expected: set[str] = set()

    def grant(client: httpx.Client, n: int) -> bool:
        policy = client.get(f"{P}/models/m:getIamPolicy").json()
        member = f"user:u{n}@example.com"
        bindings = {b["role"]: b["members"] for b in policy["bindings"]}
        bindings.setdefault("roles/ml.modelUser", []).append(member)
        policy["bindings"] = [{"role": r, "members": m} for r, m in bindings.items()]
        return client.post(f"{P}/models/m:setIamPolicy", json={"policy": policy}).status_code == 200

    for round_ in range(ROUNDS):
        writers = [Writer(grant, server.http(), 10_000 * round_ + 5_000 * w) for w in range(2)]
        killed_at_random(server, writers, rng, 0.8)
        expected |= {f"user:u{n}@example.com" for writer in writers for n in writer.answered}
        server.restart()
        policy = server.http().get(f"{P}/models/m:getIamPolicy").json()
        stored = {m for b in policy["bindings"] for m in b["members"]}
        assert expected <= stored
        tried = {f"user:u{w.n}@example.com" for w in writers}
        assert stored - expected - {"user:ada@example.com"} <= tried, "only the write in flight may be there unanswered"
        expected = stored - {"user:ada@example.com"}


def test_uploads_are_whole_or_absent(make_server: Callable[..., Server]) -> None:
    server, rng = make_server(), random.Random(SEED + 1)
    server.http().post("/storage/v1/b", params={"project": PROJECT}, json={"name": "bucket-1"}).raise_for_status()

    def content(n: int) -> bytes:
        return random.Random(n).randbytes(200_000 + n % 7 * 150_000)

    def upload(client: httpx.Client, n: int) -> bool:
        params = {"uploadType": "media", "name": f"o/{n}"}
        return client.post("/upload/storage/v1/b/bucket-1/o", params=params, content=content(n)).status_code == 200

    expected: set[int] = set()
    for round_ in range(ROUNDS):
        writers = [Writer(upload, server.http(), 10_000 * round_ + 5_000 * w) for w in range(2)]
        killed_at_random(server, writers, rng, 0.8)
        expected |= {n for writer in writers for n in writer.answered}
        server.restart()
        client = server.http()
        listed = client.get("/storage/v1/b/bucket-1/o", params={"prefix": "o/", "maxResults": 1000}).json()
        found = {int(item["name"][2:]) for item in listed.get("items", [])}
        assert expected <= found
        for n in sorted(found - expected) + rng.sample(sorted(expected), min(5, len(expected))):
            media = client.get(f"/storage/v1/b/bucket-1/o/o%2F{n}", params={"alt": "media"})
            assert media.content == content(n), f"object {n} is not whole"
        expected = found


def test_a_deployment_ends_after_the_server_is_killed_at_any_point(make_server: Callable[..., Server]) -> None:
    server, rng = make_server(settings={"MLGATE_LEASE_SECONDS": "2"}), random.Random(SEED + 2)
    http = server.http()
    http.post("/storage/v1/b", params={"project": PROJECT}, json={"name": "bucket-1"}).raise_for_status()
    params = {"uploadType": "media", "name": "m/model.joblib"}
    http.post("/upload/storage/v1/b/bucket-1/o", params=params, content=pickled_model()).raise_for_status()
    http.post(f"{P}/models", json={"name": "m"}).raise_for_status()
    version = {"deploymentUri": "gs://bucket-1/m", "runtimeVersion": "2.11", "pythonVersion": "3.7"}
    for round_ in range(ROUNDS):
        answer = server.http().post(f"{P}/models/m/versions", json={**version, "name": f"v{round_}"}).json()
        time.sleep(rng.uniform(0, 4.0))  # the random point itself
        server.kill()
        server.restart()
        operation = wait_done(server, answer["name"])
        assert "response" in operation, operation
        client = server.http()
        assert client.get(f"{P}/models/m/versions/v{round_}").json()["state"] == "READY"
        predicted = client.post(f"{P}/models/m/versions/v{round_}:predict", json={"instances": [[5.1, 3.5, 1.4, 0.2]]})
        assert predicted.json() == {"predictions": [0]}
    names = [v["name"] for v in server.http().get(f"{P}/models/m/versions").json()["versions"]]
    assert len(names) == ROUNDS


def test_a_killed_worker_is_replaced_and_its_model_processes_end_with_it(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"MLGATE_LEASE_SECONDS": "2"})
    deploy(server)
    first = descendants(server.process.pid)
    worker = next(pid for pid in first[1:] if any("process.py" in command(p) for p in descendants(pid)[1:]))
    os.kill(worker, 9)
    client = server.http()
    until = time.monotonic() + 60
    while (
        answer := client.post(f"{P}/models/m:predict", json={"instances": [[5.1, 3.5, 1.4, 0.2]]})
    ).status_code != 200:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < until
    assert answer.json() == {"predictions": [0]}
    models = [p for p in descendants(server.process.pid) if "process.py" in command(p) and "bwrap" not in command(p)]
    assert len(models) == 1


def test_nothing_is_left_running_when_the_server_is_killed(make_server: Callable[..., Server]) -> None:
    server = make_server(workers=2)
    deploy(server)
    family = descendants(server.process.pid)
    assert len(family) >= 4
    server.kill()
    until = time.monotonic() + 10
    while alive := [pid for pid in family[1:] if command(pid)]:
        assert time.monotonic() < until, [command(pid) for pid in alive]


def test_a_second_server_on_the_same_directory_is_refused(make_server: Callable[..., Server]) -> None:
    server = make_server()
    second = Server(server.data_dir)
    with pytest.raises(RuntimeError, match="Another server runs"):
        second.start()


# ------------------------------------------------------------------------------------------------------------ pieces


def deploy(server: Server) -> None:
    """Model m with version v, READY."""
    http = server.http()
    http.post("/storage/v1/b", params={"project": PROJECT}, json={"name": "bucket-1"}).raise_for_status()
    params = {"uploadType": "media", "name": "m/model.joblib"}
    http.post("/upload/storage/v1/b/bucket-1/o", params=params, content=pickled_model()).raise_for_status()
    http.post(f"{P}/models", json={"name": "m"}).raise_for_status()
    body = {"name": "v", "deploymentUri": "gs://bucket-1/m", "runtimeVersion": "2.11", "pythonVersion": "3.7"}
    operation = http.post(f"{P}/models/m/versions", json=body).json()
    assert "response" in wait_done(server, operation["name"])


def wait_done(server: Server, name: str, seconds: float = 90) -> dict[str, object]:
    client, until = server.http(), time.monotonic() + seconds
    while not (operation := client.get(f"/v1/{name}").json()).get("done"):
        assert time.monotonic() < until, f"{name} hangs: {operation}"
        time.sleep(0.05)
    return operation


def descendants(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += descendants(int(child))
    return found


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
