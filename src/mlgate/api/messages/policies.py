"""Messages of IAM policies, shared by every API that has them (ml v1, iam v1, cloudresourcemanager v1)."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Bytes, FieldMask, Message


class AuditLogConfig(Message, schema="GoogleIamV1__AuditLogConfig"):
    exempted_members: list[str] | None = None
    log_type: Literal["LOG_TYPE_UNSPECIFIED", "ADMIN_READ", "DATA_WRITE", "DATA_READ"] | None = None


class AuditConfig(Message, schema="GoogleIamV1__AuditConfig"):
    audit_log_configs: list[AuditLogConfig] | None = None
    service: str | None = None


class Expr(Message, schema="GoogleType__Expr"):
    description: str | None = None
    expression: str | None = None
    location: str | None = None
    title: str | None = None


class Binding(Message, schema="GoogleIamV1__Binding"):
    """One role and the members that have it."""

    condition: Expr | None = None
    members: list[str] | None = None
    role: str | None = None


class Policy(Message, schema="GoogleIamV1__Policy"):
    """Who has which role on a resource."""

    audit_configs: list[AuditConfig] | None = None
    bindings: list[Binding] | None = None
    etag: Bytes | None = None
    version: int | None = None


class SetIamPolicyRequest(Message, schema="GoogleIamV1__SetIamPolicyRequest"):
    policy: Policy | None = None
    update_mask: FieldMask | None = None


class TestIamPermissionsRequest(Message, schema="GoogleIamV1__TestIamPermissionsRequest"):
    permissions: list[str] | None = None


class TestIamPermissionsResponse(Message, schema="GoogleIamV1__TestIamPermissionsResponse"):
    permissions: list[str] | None = None


class GetPolicyOptions(Message):
    requested_policy_version: int | None = None


class GetIamPolicyRequest(Message):
    options: GetPolicyOptions | None = None
