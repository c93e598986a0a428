"""Who has which role, and what people type: the pure part of the Permissions tab."""

from __future__ import annotations

import pytest

from mlgate.console.members import ending, grants, typed
from mlgate.core.errors import InvalidArgument

A, B, ABOVE = "projects/p/models/a", "projects/p/models/b", "projects/p"
BOB, TEAM = "user:bob@example.com", "group:team@example.com"


def _policy(*bindings: tuple[str, list[str]]) -> dict:  # type: ignore[type-arg]
    return {"bindings": [{"role": role, "members": members} for role, members in bindings]}


def test_grants_of_several_resources_are_told_as_one() -> None:
    policies = {A: _policy(("r/user", [BOB, TEAM])), B: _policy(("r/user", [BOB])), ABOVE: _policy(("r/user", [BOB]))}
    bob = next(grant for grant in grants(policies, [A, B]) if grant.member == BOB)
    team = next(grant for grant in grants(policies, [A, B]) if grant.member == TEAM)
    assert (bob.selected, bob.above) == ([A, B], [ABOVE])
    assert (team.selected, team.above) == ([A], [])


def test_a_grant_with_a_condition_is_another_grant() -> None:
    policy = _policy(("r/user", [BOB]))
    until = {"expression": 'request.time < timestamp("2100-01-01T00:00:00Z")', "title": "until"}
    policy["bindings"].append({"role": "r/user", "members": [BOB], "condition": until})
    first, second = grants({A: policy}, [A])
    assert {first.ends, second.ends} == {None, 4102444800.0}


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("bob@example.com", [BOB]),
        ("Bob@Example.com, group:team@example.com", [BOB, TEAM]),
        ("bob@example.com; bob@example.com\n group:team@example.com ", [BOB, TEAM]),
        ("x@p.iam.gserviceaccount.com", ["serviceAccount:x@p.iam.gserviceaccount.com"]),
        ("allAuthenticatedUsers", ["allAuthenticatedUsers"]),
    ],
)
def test_members_are_read_as_people_type_them(text: str, members: list[str]) -> None:
    assert typed(text) == members


@pytest.mark.parametrize("text", ["", " , ", "bob", "robot:x@example.com", "bob@example.com, nobody"])
def test_what_is_no_member_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        typed(text)


def test_an_end_is_the_end_of_the_day() -> None:
    assert ending("") is None
    condition = ending("2099-12-31")
    assert condition is not None
    assert condition["expression"] == 'request.time < timestamp("2100-01-01T00:00:00Z")'
    for day in ("tomorrow", "2001-01-01", "31.12.2099"):
        with pytest.raises(InvalidArgument):
            ending(day)
