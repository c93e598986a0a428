"""`mlgate resource-manager folders`: folders between the organization and its projects, and who has roles on them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.client import Client, Query
from mlgate.cli.places import Folder, Organization, folder_name, required_place
from mlgate.cli.policies import Kind, add_policy_verbs, wrapped
from mlgate.cli.verbs import Limit, verb, words

resource_manager = words("The tree above projects.")
group = words("Folders: create, move, give roles on all that is in them.")
resource_manager.add_typer(group, name="folders")

FolderId = Annotated[str, typer.Argument(metavar="FOLDER", help="The folder's number, or folders/NUMBER.")]
DisplayName = Annotated[str, typer.Option(help="A name for people, unique in its place.")]
ShowDeleted = Annotated[bool, typer.Option("--show-deleted", help="Also those that can be restored.")]

_F = "cloudresourcemanager.folders"


@verb(group)
def create(client: Client, display_name: DisplayName, folder: Folder = "", organization: Organization = "") -> Any:
    """Create a folder in the organization or in a folder."""
    body = {"displayName": display_name, "parent": required_place(folder, organization)}
    made = _done(client.call(f"{_F}.create", body))
    output.note(f"Created folder [{made['name']}].")
    return made


@verb(group, name="list", columns=("displayName", "name.basename()", "parent", "state"))
def list_folders(
    client: Client,
    folder: Folder = "",
    organization: Organization = "",
    show_deleted: ShowDeleted = False,
    limit: Limit = None,
) -> Any:
    """List the folders directly in the organization or in a folder."""
    query: Query = {"parent": required_place(folder, organization), "showDeleted": show_deleted}
    return client.listed(f"{_F}.list", "folders", query, limit)


@verb(group)
def describe(client: Client, folder: FolderId) -> Any:
    """Show a folder."""
    return client.call(f"{_F}.get", name=folder_name(folder))


@verb(group)
def update(client: Client, folder: FolderId, display_name: DisplayName) -> Any:
    """Rename a folder."""
    body, query = {"displayName": display_name}, {"updateMask": "displayName"}
    return _done(client.call(f"{_F}.patch", body, query, name=folder_name(folder)))


@verb(group)
def move(
    client: Client,
    folder_id: FolderId,
    folder: Folder = "",
    organization: Organization = "",
) -> Any:
    """Put a folder, with all that is in it, into another place: from then on the roles that are held there count."""
    body = {"destinationParent": required_place(folder, organization)}
    return _done(client.call(f"{_F}.move", body, name=folder_name(folder_id)))


@verb(group)
def delete(client: Client, folder: FolderId) -> Any:
    """Delete an empty folder. It can be restored for 30 days."""
    client.call(f"{_F}.delete", name=folder_name(folder))
    output.note(f"Deleted folder [{folder}]. To restore it: mlgate resource-manager folders undelete {folder}")


@verb(group)
def undelete(client: Client, folder: FolderId) -> Any:
    """Restore a deleted folder."""
    return _done(client.call(f"{_F}.undelete", {}, name=folder_name(folder)))


def _done(operation: dict[str, Any]) -> dict[str, Any]:
    """The folder of an operation, which is done when it is answered."""
    return {k: v for k, v in operation["response"].items() if k != "@type"}


add_policy_verbs(
    group,
    Kind(
        "folder",
        lambda client, folder: client.call(
            f"{_F}.getIamPolicy", {"options": {"requestedPolicyVersion": 3}}, resource=folder_name(folder)
        ),
        lambda client, folder, policy: client.call(f"{_F}.setIamPolicy", wrapped(policy), resource=folder_name(folder)),
        lambda client, folder: folder_name(folder),
    ),
)
