"""What a handler gets: the call, its transaction, and the services behind the ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mlgate.api.completed_trials import CompletedTrials
from mlgate.api.method import Method, Registry
from mlgate.api.partial import Tree
from mlgate.api.prediction_log import PredictionLog
from mlgate.api.usage import Usage
from mlgate.core.errors import NotFound, PermissionDenied
from mlgate.core.iam.evaluate import Grant
from mlgate.core.iam.roles import Role
from mlgate.ports import Author, Blobs, Clock, Ids, ModelHost, ModelSpec, Optimizer, Record, Store, Token, Transaction
from mlgate.settings import Settings
from mlgate.snapshot import ServedVersion, Snapshot

T = TypeVar("T")


class Identity(Protocol):
    """Who is calling, by the token that they bear."""

    def identify(self, bearer: str) -> Token:
        """Whom the token speaks for. Raises Unauthenticated."""

    def confirm(self, token: Token) -> None:
        """Raises Unauthenticated when the token has expired, or its account is disabled, deleted or replaced, since."""

    def issue(self, tx: Transaction, principal: str, lifetime: float, uid: str = "") -> tuple[str, Token]:
        """A new bearer token, stored by its digest only."""

    def make_key(self) -> tuple[str, str]:
        """A new RSA key pair for a service account: private and public, in PEM."""

    def verify(self, assertion: str, public_pem: str) -> dict[str, Any]:
        """The claims of an RS256 token signed by that key. Raises Unauthenticated; says nothing of time or audience."""


@dataclass(frozen=True)
class Services:
    """Everything behind the door; made once by `app/api.py`."""

    registry: Registry
    store: Store
    snapshot: Snapshot
    blobs: Blobs
    host: ModelHost
    identity: Identity
    clock: Clock
    ids: Ids
    settings: Settings
    roles: Mapping[str, Role]
    executor: Executor
    #: Directory of the deployed models; a version's files are in the folder of their digest.
    models_dir: Path
    #: The Python of a version's environment, by the environment's directory.
    interpreter: Callable[[str], str]
    optimizer: Optimizer
    usage: Usage
    predictions: PredictionLog
    #: What each served version's process loads, by the version's uid (the prediction path's own memory).
    specs: dict[str, tuple[ServedVersion, ModelSpec]] = field(default_factory=dict)
    #: Who waits for points of a study, by its name (`api/suggestions.py`).
    waiting: dict[str, Any] = field(default_factory=dict)
    completed: CompletedTrials = field(default_factory=CompletedTrials)
    #: What /healthz adds to its answer, such as how model code is confined.
    health: Callable[[], dict[str, Any]] = dict


@dataclass(slots=True)
class Head:
    """What a request says before its body. Requests of one connection whose heads are the same share one."""

    http: str
    raw_path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    base_url: str
    #: What the door made of it when it saw it last (`api/dispatch.py`).
    meaning: Any = None


class Body(Protocol):
    """Read once, in one of these ways. Both raise what the transport has to say: too large, or nobody there."""

    async def read(self, limit: int) -> bytes: ...

    def stream(self) -> AsyncIterator[bytes]: ...


@dataclass(slots=True)
class Request:
    """An HTTP request as the door sees it, whether it came alone or in a batch."""

    head: Head
    body: Body
    request_id: str
    #: Its last byte was here before it was begun, so the first decision is younger than all of it.
    is_whole: bool = False

    @property
    def http(self) -> str:
        return self.head.http

    @property
    def raw_path(self) -> str:
        return self.head.raw_path

    @property
    def query(self) -> list[tuple[str, str]]:
        return self.head.query

    @property
    def headers(self) -> Mapping[str, str]:
        return self.head.headers

    @property
    def base_url(self) -> str:
        return self.head.base_url


@dataclass(slots=True)
class Response:
    """A raw answer; handlers that return a message get one made for them. `body` may be a stream of chunks."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    media_type: str = "application/json; charset=UTF-8"


@dataclass(slots=True)
class Call:
    """One authorized call. `resource` is what the permission was checked on; `tx` is set for READ and WRITE rows."""

    services: Services
    method: Method
    request: Request
    principal: str
    resource: str
    params: dict[str, str]
    query: dict[str, Any]
    token: Token | None = None
    #: The fields that the caller selected of the answer; None for all.
    fields: Tree | None = None
    tx: Transaction = None  # type: ignore[assignment]  # STREAM handlers open their own
    #: Handlers may add what the audit entry should remember, such as a policy's change.
    detail: dict[str, Any] = field(default_factory=dict)
    #: The grant that let a write in, as the audit log will tell it.
    because: Grant | None = None
    #: The roles that a change of a policy gives or takes, for conditions that ask.
    modified_roles: tuple[str, ...] = ()
    #: The store's revision before the call was first authorized.
    decided: int = -1
    _now: datetime | None = None

    @property
    def now(self) -> datetime:
        """The moment of the call: read when first asked for, the same ever after."""
        if self._now is None:
            self._now = self.services.clock.now()
        return self._now

    @property
    def settings(self) -> Settings:
        return self.services.settings

    def authorize(self) -> None:
        """Whether the caller is still who they were, and may still do this: asked again wherever time has passed.

        Raises Unauthenticated, PermissionDenied.
        """
        if isinstance(self.method.requires, str):
            self.require(self.method.requires, self.resource)
        if self.token is not None:
            self.services.identity.confirm(self.token)

    def may(self, permission: str, resource: str) -> bool:
        return self.services.snapshot.decide(self.principal, permission, resource, self.modified_roles)

    def require(self, permission: str, resource: str) -> None:
        """Raises PermissionDenied."""
        if not self.may(permission, resource):
            raise denied(permission, resource, self.principal)

    async def on_thread(self, work: Callable[[Transaction], T], *, write: bool = False) -> T:
        """For STREAM handlers: run `work` on a thread, in a transaction of its own; a writing one authorizes the call
        again first (a slow upload cannot outlive a revocation)."""

        def unit() -> T:
            store = self.services.store
            with store.write() if write else store.read() as tx:
                if not write and tx.revision() != self.decided:
                    self.authorize()  # what is read is no newer than the decision to show it
                if write:
                    self.authorize()
                    tx.author = Author(self.principal, self.now)
                return work(tx)

        return await asyncio.get_running_loop().run_in_executor(self.services.executor, unit)

    def record(self, name: str, kind: str) -> Record:
        """The stored resource. Raises NotFound."""
        found = self.tx.get(name)
        if found is None or found.kind != kind:
            raise NotFound(f"Resource '{name}' was not found.")
        return found


def denied(permission: str, resource: str, principal: str) -> PermissionDenied:
    """The answer for a denial, the same whether the resource exists or not (AIP-211)."""
    resource = resource or "the resource"
    return PermissionDenied(
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist) for '{principal}'.",
        reason="IAM_PERMISSION_DENIED",
        metadata={"permission": permission, "resource": resource, "principal": principal},
    )
