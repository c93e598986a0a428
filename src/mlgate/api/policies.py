"""Policies of every kind of resource that has one: read, replace, test, and their form on the wire."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlgate.api.audit import deciding_grant
from mlgate.api.call import Call
from mlgate.api.messages.message import decode, encode
from mlgate.api.messages.policies import (
    AuditConfig,
    Binding,
    Expr,
    Policy,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlgate.core.errors import Aborted, InvalidArgument
from mlgate.core.iam import policy as core
from mlgate.core.iam import roles
from mlgate.core.iam.principals import SERVICE_ACCOUNT_SUFFIX
from mlgate.core.iam.validate import OWNER, check_keeps_owner, validated
from mlgate.core.names import project_of
from mlgate.core.wire import split_mask
from mlgate.ports import Transaction

_CONFLICT = (
    "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff. "
    "The request's ETag did not match the current policy's ETag."
)
MAX_ASKED = 100
VERSIONS = (0, 1, 3)
#: The version that has conditions.
WITH_CONDITIONS = 3
_RECORD_KINDS = {
    roles.MODEL: "model",
    roles.JOB: "job",
    roles.PROJECT: "project",
    roles.FOLDER: "folder",
    roles.BUCKET: "bucket",
    roles.SERVICE_ACCOUNT: "serviceAccount",
    roles.ORGANIZATION: "organization",
}


def get_policy(call: Call, name: str, kind: str, version: int = 0) -> Policy:
    """The policy of a resource, in the form of a version: 3 shows conditions, a lower one what a reader that does not
    know them can show. Raises NotFound for a resource that does not exist, InvalidArgument for a version that is none.
    """
    if version not in VERSIONS:
        message = f"requestedPolicyVersion {version} is invalid: use 0, 1 or 3."
        raise InvalidArgument(message, fields=[("options.requestedPolicyVersion", message)])
    call.record(name, _RECORD_KINDS[kind])
    policy = call.tx.policy(name) or core.EMPTY
    return to_wire(policy if version == WITH_CONDITIONS else _without_conditions(policy))


def set_policy(call: Call, name: str, kind: str, body: SetIamPolicyRequest) -> Policy:
    """Replace the policy, and answer what is stored.

    1. A given etag must be the current one (Aborted otherwise); without one the write is blind.
    2. The mask says which parts are replaced; by default bindings and etag.
    3. Bindings with conditions are only replaced by a writer who knows them: one that says version 3.
    4. The new policy must be valid for this kind of resource (InvalidArgument), and leave a project its owner.
    5. The caller must hold the permission for a change of just these roles (PermissionDenied): a condition may limit
       which roles somebody hands out.
    """
    record = call.record(name, _RECORD_KINDS[kind])
    if body.policy is None:
        message = "policy is required."
        raise InvalidArgument(message, fields=[("policy", message)])
    wanted = from_wire(body.policy)
    current = call.tx.policy(name) or core.EMPTY
    if wanted.etag and wanted.etag != current.etag:
        raise Aborted(_CONFLICT)
    mask = set(split_mask(body.update_mask)) if body.update_mask else {"bindings", "etag"}
    if unknown := mask - {"bindings", "etag", "version", "auditConfigs"}:
        message = f'updateMask: "{min(unknown)[:100]}" is no field of a policy.'
        raise InvalidArgument(message, fields=[("updateMask", message)])
    if "bindings" in mask and current.is_conditional and wanted.version != WITH_CONDITIONS:
        message = (
            f"The policy of {name} has conditions, which this change would lose: read it with "
            "options.requestedPolicyVersion=3 and write it with version 3."
        )
        raise InvalidArgument(message, fields=[("policy.version", message)])
    changed = replace(
        current,
        bindings=wanted.bindings if "bindings" in mask else current.bindings,
        audit_configs=wanted.audit_configs if "auditConfigs" in mask else current.audit_configs,
        version=wanted.version if "bindings" in mask else WITH_CONDITIONS,
    )
    checked = validated(
        changed,
        kind,
        call.services.roles,
        lambda role: _is_custom_role(call.tx, role, project_of(name) or record.parent),
        lambda member: is_missing(call, member),
    )
    if kind == roles.PROJECT and OWNER in {b.role for b in (*current.bindings, *checked.bindings)}:
        check_keeps_owner(checked)
    _authorize_change(call, delta(current, checked))
    stored = call.tx.set_policy(name, checked)
    assert stored is not None
    call.detail["policyDelta"] = delta(current, stored)
    return to_wire(stored)


def _authorize_change(call: Call, changes: list[dict[str, Any]]) -> None:
    """Authorize once more, now that it is known which roles are given or taken."""
    call.modified_roles = tuple(dict.fromkeys(change["role"] for change in changes))
    call.authorize()
    if call.because is not None and call.because.condition is not None:
        call.because = deciding_grant(call)


def test_permissions(call: Call, name: str, kind: str, body: TestIamPermissionsRequest) -> TestIamPermissionsResponse:
    """Which of the permissions the caller holds. A resource that does not exist answers none, not NOT_FOUND (T-16)."""
    asked = list(dict.fromkeys(body.permissions or []))
    check_asked(asked)
    held = [permission for permission in asked if call.may(permission, name)]
    record = call.tx.get(name)  # looked up last, so that the time taken does not tell whether it exists
    is_there = record is not None and record.kind == _RECORD_KINDS[kind]
    return TestIamPermissionsResponse(permissions=held if is_there else None)


def check_asked(permissions: Sequence[str]) -> None:
    """Raises InvalidArgument for a wildcard, or for more permissions than a call may ask about."""
    if len(permissions) > MAX_ASKED:
        message = f"{len(permissions)} permissions are asked about; {MAX_ASKED} are allowed."
        raise InvalidArgument(message, fields=[("permissions", message)])
    for permission in permissions:
        if "*" in permission:
            message = f'"{permission[:100]}": wildcards are not allowed; name each permission.'
            raise InvalidArgument(message, fields=[("permissions", message)])


# ------------------------------------------------------------------------------------------------------------- wire


def to_wire(policy: core.Policy) -> Policy:
    bindings = [
        Binding(
            role=b.role,
            members=list(b.members),
            condition=Expr(
                expression=b.condition.expression, title=b.condition.title, description=b.condition.description
            )
            if b.condition
            else None,
        )
        for b in policy.bindings
    ]
    return Policy(
        version=(WITH_CONDITIONS if policy.is_conditional else 1) if bindings else None,
        bindings=bindings,
        etag=policy.etag,
        audit_configs=[decode(AuditConfig, dict(config)) for config in policy.audit_configs],
    )


def _without_conditions(policy: core.Policy) -> core.Policy:
    """For a reader that does not know conditions: a role under a condition gets a name that cannot be written back."""
    return replace(
        policy,
        bindings=tuple(
            replace(b, role=f"{b.role}_withcond_{_digest(b.condition)}", condition=None) if b.condition else b
            for b in policy.bindings
        ),
    )


def _digest(condition: core.Condition) -> str:
    """20 hexadecimal digits, the same for the same condition."""
    text = json.dumps(core.condition_to_plain(condition), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def from_wire(policy: Policy) -> core.Policy:
    return core.Policy(
        bindings=tuple(
            core.Binding(b.role or "", tuple(b.members or ()), _condition(b.condition)) for b in policy.bindings or ()
        ),
        etag=policy.etag or b"",
        version=policy.version or 0,
        audit_configs=tuple(encode(config) for config in policy.audit_configs or ()),
    )


def _condition(expr: Expr | None) -> core.Condition | None:
    return core.Condition(expr.expression or "", expr.title or "", expr.description or "") if expr else None


def delta(before: core.Policy, after: core.Policy) -> list[dict[str, Any]]:
    """What a change added and removed, one entry a role, member and condition (Cloud Audit Logs' bindingDeltas)."""
    old, new = _grants(before), _grants(after)
    return [_entry("REMOVE", *grant) for grant in old if grant not in new] + [
        _entry("ADD", *grant) for grant in new if grant not in old
    ]


def _grants(policy: core.Policy) -> dict[tuple[str, str, core.Condition | None], None]:
    """Every grant of the policy once, in order."""
    return {(b.role, member, b.condition): None for b in policy.bindings for member in b.members}


def _entry(action: str, role: str, member: str, condition: core.Condition | None) -> dict[str, Any]:
    entry = {"action": action, "role": role, "member": member}
    return {**entry, "condition": core.condition_to_plain(condition)} if condition else entry


def _is_custom_role(tx: Transaction, role: str, project: str) -> bool:
    """A custom role may be bound in the project that has it, and in all if the organization has it."""
    return role.startswith((f"{project}/roles/", "organizations/")) and tx.fact("role", role) is not None


def is_missing(call: Call, member: str) -> bool:
    """A group, or an address of one of our own projects' service accounts, that nobody has: refused, or its next owner
    would find rights waiting."""
    kind, _, email = member.partition(":")
    if kind == "group":
        return call.tx.fact("group", member) is None
    if kind != "serviceAccount" or not email.endswith(SERVICE_ACCOUNT_SUFFIX):
        return False
    project = email.partition("@")[2].removesuffix(SERVICE_ACCOUNT_SUFFIX)
    if call.tx.fact("project", project) is None:
        return False
    return call.tx.fact("account", email) is None
