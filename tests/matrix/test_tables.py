"""Role by role and row by row: what `src` says is what the requirements say."""

from __future__ import annotations

import re

import pytest

from mlgate.api.method import Authenticated, Method
from mlgate.api.methods import registry
from mlgate.core.iam import permissions as catalogue
from mlgate.core.iam.roles import permissions_by_role
from tests.matrix import golden

ROWS = {
    (row.http, "/" + "/".join(row.template.segments) + (f":{row.template.verb}" if row.template.verb else "")): row
    for row in registry().rows
    if row.api == "ml"
}
ROLES = [(name, role) for name in golden.CATALOGUES for role in golden.roles(name)]


def row_of(line: golden.Row) -> Method:
    """The row of `src` for a line of the table."""
    key = line.http, re.sub(r"\{\w+\}", "*", line.path)
    assert key in ROWS, f"{line.id}: no row of api/methods/ml.py answers {line.http} {line.path}"
    return ROWS[key]


def test_the_permission_catalogue_is_the_requirements() -> None:
    assert set(catalogue.ML) == set(golden.permissions())
    assert len(golden.permissions()) == 40


@pytest.mark.parametrize(("name", "role"), ROLES)
def test_every_role_holds_exactly_the_golden_permissions(name: str, role: str) -> None:
    held = permissions_by_role(name)[role] & set(catalogue.ML)
    assert held == golden.roles(name)[role]


def test_the_counts_are_those_of_section_4() -> None:
    counts = {
        role: [len(golden.roles(name)[role]) for name in golden.CATALOGUES] for role in golden.roles("documented")
    }
    assert counts == {
        "roles/owner": [40, 39], "roles/editor": [37, 36], "roles/viewer": [18, 21], "roles/ml.admin": [37, 39],
        "roles/ml.developer": [27, 29], "roles/ml.viewer": [16, 17], "roles/ml.modelOwner": [12, 14],
        "roles/ml.modelUser": [5, 5], "roles/ml.jobOwner": [5, 7], "roles/ml.operationOwner": [2, 3],
    }  # fmt: skip


@pytest.mark.parametrize("name", golden.CATALOGUES)
def test_no_other_role_holds_ml_permissions(name: str) -> None:
    ml = {p for p in catalogue.ML if p.startswith("ml.")}
    holders = {role for role, held in permissions_by_role(name).items() if held & ml}
    assert holders == set(golden.roles(name))


def test_every_method_requires_what_the_requirements_say() -> None:
    for line in golden.methods():
        row = row_of(line)
        assert row.id == line.method_id
        if line.requires == "none":
            assert isinstance(row.requires, Authenticated), line.id
        else:
            assert row.requires == line.requires.partition("+")[0], line.id
        assert (row.also is not None) >= ("+" in line.requires), f"{line.id} needs `also=`"


def test_every_row_of_ml_is_in_the_requirements() -> None:
    assert len(golden.methods()) == 51
    known = {row_of(line).path for line in golden.methods()}
    assert {row.path for row in ROWS.values()} == known


@pytest.mark.parametrize("name", golden.CATALOGUES)
def test_the_outcomes_of_section_7_1_follow_from_the_rows(name: str) -> None:
    """On a difference, look at it like a reviewer: `outcomes.*.txt` is changed only after the requirements are."""
    held = {role: permissions_by_role(name)[role] for role in golden.roles(name)}
    cells = [["method", *(role.removeprefix("roles/") for role in held)]]
    for line in golden.methods():
        required = row_of(line).requires
        forms = [required if isinstance(required, str) else "none", *line.requires.split("+")[1:]]
        line = golden.Row(line.id, line.http, line.path, "+".join(forms), line.on)
        everywhere = {role: dict.fromkeys(line.on.split("+"), permissions) for role, permissions in held.items()}
        cells.append([line.id, *("Y" if line.allowed(everywhere[role]) else "-" for role in held)])
    assert golden.table(cells) == (golden.HERE / f"outcomes.{name}.txt").read_text()


def test_basic_editor_and_ml_admin_are_the_same_in_every_row() -> None:
    """T-19, R-010."""
    held = permissions_by_role("documented")
    assert held["roles/editor"] & set(catalogue.ML) == held["roles/ml.admin"] & set(catalogue.ML)
