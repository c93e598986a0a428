"""Who can do this, and what can they do? The questions of an auditor, answered completely.

`who_can` turns a decision round: instead of asking for one caller it opens every member of every binding that matters
into the callers it stands for. The answer is exact. A caller who is not in it is a stranger, and may do what the
entries of the two strangers may: ANYBODY, who is signed in and named nowhere, and ANONYMOUS.

`what_can` goes the other way: what one caller, or whoever is in a group, may do on a resource.

Both give every grant with its path and its end, and say what a condition or a deny rule makes of it. They give them in
the order of their marks, and go on behind a mark without working out what comes before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import NamedTuple

from mlgate.core.iam.conditions import expiry
from mlgate.core.iam.deny import DenyRule
from mlgate.core.iam.evaluate import Denial, Grant, Question, World, ancestry, contains
from mlgate.core.iam.policy import Binding, Condition, merged
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, ANONYMOUS

#: The caller who is signed in and whom nothing names.
ANYBODY = ALL_AUTHENTICATED_USERS
_EVERYBODY = (ALL_AUTHENTICATED_USERS, ALL_USERS)


class Mark(NamedTuple):
    """The place of an entry among those of its resource: where the binding stands, which it is, and for whom."""

    place: str
    role: str
    condition: str
    principal: str


@dataclass(frozen=True, slots=True)
class Access:
    """That a principal may use these permissions on a resource, by one grant, a part of a binding.

    `ends` is when the grant ends by itself, as far as its condition and the memberships on its path tell (seconds since
    1970; None for never). `condition` is whether its condition is true at the time of the review, None when that cannot
    be told. `denied` has the rule that denies all the same, for each permission that is denied.
    """

    principal: str
    permissions: tuple[str, ...]
    resource: str
    grant: Grant
    binding: Binding
    ends: float | None
    condition: bool | None
    denied: dict[str, Denial]

    @property
    def allowed(self) -> tuple[str, ...]:
        """The permissions that this grant really gives."""
        if self.condition is not True:
            return ()
        return tuple(permission for permission in self.permissions if permission not in self.denied)

    @property
    def mark(self) -> Mark:
        return Mark(self.grant.resource, self.grant.role, _digest(self.grant.condition), self.principal)


@dataclass(frozen=True, slots=True)
class Way:
    """How a member of a binding leads to somebody: through which groups, and until when."""

    member: str
    through: tuple[str, ...] = ()
    end: float = inf


@dataclass(frozen=True, slots=True)
class Given:
    """A binding that matters: where it stands, and which of the permissions it gives."""

    place: str
    binding: Binding
    permissions: tuple[str, ...]

    @property
    def mark(self) -> Mark:
        """Before those of all its entries."""
        return Mark(self.place, self.binding.role, _digest(self.binding.condition), "")


@dataclass(frozen=True)
class Wall:
    """A deny rule where it stands. Whom it is about, and who is excepted, is worked out when it first matters."""

    place: str
    policy: str
    number: int
    rule: DenyRule
    ways: Callable[[Iterable[str]], Mapping[str, Way]]
    about: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def principals(self) -> Mapping[str, Way]:
        return self.ways(self.rule.principals)

    @cached_property
    def exceptions(self) -> Mapping[str, Way]:
        return self.ways(self.rule.exception_principals)

    def denies(self, permission: str) -> bool:
        if permission not in self.about:
            self.about[permission] = self.rule.denies(permission)
        return self.about[permission]

    def denial(self, caller: str, permission: str) -> Denial | None:
        if not self.denies(permission) or _reached(self.exceptions, caller):
            return None
        way = _reached(self.principals, caller)
        if way is None:
            return None
        return Denial(self.place, self.policy, self.number, way.member, way.through, self.rule.condition)


class Review:
    """The world at one moment, looked at as an auditor does. What is worked out is kept for the next question.

    Every question is about some permissions, and about all that some roles hold. `inherited=False` leaves out what
    stands above the resource; `after` is the mark behind which to begin. A group into which the auditor may not look
    (`opens`) stands for itself, and is noted in `closed`.
    """

    def __init__(self, world: World, at: float, opens: Callable[[str], bool] = lambda group: True) -> None:
        self.closed: set[str] = set()
        self._world = world
        self._at = at
        self._opens = opens
        self._opened: dict[tuple[str, bool], dict[str, Way]] = {}
        self._walled: dict[str, list[Wall]] = {}
        self._standing: dict[str, list[Wall]] = {}

    def who_can(
        self,
        permissions: Collection[str],
        resource: str,
        *,
        roles: Collection[str] = (),
        inherited: bool = True,
        after: Mark | None = None,
    ) -> Iterator[Access]:
        """Every grant of any of the permissions on the resource, one entry for each principal that it reaches."""
        given = self._given(permissions, resource, roles, inherited)
        named: set[str] | None = None
        for one in _from(given, after):
            ways = self._ways(one.binding.members, told=True)
            callers = {m: way for m, way in ways.items() if _is_caller(m) or m in self.closed}
            for everybody in _EVERYBODY:
                if everybody in ways:
                    if named is None:
                        named = self._named(given, resource)
                    strangers = {ANYBODY, ANONYMOUS} if everybody == ALL_USERS else {ANYBODY}
                    for principal in named | strangers:
                        if contains(everybody, principal):
                            _improve(callers, principal, ways[everybody])
            yield from self._entries(one, resource, callers, after)

    def members_who_can(
        self,
        permissions: Collection[str],
        resource: str,
        *,
        roles: Collection[str] = (),
        inherited: bool = True,
        after: Mark | None = None,
    ) -> Iterator[Access]:
        """The same with the members of the bindings as they stand there. An entry of a group is what its members have
        by being in it; a deny rule may still be about one of them."""
        for one in _from(self._given(permissions, resource, roles, inherited), after):
            members = {m: Way(m) for m in one.binding.members if _is_caller(m) or _stands_for_others(m)}
            yield from self._entries(one, resource, members, after)

    def what_can(
        self,
        principal: str,
        permissions: Collection[str],
        resource: str,
        *,
        roles: Collection[str] = (),
        inherited: bool = True,
        after: Mark | None = None,
    ) -> Iterator[Access]:
        """Every grant of any of the permissions on the resource to this principal. A group may be asked about too: then
        it is what everybody in it has by being in it."""
        for one in _from(self._given(permissions, resource, roles, inherited), after):
            ways = self._ways(one.binding.members, told=True)
            mine: dict[str, Way] = {}
            for member in (principal, *_EVERYBODY):
                if member in ways and contains(member, principal):
                    _improve(mine, principal, ways[member])
            yield from self._entries(one, resource, mine, after)

    def _given(
        self, permissions: Collection[str], resource: str, roles: Collection[str], inherited: bool
    ) -> list[Given]:
        """The bindings on the resource and above that give something of what is asked, in order."""
        found = []
        for place in ancestry(self._world, resource) if inherited else (resource,):
            policy = self._world.policy(place)
            for binding in merged(policy.bindings) if policy else ():
                held = self._world.permissions(binding.role)
                given = sorted(held) if binding.role in roles else [p for p in permissions if p in held]
                if given:
                    found.append(Given(place, binding, tuple(given)))
        return sorted(found, key=lambda one: one.mark)

    def _entries(self, given: Given, resource: str, ways: Mapping[str, Way], after: Mark | None) -> Iterator[Access]:
        start = given.mark
        for principal in sorted(ways):
            if after is None or start._replace(principal=principal) > after:
                yield self._access(principal, given, resource, ways[principal])

    def _access(self, principal: str, given: Given, resource: str, way: Way) -> Access:
        binding = given.binding
        grant = Grant(given.place, binding.role, way.member, way.through, binding.condition)
        limit = expiry(binding.condition.expression) if binding.condition else None
        end = min(way.end, inf if limit is None else limit)
        caller = ANONYMOUS if principal == ALL_USERS else principal
        denied = {p: found for p in given.permissions if (found := self._denial(caller, p, resource))}
        holds = Question(caller, given.permissions[0], resource, self._at).meets(binding.condition)
        return Access(
            principal, given.permissions, resource, grant, binding, None if end == inf else end, holds, denied
        )

    def _denial(self, caller: str, permission: str, resource: str) -> Denial | None:
        return next(filter(None, (wall.denial(caller, permission) for wall in self._walls(resource))), None)

    def _walls(self, resource: str) -> list[Wall]:
        """The deny rules over a resource whose conditions let them deny."""
        if resource not in self._walled:
            call = Question("", "", resource, self._at)
            self._walled[resource] = [
                wall
                for place in ancestry(self._world, resource)
                for wall in self._walls_at(place)
                if call.meets(wall.rule.condition) is not False
            ]
        return self._walled[resource]

    def _walls_at(self, place: str) -> list[Wall]:
        if place not in self._standing:
            self._standing[place] = [
                Wall(place, policy.name, number, rule, self._ways)
                for policy in self._world.denials(place)
                for number, rule in enumerate(policy.rules)
            ]
        return self._standing[place]

    def _named(self, given: Iterable[Given], resource: str) -> set[str]:
        """Whom the bindings or the deny rules speak of: for them something else may hold than for a stranger."""
        asked = {permission for one in given for permission in one.permissions}
        walls = [wall for wall in self._walls(resource) if any(map(wall.denies, asked))]
        sides = [side for wall in walls for side in (wall.rule.principals, wall.rule.exception_principals)]
        members = [self._ways(side, told=True) for side in (*(one.binding.members for one in given), *sides)]
        return {principal for ways in members for principal in ways if _is_caller(principal)}

    def _ways(self, members: Iterable[str], told: bool = False) -> dict[str, Way]:
        """All that the members stand for, groups included, each by the way that lasts longest; of what is `told`, what
        the auditor may see."""
        found: dict[str, Way] = {}
        for member in members:
            for inside, way in self._open(member, told).items():
                _improve(found, inside, way)
        return found

    def _open(self, member: str, told: bool) -> dict[str, Way]:
        """The member and all that is in it."""
        if (member, told) in self._opened:
            return self._opened[member, told]
        found = {member: Way(member)}
        todo = [member]
        for here in todo:  # Grows while it is walked; a cycle ends, as going round it lasts no longer.
            if not here.startswith("group:"):
                continue
            if told and not self._opens(here):
                self.closed.add(here)
                continue
            way = found[here]
            for inner, end in self._world.members(here).items():
                if end is None or self._at < end:
                    further = Way(member, (*way.through, here), way.end if end is None else min(way.end, end))
                    if _improve(found, inner, further):
                        todo.append(inner)
        self._opened[member, told] = found
        return found


def _reached(ways: Mapping[str, Way], caller: str) -> Way | None:
    """By which of the ways the caller is reached, if by any."""
    return next((ways[m] for m in (caller, *_EVERYBODY) if m in ways and contains(m, caller)), None)


def _from(given: Iterable[Given], after: Mark | None) -> Iterator[Given]:
    """Those that may have entries behind the mark."""
    return (one for one in given if after is None or one.mark[:3] >= after[:3])


def _improve(ways: dict[str, Way], principal: str, way: Way) -> bool:
    """Keep the way if it lasts longer than the one known; whether it does."""
    known = ways.get(principal)
    if known is not None and known.end >= way.end:
        return False
    ways[principal] = way
    return True


def _is_caller(member: str) -> bool:
    return member.startswith(("user:", "serviceAccount:")) or member == ANONYMOUS


def _stands_for_others(member: str) -> bool:
    return member.startswith("group:") or member in (ALL_USERS, ALL_AUTHENTICATED_USERS)


def _digest(condition: Condition | None) -> str:
    """A short text that is the same for the same condition; "" for none."""
    return hashlib.sha256(repr(condition).encode()).hexdigest()[:16] if condition else ""
