"""iam v1: service accounts and keys, roles, permissions; and the rows of v2."""

from __future__ import annotations

from mlgate.api.handlers import accounts, custom_roles, policies, roles
from mlgate.api.messages.iam import (
    CreateRoleRequest,
    CreateServiceAccountKeyRequest,
    CreateServiceAccountRequest,
    DisableServiceAccountKeyRequest,
    DisableServiceAccountRequest,
    EnableServiceAccountKeyRequest,
    EnableServiceAccountRequest,
    LintPolicyRequest,
    LintPolicyResponse,
    ListRolesResponse,
    ListServiceAccountKeysResponse,
    ListServiceAccountsResponse,
    PatchServiceAccountRequest,
    QueryGrantableRolesRequest,
    QueryGrantableRolesResponse,
    QueryTestablePermissionsRequest,
    QueryTestablePermissionsResponse,
    Role,
    ServiceAccount,
    ServiceAccountKey,
    UndeleteRoleRequest,
    UndeleteServiceAccountRequest,
    UndeleteServiceAccountResponse,
    UploadServiceAccountKeyRequest,
)
from mlgate.api.messages.message import Empty
from mlgate.api.messages.policies import (
    Policy,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlgate.api.method import DELETE, GET, PATCH, POST, Audit, Authenticated, Method
from mlgate.api.methods import iam_v2
from mlgate.core.iam.roles import SERVICE_ACCOUNT

_WRITE = Audit.ADMIN_WRITE
_LATER = None
_S = "iam.projects.serviceAccounts"
_A = "projects/*/serviceAccounts/*"
_K = "projects/*/serviceAccounts/*/keys/*"
_PAGE: dict[str, type] = {"pageSize": int, "pageToken": str}
_ROLE_PAGE: dict[str, type] = {**_PAGE, "showDeleted": bool, "view": str}
_OPEN_TABLE = Authenticated("predefined roles and permissions are the same for everybody (R-006)")
_FILTERED = Authenticated("the answer holds only permissions that the caller has")

ROWS: tuple[Method, ...] = (
    # ------------------------------------------------------------------------------------------- service accounts
    Method(f"{_S}.create", POST, "v1/{name=projects/*}/serviceAccounts", "iam.serviceAccounts.create",
           accounts.create_account, takes=CreateServiceAccountRequest, gives=ServiceAccount, audit=_WRITE,
           summary="Create a service account"),
    Method(f"{_S}.get", GET, f"v1/{{name={_A}}}", "iam.serviceAccounts.get", accounts.get_account,
           gives=ServiceAccount, summary="Read a service account"),
    Method(f"{_S}.list", GET, "v1/{name=projects/*}/serviceAccounts", "iam.serviceAccounts.list",
           accounts.list_accounts, gives=ListServiceAccountsResponse, query=_PAGE,
           summary="List the service accounts of a project"),
    Method(f"{_S}.patch", PATCH, f"v1/{{name={_A}}}", "iam.serviceAccounts.update", accounts.patch_account,
           takes=PatchServiceAccountRequest, gives=ServiceAccount, audit=_WRITE, summary="Change a service account"),
    Method(f"{_S}.delete", DELETE, f"v1/{{name={_A}}}", "iam.serviceAccounts.delete", accounts.delete_account,
           gives=Empty, audit=_WRITE, summary="Delete a service account"),
    Method(f"{_S}.undelete", POST, f"v1/{{name={_A}}}:undelete", "iam.serviceAccounts.undelete",
           accounts.undelete_account, on="{name}", takes=UndeleteServiceAccountRequest,
           gives=UndeleteServiceAccountResponse, audit=_WRITE, summary="Restore a service account by its unique id"),
    Method(f"{_S}.disable", POST, f"v1/{{name={_A}}}:disable", "iam.serviceAccounts.disable",
           accounts.disable_account, takes=DisableServiceAccountRequest, gives=Empty, audit=_WRITE,
           summary="Refuse a service account's tokens and keys"),
    Method(f"{_S}.enable", POST, f"v1/{{name={_A}}}:enable", "iam.serviceAccounts.enable", accounts.enable_account,
           takes=EnableServiceAccountRequest, gives=Empty, audit=_WRITE, summary="Accept a service account again"),
    Method(f"{_S}.getIamPolicy", POST, f"v1/{{resource={_A}}}:getIamPolicy", "iam.serviceAccounts.getIamPolicy",
           policies.getter(SERVICE_ACCOUNT), gives=Policy, query={"options.requestedPolicyVersion": int},
           summary="Read who may act as a service account"),
    Method(f"{_S}.setIamPolicy", POST, f"v1/{{resource={_A}}}:setIamPolicy", "iam.serviceAccounts.setIamPolicy",
           policies.setter(SERVICE_ACCOUNT), takes=SetIamPolicyRequest, gives=Policy, audit=_WRITE,
           summary="Replace who may act as a service account"),
    Method(f"{_S}.testIamPermissions", POST, f"v1/{{resource={_A}}}:testIamPermissions", _FILTERED,
           policies.tester(SERVICE_ACCOUNT), takes=TestIamPermissionsRequest, gives=TestIamPermissionsResponse,
           max_body=64 << 10, summary="Which of these permissions the caller holds on a service account"),
    # ------------------------------------------------------------------------------------------------------- keys
    Method(f"{_S}.keys.create", POST, f"v1/{{name={_A}}}/keys", "iam.serviceAccountKeys.create", accounts.create_key,
           takes=CreateServiceAccountKeyRequest, gives=ServiceAccountKey, audit=_WRITE,
           summary="Create a key; its private half is shown once"),
    Method(f"{_S}.keys.upload", POST, f"v1/{{name={_A}}}/keys:upload", "iam.serviceAccountKeys.create", _LATER,
           takes=UploadServiceAccountKeyRequest, gives=ServiceAccountKey, audit=_WRITE,
           summary="Register a public key made elsewhere"),
    Method(f"{_S}.keys.get", GET, f"v1/{{name={_K}}}", "iam.serviceAccountKeys.get", accounts.get_key,
           gives=ServiceAccountKey, query={"publicKeyType": str}, summary="Read a key's public side"),
    Method(f"{_S}.keys.list", GET, f"v1/{{name={_A}}}/keys", "iam.serviceAccountKeys.list", accounts.list_keys,
           gives=ListServiceAccountKeysResponse, query={"keyTypes": str}, summary="List the keys of an account"),
    Method(f"{_S}.keys.delete", DELETE, f"v1/{{name={_K}}}", "iam.serviceAccountKeys.delete", accounts.delete_key,
           gives=Empty, audit=_WRITE, summary="Delete a key"),
    Method(f"{_S}.keys.disable", POST, f"v1/{{name={_K}}}:disable", "iam.serviceAccountKeys.disable",
           accounts.disable_key, takes=DisableServiceAccountKeyRequest, gives=Empty, audit=_WRITE,
           summary="Refuse a key"),
    Method(f"{_S}.keys.enable", POST, f"v1/{{name={_K}}}:enable", "iam.serviceAccountKeys.enable",
           accounts.enable_key, takes=EnableServiceAccountKeyRequest, gives=Empty, audit=_WRITE,
           summary="Accept a key again"),
    # ------------------------------------------------------------------------------------------ roles, permissions
    Method("iam.roles.list", GET, "v1/roles", _OPEN_TABLE, roles.list_roles, gives=ListRolesResponse,
           query={**_ROLE_PAGE, "parent": str}, summary="List the predefined roles"),
    Method("iam.roles.get", GET, "v1/{name=roles/*}", _OPEN_TABLE, roles.get_role, gives=Role,
           summary="Read a predefined role and what it holds"),
    Method("iam.roles.queryGrantableRoles", POST, "v1/roles:queryGrantableRoles", _OPEN_TABLE,
           roles.query_grantable_roles, takes=QueryGrantableRolesRequest, gives=QueryGrantableRolesResponse,
           summary="Which roles may be bound on a resource"),
    Method("iam.iamPolicies.lintPolicy", POST, "v1/iamPolicies:lintPolicy",
           Authenticated("nothing but what was sent is looked at"), roles.lint_policy, takes=LintPolicyRequest,
           gives=LintPolicyResponse, summary="What is wrong with a condition"),
    Method("iam.permissions.queryTestablePermissions", POST, "v1/permissions:queryTestablePermissions", _OPEN_TABLE,
           roles.query_testable_permissions, takes=QueryTestablePermissionsRequest,
           gives=QueryTestablePermissionsResponse, summary="Which permissions a custom role may hold"),
    *(
        row
        for place in ("projects", "organizations")
        for row in (
            Method(f"iam.{place}.roles.create", POST, f"v1/{{parent={place}/*}}/roles", "iam.roles.create",
                   custom_roles.create_role,
                   takes=CreateRoleRequest, gives=Role, audit=_WRITE, summary="Create a custom role"),
            Method(f"iam.{place}.roles.list", GET, f"v1/{{parent={place}/*}}/roles", "iam.roles.list",
                   custom_roles.list_roles,
                   gives=ListRolesResponse, query=_ROLE_PAGE, summary="List custom roles"),
            Method(f"iam.{place}.roles.get", GET, f"v1/{{name={place}/*/roles/*}}", "iam.roles.get",
                   custom_roles.get_role,
                   gives=Role, summary="Read a custom role"),
            Method(f"iam.{place}.roles.patch", PATCH, f"v1/{{name={place}/*/roles/*}}", "iam.roles.update",
                   custom_roles.patch_role,
                   takes=Role, gives=Role, query={"updateMask": str}, audit=_WRITE, summary="Change a custom role"),
            Method(f"iam.{place}.roles.delete", DELETE, f"v1/{{name={place}/*/roles/*}}", "iam.roles.delete",
                   custom_roles.delete_role,
                   gives=Role, query={"etag": str}, audit=_WRITE, summary="Delete a custom role"),
            Method(f"iam.{place}.roles.undelete", POST, f"v1/{{name={place}/*/roles/*}}:undelete",
                   "iam.roles.undelete", custom_roles.undelete_role, takes=UndeleteRoleRequest, gives=Role,
                   audit=_WRITE, summary="Restore a custom role"),
        )
    ),
    *iam_v2.ROWS,
)  # fmt: skip
