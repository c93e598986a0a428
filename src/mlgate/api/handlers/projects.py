"""Projects and the one organization (Resource Manager v1 and v3)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from mlgate.api.call import Call
from mlgate.api.hierarchy import (
    ACTIVE,
    DELETED,
    check_active,
    check_etag,
    is_active,
    lineage,
    parent_name,
    place,
    resource_id,
)
from mlgate.api.messages.message import Empty, Message, decode, encode
from mlgate.api.messages.operations import Operation
from mlgate.api.messages.resourcemanager import (
    Ancestor,
    GetAncestryRequest,
    GetAncestryResponse,
    ListProjectsResponse,
    ListProjectsResponseV3,
    MoveProjectRequest,
    Organization,
    OrganizationV3,
    Project,
    ProjectV3,
    ResourceId,
    SearchOrganizationsRequest,
    SearchOrganizationsResponse,
    SearchOrganizationsResponseV3,
    SearchProjectsResponse,
    UndeleteProjectRequest,
)
from mlgate.api.method import Need
from mlgate.api.operations import REMEMBERED, remembered
from mlgate.api.paging import page
from mlgate.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.labels import check_labels
from mlgate.core.names import CUSTOMER_ID, ORGANIZATION, check_id, join, service_agent_email
from mlgate.core.wire import encode_base64, format_timestamp, parse_mask
from mlgate.ports import Record, Transaction

_MAX_LABELS = 256
_FILTER_FIELDS = ("projectId", "id", "name", "lifecycleState", "labels", "projectNumber", "parent")
_SEARCHABLE = (*_FILTER_FIELDS, "displayName", "state")

Shown = Project | ProjectV3


def new_project(
    tx: Transaction, body: dict[str, Any], number: str, owner: str, created: Any, parent: str = ORGANIZATION
) -> Record:
    """Store a project, its Owner, and the account that the service reads model files with (R-090).

    Also used by `admin init`. Raises AlreadyExists.
    """
    project_id = body["projectId"]
    record = Record(
        name=join("", "projects", project_id),
        kind="project",
        parent=parent,
        uid=number,
        body={
            **body,
            "projectNumber": number,
            "lifecycleState": ACTIVE,
            "createTime": format_timestamp(created),
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
            "active": is_active(record),
            "agent": service_agent_email(record.uid),
        },
    )


def create_project(call: Call, body: Shown) -> Operation:
    """Raises AlreadyExists; project ids are not given out twice, deleted ones included."""
    check_id("project", body.project_id or "", "projectId")
    check_labels(body.labels, limit=_MAX_LABELS)
    parent = place(call, call.resource)
    name = (body.display_name if isinstance(body, ProjectV3) else body.name) or body.project_id
    kept = encode(Project(project_id=body.project_id, name=name, labels=body.labels))
    number = str(secrets.randbelow(9 * 10**11) + 10**11)
    try:
        record = new_project(call.tx, kept, number, call.principal, call.now, parent.name)
    except AlreadyExists:
        raise AlreadyExists(f"Requested entity already exists: project {body.project_id}.") from None
    call.detail["name"] = record.name
    return _operation(call, record)


def get_project(call: Call) -> Shown:
    return _shown(call, call.record(call.resource, "project"))


def list_projects(call: Call) -> ListProjectsResponse:
    """The projects that the caller may see, wherever they are."""
    records, token = page(call, ORGANIZATION, "project", _searched, _FILTER_FIELDS, names=_visible(call))
    return ListProjectsResponse(projects=[_v1(r) for r in records], next_page_token=token)


def search_projects(call: Call) -> SearchProjectsResponse:
    """The same in the form of v3."""
    call.query["filter"] = call.query.get("query", "")
    records, token = page(call, "", "project", _searched_v3, _SEARCHABLE, names=_visible(call))
    return SearchProjectsResponse(projects=[_v3(r) for r in records], next_page_token=token)


def list_projects_in_place(call: Call) -> ListProjectsResponseV3:
    """The projects directly in one place; `showDeleted` adds those that are being deleted."""
    deleted = bool(call.query.get("showDeleted"))
    records, token = page(call, call.resource, "project", lambda r: r.body, visible=lambda r: deleted or is_active(r))
    return ListProjectsResponseV3(projects=[_v3(r) for r in records], next_page_token=token)


def _visible(call: Call) -> Iterable[str]:
    projects = [project.name for project in list(call.services.snapshot.projects.values())]
    return (name for name in projects if call.may("resourcemanager.projects.get", name))


def update_project(call: Call, body: Project) -> Project:
    """Replace name and labels, and move the project when another parent is given."""
    record = call.record(call.resource, "project")
    check_labels(body.labels, limit=_MAX_LABELS)
    record.body = {**record.body, "name": body.name or record.body["name"], "labels": body.labels or {}}
    if _wanted_parent(body, record) != record.parent:
        _put(call, record, _wanted_parent(body, record), "parent")
    _write(call, record)
    return _v1(record)


def patch_project(call: Call, body: ProjectV3) -> Operation:
    """Change the fields that the mask names (all that are given, without one)."""
    record = call.record(call.resource, "project")
    check_active(record)
    check_etag(record, body.etag)
    given = {field: value for field, value in encode(body).items() if field in ("displayName", "labels")}
    paths = parse_mask(call.query.get("updateMask", "") or ",".join(given), ("displayName", "labels"))
    if "labels" in paths:
        check_labels(body.labels, limit=_MAX_LABELS)
        record.body = {**record.body, "labels": body.labels or {}}
    if "displayName" in paths:
        if not body.display_name:
            message = "displayName must not be empty."
            raise InvalidArgument(message, fields=[("displayName", message)])
        record.body = {**record.body, "name": body.display_name}
    _write(call, record)
    return _operation(call, record)


# ------------------------------------------------------------------------------------------------------ moving


def needs_of_update(call: Call, body: Project) -> Iterable[Need]:
    """Another parent is a move, and needs what a move needs."""
    record = call.tx.get(call.resource)
    if record is not None and _wanted_parent(body, record) != record.parent:
        yield Need(("resourcemanager.projects.move",), record.name)
        yield from _needs_of_leaving_and_entering(record, _wanted_parent(body, record))


def needs_of_move(call: Call, body: MoveProjectRequest) -> Iterable[Need]:
    record = call.tx.get(call.resource)
    if record is not None and body.destination_parent:
        yield from _needs_of_leaving_and_entering(record, body.destination_parent)


def _needs_of_leaving_and_entering(record: Record, parent: str) -> Iterable[Need]:
    """Whoever owns a project could give themselves the right to move it. Out of its place, and so out of reach of those
    who have roles there, it goes only by a right that is held there."""
    yield Need(("resourcemanager.projects.move",), record.parent)
    yield Need(("resourcemanager.projects.create", "resourcemanager.projects.move"), parent)


def move_project(call: Call, body: MoveProjectRequest) -> Operation:
    """Put the project into another place. From the answer on only the policies there count for it."""
    record = call.record(call.resource, "project")
    _put(call, record, body.destination_parent or "", "destinationParent")
    _write(call, record)
    return _operation(call, record)


def _put(call: Call, record: Record, name: str, field: str) -> None:
    check_active(record)
    parent = place(call, name, field)
    call.detail |= {"sourceParent": record.parent, "destinationParent": parent.name}
    record.parent = parent.name
    _tell(call.tx, record)


def _wanted_parent(body: Project, record: Record) -> str:
    """The parent that an update names; the present one when it names none. Raises InvalidArgument."""
    if body.parent is None:
        return record.parent
    name = parent_name(body.parent.type, body.parent.id)
    if not name:
        message = 'parent must be {"type": "organization" or "folder", "id": "NUMBER"}, or left out.'
        raise InvalidArgument(message, fields=[("parent", message)])
    return name


def get_ancestry(call: Call, _: GetAncestryRequest) -> GetAncestryResponse:
    record = call.record(call.resource, "project")
    names = lineage(call.tx, record.name)
    return GetAncestryResponse(ancestor=[Ancestor(resource_id=ResourceId(**resource_id(name))) for name in names])


# ---------------------------------------------------------------------------------------------------- life and death


def delete_project(call: Call) -> Empty | Operation:
    """Mark for deletion: from now on only Resource Manager answers for it, until it is restored."""
    return _turn(call, ACTIVE, DELETED)


def undelete_project(call: Call, _: UndeleteProjectRequest) -> Empty | Operation:
    """Restore the project. Raises FailedPrecondition while its folder is being deleted."""
    place(call, call.record(call.resource, "project").parent)
    return _turn(call, DELETED, ACTIVE)


def _turn(call: Call, before: str, after: str) -> Empty | Operation:
    record = call.record(call.resource, "project")
    if record.body["lifecycleState"] != before:
        raise FailedPrecondition(f"{record.name} is {record.body['lifecycleState']}, not {before}.")
    record.body = {**record.body, "lifecycleState": after}
    record.hidden["deleteTime"] = format_timestamp(call.now)
    if after == ACTIVE:
        del record.hidden["deleteTime"]
    _write(call, record)
    _tell(call.tx, record)
    return Empty() if call.method.gives is Empty else _operation(call, record)


# ------------------------------------------------------------------------------------------------- stored and shown


def _write(call: Call, record: Record) -> None:
    record.hidden["updateTime"] = format_timestamp(call.now)
    call.tx.update(record)


def _shown(call: Call, record: Record) -> Shown:
    return _v3(record) if call.method.version == "v3" else _v1(record)


def _v1(record: Record) -> Project:
    return decode(Project, {**record.body, "parent": resource_id(record.parent)})


def _v3(record: Record) -> ProjectV3:
    """The name is made of the project's number, as Google's is."""
    body = record.body
    plain = {
        "name": join("", "projects", record.uid),
        "projectId": body["projectId"],
        "displayName": body["name"],
        "labels": body.get("labels"),
        "parent": record.parent,
        "state": body["lifecycleState"],
        "createTime": body["createTime"],
        "updateTime": body["createTime"],
        "etag": encode_base64(record.etag),
    }
    return decode(ProjectV3, {**plain, **record.hidden})


def _operation(call: Call, record: Record) -> Operation:
    """What changes a project is done when it is answered."""
    shown = _shown(call, record)
    package = "cloud.resourcemanager.v3" if isinstance(shown, ProjectV3) else "cloudresourcemanager.v1"
    response = {"@type": f"type.googleapis.com/google.{package}.Project", **encode(shown)}
    return remembered(call, "cp", response)


def get_operation(call: Call) -> Operation:
    """An operation of the last day. Raises PermissionDenied for somebody else's, as for one that does not exist."""
    found = call.tx.get(call.resource)
    if found is None or found.kind != REMEMBERED or found.hidden["principal"] != call.principal:
        raise PermissionDenied(f"The caller has no operation '{call.resource[:200]}'.", reason="IAM_PERMISSION_DENIED")
    return decode(Operation, found.body)


def _searched(record: Record) -> dict[str, Any]:
    """What a filter of v1 may name."""
    return {**record.body, "id": record.body["projectId"], "parent": resource_id(record.parent)}


def _searched_v3(record: Record) -> dict[str, Any]:
    """What a query of v3 may name: the words of both versions, and the parent by its name."""
    body = record.body
    shown = {"displayName": body["name"], "state": body["lifecycleState"], "parent": record.parent}
    return {**_searched(record), **shown}


# ------------------------------------------------------------------------------------------------- the organization


def get_organization(call: Call) -> Organization | OrganizationV3:
    return _shown_organization(call, call.record(call.resource, "organization"))


def search_organizations(call: Call, body: SearchOrganizationsRequest | None = None) -> Message:
    """The organization, for whoever may get it."""
    if body is not None:  # v1 asks in the body what v3 asks in the query
        call.query |= {"query": body.filter, "pageSize": body.page_size or 0, "pageToken": body.page_token}
    call.query["filter"] = call.query.get("query") or ""
    names = [ORGANIZATION] if call.may("resourcemanager.organizations.get", ORGANIZATION) else []
    records, token = page(call, "", "organization", lambda r: r.body, ("displayName", "name"), names=names)
    message: Any = SearchOrganizationsResponseV3 if call.method.version == "v3" else SearchOrganizationsResponse
    found: Message = message(organizations=[_shown_organization(call, r) for r in records], next_page_token=token)
    return found


def _shown_organization(call: Call, record: Record) -> Organization | OrganizationV3:
    body = record.body
    plain = {"name": record.name, "displayName": body["displayName"]}
    created = format_timestamp(record.created)
    if call.method.version != "v3":
        owner = {"directoryCustomerId": CUSTOMER_ID}
        return decode(Organization, {**body, **plain, "creationTime": created, "owner": owner})
    times = {"createTime": created, "updateTime": created}
    state = {"state": body["lifecycleState"], "etag": encode_base64(record.etag)}
    return decode(OrganizationV3, {**plain, **times, **state, "directoryCustomerId": CUSTOMER_ID})
