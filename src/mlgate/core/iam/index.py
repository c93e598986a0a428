"""The rule of `evaluate.py`, compiled: the same yes or no in a few microseconds, whatever the number of bindings.

Theory of operation
-------------------
`decide` asks every binding whether it concerns this caller. The index turns the question round once, so that a
decision meets only three short lists:

    principal -> its circle              itself, allUsers, allAuthenticatedUsers, and every group around them
    resource  -> {member: hand}          the policy: who is given what
    hand      -> mask                    the permissions that a hand is good for, one bit each

A decision walks from the resource up through its ancestors. At each place it looks for a member that is both in the
circle and in the policy, going through the shorter of the two, and tests one bit. What it costs depends on the depth
of the name and on the caller's groups, not on the number of bindings.

A *hand* is the set of roles that one member holds in one policy, as a small number: equal sets share it, so a million
bindings need a few dozen. The number stands between policies and permissions so that a custom role can change without
a policy being touched. It is a plain integer, not an object, because CPython's cycle collector does not track a dict of
strings and integers: a full collection visits the policies, and not the bindings in them.

Every change is local, and leaves the decisions after it as fast as those before:

    set_policy   compiles that one policy
    set_role     works out again the masks of the hands that contain the role
    set_group    forgets the circles of those who joined or left, found by walking down from them
    set_parent   one entry; nothing below it is copied

Decisions are remembered until the next change. Emptying a large dict takes as long as thousands of decisions, so it is
not emptied: the two tokens that stand for yes and no are replaced, and what was remembered under the old ones is a
stranger from then on, to be overwritten or to fade.

INVARIANT: a change replaces the tokens when it is complete. One thread owns the index; reads and writes do not overlap.

What comes next, and where it goes
----------------------------------
- Conditions: conditional bindings are compiled beside the dict, resource -> {member: ((condition, hand), ...)}, and
  read only when the unconditional side said no. What a condition decided depends on the clock and is not remembered.
- Deny policies: a second index of the same shape, walked first; most places have none. Exceptions are a circle test.
- Expiring memberships: an edge in `_around` carries its end; a circle keeps the earliest end along its paths, and a
  decision that used it is remembered no longer than that.
- Listing the models of a project on which P may predict: the transposed index, member -> resources with a policy that
  names it; gather over the circle, keep the project's, test one bit each. The bound is the caller's own bindings.
- Access review of one model: the dicts of its few places, and groups opened downwards through `_inside`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from sys import intern
from typing import Generic, TypeVar

from mlgate.core.iam.policy import Policy
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, ANONYMOUS
from mlgate.core.names import parent_of

#: How many decisions and how many circles are remembered at most.
REMEMBERED_DECISIONS = 1 << 17
REMEMBERED_CIRCLES = 1 << 16
#: No hierarchy is deeper unless explicit parents form a cycle, which no write can make; then the answer is no.
MAX_DEPTH = 100

K = TypeVar("K")
V = TypeVar("V")


class AccessIndex:
    """Who may do what, compiled from roles, policies, groups and parents. Owned by one thread."""

    def __init__(self, roles: Mapping[str, Collection[str]]) -> None:
        self._hands = Hands()
        self._policies: dict[str, dict[str, int]] = {}  # resource -> {member: hand}
        self._parents: dict[str, str] = {}  # only those that a name does not tell
        self._inside: dict[str, frozenset[str]] = {}  # group -> its members
        self._around: dict[str, tuple[str, ...]] = {}  # member -> the groups that hold it directly
        self._circles: Memory[str, dict[str, None]] = Memory(REMEMBERED_CIRCLES)
        self._decisions: Memory[tuple[str, str, str], object] = Memory(REMEMBERED_DECISIONS)
        self._yes, self._no = object(), object()
        for role, permissions in roles.items():
            self.set_role(role, permissions)

    # Decisions

    def is_allowed(self, principal: str, permission: str, resource: str) -> bool:
        """The answer of `evaluate.decide`, remembered until the next change."""
        question = principal, permission, resource
        yes, no = self._yes, self._no
        answer = self._decisions.entries.get(question)
        if answer is yes:
            return True
        if answer is no:
            return False
        allowed = self._decide(principal, permission, resource)
        self._decisions.keep(question, yes if allowed else no)
        return allowed

    def _decide(self, principal: str, permission: str, resource: str) -> bool:
        bit = self._hands.bits.get(permission)
        if bit is None:
            return False
        circle = self._circles.entries.get(principal) or self._draw_circle(principal)
        masks, policies, parents = self._hands.masks, self._policies, self._parents
        place: str | None = resource
        for _ in range(MAX_DEPTH):
            if place is None:
                return False
            members = policies.get(place)
            if members:
                few, many = (members, circle) if len(members) < len(circle) else (circle, members)
                for member in few:
                    if member in many and masks[members[member]] & bit:
                        return True
            place = parents.get(place) or parent_of(place)
        return False

    def _draw_circle(self, principal: str) -> dict[str, None]:
        """The principal and all that contains it."""
        start = (principal, ALL_USERS) if principal == ANONYMOUS else (principal, ALL_USERS, ALL_AUTHENTICATED_USERS)
        circle = reachable(start, self._around)
        self._circles.keep(principal, circle)
        return circle

    # Changes

    def set_role(self, role: str, permissions: Collection[str] | None) -> None:
        """What a role holds from now on; None forgets the role, and whoever has it holds nothing by it."""
        self._hands.set_role(role, permissions or ())
        self._forget_decisions()

    def set_policy(self, resource: str, policy: Policy | None) -> None:
        """Replace the policy of one resource; None when it, or the resource, is gone."""
        roles_of: dict[str, frozenset[str]] = {}
        for binding in policy.bindings if policy else ():
            if binding.condition is None:
                role = frozenset((binding.role,))
                for member in binding.members:
                    roles_of[member] = roles_of[member] | role if member in roles_of else role
        take = self._hands.take
        new = {intern(member): take(roles) for member, roles in roles_of.items()}
        old = self._policies.pop(resource, {})
        if new:
            self._policies[resource] = new
        for hand in old.values():  # Dropped after the new ones are taken, so that a hand in both keeps its number.
            self._hands.drop(hand)
        self._forget_decisions()

    def set_parent(self, resource: str, parent: str | None) -> None:
        """Name a parent that the resource's name does not tell; None returns to the name."""
        if parent is None:
            self._parents.pop(resource, None)
        else:
            self._parents[resource] = parent
        self._forget_decisions()

    def set_group(self, group: str, members: Collection[str] | None) -> None:
        """Replace the members of a group; None when it is gone."""
        if not group.startswith("group:"):
            return  # Only a group contains others, whatever the caller says.
        old, new = self._inside.pop(group, frozenset()), frozenset(map(intern, members or ()))
        if new:
            self._inside[group] = new
        for member in old - new:
            rest = tuple(other for other in self._around.pop(member) if other != group)
            if rest:
                self._around[member] = rest
        for member in new - old:
            self._around[member] = (*self._around.get(member, ()), group)
        self._forget_circles(old ^ new)
        self._forget_decisions()

    def _forget_circles(self, changed: Collection[str]) -> None:
        affected = reachable(changed, self._inside)
        if ALL_USERS in affected or ALL_AUTHENTICATED_USERS in affected:  # A group that holds everybody: rare.
            self._circles.entries.clear()
        for member in affected:
            self._circles.entries.pop(member, None)

    def _forget_decisions(self) -> None:
        self._yes, self._no = object(), object()


class Hands:
    """The sets of roles that are held together somewhere, numbered; `masks[hand]` has the bit of each permission."""

    def __init__(self) -> None:
        self.bits: dict[str, int] = {}
        self.masks: list[int] = []
        self._roles: list[frozenset[str]] = []
        self._holders: list[int] = []  # how many members hold the hand; a number without holders is given anew
        self._numbers: dict[frozenset[str], int] = {}
        self._free: list[int] = []
        self._with: dict[str, set[int]] = {}  # role -> the hands that contain it
        self._role_masks: dict[str, int] = {}

    def set_role(self, role: str, permissions: Iterable[str]) -> None:
        mask = 0
        for permission in permissions:
            mask |= self.bits.setdefault(permission, 1 << len(self.bits))
        if mask:
            self._role_masks[role] = mask
        else:
            self._role_masks.pop(role, None)
        for hand in self._with.get(role, ()):
            self.masks[hand] = self._mask(self._roles[hand])

    def take(self, roles: frozenset[str]) -> int:
        """The number of this set of roles, for one more holder."""
        hand = self._numbers.get(roles)
        if hand is None:
            hand = self._number(roles)
        self._holders[hand] += 1
        return hand

    def drop(self, hand: int) -> None:
        """One holder less."""
        self._holders[hand] -= 1
        if not self._holders[hand]:
            roles = self._roles[hand]
            del self._numbers[roles]
            for role in roles:
                self._with[role].discard(hand)
                if not self._with[role]:
                    del self._with[role]
            self._roles[hand], self.masks[hand] = frozenset(), 0
            self._free.append(hand)

    def _number(self, roles: frozenset[str]) -> int:
        if not self._free:
            self._free.append(len(self.masks))
            self.masks.append(0)
            self._roles.append(frozenset())
            self._holders.append(0)
        hand = self._numbers[roles] = self._free.pop()
        self._roles[hand], self.masks[hand] = roles, self._mask(roles)
        for role in roles:
            self._with.setdefault(role, set()).add(hand)
        return hand

    def _mask(self, roles: Iterable[str]) -> int:
        mask = 0
        for role in roles:
            mask |= self._role_masks.get(role, 0)
        return mask


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
