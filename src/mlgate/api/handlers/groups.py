"""Groups of the organization (cloudidentity v1).

A group is its id, not its address: when it is deleted, policies that name it keep a `deleted:` member, and a later
group of the same address has none of its rights. Its own policy is written by the server alone, from who is OWNER and
MANAGER. A change is small enough to be done with its call, so every operation is answered as done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlgate.api import members
from mlgate.api.call import Call, denied
from mlgate.api.cloudidentity import address, done, is_service_account, view
from mlgate.api.messages.cloudidentity import (
    EntityKey,
    Group,
    ListGroupsResponse,
    LookupGroupNameResponse,
    SearchGroupsResponse,
)
from mlgate.api.messages.message import decode, encode
from mlgate.api.messages.operations import Operation
from mlgate.api.paging import page
from mlgate.core.errors import AlreadyExists, NotFound, Unimplemented
from mlgate.core.groups import DISCUSSION_FORUM, LABELS, MEMBER, OWNER, SECURITY, parse_query, refuse
from mlgate.core.iam.principals import email_of
from mlgate.core.names import CUSTOMER_ID, ORGANIZATION, join
from mlgate.core.wire import format_timestamp, parse_mask
from mlgate.ports import Record

_MASK = ("displayName", "description", "labels")
_TEXT_LIMITS = {"displayName": 100, "description": 4096}
_BASIC = ("name", "groupKey", "parent", "displayName", "labels")
_LABELS = f"{DISCUSSION_FORUM}, and {SECURITY} beside it, each with an empty value"
#: Where a group may be: in the organization, also under the names that Cloud Identity has for it.
_PARENTS = (None, "", ORGANIZATION, f"customers/{CUSTOMER_ID}", f"customerId/{CUSTOMER_ID}")
_ADDRESSES = ("group_key", "domain_name")
_QUERY_FIELDS = ("parent", "group_key", "display_name", "domain_name", LABELS)


def create_group(call: Call, body: Group) -> Operation:
    """A group, with the caller as its first OWNER if so asked. Raises AlreadyExists, InvalidArgument."""
    if body.parent not in _PARENTS:
        raise refuse("group.parent", f"parent must be {ORGANIZATION}, or left out.")
    config = call.query.get("initialGroupConfig") or "EMPTY"
    if config not in ("EMPTY", "WITH_INITIAL_OWNER"):
        raise refuse("initialGroupConfig", f'"{config[:50]}" is neither EMPTY nor WITH_INITIAL_OWNER.')
    email, uid, moment = _address(body), call.services.ids.uid(), format_timestamp(call.now)
    name = join("", "groups", uid)
    given = {field: value for field, value in encode(body).items() if field in _MASK}
    plain = {
        "name": name, "groupKey": {"id": email}, "parent": ORGANIZATION, "labels": {DISCUSSION_FORUM: ""},
        **given, "createTime": moment, "updateTime": moment,
    }  # fmt: skip
    _check(plain)
    record = Record(name, "group", ORGANIZATION, uid, plain, call.now)
    try:
        members.add_group(call.tx, record)
    except AlreadyExists:
        raise AlreadyExists(f"A group with the address {email} already exists.") from None
    if config == "WITH_INITIAL_OWNER":
        first = members.made(record, call.principal, (MEMBER, OWNER), None, call.now)
        members.enter(call.tx, record, first, (MEMBER, OWNER))
    call.detail["group"] = {"name": name, "email": email}
    return done("Group", plain)


def get_group(call: Call) -> Group:
    return decode(Group, call.record(call.resource, "group").body)


def list_groups(call: Call) -> ListGroupsResponse:
    """All groups; `view=FULL` adds what they are for, and their times."""
    if call.query.get("parent") not in _PARENTS:
        raise refuse("parent", f"parent must be {ORGANIZATION}, or left out.")
    full, default, most = view(call)
    records, token = page(call, ORGANIZATION, "group", lambda r: r.body, default=default, most=most)
    return ListGroupsResponse(groups=[_shown(r, full=full) for r in records], next_page_token=token)


def search_groups(call: Call) -> SearchGroupsResponse:
    """Those that the query describes, of the groups that the caller may get."""
    given = parse_query(call.query.get("query", ""), _QUERY_FIELDS)
    terms = [replace(t, value=t.value.lower()) if t.field in _ADDRESSES else t for t in given]
    for term in terms:
        if term.field == "parent" and term.value not in _PARENTS:
            raise refuse("query", f"parent must be {ORGANIZATION}, or left out.")
    terms = [term for term in terms if term.field != "parent"]  # all of them are there

    def visible(record: Record) -> bool:
        item = _searched(record)
        return all(term.holds(item) for term in terms) and call.may("cloudidentity.groups.get", record.name)

    full, default, most = view(call)
    records, token = page(call, ORGANIZATION, "group", lambda r: r.body, visible=visible, default=default, most=most)
    return SearchGroupsResponse(groups=[_shown(r, full=full) for r in records], next_page_token=token)


def lookup_group(call: Call) -> LookupGroupNameResponse:
    """The name of the group that has an address: for whoever may get it. To others it is the same whether there is one.
    Raises PermissionDenied, NotFound."""
    email = str(call.query.get("groupKey.id", ""))[:320]
    found = members.find_group(call.tx, f"group:{email.lower()}")
    if not call.may("cloudidentity.groups.get", found.name if found else ORGANIZATION):
        raise denied("cloudidentity.groups.get", f"group {email}", call.principal)
    address(email, call.query.get("groupKey.namespace"), "groupKey")
    if found is None:
        raise NotFound(f"There is no group with the address {email}.")
    return LookupGroupNameResponse(name=found.name)


def patch_group(call: Call, body: Group) -> Operation:
    """Change the fields that the mask names; the address never changes."""
    record = call.record(call.resource, "group")
    given = encode(body)
    changed = dict(record.body)
    for path in parse_mask(call.query.get("updateMask", ""), _MASK):
        changed[path] = given.get(path)
    record.body = {k: v for k, v in changed.items() if v} | {"updateTime": format_timestamp(call.now)}
    _check(record.body)
    call.tx.update(record)
    return done("Group", record.body)


def delete_group(call: Call) -> Operation:
    """Delete the group and its memberships. Nobody has a right by it any more, nor by a later group of its address."""
    record = call.record(call.resource, "group")
    members.remove_group(call.tx, record)
    call.detail["group"] = {"name": record.name, "email": email_of(members.key_of(record))}
    return done()


def _address(group: Group) -> str:
    """The address of a new group. Raises InvalidArgument for one that service accounts have."""
    for given, field in ((group.dynamic_group_metadata, "dynamicGroupMetadata"), (group.external_ids, "externalIds")):
        if given:
            raise Unimplemented(f"{field} is not implemented by this server.")
    key = group.group_key or EntityKey()
    email = address(key.id, key.namespace, "group.groupKey")
    if is_service_account(email):
        raise refuse("group.groupKey.id", f"{email} is an address of service accounts, not of a group.")
    return email


def _check(plain: Mapping[str, Any]) -> None:
    for field, limit in _TEXT_LIMITS.items():
        if len(plain.get(field, "")) > limit:
            raise refuse(f"group.{field}", f"{field} is longer than {limit} characters.")
    labels = plain.get("labels", {})
    for key, value in labels.items():
        if key not in (DISCUSSION_FORUM, SECURITY) or value:
            raise refuse(
                "group.labels", f'"{key[:100]}" is no label of a group, or its value is not empty: use {_LABELS}.'
            )
    if DISCUSSION_FORUM not in labels:
        raise refuse("group.labels", f"labels must hold {DISCUSSION_FORUM}: use {_LABELS}.")


def _searched(record: Record) -> dict[str, Any]:
    """The group as queries name its fields."""
    email = record.body["groupKey"]["id"]
    return {
        "parent": record.parent,
        "group_key": email,
        "domain_name": email.partition("@")[2],
        "display_name": record.body.get("displayName", ""),
        LABELS: record.body["labels"],
    }


def _shown(record: Record, *, full: bool) -> Group:
    return decode(Group, record.body if full else {k: v for k, v in record.body.items() if k in _BASIC})
