"""What is held together: the sets of grants in policies, as small numbers, with a bit for each permission.

`index.py` tells why: a million bindings have a few dozen of these sets, and a role is changed in them alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlgate.core.iam.policy import Policy

#: A role, and the expression of its condition, if it has one.
Grant = tuple[str, str | None]


def grants_of(policy: Policy | None) -> dict[str, frozenset[Grant]]:
    """What each member is given."""
    found: dict[str, frozenset[Grant]] = {}
    for binding in policy.bindings if policy else ():
        grant = frozenset(((binding.role, binding.condition.expression if binding.condition else None),))
        for member in binding.members:
            found[member] = found[member] | grant if member in found else grant
    return found


class Hands:
    """The sets of grants that are held together somewhere, numbered. `masks[hand]` has the bit of each permission that
    it gives, `possible[hand]` also of those that it gives under a condition."""

    def __init__(self) -> None:
        self.bits: dict[str, int] = {}
        self.masks: list[int] = []
        self.possible: list[int] = []
        self._grants: list[frozenset[Grant]] = []
        self._holders: list[int] = []  # how many members hold the hand; a number without holders is given anew
        self._numbers: dict[frozenset[Grant], int] = {}
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
            self._weigh(hand)

    def expressions(self, hand: int, bit: int) -> Iterator[str]:
        """The conditions, any of which must be true for the hand to give the permission."""
        return (e for role, e in self._grants[hand] if e is not None and self._role_masks.get(role, 0) & bit)

    def take(self, grants: frozenset[Grant]) -> int:
        """The number of this set of grants, for one more holder."""
        hand = self._numbers.get(grants)
        if hand is None:
            hand = self._number(grants)
        self._holders[hand] += 1
        return hand

    def drop(self, hand: int) -> None:
        """One holder less."""
        self._holders[hand] -= 1
        if not self._holders[hand]:
            grants = self._grants[hand]
            del self._numbers[grants]
            for role in {role for role, _ in grants}:
                self._with[role].discard(hand)
                if not self._with[role]:
                    del self._with[role]
            self._grants[hand] = frozenset()
            self._weigh(hand)
            self._free.append(hand)

    def _number(self, grants: frozenset[Grant]) -> int:
        if not self._free:
            self._free.append(len(self.masks))
            self.masks.append(0)
            self.possible.append(0)
            self._grants.append(frozenset())
            self._holders.append(0)
        hand = self._numbers[grants] = self._free.pop()
        self._grants[hand] = grants
        self._weigh(hand)
        for role, _ in grants:
            self._with.setdefault(role, set()).add(hand)
        return hand

    def _weigh(self, hand: int) -> None:
        """Work out the masks of the hand."""
        mask = possible = 0
        for role, expression in self._grants[hand]:
            possible |= self._role_masks.get(role, 0)
            if expression is None:
                mask |= self._role_masks.get(role, 0)
        self.masks[hand], self.possible[hand] = mask, possible
