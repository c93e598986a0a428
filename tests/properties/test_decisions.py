"""What must hold for every decision, in random worlds: the rule, the index and the twin agree; rights only add up.

`MLGATE_FUZZ_WORLDS` sets the number of worlds (`make fuzz` raises it). The worlds are the same on every machine.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from mlgate.core.iam import index as index_module
from mlgate.core.iam.deny import DenyPolicy, DenyRule
from mlgate.core.iam.evaluate import Grant, ancestry, decide
from mlgate.core.iam.explain import explain
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.policy import Binding, Policy
from tests import twin, worlds
from tests.worlds import Ask, Change, SmallWorld, Step

WORLDS = int(os.environ.get("MLGATE_FUZZ_WORLDS", "10000"))
BATCHES = 10
SOME = range(300)
EVERY_QUESTION = [
    Ask(who, permission, place, worlds.START + worlds.LONGEST)
    for who in dict.fromkeys(worlds.CALLERS)
    for permission in worlds.PERMISSIONS[:3]
    for place in worlds.PLACES[::3]
]


# The three agree


@pytest.mark.parametrize("batch", range(BATCHES))
def test_rule_index_and_twin_agree_while_worlds_change(batch: int) -> None:
    for seed in range(batch, WORLDS, BATCHES):
        steps = worlds.history(seed)
        if disagreement(steps):
            least = worlds.shrunk(steps, lambda less: bool(disagreement(less)))
            pytest.fail(f"world {seed}: {disagreement(least)} after\n{worlds.as_yaml(least)}")


def test_agreement_holds_while_the_index_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "REMEMBERED_DECISIONS", 3)
    monkeypatch.setattr(index_module, "REMEMBERED_CIRCLES", 2)
    for seed in SOME:
        assert not disagreement(worlds.history(seed))


def test_the_random_worlds_say_both_yes_and_no() -> None:
    answers = []
    for world, index in map(made, SOME):
        answers += [allows(world, index, ask) for ask in EVERY_QUESTION[::5]]
    assert 0.1 < sum(answers) / len(answers) < 0.9


def test_a_disagreement_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AccessIndex, "_forget_circles", lambda *_: None)
    steps = next(steps for steps in map(worlds.history, range(WORLDS)) if disagreement(steps))
    least = worlds.shrunk(steps, lambda less: bool(disagreement(less)))
    assert len(least) <= 4, worlds.as_yaml(least)
    assert "- ask:\n    principal: " in worlds.as_yaml(least)


def disagreement(steps: Sequence[Step]) -> str:
    """The first question on which the answers differ, by an index that followed every change or one built anew."""
    world = SmallWorld()
    index = AccessIndex(world.roles)
    for step in steps:
        if isinstance(step, Change):
            step.apply(world, index)
            continue
        answers = {
            "evaluate": decide(world, step.question).allowed,
            "index": step.of(index),
            "twin": twin.may(world, step),
            "explanation": explain(world, step.question).allowed,
        }
        if step is steps[-1]:
            answers["new index"] = step.of(world.index())
        if len(set(answers.values())) > 1:
            return f"{step}: {answers}"
    return ""


# Properties of the answer


def test_nothing_is_held_by_default() -> None:
    for ask in EVERY_QUESTION:
        assert not allows(SmallWorld(), SmallWorld().index(), ask)


def test_unknown_permissions_are_never_held() -> None:
    for seed in SOME:
        world, index = made(seed)
        for ask in EVERY_QUESTION[::7]:
            assert not allows(world, index, replace(ask, permission=worlds.NO_SUCH_PERMISSION))


def test_order_and_duplicates_do_not_matter() -> None:
    for seed in SOME:
        rng = random.Random(seed)
        world, index = made(seed)
        mixed = replace(world, policies={place: mix(rng, policy) for place, policy in world.policies.items()})
        for ask in rng.sample(EVERY_QUESTION, 20):
            assert allows(world, index, ask) == allows(mixed, mixed.index(), ask)


def mix(rng: random.Random, policy: Policy) -> Policy:
    """The same policy, one member to a binding, some of them twice, in another order."""
    single = [replace(binding, members=(member,)) for binding in policy.bindings for member in binding.members]
    more = single + rng.choices(single, k=len(single)) if single else []
    return Policy(tuple(rng.sample(more, len(more))))


def test_a_deny_rule_beats_every_binding() -> None:
    for seed in SOME:
        world, index = made(seed)
        rule = DenyRule(("allUsers",), ("*.*.*",))
        for ask in random.Random(seed).sample(EVERY_QUESTION, 20):
            Change("denials", list(ancestry(world, ask.resource))[-1], (DenyPolicy("no", (rule,)),)).apply(world, index)
            assert not allows(world, index, ask)


def test_adding_a_deny_rule_never_gives_access() -> None:
    for seed in SOME:
        rng = random.Random(seed)
        world, index = made(seed)
        before = [ask for ask in rng.sample(EVERY_QUESTION, 40) if not allows(world, index, ask)]
        place = rng.choice(worlds.PLACES)
        Change("denials", place, (*world.denials(place), worlds.deny(rng))).apply(world, index)
        for ask in before:
            assert not allows(world, index, ask)


def test_adding_an_unconditional_binding_never_removes_access() -> None:
    for seed in SOME:
        rng = random.Random(seed)
        world, index = made(seed)
        before = [ask for ask in rng.sample(EVERY_QUESTION, 40) if allows(world, index, ask)]
        place, added = rng.choice(worlds.PLACES), replace(worlds.binding(rng), condition=None)
        wider = Policy((*world.policies.get(place, Policy()).bindings, added))
        Change("policy", place, wider).apply(world, index)
        for ask in before:
            assert allows(world, index, ask)


def test_removing_every_matching_binding_always_removes_access() -> None:
    for seed in SOME:
        world, index = made(seed)
        for ask in random.Random(seed).sample(EVERY_QUESTION, 20):
            kept = {place: world.policies[place] for place in ancestry(world, ask.resource) if place in world.policies}
            for place, policy in kept.items():
                others = tuple(b for b in policy.bindings if ask.permission not in world.permissions(b.role))
                Change("policy", place, Policy(others)).apply(world, index)
            assert not allows(world, index, ask)
            for place, policy in kept.items():
                Change("policy", place, policy).apply(world, index)


def test_a_yes_names_a_real_grant_and_a_no_names_none() -> None:
    for seed in SOME:
        world, _ = made(seed)
        for ask in random.Random(seed).sample(EVERY_QUESTION, 20):
            decision = decide(world, ask.question)
            if decision.allowed:
                assert isinstance(decision.because, Grant)
                assert is_real(world, decision.because, ask)
            else:
                assert not isinstance(decision.because, Grant)


def is_real(world: SmallWorld, grant: Grant, ask: Ask) -> bool:
    """Each link of the explanation, looked up: place, binding, role, and every group down to the caller."""
    bindings: Iterable[Binding] = world.policies[grant.resource].bindings
    bound = any((b.role, b.condition) == (grant.role, grant.condition) and grant.member in b.members for b in bindings)
    met = not grant.condition or twin.said(grant.condition.expression, ask)
    chain = [grant.member, *grant.through[1:]]
    nested = all(inner in world.groups[outer] for outer, inner in pairwise(chain))
    last = world.groups[chain[-1]] if grant.through else (grant.member,)
    return (
        grant.resource in ancestry(world, ask.resource)
        and bound
        and met is True
        and ask.permission in world.roles[grant.role]
        and (not grant.through or grant.through[0] == grant.member)
        and nested
        and bool({ask.principal, *twin.everybody(ask.principal)}.intersection(last))
    )


def made(seed: int) -> tuple[SmallWorld, AccessIndex]:
    return worlds.made_by(worlds.history(seed))


def allows(world: SmallWorld, index: AccessIndex, ask: Ask) -> bool:
    """The answer of the index, after making sure that it is the rule's."""
    allowed = ask.of(index)
    assert allowed == decide(world, ask.question).allowed
    return allowed


# The index keeps no more than it needs


def test_an_index_from_which_everything_was_taken_is_empty() -> None:
    for seed in SOME:
        world, index = made(seed)
        for resource in world.policies:
            index.set_policy(resource, None)
        for group in world.groups:
            index.set_group(group, None)
        for resource in world.parents:
            index.set_parent(resource, None)
        for resource in world.deny:
            index.set_denials(resource, None)
        hands = index._hands
        places = index._policies, index._walls, index._parents, index._naming
        kept = *places, index._inside, index._around, hands._numbers, hands._with
        assert not any(kept)
        assert not any(hands.masks + hands.possible)
        assert not any(hands._holders)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "REMEMBERED_DECISIONS", 10)
    monkeypatch.setattr(index_module, "REMEMBERED_CIRCLES", 5)
    index = AccessIndex(worlds.PREDEFINED)
    for i in range(100):
        index.is_allowed(f"user:u{i}@x.org", worlds.PERMISSIONS[0], "projects/p", worlds.START)
        assert len(index._decisions) <= 10
        assert len(index._circles) <= 5


def test_a_hierarchy_that_is_a_cycle_ends_in_no() -> None:
    index = AccessIndex(worlds.PREDEFINED)
    index.set_parent("folders/2", "folders/3")
    index.set_parent("folders/3", "folders/2")
    assert not index.is_allowed("user:ann@x.org", worlds.PERMISSIONS[0], "folders/2", worlds.START)


def test_role_sets_that_nobody_holds_any_more_make_room_for_others() -> None:
    index = AccessIndex({})
    for i in range(100):
        index.set_policy(
            "projects/p", Policy((Binding(f"roles/r{i}", worlds.PEOPLE), Binding("roles/x", ("allUsers",))))
        )
    assert len(index._hands.masks) <= 4
