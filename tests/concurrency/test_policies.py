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


def test_no_call_is_allowed_after_the_revocation_was_answered_in_any_process(server: Server) -> None:
    """T-14. Bob asks without a pause on many connections, which spread over both processes. Every answer of 200 to a
    question that was sent after the write was answered is a fault."""
    owner, bob = server.http(), "user:bob@example.com"
    revoked, stop = threading.Event(), threading.Event()
    late: list[int] = []
    granted = threading.Semaphore(0)

    def ask() -> None:
        with httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {server.token(bob)}"}, timeout=30
        ) as client:
            while not stop.is_set():
                was_revoked = revoked.is_set()
                status = client.get(f"{P}/models/m").status_code
                if status == 200:
                    granted.release()
                    if was_revoked and revoked.is_set():
                        late.append(status)

    server.token(bob)
    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(15):
            revoked.clear()
            change(owner, lambda bindings: bindings.update({"roles/ml.modelUser": [bob]}))
            assert granted.acquire(timeout=20), "the grant is not seen"
            change(owner, lambda bindings: bindings.update({"roles/ml.modelUser": []}))
            revoked.set()
            assert owner.get(f"{P}/models/m").status_code == 200
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert late == []


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


def test_a_disabled_account_is_refused_at_once_in_every_process(server: Server) -> None:
    owner = server.http()
    account = owner.post(f"{P}/serviceAccounts", json={"accountId": "svc-one"}).json()
    member = f"serviceAccount:{account['email']}"
    change(owner, lambda bindings: bindings.setdefault("roles/ml.modelUser", []).append(member))
    clients = [server.http(member) for _ in range(6)]
    for _ in range(5):
        assert {c.get(f"{P}/models/m").status_code for c in clients} == {200}
        owner.post(f"/v1/{account['name']}:disable").raise_for_status()
        assert {c.get(f"{P}/models/m").status_code for c in clients} == {401}
        owner.post(f"/v1/{account['name']}:enable").raise_for_status()
