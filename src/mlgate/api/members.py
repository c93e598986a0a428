"""Who is in which group, and what becomes of a member that is no more: shared by groups and service accounts.

A membership is a record below its group. Two things follow from it, written in the same transaction: the group's fact,
{member: end}, which decisions read in every process; and the roles of OWNER and MANAGER in the group's own policy. A
second record below the member leads back from it to its groups.

A membership counts for nothing from its end on, is shown no more, and goes with the next change of its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from mlgate.api import deny_policies
from mlgate.core.errors import ResourceExhausted
from mlgate.core.groups import GOVERNING, MEMBER
from mlgate.core.iam.policy import EMPTY, Binding
from mlgate.core.iam.principals import email_of
from mlgate.core.iam.validate import MAX_PRINCIPALS
from mlgate.core.names import id_of, join
from mlgate.core.wire import format_timestamp
from mlgate.ports import Record, Transaction

MEMBERSHIP = "membership"
_MEMBER_OF = "memberOf"
_TYPES = {"user": "USER", "serviceAccount": "SERVICE_ACCOUNT", "group": "GROUP"}


def key_of(group: Record) -> str:
    """`group:EMAIL`, by which policies and other groups name it."""
    return f"group:{group.body['groupKey']['id']}"


def find_group(tx: Transaction, key: str) -> Record | None:
    """The group of `group:EMAIL`."""
    address = tx.get(_address(key))
    return tx.get(address.body["group"]) if address is not None else None


def add_group(tx: Transaction, group: Record) -> None:
    """Store a group, still without members. Raises AlreadyExists for an address that another group has."""
    name = _address(key_of(group))
    tx.insert(Record(name, "groupAddress", "", group.uid, {"group": group.name}, group.created))
    tx.insert(group)
    tx.set_fact("parent", group.name, group.parent)
    tx.set_fact("group", key_of(group), {})


def remove_group(tx: Transaction, group: Record) -> None:
    """Take a group away, out of the groups that it is in, and its rights with it: policies that name it keep a
    `deleted:` member, so that a later group of the same address has none of them."""
    key = key_of(group)
    leave_all(tx, key)
    for membership in tx.children(group.name, MEMBERSHIP):
        _forget(tx, group, membership.hidden["member"])
    tx.set_fact("group", key, None)
    tx.set_fact("parent", group.name, None)
    tx.set_policy(group.name, None)
    tx.delete(_address(key))
    tx.delete(group.name)
    rename_member(tx, key, f"deleted:{key}?uid={group.uid}")


def _address(key: str) -> str:
    return join("", "groupAddresses", email_of(key))


# ------------------------------------------------------------------------------------------------------- memberships


def membership_name(group: str, member: str) -> str:
    return join(group, "memberships", member_id(member))


def _link_name(group: str, member: str) -> str:
    return join(join("", "members", member_id(member)), "groups", id_of(group))


def member_id(member: str) -> str:
    """The id of a member, the same in all groups."""
    return str(int(hashlib.sha256(member.encode()).hexdigest(), 16) % 10**21)


def made(group: Record, member: str, roles: Collection[str], end: datetime | None, now: datetime) -> Record:
    """A membership, not stored yet."""
    name, moment = membership_name(group.name, member), format_timestamp(now)
    body = {
        "name": name, "preferredMemberKey": {"id": email_of(member)}, "type": _TYPES[member.partition(":")[0]],
        "roles": roles_on_wire(roles, end), "createTime": moment, "updateTime": moment,
    }  # fmt: skip
    hidden = {"member": member, "end": end.timestamp() if end is not None else None}
    return Record(name, MEMBERSHIP, group.name, member_id(member), body, now, hidden=hidden)


def roles_on_wire(roles: Collection[str], end: datetime | None) -> list[dict[str, Any]]:
    """The roles as they are shown; MEMBER carries the end."""
    ends = {"expiryDetail": {"expireTime": format_timestamp(end)}} if end is not None else {}
    return [{"name": role, **(ends if role == MEMBER else {})} for role in roles]


def is_over(membership: Record, now: datetime) -> bool:
    end = membership.hidden["end"]
    return end is not None and end <= now.timestamp()


def members_of(tx: Transaction, key: str, now: datetime) -> list[str]:
    """The members of a group whose time is not over, as decisions see them."""
    stored: Mapping[str, float | None] = tx.fact("group", key) or {}
    return [member for member, end in stored.items() if end is None or end > now.timestamp()]


def memberships_of(tx: Transaction, member: str, now: datetime) -> list[Record]:
    """The memberships of a member, in all groups."""
    links = tx.children(join("", "members", member_id(member)), _MEMBER_OF)
    found = [tx.get(membership_name(link.body["group"], member)) for link in links]
    return [membership for membership in found if membership is not None and not is_over(membership, now)]


def groups_of(tx: Transaction, member: str, now: datetime) -> list[Record]:
    """The groups that hold a member directly."""
    found = [tx.get(membership.parent) for membership in memberships_of(tx, member, now)]
    return [group for group in found if group is not None]


def enter(tx: Transaction, group: Record, membership: Record, roles: Collection[str]) -> None:
    """Store a new membership and what follows from it."""
    member = membership.hidden["member"]
    tx.insert(membership)
    link = _link_name(group.name, member)
    parent = join("", "members", member_id(member))
    tx.insert(Record(link, _MEMBER_OF, parent, membership.uid, {"group": group.name}, membership.created))
    tell(tx, group, membership, roles)


def tell(tx: Transaction, group: Record, membership: Record, roles: Collection[str]) -> None:
    """What follows from a membership: the group's fact and its policy."""
    key, member = key_of(group), membership.hidden["member"]
    tx.set_fact("group", key, {**(tx.fact("group", key) or {}), member: membership.hidden["end"]})
    _govern(tx, group, {member}, {GOVERNING[role] for role in roles if role in GOVERNING})


def leave(tx: Transaction, group: Record, members: Collection[str]) -> None:
    """End the memberships of some members, and all that followed from them."""
    key = key_of(group)
    for member in members:
        _forget(tx, group, member)
    tx.set_fact("group", key, {m: end for m, end in (tx.fact("group", key) or {}).items() if m not in members})
    _govern(tx, group, members, ())


def leave_all(tx: Transaction, member: str) -> None:
    """End every membership of a member."""
    for link in tx.children(join("", "members", member_id(member)), _MEMBER_OF):
        group = tx.get(link.body["group"])
        if group is not None:
            leave(tx, group, {member})


def drop_ended(tx: Transaction, group: Record, now: datetime) -> None:
    """Forget the memberships whose time is over."""
    stored: Mapping[str, float | None] = tx.fact("group", key_of(group)) or {}
    if ended := {member for member, end in stored.items() if end is not None and end <= now.timestamp()}:
        leave(tx, group, ended)


def _forget(tx: Transaction, group: Record, member: str) -> None:
    tx.delete(membership_name(group.name, member))
    tx.delete(_link_name(group.name, member))


def _govern(tx: Transaction, group: Record, members: Collection[str], roles: Collection[str]) -> None:
    """Give some members exactly these roles on the group itself."""
    policy = tx.policy(group.name) or EMPTY
    held = {binding.role: [m for m in binding.members if m not in members] for binding in policy.bindings}
    for role in roles:
        held[role] = [*held.get(role, ()), *members]
    if sum(map(len, held.values())) > MAX_PRINCIPALS:
        raise ResourceExhausted(f"{group.name} has its {MAX_PRINCIPALS} owners and managers already.")
    bindings = tuple(Binding(role, tuple(held[role])) for role in sorted(held) if held[role])
    if bindings != policy.bindings:
        tx.set_policy(group.name, replace(policy, bindings=bindings, version=1))


# ---------------------------------------------------------------------------------------------------------- policies


def rename_member(tx: Transaction, before: str, after: str, *, was_nobody: bool = False) -> None:
    """Write another member in the place of one, in every policy that names it; `was_nobody` says that nobody had the
    address, so that deny rules go on to name it."""
    deny_policies.rename_member(tx, before, after, was_nobody=was_nobody)
    for resource, policy in tx.policies_naming(before):
        bindings = tuple(
            replace(b, members=tuple(after if m == before else m for m in b.members)) for b in policy.bindings
        )
        tx.set_policy(resource, replace(policy, bindings=bindings))
