"""Who is in a group, directly and through groups inside it (cloudidentity v1).

A change counts from its answer on, as a change of a policy does. Members are users, service accounts and groups; groups
cannot be inside each other in a circle, which is checked where nobody else can write. Whoever may add a member may not
thereby make an owner or a manager: that takes the right to change memberships.

Searches tell only what the caller could list group by group.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mlgate.api import members
from mlgate.api.call import Call, denied
from mlgate.api.cloudidentity import address, cut, done, is_service_account, possible_members, view
from mlgate.api.messages.cloudidentity import (
    CheckTransitiveMembershipResponse,
    EntityKey,
    GroupRelation,
    ListMembershipsResponse,
    LookupMembershipNameResponse,
    MemberRelation,
    Membership,
    MembershipRelation,
    MembershipRole,
    ModifyMembershipRolesRequest,
    ModifyMembershipRolesResponse,
    RelationType,
    SearchDirectGroupsResponse,
    SearchTransitiveGroupsResponse,
    SearchTransitiveMembershipsResponse,
    TransitiveMembershipRole,
)
from mlgate.api.messages.message import decode
from mlgate.api.messages.operations import Operation
from mlgate.api.method import Need
from mlgate.api.paging import page
from mlgate.api.policies import is_missing
from mlgate.core.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, Unimplemented
from mlgate.core.groups import (
    GOVERNING,
    LABELS,
    MAX_LEVELS,
    MAX_MEMBERS,
    MEMBER,
    ROLES,
    Term,
    checked_roles,
    levels,
    parse_query,
    refuse,
)
from mlgate.core.iam.principals import email_of
from mlgate.core.names import parent_of
from mlgate.core.wire import format_timestamp, parse_mask, parse_timestamp
from mlgate.ports import Record

_BASIC = ("name", "preferredMemberKey", "roles")
_LIST, _UPDATE = "cloudidentity.memberships.list", "cloudidentity.memberships.update"


def create_membership(call: Call, body: Membership) -> Operation:
    """Add a member. Raises AlreadyExists, InvalidArgument, FailedPrecondition for a circle, ResourceExhausted."""
    group = call.record(call.resource, "group")
    key = body.preferred_member_key or EntityKey()
    member = _new_member(call, address(key.id, key.namespace, "membership.preferredMemberKey"))
    end = _end_of(call, body.roles or [], "membership.roles")
    roles = checked_roles(
        [role.name or "" for role in body.roles or []],
        is_group=member.startswith("group:"), ends=end is not None, field="membership.roles",
    )  # fmt: skip
    members.drop_ended(call.tx, group, call.now)
    inside = members.members_of(call.tx, members.key_of(group), call.now)
    if member in inside:
        raise AlreadyExists(f"{email_of(member)} is a member of {group.name} already.")
    if len(inside) >= MAX_MEMBERS:
        raise ResourceExhausted(f"{group.name} has its {MAX_MEMBERS} members already.")
    if member.startswith("group:"):
        _check_nesting(call, members.key_of(group), member)
    membership = members.made(group, member, roles, end, call.now)
    members.enter(call.tx, group, membership, roles)
    _note(call, "ADD", membership)
    return done("Membership", membership.body)


def governing_needs(call: Call, body: Membership | None) -> Iterable[Need]:
    """Owners and managers are made, and unmade, only by who may change memberships."""
    group, roles = call.resource, {role.name for role in body.roles or []} if body is not None else set()
    if body is None:
        membership = call.tx.get(call.resource)
        group, roles = parent_of(call.resource) or "", set(_roles_of(membership)) if membership is not None else set()
    if roles & GOVERNING.keys():
        yield Need((_UPDATE,), group)


def get_membership(call: Call) -> Membership:
    return decode(Membership, _membership(call).body)


def list_memberships(call: Call) -> ListMembershipsResponse:
    """The direct members; `view=FULL` adds what kind each is, and since when."""
    group = call.record(call.resource, "group")
    full, default, most = view(call)
    records, token = page(
        call, group.name, members.MEMBERSHIP, lambda r: r.body,
        visible=lambda r: not members.is_over(r, call.now), default=default, most=most,
    )  # fmt: skip
    shown = [r.body if full else {k: v for k, v in r.body.items() if k in _BASIC} for r in records]
    return ListMembershipsResponse(memberships=[decode(Membership, body) for body in shown], next_page_token=token)


def lookup_membership(call: Call) -> LookupMembershipNameResponse:
    """The name of a member's membership. Raises NotFound."""
    group = call.record(call.resource, "group")
    email = address(call.query.get("memberKey.id"), call.query.get("memberKey.namespace"), "memberKey")
    for member in possible_members(email):
        found = call.tx.get(members.membership_name(group.name, member))
        if found is not None and not members.is_over(found, call.now):
            return LookupMembershipNameResponse(name=found.name)
    raise NotFound(f"{email} is no member of {group.name}.")


def delete_membership(call: Call) -> Operation:
    membership = _membership(call)
    group = call.record(membership.parent, "group")
    members.leave(call.tx, group, {membership.hidden["member"]})
    _note(call, "REMOVE", membership)
    return done()


def modify_membership_roles(call: Call, body: ModifyMembershipRolesRequest) -> ModifyMembershipRolesResponse:
    """Add and remove roles, or set the end of a plain member's time. Raises InvalidArgument."""
    membership = _membership(call)
    group = call.record(membership.parent, "group")
    roles, end = _modified(call, membership, body)
    checked = checked_roles(
        roles, is_group=membership.body["type"] == "GROUP", ends=end is not None, field="addRoles"
    )  # fmt: skip
    membership.body |= {"roles": members.roles_on_wire(checked, end), "updateTime": format_timestamp(call.now)}
    membership.hidden["end"] = end.timestamp() if end is not None else None
    call.tx.update(membership)
    members.tell(call.tx, group, membership, checked)
    _note(call, "CHANGE", membership)
    return ModifyMembershipRolesResponse(membership=decode(Membership, membership.body))


# ----------------------------------------------------------------------------------------------- through other groups


def check_transitive_membership(call: Call) -> CheckTransitiveMembershipResponse:
    """Whether somebody is in the group on any path. Where a group on the way cannot be seen by the caller and no other
    path leads there, the answer is not no but a denial."""
    group = call.record(call.resource, "group")
    asked, _ = _asked(call, ("member_key_id",))
    found, closed = _inside(call, group)
    has = any(member in found for member in asked)
    if not has and closed:
        raise denied(_LIST, closed[0], call.principal)
    return CheckTransitiveMembershipResponse(has_membership=has)


def search_transitive_memberships(call: Call) -> SearchTransitiveMembershipsResponse:
    """Everybody in the group, on any path. Raises PermissionDenied when a group inside it cannot be seen."""
    group = call.record(call.resource, "group")
    found, closed = _inside(call, group)
    if closed:
        raise denied(_LIST, closed[0], call.principal)
    direct = {m.hidden["member"]: _roles_of(m) for m in call.tx.children(group.name, members.MEMBERSHIP)}
    shown, token = cut(call, list(found), lambda member: member)
    relations = [
        MemberRelation(
            member=_resource_of(call, member),
            preferred_member_key=[EntityKey(id=email_of(member))],
            relation_type=_relation(found[member]),
            roles=_transitive_roles(direct.get(member, (MEMBER,))),
        )
        for member in shown
    ]
    return SearchTransitiveMembershipsResponse(memberships=relations, next_page_token=token)


def search_transitive_groups(call: Call) -> SearchTransitiveGroupsResponse:
    """The groups around a member, on any path, as far as the caller may list their members."""
    asked, terms = _asked_everywhere(call)
    direct = {m.parent: m for member in asked for m in _visible(call, member)}
    indirect: dict[str, None] = {}
    todo = list(direct)
    while todo:
        group = call.record(todo.pop(), "group")
        for membership in _visible(call, members.key_of(group)):
            if membership.parent not in indirect:
                indirect[membership.parent] = None
                todo.append(membership.parent)
    wanted = [call.record(name, "group") for name in {**direct, **indirect}]
    shown, token = cut(call, [g for g in wanted if _fits(g, terms)], lambda group: group.name)
    relations = [
        GroupRelation(
            display_name=group.body.get("displayName"),
            group=group.name,
            group_key=EntityKey(id=group.body["groupKey"]["id"]),
            labels=group.body["labels"],
            relation_type=_relation(
                {how for how, there in (("DIRECT", direct), ("INDIRECT", indirect)) if group.name in there}
            ),
            roles=_transitive_roles(_roles_of(direct[group.name]) if group.name in direct else (MEMBER,)),
        )
        for group in shown
    ]
    return SearchTransitiveGroupsResponse(memberships=relations, next_page_token=token)


def search_direct_groups(call: Call) -> SearchDirectGroupsResponse:
    """The groups that hold a member directly, as far as the caller may list their members."""
    if call.query.get("orderBy"):
        raise Unimplemented("orderBy is not implemented by this server.")
    asked, terms = _asked_everywhere(call)
    found = {m.name: m for member in asked for m in _visible(call, member)}
    groups = {m.name: call.record(m.parent, "group") for m in found.values()}
    shown, token = cut(call, [m for m in found.values() if _fits(groups[m.name], terms)], lambda m: m.name)
    relations = [
        decode(
            MembershipRelation,
            {k: v for k, v in groups[m.name].body.items() if k in ("description", "displayName", "groupKey", "labels")}
            | {"group": m.parent, "membership": m.name, "roles": m.body["roles"]},
        )
        for m in shown
    ]
    return SearchDirectGroupsResponse(memberships=relations, next_page_token=token)


def _asked(call: Call, fields: tuple[str, ...]) -> tuple[tuple[str, ...], list[Term]]:
    """Whom the query asks about, and its other terms. Raises InvalidArgument when it names nobody."""
    terms = parse_query(call.query.get("query", ""), fields)
    named = [term for term in terms if (term.field, term.operator) == ("member_key_id", "==")]
    if len(named) != 1:
        raise refuse("query", "The query must say who is meant: member_key_id == 'ada@example.com'.")
    email = address(named[0].value, None, "query")
    return possible_members(email), [term for term in terms if term.field != "member_key_id"]


def _asked_everywhere(call: Call) -> tuple[tuple[str, ...], list[Term]]:
    if call.params["parent"] != "groups/-":
        raise refuse("parent", "parent must be groups/-: the search is over all groups.")
    return _asked(call, ("member_key_id", "parent", LABELS))


def _visible(call: Call, member: str) -> list[Record]:
    """The memberships of a member in groups whose members the caller may list."""
    return [m for m in members.memberships_of(call.tx, member, call.now) if call.may(_LIST, m.parent)]


def _inside(call: Call, group: Record) -> tuple[dict[str, set[str]], list[str]]:
    """Every member on any path, with how it is in the group, and the groups on the way that the caller cannot see."""
    found: dict[str, set[str]] = {}
    closed: list[str] = []
    todo = [group]
    seen = {members.key_of(group)}
    for each in todo:
        for member in members.members_of(call.tx, members.key_of(each), call.now):
            found.setdefault(member, set()).add("DIRECT" if each is group else "INDIRECT")
            if member.startswith("group:") and member not in seen:
                seen.add(member)
                inner = members.find_group(call.tx, member)
                if inner is not None and call.may(_LIST, inner.name):
                    todo.append(inner)
                else:
                    closed.append(inner.name if inner is not None else member)
    return found, closed


def _fits(group: Record, terms: Iterable[Term]) -> bool:
    item = {"parent": group.parent, LABELS: group.body["labels"]}
    return all(term.holds(item) for term in terms)


def _relation(how: set[str]) -> RelationType:
    return "DIRECT_AND_INDIRECT" if len(how) > 1 else "DIRECT" if "DIRECT" in how else "INDIRECT"


def _transitive_roles(roles: Iterable[str]) -> list[TransitiveMembershipRole]:
    return [TransitiveMembershipRole(role=role) for role in roles]


def _resource_of(call: Call, member: str) -> str:
    group = members.find_group(call.tx, member) if member.startswith("group:") else None
    return group.name if group is not None else f"users/{members.member_id(member)}"


# ------------------------------------------------------------------------------------------------------ one membership


def _membership(call: Call) -> Record:
    """The membership that the call names. Raises NotFound; its time may be over."""
    found = call.record(call.resource, members.MEMBERSHIP)
    if members.is_over(found, call.now):
        raise NotFound(f"Resource '{found.name}' was not found.")
    return found


def _roles_of(membership: Record) -> tuple[str, ...]:
    return tuple(role["name"] for role in membership.body["roles"])


def _new_member(call: Call, email: str) -> str:
    """Who an address is: a service account by its form, a group when there is one, else a user."""
    if is_service_account(email):
        member = f"serviceAccount:{email}"
        if is_missing(call, member):
            raise refuse("membership.preferredMemberKey.id", f"Service account {email} does not exist.")
        return member
    return f"group:{email}" if members.find_group(call.tx, f"group:{email}") is not None else f"user:{email}"


def _end_of(call: Call, roles: Iterable[MembershipRole], field: str) -> datetime | None:
    """When the membership ends. Raises InvalidArgument for a moment that is not to come, or an end of another role."""
    end = None
    for role in roles:
        if role.expiry_detail is None or role.expiry_detail.expire_time is None:
            continue
        if role.name != MEMBER:
            raise refuse(field, f"Only {MEMBER} can expire, not {(role.name or '')[:50]}.")
        end = role.expiry_detail.expire_time
        if end <= call.now:
            raise refuse(field, f"expireTime {format_timestamp(end)} is not in the future.")
    return end


def _modified(call: Call, membership: Record, body: ModifyMembershipRolesRequest) -> tuple[list[str], datetime | None]:
    """The roles and the end that a request asks for."""
    changes = bool(body.add_roles or body.remove_roles)
    if changes == bool(body.update_roles_params):
        raise refuse("updateRolesParams", "Give addRoles and removeRoles, or updateRolesParams alone.")
    roles = list(_roles_of(membership))
    if not changes:
        return roles, _new_end(call, body)
    if any(role.expiry_detail is not None for role in body.add_roles or []):
        raise refuse("addRoles", "addRoles cannot set an end: use updateRolesParams.")
    for name in body.remove_roles or []:
        if name not in ROLES or name == MEMBER:
            raise refuse("removeRoles", f'"{name[:50]}" cannot be removed; to end a membership, delete it.')
    added = [role.name or "" for role in body.add_roles or []]
    kept = [role for role in roles if role not in (body.remove_roles or []) and role not in added]
    end = next((r["expiryDetail"]["expireTime"] for r in membership.body["roles"] if "expiryDetail" in r), None)
    return kept + added, parse_timestamp(end) if end is not None else None


def _new_end(call: Call, body: ModifyMembershipRolesRequest) -> datetime | None:
    (params, *more) = body.update_roles_params or []
    role = params.membership_role or MembershipRole()
    if more or role.name != MEMBER:
        raise refuse("updateRolesParams", f"updateRolesParams holds one change, of the role {MEMBER}.")
    parse_mask(params.field_mask or "", ("expiryDetail.expireTime",), "updateRolesParams.fieldMask")
    return _end_of(call, [role], "updateRolesParams.membershipRole")


def _check_nesting(call: Call, group: str, member: str) -> None:
    """Raises FailedPrecondition when the group is inside the member already, or the two together are too deep."""
    above = levels(group, lambda key: [members.key_of(g) for g in members.groups_of(call.tx, key, call.now)])
    if any(member in level for level in above):
        raise FailedPrecondition(f"Cycle memberships not allowed: {email_of(group)} is inside {email_of(member)}.")
    below = levels(
        member, lambda key: [m for m in members.members_of(call.tx, key, call.now) if m.startswith("group:")]
    )
    if len(above) + len(below) > MAX_LEVELS:
        raise FailedPrecondition(f"Groups can be inside each other at most {MAX_LEVELS} deep.")


def _note(call: Call, action: str, membership: Record) -> None:
    """What the audit log remembers."""
    call.detail["membership"] = {
        "action": action, "group": membership.parent, "member": membership.hidden["member"],
        "roles": membership.body["roles"],
    }  # fmt: skip
