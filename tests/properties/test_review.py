"""A review lists exactly what decisions allow, in random worlds: nobody is missing, nobody is there who may not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise

import pytest

from mlgate.core.iam.evaluate import Question, decide, grants
from mlgate.core.iam.principals import ANONYMOUS
from mlgate.core.iam.review import ANYBODY, Access, Review
from tests import worlds
from tests.worlds import PERMISSIONS, PLACES, SmallWorld

WORLDS = int(os.environ.get("MLGATE_FUZZ_WORLDS", "10000")) // 25
BATCHES = 4
#: Everybody whom a world may name and who may call, somebody whom none names, and who is not signed in.
NAMED = (*worlds.PEOPLE, "user:")
STRANGER = "user:stranger@elsewhere.org"
CALLERS = (*NAMED, STRANGER, ANONYMOUS)


def reviewed(seeds: Iterable[int]) -> Iterator[tuple[random.Random, SmallWorld, float, str]]:
    """Random worlds, each with some of its places and a moment."""
    for seed in seeds:
        rng = random.Random(f"review {seed}")
        world, _ = worlds.made_by(worlds.history(seed))
        at = worlds.START + rng.choice((0, 120, 299, 300, 480, 601, 5000))
        for place in rng.sample((*PLACES, *worlds.ODD_PLACES), 4):
            yield rng, world, at, place


def may(world: SmallWorld, caller: str, permission: str, place: str, at: float) -> bool:
    return decide(world, Question(caller, permission, place, at)).allowed


def allowed(entries: Iterable[Access]) -> set[tuple[str, str]]:
    """(principal, permission) of the grants that count."""
    return {(access.principal, permission) for access in entries for permission in access.allowed}


@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_review_of_a_resource_lists_exactly_the_callers_whom_decisions_allow(batch: int) -> None:
    for _, world, at, place in reviewed(range(batch, WORLDS, BATCHES)):
        found = allowed(Review(world, at).who_can(PERMISSIONS, place))
        named = {access.principal for access in Review(world, at).who_can(PERMISSIONS, place)}
        for caller in CALLERS:
            entry = caller if caller in named else ANONYMOUS if caller == ANONYMOUS else ANYBODY
            for permission in PERMISSIONS:
                decided = may(world, caller, permission, place, at)
                assert ((entry, permission) in found) == decided, (caller, permission, place, at)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_review_of_a_caller_lists_exactly_what_decisions_allow_them(batch: int) -> None:
    for _, world, at, place in reviewed(range(batch, WORLDS, BATCHES)):
        review = Review(world, at)
        for caller in CALLERS:
            found = allowed(review.what_can(caller, PERMISSIONS, place))
            assert found == {(caller, p) for p in PERMISSIONS if may(world, caller, p, place, at)}, (caller, place, at)


def test_both_directions_tell_the_same_grants() -> None:
    for _, world, at, place in reviewed(range(WORLDS // 4)):
        review = Review(world, at)
        entries = list(review.who_can(PERMISSIONS, place))
        for principal in {access.principal for access in entries}:
            mine = [access for access in entries if access.principal == principal]
            assert mine == list(review.what_can(principal, PERMISSIONS, place)), (principal, place, at)


def test_a_group_has_what_everybody_who_is_only_in_it_has() -> None:
    """Somebody new in the group may do what the review of the group says."""
    for rng, world, at, place in reviewed(range(WORLDS // 4)):
        group = rng.choice(worlds.GROUPS)
        said = {permission for _, permission in allowed(Review(world, at).what_can(group, PERMISSIONS, place))}
        members = world.groups.get(group, {})
        world.groups[group] = {**members, STRANGER: None}
        assert said == {p for p in PERMISSIONS if may(world, STRANGER, p, place, at)}, (group, place, at)
        world.groups[group] = members


def test_every_grant_tells_a_way_that_is_there_and_when_it_ends() -> None:
    for _, world, at, place in reviewed(range(WORLDS // 4)):
        for access in Review(world, at).who_can(PERMISSIONS, place):
            grant, caller = access.grant, access.principal
            assert grant.through == () or grant.through[0] == grant.member
            chain = [*grant.through, caller]
            for group, inner in pairwise(chain):
                members = world.members(group)
                assert inner in members or set(members) & set(worlds.EVERYBODY)
            if access.condition and not access.denied:
                known = grants(world, Question(caller, access.permissions[0], place, at))
                assert (grant.resource, grant.role) in {(other.resource, other.role) for other in known}
            if access.allowed and access.ends is not None:
                assert at < access.ends
                later = Review(world, access.ends).what_can(caller, access.permissions, place)
                marks = {other.mark: other for other in later if other.allowed}
                assert access.mark not in marks


def walked(list_behind: Callable[..., Iterator[Access]], size: int) -> list[Access]:
    """All entries, page by page."""
    found: list[Access] = []
    while True:
        page = list(islice(list_behind(after=found[-1].mark if found else None), size))
        found += page
        if len(page) < size:
            return found


def test_pages_hold_every_entry_once_in_the_order_of_the_marks() -> None:
    for rng, world, at, place in reviewed(range(WORLDS // 4)):
        review, caller, size = Review(world, at), rng.choice((*CALLERS, *worlds.GROUPS)), rng.randint(1, 4)
        for question in (
            partial(review.who_can, PERMISSIONS, place),
            partial(review.members_who_can, PERMISSIONS, place),
            partial(review.what_can, caller, PERMISSIONS, place),
        ):
            entries = list(question())
            marks = [access.mark for access in entries]
            assert marks == sorted(set(marks))
            assert walked(question, size) == entries


def test_a_role_that_is_asked_about_is_listed_with_all_that_it_holds() -> None:
    for rng, world, at, place in reviewed(range(WORLDS // 4)):
        role = rng.choice(worlds.ROLES)
        review = Review(world, at)
        entries = list(review.members_who_can((), place, roles=(role,)))
        assert {access.grant.role for access in entries} <= {role}
        assert all(set(access.permissions) == set(world.permissions(role)) for access in entries)
        held = [access for access in review.members_who_can(PERMISSIONS, place) if access.grant.role == role]
        assert {access.mark for access in held} <= {access.mark for access in entries}


def test_without_what_is_above_only_the_own_policy_counts() -> None:
    for _, world, at, place in reviewed(range(WORLDS // 4)):
        review = Review(world, at)
        alone = {access.mark for access in review.members_who_can(PERMISSIONS, place, inherited=False)}
        whole = {access.mark for access in review.members_who_can(PERMISSIONS, place)}
        assert alone == {mark for mark in whole if mark.place == place}
