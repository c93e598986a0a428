"""From each predefined role, by any sequence of calls, nothing is reached but what the table says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from mlgate.api.methods import registry
from mlgate.core.iam.roles import CATALOGUES, ROLES
from tests.escalation import attacker, table
from tests.escalation.attacker import BODIES, SKIPPED, Attack, is_write
from tests.escalation.office import scratch
from tests.escalation.table import Scenario
from tests.escalation.world import World, build, give

pytestmark = pytest.mark.xdist_group("escalation")


@pytest.fixture(scope="module", autouse=True)
def silence() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, World]]:
    with scratch() as directory:
        yield {catalogue: build(directory / catalogue, catalogue) for catalogue in CATALOGUES}


def scenarios() -> Iterator[tuple[str, Scenario]]:
    """Every role on every kind of place; where both catalogues give a role the same, once."""
    for role in ROLES:
        for catalogue in role.catalogues if role.google is not None else role.catalogues[:1]:
            for kind in role.on:
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


def test_every_way_has_a_reason() -> None:
    assert {way for ways in table.LEADS.values() for way in ways if not way.__doc__} == set()
    known = {role.name for role in ROLES}
    assert table.LEADS.keys() <= known
