"""What a server process keeps in memory so that a request needs no database: policies, accounts, projects, buckets, and
what is served. A fold over the store's facts, brought up to date by revision.

INVARIANT: `decide` never answers from a state older than the revision that the store held when it was called. That is
what makes a policy write final the moment it is answered, in every process: each decision first reads the revision (one
row, microseconds), and reads the facts above its own when that has moved.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.policy import from_plain
from mlgate.core.names import bucket_name, join, project_id_of
from mlgate.ports import Fact, Store


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
class ServedVersion:
    """A version that is READY: the directory that it was copied to, by digest, and the framework that loads it."""

    uid: str
    digest: str
    framework: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    default: str
    versions: Mapping[str, ServedVersion]


class Snapshot:
    """Safe to use from several threads."""

    def __init__(self, store: Store, roles: Mapping[str, frozenset[str]]) -> None:
        self._store = store
        self._index = AccessIndex(roles)
        self._lock = threading.RLock()
        self.revision = 0
        self.projects: dict[str, Project] = {}
        self.numbers: dict[str, str] = {}
        self.accounts: dict[str, Account] = {}
        self.buckets: dict[str, str] = {}
        self.served: dict[str, ServedModel] = {}

    def refresh(self) -> int:
        """Bring the state to the store's revision, and return it."""
        revision = self._store.revision()
        if revision == self.revision:
            return revision
        with self._lock:
            if revision > self.revision:
                reached, facts = self._store.changes(self.revision)
                for fact in facts:
                    self._apply(fact)
                self.revision = reached  # last: whoever reads it without the lock may rely on what it stands for
            return self.revision

    def account(self, email: str) -> Account | None:
        """The service account of an address, unless its project is being deleted."""
        account = self.accounts.get(email)
        project = self.projects.get(account.project) if account is not None else None
        return account if project is not None and project.active else None

    def decide(self, principal: str, permission: str, resource: str) -> bool:
        """Whether the principal holds the permission on the resource now."""
        self.refresh()
        return self.allows(principal, permission, resource)

    def allows(self, principal: str, permission: str, resource: str) -> bool:
        """As `decide`, from the state as it is: for a caller that has just brought it up to date."""
        with self._lock:
            project = self.projects.get(self._project_id_of(resource))
            if project is not None and not project.active and not permission.startswith("resourcemanager."):
                return False  # A project that is being deleted can be looked at and restored, nothing else.
            return self._index.is_allowed(principal, permission, resource)

    def _project_id_of(self, resource: str) -> str:
        if resource.startswith("buckets/"):
            return self.buckets.get(resource.split("/", 2)[1], "")
        return project_id_of(resource)

    def _apply(self, fact: Fact) -> None:
        match fact.kind:
            case "policy":
                self._index.set_policy(fact.key, None if fact.value is None else from_plain(fact.value))
            case "role":
                self._index.set_role(fact.key, fact.value)
            case "group":
                self._index.set_group(fact.key, fact.value)
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


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _served(value: Mapping[str, Any]) -> ServedModel:
    return ServedModel(
        value["default"],
        {v: ServedVersion(s["uid"], s["digest"], s["framework"]) for v, s in value["versions"].items()},
    )
