"""Policies of models, projects, folders, the organization and service accounts. Buckets have shapes of their own.

Each function makes the handler for one kind of resource; the rows say which.
"""

from __future__ import annotations

from collections.abc import Callable

from mlgate.api.call import Call
from mlgate.api.messages.policies import (
    GetIamPolicyRequest,
    Policy,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from mlgate.api.policies import get_policy, set_policy, test_permissions


def getter(kind: str) -> Callable[..., Policy]:
    """getIamPolicy of a kind; the version is asked for in the query or, where that is a POST, in the body."""

    def get_iam_policy(call: Call, body: GetIamPolicyRequest | None = None) -> Policy:
        asked = body.options.requested_policy_version if body is not None and body.options else None
        version = asked or call.query.get("options.requestedPolicyVersion", 0)
        return get_policy(call, call.resource, kind, version)

    return get_iam_policy


def setter(kind: str) -> Callable[..., Policy]:
    def set_iam_policy(call: Call, body: SetIamPolicyRequest) -> Policy:
        return set_policy(call, call.resource, kind, body)

    return set_iam_policy


def tester(kind: str) -> Callable[..., TestIamPermissionsResponse]:
    def test_iam_permissions(call: Call, body: TestIamPermissionsRequest) -> TestIamPermissionsResponse:
        return test_permissions(call, call.resource, kind, body)

    return test_iam_permissions
