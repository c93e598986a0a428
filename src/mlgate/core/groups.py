"""Groups: what a member may be, and the queries by which groups are searched (Cloud Identity v1).

Whoever is in a group is MEMBER, and may be MANAGER or OWNER as well. Those two govern the group, so they have no end
and no group can be one: who governs is always said by name. A query is a chain of terms, the part of CEL that Google's
reference shows:

    query = term ("&&" term)*
    term  = field "==" text | field ".startsWith(" text ")" | field ".contains(" text ")" | text "in labels"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlgate.core.errors import InvalidArgument

MEMBER, MANAGER, OWNER = "MEMBER", "MANAGER", "OWNER"
ROLES = (MEMBER, MANAGER, OWNER)
#: The role that a MANAGER and an OWNER have on the group itself.
GOVERNING: Mapping[str, str] = {
    MANAGER: "roles/cloudidentity.groupManager",
    OWNER: "roles/cloudidentity.groupOwner",
}

#: A group holds at most so many members, and groups are inside each other at most so deep.
MAX_MEMBERS, MAX_LEVELS = 5000, 20

DISCUSSION_FORUM = "cloudidentity.googleapis.com/groups.discussion_forum"
SECURITY = "cloudidentity.googleapis.com/groups.security"


def checked_roles(names: Iterable[str], *, is_group: bool, ends: bool, field: str) -> tuple[str, ...]:
    """The roles of a membership, MEMBER first, which is always one of them. Raises InvalidArgument."""
    given = list(names)
    for name in given:
        if name not in ROLES:
            raise refuse(field, f'"{name[:50]}" is no role of a member: use {", ".join(ROLES)}.')
    if len(set(given)) < len(given):
        raise refuse(field, "A role is named twice.")
    governing = [name for name in given if name in GOVERNING]
    if governing and is_group:
        raise refuse(field, f"A group can only be MEMBER of another group, not {governing[0]}.")
    if governing and ends:
        raise refuse(field, f"Only a membership that is nothing but MEMBER can expire, not one that is {governing[0]}.")
    return tuple(name for name in ROLES if name == MEMBER or name in given)


def levels(start: str, around: Callable[[str], Iterable[str]]) -> list[set[str]]:
    """What is one step away from `start`, two steps, and so on (itself first), until nothing is left, or until it is
    one step deeper than groups may be: so a cycle ends too."""
    found = [{start}]
    while len(found) <= MAX_LEVELS and (beyond := {other for one in found[-1] for other in around(one)}):
        found.append(beyond)
    return found


def refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field, message)])


# ---------------------------------------------------------------------------------------------------------- queries

LABELS = "labels"
_TERM = re.compile(
    r"""\s*(?:(?P<field>[a-z_]+)\s*(?:==|\.\s*(?P<call>startsWith|contains)\s*\()\s*)?"""
    r"""(?P<text>'[^'\\]*'|"[^"\\]*")\s*(?P<end>\)|in\s+labels\b|)\s*(?P<more>&&|$)"""
)
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Term:
    field: str
    operator: str
    value: str

    def holds(self, item: Mapping[str, Any]) -> bool:
        found = item.get(self.field) or ""
        match self.operator:
            case "==":
                return bool(found == self.value)
            case "startsWith":
                return str(found).startswith(self.value)
            case _:  # contains, in
                return self.value in found


def parse_query(text: str, fields: Collection[str]) -> tuple[Term, ...]:
    """The terms of a query, all of which must hold. `fields` are those that it may name. Raises InvalidArgument."""
    if len(text) > _LONGEST:
        raise refuse("query", f"The query is longer than {_LONGEST} characters.")
    return tuple(_terms(text, fields))


def _terms(text: str, fields: Collection[str]) -> Iterator[Term]:
    at, more = 0, bool(text.strip())
    while more:
        match = _TERM.match(text, at)
        term = match and _term(match)
        if match is None or term is None:
            raise refuse(
                "query",
                f'The query cannot be read where it says "{text[at : at + 50]}": join terms by &&, such as '
                f"display_name.startsWith('a') or '{DISCUSSION_FORUM}' in labels.",
            )
        if term.field not in fields:
            known = ", ".join(sorted(fields))
            raise refuse("query", f'"{term.field[:50]}" is no field of this query; the fields are {known}.')
        yield term
        at, more = match.end(), bool(match["more"])


def _term(match: re.Match[str]) -> Term | None:
    """The term, or None where its parts do not belong together."""
    field, call, end, value = match["field"], match["call"], match["end"], match["text"][1:-1]
    if field is None:
        return Term(LABELS, "in", value) if end.startswith("in") else None
    if call is None:
        return Term(field, "==", value) if not end and field != LABELS else None
    return Term(field, call, value) if end == ")" and field != LABELS else None
