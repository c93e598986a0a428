"""cloudidentity v1: groups and who is in them.

The groups are the organization's: to create and to list them is asked there, the rest on each group, whose owners and
managers have their roles on it.
"""

from __future__ import annotations

from mlgate.api.handlers import groups, memberships
from mlgate.api.messages.cloudidentity import (
    CheckTransitiveMembershipResponse,
    Group,
    ListGroupsResponse,
    ListMembershipsResponse,
    LookupGroupNameResponse,
    LookupMembershipNameResponse,
    Membership,
    ModifyMembershipRolesRequest,
    ModifyMembershipRolesResponse,
    SearchDirectGroupsResponse,
    SearchGroupsResponse,
    SearchTransitiveGroupsResponse,
    SearchTransitiveMembershipsResponse,
)
from mlgate.api.messages.operations import Operation
from mlgate.api.method import DELETE, GET, PATCH, POST, Audit, Authenticated, Method
from mlgate.core.names import ORGANIZATION

_G, _M = "cloudidentity.groups", "cloudidentity.memberships"
_GM = f"{_G}.memberships"
_WRITE = Audit.ADMIN_WRITE
_LATER = None
_IN, _ONE = "v1/{parent=groups/*}/memberships", "v1/{name=groups/*/memberships/*}"
_PAGE: dict[str, type] = {"pageSize": int, "pageToken": str}
_VIEW: dict[str, type] = {**_PAGE, "view": str}
_SEEN = Authenticated("only groups that the caller may get are answered")
_LISTED = Authenticated("only groups whose members the caller may list are answered")

ROWS: tuple[Method, ...] = (
    Method(f"{_G}.create", POST, "v1/groups", f"{_G}.create", groups.create_group, on=ORGANIZATION, takes=Group,
           gives=Operation, query={"initialGroupConfig": str}, audit=_WRITE, summary="Create a group"),
    Method(f"{_G}.list", GET, "v1/groups", f"{_G}.list", groups.list_groups, on=ORGANIZATION,
           gives=ListGroupsResponse, query={**_VIEW, "parent": str}, summary="List all groups"),
    Method(f"{_G}.search", GET, "v1/groups:search", _SEEN, groups.search_groups, gives=SearchGroupsResponse,
           query={**_VIEW, "query": str}, summary="Search the groups that one may see"),
    Method(f"{_G}.lookup", GET, "v1/groups:lookup", _SEEN, groups.lookup_group, gives=LookupGroupNameResponse,
           query={"groupKey.id": str, "groupKey.namespace": str}, summary="Find a group by its address"),
    Method(f"{_G}.get", GET, "v1/{name=groups/*}", f"{_G}.get", groups.get_group, gives=Group,
           summary="Read a group"),
    Method(f"{_G}.patch", PATCH, "v1/{name=groups/*}", f"{_G}.update", groups.patch_group, takes=Group,
           gives=Operation, query={"updateMask": str}, audit=_WRITE, summary="Change a group's name and description"),
    Method(f"{_G}.delete", DELETE, "v1/{name=groups/*}", f"{_G}.delete", groups.delete_group, gives=Operation,
           audit=_WRITE, summary="Delete a group, and all rights by it"),
    # ------------------------------------------------------------------------------------------------ memberships
    Method(f"{_GM}.create", POST, _IN, f"{_M}.create", memberships.create_membership, takes=Membership,
           gives=Operation, audit=_WRITE, also=memberships.governing_needs, summary="Add a member to a group"),
    Method(f"{_GM}.list", GET, _IN, f"{_M}.list", memberships.list_memberships, gives=ListMembershipsResponse,
           query=_VIEW, summary="List the members of a group"),
    Method(f"{_GM}.lookup", GET, f"{_IN}:lookup", f"{_M}.get", memberships.lookup_membership,
           gives=LookupMembershipNameResponse, query={"memberKey.id": str, "memberKey.namespace": str},
           summary="Find a membership by the member's address"),
    Method(f"{_GM}.get", GET, _ONE, f"{_M}.get", memberships.get_membership, gives=Membership,
           summary="Read what a member is in a group, and until when"),
    Method(f"{_GM}.delete", DELETE, _ONE, f"{_M}.delete", memberships.delete_membership, gives=Operation,
           audit=_WRITE, also=memberships.governing_needs, summary="Take a member out of a group"),
    Method(f"{_GM}.modifyMembershipRoles", POST, f"{_ONE}:modifyMembershipRoles", f"{_M}.update",
           memberships.modify_membership_roles, takes=ModifyMembershipRolesRequest,
           gives=ModifyMembershipRolesResponse, audit=_WRITE,
           summary="Make a member owner or manager, or set when a membership ends"),
    Method(f"{_GM}.checkTransitiveMembership", GET, f"{_IN}:checkTransitiveMembership", f"{_M}.list",
           memberships.check_transitive_membership, gives=CheckTransitiveMembershipResponse, query={"query": str},
           summary="Whether somebody is in a group, on any path"),
    Method(f"{_GM}.searchTransitiveMemberships", GET, f"{_IN}:searchTransitiveMemberships", f"{_M}.list",
           memberships.search_transitive_memberships, gives=SearchTransitiveMembershipsResponse, query=_PAGE,
           summary="List everybody in a group, on any path"),
    Method(f"{_GM}.searchTransitiveGroups", GET, f"{_IN}:searchTransitiveGroups", _LISTED,
           memberships.search_transitive_groups, gives=SearchTransitiveGroupsResponse,
           query={**_PAGE, "query": str}, summary="List the groups around a member, on any path"),
    Method(f"{_GM}.searchDirectGroups", GET, f"{_IN}:searchDirectGroups", _LISTED,
           memberships.search_direct_groups, gives=SearchDirectGroupsResponse,
           query={**_PAGE, "query": str, "orderBy": str}, summary="List the groups that hold a member directly"),
    Method(f"{_GM}.getMembershipGraph", GET, f"{_IN}:getMembershipGraph", f"{_M}.list", _LATER, gives=Operation,
           query={"query": str}, summary="Draw the paths from a member to a group"),
)  # fmt: skip
