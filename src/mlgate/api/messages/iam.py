"""Messages of iam v1: service accounts, their keys, roles and permissions."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Bytes, FieldMask, Message, Timestamp
from mlgate.api.messages.policies import Expr


class ServiceAccount(Message):
    description: str | None = None
    disabled: bool | None = None
    display_name: str | None = None
    email: str | None = None
    etag: Bytes | None = None
    name: str | None = None
    oauth2_client_id: str | None = None
    project_id: str | None = None
    unique_id: str | None = None


class ExtendedStatus(Message):
    key: (
        Literal[
            "SERVICE_ACCOUNT_KEY_EXTENDED_STATUS_KEY_UNSPECIFIED",
            "SERVICE_ACCOUNT_KEY_EXTENDED_STATUS_KEY_EXPOSED",
            "SERVICE_ACCOUNT_KEY_EXTENDED_STATUS_KEY_COMPROMISE_DETECTED",
        ]
        | None
    ) = None
    value: str | None = None


class ServiceAccountKey(Message):
    disable_reason: (
        Literal[
            "SERVICE_ACCOUNT_KEY_DISABLE_REASON_UNSPECIFIED",
            "SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED",
            "SERVICE_ACCOUNT_KEY_DISABLE_REASON_EXPOSED",
            "SERVICE_ACCOUNT_KEY_DISABLE_REASON_COMPROMISE_DETECTED",
        ]
        | None
    ) = None
    disabled: bool | None = None
    extended_status: list[ExtendedStatus] | None = None
    key_algorithm: Literal["KEY_ALG_UNSPECIFIED", "KEY_ALG_RSA_1024", "KEY_ALG_RSA_2048"] | None = None
    key_origin: Literal["ORIGIN_UNSPECIFIED", "USER_PROVIDED", "GOOGLE_PROVIDED"] | None = None
    key_type: Literal["KEY_TYPE_UNSPECIFIED", "USER_MANAGED", "SYSTEM_MANAGED"] | None = None
    name: str | None = None
    private_key_data: Bytes | None = None
    private_key_type: Literal["TYPE_UNSPECIFIED", "TYPE_PKCS12_FILE", "TYPE_GOOGLE_CREDENTIALS_FILE"] | None = None
    public_key_data: Bytes | None = None
    valid_after_time: Timestamp | None = None
    valid_before_time: Timestamp | None = None


class CreateServiceAccountRequest(Message):
    account_id: str | None = None
    service_account: ServiceAccount | None = None


class PatchServiceAccountRequest(Message):
    service_account: ServiceAccount | None = None
    update_mask: FieldMask | None = None


class ListServiceAccountsResponse(Message):
    accounts: list[ServiceAccount] | None = None
    next_page_token: str | None = None


class CreateServiceAccountKeyRequest(Message):
    key_algorithm: Literal["KEY_ALG_UNSPECIFIED", "KEY_ALG_RSA_1024", "KEY_ALG_RSA_2048"] | None = None
    private_key_type: Literal["TYPE_UNSPECIFIED", "TYPE_PKCS12_FILE", "TYPE_GOOGLE_CREDENTIALS_FILE"] | None = None


class ListServiceAccountKeysResponse(Message):
    keys: list[ServiceAccountKey] | None = None


class UploadServiceAccountKeyRequest(Message):
    public_key_data: Bytes | None = None


class DisableServiceAccountKeyRequest(Message):
    pass


class EnableServiceAccountKeyRequest(Message):
    pass


class DisableServiceAccountRequest(Message):
    pass


class EnableServiceAccountRequest(Message):
    pass


class UndeleteServiceAccountRequest(Message):
    pass


class UndeleteServiceAccountResponse(Message):
    restored_account: ServiceAccount | None = None


class Role(Message):
    deleted: bool | None = None
    description: str | None = None
    etag: Bytes | None = None
    included_permissions: list[str] | None = None
    name: str | None = None
    stage: Literal["ALPHA", "BETA", "GA", "DEPRECATED", "DISABLED", "EAP"] | None = None
    title: str | None = None


class ListRolesResponse(Message):
    next_page_token: str | None = None
    roles: list[Role] | None = None


class CreateRoleRequest(Message):
    role: Role | None = None
    role_id: str | None = None


class UndeleteRoleRequest(Message):
    etag: Bytes | None = None


class QueryGrantableRolesRequest(Message):
    full_resource_name: str | None = None
    page_size: int | None = None
    page_token: str | None = None
    view: Literal["BASIC", "FULL"] | None = None


class QueryGrantableRolesResponse(Message):
    next_page_token: str | None = None
    roles: list[Role] | None = None


class QueryTestablePermissionsRequest(Message):
    full_resource_name: str | None = None
    page_size: int | None = None
    page_token: str | None = None


class Permission(Message):
    api_disabled: bool | None = None
    custom_roles_support_level: Literal["SUPPORTED", "TESTING", "NOT_SUPPORTED"] | None = None
    description: str | None = None
    name: str | None = None
    only_in_predefined_roles: bool | None = None
    primary_permission: str | None = None
    stage: Literal["ALPHA", "BETA", "GA", "DEPRECATED"] | None = None
    title: str | None = None


class QueryTestablePermissionsResponse(Message):
    next_page_token: str | None = None
    permissions: list[Permission] | None = None


class LintPolicyRequest(Message):
    condition: Expr | None = None
    full_resource_name: str | None = None


class LintResult(Message):
    debug_message: str | None = None
    field_name: str | None = None
    level: Literal["LEVEL_UNSPECIFIED", "CONDITION"] | None = None
    location_offset: int | None = None
    severity: Literal["SEVERITY_UNSPECIFIED", "ERROR", "WARNING", "NOTICE", "INFO", "DEPRECATED"] | None = None
    validation_unit_name: str | None = None


class LintPolicyResponse(Message):
    """What is wrong with a condition; nothing where it can be set."""

    lint_results: list[LintResult] | None = None
