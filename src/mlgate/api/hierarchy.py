"""The tree above projects: the organization, folders in it or in one another, projects in either.

A policy counts for all that is below its resource, so a move changes who may do what: it takes rights at both ends, and
its effect is a fact that every process reads, like a policy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgate.api.call import Call
from mlgate.core.errors import Aborted, FailedPrecondition, InvalidArgument
from mlgate.core.names import ORGANIZATION, id_of
from mlgate.core.wire import encode_base64
from mlgate.ports import Record, Transaction

ACTIVE, DELETED = "ACTIVE", "DELETE_REQUESTED"
_TYPES = {"organizations": "organization", "folders": "folder", "projects": "project"}


# ------------------------------------------------------------------------------------------------------------ parents


def parent_in_body(body: Mapping[str, Any]) -> dict[str, str]:
    """For rows whose body names the parent: `{"parent": "folders/1"}`."""
    parent = body.get("parent")
    return {"parent": parent if isinstance(parent, str) else ""}


def project_parent_in_body(body: Mapping[str, Any]) -> dict[str, str]:
    """The same for projects, which go into the organization when the body names no parent, and for v1's form
    `{"parent": {"type": "folder", "id": "1"}}`."""
    parent = body.get("parent")
    if parent is None:
        return {"parent": ORGANIZATION}
    if isinstance(parent, dict):
        return {"parent": parent_name(parent.get("type"), parent.get("id"))}
    return parent_in_body(body)


def parent_name(kind: Any, number: Any) -> str:
    """`folders/1` of v1's ("folder", "1"); "" for what is no parent."""
    is_parent = kind in ("organization", "folder") and isinstance(number, str) and number
    return f"{kind}s/{number}" if is_parent else ""


def resource_id(name: str) -> dict[str, str]:
    """v1's form of a name: `{"type": "folder", "id": "1"}`."""
    return {"type": _TYPES[name.partition("/")[0]], "id": id_of(name)}


def place(call: Call, name: str, field: str = "parent") -> Record:
    """The organization or folder in which something is to be. Raises InvalidArgument for anything else, and
    FailedPrecondition for a folder that is being deleted."""
    record = call.tx.get(name)
    if record is None or record.kind not in ("organization", "folder"):
        message = (
            f'{field} "{name[:100]}" is neither an organization nor a folder: write {ORGANIZATION} or folders/NUMBER.'
        )
        raise InvalidArgument(message, fields=[(field, message)])
    if not is_active(record):
        raise violation("PARENT_DELETED", f"{name} is being deleted: restore it first.")
    return record


def lineage(tx: Transaction, name: str) -> list[str]:
    """The resource and everything above it, up to the organization."""
    found = []
    while name:
        record = tx.get(name)
        if record is None or name in found:
            break
        found.append(name)
        name = record.parent
    return found


# ------------------------------------------------------------------------------------------------------------- states


def is_active(record: Record) -> bool:
    return bool(record.body["lifecycleState"] == ACTIVE)


def check_active(record: Record) -> None:
    """Raises FailedPrecondition: what is being deleted is not changed."""
    if not is_active(record):
        raise violation("RESOURCE_DELETED", f"{record.name} is being deleted: restore it first.")


def check_etag(record: Record, etag: str | None) -> None:
    """Raises Aborted for an etag that was given and is not the current one."""
    if etag and etag != encode_base64(record.etag):
        raise Aborted(f"There were concurrent changes of {record.name}; read it again and retry.")


def violation(rule: str, message: str) -> FailedPrecondition:
    """A rule of the tree is broken; Google's name of it goes beside the message."""
    return FailedPrecondition(message, reason=f"{rule}_VIOLATION")
