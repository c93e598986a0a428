"""An explanation for somebody who may not see all that it rests on.

Policies, deny policies, groups, custom roles and what a resource is in may each be hidden from whoever asks. What is
hidden is never looked at, so it cannot show in the answer; and whatever it could change is HIDDEN in the answer. So YES
and NO are what `decide` says, and the answer is the same whatever the hidden parts are.

One thing is open even to those who see everything: a condition on the roles that a change of a policy gives or takes is
true of some changes and false of others. Asked about in general, its verdict is CONDITIONAL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Protocol

from mlgate.core.iam.deny import BEING_DELETED, DenyPolicy
from mlgate.core.iam.evaluate import Question, World, ancestry
from mlgate.core.iam.explain import BindingExplanation, Explanation, PlaceExplanation, RuleExplanation, explain
from mlgate.core.iam.policy import Condition, Policy

#: How an expression reads the roles that a change gives or takes.
_READS_CHANGE = re.compile(r"\bapi\s*[.\[]")


class Verdict(Enum):
    YES = "YES"
    NO = "NO"
    CONDITIONAL = "CONDITIONAL"
    HIDDEN = "HIDDEN"

    def __invert__(self) -> Verdict:
        return {Verdict.YES: Verdict.NO, Verdict.NO: Verdict.YES}.get(self, self)


def every(verdicts: Iterable[Verdict]) -> Verdict:
    """YES when all are; NO when one is, whatever the others are."""
    return _strongest(verdicts, (Verdict.NO, Verdict.HIDDEN, Verdict.CONDITIONAL), Verdict.YES)


def some(verdicts: Iterable[Verdict]) -> Verdict:
    """YES when one is, whatever the others are; NO when all are."""
    return _strongest(verdicts, (Verdict.YES, Verdict.HIDDEN, Verdict.CONDITIONAL), Verdict.NO)


def _strongest(verdicts: Iterable[Verdict], order: Sequence[Verdict], without: Verdict) -> Verdict:
    found = set(verdicts)
    return next((verdict for verdict in order if verdict in found), without)


def _known(value: bool) -> Verdict:
    return Verdict.YES if value else Verdict.NO


class Sight(Protocol):
    """What somebody may see. Each must say the same whether or not there is such a thing."""

    def policy(self, resource: str) -> bool: ...

    def denials(self, resource: str) -> bool: ...

    def parent(self, resource: str) -> bool:
        """Whether they may learn what the resource is in (and whether it is being deleted)."""

    def role(self, role: str) -> bool: ...

    def members(self, group: str) -> bool: ...


class _View:
    """A world as somebody sees it: without what is hidden from them."""

    def __init__(self, world: World, sight: Sight) -> None:
        self._world = world
        self._sight = sight

    def policy(self, resource: str) -> Policy | None:
        return self._world.policy(resource) if self._sight.policy(resource) else None

    def denials(self, resource: str) -> Sequence[DenyPolicy]:
        if self._sight.denials(resource):
            return self._world.denials(resource)
        is_dying = self._sight.parent(resource) and BEING_DELETED in self._world.denials(resource)
        return (BEING_DELETED,) if is_dying else ()

    def parent(self, resource: str) -> str | None:
        return self._world.parent(resource) if self._sight.parent(resource) else None

    def permissions(self, role: str) -> Collection[str]:
        return self._world.permissions(role) if self._sight.role(role) else ()

    def members(self, group: str) -> Mapping[str, float | None]:
        return self._world.members(group) if self._sight.members(group) else {}


@dataclass(frozen=True)
class Visible:
    """What `sight` sees of the explanation, and the verdict on each of its parts."""

    world: World
    sight: Sight
    question: Question

    @cached_property
    def view(self) -> World:
        return _View(self.world, self.sight)

    @cached_property
    def explanation(self) -> Explanation:
        return explain(self.view, self.question)

    # ---------------------------------------------------------------------------------------------- the whole answer

    @cached_property
    def overall(self) -> Verdict:
        return every((self.granted, ~self.denied))

    @cached_property
    def granted(self) -> Verdict:
        return some((self._above, *map(self.policy, self.explanation.places)))

    @cached_property
    def denied(self) -> Verdict:
        return some((self._above, *map(self.denials, self.explanation.places)))

    @cached_property
    def hides_policies(self) -> bool:
        """Whether a policy stands, or could stand, where it cannot be seen."""
        return self._hides(self.sight.policy)

    @cached_property
    def hides_denials(self) -> bool:
        return self._hides(self.sight.denials)

    def _hides(self, sees: Callable[[str], bool]) -> bool:
        return self._above is Verdict.HIDDEN or not all(sees(place.resource) for place in self.explanation.places)

    @cached_property
    def _above(self) -> Verdict:
        """HIDDEN when what is above the last place cannot be seen."""
        *_, last = ancestry(self.view, self.question.resource)
        return _known(False) if self.sight.parent(last) else Verdict.HIDDEN

    # ---------------------------------------------------------------------------------------------- allow policies

    def policy(self, place: PlaceExplanation) -> Verdict:
        if not self.sight.policy(place.resource):
            return Verdict.HIDDEN
        return some(map(self.binding, place.bindings))

    def binding(self, binding: BindingExplanation) -> Verdict:
        return every((self.role(binding), self.membership(binding.paths), self.condition_of(binding)))

    def role(self, binding: BindingExplanation) -> Verdict:
        """Whether the role holds the permission."""
        return _known(binding.holds_permission) if self.sight.role(binding.binding.role) else Verdict.HIDDEN

    def condition_of(self, binding: BindingExplanation) -> Verdict:
        """Whether the condition lets the binding grant; one that cannot be told does not."""
        return self._condition(binding.binding.condition, binding.condition is True)

    # ----------------------------------------------------------------------------------------------- deny policies

    def denials(self, place: PlaceExplanation) -> Verdict:
        hidden = _known(False) if self.sight.denials(place.resource) else Verdict.HIDDEN
        return some((hidden, *map(self.rule, place.rules)))

    def rule(self, rule: RuleExplanation) -> Verdict:
        about = _known(rule.denies_permission)
        who = every((self.membership(rule.paths), ~self.membership(rule.exception_paths)))
        return every((about, who, self.condition_of_rule(rule)))

    def condition_of_rule(self, rule: RuleExplanation) -> Verdict:
        """Whether the condition lets the rule deny; one that cannot be told does."""
        return self._condition(rule.rule.condition, rule.condition is not False)

    # -------------------------------------------------------------------------------------------------------- parts

    def membership(self, paths: Mapping[str, tuple[str, ...] | None]) -> Verdict:
        """Whether any of the members is the principal, or contains it."""
        return some(self.member(member, path) for member, path in paths.items())

    def member(self, member: str, path: tuple[str, ...] | None) -> Verdict:
        if path is not None:
            return Verdict.YES
        if member not in self._outside:
            sees_all = all(map(self.sight.members, self._groups_in(member)))
            self._outside[member] = _known(False) if sees_all else Verdict.HIDDEN
        return self._outside[member]

    @cached_property
    def _outside(self) -> dict[str, Verdict]:
        """The verdicts on members in which the principal is not seen, as far as they were asked for."""
        return {}

    def is_open(self, condition: Condition | None) -> bool:
        """Whether the condition is about the change that a call makes, of which the question does not tell."""
        is_change = self.question.permission.endswith(".setIamPolicy") and not self.question.modified_roles
        return is_change and condition is not None and bool(_READS_CHANGE.search(condition.expression))

    def _condition(self, condition: Condition | None, value: bool) -> Verdict:
        return Verdict.CONDITIONAL if self.is_open(condition) else _known(value)

    def _groups_in(self, member: str) -> list[str]:
        """The member, if it is a group, and all groups that can be seen in it."""
        found = [member] if member.startswith("group:") else []
        for group in found:  # grows while it is walked
            for inner, end in self.view.members(group).items():
                is_over = end is not None and end <= self.question.at
                if inner.startswith("group:") and not is_over and inner not in found:
                    found.append(inner)
        return found


class Everything:
    """The sight of somebody from whom nothing is hidden."""

    def policy(self, resource: str) -> bool:
        return True

    denials = parent = role = members = policy
