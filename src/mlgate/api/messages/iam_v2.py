"""Messages of deny policies (iam v2)."""

from __future__ import annotations

from mlgate.api.messages.message import Message, Timestamp
from mlgate.api.messages.policies import Expr


class DenyRule(Message, schema="GoogleIamV2DenyRule"):
    """Whom a rule denies what, whom and what not, and while which condition is true or cannot be told."""

    denial_condition: Expr | None = None
    denied_permissions: list[str] | None = None
    denied_principals: list[str] | None = None
    exception_permissions: list[str] | None = None
    exception_principals: list[str] | None = None


class PolicyRule(Message, schema="GoogleIamV2PolicyRule"):
    deny_rule: DenyRule | None = None
    description: str | None = None


class DenyPolicy(Message, schema="GoogleIamV2Policy"):
    """What is denied on a project, a folder or the organization and below, whatever roles say."""

    annotations: dict[str, str] | None = None
    create_time: Timestamp | None = None
    delete_time: Timestamp | None = None
    display_name: str | None = None
    etag: str | None = None
    kind: str | None = None
    name: str | None = None
    rules: list[PolicyRule] | None = None
    uid: str | None = None
    update_time: Timestamp | None = None


class ListPoliciesResponse(Message, schema="GoogleIamV2ListPoliciesResponse"):
    next_page_token: str | None = None
    policies: list[DenyPolicy] | None = None
