"""What a server process keeps in memory so that a request needs no database: policies, deny policies, groups, roles,
accounts, projects, buckets, and what is served. A fold over the store's facts, brought up to date by revision.

INVARIANT: `decide` never answers from a state older than the revision that the store held when it was called. That is
what makes a policy write final the moment it is answered, in every process: each decision first reads the revision (one
row, microseconds), and reads the facts above its own when that has moved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgate.core.iam import deny
from mlgate.core.iam.deny import BEING_DELETED, DenyPolicy
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.policy import from_plain
from mlgate.core.names import bucket_name, join, project_id_of
from mlgate.ports import Fact, ModelSpec, Scaling, Store


@dataclass(frozen=True, slots=True)
class Project:
    project_id: str
    number: str
    parent: str
    active: bool
    agent: str

    @property
    def name(self) -> str:
        return f"projects/{self.project_id}"


@dataclass(frozen=True, slots=True)
class Account:
    """A service account of this server; `user:` principals have no record."""

    email: str
    uid: str
    project: str
    disabled: bool


@dataclass(frozen=True, slots=True)
class RequestLogging:
    """Which part of a version's requests is logged, from 0 to 1, and where (core/request_logging.py)."""

    share: float
    sink: str


#: More nodes than any machine gives.
MANY = 1 << 16


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version that is READY: the directory that it was copied to, by digest, the framework that loads it, and the
    directory of the environment that it runs in ("" for the server's own Python). Code of the user's own is in a
    second directory, `packages`, also by digest."""

    uid: str
    digest: str
    framework: str
    environment: str = ""
    packages: str = ""
    prediction_class: str = ""
    explanation: Mapping[str, Any] | None = None
    logging: RequestLogging | None = None
    #: The service account that a custom routine acts as, for calls of this server.
    account: str = ""
    #: The directory of its faster copy, also by digest.
    copy: str = ""
    #: How many nodes it is to have (core/versions.py).
    low: int = 0
    high: int = 0

    def spec(self, models_dir: Path, python: str, memory_bytes: int, seconds: float) -> ModelSpec:
        """What the version's process is to load; `seconds` is how long one prediction may take."""
        options: dict[str, Any] = {"packages": str(models_dir / self.packages)} if self.packages else {}
        if self.prediction_class:
            options["prediction_class"] = self.prediction_class
        if self.account:
            options["account"] = self.account
        if self.copy:
            options["copy"] = str(models_dir / self.copy)
        if self.explanation:
            options["explanation"] = self.explanation
        return ModelSpec(
            uid=self.uid,
            directory=str(models_dir / self.digest),
            framework=self.framework,
            python=python,
            memory_bytes=memory_bytes,
            options=options,
            seconds=seconds,
            scaling=Scaling(self.low, self.high or MANY),
        )


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Whether its predictions leave access lines, and whether what its processes print is kept, is up to the model."""

    default: str
    versions: Mapping[str, ServedVersion]
    access_log: bool = False
    console_log: bool = False


class Snapshot:
    """Safe to use from several threads. `clock` tells the seconds since 1970."""

    def __init__(
        self, store: Store, roles: Mapping[str, frozenset[str]], clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._clock = clock
        self._index = AccessIndex(roles)
        self._denials: dict[str, tuple[DenyPolicy, ...]] = {}
        self._lock = threading.RLock()
        self._is_moving = False
        self.revision = 0
        self.projects: dict[str, Project] = {}
        self.numbers: dict[str, str] = {}
        self.accounts: dict[str, Account] = {}
        self.buckets: dict[str, str] = {}
        self.served: dict[str, ServedModel] = {}
        #: Tokens that were ended before their time: the digest, and when they would have ended.
        self.ended: dict[bytes, str] = {}

    def refresh(self) -> int:
        """Bring the state to the store's revision, and return it."""
        revision = self._store.revision()
        if revision == self.revision:
            return revision
        with self._lock:
            if revision > self.revision:
                reached, facts = self._store.changes(self.revision)
                self._is_moving = True
                for fact in facts:
                    self._apply(fact)
                self.revision = reached  # last: whoever reads it without the lock may rely on what it stands for
                self._is_moving = False
            return self.revision

    def stands_at(self, revision: int) -> bool:
        """Whether what was read before this question is no newer than the revision."""
        return self.revision == revision and not self._is_moving

    def account(self, email: str) -> Account | None:
        """The service account of an address, unless its project is being deleted."""
        account = self.accounts.get(email)
        project = self.projects.get(account.project) if account is not None else None
        return account if project is not None and project.active else None

    def decide(self, principal: str, permission: str, resource: str, modified_roles: Collection[str] = ()) -> bool:
        """Whether the principal holds the permission on the resource now; `modified_roles` are the roles that the call
        gives or takes, where it changes a policy."""
        self.refresh()
        return self.allows(principal, permission, resource, modified_roles)

    def allows(self, principal: str, permission: str, resource: str, modified_roles: Collection[str] = ()) -> bool:
        """As `decide`, from the state as it is: for a caller that has just brought it up to date."""
        with self._lock:
            return self._index.is_allowed(principal, permission, resource, self._clock(), modified_roles)

    def children(self, principal: str, permission: str, collection: str) -> list[str] | None:
        """The resources of a collection, such as `projects/p/models`, on which the principal holds the permission, in
        order; None when a policy above may give it on all of them, so that each has to be asked."""
        self.refresh()
        with self._lock:
            return self._index.children(principal, permission, collection, self._clock())

    def named(self, principal: str) -> set[str]:
        """The resources whose policies name the principal, or a group around them, or everybody."""
        self.refresh()
        with self._lock:
            return set(self._index.named(principal, self._clock()))

    def _apply(self, fact: Fact) -> None:
        match fact.kind:
            case "policy":
                self._index.set_policy(fact.key, None if fact.value is None else from_plain(fact.value))
            case "role":
                self._index.set_role(fact.key, fact.value)
            case "group":
                self._index.set_group(fact.key, fact.value)
            case "parent":
                self._index.set_parent(fact.key, fact.value)
            case "deny":
                self._denials[fact.key] = deny.from_plain(fact.value)
                self._apply_denials(fact.key)
            case "project":
                self._apply_project(fact)
            case "bucket":
                self._index.set_parent(bucket_name(fact.key), fact.value and join("", "projects", fact.value))
                _put(self.buckets, fact.key, fact.value)
            case "account":
                value = fact.value
                _put(
                    self.accounts,
                    fact.key,
                    value and Account(fact.key, value["uid"], value["project"], value["disabled"]),
                )
            case "ended":
                _put(self.ended, bytes.fromhex(fact.key), fact.value)
            case "serving":
                _put(self.served, fact.key, fact.value and _served(fact.value))

    def _apply_project(self, fact: Fact) -> None:
        old = self.projects.pop(fact.key, None)
        if old is not None:
            self.numbers.pop(old.number, None)
        self._index.set_parent(join("", "projects", fact.key), fact.value and fact.value["parent"])
        if fact.value is not None:
            v = fact.value
            self.projects[fact.key] = Project(fact.key, v["number"], v["parent"], v["active"], v["agent"])
            self.numbers[v["number"]] = fact.key
        self._apply_denials(join("", "projects", fact.key))

    def _apply_denials(self, resource: str) -> None:
        """The deny policies of a resource, and the one that stands on a project while it is being deleted."""
        project = self.projects.get(project_id_of(resource))
        dying = () if project is None or project.active else (BEING_DELETED,)
        self._index.set_denials(resource, (*dying, *self._denials.get(resource, ())))


def _put(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _served(value: Mapping[str, Any]) -> ServedModel:
    versions = {v: _served_version(served) for v, served in value["versions"].items()}
    return ServedModel(value["default"], versions, bool(value.get("accessLog")), bool(value.get("consoleLog")))


def _served_version(value: Mapping[str, Any]) -> ServedVersion:
    logging = value.get("logging")
    return ServedVersion(**{**value, "logging": RequestLogging(**logging) if logging else None})
