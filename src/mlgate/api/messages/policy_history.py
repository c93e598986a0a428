"""Messages of the history of a policy: our own, as Google has no method for it; the parts are IAM's."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Int64, Message, Timestamp
from mlgate.api.messages.policies import Expr, Policy


class BindingDelta(Message):
    """One grant that a change gave or took."""

    action: Literal["ACTION_UNSPECIFIED", "ADD", "REMOVE"] | None = None
    condition: Expr | None = None
    member: str | None = None
    role: str | None = None


class AuditConfigDelta(Message):
    """One kind of access of a service that a change had logged or no longer logged; with a member, their exemption."""

    action: Literal["ACTION_UNSPECIFIED", "ADD", "REMOVE"] | None = None
    exempted_member: str | None = None
    log_type: str | None = None
    service: str | None = None


class PolicyRevision(Message):
    """What a policy was after one write. Who and when are unset for policies older than their history; the deltas are
    unset where the revision before is no longer kept."""

    audit_config_deltas: list[AuditConfigDelta] | None = None
    binding_deltas: list[BindingDelta] | None = None
    create_time: Timestamp | None = None
    name: str | None = None
    policy: Policy | None = None
    principal: str | None = None
    revision_id: Int64 | None = None


class ListPolicyRevisionsResponse(Message):
    next_page_token: str | None = None
    policy_revisions: list[PolicyRevision] | None = None
