"""Messages of cloudresourcemanager: projects and the organization in v1 and v3, folders in v2 and v3.

The versions name different messages alike; those of v3 carry V3 here, and their own prefix in our descriptions.
"""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Int64, Message, Timestamp

_V3 = "GoogleCloudResourcemanagerV3__"

LifecycleState = Literal["LIFECYCLE_STATE_UNSPECIFIED", "ACTIVE", "DELETE_REQUESTED"]
State = Literal["STATE_UNSPECIFIED", "ACTIVE", "DELETE_REQUESTED"]
ManagementType = Literal["MANAGEMENT_TYPE_UNSPECIFIED", "SELF_MANAGED", "HUB"]

# --------------------------------------------------------------------------------------------------------------- v1


class ResourceId(Message):
    id: str | None = None
    type: str | None = None


class Project(Message):
    configured_capabilities: list[str] | None = None
    create_time: Timestamp | None = None
    is_management_project: bool | None = None
    labels: dict[str, str] | None = None
    lifecycle_state: (
        Literal["LIFECYCLE_STATE_UNSPECIFIED", "ACTIVE", "DELETE_REQUESTED", "DELETE_IN_PROGRESS"] | None
    ) = None
    management_type: ManagementType | None = None
    name: str | None = None
    parent: ResourceId | None = None
    project_id: str | None = None
    project_number: Int64 | None = None
    tags: dict[str, str] | None = None


class ListProjectsResponse(Message):
    next_page_token: str | None = None
    projects: list[Project] | None = None


class UndeleteProjectRequest(Message):
    pass


class Ancestor(Message):
    resource_id: ResourceId | None = None


class GetAncestryRequest(Message):
    pass


class GetAncestryResponse(Message):
    """The project first, then each place above it."""

    ancestor: list[Ancestor] | None = None


class OrganizationOwner(Message):
    directory_customer_id: str | None = None


class Organization(Message):
    creation_time: Timestamp | None = None
    display_name: str | None = None
    lifecycle_state: LifecycleState | None = None
    name: str | None = None
    owner: OrganizationOwner | None = None


class SearchOrganizationsRequest(Message):
    filter: str | None = None
    page_size: int | None = None
    page_token: str | None = None


class SearchOrganizationsResponse(Message):
    next_page_token: str | None = None
    organizations: list[Organization] | None = None


# --------------------------------------------------------------------------------------------------------------- v2


class Folder(Message):
    configured_capabilities: list[str] | None = None
    create_time: Timestamp | None = None
    display_name: str | None = None
    lifecycle_state: LifecycleState | None = None
    management_project: str | None = None
    name: str | None = None
    parent: str | None = None
    tags: dict[str, str] | None = None


class ListFoldersResponse(Message):
    folders: list[Folder] | None = None
    next_page_token: str | None = None


class SearchFoldersRequest(Message):
    page_size: int | None = None
    page_token: str | None = None
    query: str | None = None


class SearchFoldersResponse(Message):
    folders: list[Folder] | None = None
    next_page_token: str | None = None


class MoveFolderRequest(Message):
    destination_parent: str | None = None


class UndeleteFolderRequest(Message):
    pass


# --------------------------------------------------------------------------------------------------------------- v3


class FolderV3(Message, schema=f"{_V3}Folder"):
    configured_capabilities: list[str] | None = None
    create_time: Timestamp | None = None
    delete_time: Timestamp | None = None
    display_name: str | None = None
    etag: str | None = None
    management_project: str | None = None
    name: str | None = None
    parent: str | None = None
    state: State | None = None
    tags: dict[str, str] | None = None
    update_time: Timestamp | None = None


class ListFoldersResponseV3(Message, schema=f"{_V3}ListFoldersResponse"):
    folders: list[FolderV3] | None = None
    next_page_token: str | None = None


class SearchFoldersResponseV3(Message, schema=f"{_V3}SearchFoldersResponse"):
    folders: list[FolderV3] | None = None
    next_page_token: str | None = None


class ProjectV3(Message, schema=f"{_V3}Project"):
    configured_capabilities: list[str] | None = None
    create_time: Timestamp | None = None
    delete_time: Timestamp | None = None
    display_name: str | None = None
    etag: str | None = None
    is_management_project: bool | None = None
    labels: dict[str, str] | None = None
    management_type: ManagementType | None = None
    name: str | None = None
    parent: str | None = None
    project_id: str | None = None
    state: State | None = None
    tags: dict[str, str] | None = None
    update_time: Timestamp | None = None


class ListProjectsResponseV3(Message, schema=f"{_V3}ListProjectsResponse"):
    next_page_token: str | None = None
    projects: list[ProjectV3] | None = None


class SearchProjectsResponse(Message):
    next_page_token: str | None = None
    projects: list[ProjectV3] | None = None


class MoveProjectRequest(Message):
    destination_parent: str | None = None


class OrganizationV3(Message, schema=f"{_V3}Organization"):
    create_time: Timestamp | None = None
    delete_time: Timestamp | None = None
    directory_customer_id: str | None = None
    display_name: str | None = None
    etag: str | None = None
    name: str | None = None
    state: State | None = None
    update_time: Timestamp | None = None


class SearchOrganizationsResponseV3(Message, schema=f"{_V3}SearchOrganizationsResponse"):
    next_page_token: str | None = None
    organizations: list[OrganizationV3] | None = None
