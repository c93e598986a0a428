"""`mlgate iam`: roles, and which of them may be given where."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import access, accounts, deny_policies, roles, troubleshoot
from mlgate.cli.client import Client
from mlgate.cli.verbs import Limit, verb, words

group = words("Service accounts, roles, deny policies and permissions.")
group.add_typer(accounts.group, name="service-accounts")
group.add_typer(roles.group, name="roles")
group.add_typer(deny_policies.group, name="policies")
verb(group, told=troubleshoot.told)(troubleshoot.troubleshoot)
access.add_to(group)

FullName = Annotated[
    str, typer.Argument(metavar="RESOURCE", help="Full name, such as //ml.googleapis.com/projects/P/models/M.")
]


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
