"""The decision once more, written from the requirements alone (R-001 to R-007), to be compared with the two real ones.

It has its own shape on purpose: sets that grow until they stop growing, where `evaluate.py` walks and `index.py`
looks up. A mistake that all three share has to be made three times.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.worlds import SmallWorld


def may(world: SmallWorld, principal: str, permission: str, resource: str) -> bool:
    """R-004: a permission is held when a binding on the resource or an ancestor gives a role that contains it."""
    places = grown({resource}, lambda place: above(world, place))
    names = grown({principal, *everybody(principal)}, lambda member: groups_with(world, member))
    return any(
        permission in world.roles.get(binding.role, ()) and names.intersection(binding.members)
        for place, policy in world.policies.items()
        for binding in policy.bindings
        if place in places and not binding.condition
    )


def above(world: SmallWorld, place: str) -> set[str]:
    """A version hangs from its model, a model from its project (R-005); what a name does not tell is recorded."""
    if place in world.parents:
        return {world.parents[place]}
    segments = place.split("/")
    return {"/".join(segments[:-2])} if len(segments) > 2 else set()


def everybody(principal: str) -> set[str]:
    return {"allUsers"} if principal == "anonymous" else {"allUsers", "allAuthenticatedUsers"}


def groups_with(world: SmallWorld, member: str) -> set[str]:
    return {group for group, members in world.groups.items() if member in members and group.startswith("group:")}


def grown(start: set[str], more: Callable[[str], set[str]]) -> set[str]:
    """The set with all that its elements bring in, and what those bring in, until nothing is new."""
    while new := {other for element in start for other in more(element)} - start:
        start = start | new
    return start
