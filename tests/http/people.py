"""Callers for tests that speak HTTP: many tokens at once, and the server's own store for facts that no API sets yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from mlgate.adapters.db.store import SqlStore
from mlgate.adapters.identity.tokens import new_token
from mlgate.app.places import open_store
from mlgate.ports import Transaction
from mlgate.settings import Settings
from tests.harness import OWNER, Server


@contextmanager
def writing(server: Server) -> Iterator[Transaction]:
    """A transaction on the running server's store, for what the API cannot do (yet): each use says what."""
    store: SqlStore = open_store(Settings(data_dir=str(server.data_dir), database_url=server.database_url))
    try:
        with store.write() as tx:
            yield tx
    finally:
        store.close()


def tokens(server: Server, principals: Iterable[str], seconds: float = 3600) -> dict[str, str]:
    """A real token for each, as `mlgate admin token` makes it, in one transaction."""
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    with writing(server) as tx:
        accounts = tx.facts("account")
        return {p: new_token(tx, p, expires, accounts.get(p.partition(":")[2], {}).get("uid", "")) for p in principals}


class Api:
    """One connection on which many people call, each with a token."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = httpx.Client(base_url=server.url, timeout=60)
        self.bearers: dict[str, str] = {"": ""}

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def sign_in(self, principals: Iterable[str]) -> None:
        self.bearers |= tokens(self.server, set(principals) - self.bearers.keys())

    def __call__(self, who: str, http: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A call by `who` ("" for nobody) with a JSON body."""
        if who not in self.bearers:
            self.sign_in([who])
        headers = {"Authorization": f"Bearer {self.bearers[who]}"} if who else {}
        return self.client.request(http, path, json=body, headers=headers | options.pop("headers", {}), **options)

    def done(self, who: str, http: str, path: str, body: Any = None, **options: Any) -> Any:
        """The answer of a call that must succeed."""
        response = self(who, http, path, body, **options)
        assert response.status_code == 200, f"{who} {http} {path}: {response.status_code} {response.text}"
        return response.json()

    def new_project(self, project_id: str, owner: str = OWNER) -> str:
        """A project of its own for a test; its path."""
        self.done(owner, "POST", "/v1/projects", {"projectId": project_id})
        return f"/v1/projects/{project_id}"

    def bind(self, path: str, bindings: dict[str, list[str]], by: str = OWNER) -> httpx.Response:
        """Replace the policy of a resource; a project keeps its owner."""
        kept = {"roles/owner": [by]} if path.count("/") == 3 and "roles/owner" not in bindings else {}
        policy = [{"role": role, "members": members} for role, members in {**kept, **bindings}.items() if members]
        return self(by, "POST", f"{path}:setIamPolicy", {"policy": {"bindings": policy}})


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of an answer, after a look at its form (api.md rule 7)."""
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == response.status_code
    assert error["message"]
    assert error["status"]
    return error
