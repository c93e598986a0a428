"""What the handlers of groups and of memberships share: operations that are done, views, addresses, pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from mlgate.api.call import Call
from mlgate.api.messages.operations import Operation
from mlgate.api.paging import page_size
from mlgate.core.errors import InvalidArgument, Unimplemented
from mlgate.core.groups import refuse
from mlgate.core.iam.principals import email_of, parse_member
from mlgate.core.lro import EMPTY_TYPE
from mlgate.core.wire import page_token, parse_page_token

T = TypeVar("T")
_TYPE = "type.googleapis.com/google.apps.cloudidentity.groups.v1."
_SERVICE_ACCOUNTS = "gserviceaccount.com"


def done(kind: str = "", response: Mapping[str, Any] | None = None) -> Operation:
    """An operation that ended with its call, with the resource or with nothing to say."""
    return Operation(done=True, response={"@type": _TYPE + kind, **response} if response else {"@type": EMPTY_TYPE})


def view(call: Call) -> tuple[bool, int, int]:
    """Whether all is to be shown, and the default and the greatest size of a page."""
    wanted = call.query.get("view") or "BASIC"
    if wanted not in ("VIEW_UNSPECIFIED", "BASIC", "FULL"):
        raise refuse("view", f'"{wanted[:50]}" is neither BASIC nor FULL.')
    return (True, 50, 500) if wanted == "FULL" else (False, 200, 1000)


def address(key: str | None, namespace: str | None, field: str) -> str:
    """The address of a user, group or service account, in lower case. Raises InvalidArgument, Unimplemented."""
    if namespace:
        raise Unimplemented(f"{field}.namespace: other identity sources are not implemented by this server.")
    try:
        return email_of(parse_member(f"user:{key or ''}"))
    except InvalidArgument:
        shown = (key or "")[:100]
        raise refuse(f"{field}.id", f'{field}.id: "{shown}" is no address, such as "ada@example.com".') from None


def is_service_account(email: str) -> bool:
    return email.endswith((f"@{_SERVICE_ACCOUNTS}", f".{_SERVICE_ACCOUNTS}"))


def possible_members(email: str) -> tuple[str, ...]:
    """Whom an address may mean: users have no record here, so a group and a user may share one."""
    return (f"serviceAccount:{email}",) if is_service_account(email) else (f"group:{email}", f"user:{email}")


def cut(call: Call, items: Sequence[T], name: Callable[[T], str]) -> tuple[list[T], str]:
    """A page of what was found in one piece, in order of name, and the token of the next."""
    mark = (call.principal, call.method.id, call.resource, str(call.query.get("query", "")))
    token, size = call.query.get("pageToken", ""), page_size(call, 200, 1000)
    after = parse_page_token(token, *mark) if token else ""
    rest = sorted((item for item in items if name(item) > after), key=name)
    return rest[:size], page_token(name(rest[size - 1]), *mark) if len(rest) > size else ""
