"""The world of the core's rules, read in a transaction: exact at that point, for explanations, reviews and audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mlgate.api.call import Call
from mlgate.core.iam import deny
from mlgate.core.iam.deny import BEING_DELETED, DenyPolicy
from mlgate.core.iam.policy import Policy
from mlgate.core.names import id_of, parent_of, project_of
from mlgate.ports import Transaction


class StoredWorld:
    """What was read is kept: one world is for one call."""

    def __init__(self, tx: Transaction, roles: Mapping[str, Collection[str]]) -> None:
        self._tx = tx
        self._roles = dict(roles)
        self._policies: dict[str, Policy | None] = {}
        self._denials: dict[str, tuple[DenyPolicy, ...]] = {}
        self._groups: dict[str, Mapping[str, float | None]] = {}
        self._parents: dict[str, str | None] = {}

    def policy(self, resource: str) -> Policy | None:
        if resource not in self._policies:
            self._policies[resource] = self._tx.policy(resource)
        return self._policies[resource]

    def denials(self, resource: str) -> Sequence[DenyPolicy]:
        if resource not in self._denials:
            project = self._tx.fact("project", id_of(resource)) if resource == project_of(resource) else None
            dying = (BEING_DELETED,) if project and not project["active"] else ()
            self._denials[resource] = (*dying, *deny.from_plain(self._tx.fact("deny", resource)))
        return self._denials[resource]

    def parent(self, resource: str) -> str | None:
        if resource not in self._parents:
            self._parents[resource] = self._parent(resource)
        return self._parents[resource]

    def permissions(self, role: str) -> Collection[str]:
        if role not in self._roles:
            self._roles[role] = frozenset(self._tx.fact("role", role) or ())
        return self._roles[role]

    def members(self, group: str) -> Mapping[str, float | None]:
        if group not in self._groups:
            self._groups[group] = self._tx.fact("group", group) or {}
        return self._groups[group]

    def _parent(self, resource: str) -> str | None:
        kind, _, key = resource.partition("/")
        if "/" not in key:
            if kind == "projects":
                project = self._tx.fact("project", key)
                return project["parent"] if project else None
            if kind == "buckets":
                bucket = self._tx.fact("bucket", key)
                return f"projects/{bucket}" if bucket else None
            parent: str | None = self._tx.fact("parent", resource)
            return parent
        return parent_of(resource)


def world_of(call: Call) -> StoredWorld:
    """The world as the call's transaction sees it."""
    catalogue = call.settings.role_catalogue
    return StoredWorld(call.tx, {name: frozenset(role.holds(catalogue)) for name, role in call.services.roles.items()})
