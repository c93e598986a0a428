"""Why a decision is as it is: every binding and every deny rule that could matter, and which part of each fell short.

An explanation looks at all of them where a decision stops at the first, and says the same in the end: `explain(...)`
allows exactly when `decide(...)` does, for they judge each binding and each rule by the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlgate.core.iam.deny import DenyRule
from mlgate.core.iam.evaluate import Question, World, ancestry, path_to
from mlgate.core.iam.policy import Binding


@dataclass(frozen=True, slots=True)
class BindingExplanation:
    """One binding. `paths` has every member: the groups through which it contains the caller, or None.

    `condition` is whether the condition is true, None when it cannot be told, and true where there is none.
    """

    binding: Binding
    holds_permission: bool
    paths: dict[str, tuple[str, ...] | None]
    condition: bool | None

    @property
    def is_member(self) -> bool:
        return any(path is not None for path in self.paths.values())

    @property
    def grants(self) -> bool:
        return self.holds_permission and self.is_member and self.condition is True


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """One deny rule. `paths` and `exception_paths` are as in a binding."""

    policy: str
    number: int
    rule: DenyRule
    denies_permission: bool
    paths: dict[str, tuple[str, ...] | None]
    exception_paths: dict[str, tuple[str, ...] | None]
    condition: bool | None

    @property
    def is_denied(self) -> bool:
        return any(path is not None for path in self.paths.values())

    @property
    def is_excepted(self) -> bool:
        return any(path is not None for path in self.exception_paths.values())

    @property
    def denies(self) -> bool:
        return self.denies_permission and self.is_denied and not self.is_excepted and self.condition is not False


@dataclass(frozen=True, slots=True)
class PlaceExplanation:
    """What stands on the resource or on one of its ancestors."""

    resource: str
    bindings: tuple[BindingExplanation, ...]
    rules: tuple[RuleExplanation, ...]

    @property
    def grants(self) -> bool:
        return any(binding.grants for binding in self.bindings)

    @property
    def denies(self) -> bool:
        return any(rule.denies for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer, from the resource upwards."""

    question: Question
    places: tuple[PlaceExplanation, ...]

    @property
    def is_denied(self) -> bool:
        return any(place.denies for place in self.places)

    @property
    def is_granted(self) -> bool:
        """Whether a binding grants; a deny rule may still deny."""
        return any(place.grants for place in self.places)

    @property
    def allowed(self) -> bool:
        return self.is_granted and not self.is_denied


def explain(world: World, question: Question) -> Explanation:
    """Everything that stands on the resource and its ancestors, judged for this question; total, like `decide`."""
    return Explanation(question, tuple(_place(world, question, place) for place in ancestry(world, question.resource)))


def _place(world: World, question: Question, place: str) -> PlaceExplanation:
    policy = world.policy(place)
    bindings = tuple(
        BindingExplanation(
            binding,
            question.permission in world.permissions(binding.role),
            _paths(world, binding.members, question),
            question.meets(binding.condition),
        )
        for binding in (policy.bindings if policy else ())
    )
    rules = tuple(
        RuleExplanation(
            standing.name,
            number,
            rule,
            rule.denies(question.permission),
            _paths(world, rule.principals, question),
            _paths(world, rule.exception_principals, question),
            question.meets(rule.condition),
        )
        for standing in world.denials(place)
        for number, rule in enumerate(standing.rules)
    )
    return PlaceExplanation(place, bindings, rules)


def _paths(world: World, members: tuple[str, ...], question: Question) -> dict[str, tuple[str, ...] | None]:
    return {member: path_to(world, member, question.principal, question.at) for member in members}
