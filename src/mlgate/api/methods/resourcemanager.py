"""Resource Manager: projects and the one organization (v1 and v3), folders (v2 and v3).

Where versions share a method, the command line takes the first row that fits: v1 for projects and the organization,
v3 for folders.
"""

from __future__ import annotations

from mlgate.api.handlers import folders, policies, projects
from mlgate.api.hierarchy import parent_in_body, project_parent_in_body
from mlgate.api.messages.message import Empty
from mlgate.api.messages.operations import Operation
from mlgate.api.messages.policies import (
    GetIamPolicyRequest,
    Policy,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlgate.api.messages.resourcemanager import (
    Folder,
    FolderV3,
    GetAncestryRequest,
    GetAncestryResponse,
    ListFoldersResponse,
    ListFoldersResponseV3,
    ListProjectsResponse,
    ListProjectsResponseV3,
    MoveFolderRequest,
    MoveProjectRequest,
    Organization,
    OrganizationV3,
    Project,
    ProjectV3,
    SearchFoldersRequest,
    SearchFoldersResponse,
    SearchFoldersResponseV3,
    SearchOrganizationsRequest,
    SearchOrganizationsResponse,
    SearchOrganizationsResponseV3,
    SearchProjectsResponse,
    UndeleteFolderRequest,
    UndeleteProjectRequest,
)
from mlgate.api.method import DELETE, GET, PATCH, POST, PUT, Audit, Authenticated, Method
from mlgate.core.iam import roles

_P, _PP = "cloudresourcemanager.projects", "resourcemanager.projects"
_F, _FP = "cloudresourcemanager.folders", "resourcemanager.folders"
_O, _OP = "cloudresourcemanager.organizations", "resourcemanager.organizations"
_WRITE = Audit.ADMIN_WRITE
_FILTERED = Authenticated("the answer holds only permissions that the caller has")
_PAGE: dict[str, type] = {"pageSize": int, "pageToken": str}
_CHILDREN: dict[str, type] = {"parent": str, **_PAGE, "showDeleted": bool}
_MASK: dict[str, type] = {"updateMask": str}


def _only(what: str) -> Authenticated:
    return Authenticated(f"only {what} that the caller may get are listed")


_V1: tuple[Method, ...] = (
    Method(f"{_P}.create", POST, "v1/projects", f"{_PP}.create", projects.create_project,
           on="{parent}", on_body=project_parent_in_body, takes=Project, gives=Operation, audit=_WRITE,
           summary="Create a project in the organization or in a folder"),
    Method(f"{_P}.list", GET, "v1/projects", _only("projects"), projects.list_projects,
           gives=ListProjectsResponse, query={"filter": str, **_PAGE}, summary="List the projects one may see"),
    Method(f"{_P}.get", GET, "v1/projects/{projectId}", f"{_PP}.get", projects.get_project,
           on="projects/{projectId}", gives=Project, summary="Read a project"),
    Method(f"{_P}.getAncestry", POST, "v1/projects/{projectId}:getAncestry", f"{_PP}.get", projects.get_ancestry,
           on="projects/{projectId}", takes=GetAncestryRequest, gives=GetAncestryResponse,
           summary="List the folders above a project, up to the organization"),
    Method(f"{_P}.update", PUT, "v1/projects/{projectId}", f"{_PP}.update", projects.update_project,
           on="projects/{projectId}", takes=Project, gives=Project, audit=_WRITE, also=projects.needs_of_update,
           summary="Change a project's name, labels and parent"),
    Method(f"{_P}.delete", DELETE, "v1/projects/{projectId}", f"{_PP}.delete", projects.delete_project,
           on="projects/{projectId}", gives=Empty, audit=_WRITE, summary="Mark a project for deletion"),
    Method(f"{_P}.undelete", POST, "v1/projects/{projectId}:undelete", f"{_PP}.undelete",
           projects.undelete_project, on="projects/{projectId}", takes=UndeleteProjectRequest, gives=Empty,
           audit=_WRITE, summary="Restore a project"),
    Method(f"{_P}.getIamPolicy", POST, "v1/projects/{resource}:getIamPolicy", f"{_PP}.getIamPolicy",
           policies.getter(roles.PROJECT), on="projects/{resource}", takes=GetIamPolicyRequest, gives=Policy,
           summary="Read who has which role on a project"),
    Method(f"{_P}.setIamPolicy", POST, "v1/projects/{resource}:setIamPolicy", f"{_PP}.setIamPolicy",
           policies.setter(roles.PROJECT), on="projects/{resource}", takes=SetIamPolicyRequest, gives=Policy,
           audit=_WRITE, summary="Replace who has which role on a project"),
    Method(f"{_P}.testIamPermissions", POST, "v1/projects/{resource}:testIamPermissions", _FILTERED,
           policies.tester(roles.PROJECT), on="projects/{resource}", takes=TestIamPermissionsRequest,
           gives=TestIamPermissionsResponse, max_body=64 << 10,
           summary="Which of these permissions the caller holds on a project"),
    Method(f"{_O}.get", GET, "v1/{name=organizations/*}", f"{_OP}.get", projects.get_organization,
           gives=Organization, summary="Read the organization"),
    Method(f"{_O}.search", POST, "v1/organizations:search", _only("organizations"), projects.search_organizations,
           takes=SearchOrganizationsRequest, gives=SearchOrganizationsResponse,
           summary="List the organizations one may see"),
)  # fmt: skip

_V2: tuple[Method, ...] = (
    Method(f"{_F}.create", POST, "v2/folders", f"{_FP}.create", folders.create_folder, on="{parent}",
           query={"parent": str}, takes=Folder, gives=Operation, audit=_WRITE, summary="Create a folder"),
    Method(f"{_F}.list", GET, "v2/folders", f"{_FP}.list", folders.list_folders, on="{parent}",
           gives=ListFoldersResponse, query=_CHILDREN, summary="List the folders in a place"),
    Method(f"{_F}.search", POST, "v2/folders:search", _only("folders"), folders.search_folders,
           takes=SearchFoldersRequest, gives=SearchFoldersResponse, summary="List the folders one may see"),
    Method(f"{_F}.get", GET, "v2/{name=folders/*}", f"{_FP}.get", folders.get_folder, gives=Folder,
           summary="Read a folder"),
    Method(f"{_F}.patch", PATCH, "v2/{name=folders/*}", f"{_FP}.update", folders.patch_folder, takes=Folder,
           gives=Folder, query=_MASK, audit=_WRITE, summary="Rename a folder"),
    Method(f"{_F}.move", POST, "v2/{name=folders/*}:move", f"{_FP}.move", folders.move_folder,
           takes=MoveFolderRequest, gives=Operation, audit=_WRITE, also=folders.needs_of_move,
           summary="Put a folder, with all that is in it, into another place"),
    Method(f"{_F}.delete", DELETE, "v2/{name=folders/*}", f"{_FP}.delete", folders.delete_folder, gives=Folder,
           audit=_WRITE, summary="Mark an empty folder for deletion"),
    Method(f"{_F}.undelete", POST, "v2/{name=folders/*}:undelete", f"{_FP}.undelete", folders.undelete_folder,
           takes=UndeleteFolderRequest, gives=Folder, audit=_WRITE, summary="Restore a folder"),
)  # fmt: skip

_V3: tuple[Method, ...] = (
    Method(f"{_F}.create", POST, "v3/folders", f"{_FP}.create", folders.create_folder, on="{parent}",
           on_body=parent_in_body, takes=FolderV3, gives=Operation, audit=_WRITE, summary="Create a folder"),
    Method(f"{_F}.list", GET, "v3/folders", f"{_FP}.list", folders.list_folders, on="{parent}",
           gives=ListFoldersResponseV3, query=_CHILDREN, summary="List the folders in a place"),
    Method(f"{_F}.search", GET, "v3/folders:search", _only("folders"), folders.search_folders,
           gives=SearchFoldersResponseV3, query={**_PAGE, "query": str}, summary="List the folders one may see"),
    Method(f"{_F}.get", GET, "v3/{name=folders/*}", f"{_FP}.get", folders.get_folder, gives=FolderV3,
           summary="Read a folder"),
    Method(f"{_F}.patch", PATCH, "v3/{name=folders/*}", f"{_FP}.update", folders.patch_folder, takes=FolderV3,
           gives=Operation, query=_MASK, audit=_WRITE, summary="Rename a folder"),
    Method(f"{_F}.move", POST, "v3/{name=folders/*}:move", f"{_FP}.move", folders.move_folder,
           takes=MoveFolderRequest, gives=Operation, audit=_WRITE, also=folders.needs_of_move,
           summary="Put a folder, with all that is in it, into another place"),
    Method(f"{_F}.delete", DELETE, "v3/{name=folders/*}", f"{_FP}.delete", folders.delete_folder, gives=Operation,
           audit=_WRITE, summary="Mark an empty folder for deletion"),
    Method(f"{_F}.undelete", POST, "v3/{name=folders/*}:undelete", f"{_FP}.undelete", folders.undelete_folder,
           takes=UndeleteFolderRequest, gives=Operation, audit=_WRITE, summary="Restore a folder"),
    Method(f"{_P}.create", POST, "v3/projects", f"{_PP}.create", projects.create_project, on="{parent}",
           on_body=project_parent_in_body, takes=ProjectV3, gives=Operation, audit=_WRITE,
           summary="Create a project in the organization or in a folder"),
    Method(f"{_P}.list", GET, "v3/projects", f"{_PP}.list", projects.list_projects_in_place, on="{parent}",
           gives=ListProjectsResponseV3, query=_CHILDREN, summary="List the projects in a place"),
    Method(f"{_P}.search", GET, "v3/projects:search", _only("projects"), projects.search_projects,
           gives=SearchProjectsResponse, query={**_PAGE, "query": str}, summary="List the projects one may see"),
    Method(f"{_P}.get", GET, "v3/{name=projects/*}", f"{_PP}.get", projects.get_project, gives=ProjectV3,
           summary="Read a project"),
    Method(f"{_P}.patch", PATCH, "v3/{name=projects/*}", f"{_PP}.update", projects.patch_project, takes=ProjectV3,
           gives=Operation, query=_MASK, audit=_WRITE, summary="Change a project's name and labels"),
    Method(f"{_P}.move", POST, "v3/{name=projects/*}:move", f"{_PP}.move", projects.move_project,
           takes=MoveProjectRequest, gives=Operation, audit=_WRITE, also=projects.needs_of_move,
           summary="Put a project into another place"),
    Method(f"{_P}.delete", DELETE, "v3/{name=projects/*}", f"{_PP}.delete", projects.delete_project,
           gives=Operation, audit=_WRITE, summary="Mark a project for deletion"),
    Method(f"{_P}.undelete", POST, "v3/{name=projects/*}:undelete", f"{_PP}.undelete", projects.undelete_project,
           takes=UndeleteProjectRequest, gives=Operation, audit=_WRITE, summary="Restore a project"),
    Method(f"{_O}.get", GET, "v3/{name=organizations/*}", f"{_OP}.get", projects.get_organization,
           gives=OrganizationV3, summary="Read the organization"),
    Method(f"{_O}.search", GET, "v3/organizations:search", _only("organizations"), projects.search_organizations,
           gives=SearchOrganizationsResponseV3, query={**_PAGE, "query": str},
           summary="List the organizations one may see"),
)  # fmt: skip

#: The three policy methods, whose paths are alike everywhere but in v1's projects.
_POLICIES: tuple[Method, ...] = tuple(
    row
    for version, collection, what, kind in (
        ("v1", "organizations", "the organization", roles.ORGANIZATION),
        ("v3", "organizations", "the organization", roles.ORGANIZATION),
        ("v3", "folders", "a folder", roles.FOLDER),
        ("v2", "folders", "a folder", roles.FOLDER),
        ("v3", "projects", "a project", roles.PROJECT),
    )
    for row in (
        Method(f"cloudresourcemanager.{collection}.getIamPolicy", POST,
               f"{version}/{{resource={collection}/*}}:getIamPolicy", f"resourcemanager.{collection}.getIamPolicy",
               policies.getter(kind), takes=GetIamPolicyRequest, gives=Policy,
               summary=f"Read who has which role on {what}"),
        Method(f"cloudresourcemanager.{collection}.setIamPolicy", POST,
               f"{version}/{{resource={collection}/*}}:setIamPolicy", f"resourcemanager.{collection}.setIamPolicy",
               policies.setter(kind), takes=SetIamPolicyRequest, gives=Policy, audit=_WRITE,
               summary=f"Replace who has which role on {what}"),
        Method(f"cloudresourcemanager.{collection}.testIamPermissions", POST,
               f"{version}/{{resource={collection}/*}}:testIamPermissions", _FILTERED, policies.tester(kind),
               takes=TestIamPermissionsRequest, gives=TestIamPermissionsResponse, max_body=64 << 10,
               summary=f"Which of these permissions the caller holds on {what}"),
    )
)  # fmt: skip

#: v2 has no operations of its own: its clients read those of v1.
_OPERATIONS: tuple[Method, ...] = tuple(
    Method("cloudresourcemanager.operations.get", GET, f"{version}/{{name=operations/*}}",
           Authenticated("everybody may read their own operations, and nobody another's"), projects.get_operation,
           gives=Operation, summary="Read an operation of the last day")
    for version in ("v1", "v3")
)  # fmt: skip

ROWS: tuple[Method, ...] = (*_V1, *_V3, *_V2, *_POLICIES, *_OPERATIONS)
