"""Messages of cloudresourcemanager v1: projects and the organization."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Int64, Message, Timestamp


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
    management_type: Literal["MANAGEMENT_TYPE_UNSPECIFIED", "SELF_MANAGED", "HUB"] | None = None
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


class Organization(Message):
    creation_time: Timestamp | None = None
    display_name: str | None = None
    lifecycle_state: Literal["LIFECYCLE_STATE_UNSPECIFIED", "ACTIVE", "DELETE_REQUESTED"] | None = None
    name: str | None = None
