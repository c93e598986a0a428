"""A read that has been allowed and then waits (for a thread, for its body) while access is taken away. It may show what
was there when access was taken, never what was written after: so it is allowed again, on what it is about to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from mlgate.app import admin
from mlgate.http.asgi import App
from mlgate.ports import Store, Transaction
from mlgate.settings import Settings
from tests.escalation.office import Office, scratch
from tests.harness import OWNER, PROJECT

EVE = "user:eve@example.com"
P, BUCKET = f"v1/projects/{PROJECT}", "storage/v1/b/some-bucket"
MODEL, OBJECT = f"{P}/models/m", f"{BUCKET}/o/secret"
READS = {
    "model": (MODEL, {}),
    "models": (f"{P}/models", {}),
    "policy": (f"{MODEL}:getIamPolicy", {}),
    "bucket": (BUCKET, {}),
    "object": (OBJECT, {}),
    "bytes": (OBJECT, {"alt": "media"}),
    "download": (f"download/{OBJECT}", {"alt": "media"}),
    "objects": (f"{BUCKET}/o", {}),
}


class Held:
    """Something of the server's that does `first`, once, before what it is there for."""

    def __init__(self) -> None:
        self.first: Callable[[], None] | None = None

    def now(self) -> None:
        first, self.first = self.first, None
        if first is not None:
            first()


class HeldThread(Held, ThreadPoolExecutor):
    """A thread that comes late to the call."""

    def __init__(self) -> None:
        Held.__init__(self)
        ThreadPoolExecutor.__init__(self, 1)

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def late() -> Any:
            self.now()
            return work(*args, **kwargs)

        return super().submit(late)


class HeldStore(Held):
    """A store that is slow to open a transaction."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def read(self) -> AbstractContextManager[Transaction]:
        self.now()
        return self._store.read()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture(scope="module")
def offices() -> Iterator[tuple[Office, Office]]:
    """Two processes' worth of server on one database."""
    with scratch() as directory:
        admin.initialize(Settings(data_dir=str(directory)), OWNER, PROJECT)
        first, second = (Office(directory, "documented") for _ in range(2))
        ada = first.sign_in(OWNER)
        first.done(ada, "POST", f"{P}/models", {"name": "m"})
        first.done(ada, "POST", "storage/v1/b", {"name": "some-bucket"}, project=PROJECT)
        yield first, second
        first.close()
        second.close()


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("waits_for", ["thread", "store"])
@pytest.mark.parametrize("others_call", [False, True], ids=["alone", "beside others"])
def test_a_read_that_waited_shows_nothing_that_is_newer_than_the_revocation(
    offices: tuple[Office, Office], read: str, waits_for: str, others_call: bool
) -> None:
    office, other = offices
    path, query = READS[read]
    ada, eve = office.sign_in(OWNER), office.sign_in(EVE)

    def write(text: str, readers: list[str]) -> None:
        """Who may read, and then what there is to be read."""
        bindings = [{"role": "roles/owner", "members": [OWNER]}]
        bindings += [{"role": "roles/viewer", "members": readers}] if readers else []
        bindings += [{"role": "roles/ml.modelOwner", "members": readers}] if readers else []
        other.done(ada, "POST", f"{P}:setIamPolicy", {"policy": {"bindings": bindings}})
        other.done(ada, "PATCH", MODEL, {"description": text}, updateMask="description")
        other.done(ada, "PATCH", BUCKET, {"labels": {"text": text}})
        query = {"name": "secret", "uploadType": "media"}
        other.done(ada, "POST", f"upload/{BUCKET}/o", {"text": text}, **query)
        other.done(ada, "PATCH", OBJECT, {"metadata": {"text": text}})
        policy = {"bindings": [{"role": "roles/ml.modelUser", "members": [f"user:{text}@example.com"]}]}
        other.done(ada, "POST", f"{MODEL}:setIamPolicy", {"policy": policy})

    thread, store = HeldThread(), HeldStore(office.services.store)
    office.use(App(replace(office.services, executor=thread, store=store)))
    held: Held = thread if waits_for == "thread" else store
    write("before", [EVE])
    assert b"before" in office.raw(eve, "GET", path, query)[1]

    def revoke() -> None:
        write("after", [])
        if others_call:  # another call brings the memory of this process up to date
            office.services.snapshot.refresh()

    held.first = revoke
    status, shown = office.raw(eve, "GET", path, query)
    thread.shutdown()
    assert held.first is None, "the read did not wait"
    assert b"after" not in shown, f"{status}: shown to somebody who was revoked before it was written"
    assert status == 403
