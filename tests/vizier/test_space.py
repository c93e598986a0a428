"""The parameter space: what the `ml` v1 document allows, what it does not, and what lies in it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from mlgate.core.errors import InvalidArgument
from mlgate.core.vizier.space import Space
from mlgate.core.vizier.study import GAUSSIAN_PROCESS, StudyConfig
from tests.vizier.studies import FINITE_TREE, TREE, category, child, config, discrete, double, integer, parent, study

LOG = "UNIT_LOG_SCALE"
P = "studyConfig.parameters"

REFUSED: list[tuple[str, list[dict[str, Any]], str, str]] = [
    ("no parameters", [], P, "needs a parameter"),
    ("no name", [double("")], f"{P}[0].parameter", "required"),
    ("no type", [{"parameter": "x"}], f"{P}[0].type", "one of DOUBLE"),
    ("an unspecified type", [{**double("x"), "type": "PARAMETER_TYPE_UNSPECIFIED"}], f"{P}[0].type", "one of DOUBLE"),
    ("bounds of another type", [{**double("x"), "type": "INTEGER"}], f"{P}[0].doubleValueSpec", "integerValueSpec"),
    ("no bounds", [{"parameter": "x", "type": "DOUBLE"}], f"{P}[0].doubleValueSpec.minValue", "required"),
    ("bounds that cross", [double("x", 2, 1)], f"{P}[0].doubleValueSpec.minValue", "minValue 2 is above maxValue 1"),
    ("an endless bound", [double("x", 0, float("inf"))], f"{P}[0].doubleValueSpec.maxValue", "finite"),
    ("no values", [category("c")], f"{P}[0].categoricalValueSpec.values", "required"),
    ("a value twice", [category("c", "a", "a")], f"{P}[0].categoricalValueSpec.values", '"a" is given twice'),
    ("values that fall", [discrete("d", 1, 3, 2)], f"{P}[0].discreteValueSpec.values[2]", "2 follows 3"),
    ("too many values", [discrete("d", *range(1001))], f"{P}[0].discreteValueSpec.values", "at most 1000"),
    ("a log scale from 0", [double("x", 0, 1, LOG)], f"{P}[0].scaleType", "strictly positive"),
    ("a scale of categories", [{**category("c", "a"), "scaleType": LOG}], f"{P}[0].scaleType", "leave scaleType unset"),
    ("one name twice", [double("x"), double("x")], f"{P}[1].parameter", '"x" is taken'),
    ("a child at the top", [child(double("x"), "a")], f"{P}[0].parentCategoricalValues", "for children"),
    (
        "children of a double", [parent(double("x"), child(double("y"), "a"))],
        f"{P}[0].childParameterSpecs", "cannot have children",
    ),
    (
        "a child of the wrong kind", [parent(category("c", "a"), child(double("y"), 1))],
        f"{P}[0].childParameterSpecs[0].parentCategoricalValues", "takes parentCategoricalValues only",
    ),
    (
        "a child of no value", [parent(category("c", "a"), child(double("y"), "b"))],
        f"{P}[0].childParameterSpecs[0].parentCategoricalValues.values[0]", '"b" is no value of the parent',
    ),
    (
        "a child out of range", [parent(integer("n", 1, 3), child(double("y"), 4))],
        f"{P}[0].childParameterSpecs[0].parentIntValues.values[0]", "lies between 1 and 3",
    ),
    (
        "name-sakes active together",
        [parent(category("c", "a", "b"), child(double("y"), "a"), child(double("y"), "a", "b"))],
        f"{P}[0].childParameterSpecs[1].parameter", 'both are active when the parent is "a"',
    ),
    (
        "a child named as its parent", [parent(category("c", "a"), child(double("c"), "a"))],
        f"{P}[0].childParameterSpecs[0].parameter", '"c" is taken',
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "field", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_space_that_the_document_does_not_allow_is_refused_with_its_field(
    parameters: list[dict[str, Any]], field: str, words: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        StudyConfig.parse(config(*parameters))
    assert caught.value.fields[0][0] == field
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"metrics": []}, "studyConfig.metrics", "required"),
        ({"metrics": [{"goal": "MINIMIZE"}]}, "studyConfig.metrics[0].metric", "required"),
        ({"metrics": [{"metric": "y"}, {"metric": "y"}]}, "studyConfig.metrics[1].metric", "twice"),
        ({"algorithm": "GRID_SEARCH"}, "studyConfig.algorithm", '"x" is DOUBLE'),
        ({"algorithm": "MAGIC"}, "studyConfig.algorithm", '"MAGIC" is no algorithm'),
        (
            {"automatedStoppingConfig": {"decayCurveStoppingConfig": {}, "medianAutomatedStoppingConfig": {}}},
            "studyConfig.automatedStoppingConfig",
            "not both",
        ),
    ],
)
def test_a_config_at_fault_is_refused_with_its_field(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        StudyConfig.parse({**config(double("x")), **change})
    assert caught.value.fields[0][0] == field
    assert words in caught.value.message


def test_an_unspecified_algorithm_is_the_gaussian_process_and_an_unspecified_goal_maximizes() -> None:
    parsed = StudyConfig.parse({"parameters": [double("x")], "metrics": [{"metric": "y"}]})
    assert parsed.algorithm == GAUSSIAN_PROCESS
    assert parsed.metrics[0].sign == -1
    assert parsed.stopping is None


@pytest.mark.parametrize(
    ("spec", "position", "value"),
    [
        (double("x", -1, 3), 0.25, 0.0),
        (double("x", 1e-4, 1, LOG), 0.5, 1e-2),
        (double("x", 1, 100, "UNIT_REVERSE_LOG_SCALE"), 0.5, 91.0),
        (integer("n", 1, 64, LOG), 0.5, 8),
        (integer("n", 0, 10), 0.52, 5),
        (discrete("d", 1, 2, 10), 0.4, 2.0),
        (discrete("d", 1e-4, 1e-3, 1e-2, 1e-1), 0.66, 1e-2),
        ({**discrete("d", 1e-4, 1e-3, 1e-2, 1e-1), "scaleType": "UNIT_LINEAR_SCALE"}, 0.66, 1e-1),
    ],
)
def test_a_position_along_a_scale_is_this_value(spec: dict[str, Any], position: float, value: float) -> None:
    assert Space.parse([spec]).parameters[0].value_at(position) == pytest.approx(value)


@pytest.mark.parametrize("spec", [double("x", 1, 9), integer("n", 1, 9), discrete("d", 1, 9), category("c", "a", "b")])
def test_an_unspecified_scale_is_none(spec: dict[str, Any]) -> None:
    unspecified = Space.parse([{**spec, "scaleType": "SCALE_TYPE_UNSPECIFIED"}]).parameters
    assert unspecified == Space.parse([{**spec, "scaleType": None}]).parameters


def test_the_size_of_a_finite_tree_is_the_number_of_its_points() -> None:
    space = study(*FINITE_TREE).space
    points = list(space.points())
    assert space.size == len(points) == (3 + 2) * 2
    assert len({frozenset(point.items()) for point in points}) == len(points)
    assert points[0] == {"a": "x", "b": 1, "c": 1}
    assert points[1] == {"a": "x", "b": 1, "c": 2}
    assert points[-1] == {"a": "y", "b": 2.0, "c": 2}


def test_a_space_with_a_double_has_no_size() -> None:
    assert study(*TREE).space.size is None
    assert study(double("x", 1.0, 1.0)).space.size == 1


def test_a_huge_space_is_counted_and_begun_without_being_listed() -> None:
    space = study(*(integer(f"n{i}", 0, 10**12) for i in range(4))).space
    assert space.size == (10**12 + 1) ** 4
    assert len(list(islice(space.points(), 3))) == 3


READ = [
    {"parameter": "model", "stringValue": "net"},
    {"parameter": "l2", "floatValue": 1.0},
    {"parameter": "rate", "floatValue": 0.5},
    {"parameter": "layers", "intValue": "2"},
    {"parameter": "width", "intValue": 8},
    {"parameter": "sample", "floatValue": 0.25},
]


def test_trial_parameters_are_read_and_written() -> None:
    space = study(*TREE).space
    point = space.read(READ)
    assert point == {"model": "net", "l2": 1.0, "rate": 0.5, "layers": 2, "width": 8, "sample": 0.25}
    assert space.read(space.write(point)) == point
    assert {"parameter": "layers", "intValue": "2"} in space.write(point)


@pytest.mark.parametrize(
    ("index", "change", "field", "words"),
    [
        (5, {"parameter": "sam"}, "trial.parameters", '"sample" is missing'),
        (5, {"parameter": "rate"}, "trial.parameters[5].parameter", "given twice"),
        (5, {"floatValue": 0.3}, "trial.parameters[5].floatValue", "is one of 0.25, 0.5, 1.0"),
        (5, {"floatValue": None}, "trial.parameters[5]", "nothing is given"),
        (5, {"floatValue": 0.5}, "trial.parameters", '"momentum" is missing'),
        (3, {"intValue": "9"}, "trial.parameters[3].intValue", "between 1 and 3"),
        (3, {"intValue": "two"}, "trial.parameters[3].intValue", "no whole number"),
        (3, {"intValue": "1"}, "trial.parameters[4].parameter", '"width" is no parameter'),
        (0, {"stringValue": "forest"}, "trial.parameters[0].stringValue", "not feasible"),
        (2, {"floatValue": None, "intValue": "1"}, "trial.parameters[2]", "takes floatValue, and intValue is given"),
        (2, {"floatValue": float("nan")}, "trial.parameters[2].floatValue", "not feasible"),
    ],
)
def test_a_point_outside_the_space_is_refused_with_its_field(
    index: int, change: dict[str, Any], field: str, words: str
) -> None:
    given = [{**item, **change} if i == index else item for i, item in enumerate(READ)]
    with pytest.raises(InvalidArgument) as caught:
        study(*TREE).space.read(given)
    assert caught.value.fields[0][0] == field
    assert words in caught.value.message
