"""Policies under concurrent writers and readers, with several API processes on one database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.harness import PROJECT, Server
from tests.postgres import postgres

P = f"/v1/projects/{PROJECT}"
pytestmark = pytest.mark.xdist_group("concurrency")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two API processes, on each database."""
    with ExitStack() as stack:
        url = stack.enter_context(postgres()) if request.param == "postgres" else ""
        made = Server(tmp_path_factory.mktemp("pair") / "data", workers=2, database_url=url).initialize().start()
        stack.callback(made.close)
        made.http().post(f"{P}/models", json={"name": "m"}).raise_for_status()
        yield made


@pytest.fixture
def server(pair: Server) -> Server:
    """The pair, with model m shared with nobody."""
    only_owner = {"bindings": [{"role": "roles/ml.modelOwner", "members": [pair.owner]}]}
    pair.http().post(f"{P}/models/m:setIamPolicy", json={"policy": only_owner}).raise_for_status()
    return pair


def change(client: httpx.Client, edit: Callable[[dict[str, list[str]]], None]) -> int:
    """Read, modify, write, again on 409, as a careful client does; the number of tries."""
    for attempt in range(1, 1000):
        policy = client.get(f"{P}/models/m:getIamPolicy").json()
        bindings = {b["role"]: b["members"] for b in policy["bindings"]}
        edit(bindings)
        policy["bindings"] = [{"role": r, "members": m} for r, m in bindings.items() if m]
        answer = client.post(f"{P}/models/m:setIamPolicy", json={"policy": policy})
        if answer.status_code == 200:
            return attempt
        assert answer.status_code == 409, answer.text
        assert answer.json()["error"]["status"] == "ABORTED"
    raise AssertionError("never written")


def test_fifty_concurrent_add_bindings_lose_none(server: Server) -> None:
    members = [f"user:u{n}@example.com" for n in range(50)]

    def add(member: str) -> None:
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token()}"}) as client:
            change(client, lambda bindings: bindings.setdefault("roles/ml.modelUser", []).append(member))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(add, members))
    policy = server.http().get(f"{P}/models/m:getIamPolicy").json()
    stored = next(b["members"] for b in policy["bindings"] if b["role"] == "roles/ml.modelUser")
    assert sorted(stored) == sorted(members)


def test_a_slow_upload_does_not_outlive_a_revocation(server: Server) -> None:
    """The body of a policy write is held back until the writer has lost the right; the write is refused."""
    owner, carol = server.http(), "user:carol@example.com"
    change(owner, lambda bindings: bindings.setdefault("roles/ml.modelOwner", []).append(carol))
    reached, release = threading.Event(), threading.Event()

    def slowly() -> object:
        yield b'{"policy": {"bindings": '
        reached.set()
        release.wait(20)
        yield b'[{"role": "roles/ml.modelOwner", "members": ["user:carol@example.com"]}]}}'

    answers: list[httpx.Response] = []

    def write() -> None:
        answers.append(server.http(carol).post(f"{P}/models/m:setIamPolicy", content=slowly()))

    writer = threading.Thread(target=write)
    writer.start()
    assert reached.wait(20)
    change(owner, lambda bindings: bindings["roles/ml.modelOwner"].remove(carol))
    release.set()
    writer.join()
    assert answers[0].status_code == 403
    policy = owner.get(f"{P}/models/m:getIamPolicy").json()
    assert carol not in str(policy)
