"""From a row, a decision and an outcome to an audit entry.

A call that changes something is recorded in the transaction that changes it, together with the grant that allowed it; a
denied one is recorded by itself. Neither holds anything of the request's body but what a handler chose to add.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from mlgate.api.call import Call
from mlgate.api.world import world_of
from mlgate.core.errors import PermissionDenied
from mlgate.core.iam.evaluate import Grant, Question, decide
from mlgate.ports import AuditEntry

#: Names that are longer are cut: no resource has one.
LONGEST = 1024


def deciding_grant(call: Call) -> Grant | None:
    """The grant that allows the call, by the slow rule, inside its transaction and before it changes anything."""
    if not isinstance(call.method.requires, str):
        return None
    at, roles = call.now.timestamp(), call.modified_roles
    question = Question(call.principal, call.method.requires, call.resource, at, roles)
    because = decide(world_of(call), question).because
    return because if isinstance(because, Grant) else None


def entry(call: Call, outcome: str) -> AuditEntry:
    requires = call.method.requires
    return AuditEntry(
        time=call.now,
        request_id=call.request.request_id,
        method=call.method.id,
        resource=_storable(call.resource),
        principal=call.principal,
        permission=requires if isinstance(requires, str) else "",
        because=asdict(call.because) if call.because else None,
        outcome=outcome,
        detail=call.detail,
    )


def denial(call: Call, error: PermissionDenied) -> AuditEntry:
    """The entry of a call that was denied: what was missing, and where."""
    missing = replace(entry(call, error.status), because=None)
    return replace(
        missing,
        permission=error.metadata.get("permission", missing.permission),
        resource=_storable(error.metadata.get("resource", missing.resource)),
    )


def _storable(name: str) -> str:
    """The name as every database stores it: what a caller made up must not keep the entry out of the log."""
    return name[:LONGEST].replace("\x00", "\ufffd")
