"""Messages of access reviews: Cloud Asset's (cloudasset v1), and the flat form that is our own.

What ours add to Google's: `nextPageToken` beside the analysis, and `expireTime` of an identity.
"""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Message, Timestamp
from mlgate.api.messages.policies import Binding, Expr

# -------------------------------------------------------------------------------------------------------- the question


class ResourceSelector(Message):
    full_resource_name: str | None = None


class IdentitySelector(Message):
    identity: str | None = None


class AccessSelector(Message):
    permissions: list[str] | None = None
    roles: list[str] | None = None


class ConditionContext(Message):
    access_time: Timestamp | None = None


class Options(Message):
    analyze_service_account_impersonation: bool | None = None
    expand_groups: bool | None = None
    expand_resources: bool | None = None
    expand_roles: bool | None = None
    output_group_edges: bool | None = None
    output_resource_edges: bool | None = None


class IamPolicyAnalysisQuery(Message):
    """Who or what a review is about, and how much of it is spelt out."""

    access_selector: AccessSelector | None = None
    condition_context: ConditionContext | None = None
    identity_selector: IdentitySelector | None = None
    options: Options | None = None
    resource_selector: ResourceSelector | None = None
    scope: str | None = None


# ---------------------------------------------------------------------------------------------------------- the answer


class Edge(Message, schema="GoogleCloudAssetV1Edge"):
    """From a group to a member, or from a resource to one in it."""

    source_node: str | None = None
    target_node: str | None = None


class Identity(Message, schema="GoogleCloudAssetV1Identity"):
    """Who is given the access, and when it ends by itself."""

    expire_time: Timestamp | None = None
    name: str | None = None


class IdentityList(Message, schema="GoogleCloudAssetV1IdentityList"):
    group_edges: list[Edge] | None = None
    identities: list[Identity] | None = None


class Access(Message, schema="GoogleCloudAssetV1Access"):
    permission: str | None = None
    role: str | None = None


class Resource(Message, schema="GoogleCloudAssetV1Resource"):
    full_resource_name: str | None = None


class ConditionEvaluation(Message):
    evaluation_value: Literal["EVALUATION_VALUE_UNSPECIFIED", "TRUE", "FALSE", "CONDITIONAL"] | None = None


class AccessControlList(Message, schema="GoogleCloudAssetV1AccessControlList"):
    """Each of the accesses on each of the resources."""

    accesses: list[Access] | None = None
    condition_evaluation: ConditionEvaluation | None = None
    resource_edges: list[Edge] | None = None
    resources: list[Resource] | None = None


class IamPolicyAnalysisResult(Message):
    """One binding, and what it gives to whom. What deny policies take away is left out."""

    access_control_lists: list[AccessControlList] | None = None
    attached_resource_full_name: str | None = None
    fully_explored: bool | None = None
    iam_binding: Binding | None = None
    identity_list: IdentityList | None = None


class IamPolicyAnalysis(Message):
    analysis_query: IamPolicyAnalysisQuery | None = None
    analysis_results: list[IamPolicyAnalysisResult] | None = None
    fully_explored: bool | None = None


class AnalyzeIamPolicyResponse(Message):
    """A page of an analysis; `fullyExplored` is true of the last."""

    fully_explored: bool | None = None
    main_analysis: IamPolicyAnalysis | None = None
    next_page_token: str | None = None


# ----------------------------------------------------------------------------------------------------------- our own


class AccessQuery(Message):
    """The question of a flat review, as the query string gives it."""

    access_time: Timestamp | None = None
    expand_resources: bool | None = None
    include_ineffective: bool | None = None
    permissions: list[str] | None = None
    principal: str | None = None
    resource: str | None = None
    roles: list[str] | None = None


class DeniedPermission(Message):
    """A permission of the role that a deny rule takes away: the policy, and the rule's place in it, from 0."""

    permission: str | None = None
    policy: str | None = None
    rule: int | None = None


class AccessEntry(Message):
    """That a principal has access to a resource, by one grant: the role, where it was granted, to which member, and
    through which groups it reaches the principal; when it ends, and what a condition or a deny rule makes of it."""

    condition: Expr | None = None
    denied_permissions: list[DeniedPermission] | None = None
    expire_time: Timestamp | None = None
    granted_on: str | None = None
    group_path: list[str] | None = None
    member: str | None = None
    permissions: list[str] | None = None
    principal: str | None = None
    resource: str | None = None
    role: str | None = None
    state: Literal["STATE_UNSPECIFIED", "ALLOWED", "DENIED", "CONDITION_FALSE", "CONDITION_UNKNOWN"] | None = None


class ListAccessResponse(Message):
    """A page of a flat review. `closedGroups` are those whose members the caller may not list: such a group stands for
    itself as a principal."""

    access: list[AccessEntry] | None = None
    closed_groups: list[str] | None = None
    next_page_token: str | None = None
