"""What must hold for every explanation, in random worlds: it says what decisions say, to whoever may see how much."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from mlgate.core.iam.evaluate import Question, decide, denials, grants
from mlgate.core.iam.explain import explain
from mlgate.core.iam.visible import Everything, Verdict, Visible
from tests import worlds
from tests.worlds import SmallWorld

SOME = range(int(os.environ.get("MLGATE_FUZZ_WORLDS", "10000")) // 40)
QUESTIONS = 12
MODIFIED = ((), ("roles/ml.modelUser",), ("roles/ml.viewer",), ("roles/ml.modelUser", "roles/ml.viewer"))


def asked() -> Iterator[tuple[int, SmallWorld, Question]]:
    for seed in SOME:
        rng = random.Random(f"explanation {seed}")
        world, _ = worlds.made_by(worlds.history(seed))
        for _ in range(QUESTIONS):
            at = worlds.START + rng.randint(0, worlds.LONGEST)
            yield seed, world, replace(worlds.question(rng).question, at=at)


def verdict_of(world: SmallWorld, question: Question) -> Verdict:
    return Verdict.YES if decide(world, question).allowed else Verdict.NO


KINDS = ("policy", "denials", "parent", "role", "members")


@dataclass(frozen=True)
class Sight:
    """Sees half of the things of some kinds, always the same ones, and all of the other kinds."""

    seed: int
    kinds: tuple[str, ...] = KINDS

    def _sees(self, what: str, name: str) -> bool:
        return what not in self.kinds or random.Random(f"{self.seed} {what} {name}").random() < 0.5

    def policy(self, resource: str) -> bool:
        return self._sees("policy", resource)

    def denials(self, resource: str) -> bool:
        return self._sees("denials", resource)

    def parent(self, resource: str) -> bool:
        return self._sees("parent", resource)

    def role(self, role: str) -> bool:
        return self._sees("role", role)

    def members(self, group: str) -> bool:
        return self._sees("members", group)


# Explanation and decision


def test_explanation_and_decision_never_disagree() -> None:
    for seed, world, question in asked():
        explanation = explain(world, question)
        assert explanation.allowed == decide(world, question).allowed, (seed, question)
        assert explanation.is_granted == any(grants(world, question)), (seed, question)
        assert explanation.is_denied == any(denials(world, question)), (seed, question)


def test_an_explanation_names_exactly_the_grants_and_denials() -> None:
    for seed, world, question in asked():
        explanation = explain(world, question)
        shown = [
            (place.resource, binding.binding.role, member, path)
            for place in explanation.places
            for binding in place.bindings
            if binding.grants
            for member, path in binding.paths.items()
            if path is not None
        ]
        real = [(grant.resource, grant.role, grant.member, grant.through) for grant in grants(world, question)]
        assert set(shown) == set(real), (seed, question)
        rules = [(rule.policy, rule.number) for place in explanation.places for rule in place.rules if rule.denies]
        assert rules == [(denial.policy, denial.rule) for denial in denials(world, question)], (seed, question)


# What somebody may see of it


def test_to_whoever_sees_everything_nothing_is_hidden() -> None:
    for seed, world, question in asked():
        verdict = Visible(world, Everything(), question).overall
        if verdict is not Verdict.CONDITIONAL:
            assert verdict is verdict_of(world, question), (seed, question)
        else:
            assert question.permission.endswith(".setIamPolicy")
            assert not question.modified_roles


def test_a_yes_or_no_about_changes_of_a_policy_holds_for_every_change() -> None:
    for seed, world, question in asked():
        general = replace(question, permission="ml.models.setIamPolicy", modified_roles=())
        verdict = Visible(world, Everything(), general).overall
        if verdict is not Verdict.CONDITIONAL:
            every = {verdict_of(world, replace(general, modified_roles=roles)) for roles in MODIFIED}
            assert every == {verdict}, (seed, general)


def test_what_is_not_hidden_is_what_was_decided() -> None:
    found = set()
    for seed, world, question in asked():
        for kind in KINDS:
            verdict = Visible(world, Sight(seed, (kind,)), question).overall
            found.add((kind, verdict))
            if verdict in (Verdict.YES, Verdict.NO):
                assert verdict is verdict_of(world, question), (seed, kind, question)
    assert set(product(KINDS, (Verdict.YES, Verdict.NO, Verdict.HIDDEN))) <= found


def test_what_can_be_seen_decides_whatever_is_hidden() -> None:
    """A visible denial is a no, if nobody hidden is excepted from it; a visible grant is one whatever denies it."""
    for seed, world, question in asked():
        seen = Visible(world, Sight(seed, ("policy", "denials", "parent", "role")), question)
        is_open = question.permission.endswith(".setIamPolicy")
        if seen.explanation.is_denied and not is_open:
            assert seen.overall is Verdict.NO, (seed, question)
        if seen.explanation.is_granted and not is_open:
            assert seen.granted is Verdict.YES, (seed, question)


def test_what_is_hidden_shows_in_nothing() -> None:
    """The same picture in two worlds that differ only in what is hidden."""
    for seed, world, question in asked():
        sight = Sight(seed)
        other, _ = worlds.made_by(worlds.history(seed + 1_000_000))
        assert picture(world, sight, question) == picture(mixed(world, other, sight), sight, question), (seed, question)


def mixed(world: SmallWorld, other: SmallWorld, sight: Sight) -> SmallWorld:
    """What can be seen of one world, and the rest of another."""

    def pick(seen: dict[str, Any], hidden: dict[str, Any], sees: Any) -> dict[str, Any]:
        return {name: value for name, value in seen.items() if sees(name)} | {
            name: value for name, value in hidden.items() if not sees(name)
        }

    return SmallWorld(
        roles=pick(world.roles, other.roles, sight.role),
        policies=pick(world.policies, other.policies, sight.policy),
        groups=pick(world.groups, other.groups, sight.members),
        parents=pick(world.parents, other.parents, sight.parent),
        deny=pick(world.deny, other.deny, sight.denials),
    )


def picture(world: SmallWorld, sight: Sight, question: Question) -> list[Any]:
    """All that an answer can be made of."""
    seen = Visible(world, sight, question)
    found: list[Any] = [seen.overall, seen.granted, seen.denied, seen.hides_policies, seen.hides_denials]
    for place in seen.explanation.places:
        found += [place, seen.policy(place), seen.denials(place)]
        paths = [binding.paths for binding in place.bindings]
        for binding in place.bindings:
            found += [seen.binding(binding), seen.role(binding), seen.condition_of(binding)]
        for rule in place.rules:
            found += [seen.rule(rule), seen.condition_of_rule(rule)]
            paths += [rule.paths, rule.exception_paths]
        found += [seen.member(member, path) for one in paths for member, path in one.items()]
    return found
