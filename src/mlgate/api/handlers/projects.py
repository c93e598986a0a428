"""Projects and the one organization (Resource Manager v1)."""

from __future__ import annotations

import secrets
from typing import Any

from mlgate.api.call import Call
from mlgate.api.messages.message import Empty, decode, encode
from mlgate.api.messages.operations import Operation
from mlgate.api.messages.resourcemanager import ListProjectsResponse, Organization, Project, UndeleteProjectRequest
from mlgate.api.paging import page
from mlgate.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.labels import check_labels
from mlgate.core.names import ORGANIZATION, check_id, id_of, join, service_agent_email
from mlgate.core.wire import format_timestamp
from mlgate.ports import Record, Transaction

_TYPE = "type.googleapis.com/google.cloudresourcemanager.v1.Project"
_MAX_LABELS = 256
_FILTER_FIELDS = ("projectId", "id", "name", "lifecycleState", "labels", "projectNumber", "parent")


def new_project(tx: Transaction, body: dict[str, Any], number: str, owner: str, created: Any) -> Record:
    """Store a project, its Owner, and the account that the service reads model files with (R-090).

    Also used by `admin init`. Raises AlreadyExists.
    """
    project_id = body["projectId"]
    record = Record(
        name=join("", "projects", project_id),
        kind="project",
        parent=ORGANIZATION,
        uid=number,
        body={
            **body,
            "projectNumber": number,
            "lifecycleState": "ACTIVE",
            "createTime": format_timestamp(created),
            "parent": {"type": "organization", "id": id_of(ORGANIZATION)},
        },
        created=created,
    )
    tx.insert(record)
    agent = service_agent_email(number)
    tx.set_policy(
        record.name,
        Policy(
            (
                Binding("roles/owner", (owner,)),
                Binding("roles/ml.serviceAgent", (f"serviceAccount:{agent}",)),
            )
        ),
    )
    _tell(tx, record)
    return record


def _tell(tx: Transaction, record: Record) -> None:
    """What every process must know of the project."""
    tx.set_fact(
        "project",
        record.body["projectId"],
        {
            "number": record.uid,
            "parent": record.parent,
            "active": record.body["lifecycleState"] == "ACTIVE",
            "agent": service_agent_email(record.uid),
        },
    )


def create_project(call: Call, body: Project) -> Operation:
    """Raises AlreadyExists; project ids are not given out twice, deleted ones included."""
    check_id("project", body.project_id or "", "projectId")
    check_labels(body.labels, limit=_MAX_LABELS)
    if body.parent and (body.parent.type, body.parent.id) != ("organization", id_of(ORGANIZATION)):
        message = f"parent must be the organization {id_of(ORGANIZATION)}, or left out."
        raise InvalidArgument(message, fields=[("parent", message)])
    kept = encode(Project(project_id=body.project_id, name=body.name or body.project_id, labels=body.labels))
    number = str(secrets.randbelow(9 * 10**11) + 10**11)
    try:
        record = new_project(call.tx, kept, number, call.principal, call.now)
    except AlreadyExists:
        raise AlreadyExists(f"Requested entity already exists: project {body.project_id}.") from None
    return Operation(name=f"operations/cp.{number}", done=True, response={"@type": _TYPE, **record.body})


def get_project(call: Call) -> Project:
    return decode(Project, call.record(call.resource, "project").body)


def list_projects(call: Call) -> ListProjectsResponse:
    """The projects that the caller may see."""

    def present(record: Record) -> dict[str, Any]:
        return {**record.body, "id": record.body["projectId"]}

    def visible(record: Record) -> bool:
        return call.may("resourcemanager.projects.get", record.name)

    records, token = page(call, ORGANIZATION, "project", present, _FILTER_FIELDS, visible)
    return ListProjectsResponse(projects=[decode(Project, r.body) for r in records], next_page_token=token)


def update_project(call: Call, body: Project) -> Project:
    record = call.record(call.resource, "project")
    check_labels(body.labels, limit=_MAX_LABELS)
    record.body = {**record.body, "name": body.name or record.body["name"], "labels": body.labels or {}}
    call.tx.update(record)
    return decode(Project, record.body)


def delete_project(call: Call) -> Empty:
    """Mark for deletion: from now on only Resource Manager answers for it, until it is restored."""
    _move(call, "ACTIVE", "DELETE_REQUESTED")
    return Empty()


def undelete_project(call: Call, _: UndeleteProjectRequest) -> Empty:
    _move(call, "DELETE_REQUESTED", "ACTIVE")
    return Empty()


def _move(call: Call, before: str, after: str) -> None:
    record = call.record(call.resource, "project")
    if record.body["lifecycleState"] != before:
        raise FailedPrecondition(f"{record.name} is {record.body['lifecycleState']}, not {before}.")
    record.body = {**record.body, "lifecycleState": after}
    call.tx.update(record)
    _tell(call.tx, record)


def get_organization(call: Call) -> Organization:
    return decode(Organization, call.record(call.resource, "organization").body)
