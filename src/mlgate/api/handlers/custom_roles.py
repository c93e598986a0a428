"""Custom roles of projects and of the organization (iam v1).

What a role grants is a fact that every process reads: its permissions, or nothing while it is DISABLED or deleted. So
an edit counts from its answer on, in every binding that names the role. Deleting keeps the role for seven days, to be
restored; its bindings stay visible and grant nothing (T-22). No role can hold a permission outside the catalogue.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mlgate.api.call import Call
from mlgate.api.messages.iam import CreateRoleRequest, ListRolesResponse, Role, UndeleteRoleRequest
from mlgate.api.messages.message import decode, encode
from mlgate.api.paging import page
from mlgate.core.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, ResourceExhausted
from mlgate.core.iam import permissions
from mlgate.core.names import check_id, join
from mlgate.core.wire import decode_base64, encode_base64, format_timestamp, parse_mask, parse_timestamp
from mlgate.ports import Record, Transaction

MAX_ROLES, MAX_PERMISSIONS, MAX_BYTES = 300, 3000, 64 << 10
RESTORABLE = timedelta(days=7)
_TEXT_LIMITS = {"title": 100, "description": 300}
_MASK = ("title", "description", "includedPermissions", "stage")


def create_role(call: Call, body: CreateRoleRequest) -> Role:
    """Raises AlreadyExists (a deleted role keeps its id), InvalidArgument, ResourceExhausted."""
    role_id = check_id("role", body.role_id or "", "roleId")
    given = body.role or Role()
    plain = {"stage": "ALPHA", **encode(given)}
    kept = {field: plain[field] for field in _MASK if plain.get(field)}
    _check(call.resource, kept)
    if call.tx.count(call.resource, "role") >= MAX_ROLES:
        raise ResourceExhausted(f"{call.resource} has its {MAX_ROLES} custom roles already.")
    name = join(call.resource, "roles", role_id)
    record = Record(name, "role", call.resource, call.services.ids.uid(), {"name": name, **kept}, call.now)
    try:
        call.tx.insert(record)
    except AlreadyExists:
        raise AlreadyExists(f"A role named {role_id} in {call.resource} already exists.") from None
    _tell(call.tx, record)
    return _shown(record)


def get_role(call: Call) -> Role:
    return _shown(call.record(call.resource, "role"))


def list_roles(call: Call) -> ListRolesResponse:
    """`view=FULL` adds what each holds; `showDeleted` those that can still be restored."""
    show_deleted = bool(call.query.get("showDeleted"))
    records, token = page(
        call, call.resource, "role", lambda r: r.body,
        visible=lambda r: show_deleted or not r.body.get("deleted"), default=300, most=1000,
    )  # fmt: skip
    full = call.query.get("view") == "FULL"
    return ListRolesResponse(roles=[_shown(r, full=full) for r in records], next_page_token=token)


def patch_role(call: Call, body: Role) -> Role:
    """Change the fields that the mask names (all that are given, without one). Raises Aborted for a stale etag."""
    record = call.record(call.resource, "role")
    _check_etag(record, body.etag)
    if record.body.get("deleted"):
        raise FailedPrecondition(f"{record.name} is deleted: restore it first.")
    given = encode(body)
    mask = call.query.get("updateMask", "") or ",".join(f for f in _MASK if f in given)
    changed = dict(record.body)
    for path in parse_mask(mask, _MASK):
        changed[path] = given.get(path)
    record.body = {k: v for k, v in changed.items() if v}
    _check(record.parent, record.body)
    call.tx.update(record)
    _tell(call.tx, record)
    return _shown(record)


def delete_role(call: Call) -> Role:
    """The role grants nothing from now on; it can be restored for seven days."""
    record = call.record(call.resource, "role")
    given = call.query.get("etag", "")
    _check_etag(record, _decoded(given) if given else None)
    record.body = {**record.body, "deleted": True}
    record.hidden["deleteTime"] = format_timestamp(call.now)
    call.tx.update(record)
    _tell(call.tx, record)
    return _shown(record)


def undelete_role(call: Call, body: UndeleteRoleRequest) -> Role:
    record = call.record(call.resource, "role")
    _check_etag(record, body.etag)
    if not record.body.get("deleted"):
        raise FailedPrecondition(f"{record.name} is not deleted.")
    if call.now - parse_timestamp(record.hidden["deleteTime"]) > RESTORABLE:
        raise FailedPrecondition(f"{record.name} was deleted more than {RESTORABLE.days} days ago.")
    record.body = {k: v for k, v in record.body.items() if k != "deleted"}
    call.tx.update(record)
    _tell(call.tx, record)
    return _shown(record)


def _tell(tx: Transaction, record: Record) -> None:
    """What every process must know of the role. It is a fact also while it grants nothing, so that a policy that names
    it can still be written."""
    silent = record.body.get("deleted") or record.body.get("stage") == "DISABLED"
    tx.set_fact("role", record.name, [] if silent else record.body.get("includedPermissions", []))


def _check(parent: str, plain: dict[str, Any]) -> None:
    for field, limit in _TEXT_LIMITS.items():
        if len(plain.get(field, "").encode()) > limit:
            raise _refuse(field, f"{field} is longer than {limit} bytes")
    held = plain.get("includedPermissions", [])
    known = set(permissions.ALL)
    if parent.startswith("projects/"):
        known -= permissions.ORGANIZATION_ONLY
    unknown = [permission for permission in held if permission not in known]
    if unknown:
        raise _refuse("includedPermissions", f'permission "{unknown[0][:100]}" is not valid for a role of {parent}')
    size = sum(len(text.encode()) for text in (plain.get("title", ""), plain.get("description", ""), *held))
    if len(held) > MAX_PERMISSIONS or size > MAX_BYTES:
        why = f"a role holds at most {MAX_PERMISSIONS} permissions and {MAX_BYTES} bytes"
        raise _refuse("includedPermissions", why)


def _check_etag(record: Record, etag: bytes | None) -> None:
    if etag and etag != record.etag:
        raise Aborted(f"There were concurrent changes of {record.name}; read it again and retry.")


def _decoded(etag: str) -> bytes:
    try:
        return decode_base64(etag)
    except ValueError:
        raise _refuse("etag", "it is not base64") from None


def _refuse(field: str, why: str) -> InvalidArgument:
    message = f"{field}: {why}."
    return InvalidArgument(message, fields=[(f"role.{field}", message)])


def _shown(record: Record, *, full: bool = True) -> Role:
    role = decode(Role, {**record.body, "etag": encode_base64(record.etag)})
    if not full:
        role.included_permissions = None
    return role
