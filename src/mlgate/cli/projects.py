"""`mlgate projects`: projects, where they are, and who may do what in them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.labels import Labels, labels_of
from mlgate.cli.names import project_name
from mlgate.cli.places import Folder, Organization, place_name, required_place
from mlgate.cli.policies import Kind, add_policy_verbs, wrapped
from mlgate.cli.verbs import Limit, verb, words

group = words("Projects: create, describe, give roles.")

ProjectId = Annotated[str, typer.Argument(metavar="PROJECT_ID", help="The project's id.")]

_P = "cloudresourcemanager.projects"


@verb(group, name="list", columns=("projectId", "name", "projectNumber", "lifecycleState"))
def list_projects(
    client: Client,
    filter: Annotated[str | None, typer.Option(help="Such as labels.team:fraud.")] = None,
    limit: Limit = None,
) -> Any:
    """List the projects that you may see."""
    return client.listed(f"{_P}.list", "projects", {"filter": filter}, limit)


@verb(group)
def describe(client: Client, project_id: ProjectId) -> Any:
    """Show a project."""
    return client.call(f"{_P}.get", projectId=project_id)


@verb(group)
def create(
    client: Client,
    project_id: ProjectId,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    labels: Labels = None,
    folder: Folder = "",
    organization: Organization = "",
) -> Any:
    """Create a project, in the organization or in a folder. You become its Owner."""
    place = place_name(folder, organization)
    body = {"projectId": project_id, "name": name, "labels": labels_of(labels), "parent": _resource_id(place)}
    operation = client.call(f"{_P}.create", {k: v for k, v in body.items() if v is not None})
    output.note(f"Created project [{project_id}].")
    return {k: v for k, v in operation.get("response", {}).items() if k != "@type"}


@verb(group)
def delete(client: Client, project_id: ProjectId) -> Any:
    """Mark a project for deletion. Nothing in it answers any more; undelete restores it."""
    client.call(f"{_P}.delete", projectId=project_id)
    output.note(f"Deleted project [{project_id}]. To restore it: mlgate projects undelete {project_id}")


@verb(group)
def undelete(client: Client, project_id: ProjectId) -> Any:
    """Restore a deleted project."""
    client.call(f"{_P}.undelete", {}, projectId=project_id)
    output.note(f"Restored project [{project_id}].")


@verb(group)
def move(client: Client, project_id: ProjectId, folder: Folder = "", organization: Organization = "") -> Any:
    """Put a project into another place: from then on the roles that are held there count for it."""
    body = {"destinationParent": required_place(folder, organization)}
    operation = client.call(f"{_P}.move", body, name=project_name(project_id))
    return {k: v for k, v in operation["response"].items() if k != "@type"}


@verb(group, columns=("id", "type"))
def get_ancestors(client: Client, project_id: ProjectId) -> Any:
    """List the project, the folders above it, and the organization."""
    answer = client.call(f"{_P}.getAncestry", {}, projectId=project_id)
    return [ancestor["resourceId"] for ancestor in answer["ancestor"]]


def _resource_id(place: str) -> dict[str, str] | None:
    """v1's form of a place; None for none."""
    kind, _, number = place.partition("/")
    return {"type": kind.removesuffix("s"), "id": number} if place else None


add_policy_verbs(
    group,
    Kind(
        "project",
        lambda client, project: client.call(
            f"{_P}.getIamPolicy", {"options": {"requestedPolicyVersion": 3}}, resource=project
        ),
        lambda client, project, policy: client.call(f"{_P}.setIamPolicy", wrapped(policy), resource=project),
        lambda client, project: project_name(project),
    ),
)
