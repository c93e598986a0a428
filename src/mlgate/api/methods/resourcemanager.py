"""Resource Manager v1: projects and the one organization."""

from __future__ import annotations

from mlgate.api.handlers import policies, projects
from mlgate.api.messages.message import Empty
from mlgate.api.messages.operations import Operation
from mlgate.api.messages.policies import (
    GetIamPolicyRequest,
    Policy,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlgate.api.messages.resourcemanager import ListProjectsResponse, Organization, Project, UndeleteProjectRequest
from mlgate.api.method import DELETE, GET, POST, PUT, Audit, Authenticated, Method
from mlgate.core.names import ORGANIZATION

_R = "cloudresourcemanager.projects"
_O = "cloudresourcemanager.organizations"
_WRITE = Audit.ADMIN_WRITE
_FILTERED = Authenticated("the answer holds only permissions that the caller has")

ROWS: tuple[Method, ...] = (
    Method(f"{_R}.create", POST, "v1/projects", "resourcemanager.projects.create", projects.create_project,
           on=ORGANIZATION, takes=Project, gives=Operation, audit=_WRITE, summary="Create a project"),
    Method(f"{_R}.list", GET, "v1/projects", Authenticated("only projects that the caller may get are listed"),
           projects.list_projects, gives=ListProjectsResponse,
           query={"filter": str, "pageSize": int, "pageToken": str}, summary="List the projects one may see"),
    Method(f"{_R}.get", GET, "v1/projects/{projectId}", "resourcemanager.projects.get", projects.get_project,
           on="projects/{projectId}", gives=Project, summary="Read a project"),
    Method(f"{_R}.update", PUT, "v1/projects/{projectId}", "resourcemanager.projects.update",
           projects.update_project, on="projects/{projectId}", takes=Project, gives=Project, audit=_WRITE,
           summary="Change a project's name and labels"),
    Method(f"{_R}.delete", DELETE, "v1/projects/{projectId}", "resourcemanager.projects.delete",
           projects.delete_project, on="projects/{projectId}", gives=Empty, audit=_WRITE,
           summary="Mark a project for deletion"),
    Method(f"{_R}.undelete", POST, "v1/projects/{projectId}:undelete", "resourcemanager.projects.undelete",
           projects.undelete_project, on="projects/{projectId}", takes=UndeleteProjectRequest, gives=Empty,
           audit=_WRITE, summary="Restore a project"),
    Method(f"{_R}.getIamPolicy", POST, "v1/projects/{resource}:getIamPolicy", "resourcemanager.projects.getIamPolicy",
           policies.get_project_policy, on="projects/{resource}", takes=GetIamPolicyRequest, gives=Policy,
           summary="Read who has which role on a project"),
    Method(f"{_R}.setIamPolicy", POST, "v1/projects/{resource}:setIamPolicy", "resourcemanager.projects.setIamPolicy",
           policies.set_project_policy, on="projects/{resource}", takes=SetIamPolicyRequest, gives=Policy,
           audit=_WRITE, summary="Replace who has which role on a project"),
    Method(f"{_R}.testIamPermissions", POST, "v1/projects/{resource}:testIamPermissions", _FILTERED,
           policies.test_project_permissions, on="projects/{resource}", takes=TestIamPermissionsRequest,
           gives=TestIamPermissionsResponse, max_body=64 << 10,
           summary="Which of these permissions the caller holds on a project"),
    Method(f"{_O}.get", GET, "v1/{name=organizations/*}", "resourcemanager.organizations.get",
           projects.get_organization, gives=Organization, summary="Read the organization"),
    Method(f"{_O}.getIamPolicy", POST, "v1/{resource=organizations/*}:getIamPolicy",
           "resourcemanager.organizations.getIamPolicy", policies.get_organization_policy, takes=GetIamPolicyRequest,
           gives=Policy, summary="Read who has which role on the organization"),
    Method(f"{_O}.setIamPolicy", POST, "v1/{resource=organizations/*}:setIamPolicy",
           "resourcemanager.organizations.setIamPolicy", policies.set_organization_policy, takes=SetIamPolicyRequest,
           gives=Policy, audit=_WRITE, summary="Replace who has which role on the organization"),
)  # fmt: skip
