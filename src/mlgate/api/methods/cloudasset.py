"""cloudasset v1: the analysis of access, on each kind of place that it may be about."""

from __future__ import annotations

from mlgate.api.handlers import access
from mlgate.api.messages.cloudasset import AnalyzeIamPolicyResponse
from mlgate.api.method import GET, Method

MAY_REVIEW = "cloudasset.assets.analyzeIamPolicy"
#: What a review may be about: a pattern of names, and its words.
SCOPES = {"projects/*": "a project", "folders/*": "a folder", "organizations/*": "the organization"}

_Q = "analysisQuery"
_QUERY: dict[str, type] = {
    f"{_Q}.accessSelector.permissions": list[str],
    f"{_Q}.accessSelector.roles": list[str],
    f"{_Q}.conditionContext.accessTime": str,
    f"{_Q}.identitySelector.identity": str,
    f"{_Q}.options.analyzeServiceAccountImpersonation": bool,
    f"{_Q}.options.expandGroups": bool,
    f"{_Q}.options.expandResources": bool,
    f"{_Q}.options.expandRoles": bool,
    f"{_Q}.options.outputGroupEdges": bool,
    f"{_Q}.options.outputResourceEdges": bool,
    f"{_Q}.resourceSelector.fullResourceName": str,
    "executionTimeout": str,
    "savedAnalysisQuery": str,
    "pageSize": int,
    "pageToken": str,
}

ROWS: tuple[Method, ...] = tuple(
    Method("cloudasset.analyzeIamPolicy", GET, f"v1/{{scope={pattern}}}:analyzeIamPolicy", MAY_REVIEW,
           access.analyze_iam_policy, gives=AnalyzeIamPolicyResponse, query=_QUERY,
           summary=f"Analyze who has access to what in {words}, binding by binding")
    for pattern, words in SCOPES.items()
)  # fmt: skip
