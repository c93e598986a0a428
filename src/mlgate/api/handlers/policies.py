"""Policies of models, projects, the organization and service accounts. Buckets have shapes of their own."""

from __future__ import annotations

from mlgate.api.call import Call
from mlgate.api.messages.policies import (
    Policy,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlgate.api.policies import get_policy, set_policy, test_permissions
from mlgate.core.errors import InvalidArgument
from mlgate.core.iam import roles


def get_model_policy(call: Call) -> Policy:
    _check_requested_version(call)
    return get_policy(call, call.resource, roles.MODEL)


def set_model_policy(call: Call, body: SetIamPolicyRequest) -> Policy:
    return set_policy(call, call.resource, roles.MODEL, body)


def test_model_permissions(call: Call, body: TestIamPermissionsRequest) -> TestIamPermissionsResponse:
    return test_permissions(call, call.params["resource"], roles.MODEL, body)


def get_project_policy(call: Call, _: object) -> Policy:
    return get_policy(call, call.resource, roles.PROJECT)


def set_project_policy(call: Call, body: SetIamPolicyRequest) -> Policy:
    return set_policy(call, call.resource, roles.PROJECT, body)


def test_project_permissions(call: Call, body: TestIamPermissionsRequest) -> TestIamPermissionsResponse:
    return test_permissions(call, call.resource, roles.PROJECT, body)


def get_organization_policy(call: Call, _: object) -> Policy:
    return get_policy(call, call.resource, roles.ORGANIZATION)


def set_organization_policy(call: Call, body: SetIamPolicyRequest) -> Policy:
    return set_policy(call, call.resource, roles.ORGANIZATION, body)


def get_account_policy(call: Call) -> Policy:
    _check_requested_version(call)
    return get_policy(call, call.resource, roles.SERVICE_ACCOUNT)


def set_account_policy(call: Call, body: SetIamPolicyRequest) -> Policy:
    return set_policy(call, call.resource, roles.SERVICE_ACCOUNT, body)


def test_account_permissions(call: Call, body: TestIamPermissionsRequest) -> TestIamPermissionsResponse:
    return test_permissions(call, call.params["resource"], roles.SERVICE_ACCOUNT, body)


def _check_requested_version(call: Call) -> None:
    version = call.query.get("options.requestedPolicyVersion", 1)
    if version not in (0, 1, 3):
        message = f"options.requestedPolicyVersion {version} is invalid: use 0, 1 or 3."
        raise InvalidArgument(message, fields=[("options.requestedPolicyVersion", message)])
