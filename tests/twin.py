"""The decision once more, written from the requirements alone (R-001 to R-007), to be compared with the two real ones.

It has its own shape on purpose: sets that grow until they stop growing, where `evaluate.py` walks and `index.py`
looks up; conditions by hand-written tables, where those use a library. A mistake that all three share has to be made
three times.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from tests.worlds import CONDITIONS, Ask, SmallWorld


def may(world: SmallWorld, ask: Ask) -> bool:
    """R-004: a permission is held when a binding on the resource or an ancestor gives a role that contains it; and no
    deny rule there takes it away."""
    places = grown({ask.resource}, lambda place: above(world, place))
    names = grown({ask.principal, *everybody(ask.principal)}, lambda member: groups_with(world, member, ask.at))
    granted = any(
        ask.permission in world.roles.get(binding.role, ())
        and names.intersection(binding.members)
        and (not binding.condition or said(binding.condition.expression, ask) is True)
        for place, policy in world.policies.items()
        for binding in policy.bindings
        if place in places
    )
    denied = any(
        any(is_like(ask.permission, pattern) for pattern in rule.permissions)
        and not any(is_like(ask.permission, pattern) for pattern in rule.exception_permissions)
        and names.intersection(rule.principals)
        and not names.intersection(rule.exception_principals)
        and (not rule.condition or said(rule.condition.expression, ask) is not False)
        for place, policies in world.deny.items()
        for policy in policies
        for rule in policy.rules
        if place in places
    )
    return granted and not denied


def said(expression: str, ask: Ask) -> bool | None:
    return CONDITIONS[expression](ask.resource, ask.at, ask.modified)


def is_like(permission: str, pattern: str) -> bool:
    return permission.count(".") == pattern.count(".") and fnmatchcase(permission, pattern)


def above(world: SmallWorld, place: str) -> set[str]:
    """A version hangs from its model, a model from its project (R-005); what a name does not tell is recorded."""
    if place in world.parents:
        return {world.parents[place]}
    segments = place.split("/")
    return {"/".join(segments[:-2])} if len(segments) > 2 else set()


def everybody(principal: str) -> set[str]:
    return {"allUsers"} if principal == "anonymous" else {"allUsers", "allAuthenticatedUsers"}


def groups_with(world: SmallWorld, member: str, at: float) -> set[str]:
    return {
        group
        for group, members in world.groups.items()
        if member in members and group.startswith("group:") and (members[member] is None or members[member] > at)
    }


def grown(start: set[str], more: Callable[[str], set[str]]) -> set[str]:
    """The set with all that its elements bring in, and what those bring in, until nothing is new."""
    while new := {other for element in start for other in more(element)} - start:
        start = start | new
    return start
