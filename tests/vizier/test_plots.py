"""The data behind the plots of a study."""

from __future__ import annotations

import json

import pytest

from mlgate.core.errors import FailedPrecondition, InvalidArgument
from mlgate.core.vizier import plots, suggest
from mlgate.core.vizier.study import Trial
from tests.vizier.studies import TREE, category, completed, double, infeasible, study

CONFIG = study(double("a"), double("b", 1.0, 100.0, "UNIT_LOG_SCALE"), category("c", "x", "y"), metrics="+y")
TRIALS = [
    completed(1, {"a": 0.5, "b": 10.0, "c": "x"}, 1.0),
    infeasible(2, {"a": 0.1, "b": 1.0, "c": "y"}),
    completed(3, {"a": 0.2, "b": 100.0, "c": "y"}, 3.0),
    completed(4, {"a": 0.9, "b": 1.0, "c": "x"}, 2.0),
]


def many() -> list[Trial]:
    pytest.importorskip("scipy")
    points = suggest(study(*_specs(), algorithm="RANDOM_SEARCH"), [], 30, 0)
    return [
        completed(i, p, -((float(p["a"]) - 0.5) ** 2) + (0.05 if p["c"] == "x" else 0)) for i, p in enumerate(points, 1)
    ]


def _specs() -> tuple[dict[str, object], ...]:
    return double("a"), double("b", 1.0, 100.0, "UNIT_LOG_SCALE"), category("c", "x", "y")


def test_the_history_keeps_the_best_so_far() -> None:
    shown = plots.history(CONFIG, TRIALS)
    assert shown["infeasible"] == [2]
    (series,) = shown["series"]
    assert series["goal"] == "MAXIMIZE"
    assert [(p["trial"], p["value"], p["best"]) for p in series["points"]] == [(1, 1, 1), (3, 3, 3), (4, 2, 3)]


def test_lines_run_along_positions_and_slices_along_values() -> None:
    lines = plots.parallel_coordinates(CONFIG, TRIALS)
    assert [axis["parameter"] for axis in lines["axes"]] == ["a", "b", "c"]
    assert lines["lines"][0] == {"trial": 1, "metrics": {"y": 1.0}, "at": {"0": 0.5, "1": 0.5, "2": 0.0}}
    panels = plots.slices(CONFIG, TRIALS)["panels"]
    assert [point["value"] for point in panels[1]["points"]] == [10.0, 100.0, 1.0]


def test_the_front_marks_what_is_optimal() -> None:
    assert [point["optimal"] for point in plots.pareto_front(CONFIG, TRIALS)["points"]] == [False, True, False]


def test_what_matters_is_more_important_than_what_does_not() -> None:
    shares = {row["parameter"]: row["importance"] for row in plots.importance(CONFIG, many())["parameters"]}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["a"] > 0.3 > 0.05 > shares["b"]


def test_a_contour_has_a_level_for_each_pair_of_positions() -> None:
    shown = plots.contour(CONFIG, many(), "a", "c")
    assert [len(row) for row in shown["levels"]] == [24, 24]
    assert shown["levels"][0][12] > shown["levels"][0][0]
    assert shown["levels"][0][12] > shown["levels"][1][12]
    assert len(shown["points"]) == 30


@pytest.mark.parametrize(
    ("given", "axes"), [({}, ["a", "c"]), ({"first": "b"}, ["b", "a"]), ({"second": "a"}, ["c", "a"])]
)
def test_a_contour_takes_the_most_important_parameters_where_none_is_named(
    given: dict[str, str], axes: list[str]
) -> None:
    assert [axis["parameter"] for axis in plots.contour(CONFIG, many(), **given)["axes"]] == axes


def test_a_contour_of_one_parameter_is_refused() -> None:
    pytest.importorskip("scipy")
    trials = [completed(n, {"a": n / 9}, float(n)) for n in range(1, 9)]
    with pytest.raises(InvalidArgument, match="only one"):
        plots.contour(study(double("a")), trials)


def test_a_tree_has_its_plots_too() -> None:
    pytest.importorskip("scipy")
    config = study(*TREE)
    points = suggest(study(*TREE, algorithm="RANDOM_SEARCH"), [], 20, 0)
    trials = [completed(at, point, float(at % 5)) for at, point in enumerate(points, 1)]
    shown = [
        plots.history(config, trials), plots.parallel_coordinates(config, trials), plots.slices(config, trials),
        plots.pareto_front(config, trials), plots.importance(config, trials),
        plots.contour(config, trials, "l2", "width"),
    ]  # fmt: skip
    assert all(json.dumps(plot, allow_nan=False) for plot in shown)


@pytest.mark.parametrize(
    ("first", "second", "metric"), [("z", "a", ""), ("a", "z", ""), ("a", "a", ""), ("a", "b", "z")]
)
def test_a_contour_of_something_unknown_is_refused(first: str, second: str, metric: str) -> None:
    with pytest.raises(InvalidArgument):
        plots.contour(CONFIG, TRIALS, first, second, metric)


def test_a_model_of_too_few_trials_is_not_drawn() -> None:
    pytest.importorskip("scipy")
    with pytest.raises(FailedPrecondition, match="3 trials report"):
        plots.importance(CONFIG, TRIALS)
