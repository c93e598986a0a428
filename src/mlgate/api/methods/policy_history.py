"""The history of policies: two rows for each kind of resource whose policy can be read, under the same permission."""

from __future__ import annotations

from mlgate.api.handlers import policy_history
from mlgate.api.messages.policy_history import ListPolicyRevisionsResponse, PolicyRevision
from mlgate.api.method import GET, Method

#: A kind in words, the pattern of its names, and whose `getIamPolicy` is needed.
_KINDS = (
    ("a model", "projects/*/models/*", "ml.models"),
    ("a job", "projects/*/jobs/*", "ml.jobs"),
    ("a service account", "projects/*/serviceAccounts/*", "iam.serviceAccounts"),
    ("a bucket", "buckets/*", "storage.buckets"),
    ("a project", "projects/*", "resourcemanager.projects"),
    ("a folder", "folders/*", "resourcemanager.folders"),
    ("the organization", "organizations/*", "resourcemanager.organizations"),
)

ROWS: tuple[Method, ...] = tuple(
    row
    for kind, pattern, permissions in _KINDS
    for row in (
        Method("mlgate.iamPolicyRevisions.list", GET, f"v1/{{resource={pattern}}}/iamPolicyRevisions",
               f"{permissions}.getIamPolicy", policy_history.list_revisions, gives=ListPolicyRevisionsResponse,
               query={"pageSize": int, "pageToken": str},
               summary=f"List who changed the policy of {kind}, when and what, newest first"),
        Method("mlgate.iamPolicyRevisions.get", GET, f"v1/{{resource={pattern}}}/iamPolicyRevisions/{{revision}}",
               f"{permissions}.getIamPolicy", policy_history.get_revision, gives=PolicyRevision,
               summary=f"Read what the policy of {kind} was after one change"),
    )
)  # fmt: skip
