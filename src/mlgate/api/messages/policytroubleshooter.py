"""Messages of the policy troubleshooter, v3 and v1. `group_path` is ours: the groups through which a member contains the
principal, outermost first."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.iam_v2 import DenyPolicy
from mlgate.api.messages.message import Int64, Json, Message, Timestamp
from mlgate.api.messages.operations import Status
from mlgate.api.messages.policies import Expr, Policy

OverallState = Literal[
    "OVERALL_ACCESS_STATE_UNSPECIFIED", "CAN_ACCESS", "CANNOT_ACCESS", "UNKNOWN_INFO", "UNKNOWN_CONDITIONAL"
]
AllowState = Literal[
    "ALLOW_ACCESS_STATE_UNSPECIFIED",
    "ALLOW_ACCESS_STATE_GRANTED",
    "ALLOW_ACCESS_STATE_NOT_GRANTED",
    "ALLOW_ACCESS_STATE_UNKNOWN_CONDITIONAL",
    "ALLOW_ACCESS_STATE_UNKNOWN_INFO",
]
DenyState = Literal[
    "DENY_ACCESS_STATE_UNSPECIFIED",
    "DENY_ACCESS_STATE_DENIED",
    "DENY_ACCESS_STATE_NOT_DENIED",
    "DENY_ACCESS_STATE_UNKNOWN_CONDITIONAL",
    "DENY_ACCESS_STATE_UNKNOWN_INFO",
]
RoleState = Literal[
    "ROLE_PERMISSION_INCLUSION_STATE_UNSPECIFIED",
    "ROLE_PERMISSION_INCLUDED",
    "ROLE_PERMISSION_NOT_INCLUDED",
    "ROLE_PERMISSION_UNKNOWN_INFO",
]
MembershipState = Literal[
    "MEMBERSHIP_MATCHING_STATE_UNSPECIFIED",
    "MEMBERSHIP_MATCHED",
    "MEMBERSHIP_NOT_MATCHED",
    "MEMBERSHIP_UNKNOWN_INFO",
    "MEMBERSHIP_UNKNOWN_UNSUPPORTED",
]
PatternState = Literal[
    "PERMISSION_PATTERN_MATCHING_STATE_UNSPECIFIED", "PERMISSION_PATTERN_MATCHED", "PERMISSION_PATTERN_NOT_MATCHED"
]
Relevance = Literal["HEURISTIC_RELEVANCE_UNSPECIFIED", "HEURISTIC_RELEVANCE_NORMAL", "HEURISTIC_RELEVANCE_HIGH"]

_V3 = "GoogleCloudPolicytroubleshooterIamV3"


class Peer(Message, schema=f"{_V3}ConditionContextPeer"):
    ip: str | None = None
    port: Int64 | None = None


class RequestContext(Message, schema=f"{_V3}ConditionContextRequest"):
    """When the call is made."""

    receive_time: Timestamp | None = None


class ResourceContext(Message, schema=f"{_V3}ConditionContextResource"):
    name: str | None = None
    service: str | None = None
    type: str | None = None


class EffectiveTag(Message, schema=f"{_V3}ConditionContextEffectiveTag"):
    inherited: bool | None = None
    namespaced_tag_key: str | None = None
    namespaced_tag_value: str | None = None
    tag_key: str | None = None
    tag_key_parent_name: str | None = None
    tag_value: str | None = None


class ConditionContext(Message, schema=f"{_V3}ConditionContext"):
    """What conditions may read of the call."""

    destination: Peer | None = None
    effective_tags: list[EffectiveTag] | None = None
    request: RequestContext | None = None
    resource: ResourceContext | None = None


class AccessTuple(Message, schema=f"{_V3}AccessTuple"):
    """The question: may this principal use this permission on this resource?"""

    condition_context: ConditionContext | None = None
    full_resource_name: str | None = None
    permission: str | None = None
    permission_fqdn: str | None = None
    principal: str | None = None


class TroubleshootRequest(Message, schema=f"{_V3}TroubleshootIamPolicyRequest"):
    access_tuple: AccessTuple | None = None


class ConditionExplanation(Message, schema=f"{_V3}ConditionExplanation"):
    """Whether a condition is true; null when that cannot be told."""

    errors: list[Status] | None = None
    value: Json | None = None


class AllowMembership(Message, schema=f"{_V3}AllowBindingExplanationAnnotatedAllowMembership"):
    """Whether a member is the principal or contains it, and through which groups."""

    group_path: list[str] | None = None
    membership: MembershipState | None = None
    relevance: Relevance | None = None


class BindingExplanation(Message, schema=f"{_V3}AllowBindingExplanation"):
    """One binding, part by part."""

    allow_access_state: AllowState | None = None
    combined_membership: AllowMembership | None = None
    condition: Expr | None = None
    condition_explanation: ConditionExplanation | None = None
    memberships: dict[str, AllowMembership] | None = None
    relevance: Relevance | None = None
    role: str | None = None
    role_permission: RoleState | None = None
    role_permission_relevance: Relevance | None = None


class ExplainedAllowPolicy(Message, schema=f"{_V3}ExplainedAllowPolicy"):
    """One policy; of those that the caller may not read, only that there are some."""

    allow_access_state: AllowState | None = None
    binding_explanations: list[BindingExplanation] | None = None
    full_resource_name: str | None = None
    policy: Policy | None = None
    relevance: Relevance | None = None


class AllowPolicyExplanation(Message, schema=f"{_V3}AllowPolicyExplanation"):
    allow_access_state: AllowState | None = None
    explained_policies: list[ExplainedAllowPolicy] | None = None
    relevance: Relevance | None = None


class DenyMembership(Message, schema=f"{_V3}DenyRuleExplanationAnnotatedDenyPrincipalMatching"):
    """Whether a principal of a deny rule is the one asked about or contains it, and through which groups."""

    group_path: list[str] | None = None
    membership: MembershipState | None = None
    relevance: Relevance | None = None


class PermissionMatching(Message, schema=f"{_V3}DenyRuleExplanationAnnotatedPermissionMatching"):
    permission_matching_state: PatternState | None = None
    relevance: Relevance | None = None


class RuleExplanation(Message, schema=f"{_V3}DenyRuleExplanation"):
    """One deny rule, part by part."""

    combined_denied_permission: PermissionMatching | None = None
    combined_denied_principal: DenyMembership | None = None
    combined_exception_permission: PermissionMatching | None = None
    combined_exception_principal: DenyMembership | None = None
    condition: Expr | None = None
    condition_explanation: ConditionExplanation | None = None
    denied_permissions: dict[str, PermissionMatching] | None = None
    denied_principals: dict[str, DenyMembership] | None = None
    deny_access_state: DenyState | None = None
    exception_permissions: dict[str, PermissionMatching] | None = None
    exception_principals: dict[str, DenyMembership] | None = None
    relevance: Relevance | None = None


class ExplainedDenyPolicy(Message, schema=f"{_V3}ExplainedDenyPolicy"):
    deny_access_state: DenyState | None = None
    policy: DenyPolicy | None = None
    relevance: Relevance | None = None
    rule_explanations: list[RuleExplanation] | None = None


class ExplainedDenyResource(Message, schema=f"{_V3}ExplainedDenyResource"):
    """The deny policies of one place; of those that the caller may not read, only that there may be some."""

    deny_access_state: DenyState | None = None
    explained_policies: list[ExplainedDenyPolicy] | None = None
    full_resource_name: str | None = None
    relevance: Relevance | None = None


class DenyPolicyExplanation(Message, schema=f"{_V3}DenyPolicyExplanation"):
    deny_access_state: DenyState | None = None
    explained_resources: list[ExplainedDenyResource] | None = None
    permission_deniable: bool | None = None
    relevance: Relevance | None = None


class TroubleshootResponse(Message, schema=f"{_V3}TroubleshootIamPolicyResponse"):
    """Whether the principal has the permission, and why."""

    access_tuple: AccessTuple | None = None
    allow_policy_explanation: AllowPolicyExplanation | None = None
    deny_policy_explanation: DenyPolicyExplanation | None = None
    overall_access_state: OverallState | None = None


# ---------------------------------------------------------------------------------------------------------------- v1

AccessV1 = Literal["ACCESS_STATE_UNSPECIFIED", "GRANTED", "NOT_GRANTED", "UNKNOWN_CONDITIONAL", "UNKNOWN_INFO_DENIED"]
RoleV1 = Literal[
    "ROLE_PERMISSION_UNSPECIFIED",
    "ROLE_PERMISSION_INCLUDED",
    "ROLE_PERMISSION_NOT_INCLUDED",
    "ROLE_PERMISSION_UNKNOWN_INFO_DENIED",
]
MembershipV1State = Literal[
    "MEMBERSHIP_UNSPECIFIED",
    "MEMBERSHIP_INCLUDED",
    "MEMBERSHIP_NOT_INCLUDED",
    "MEMBERSHIP_UNKNOWN_INFO_DENIED",
    "MEMBERSHIP_UNKNOWN_UNSUPPORTED",
]
RelevanceV1 = Literal["HEURISTIC_RELEVANCE_UNSPECIFIED", "NORMAL", "HIGH"]

_V1 = "GoogleCloudPolicytroubleshooterV1"


class AccessTupleV1(Message, schema=f"{_V1}AccessTuple"):
    """The question: may this principal use this permission on this resource?"""

    full_resource_name: str | None = None
    permission: str | None = None
    principal: str | None = None


class TroubleshootRequestV1(Message, schema=f"{_V1}TroubleshootIamPolicyRequest"):
    access_tuple: AccessTupleV1 | None = None


class MembershipV1(Message, schema=f"{_V1}BindingExplanationAnnotatedMembership"):
    """Whether a member is the principal or contains it, and through which groups."""

    group_path: list[str] | None = None
    membership: MembershipV1State | None = None
    relevance: RelevanceV1 | None = None


class BindingExplanationV1(Message, schema=f"{_V1}BindingExplanation"):
    """One binding, part by part."""

    access: AccessV1 | None = None
    condition: Expr | None = None
    memberships: dict[str, MembershipV1] | None = None
    relevance: RelevanceV1 | None = None
    role: str | None = None
    role_permission: RoleV1 | None = None
    role_permission_relevance: RelevanceV1 | None = None


class ExplainedPolicyV1(Message, schema=f"{_V1}ExplainedPolicy"):
    """One policy; of those that the caller may not read, only that there are some."""

    access: AccessV1 | None = None
    binding_explanations: list[BindingExplanationV1] | None = None
    full_resource_name: str | None = None
    policy: Policy | None = None
    relevance: RelevanceV1 | None = None


class TroubleshootResponseV1(Message, schema=f"{_V1}TroubleshootIamPolicyResponse"):
    """Whether the principal has the permission, and why. Deny policies count; what they are, v3 tells."""

    access: AccessV1 | None = None
    errors: list[Status] | None = None
    explained_policies: list[ExplainedPolicyV1] | None = None
