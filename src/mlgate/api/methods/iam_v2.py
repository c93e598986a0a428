"""iam v2: deny policies. `attachmentPoint` is the project, folder or organization that a path names (see routing)."""

from __future__ import annotations

from mlgate.api.handlers import deny_policies
from mlgate.api.messages.iam_v2 import DenyPolicy, ListPoliciesResponse
from mlgate.api.messages.operations import Operation
from mlgate.api.method import DELETE, GET, POST, PUT, Audit, Method

_WRITE = Audit.ADMIN_WRITE
_ON = "{attachmentPoint}"
_ALL = "v2/{parent=policies/*/denypolicies}"
_ONE = "v2/{name=policies/*/denypolicies/*}"

ROWS: tuple[Method, ...] = (
    Method("iam.policies.createPolicy", POST, _ALL, "iam.denypolicies.create", deny_policies.create_policy, on=_ON,
           takes=DenyPolicy, gives=Operation, query={"policyId": str}, audit=_WRITE,
           summary="Attach a deny policy to a project, a folder or the organization"),
    Method("iam.policies.listPolicies", GET, _ALL, "iam.denypolicies.list", deny_policies.list_policies, on=_ON,
           gives=ListPoliciesResponse, query={"pageSize": int, "pageToken": str},
           summary="List the deny policies of a project, a folder or the organization, without their rules"),
    Method("iam.policies.get", GET, _ONE, "iam.denypolicies.get", deny_policies.get_policy, on=_ON, gives=DenyPolicy,
           summary="Read a deny policy"),
    Method("iam.policies.update", PUT, _ONE, "iam.denypolicies.update", deny_policies.update_policy, on=_ON,
           takes=DenyPolicy, gives=Operation, audit=_WRITE,
           summary="Replace the rules, name and annotations of a deny policy"),
    Method("iam.policies.delete", DELETE, _ONE, "iam.denypolicies.delete", deny_policies.delete_policy, on=_ON,
           gives=Operation, query={"etag": str}, audit=_WRITE, summary="Take a deny policy away"),
    Method("iam.policies.operations.get", GET, "v2/{name=policies/*/denypolicies/*/operations/*}",
           "iam.denypolicies.get", deny_policies.get_operation, on=_ON, gives=Operation,
           summary="Read what a change of a deny policy did; kept for a day"),
)  # fmt: skip
