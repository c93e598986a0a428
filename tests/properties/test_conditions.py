"""Conditions: what may be set, and what an expression says of a call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from mlgate.core.errors import InvalidArgument
from mlgate.core.iam.conditions import MAX_OPERATORS, check, expiry, holds, until
from mlgate.core.iam.policy import Condition
from tests import worlds

VERSION = "projects/p/models/fraud/versions/v2"
#: A Monday, 10:30 in UTC and 12:30 in Berlin.
MONDAY = datetime(2026, 6, 15, 10, 30, tzinfo=UTC).timestamp()
GRANTS = 'api.getAttribute("iam.googleapis.com/modifiedGrantsByRole", [])'

TRUE = [
    'request.time < timestamp("2030-01-01T00:00:00Z")',
    'request.time > timestamp("2026-06-15T12:29:00+02:00")',
    'request.time.getHours("Europe/Berlin") == 12 && request.time.getHours() == 10',
    'request.time.getDayOfWeek("America/Los_Angeles") >= 1 && request.time.getDayOfWeek() <= 5',
    "request.time.getFullYear() == 2026 && request.time.getMonth() == 5 && request.time.getDate() == 15",
    'request.time - duration("3600s") < timestamp("2026-06-15T10:00:00Z")',
    'date("2026-06-15") <= request.time',
    'resource.name.startsWith("projects/p/models/fraud/")',
    'resource.name.extract("models/{model}/") == "fraud"',
    'resource.name.extract("models/{rest}") == "fraud/versions/v2"',
    'resource.name.extract("jobs/{job}/") == ""',
    'resource.type == "ml.googleapis.com/Version" && resource.service == "ml.googleapis.com"',
    'resource.type in ["ml.googleapis.com/Model", "ml.googleapis.com/Version"]',
    '1 / 0 == 1 || resource.type.startsWith("ml.")',
    f'{GRANTS}.hasOnly(["roles/ml.modelUser", "roles/ml.viewer"])',
    '"all(" != "b" && "a && b".size() == 6',
]
FALSE = [
    'request.time < timestamp("2020-10-01T00:00:00.000Z")',
    'resource.name.endsWith("/versions/v3")',
    'resource.type == "ml.googleapis.com/Model"',
    f'{GRANTS}.hasOnly(["roles/ml.viewer"])',
    f"{GRANTS}.hasOnly([])",
    "1 / 0 == 1 && false",
]
BROKEN = [
    "1 / 0 == 1",
    'request.time < timestamp("soon")',
    'request.time.getHours("Mars/Olympus") < 5',
    'resource.name.extract("models") == ""',
    'date("15 June") < request.time',
]
#: Expression, and what the refusal says of it.
REFUSED = [
    ("", "no expression"),
    ("request.time <", "Syntax error"),
    ('resource.nam == "x"', "resource.nam"),
    ("nobody == 1", "undeclared reference to 'nobody'"),
    ("resource.name", "STRING"),
    ("resource.name == 1", "no matching overload"),
    ("dyn(true)", "DYN"),
    ("[1, 2].all(x, x > 0)", "all()"),
    ('["a"] . exists (x, x == resource.name)', "exists()"),
    (" && ".join(["true"] * (MAX_OPERATORS + 2)), "logical operators"),
    ("(" * 200 + "true" + ")" * 200, "recursion"),
    ('resource.name == "' + "x" * 5000 + '"', "characters"),
]


@pytest.mark.parametrize("expression", TRUE + FALSE + BROKEN)
def test_an_expression_says_true_false_or_nothing(expression: str) -> None:
    expected = True if expression in TRUE else False if expression in FALSE else None
    check(Condition(expression, "title"), "condition")
    assert holds(expression, VERSION, MONDAY, ["roles/ml.modelUser"]) is expected


@pytest.mark.parametrize(("expression", "reason"), REFUSED)
def test_what_could_never_be_true_is_refused_when_it_is_set(expression: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid") as refused:
        check(Condition(expression, "title"), "policy.bindings[0].condition")
    assert reason in refused.value.message
    assert refused.value.fields[0][0] == "policy.bindings[0].condition.expression"


def test_as_many_operators_as_allowed_are_accepted() -> None:
    check(Condition(" && ".join(["true"] * (MAX_OPERATORS + 1)), "title"), "c")
    check(Condition("true != false && !false", "title"), "c")


@pytest.mark.parametrize("title", ["", " ", "x" * 101])
def test_a_condition_needs_a_short_title(title: str) -> None:
    with pytest.raises(InvalidArgument, match="title"):
        check(Condition("true", title), "c")


@pytest.mark.parametrize(
    ("resource", "name", "kind"),
    [
        ("projects/p", "projects/p", "cloudresourcemanager.googleapis.com/Project"),
        ("projects/p/models/m", "projects/p/models/m", "ml.googleapis.com/Model"),
        ("projects/p/locations/l/studies/s", "projects/p/locations/l/studies/s", "ml.googleapis.com/Study"),
        ("projects/p/serviceAccounts/a@b.c", "projects/p/serviceAccounts/a@b.c", "iam.googleapis.com/ServiceAccount"),
        ("buckets/b", "projects/_/buckets/b", "storage.googleapis.com/Bucket"),
        ("buckets/b/objects/x/models/y", "projects/_/buckets/b/objects/x/models/y", "storage.googleapis.com/Object"),
        ("folders/7", "folders/7", "cloudresourcemanager.googleapis.com/Folder"),
        ("no/such", "no/such", ""),
    ],
)
def test_a_resource_is_named_as_googles_services_name_it(resource: str, name: str, kind: str) -> None:
    assert holds(f'resource.name == "{name}" && resource.type == "{kind}"', resource, MONDAY)


@pytest.mark.parametrize("text", ["2026-06-15T10:30:01Z", "2026-06-15T12:30:01+02:00", "2026-06-15T10:30:00.250Z"])
def test_an_expiry_that_is_recognized_says_what_the_library_says(text: str) -> None:
    expression = f'request.time < timestamp("{text}")'
    end = expiry(expression)
    assert end is not None
    for at in (end - 1, end - 0.001, end, end + 0.001, end + 1):
        assert holds(expression, VERSION, at) is holds(f"{expression} && true", VERSION, at)


@pytest.mark.parametrize(
    "text",
    ["2026-06-15", "2026-06-15 10:30:00Z", "2026-06-15T10:30:00", "20260615T103000+0000", "2026-13-15T10:30:00Z"],
)
def test_an_end_that_the_library_does_not_read_is_no_end(text: str) -> None:
    expression = f'request.time < timestamp("{text}")'
    assert expiry(expression) is None
    assert holds(expression, VERSION, MONDAY) is None


@pytest.mark.parametrize(
    "listed",
    ["", '"roles/a"', "'roles/a'", """ "roles/a" , 'roles/b' """, '"roles/a",', r'"roles\\a"', '"a" "b"', "[]"],
)
def test_a_delegation_that_is_recognized_says_what_the_library_says(listed: str) -> None:
    expression = f"{GRANTS}.hasOnly([{listed}])"
    for modified in ([], ["roles/a"], ["roles/b", "roles/a"], ["roles/c"], ["roles\\a"], [""]):
        assert holds(expression, VERSION, MONDAY, modified) is holds(f"({expression})", VERSION, MONDAY, modified)


def test_the_expression_for_an_end_is_true_until_then() -> None:
    end = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
    assert expiry(until(end)) == end.timestamp()
    assert holds(until(end), VERSION, (end - timedelta(seconds=1)).timestamp())
    assert not holds(until(end), VERSION, end.timestamp())


@pytest.mark.parametrize("expression", worlds.EXPRESSIONS)
def test_the_tables_of_the_random_worlds_are_right(expression: str) -> None:
    say: Callable[..., bool | None] = worlds.CONDITIONS[expression]
    for resource in worlds.PLACES:
        for at in (worlds.START, worlds.START + 479, worlds.START + 480, worlds.START + 900):
            for modified in ((), ("roles/ml.modelUser",), ("roles/ml.viewer", "roles/ml.modelUser")):
                assert holds(expression, resource, at, modified) is say(resource, at, modified)
