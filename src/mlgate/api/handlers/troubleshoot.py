"""Why may she, why may she not: `iam.troubleshoot` of the policy troubleshooter, v3 and v1.

The answer is read in one transaction, by the rule that every decision follows. A caller sees of it what they may read
by other methods; what depends on the rest is unknown to them. One thing more they may know, for `testIamPermissions`
tells it anyway: whether they themselves hold the permission now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from mlgate.api import params
from mlgate.api.call import Call
from mlgate.api.deny_policies import on_wire
from mlgate.api.messages import policytroubleshooter as wire
from mlgate.api.messages.iam_v2 import DenyPolicy, DenyRule, PolicyRule
from mlgate.api.messages.operations import Status
from mlgate.api.messages.policies import Expr
from mlgate.api.policies import to_wire
from mlgate.api.sight import CallersSight, policy_reader, right
from mlgate.api.world import world_of
from mlgate.core.errors import InvalidArgument, NotFound, Unimplemented
from mlgate.core.iam import deny, permissions, v2
from mlgate.core.iam.evaluate import Question
from mlgate.core.iam.explain import BindingExplanation, PlaceExplanation, RuleExplanation
from mlgate.core.iam.policy import EMPTY, Condition
from mlgate.core.iam.principals import SERVICE_ACCOUNT_SUFFIX, parse_principal
from mlgate.core.iam.visible import Everything, Verdict, Visible, every, some
from mlgate.core.names import from_full_name, full_name, join, project_id_of, type_of
from mlgate.core.wire import camel

_LONGEST_NAME = 2048
_INVALID_ARGUMENT, _FAILED_PRECONDITION = 3, 9

Paths = Mapping[str, tuple[str, ...] | None]


def troubleshoot(call: Call, body: wire.TroubleshootRequest) -> wire.TroubleshootResponse:
    """Raises InvalidArgument; NotFound to whoever may read the resource; Unimplemented for a context that conditions
    of this server do not read."""
    asked = body.access_tuple or wire.AccessTuple()
    at = _moment(asked.condition_context)
    seen, overall = _answered(call, asked.principal, asked.full_resource_name, asked.permission, at)
    allow_decides, deny_decides = _decisive((seen.granted, ~seen.denied))
    return wire.TroubleshootResponse(
        overall_access_state=_OVERALL[overall],
        access_tuple=wire.AccessTuple(
            principal=asked.principal,
            full_resource_name=asked.full_resource_name,
            permission=asked.permission,
            permission_fqdn=v2.permission_of(seen.question.permission),
            condition_context=asked.condition_context,
        ),
        allow_policy_explanation=wire.AllowPolicyExplanation(
            allow_access_state=_ALLOW[seen.granted],
            explained_policies=list(_allow_policies(seen)),
            relevance=_RELEVANCE[allow_decides],
        ),
        deny_policy_explanation=wire.DenyPolicyExplanation(
            deny_access_state=_DENY[seen.denied],
            explained_resources=list(_deny_resources(call, seen)),
            permission_deniable=not deny.matches(v2.UNDENIABLE, seen.question.permission),
            relevance=_RELEVANCE[deny_decides],
        ),
    )


def troubleshoot_v1(call: Call, body: wire.TroubleshootRequestV1) -> wire.TroubleshootResponseV1:
    """The same without deny policies' parts: when they are what counts, `errors` says so."""
    asked = body.access_tuple or wire.AccessTupleV1()
    seen, overall = _answered(call, asked.principal, asked.full_resource_name, asked.permission, None)
    errors = []
    if seen.granted is Verdict.YES and seen.overall is not Verdict.YES:
        what = "denies the permission" if seen.denied is Verdict.YES else "may deny the permission"
        message = f"A binding grants the permission and a deny policy {what}: v3 of this method explains it."
        errors.append(Status(code=_FAILED_PRECONDITION, message=message))
    return wire.TroubleshootResponseV1(
        access=_ACCESS_V1[overall], errors=errors, explained_policies=list(_policies_v1(seen))
    )


# ---------------------------------------------------------------------------------------------------------- question


def _answered(
    call: Call, principal: str | None, resource: str | None, permission: str | None, at: datetime | None
) -> tuple[Visible, Verdict]:
    """What the caller sees of the explanation, and whether the principal has the permission as far as they may know."""
    who, what, name = _principal(principal or ""), _permission(permission or ""), _resource(call, resource or "")
    decided_on = "/".join(name.split("/")[:2]) if name.startswith("buckets/") else name
    question = Question(who, what, decided_on, (at or call.now).timestamp())
    seen = Visible(world_of(call), CallersSight(call), question)
    exists = _exists(call, name)
    reader = right(name, "get")
    if not exists and reader and call.may(reader, decided_on):
        raise NotFound(f"Resource '{name}' was not found.")
    if who != call.principal or at is not None:
        return seen, seen.overall
    return seen, Visible(seen.world, Everything(), question).overall if exists else Verdict.NO


def _principal(text: str) -> str:
    kind = "serviceAccount" if text.lower().endswith(SERVICE_ACCOUNT_SUFFIX) else "user"
    try:
        return parse_principal(text if ":" in text else f"{kind}:{text}")
    except InvalidArgument:
        message = f'"{text[:200]}" is nobody who signs in: give the address of a person or of a service account.'
        raise _refuse("principal", message) from None


def _permission(text: str) -> str:
    permission = v2.pattern_of(text) if "/" in text else text
    if permission not in permissions.ALL:
        raise _refuse("permission", f'"{text[:200]}" is no permission, such as ml.models.predict.')
    return permission


def _resource(call: Call, text: str) -> str:
    try:
        name = params.canonical(from_full_name(text), call.services.snapshot)
    except InvalidArgument as error:
        raise _refuse("fullResourceName", error.message) from None
    ids = name.split("/", 3) if name.startswith("buckets/") else name.split("/")
    if len(ids) % 2 or not all(ids) or not type_of(name) or len(name) > _LONGEST_NAME:
        raise _refuse("fullResourceName", f'"{text[:200]}" is no resource of this server.')
    return name


def _moment(context: wire.ConditionContext | None) -> datetime | None:
    """The time that is asked about; None for now."""
    if context is None:
        return None
    for field in ("destination", "effective_tags", "resource"):
        if getattr(context, field):
            raise Unimplemented(f"accessTuple.conditionContext.{camel(field)} is not implemented by this server.")
    return context.request.receive_time if context.request else None


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(f"accessTuple.{field}", message)])


def _exists(call: Call, name: str) -> bool:
    if name.startswith("buckets/") and name.count("/") > 2:
        _, bucket, _, key = name.split("/", 3)
        return call.tx.get_object(bucket, key) is not None
    if type_of(name).endswith("/Location"):
        return call.tx.fact("project", project_id_of(name)) is not None
    return call.tx.get(name) is not None


# ------------------------------------------------------------------------------------------------------------ answer

_OVERALL: Mapping[Verdict, wire.OverallState] = {
    Verdict.YES: "CAN_ACCESS",
    Verdict.NO: "CANNOT_ACCESS",
    Verdict.CONDITIONAL: "UNKNOWN_CONDITIONAL",
    Verdict.HIDDEN: "UNKNOWN_INFO",
}
_ALLOW: Mapping[Verdict, wire.AllowState] = {
    Verdict.YES: "ALLOW_ACCESS_STATE_GRANTED",
    Verdict.NO: "ALLOW_ACCESS_STATE_NOT_GRANTED",
    Verdict.CONDITIONAL: "ALLOW_ACCESS_STATE_UNKNOWN_CONDITIONAL",
    Verdict.HIDDEN: "ALLOW_ACCESS_STATE_UNKNOWN_INFO",
}
_DENY: Mapping[Verdict, wire.DenyState] = {
    Verdict.YES: "DENY_ACCESS_STATE_DENIED",
    Verdict.NO: "DENY_ACCESS_STATE_NOT_DENIED",
    Verdict.CONDITIONAL: "DENY_ACCESS_STATE_UNKNOWN_CONDITIONAL",
    Verdict.HIDDEN: "DENY_ACCESS_STATE_UNKNOWN_INFO",
}
_ROLE: Mapping[Verdict, wire.RoleState] = {
    Verdict.YES: "ROLE_PERMISSION_INCLUDED",
    Verdict.NO: "ROLE_PERMISSION_NOT_INCLUDED",
    Verdict.HIDDEN: "ROLE_PERMISSION_UNKNOWN_INFO",
}
_MEMBERSHIP: Mapping[Verdict, wire.MembershipState] = {
    Verdict.YES: "MEMBERSHIP_MATCHED",
    Verdict.NO: "MEMBERSHIP_NOT_MATCHED",
    Verdict.HIDDEN: "MEMBERSHIP_UNKNOWN_INFO",
}
_PATTERN: Mapping[bool, wire.PatternState] = {
    True: "PERMISSION_PATTERN_MATCHED",
    False: "PERMISSION_PATTERN_NOT_MATCHED",
}
_RELEVANCE: Mapping[bool, wire.Relevance] = {True: "HEURISTIC_RELEVANCE_HIGH", False: "HEURISTIC_RELEVANCE_NORMAL"}


def _decisive(parts: Sequence[Verdict]) -> list[bool]:
    """Which parts decide where all have to be YES: each if they are, else the one that alone is not."""
    short = [part is not Verdict.YES for part in parts]
    return short if sum(short) == 1 else [not any(short)] * len(parts)


def _counts(seen: Visible, parts: Sequence[Verdict]) -> bool:
    """Whether a binding matters: it grants, or nothing does and a single part keeps it from granting."""
    return any(_decisive(parts)) and (every(parts) is Verdict.YES or seen.granted is not Verdict.YES)


def _allow_policies(seen: Visible) -> Iterator[wire.ExplainedAllowPolicy]:
    for place in _readable(seen):
        bindings = [_binding(seen, binding) for binding in place.bindings]
        yield wire.ExplainedAllowPolicy(
            allow_access_state=_ALLOW[seen.policy(place)],
            full_resource_name=full_name(place.resource),
            policy=to_wire(seen.view.policy(place.resource) or EMPTY),
            binding_explanations=bindings,
            relevance=_highest(binding.relevance for binding in bindings),
        )
    if seen.hides_policies:
        yield wire.ExplainedAllowPolicy(allow_access_state=_ALLOW[Verdict.HIDDEN])


def _readable(seen: Visible) -> Iterator[PlaceExplanation]:
    """The places that have policies, and whose policy the caller may read."""
    for place in seen.explanation.places:
        if policy_reader(place.resource) and seen.sight.policy(place.resource):
            yield place


def _highest(found: Iterator[wire.Relevance | None]) -> wire.Relevance:
    return _RELEVANCE[_RELEVANCE[True] in found]


def _binding(seen: Visible, binding: BindingExplanation) -> wire.BindingExplanation:
    parts = seen.role(binding), seen.membership(binding.paths), seen.condition_of(binding)
    role_decides, members_decide, _ = _decisive(parts)
    condition = binding.binding.condition
    return wire.BindingExplanation(
        allow_access_state=_ALLOW[every(parts)],
        role=binding.binding.role,
        role_permission=_ROLE[parts[0]],
        role_permission_relevance=_RELEVANCE[role_decides],
        memberships={
            member: wire.AllowMembership(
                membership=_MEMBERSHIP[seen.member(member, path)],
                relevance=_RELEVANCE[members_decide and path is not None],
                group_path=list(path or ()),
            )
            for member, path in binding.paths.items()
        },
        combined_membership=wire.AllowMembership(
            membership=_MEMBERSHIP[parts[1]], relevance=_RELEVANCE[members_decide]
        ),
        condition=_expression(condition),
        condition_explanation=_condition(seen, condition, binding.condition),
        relevance=_RELEVANCE[_counts(seen, parts)],
    )


def _expression(condition: Condition | None) -> Expr | None:
    if condition is None:
        return None
    return Expr(expression=condition.expression, title=condition.title, description=condition.description)


def _condition(seen: Visible, condition: Condition | None, value: bool | None) -> wire.ConditionExplanation | None:
    if condition is None:
        return None
    if seen.is_open(condition):
        why = "Which roles the change gives or takes decides, and the question does not tell."
    elif value is None:
        why = "The expression fails for this call: a binding with it grants nothing, a deny rule with it denies."
    else:
        return wire.ConditionExplanation(value=value)
    return wire.ConditionExplanation(errors=[Status(code=_INVALID_ARGUMENT, message=why)])


def _deny_resources(call: Call, seen: Visible) -> Iterator[wire.ExplainedDenyResource]:
    for place in seen.explanation.places:
        policies = [
            _deny_policy(call, seen, place.resource, name, list(rules))
            for name, rules in groupby(place.rules, lambda rule: rule.policy)
        ]
        if policies:
            yield wire.ExplainedDenyResource(
                deny_access_state=_DENY[seen.denials(place)],
                full_resource_name=full_name(place.resource),
                explained_policies=policies,
                relevance=_highest(policy.relevance for policy in policies),
            )
    if seen.hides_denials:
        yield wire.ExplainedDenyResource(deny_access_state=_DENY[Verdict.HIDDEN])


def _deny_policy(
    call: Call, seen: Visible, place: str, name: str, rules: Sequence[RuleExplanation]
) -> wire.ExplainedDenyPolicy:
    explained = [_rule(seen, rule) for rule in rules]
    return wire.ExplainedDenyPolicy(
        deny_access_state=_DENY[some(map(seen.rule, rules))],
        policy=_stored(call, place, name) or _unstored(rules),
        rule_explanations=explained,
        relevance=_highest(rule.relevance for rule in explained),
    )


def _stored(call: Call, place: str, name: str) -> DenyPolicy | None:
    where, record = call.tx.get(place), call.tx.get(join(place, "denypolicies", name))
    return on_wire(where, record) if where is not None and record is not None else None


def _unstored(rules: Sequence[RuleExplanation]) -> DenyPolicy:
    """A policy that the server itself puts on a project that is being deleted."""
    shown = [
        PolicyRule(
            description="The project is being deleted: it can be looked at and restored, nothing else.",
            deny_rule=DenyRule(
                denied_principals=list(map(v2.principal_of, rule.rule.principals)),
                denied_permissions=list(map(v2.permission_of, rule.rule.permissions)),
                exception_permissions=list(map(v2.permission_of, rule.rule.exception_permissions)),
            ),
        )
        for rule in rules
    ]
    return DenyPolicy(kind="DenyPolicy", display_name=rules[0].policy, rules=shown)


def _rule(seen: Visible, explained: RuleExplanation) -> wire.RuleExplanation:
    rule, permission = explained.rule, seen.question.permission
    is_denied, is_excepted = seen.membership(explained.paths), seen.membership(explained.exception_paths)
    about = Verdict.YES if explained.denies_permission else Verdict.NO
    parts = about, is_denied, ~is_excepted, seen.condition_of_rule(explained)
    about_decides, denied_decides, excepted_decides, condition_decides = _decisive(parts)

    def principals(paths: Paths, *, decide: bool) -> dict[str, wire.DenyMembership]:
        return {
            v2.principal_of(member): wire.DenyMembership(
                membership=_MEMBERSHIP[seen.member(member, path)],
                relevance=_RELEVANCE[decide and path is not None],
                group_path=list(path or ()),
            )
            for member, path in paths.items()
        }

    def combined(verdict: Verdict, *, decides: bool) -> wire.DenyMembership:
        return wire.DenyMembership(membership=_MEMBERSHIP[verdict], relevance=_RELEVANCE[decides])

    def matching(matches: bool) -> wire.PermissionMatching:
        return wire.PermissionMatching(
            permission_matching_state=_PATTERN[matches], relevance=_RELEVANCE[about_decides and matches]
        )

    def patterns(given: Sequence[str]) -> dict[str, wire.PermissionMatching]:
        return {v2.permission_of(pattern): matching(deny.matches(pattern, permission)) for pattern in given}

    def combined_patterns(given: Sequence[str]) -> wire.PermissionMatching:
        return matching(any(deny.matches(pattern, permission) for pattern in given))

    return wire.RuleExplanation(
        deny_access_state=_DENY[seen.rule(explained)],
        denied_permissions=patterns(rule.permissions),
        combined_denied_permission=combined_patterns(rule.permissions),
        exception_permissions=patterns(rule.exception_permissions),
        combined_exception_permission=combined_patterns(rule.exception_permissions),
        denied_principals=principals(explained.paths, decide=denied_decides),
        combined_denied_principal=combined(is_denied, decides=denied_decides),
        exception_principals=principals(explained.exception_paths, decide=excepted_decides),
        combined_exception_principal=combined(is_excepted, decides=excepted_decides),
        condition=_expression(rule.condition),
        condition_explanation=_condition(seen, rule.condition, explained.condition),
        relevance=_RELEVANCE[any((about_decides, denied_decides, excepted_decides, condition_decides))],
    )


# ---------------------------------------------------------------------------------------------------------------- v1

_ACCESS_V1: Mapping[Verdict, wire.AccessV1] = {
    Verdict.YES: "GRANTED",
    Verdict.NO: "NOT_GRANTED",
    Verdict.CONDITIONAL: "UNKNOWN_CONDITIONAL",
    Verdict.HIDDEN: "UNKNOWN_INFO_DENIED",
}
_ROLE_V1: Mapping[Verdict, wire.RoleV1] = {
    Verdict.YES: "ROLE_PERMISSION_INCLUDED",
    Verdict.NO: "ROLE_PERMISSION_NOT_INCLUDED",
    Verdict.HIDDEN: "ROLE_PERMISSION_UNKNOWN_INFO_DENIED",
}
_MEMBERSHIP_V1: Mapping[Verdict, wire.MembershipV1State] = {
    Verdict.YES: "MEMBERSHIP_INCLUDED",
    Verdict.NO: "MEMBERSHIP_NOT_INCLUDED",
    Verdict.HIDDEN: "MEMBERSHIP_UNKNOWN_INFO_DENIED",
}
_RELEVANCE_V1: Mapping[bool, wire.RelevanceV1] = {True: "HIGH", False: "NORMAL"}


def _policies_v1(seen: Visible) -> Iterator[wire.ExplainedPolicyV1]:
    for place in _readable(seen):
        bindings = [_binding_v1(seen, binding) for binding in place.bindings]
        yield wire.ExplainedPolicyV1(
            access=_ACCESS_V1[seen.policy(place)],
            full_resource_name=full_name(place.resource),
            policy=to_wire(seen.view.policy(place.resource) or EMPTY),
            binding_explanations=bindings,
            relevance=_RELEVANCE_V1[any(binding.relevance == "HIGH" for binding in bindings)],
        )
    if seen.hides_policies:
        yield wire.ExplainedPolicyV1(access=_ACCESS_V1[Verdict.HIDDEN])


def _binding_v1(seen: Visible, binding: BindingExplanation) -> wire.BindingExplanationV1:
    parts = seen.role(binding), seen.membership(binding.paths), seen.condition_of(binding)
    role_decides, members_decide, _ = _decisive(parts)
    return wire.BindingExplanationV1(
        access=_ACCESS_V1[every(parts)],
        role=binding.binding.role,
        role_permission=_ROLE_V1[parts[0]],
        role_permission_relevance=_RELEVANCE_V1[role_decides],
        memberships={
            member: wire.MembershipV1(
                membership=_MEMBERSHIP_V1[seen.member(member, path)],
                relevance=_RELEVANCE_V1[members_decide and path is not None],
                group_path=list(path or ()),
            )
            for member, path in binding.paths.items()
        },
        condition=_expression(binding.binding.condition),
        relevance=_RELEVANCE_V1[_counts(seen, parts)],
    )
