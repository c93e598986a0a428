"""`mlgate identity groups`: groups and who is in them. A group is named by its address; the server is asked for the
name behind it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import moments, output
from mlgate.cli.client import Client, Query
from mlgate.cli.failure import Failure
from mlgate.cli.verbs import Limit, verb, words

group = words("Identities: groups.")
groups = words("Groups of users, service accounts and groups.")
memberships = words("Who is in a group, as what, and until when.")
group.add_typer(groups, name="groups")
groups.add_typer(memberships, name="memberships")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The group's address.")]
DisplayName = Annotated[str | None, typer.Option(help="What people see.")]
Description = Annotated[str | None, typer.Option(help="What the group is for.")]
GroupEmail = Annotated[str, typer.Option(help="The group's address.", metavar="EMAIL")]
MemberEmail = Annotated[str, typer.Option(help="The member's address.", metavar="EMAIL")]
Roles = Annotated[str, typer.Option(help="MEMBER, MANAGER, OWNER, separated by commas.", metavar="ROLE,...")]
Expiration = Annotated[str, typer.Option(help="When it ends: 7d, 12h or 2030-01-31T12:00:00Z.", metavar="END")]

_G = "cloudidentity.groups"
_M = f"{_G}.memberships"
_EVERYWHERE = "groups/-"


@verb(groups)
def create(
    client: Client,
    email: Email,
    display_name: DisplayName = None,
    description: Description = None,
    with_initial_owner: Annotated[
        str, typer.Option(help="with-initial-owner makes you its first owner; empty does not.")
    ] = "empty",
) -> Any:
    """Create a group."""
    body = {"groupKey": {"id": email}, **_texts(display_name, description)}
    query = {"initialGroupConfig": with_initial_owner.upper().replace("-", "_")}
    made = _response(client.call(f"{_G}.create", body, query))
    output.note(f"Created group [{email}].")
    return made


@verb(groups, name="list", columns=("groupKey.id", "displayName", "name"))
def list_groups(client: Client, limit: Limit = None) -> Any:
    """List all groups."""
    return client.listed(f"{_G}.list", "groups", {"pageSize": 1000}, limit)


@verb(groups, columns=("groupKey.id", "displayName", "name"))
def search(
    client: Client,
    query: Annotated[str, typer.Option(help="Such as display_name.startsWith('ml') or group_key.contains('ml').")] = "",
    limit: Limit = None,
) -> Any:
    """List those groups that you may see and that a query describes."""
    return client.listed(f"{_G}.search", "groups", {"query": query or None, "pageSize": 1000}, limit)


@verb(groups)
def describe(client: Client, email: Email) -> Any:
    """Show a group."""
    return client.call(f"{_G}.get", name=_group(client, email))


@verb(groups)
def update(client: Client, email: Email, display_name: DisplayName = None, description: Description = None) -> Any:
    """Change what is given; an empty text takes the old one away."""
    fields = _texts(display_name, description)
    if not fields:
        raise Failure("INVALID_ARGUMENT", "Nothing to change: give --display-name or --description.")
    query = {"updateMask": ",".join(fields)}
    return _response(client.call(f"{_G}.patch", fields, query, name=_group(client, email)))


@verb(groups)
def delete(client: Client, email: Email) -> None:
    """Delete a group, and all rights that its members have by it."""
    client.call(f"{_G}.delete", name=_group(client, email))
    output.note(f"Deleted group [{email}].")


# ------------------------------------------------------------------------------------------------------- memberships


@verb(memberships)
def add(
    client: Client,
    group_email: GroupEmail,
    member_email: MemberEmail,
    roles: Roles = "MEMBER",
    expiration: Expiration = "",
) -> Any:
    """Add a user, a service account or a group to a group."""
    ends = {"expiryDetail": {"expireTime": moments.end(expiration)}} if expiration else {}
    given = [{"name": role, **(ends if role == "MEMBER" else {})} for role in _names(roles)]
    if ends and "MEMBER" not in _names(roles):
        raise Failure("INVALID_ARGUMENT", "--expiration is for MEMBER: owners and managers have no end.")
    body = {"preferredMemberKey": {"id": member_email}, "roles": given}
    return _response(client.call(f"{_M}.create", body, parent=_group(client, group_email)))


@verb(
    memberships, name="list", columns=("preferredMemberKey.id", "type", "roles.name", "roles.expiryDetail.expireTime")
)
def list_memberships(client: Client, group_email: GroupEmail, limit: Limit = None) -> Any:
    """List the direct members of a group."""
    query: Query = {"view": "FULL", "pageSize": 500}
    return client.listed(f"{_M}.list", "memberships", query, limit, parent=_group(client, group_email))


@verb(memberships, name="describe")
def describe_membership(client: Client, group_email: GroupEmail, member_email: MemberEmail) -> Any:
    """Show what somebody is in a group, since when and until when."""
    return client.call(f"{_M}.get", name=_membership(client, group_email, member_email))


@verb(memberships, name="delete")
def delete_membership(client: Client, group_email: GroupEmail, member_email: MemberEmail) -> None:
    """Take a member out of a group."""
    client.call(f"{_M}.delete", name=_membership(client, group_email, member_email))
    output.note(f"Deleted membership of [{member_email}] in [{group_email}].")


@verb(memberships)
def modify_membership_roles(
    client: Client,
    group_email: GroupEmail,
    member_email: MemberEmail,
    add_roles: Roles = "",
    remove_roles: Roles = "",
    expiration: Annotated[
        str, typer.Option(help="The new end: 7d, 12h or 2030-01-31T12:00:00Z; never for none.", metavar="END")
    ] = "",
) -> Any:
    """Make a member an owner or manager or end that, or set when the membership ends."""
    body: dict[str, Any] = {
        "addRoles": [{"name": role} for role in _names(add_roles)],
        "removeRoles": _names(remove_roles),
    }
    if expiration:
        ends = {} if expiration == "never" else {"expiryDetail": {"expireTime": moments.end(expiration)}}
        role = {"name": "MEMBER", **ends}
        body["updateRolesParams"] = [{"fieldMask": "expiryDetail.expireTime", "membershipRole": role}]
    name = _membership(client, group_email, member_email)
    return client.call(f"{_M}.modifyMembershipRoles", body, name=name)["membership"]


@verb(memberships)
def check_transitive_membership(client: Client, group_email: GroupEmail, member_email: MemberEmail) -> Any:
    """Tell whether somebody is in a group, directly or through groups inside it."""
    query = {"query": f"member_key_id == '{member_email}'"}
    answer = client.call(f"{_M}.checkTransitiveMembership", query=query, parent=_group(client, group_email))
    return {"hasMembership": answer.get("hasMembership", False)}


@verb(memberships, columns=("preferredMemberKey.id", "relationType", "roles.role"))
def search_transitive_memberships(client: Client, group_email: GroupEmail, limit: Limit = None) -> Any:
    """List everybody in a group, directly or through groups inside it."""
    parent = _group(client, group_email)
    found = client.listed(f"{_M}.searchTransitiveMemberships", "memberships", {"pageSize": 1000}, limit, parent=parent)
    return [{**item, "preferredMemberKey": item["preferredMemberKey"][0]} for item in found]


@verb(memberships, columns=("groupKey.id", "relationType", "roles.role"))
def search_transitive_groups(client: Client, member_email: MemberEmail, limit: Limit = None) -> Any:
    """List the groups that somebody is in, directly or through groups inside them."""
    query: Query = {"query": f"member_key_id == '{member_email}'", "pageSize": 1000}
    return client.listed(f"{_M}.searchTransitiveGroups", "memberships", query, limit, parent=_EVERYWHERE)


def _group(client: Client, email: str) -> str:
    """`groups/ID` of an address; a name stays as it is."""
    if email.startswith("groups/"):
        return email
    return str(client.call(f"{_G}.lookup", query={"groupKey.id": email})["name"])


def _membership(client: Client, group_email: str, member_email: str) -> str:
    parent = _group(client, group_email)
    return str(client.call(f"{_M}.lookup", query={"memberKey.id": member_email}, parent=parent)["name"])


def _response(operation: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in operation["response"].items() if k != "@type"}


def _texts(display_name: str | None, description: str | None) -> dict[str, str]:
    given = {"displayName": display_name, "description": description}
    return {field: value for field, value in given.items() if value is not None}


def _names(roles: str) -> list[str]:
    return [role.strip().upper() for role in roles.split(",") if role.strip()]
