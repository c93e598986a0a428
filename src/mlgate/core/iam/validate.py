"""What a policy may contain, checked once, when it is set.

Limits and texts follow Google IAM: at most 1,500 principals, each occurrence counted, 250 of them groups; at least one
member a binding; versions 0, 1 and 3, and 3 where a binding has a condition; no condition on basic roles or on
everybody, and at most 20 for one role and member; the role must be one that this kind of resource supports (C-23).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from mlgate.core.errors import FailedPrecondition, InvalidArgument, RpcError
from mlgate.core.iam import conditions
from mlgate.core.iam.policy import Binding, Policy, merged
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, parse_member
from mlgate.core.iam.roles import CONTAINERS, Role

MAX_PRINCIPALS, MAX_GROUPS = 1500, 250
MAX_CONDITIONS = 20
OWNER = "roles/owner"
BASIC = (OWNER, "roles/editor", "roles/viewer")


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(f"policy.{field}", message)])


def validated(
    policy: Policy,
    kind: str,
    roles: Mapping[str, Role],
    is_custom_role: Callable[[str], bool],
    is_missing: Callable[[str], bool],
) -> Policy:
    """The policy in canonical form: addresses in lower case, one binding a role, duplicates dropped.

    `is_custom_role` tells whether a custom role may be bound here; `is_missing` whether an address would be a group
    or a service account of this server that does not exist (one made later under it must not find rights waiting).
    Raises InvalidArgument.
    """
    if policy.version not in (0, 1, 3):
        raise _refuse("version", f"Policy version {policy.version} is invalid: use 0, 1 or 3.")
    if policy.is_conditional and policy.version != 3:
        raise _refuse("version", f"A policy with conditions must have version 3; this one says {policy.version}.")
    if policy.audit_configs and kind not in CONTAINERS:
        raise _refuse("auditConfigs", "auditConfigs are only supported on organizations, folders and projects.")
    bindings = tuple(
        _validated_binding(n, binding, kind, roles, is_custom_role, is_missing)
        for n, binding in enumerate(policy.bindings)
    )
    _check_counts(bindings)
    return replace(policy, bindings=merged(bindings), version=policy.version or 1)


def _validated_binding(
    n: int,
    binding: Binding,
    kind: str,
    roles: Mapping[str, Role],
    is_custom_role: Callable[[str], bool],
    is_missing: Callable[[str], bool],
) -> Binding:
    where = f"bindings[{n}]"
    if not binding.members:
        raise _refuse(f"{where}.members", f'The binding of role "{binding.role[:100]}" must have at least one member.')
    check_role(binding.role, kind, roles, is_custom_role, f"{where}.role")
    members = []
    for k, text in enumerate(binding.members):
        try:
            member = parse_member(text)
        except RpcError as error:
            raise _refuse(f"{where}.members[{k}]", error.message) from None
        if kind in CONTAINERS and member in (ALL_USERS, ALL_AUTHENTICATED_USERS):
            raise _refuse(f"{where}.members[{k}]", f"{member} cannot be a member of a {kind}'s policy.")
        if is_missing(member):
            kind, _, email = member.partition(":")
            what = "Group" if kind == "group" else "Service account"
            raise _refuse(f"{where}.members[{k}]", f"{what} {email} does not exist.")
        members.append(member)
    if binding.condition is not None:
        _check_condition(binding, members, where)
    return replace(binding, members=tuple(members))


def _check_condition(binding: Binding, members: list[str], where: str) -> None:
    assert binding.condition is not None
    if binding.role in BASIC:
        raise _refuse(f"{where}.condition", f"{binding.role} is a basic role, which cannot have a condition.")
    for everybody in (ALL_USERS, ALL_AUTHENTICATED_USERS):
        if everybody in members:
            raise _refuse(f"{where}.condition", f"A binding of {everybody} cannot have a condition.")
    conditions.check(binding.condition, f"policy.{where}.condition")


def check_role(
    role: str, kind: str, roles: Mapping[str, Role], is_custom_role: Callable[[str], bool], field: str
) -> None:
    """Raises InvalidArgument when the role cannot be bound on this kind of resource."""
    known = roles.get(role)
    if known is not None:
        if kind not in known.on:
            raise _refuse(field, f"Role {role} is not supported for this resource; {_fitting(roles, kind)}.")
        return
    if "_withcond_" in role:
        raise _refuse(field, f"Role {role[:150]} stands for a conditional binding: read the policy as version 3.")
    if not is_custom_role(role):
        meant = f" Did you mean roles/{role}?" if f"roles/{role}" in roles else ""
        raise _refuse(field, f'Role "{role[:150]}" does not exist; {_fitting(roles, kind)}.{meant}')


def _fitting(roles: Mapping[str, Role], kind: str) -> str:
    """The predefined roles for a kind of resource, in words; for a project they are too many to name."""
    names = [name for name, role in roles.items() if kind in role.on]
    if len(names) > 6:
        return "mlgate iam list-grantable-roles (roles.queryGrantableRoles) lists those that are"
    return f"{', '.join(names)} and custom roles are" if names else "none is"


def _check_counts(bindings: tuple[Binding, ...]) -> None:
    members = [member for binding in bindings for member in binding.members]
    groups = {member for member in members if member.startswith("group:")}
    if len(members) > MAX_PRINCIPALS:
        raise _refuse("bindings", f"The policy names {len(members)} principals; {MAX_PRINCIPALS} are allowed.")
    if len(groups) > MAX_GROUPS:
        raise _refuse("bindings", f"The policy names {len(groups)} groups; {MAX_GROUPS} are allowed.")
    conditional = Counter((b.role, member) for b in merged(bindings) if b.condition for member in b.members)
    for (role, member), count in conditional.items():
        if count > MAX_CONDITIONS:
            raise _refuse("bindings", f"{member} has {role} under {count} conditions; {MAX_CONDITIONS} are allowed.")


def check_keeps_owner(policy: Policy) -> None:
    """A project without an owner could never be governed again. Raises FailedPrecondition."""
    if not any(m.startswith(("user:", "serviceAccount:", "group:")) for m in policy.members_of(OWNER)):
        raise FailedPrecondition("A project must have at least one owner; this change would remove the last one.")
