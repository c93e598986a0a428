"""The history of a policy, of every kind of resource that has one: who changed it, when and what.

Every write of a policy is a revision, also those that the server makes itself: the first policy of a new resource, a
member that was deleted. A resource's history ends with it; one made later under its name starts at revision 1 (T-24).
Restoring is no method: read a revision, set its policy.
"""

from __future__ import annotations

from mlgate.api.call import Call
from mlgate.api.messages.message import decode
from mlgate.api.messages.policy_history import (
    AuditConfigDelta,
    BindingDelta,
    ListPolicyRevisionsResponse,
    PolicyRevision,
)
from mlgate.api.paging import page_size
from mlgate.api.policies import delta, to_wire
from mlgate.core.errors import InvalidArgument, NotFound
from mlgate.core.iam import policy as core
from mlgate.core.names import join
from mlgate.core.wire import INT64_MAX, page_token, parse_page_token
from mlgate.ports import PolicyRevision as Stored


def list_revisions(call: Call) -> ListPolicyRevisionsResponse:
    """A page of revisions, newest first, without the policies themselves. Raises NotFound."""
    _check_exists(call)
    mark = (call.principal, call.method.id, call.resource)
    token = call.query.get("pageToken", "")
    size = page_size(call)
    before = _number(parse_page_token(token, *mark), "pageToken") if token else None
    found = call.tx.policy_revisions(call.resource, before=before, limit=size + 1)
    shown = [_shown(call, new, old) for new, old in zip(found, [*found[1:], None], strict=True)][:size]
    more = len(found) > size
    return ListPolicyRevisionsResponse(
        policy_revisions=shown, next_page_token=page_token(str(found[size - 1].number), *mark) if more else ""
    )


def get_revision(call: Call) -> PolicyRevision:
    """One revision with its whole policy. Raises NotFound, also for one that is no longer kept."""
    _check_exists(call)
    number = _number(call.params["revision"], "revision")
    new, old = [*call.tx.policy_revisions(call.resource, before=number + 1, limit=2), None, None][:2]
    if new is None or new.number != number:
        raise NotFound(f"The policy of {call.resource} has no revision {number}, or keeps it no more.")
    shown = _shown(call, new, old)
    shown.policy = to_wire(new.policy)
    return shown


def _shown(call: Call, new: Stored, old: Stored | None) -> PolicyRevision:
    """`new` and how it differs from `old`, the one before; the first differs from an empty policy."""
    before = old.policy if old else core.EMPTY if new.number == 1 else None
    changes = delta(before, new.policy) if before else []
    audited = _audit_delta(before, new.policy) if before else []
    return PolicyRevision(
        name=join(call.resource, "iamPolicyRevisions", str(new.number)),
        revision_id=new.number,
        create_time=new.author.time if new.author else None,
        principal=new.author.principal if new.author else None,
        binding_deltas=[decode(BindingDelta, change) for change in changes],
        audit_config_deltas=audited,
    )


def _audit_delta(before: core.Policy, after: core.Policy) -> list[AuditConfigDelta]:
    old, new = _audited(before), _audited(after)
    changes = [("REMOVE", what) for what in sorted(old - new)] + [("ADD", what) for what in sorted(new - old)]
    return [
        decode(AuditConfigDelta, {"action": action, "service": service, "logType": kind, "exemptedMember": member})
        for action, (service, kind, member) in changes
    ]


def _audited(policy: core.Policy) -> set[tuple[str, str, str]]:
    """What is logged, as (service, log type, "") and, for each exempted member, (service, log type, member)."""
    return {
        (config.get("service", ""), log.get("logType", ""), member)
        for config in policy.audit_configs
        for log in config.get("auditLogConfigs", ())
        for member in ("", *log.get("exemptedMembers", ()))
    }


def _check_exists(call: Call) -> None:
    if call.tx.get(call.resource) is None:
        raise NotFound(f"Resource '{call.resource}' was not found.")


def _number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < INT64_MAX):
        message = f'{field}: "{text[:50]}" is no number of a revision, such as 3.'
        raise InvalidArgument(message, fields=[(field, message)])
    return int(text)
