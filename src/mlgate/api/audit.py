"""From a row, a decision and an outcome to an audit entry.

A call that changes something is recorded in the transaction that changes it, together with the grant that allowed it; a
denied one is recorded by itself. Neither holds anything of the request's body but what a handler chose to add.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace

from mlgate.api.call import Call
from mlgate.core.errors import PermissionDenied
from mlgate.core.iam.evaluate import Grant, decide
from mlgate.core.iam.policy import Policy
from mlgate.core.names import parent_of
from mlgate.ports import AuditEntry, Transaction

#: Names that are longer are cut: no resource has one.
LONGEST = 1024


class StoredWorld:
    """The world of `evaluate.decide`, read in a transaction: exact at that point, and slow: for audit only."""

    def __init__(self, tx: Transaction, roles: dict[str, frozenset[str]]) -> None:
        self._tx = tx
        self._roles = roles

    def policy(self, resource: str) -> Policy | None:
        return self._tx.policy(resource)

    def parent(self, resource: str) -> str | None:
        kind, _, key = resource.partition("/")
        if "/" not in key:
            if kind == "projects":
                project = self._tx.fact("project", key)
                return project["parent"] if project else None
            if kind == "buckets":
                bucket = self._tx.fact("bucket", key)
                return f"projects/{bucket}" if bucket else None
        return parent_of(resource)

    def permissions(self, role: str) -> Collection[str]:
        return self._roles.get(role) or self._tx.fact("role", role) or ()

    def members(self, group: str) -> Collection[str]:
        return self._tx.fact("group", group) or ()


def deciding_grant(call: Call) -> Grant | None:
    """The grant that allows the call, by the slow rule, inside its transaction and before it changes anything."""
    if not isinstance(call.method.requires, str):
        return None
    catalogue = call.settings.role_catalogue
    roles = {name: frozenset(role.holds(catalogue)) for name, role in call.services.roles.items()}
    return decide(StoredWorld(call.tx, roles), call.principal, call.method.requires, call.resource).because


def entry(call: Call, because: Grant | None, outcome: str) -> AuditEntry:
    requires = call.method.requires
    return AuditEntry(
        time=call.now,
        request_id=call.request.request_id,
        method=call.method.id,
        resource=call.resource[:LONGEST],
        principal=call.principal,
        permission=requires if isinstance(requires, str) else "",
        because=asdict(because) if because else None,
        outcome=outcome,
        detail=call.detail,
    )


def denial(call: Call, error: PermissionDenied) -> AuditEntry:
    """The entry of a call that was denied: what was missing, and where."""
    missing = entry(call, None, error.status)
    return replace(
        missing,
        permission=error.metadata.get("permission", missing.permission),
        resource=error.metadata.get("resource", missing.resource)[:LONGEST],
    )
