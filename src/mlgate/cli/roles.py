"""`mlgate iam roles`: what roles hold, and custom roles of a project or of the organization."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli.client import Client, Query
from mlgate.cli.names import project_name, role_name
from mlgate.cli.verbs import Limit, verb, words
from mlgate.core.names import join

group = words("Roles and what they hold.")

RoleId = Annotated[str, typer.Argument(metavar="ROLE", help="The id of a custom role, or its whole name.")]
Organization = Annotated[str, typer.Option(help="The organization whose role it is; else it is the project's.")]
Title = Annotated[str | None, typer.Option(help="What people see.")]
Description = Annotated[str | None, typer.Option(help="What the role is for.")]
Permissions = Annotated[str | None, typer.Option(help="What the role holds, separated by commas.", metavar="P,P,...")]
Stage = Annotated[str | None, typer.Option(help="ALPHA, BETA, GA, DEPRECATED, EAP; DISABLED stops granting.")]


@verb(group, name="list", columns=("name", "title"))
def list_roles(
    client: Client,
    custom: Annotated[bool, typer.Option("--custom", help="The project's custom roles, not the predefined.")] = False,
    organization: Organization = "",
    show_deleted: Annotated[bool, typer.Option("--show-deleted", help="Also those that can be restored.")] = False,
    limit: Limit = None,
) -> Any:
    """List the predefined roles, or the custom roles of the project or organization."""
    if not (custom or organization):
        return client.listed("iam.roles.list", "roles", {"pageSize": 1000}, limit)
    place, parent = _place(client, organization)
    query: Query = {"pageSize": 1000, "showDeleted": show_deleted}
    return client.listed(f"iam.{place}.roles.list", "roles", query, limit, parent=parent)


@verb(group)
def describe(
    client: Client, role: Annotated[str, typer.Argument(metavar="ROLE", help="Such as roles/ml.modelUser.")]
) -> Any:
    """Show a role and every permission that it holds."""
    name = role_name(role)
    place = "" if name.startswith("roles/") else name.partition("/")[0] + "."
    return client.call(f"iam.{place}roles.get", name=name)


@verb(group)
def create(
    client: Client,
    role: RoleId,
    organization: Organization = "",
    title: Title = None,
    description: Description = None,
    permissions: Permissions = None,
    stage: Stage = None,
) -> Any:
    """Create a custom role."""
    place, parent = _place(client, organization)
    body = {"roleId": role, "role": _fields(title, description, permissions, stage)}
    return client.call(f"iam.{place}.roles.create", body, parent=parent)


@verb(group)
def update(
    client: Client,
    role: RoleId,
    organization: Organization = "",
    title: Title = None,
    description: Description = None,
    permissions: Permissions = None,
    stage: Stage = None,
) -> Any:
    """Change what is given; a new list of permissions replaces the old one."""
    place, name = _role(client, role, organization)
    fields = _fields(title, description, permissions, stage)
    query = {"updateMask": ",".join(fields)}
    return client.call(f"iam.{place}.roles.patch", fields, query, name=name)


@verb(group)
def delete(client: Client, role: RoleId, organization: Organization = "") -> Any:
    """Delete a custom role: it grants nothing from now on, and can be restored for seven days."""
    place, name = _role(client, role, organization)
    return client.call(f"iam.{place}.roles.delete", name=name)


@verb(group)
def undelete(client: Client, role: RoleId, organization: Organization = "") -> Any:
    """Restore a deleted custom role, and with it what its bindings grant."""
    place, name = _role(client, role, organization)
    return client.call(f"iam.{place}.roles.undelete", {}, name=name)


def _place(client: Client, organization: str) -> tuple[str, str]:
    if organization:
        return "organizations", join("", "organizations", organization.removeprefix("organizations/"))
    return "projects", project_name(client.project)


def _role(client: Client, role: str, organization: str) -> tuple[str, str]:
    if "/" in role:
        return role.partition("/")[0], role
    place, parent = _place(client, organization)
    return place, join(parent, "roles", role)


def _fields(title: str | None, description: str | None, permissions: str | None, stage: str | None) -> dict[str, Any]:
    held = None if permissions is None else [p.strip() for p in permissions.split(",") if p.strip()]
    given = {"title": title, "description": description, "includedPermissions": held, "stage": stage}
    return {field: value for field, value in given.items() if value is not None}
