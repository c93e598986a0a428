"""The rule: may this principal do this to that resource? Slow and clear; `index.py` gives the same answer fast.

    allowed  <=>  some binding, on the resource or one of its ancestors,
                  names a role that holds the permission,
                  has a member that is the principal or contains it,
                  and carries no condition, or one that is true.

Nothing else allows, and nothing is held by default (requirements R-001, R-004). Every unknown reads as no: an unknown
role holds no permission, an unknown kind of member contains nobody, a group without a record has no members, a
condition that cannot be decided is not true. Rights only add up, so the order of bindings and their repetition do not
matter. The answer carries the grant that decided, for the audit log and for explanations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from mlgate.core.iam.policy import Policy
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, ANONYMOUS


class World(Protocol):
    """All that a decision may read. Each answers None (or nothing) for what it does not know."""

    def policy(self, resource: str) -> Policy | None: ...

    def parent(self, resource: str) -> str | None: ...

    def permissions(self, role: str) -> Collection[str]: ...

    def members(self, group: str) -> Collection[str]: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """One reason for a yes: the binding, where it stands, and the groups between its member and the principal."""

    resource: str
    role: str
    member: str
    through: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the call is allowed, and by which grant."""

    allowed: bool
    because: Grant | None = None


def decide(world: World, principal: str, permission: str, resource: str) -> Decision:
    """Answer by the rule above; total, and without side effects."""
    for grant in grants(world, principal, permission, resource):
        return Decision(True, grant)
    return Decision(False)


def grants(world: World, principal: str, permission: str, resource: str) -> Iterator[Grant]:
    """Every grant that allows, from the resource upwards."""
    for place in ancestry(world, resource):
        policy = world.policy(place)
        for binding in policy.bindings if policy else ():
            if permission not in world.permissions(binding.role) or binding.condition is not None:
                continue  # Conditions are evaluated by a later issue; until then one that is set grants nothing.
            for member in binding.members:
                path = path_to(world, member, principal)
                if path is not None:
                    yield Grant(place, binding.role, member, path)


def ancestry(world: World, resource: str) -> Iterator[str]:
    """The resource, then its parents up to the root. A cycle, which no write can make, ends the walk."""
    seen: set[str] = set()
    place: str | None = resource
    while place is not None and place not in seen:
        seen.add(place)
        yield place
        place = world.parent(place)


def path_to(world: World, member: str, principal: str, seen: frozenset[str] = frozenset()) -> tuple[str, ...] | None:
    """The groups through which `member` contains `principal` (empty when it is the principal itself), or None."""
    if member in (principal, ALL_USERS):
        return ()
    if member == ALL_AUTHENTICATED_USERS:
        return None if principal == ANONYMOUS else ()
    if not member.startswith("group:") or member in seen:
        return None
    for inner in world.members(member):
        path = path_to(world, inner, principal, seen | {member})
        if path is not None:
            return (member, *path)
    return None
