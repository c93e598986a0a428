"""Deny policies of projects, folders and the organization (iam v2).

A deny rule outweighs every role on the place where it stands and on all below. A change counts from its answer on, and
is small enough to be done with its call, so every operation is answered as done. Google's limits: 500 policies in a
place, with 500 rules and 2,500 principals in all of them.

A rule cannot take away the permissions of deny policies themselves: who named them would lock everybody out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from mlgate.api.call import Call
from mlgate.api.deny_policies import KIND, on_wire, size, tell
from mlgate.api.messages.iam_v2 import DenyPolicy, DenyRule, ListPoliciesResponse, PolicyRule
from mlgate.api.messages.message import decode, encode
from mlgate.api.messages.operations import Operation
from mlgate.api.messages.policies import Expr
from mlgate.api.paging import page
from mlgate.api.policies import is_missing
from mlgate.core.errors import Aborted, AlreadyExists, InvalidArgument, NotFound, ResourceExhausted
from mlgate.core.iam.conditions import check
from mlgate.core.iam.deny import matches
from mlgate.core.iam.policy import Condition, condition_to_plain
from mlgate.core.iam.principals import ALL_USERS
from mlgate.core.iam.v2 import UNDENIABLE, parse_pattern, parse_principal, permission_of, principal_of
from mlgate.core.names import attached_name, check_id, join
from mlgate.core.wire import encode_base64, format_timestamp
from mlgate.ports import Record

MAX_POLICIES, MAX_RULES, MAX_PRINCIPALS = 500, 500, 2500
_MAX_NAME, _MAX_DESCRIPTION, _MAX_ANNOTATIONS, _MAX_KEY, _MAX_VALUE = 63, 256, 100, 63, 255
_PAGE = 1000
_OPERATION = "denyPolicyOperation"
_REMEMBERED = timedelta(days=1)
_TYPE = "type.googleapis.com/google.iam.v2."


def create_policy(call: Call, body: DenyPolicy) -> Operation:
    """Raises AlreadyExists, InvalidArgument, ResourceExhausted."""
    place = _place(call)
    policy_id = check_id("deny policy", call.query.get("policyId", ""), "policyId")
    name, moment = join(place.name, "denypolicies", policy_id), format_timestamp(call.now)
    uid = call.services.ids.uid()
    record = Record(name, KIND, place.name, uid, _checked(call, body), call.now, hidden={"updateTime": moment})
    if call.tx.count(place.name, KIND) >= MAX_POLICIES:
        raise ResourceExhausted(f"{place.name} has its {MAX_POLICIES} deny policies already.")
    try:
        call.tx.insert(record)
    except AlreadyExists:
        raise AlreadyExists(f"A deny policy named {policy_id} is attached to {place.name} already.") from None
    return _done(call, place, record, {}, record.body)


def get_policy(call: Call) -> DenyPolicy:
    return on_wire(_place(call), _policy(call))


def list_policies(call: Call) -> ListPoliciesResponse:
    """What is attached to the place itself, without the rules (as Google's): not what stands above it."""
    place = _place(call)
    records, token = page(call, place.name, KIND, lambda r: r.body, default=_PAGE, most=_PAGE)
    return ListPoliciesResponse(policies=[on_wire(place, r, full=False) for r in records], next_page_token=token)


def update_policy(call: Call, body: DenyPolicy) -> Operation:
    """Replace rules, name and annotations. Raises Aborted for a stale etag; without one the write is blind."""
    place, record = _place(call), _policy(call)
    _check_etag(record, body.etag)
    before, record.body = record.body, _checked(call, body)
    record.hidden["updateTime"] = format_timestamp(call.now)
    call.tx.update(record)
    return _done(call, place, record, before, record.body)


def delete_policy(call: Call) -> Operation:
    """What the policy denied, and nothing else does, is from now on as roles say. Raises Aborted for a stale etag."""
    place, record = _place(call), _policy(call)
    _check_etag(record, call.query.get("etag"))
    call.tx.delete(record.name)
    return _done(call, place, record, record.body, {}, deleteTime=format_timestamp(call.now))


def get_operation(call: Call) -> Operation:
    return decode(Operation, call.record(attached_name(call.resource, call.params["name"]), _OPERATION).body)


# --------------------------------------------------------------------------------------------------- stored and shown


def _place(call: Call) -> Record:
    """The project, folder or organization. Raises NotFound."""
    found = call.tx.get(call.resource)
    if found is None:
        raise NotFound(f"Resource '{call.resource}' was not found.")
    return found


def _policy(call: Call) -> Record:
    return call.record(attached_name(call.resource, call.params["name"]), KIND)


def _check_etag(record: Record, etag: str | None) -> None:
    if etag and etag != encode_base64(record.etag):
        raise Aborted(f"There were concurrent changes of {record.name}; read it again and retry.")


def _done(
    call: Call, place: Record, record: Record, before: Mapping[str, Any], after: Mapping[str, Any], **more: str
) -> Operation:
    """Tell every process and the audit log of the change, and keep its operation for a while."""
    rules, principals = size(call.tx.children(place.name, KIND))
    if rules > MAX_RULES or principals > MAX_PRINCIPALS:
        raise ResourceExhausted(
            f"The deny policies of {place.name} would have {rules} rules that name {principals} principals; "
            f"{MAX_RULES} and {MAX_PRINCIPALS} are allowed."
        )
    tell(call.tx, place.name)
    call.detail["denyPolicy"] = {"name": record.name, **_delta(before, after)}
    for old in call.tx.children(place.name, _OPERATION):
        if call.now - old.created > _REMEMBERED:
            call.tx.delete(old.name)
    shown = encode(on_wire(place, record)) | more
    uid = call.services.ids.uid()
    body = {
        "name": join(shown["name"], "operations", uid),
        "metadata": {"@type": f"{_TYPE}PolicyOperationMetadata", "createTime": format_timestamp(call.now)},
        "done": True,
        "response": {"@type": f"{_TYPE}Policy", **shown},
    }
    call.tx.insert(Record(join(record.name, "operations", uid), _OPERATION, place.name, uid, body, call.now))
    return decode(Operation, body)


def _delta(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a change did: rules that went and came, and the new value of whatever else is another."""
    old, new = before.get("rules", []), after.get("rules", [])
    deltas = [{"action": "REMOVE", **rule} for rule in old if rule not in new]
    deltas += [{"action": "ADD", **rule} for rule in new if rule not in old]
    others = (before.keys() | after.keys()) - {"rules"}
    return {"ruleDeltas": deltas, **{f: after.get(f) for f in sorted(others) if before.get(f) != after.get(f)}}


# -------------------------------------------------------------------------------------------------------------- rules


def _checked(call: Call, body: DenyPolicy) -> dict[str, Any]:
    """What is stored of a policy, in canonical form. Raises InvalidArgument."""
    if len(body.display_name or "") > _MAX_NAME:
        raise _refuse("displayName", f"it is longer than {_MAX_NAME} characters")
    if len(body.annotations or {}) > _MAX_ANNOTATIONS:
        raise _refuse("annotations", f"there are {len(body.annotations or {})}; {_MAX_ANNOTATIONS} are allowed")
    for key, value in (body.annotations or {}).items():
        if not key or len(key) > _MAX_KEY or len(value) > _MAX_VALUE:
            raise _refuse("annotations", f"keys have at most {_MAX_KEY} characters, values {_MAX_VALUE}")
    if not body.rules:
        raise _refuse("rules", "a deny policy needs at least one rule; delete it if nothing is to be denied any more")
    if len(body.rules) > MAX_RULES:
        raise _refuse("rules", f"there are {len(body.rules)}; {MAX_RULES} are allowed")
    rules = [_checked_rule(call, rule, f"rules[{n}]") for n, rule in enumerate(body.rules)]
    return encode(DenyPolicy(display_name=body.display_name, annotations=body.annotations, rules=rules))


def _checked_rule(call: Call, rule: PolicyRule, where: str) -> PolicyRule:
    given, field = rule.deny_rule or DenyRule(), f"{where}.denyRule"
    if len(rule.description or "") > _MAX_DESCRIPTION:
        raise _refuse(f"{where}.description", f"it is longer than {_MAX_DESCRIPTION} characters")
    if not given.denied_principals:
        raise _refuse(f"{field}.deniedPrincipals", "a rule needs at least one principal")
    if not given.denied_permissions:
        raise _refuse(f"{field}.deniedPermissions", "a rule needs at least one permission")

    def principal(text: str, field: str) -> str:
        return _checked_principal(call, text, field)

    checked = DenyRule(
        denied_principals=_each(principal, given.denied_principals, f"{field}.deniedPrincipals"),
        exception_principals=_each(principal, given.exception_principals, f"{field}.exceptionPrincipals"),
        denied_permissions=_each(_checked_permission, given.denied_permissions, f"{field}.deniedPermissions"),
        exception_permissions=_each(_canonical, given.exception_permissions, f"{field}.exceptionPermissions"),
        denial_condition=_checked_condition(given.denial_condition, f"{field}.denialCondition"),
    )
    if principal_of(ALL_USERS) in (checked.exception_principals or ()):
        raise _refuse(f"{field}.exceptionPrincipals", "a rule that excepts everybody denies nobody")
    return PolicyRule(description=rule.description, deny_rule=checked)


def _each(checked: Callable[[str, str], str], texts: Sequence[str] | None, field: str) -> list[str]:
    """Each text in canonical form, once."""
    return list(dict.fromkeys(checked(text, f"{field}[{n}]") for n, text in enumerate(texts or ())))


def _checked_principal(call: Call, text: str, field: str) -> str:
    member = parse_principal(text, field)
    if is_missing(call, member):
        raise _refuse(field, f"{member.partition(':')[0]} {member.partition(':')[2]} does not exist")
    return principal_of(member)


def _canonical(text: str, field: str) -> str:
    return permission_of(parse_pattern(text, field))


def _checked_permission(text: str, field: str) -> str:
    if matches(UNDENIABLE, parse_pattern(text, field)):
        why = f"{text} cannot be denied, or nobody could take a deny policy away; wildcards leave out iam.denypolicies"
        raise _refuse(field, why)
    return text


def _checked_condition(expr: Expr | None, field: str) -> Expr | None:
    if expr is None:
        return None
    condition = Condition(expr.expression or "", expr.title or "", expr.description or "")
    check(condition, field)
    return Expr(**condition_to_plain(condition))


def _refuse(field: str, why: str) -> InvalidArgument:
    message = f"{field}: {why}."
    return InvalidArgument(message, fields=[(field, message)])
