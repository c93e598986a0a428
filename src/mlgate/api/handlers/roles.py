"""Predefined roles, and which roles and permissions fit a resource (iam v1)."""

from __future__ import annotations

from typing import TypeVar

from mlgate.api.call import Call
from mlgate.api.messages.iam import (
    LintPolicyRequest,
    LintPolicyResponse,
    LintResult,
    ListRolesResponse,
    Permission,
    QueryGrantableRolesRequest,
    QueryGrantableRolesResponse,
    QueryTestablePermissionsRequest,
    QueryTestablePermissionsResponse,
    Role,
)
from mlgate.api.messages.policies import Expr
from mlgate.core.errors import InvalidArgument, NotFound
from mlgate.core.iam import conditions, permissions, roles
from mlgate.core.iam.policy import Condition
from mlgate.core.names import from_full_name
from mlgate.core.wire import page_token, parse_page_token

T = TypeVar("T")

_KINDS = {
    ("projects",): roles.PROJECT,
    ("folders",): roles.FOLDER,
    ("organizations",): roles.ORGANIZATION,
    ("buckets",): roles.BUCKET,
    ("projects", "models"): roles.MODEL,
    ("projects", "jobs"): roles.JOB,
    ("projects", "serviceAccounts"): roles.SERVICE_ACCOUNT,
}
_ABOVE_PROJECTS = (roles.FOLDER, roles.ORGANIZATION)


def get_role(call: Call) -> Role:
    role = call.services.roles.get(call.params["name"])
    if role is None:
        raise NotFound(f"The role named {call.params['name']} was not found.")
    return _shown(call, role, full=True)


def list_roles(call: Call) -> ListRolesResponse:
    """The predefined roles; `view=FULL` adds what each holds."""
    page, token = _page(call, list(call.services.roles.values()), call.query.get("pageSize", 0), _token(call), "", 1000)
    return ListRolesResponse(
        roles=[_shown(call, role, full=call.query.get("view") == "FULL") for role in page], next_page_token=token
    )


def query_grantable_roles(call: Call, body: QueryGrantableRolesRequest) -> QueryGrantableRolesResponse:
    """The roles that may be bound on the resource (C-23)."""
    kind = _kind_of(body.full_resource_name or "")
    fitting = [role for role in call.services.roles.values() if kind in role.on]
    mark = body.full_resource_name or ""
    page, token = _page(call, fitting, body.page_size or 0, body.page_token or "", mark, 3000)
    return QueryGrantableRolesResponse(
        roles=[_shown(call, role, full=body.view == "FULL") for role in page], next_page_token=token
    )


def lint_policy(call: Call, body: LintPolicyRequest) -> LintPolicyResponse:
    """What keeps a condition from being set. An expression without a title is looked at all the same."""
    given = body.condition or Expr()
    condition = Condition(given.expression or "", given.title or "untitled", given.description or "")
    try:
        conditions.check(condition, "condition")
    except InvalidArgument as error:
        [(field, message)] = error.fields
        unit = "LintValidationUnits/ConditionCompileCheck"
        found = LintResult(
            level="CONDITION", severity="ERROR", field_name=field, debug_message=message, validation_unit_name=unit
        )
        return LintPolicyResponse(lint_results=[found])
    return LintPolicyResponse()


def query_testable_permissions(call: Call, body: QueryTestablePermissionsRequest) -> QueryTestablePermissionsResponse:
    """Every permission that a custom role may hold on the resource (api.md rule 10)."""
    kind = _kind_of(body.full_resource_name or "")
    fitting = [p for p in permissions.ALL if kind in _ABOVE_PROJECTS or p not in permissions.ORGANIZATION_ONLY]
    mark = body.full_resource_name or ""
    page, token = _page(call, fitting, body.page_size or 0, body.page_token or "", mark, 1000)
    return QueryTestablePermissionsResponse(
        permissions=[Permission(name=name, stage="GA", custom_roles_support_level="SUPPORTED") for name in page],
        next_page_token=token,
    )


def _kind_of(full_name: str) -> str:
    name = from_full_name(full_name)
    kind = _KINDS.get(tuple(name.split("/")[::2]))
    if kind is None:
        message = f'"{full_name[:200]}" is no resource that has a policy.'
        raise InvalidArgument(message, fields=[("fullResourceName", message)])
    return kind


def _shown(call: Call, role: roles.Role, *, full: bool) -> Role:
    held = list(role.holds(call.settings.role_catalogue)) if full else None
    return Role(
        name=role.name,
        title=role.title,
        description=role.description,
        stage="GA",
        etag=b"\x00\x01",
        included_permissions=sorted(held) if held else None,
    )


def _token(call: Call) -> str:
    return str(call.query.get("pageToken", ""))


def _page(call: Call, items: list[T], size: int, token: str, mark: str, most: int) -> tuple[list[T], str]:
    if size < 0:
        raise InvalidArgument("pageSize must not be negative.", fields=[("pageSize", "must not be negative")])
    size = min(size or 300, most)
    bound = (call.principal, call.method.id, mark)
    after = parse_page_token(token, *bound) if token else "0"
    if not (after.isdecimal() and len(after) < 9):
        raise InvalidArgument("pageToken was not given out for this query.", fields=[("pageToken", "unknown")])
    start = int(after)
    more = start + size < len(items)
    return items[start : start + size], page_token(str(start + size), *bound) if more else ""
