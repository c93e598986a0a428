"""`mlgate iam who-can` and `what-can`: who has access to a resource, and what somebody has access to.

`mlgate asset analyze-iam-policy` asks the same in the words and the shape of Google's tool. Each fetches every page.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.client import Client, Query
from mlgate.cli.names import bucket_id, project_name
from mlgate.cli.places import Folder, Organization, place_name
from mlgate.cli.verbs import Limit, verb, words
from mlgate.core.names import bucket_name, from_full_name, project_of

asset = words("Analysis of access.")

_GRANT = ("role", "grantedOn", "via", "expireTime", "condition.title", "state")

Permissions = Annotated[str, typer.Option(help="Only access by these permissions.", metavar="P,P,...")]
Roles = Annotated[str, typer.Option(help="Only access by these roles.", metavar="R,R,...")]
Below = Annotated[bool, typer.Option("--below", help="Also everything below that has a policy of its own.")]
Scope = Annotated[str, typer.Option("--in", help="projects/ID, folders/NUMBER or organizations/NUMBER.")]
All = Annotated[bool, typer.Option("--all", help="Also grants that a deny rule or their condition makes idle.")]
AccessTime = Annotated[str | None, typer.Option(help="Review what will be then; else what is now.", metavar="TIME")]


def add_to(group: typer.Typer) -> None:
    """Give a group of words the two questions."""
    verb(group, columns=("principal", "resource", *_GRANT))(who_can)
    verb(group, columns=("resource", "principal", *_GRANT))(what_can)


def who_can(
    client: Client,
    permission: Annotated[str, typer.Argument(metavar="PERMISSION", help="Such as ml.models.predict; or several.")],
    resource: Annotated[
        str, typer.Argument(metavar="RESOURCE", help="Such as projects/P/models/M, gs://BUCKET, or a full name.")
    ],
    scope: Scope = "",
    below: Below = False,
    include_all: All = False,
    access_time: AccessTime = None,
    limit: Limit = None,
) -> Any:
    """List who may do something to a resource: every grant, its path and its end. Whoever is signed in and not listed
    may do what allAuthenticatedUsers may."""
    name = _relative(resource)
    query: Query = {
        "resource": name,
        "permissions": _split(permission),
        "expandResources": below,
        "includeIneffective": include_all,
        "accessTime": access_time,
    }
    return _listed(client, scope or _scope_of(client, name), query, limit)


def what_can(
    client: Client,
    principal: Annotated[
        str,
        typer.Argument(
            metavar="PRINCIPAL",
            help="user:EMAIL, serviceAccount:EMAIL, group:EMAIL, allAuthenticatedUsers or anonymous.",
        ),
    ],
    scope: Scope = "",
    permissions: Permissions = "",
    roles: Roles = "",
    below: Below = False,
    include_all: All = False,
    access_time: AccessTime = None,
    limit: Limit = None,
) -> Any:
    """List what somebody has access to in the project, or in another place: every grant, its path and its end."""
    query: Query = {
        "principal": principal,
        "permissions": _split(permissions),
        "roles": _split(roles),
        "expandResources": below,
        "includeIneffective": include_all,
        "accessTime": access_time,
    }
    return _listed(client, scope or project_name(client.project), query, limit)


@verb(asset)
def analyze_iam_policy(
    client: Client,
    organization: Organization = "",
    folder: Folder = "",
    full_resource_name: Annotated[str | None, typer.Option(help="Such as //ml.googleapis.com/projects/P.")] = None,
    identity: Annotated[str | None, typer.Option(help="user:EMAIL, group:EMAIL, serviceAccount:EMAIL, ...")] = None,
    permissions: Permissions = "",
    roles: Roles = "",
    access_time: AccessTime = None,
    expand_groups: Annotated[bool, typer.Option("--expand-groups", help="Tell the members of groups.")] = False,
    expand_resources: Annotated[bool, typer.Option("--expand-resources", help="Tell what is below, too.")] = False,
    expand_roles: Annotated[bool, typer.Option("--expand-roles", help="Tell the permissions of roles.")] = False,
    output_group_edges: Annotated[bool, typer.Option("--output-group-edges", help="Tell who is in which.")] = False,
    output_resource_edges: Annotated[
        bool, typer.Option("--output-resource-edges", help="Tell what is in which.")
    ] = False,
) -> Any:
    """Analyze who has access to what in a project, a folder or the organization, binding by binding."""
    scope = place_name(folder, organization) or project_name(client.project)
    selected = {
        "accessSelector.permissions": _split(permissions),
        "accessSelector.roles": _split(roles),
        "conditionContext.accessTime": access_time,
        "identitySelector.identity": identity,
        "options.expandGroups": expand_groups or None,
        "options.expandResources": expand_resources or None,
        "options.expandRoles": expand_roles or None,
        "options.outputGroupEdges": output_group_edges or None,
        "options.outputResourceEdges": output_resource_edges or None,
        "resourceSelector.fullResourceName": full_resource_name,
    }
    query: dict[str, Any] = {f"analysisQuery.{name}": value for name, value in selected.items()}
    results: list[Any] = []
    while True:
        answer = client.call("cloudasset.analyzeIamPolicy", query=query, scope=scope)
        results += answer["mainAnalysis"].get("analysisResults", [])
        if not (token := answer.pop("nextPageToken", "")):
            return {**answer, "mainAnalysis": {**answer["mainAnalysis"], "analysisResults": results}}
        query["pageToken"] = token


def _listed(client: Client, scope: str, query: Query, limit: int | None) -> list[dict[str, Any]]:
    entries = client.listed("mlgate.access.list", "access", query, limit, scope=scope)
    closed = {e["principal"] for e in entries if e["principal"].startswith("group:")} - {query.get("principal")}
    if closed:
        output.note(f"Not opened, as you may not list their members: {', '.join(sorted(closed))}.")
    return [{**entry, "via": _via(entry)} for entry in entries]


def _via(entry: dict[str, Any]) -> str:
    """How a grant that names somebody else reaches the principal: `group:a > group:b`, `allUsers`; else ""."""
    path = entry.get("groupPath") or [entry["member"]]
    return "" if path == [entry["principal"]] else " > ".join(path)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _relative(resource: str) -> str:
    if resource.startswith("gs://"):
        return bucket_name(bucket_id(resource))
    return from_full_name(resource) if resource.startswith("//") else resource


def _scope_of(client: Client, name: str) -> str:
    """The project of a resource; a folder or the organization itself."""
    return name if name.startswith(("folders/", "organizations/")) else project_of(name) or project_name(client.project)
