"""The rule of `evaluate.py`, compiled: the same yes or no in a few microseconds, whatever the number of bindings.

Theory of operation
-------------------
`decide` asks every binding whether it concerns this caller. The index turns the question round once, so that a
decision meets only three short lists:

    principal -> its circle              itself, allUsers, allAuthenticatedUsers, and every group around them
    resource  -> {member: hand}          the policy: who is given what
    hand      -> mask                    the permissions that a hand is good for, or may be, one bit each

A decision walks from the resource up through its ancestors. At each place it looks for a member that is both in the
circle and in the policy, going through the shorter of the two, and tests one bit. What it costs depends on the depth
of the name and on the caller's groups, not on the number of bindings.

A *hand* is the set of roles that one member holds in one policy, each with its condition, as a small number: equal sets
share it, so a million bindings without conditions need a few dozen. The number stands between policies and permissions
so that a custom role can change without a policy being touched. It is a plain integer, not an object, because CPython's
cycle collector does not track a dict of strings and integers: a full collection visits the policies, and not the
bindings in them.

Deny rules stand beside this, permission -> resource -> rules, and cost next to nothing for a permission or a caller
that they are not about. A question that only conditions can settle is answered in two steps: the expressions that
matter are gathered once, and each time the clock and the call's attributes are put into them. A question is remembered
as yes, as no, or as such an *open answer*; what expressions say that read nothing but the resource does not change, and
is remembered as yes or no.

Memberships may end. The earliest end is known, and a decision at or after it first takes the ended ones out, as a
change of the group would: the clock is one more writer.

The transposed index, member -> the resources whose policies name it, answers what a caller can reach. Names of one
collection stand together in it, so that a listing costs what the caller was given there, not what there is.

Every change is local, and leaves the decisions after it as fast as those before:

    set_policy   compiles that one policy
    set_denials  compiles the deny policies of that one place
    set_role     works out again the masks of the hands that contain the role
    set_group    forgets the circles of those who joined or left, found by walking down from them
    set_parent   one entry; nothing below it is copied

Decisions are remembered until the next change. Emptying a large dict takes as long as thousands of decisions, so it is
not emptied: the two tokens that stand for yes and no are replaced, and what was remembered under the old ones is a
stranger from then on, to be overwritten or to fade.

INVARIANT: a change replaces the tokens when it is complete. One thread owns the index; reads and writes do not overlap.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from sys import intern
from typing import Generic, NamedTuple, TypeVar

from mlgate.core.iam.conditions import holds, reads_call
from mlgate.core.iam.deny import DenyPolicy, DenyRule
from mlgate.core.iam.hands import Hands, grants_of
from mlgate.core.iam.policy import Policy
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, ANONYMOUS
from mlgate.core.names import parent_of

#: How many decisions and how many circles are remembered at most.
REMEMBERED_DECISIONS = 1 << 17
REMEMBERED_CIRCLES = 1 << 16
#: No hierarchy is deeper unless explicit parents form a cycle, which no write can make; then this ends the walk.
MAX_DEPTH = 100

K = TypeVar("K")
V = TypeVar("V")


class OpenAnswer(NamedTuple):
    """A question that conditions settle. `token` is the no that was current when it was remembered."""

    token: object
    resource: str
    #: An expression of `denials` that is not false denies; else `granted` allows, or one of `grants` that is true.
    denials: tuple[str, ...]
    granted: bool
    grants: tuple[str, ...]

    @property
    def is_about_resource(self) -> bool:
        """Whether it is the same at any time and for any call, so that it need not stay open."""
        return not any(map(reads_call, (*self.denials, *self.grants)))

    def settle(self, at: float, modified_roles: Collection[str]) -> bool:
        for expression in self.denials:
            if holds(expression, self.resource, at, modified_roles) is not False:
                return False
        return self.granted or any(holds(e, self.resource, at, modified_roles) for e in self.grants)


@dataclass(frozen=True, slots=True)
class Wall:
    """A deny rule at one place: for whom, but for whom, and while which expression is not false ("" for always)."""

    rule: DenyRule
    principals: frozenset[str]
    exceptions: frozenset[str]
    expression: str

    def stops(self, circle: dict[str, None]) -> bool:
        """Whether the rule is about a caller with this circle, its condition aside."""
        names = circle.keys()
        return not names.isdisjoint(self.principals) and names.isdisjoint(self.exceptions)


class Guard:
    """The deny rules about one permission: where they stand, and whom they name."""

    def __init__(self, permission: str) -> None:
        self._permission = permission
        self.places: dict[str, tuple[Wall, ...]] = {}
        self._names: set[str] | None = None

    def place(self, resource: str, walls: Iterable[Wall]) -> None:
        """Replace the rules at one place by those of these that are about the permission."""
        self.places.pop(resource, None)
        if about := tuple(wall for wall in walls if wall.rule.denies(self._permission)):
            self.places[resource] = about
        self._names = None

    @property
    def names(self) -> set[str]:
        if self._names is None:
            self._names = set().union(*(wall.principals for walls in self.places.values() for wall in walls))
        return self._names


class AccessIndex:
    """Who may do what, compiled from roles, policies, deny policies, groups and parents. Owned by one thread.

    Times are seconds since 1970, and do not run backwards.
    """

    def __init__(self, roles: Mapping[str, Collection[str]]) -> None:
        self._hands = Hands()
        self._policies: dict[str, dict[str, int]] = {}  # resource -> {member: hand}
        self._walls: dict[str, tuple[Wall, ...]] = {}  # resource -> its deny rules
        self._guards: dict[str, Guard] = {}  # permission -> the deny rules about it, of those asked for so far
        self._naming: dict[str, list[str]] = {}  # member -> the resources whose policies name it, in order
        self._parents: dict[str, str] = {}  # only those that a name does not tell
        self._inside: dict[str, dict[str, float | None]] = {}  # group -> its members, and when each membership ends
        self._around: dict[str, tuple[str, ...]] = {}  # member -> the groups that hold it directly
        self._ends: list[tuple[float, str, str]] = []  # heap of (end, group, member); some are not true any more
        self._next_end = inf
        self._circles: Memory[str, dict[str, None]] = Memory(REMEMBERED_CIRCLES)
        self._decisions: Memory[tuple[str, str, str], object] = Memory(REMEMBERED_DECISIONS)
        self._yes, self._no = object(), object()
        for role, permissions in roles.items():
            self.set_role(role, permissions)

    # Decisions

    def is_allowed(
        self, principal: str, permission: str, resource: str, at: float, modified_roles: Collection[str] = ()
    ) -> bool:
        """The answer of `evaluate.decide`, remembered until the next change."""
        if at >= self._next_end:
            self._end_memberships(at)
        question = principal, permission, resource
        yes, no = self._yes, self._no
        answer = self._decisions.entries.get(question)
        if answer is yes:
            return True
        if answer is no:
            return False
        if type(answer) is not OpenAnswer or answer.token is not no:
            found = self._decide(principal, permission, resource)
            if type(found) is OpenAnswer and found.is_about_resource:
                found = found.settle(at, modified_roles)
            if type(found) is bool:
                self._decisions.keep(question, yes if found else no)
                return found
            self._decisions.keep(question, answer := found)
        return answer.settle(at, modified_roles)

    def _decide(self, principal: str, permission: str, resource: str) -> bool | OpenAnswer:
        bit = self._hands.bits.get(permission)
        if bit is None:
            return False
        circle = self._circles.entries.get(principal) or self._draw_circle(principal)
        walls = self._walls_about(permission, circle) if self._walls else {}
        possible, masks = self._hands.possible, self._hands.masks
        policies, parents = self._policies, self._parents
        granted = False
        denials: list[str] = []
        grants: list[str] = []
        place: str | None = resource
        for _ in range(MAX_DEPTH):
            if place is None:
                break
            members = policies.get(place)
            if members and not granted:
                few, many = (members, circle) if len(members) < len(circle) else (circle, members)
                for member in few:
                    if member in many and possible[hand := members[member]] & bit:
                        if not masks[hand] & bit:
                            grants += self._hands.expressions(hand, bit)
                            continue
                        if not walls:
                            return True
                        granted = True
                        break
            if walls and (standing := walls.get(place)):
                for wall in standing:
                    if wall.stops(circle):
                        if not wall.expression:
                            return False
                        denials.append(wall.expression)
            place = parents.get(place) or parent_of(place)
        if granted and not denials:
            return True
        if not granted and not grants:
            return False
        return OpenAnswer(self._no, resource, tuple(denials), granted, () if granted else tuple(dict.fromkeys(grants)))

    def _walls_about(self, permission: str, circle: dict[str, None]) -> dict[str, tuple[Wall, ...]]:
        """Where deny rules about the permission stand; none if they do not name a caller with this circle."""
        guard = self._guards.get(permission)
        if guard is None:
            guard = self._guards[permission] = Guard(permission)
            for resource, walls in self._walls.items():
                guard.place(resource, walls)
        return {} if circle.keys().isdisjoint(guard.names) else guard.places

    def _draw_circle(self, principal: str) -> dict[str, None]:
        """The principal and all that contains it."""
        start = (principal, ALL_USERS) if principal == ANONYMOUS else (principal, ALL_USERS, ALL_AUTHENTICATED_USERS)
        circle = reachable(start, self._around)
        self._circles.keep(principal, circle)
        return circle

    # Listings

    def named(self, principal: str, at: float) -> Iterator[str]:
        """The resources whose policies name the principal, or what contains it; some of them more than once."""
        if at >= self._next_end:
            self._end_memberships(at)
        for member in self._circles.entries.get(principal) or self._draw_circle(principal):
            yield from self._naming.get(member, ())

    def children(self, principal: str, permission: str, collection: str, at: float) -> list[str] | None:
        """The resources of a collection such as `projects/p/models` on which the principal holds the permission, in
        order; None when a policy above the collection may give it on all of them, so that each has to be asked."""
        if at >= self._next_end:
            self._end_memberships(at)
        parent = collection.rpartition("/")[0]
        found = self._decide(principal, permission, parent)
        if found is True or (type(found) is OpenAnswer and (found.granted or found.grants)):
            return None
        depth = collection.count("/") + 1
        names: set[str] = set()
        for member in self._circles.entries.get(principal) or self._draw_circle(principal):
            given = self._naming.get(member, ())
            inside = given[bisect_left(given, f"{collection}/") : bisect_left(given, f"{collection}0")]  # 0 follows /
            names.update(name for name in inside if name.count("/") == depth)
        return sorted(name for name in names if self.is_allowed(principal, permission, name, at))

    # Changes

    def set_role(self, role: str, permissions: Collection[str] | None) -> None:
        """What a role holds from now on; None forgets the role, and whoever has it holds nothing by it."""
        self._hands.set_role(role, permissions or ())
        self._forget_decisions()

    def set_policy(self, resource: str, policy: Policy | None) -> None:
        """Replace the policy of one resource; None when it, or the resource, is gone."""
        take, drop = self._hands.take, self._hands.drop
        new = {intern(member): take(grants) for member, grants in grants_of(policy).items()}
        old = self._policies.pop(resource, {})
        if new:
            self._policies[resource] = new
        for hand in old.values():  # Dropped after the new ones are taken, so that a hand in both keeps its number.
            drop(hand)
        self._rename(resource, old.keys(), new.keys())
        self._forget_decisions()

    def _rename(self, resource: str, old: Collection[str], new: Collection[str]) -> None:
        """Whom the policy of a resource named, and whom it names now."""
        naming = self._naming
        resource = intern(resource)
        for member in new:
            if member not in old:
                insort(naming.setdefault(member, []), resource)
        for member in old:
            if member not in new:
                given = naming[member]
                del given[bisect_left(given, resource)]
                if not given:
                    del naming[member]

    def set_denials(self, resource: str, policies: Sequence[DenyPolicy] | None) -> None:
        """Replace the deny policies that stand on one resource."""
        self._walls.pop(resource, None)
        walls = tuple(
            Wall(
                rule,
                frozenset(rule.principals),
                frozenset(rule.exception_principals),
                rule.condition.expression if rule.condition else "",
            )
            for policy in policies or ()
            for rule in policy.rules
        )
        if walls:
            self._walls[resource] = walls
        for guard in self._guards.values():
            guard.place(resource, walls)
        self._forget_decisions()

    def set_parent(self, resource: str, parent: str | None) -> None:
        """Name a parent that the resource's name does not tell; None returns to the name."""
        if parent is None:
            self._parents.pop(resource, None)
        else:
            self._parents[resource] = parent
        self._forget_decisions()

    def set_group(self, group: str, members: Mapping[str, float | None] | None) -> None:
        """Replace the members of a group, each with the end of its membership or None; None when the group is gone."""
        if not group.startswith("group:"):
            return  # Only a group contains others, whatever the caller says.
        old = self._inside.pop(group, {})
        new = {intern(member): end for member, end in (members or {}).items()}
        if new:
            self._inside[group] = new
        for member in old.keys() - new.keys():
            self._leave(group, member)
        for member in new.keys() - old.keys():
            self._around[member] = (*self._around.get(member, ()), group)
        for member, end in new.items():
            if end is not None and old.get(member) != end:
                heapq.heappush(self._ends, (end, group, member))
        self._next_end = self._ends[0][0] if self._ends else inf
        self._forget_circles(old.keys() ^ new.keys())
        self._forget_decisions()

    def _leave(self, group: str, member: str) -> None:
        rest = tuple(other for other in self._around.pop(member) if other != group)
        if rest:
            self._around[member] = rest

    def _end_memberships(self, at: float) -> None:
        """Take out every membership that has ended."""
        ended = []
        while self._ends and self._ends[0][0] <= at:
            end, group, member = heapq.heappop(self._ends)
            members = self._inside.get(group, {})
            if members.get(member) == end:  # else the group has changed since, and a later entry tells
                del members[member]
                if not members:
                    del self._inside[group]
                self._leave(group, member)
                ended.append(member)
        self._next_end = self._ends[0][0] if self._ends else inf
        self._forget_circles(ended)
        self._forget_decisions()

    def _forget_circles(self, changed: Collection[str]) -> None:
        affected = reachable(changed, self._inside)
        if ALL_USERS in affected or ALL_AUTHENTICATED_USERS in affected:  # A group that holds everybody: rare.
            self._circles.entries.clear()
        for member in affected:
            self._circles.entries.pop(member, None)

    def _forget_decisions(self) -> None:
        self._yes, self._no = object(), object()


def reachable(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> dict[str, None]:
    """All that `edges` lead to from `start`, which is included. A dict as a set: it takes a third of the room."""
    found = dict.fromkeys(start)
    todo = list(found)
    while todo:
        for other in edges.get(todo.pop(), ()):
            if other not in found:  # What was found is not followed again, so that cycles end.
                found[other] = None
                todo.append(other)
    return found


class Memory(Generic[K, V]):
    """A dict that keeps at most `limit` entries, and never stops to make room.

    When it is full a new dict is begun; the old one, not read any more, loses an entry for each that comes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: dict[K, V] = {}
        self._fading: dict[K, V] = {}

    def keep(self, key: K, value: V) -> None:
        if len(self.entries) >= self.limit:
            self.entries, self._fading = {}, self.entries
        if self._fading:
            self._fading.popitem()
        self.entries[key] = value

    def __len__(self) -> int:
        return len(self.entries) + len(self._fading)
