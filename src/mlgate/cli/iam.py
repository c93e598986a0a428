"""`mlgate iam`: roles, and which of them may be given where."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import accounts
from mlgate.cli.client import Client
from mlgate.cli.names import role_name
from mlgate.cli.verbs import Limit, verb, words

group = words("Service accounts, roles and permissions.")
roles = words("Roles and what they hold.")
group.add_typer(accounts.group, name="service-accounts")
group.add_typer(roles, name="roles")

FullName = Annotated[
    str, typer.Argument(metavar="RESOURCE", help="Full name, such as //ml.googleapis.com/projects/P/models/M.")
]


@verb(roles, name="list", columns=("name", "title"))
def list_roles(client: Client, limit: Limit = None) -> Any:
    """List the predefined roles."""
    return client.listed("iam.roles.list", "roles", {"pageSize": 1000}, limit)


@verb(roles)
def describe(
    client: Client, role: Annotated[str, typer.Argument(metavar="ROLE", help="Such as roles/ml.modelUser.")]
) -> Any:
    """Show a role and every permission that it holds."""
    return client.call("iam.roles.get", name=role_name(role))


@verb(group, columns=("name", "title"))
def list_grantable_roles(client: Client, resource: FullName, limit: Limit = None) -> Any:
    """List the roles that may be given on a resource."""
    return _queried(client, "iam.roles.queryGrantableRoles", "roles", resource, limit)


@verb(group, columns=("name", "stage"))
def list_testable_permissions(client: Client, resource: FullName, limit: Limit = None) -> Any:
    """List the permissions that a custom role may hold on a resource."""
    return _queried(client, "iam.permissions.queryTestablePermissions", "permissions", resource, limit)


def _queried(client: Client, method_id: str, field: str, resource: str, limit: int | None) -> list[Any]:
    """All items of a query whose page token goes in the body."""
    items: list[Any] = []
    body = {"fullResourceName": resource}
    while True:
        answer = client.call(method_id, body)
        items += answer.get(field, [])
        if not answer.get("nextPageToken") or (limit is not None and len(items) >= limit):
            return items[:limit]
        body["pageToken"] = answer["nextPageToken"]
