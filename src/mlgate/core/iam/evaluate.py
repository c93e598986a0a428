"""The rule: may this principal do this to that resource? Slow and clear; `index.py` gives the same answer fast.

    allowed  <=>  no deny rule, on the resource or one of its ancestors,
                  is about the permission and the principal, its exceptions aside,
                  with no condition, or one that is not false;
             and  some binding, on the resource or one of its ancestors,
                  names a role that holds the permission,
                  has a member that is the principal or contains it,
                  with no condition, or one that is true.

Nothing else allows, and nothing is held by default (requirements R-001, R-004). Every unknown reads as no: an unknown
role holds no permission, an unknown kind of member contains nobody, a group without a record has no members, a
membership that has ended is none, and a condition that cannot be told is not true for a binding and not false for a
deny rule. Bindings only add up, so their order and repetition do not matter; neither do those of deny rules.

The answer carries the grant or the denial that decided, for the audit log and for whoever asks why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlgate.core.iam.conditions import holds
from mlgate.core.iam.deny import DenyPolicy, DenyRule
from mlgate.core.iam.policy import Condition, Policy
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, ANONYMOUS


class World(Protocol):
    """All that a decision may read. Each answers None (or nothing) for what it does not know."""

    def policy(self, resource: str) -> Policy | None: ...

    def denials(self, resource: str) -> Sequence[DenyPolicy]: ...

    def parent(self, resource: str) -> str | None: ...

    def permissions(self, role: str) -> Collection[str]: ...

    def members(self, group: str) -> Mapping[str, float | None]:
        """Who is in the group, and when each membership ends (seconds since 1970; None for never)."""


@dataclass(frozen=True, slots=True)
class Question:
    """May `principal` use `permission` on `resource` at the time `at` (seconds since 1970)?

    `modified_roles` are the roles that the call gives or takes, where it changes a policy.
    """

    principal: str
    permission: str
    resource: str
    at: float
    modified_roles: tuple[str, ...] = ()

    def meets(self, condition: Condition | None) -> bool | None:
        """Whether the condition is true of this call, as nothing set is; None when it cannot be told."""
        return condition is None or holds(condition.expression, self.resource, self.at, self.modified_roles)


@dataclass(frozen=True, slots=True)
class Grant:
    """One reason for a yes: the binding, where it stands, and the groups between its member and the principal."""

    resource: str
    role: str
    member: str
    through: tuple[str, ...] = ()
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Denial:
    """One reason for a no that no binding outweighs: the rule of a deny policy, and whom of its principals it met."""

    resource: str
    policy: str
    rule: int
    member: str
    through: tuple[str, ...] = ()
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the call is allowed, and by which grant; if it is not, by which denial, or None where nothing allows."""

    allowed: bool
    because: Grant | Denial | None = None


def decide(world: World, question: Question) -> Decision:
    """Answer by the rule above; total, and without side effects."""
    for denial in denials(world, question):
        return Decision(False, denial)
    for grant in grants(world, question):
        return Decision(True, grant)
    return Decision(False)


def denials(world: World, question: Question) -> Iterator[Denial]:
    """Every rule that denies, from the resource upwards."""
    for place in ancestry(world, question.resource):
        for policy in world.denials(place):
            for number, rule in enumerate(policy.rules):
                met = denied_member(world, rule, question)
                if met and question.meets(rule.condition) is not False:
                    yield Denial(place, policy.name, number, *met, rule.condition)


def denied_member(world: World, rule: DenyRule, question: Question) -> tuple[str, tuple[str, ...]] | None:
    """Through which of its principals the rule is about the call, its condition aside; None when it is not."""
    if not rule.denies(question.permission) or first_path(world, rule.exception_principals, question):
        return None
    return first_path(world, rule.principals, question)


def first_path(world: World, members: Sequence[str], question: Question) -> tuple[str, tuple[str, ...]] | None:
    """The first of the members that contains the caller, and the groups between them."""
    for member in members:
        path = path_to(world, member, question.principal, question.at)
        if path is not None:
            return member, path
    return None


def grants(world: World, question: Question) -> Iterator[Grant]:
    """Every grant that allows, from the resource upwards."""
    for place in ancestry(world, question.resource):
        policy = world.policy(place)
        for binding in policy.bindings if policy else ():
            if question.permission not in world.permissions(binding.role):
                continue
            for member in binding.members:
                path = path_to(world, member, question.principal, question.at)
                if path is not None and question.meets(binding.condition):
                    yield Grant(place, binding.role, member, path, binding.condition)


def ancestry(world: World, resource: str) -> Iterator[str]:
    """The resource, then its parents up to the root. A cycle, which no write can make, ends the walk."""
    seen: set[str] = set()
    place: str | None = resource
    while place is not None and place not in seen:
        seen.add(place)
        yield place
        place = world.parent(place)


def path_to(world: World, member: str, principal: str, at: float) -> tuple[str, ...] | None:
    """The groups through which `member` contains `principal` at that time, as few as possible (none when it is the
    principal itself, or everybody); None when it does not."""
    paths: dict[str, tuple[str, ...]] = {member: ()}
    todo = [member]
    for here in todo:  # Grows while it is walked: nearest groups first, each once, so that cycles end.
        if contains(here, principal):
            return paths[here]
        for inner, end in world.members(here).items() if here.startswith("group:") else ():
            if inner not in paths and (end is None or at < end):
                paths[inner] = (*paths[here], here)
                todo.append(inner)
    return None


def contains(member: str, principal: str) -> bool:
    """Whether the member is the principal, or everybody. Groups aside."""
    return member in (principal, ALL_USERS) or (member == ALL_AUTHENTICATED_USERS and principal != ANONYMOUS)
