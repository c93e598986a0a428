"""Access reviews: who has access to a resource, and what somebody has access to.

`cloudasset.analyzeIamPolicy` answers in Cloud Asset's shape, grouped by bindings; `mlgate.access.list` is the same
review as a flat list. Both say what decisions would: a grant that a deny rule takes away is not listed, unlike in
Google's analyzer. One permission on the scope is enough to ask; the policies in it need not be readable.

`mlgate.models.search` is the caller's own review: the models that they may use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Any
from urllib.parse import quote

from mlgate.api import review
from mlgate.api.call import Call
from mlgate.api.messages import cloudasset as messages
from mlgate.api.messages.cloudasset import (
    AccessEntry,
    AccessQuery,
    AnalyzeIamPolicyResponse,
    DeniedPermission,
    IamPolicyAnalysis,
    IamPolicyAnalysisQuery,
    IamPolicyAnalysisResult,
    ListAccessResponse,
    Options,
)
from mlgate.api.messages.message import decode, fields_of
from mlgate.api.messages.models import ListModelsResponse, Model
from mlgate.api.messages.policies import Binding
from mlgate.api.paging import page
from mlgate.api.policies import to_wire
from mlgate.api.world import StoredWorld, world_of
from mlgate.core.errors import InvalidArgument, Unimplemented
from mlgate.core.iam import permissions
from mlgate.core.iam.evaluate import Denial, ancestry
from mlgate.core.iam.policy import Policy
from mlgate.core.iam.review import Access
from mlgate.core.names import full_name
from mlgate.ports import Record
from mlgate.records import model_plain

_QUERY = "analysisQuery"
_READ = "ml.models.get"


# ---------------------------------------------------------------------------------------------------------- flat lists


def list_access(call: Call) -> ListAccessResponse:
    """Every grant that gives access now, or with `includeIneffective` also those that a deny rule or their condition
    keeps from it."""
    fields = {field.wire for field in fields_of(AccessQuery)}
    asked = decode(AccessQuery, {name: value for name, value in call.query.items() if name in fields})
    chosen = review.selected(call, asked.permissions or [], asked.roles or [], "permissions")
    query = review.Query(
        scope=call.resource,
        at=review.moment(call, asked.access_time, "accessTime"),
        resource=review.resource_in(call, asked.resource, "resource") if asked.resource else "",
        identity=review.identity(asked.principal, "principal") if asked.principal else "",
        permissions=chosen[0],
        roles=chosen[1],
        expand_resources=bool(asked.expand_resources),
        include_ineffective=bool(asked.include_ineffective),
    )
    found = review.page(call, query)
    return ListAccessResponse(
        access=[_entry(access, query) for access in found.entries],
        closed_groups=sorted(found.closed),
        next_page_token=found.token,
    )


def _entry(access: Access, query: review.Query) -> AccessEntry:
    grant = access.grant
    return AccessEntry(
        principal=access.principal,
        resource=full_name(access.resource),
        role=grant.role,
        permissions=[p for p in access.allowed if p in query.permissions],
        granted_on=full_name(grant.resource),
        member=grant.member,
        group_path=list(grant.through),
        condition=_binding(access).condition,
        expire_time=_expiry(access),
        state=_state(access),
        denied_permissions=[_denied(permission, denial) for permission, denial in access.denied.items()],
    )


def _state(access: Access) -> Any:
    if access.condition is not True:
        return "CONDITION_FALSE" if access.condition is False else "CONDITION_UNKNOWN"
    return "ALLOWED" if access.allowed else "DENIED"


def _denied(permission: str, denial: Denial) -> DeniedPermission:
    """The rule that denies, the policy under the name that iam v2 gives it."""
    attached = quote(full_name(denial.resource).removeprefix("//"), safe="")
    return DeniedPermission(
        permission=permission, policy=f"policies/{attached}/denypolicies/{denial.policy}", rule=denial.rule
    )


# ------------------------------------------------------------------------------------------------- Cloud Asset's shape


def analyze_iam_policy(call: Call) -> AnalyzeIamPolicyResponse:
    """A page of the analysis. A page that is not the last, or that met a group into which the caller may not look, is
    not `fullyExplored`; Google's answer has only one."""
    asked = decode(IamPolicyAnalysisQuery, _nested(call.query), path=_QUERY)
    asked.scope = call.resource
    query = _query(call, asked)
    found = review.page(call, query)
    whole = not (found.token or found.closed)
    world, options = world_of(call), asked.options or Options()
    by_binding = groupby(found.entries, lambda access: (access.resource, access.mark[:3]))
    analysis = IamPolicyAnalysis(
        analysis_query=asked,
        analysis_results=[
            result for _, entries in by_binding for result in _results(world, list(entries), query, options)
        ],
        fully_explored=whole,
    )
    return AnalyzeIamPolicyResponse(main_analysis=analysis, fully_explored=whole, next_page_token=found.token)


def _nested(query: dict[str, Any]) -> dict[str, Any]:
    """The message whose fields the query string names by their paths. Raises Unimplemented."""
    for name in ("savedAnalysisQuery", "executionTimeout"):
        if query.get(name):
            raise Unimplemented(f"{name} is not implemented by this server.")
    found: dict[str, Any] = {}
    for name, value in query.items():
        first, *path = name.split(".")
        if first == _QUERY:
            place = found
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = value
    return found


def _query(call: Call, asked: IamPolicyAnalysisQuery) -> review.Query:
    """Raises InvalidArgument, and Unimplemented for an analysis of who may act as whom."""
    options = asked.options or Options()
    resource = (asked.resource_selector and asked.resource_selector.full_resource_name) or ""
    identity = (asked.identity_selector and asked.identity_selector.identity) or ""
    access = asked.access_selector or messages.AccessSelector()
    time = asked.condition_context.access_time if asked.condition_context else None
    chosen = review.selected(call, access.permissions or [], access.roles or [], f"{_QUERY}.accessSelector")
    if options.analyze_service_account_impersonation:
        raise Unimplemented("analyzeServiceAccountImpersonation is not implemented by this server.")
    if not (resource or identity or any(chosen)):
        raise _refuse("", "select a resource, an identity, or permissions and roles")
    if options.expand_groups and identity:
        raise _refuse("options.expandGroups", "it cannot be set together with an identity, which is all that is listed")
    if options.expand_roles and any(chosen):
        raise _refuse("options.expandRoles", "it cannot be set together with permissions or roles")
    return review.Query(
        scope=call.resource,
        at=review.moment(call, time, f"{_QUERY}.conditionContext.accessTime"),
        resource=review.resource_in(call, resource, f"{_QUERY}.resourceSelector") if resource else "",
        identity=review.identity(identity, f"{_QUERY}.identitySelector") if identity else "",
        permissions=chosen[0],
        roles=chosen[1],
        expand_resources=bool(options.expand_resources),
        expand_groups=bool(options.expand_groups),
        include_ineffective=True,
    )


def _refuse(field: str, why: str) -> InvalidArgument:
    field = f"{_QUERY}.{field}".rstrip(".")
    message = f"{field}: {why}."
    return InvalidArgument(message, fields=[(field, message)])


def _results(
    world: StoredWorld, entries: Sequence[Access], query: review.Query, options: Options
) -> Iterator[IamPolicyAnalysisResult]:
    """What one binding gives on one resource: a result for all who have the same by it. Whom deny rules leave nothing
    is in none."""
    groups: dict[tuple[str, ...], list[Access]] = {}
    for access in entries:
        kept = tuple(permission for permission in access.permissions if permission not in access.denied)
        if kept:
            groups.setdefault(kept, []).append(access)
    for kept, alike in groups.items():
        first = alike[0]
        acl = messages.AccessControlList(
            resources=[messages.Resource(full_resource_name=full_name(first.resource))],
            accesses=list(_accesses(first, kept, query, options)),
            condition_evaluation=_evaluation(first),
            resource_edges=_resource_edges(world, first) if options.output_resource_edges else None,
        )
        yield IamPolicyAnalysisResult(
            attached_resource_full_name=full_name(first.grant.resource),
            iam_binding=_binding(first),
            access_control_lists=[acl],
            identity_list=messages.IdentityList(
                identities=[messages.Identity(name=a.principal, expire_time=_expiry(a)) for a in alike],
                group_edges=_group_edges(alike) if options.output_group_edges else None,
            ),
            fully_explored=not any(a.principal.startswith("group:") for a in alike) or not options.expand_groups,
        )


def _accesses(
    access: Access, kept: tuple[str, ...], query: review.Query, options: Options
) -> Iterator[messages.Access]:
    """The selected access; a role stands for all that it holds, so not for itself when some of it is denied."""
    role = access.grant.role
    is_whole = len(kept) == len(access.permissions)
    if (query.is_any_access or role in query.roles) and is_whole:
        yield messages.Access(role=role)
        listed = kept if options.expand_roles else [p for p in kept if p in query.permissions]
    else:
        listed = kept
    yield from (messages.Access(permission=permission) for permission in listed)


def _evaluation(access: Access) -> messages.ConditionEvaluation | None:
    if access.grant.condition is None:
        return None
    value: Any = {True: "TRUE", False: "FALSE", None: "CONDITIONAL"}[access.condition]
    return messages.ConditionEvaluation(evaluation_value=value)


def _group_edges(entries: Iterable[Access]) -> list[messages.Edge]:
    steps = [step for access in entries for step in pairwise((*access.grant.through, access.principal))]
    return [messages.Edge(source_node=group, target_node=inner) for group, inner in dict.fromkeys(steps)]


def _resource_edges(world: StoredWorld, access: Access) -> list[messages.Edge]:
    """From the resource where the binding stands down to the one that is reached."""
    places = list(ancestry(world, access.resource))
    down = reversed(places[: places.index(access.grant.resource) + 1])
    return [messages.Edge(source_node=full_name(a), target_node=full_name(b)) for a, b in pairwise(down)]


# --------------------------------------------------------------------------------------------------------------- parts


def _binding(access: Access) -> Binding:
    """The binding that the grant is a part of, in its form on the wire."""
    return (to_wire(Policy((access.binding,))).bindings or [])[0]


def _expiry(access: Access) -> datetime | None:
    return None if access.ends is None else datetime.fromtimestamp(access.ends, UTC)


# -------------------------------------------------------------------------------------------------- the caller's models


def search_models(call: Call) -> ListModelsResponse:
    """The models of a project on which the caller holds a permission, `ml.models.get` unless another is asked about.
    Of one that they may not read, only its name is told."""
    permission = call.query.get("permission") or _READ
    if permission not in permissions.ALL:
        message = f'permission: "{permission[:100]}" is no permission, such as ml.models.predict.'
        raise InvalidArgument(message, fields=[("permission", message)])
    names = call.services.snapshot.children(call.principal, permission, f"{call.resource}/models")
    visible = None if names is not None else lambda record: call.may(permission, record.name)
    records, token = page(call, call.resource, "model", lambda r: r.body, visible=visible, names=names)
    return ListModelsResponse(models=[_model(call, record) for record in records], next_page_token=token)


def _model(call: Call, record: Record) -> Model:
    if call.may(_READ, record.name):
        return decode(Model, model_plain(call.tx, record))
    return Model(name=record.name)
