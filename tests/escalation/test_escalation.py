"""From each predefined role, by any sequence of calls, nothing is reached but what the table says."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mlgate.api.methods import registry
from mlgate.core.iam.roles import ROLES
from tests.escalation import attacker, table
from tests.escalation.attacker import BODIES, SKIPPED, Attack, is_write
from tests.escalation.table import Scenario
from tests.escalation.world import ALPHA, World, give

pytestmark = pytest.mark.xdist_group("escalation")

#: By default the narrowest and the widest place of each role; `make soak` tries all.
ALL_PLACES = bool(os.environ.get("MLGATE_ESCALATION_ALL"))


def scenarios() -> Iterator[tuple[str, Scenario]]:
    """Every role on every kind of place; where both catalogues give a role the same, once."""
    for role in ROLES:
        for n, catalogue in enumerate(role.catalogues if role.google is not None else role.catalogues[:1]):
            ends = (role.on[0], role.on[-1])[: 1 if n else 2]
            for kind in role.on if ALL_PLACES else dict.fromkeys(ends):
                yield catalogue, Scenario(role.name, kind)


@pytest.mark.parametrize(("catalogue", "scenario"), [pytest.param(c, s, id=f"{s.id}-{c}") for c, s in scenarios()])
def test_a_role_reaches_what_the_table_says(worlds: dict[str, World], catalogue: str, scenario: Scenario) -> None:
    world = worlds[catalogue]
    place = scenario.place(world)
    with world.opened() as office:
        give(office, scenario.role, place)
        attack = Attack(world, office)
        won = attack.run()
    expected = table.reach(world, scenario.role, place)
    told = "\n".join(attack.calls[:200])
    assert not won - expected, f"beyond the table: {_shown(won - expected)}\nby these calls:\n{told}"
    assert not expected - won, f"the search did not find {_shown(expected - won)}"


def _shown(held: table.Held) -> str:
    by_place: dict[str, list[str]] = {}
    for permission, place in sorted(held):
        by_place.setdefault(place, []).append(permission)
    return "; ".join(f"{place}: {' '.join(permissions)}" for place, permissions in by_place.items())


def test_every_write_has_a_greedy_body() -> None:
    """A new write row is in the search from its first day."""
    rows = [row for row in registry().rows if is_write(row)]
    missing = {row.id for row in rows if row.handler is not None} - BODIES.keys() - SKIPPED.keys()
    assert not missing, f"add greedy bodies (or a reason to skip) in {attacker.__file__} for {sorted(missing)}"
    assert not {*BODIES, *SKIPPED} - {row.id for row in rows}, "bodies for methods that are no writes"
    assert all(SKIPPED.values())


def test_no_role_of_a_project_gets_around_a_deny_policy_above_it(worlds: dict[str, World]) -> None:
    """The table says so of every role; the search holds the table to it."""
    for catalogue, world in worlds.items():
        above = table.denied(world, ("organization", "F"))
        for role in ROLES:
            if catalogue in role.catalogues:
                assert not table.reach(world, role.name, ALPHA) & above, role.name


def test_every_way_has_a_reason() -> None:
    assert {way for ways in table.LEADS.values() for way in ways if not way.__doc__} == set()
    known = {role.name for role in ROLES}
    assert table.LEADS.keys() <= known
