"""Query parameters, and names as the server keeps them."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

from mlgate.api.method import Method
from mlgate.core.errors import InvalidArgument, Unimplemented
from mlgate.snapshot import Snapshot

#: Parameters that every method takes (api.md rule 15), with their types.
SYSTEM: dict[str, type] = {
    "$.xgafv": str, "access_token": str, "alt": str, "callback": str, "fields": str, "key": str, "oauth_token": str,
    "prettyPrint": bool, "quotaUser": str, "upload_protocol": str, "uploadType": str, "userProject": str,
    "$alt": str, "$prettyPrint": bool, "$userProject": str,
}  # fmt: skip

_INTEGER = re.compile(r"-?\d{1,40}", re.ASCII)
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def decode_query(row: Method, query: list[tuple[str, str]]) -> dict[str, Any]:
    """The parameters by name, each spelt in camelCase or snake_case. Raises InvalidArgument for one that is unknown or
    not of its type, Unimplemented for a representation that this server does not have. One whose type is a list may be
    given several times."""
    found: dict[str, Any] = {}
    for name, value in query:
        known = name if name in row.query or name in SYSTEM else _camel(name)
        kind = row.query.get(known) or SYSTEM.get(known)
        if kind is None:
            message = f'Invalid JSON payload received. Unknown name "{name[:100]}": Cannot bind query parameter.'
            raise InvalidArgument(message, fields=[(name[:100], message)])
        if get_origin(kind) is list:
            found.setdefault(known, []).append(_convert(name, value, get_args(kind)[0]))
        else:
            found[known] = _convert(name, value, kind)
    if found.get("alt", "json") not in ("json", "media") or (found.get("alt") == "media" and "alt" not in row.query):
        raise Unimplemented(f"alt={found['alt'][:50]} is not implemented by this server: use alt=json.")
    if found.get("callback"):
        raise Unimplemented("callback is not implemented by this server.")
    return found


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _convert(name: str, value: str, kind: type) -> Any:
    try:
        if kind is bool:
            return _BOOLS[value.lower()]
        if kind is int and not _INTEGER.fullmatch(value):
            raise ValueError
        return int(value) if kind is int else value
    except (KeyError, ValueError):
        wanted = "true or false" if kind is bool else "a whole number"
        message = f'{name}: "{value[:100]}" is not {wanted}.'
        raise InvalidArgument(message, fields=[(name, message)]) from None


def canonical(name: str, snapshot: Snapshot) -> str:
    """The name with a project number replaced by its id, and `-` for a service account's project resolved."""
    if not name.startswith("projects/"):
        return name
    parts = name.split("/")
    if parts[1].isdigit():
        parts[1] = snapshot.numbers.get(parts[1], parts[1])
    if len(parts) >= 4 and parts[2] == "serviceAccounts":
        if parts[3].isdigit():
            parts[3] = next((a.email for a in snapshot.accounts.values() if a.uid == parts[3]), parts[3])
        account = snapshot.accounts.get(parts[3].lower())
        if account is not None:
            parts[3] = account.email
            if parts[1] == "-":
                parts[1] = account.project
    return "/".join(parts)
