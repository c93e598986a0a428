"""What the algorithms do: new points, clear of what is pending or infeasible, better ones as trials come in."""

from __future__ import annotations

import math
from itertools import product

import pytest

pytest.importorskip("scipy")

from mlgate.core.vizier import suggest
from mlgate.core.vizier.gaussian_process import warp
from mlgate.core.vizier.space import Assignment
from mlgate.core.vizier.study import StudyConfig, Trial, seed_of
from tests.vizier.studies import (
    FINITE_TREE,
    TREE,
    category,
    completed,
    discrete,
    double,
    infeasible,
    integer,
    pending,
    study,
)

ALGORITHMS = ["GAUSSIAN_PROCESS_BANDIT", "RANDOM_SEARCH", "GRID_SEARCH"]


def bowl(point: Assignment) -> float:
    return (float(point["x"]) - 0.3) ** 2 + (float(point["y"]) + 0.2) ** 2


BOWL = (double("x", -1.0, 1.0), double("y", -1.0, 1.0))


def optimize(config: StudyConfig, objective: object, count: int, seed: int = 0) -> list[Trial]:
    trials: list[Trial] = []
    for at in range(1, count + 1):
        point = suggest(config, trials, 1, seed)[0]
        value = objective(point)  # type: ignore[operator]
        trials.append(infeasible(at, point) if value is None else completed(at, point, value))
    return trials


def test_the_default_finds_the_bottom_of_a_bowl() -> None:
    assert min(bowl(trial.parameters) for trial in optimize(study(*BOWL), bowl, 20)) < 1e-3


def test_a_metric_that_is_maximized_goes_up() -> None:
    trials = optimize(study(*BOWL, metrics="+y"), lambda point: -bowl(point), 20)
    assert min(bowl(trial.parameters) for trial in trials) < 1e-3


def test_the_right_branch_of_a_tree_is_found_and_tuned() -> None:
    def objective(point: Assignment) -> float:
        if point["model"] != "net":
            return 2.0
        return (math.log10(float(point["rate"])) + 2) ** 2 + abs(int(point["layers"]) - 2)

    trials = optimize(study(*TREE), objective, 30)
    assert min(objective(trial.parameters) for trial in trials) < 0.1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_finite_space_is_tried_once_and_then_there_is_nothing_left(algorithm: str) -> None:
    config = study(*FINITE_TREE, algorithm=algorithm)
    first = suggest(config, [], 6, 1)
    trials = [completed(at, point, float(at)) for at, point in enumerate(first, 1)]
    rest = suggest(config, trials, 100, 1)
    assert len(first) == 6
    assert len(rest) == 4
    trials += [pending(at, point) for at, point in enumerate(rest, 7)]
    assert len({trial.key for trial in trials}) == 10
    assert suggest(config, trials, 1, 1) == []


def test_a_grid_is_searched_in_its_order() -> None:
    config = study(integer("a", 1, 3), category("b", "x", "y"), discrete("c", 0.5, 1.5), algorithm="GRID_SEARCH")
    expected = [{"a": a, "b": b, "c": c} for a, b, c in product((1, 2, 3), "xy", (0.5, 1.5))]
    assert suggest(config, [], 100, 0) == expected
    assert suggest(config, [pending(1, expected[0]), infeasible(2, expected[2])], 2, 0) == [expected[1], expected[3]]


@pytest.mark.parametrize("count", [1, 2, 999])
def test_a_grid_of_a_thousand_parameters_begins_at_once(count: int) -> None:
    config = study(*(integer(f"n{i}", 1, 10**9) for i in range(1000)), algorithm="GRID_SEARCH")
    points = suggest(config, [], min(count, 3), 0)
    assert points[-1]["n999"] == min(count, 3)


@pytest.mark.parametrize("algorithm", ["GAUSSIAN_PROCESS_BANDIT", "RANDOM_SEARCH"])
def test_no_point_comes_back_from_a_rebuilt_optimizer(algorithm: str) -> None:
    config, trials = study(*BOWL, algorithm=algorithm), list[Trial]()
    for at in range(1, 16):
        trials.append(completed(at, suggest(config, trials, 1, seed_of("studies/s"))[0], 1.0))
    assert len({trial.key for trial in trials}) == 15


def test_points_depend_on_the_id_of_the_next_trial_not_on_how_many_are_left() -> None:
    config = study(*BOWL, algorithm="RANDOM_SEARCH")
    assert suggest(config, [], 1, 5, next_id=3) == suggest(config, [], 3, 5, next_id=1)[2:]


def test_a_batch_is_spread_and_keeps_clear_of_pending_trials() -> None:
    config = study(*BOWL)
    trials = optimize(config, bowl, 10)
    batch = suggest(config, trials, 4, 0)
    trials += [pending(at, point) for at, point in enumerate(batch, 11)]
    points = [*batch, *suggest(config, trials, 1, 0)]
    for i, one in enumerate(points):
        for other in points[:i]:
            assert math.dist((one["x"], one["y"]), (other["x"], other["y"])) > 1e-3  # type: ignore[arg-type]


def test_infeasible_regions_are_left() -> None:
    trials = optimize(study(*BOWL), lambda point: bowl(point) if float(point["x"]) > 0 else None, 30)
    assert sum(trial.infeasible for trial in trials[15:]) <= 3
    assert min(bowl(trial.parameters) for trial in trials if not trial.infeasible) < 0.01


def test_two_metrics_with_goals_of_their_own_spread_along_the_front() -> None:
    config, trials = study(double("x"), double("y"), metrics="cost +gain"), list[Trial]()
    for at in range(1, 26):
        point = suggest(config, trials, 1, 0)[0]
        x, y = float(point["x"]), float(point["y"])
        trials.append(completed(at, point, x + y, math.sqrt(x) - y, names="cost gain"))
    good = sorted(float(t.parameters["x"]) for t in trials if float(t.parameters["y"]) < 0.05)
    assert good[0] < 0.2
    assert good[-1] > 0.8
    assert len(good) >= 10


@pytest.mark.parametrize(
    "values",
    [[0.0] * 12, [1e308, -1e308] * 6, [1e-320] * 12, [float(10**i) for i in range(12)], [math.nan, math.inf, 1.0] * 4],
    ids=["constant", "huge", "tiny", "steep", "not numbers"],
)
def test_strange_outcomes_do_no_harm(values: list[float]) -> None:
    config = study(*BOWL)
    points = suggest(config, [], 12, 0)
    trials = [completed(at, point, value) for at, (point, value) in enumerate(zip(points, values, strict=True), 1)]
    assert len(suggest(config, trials, 2, 0)) == 2


def test_a_thousand_trials_are_no_burden() -> None:
    config = study(*TREE)
    points = suggest(study(*TREE, algorithm="RANDOM_SEARCH"), [], 1000, 0)
    trials = [completed(at, point, math.sin(at)) for at, point in enumerate(points, 1)]
    assert len(suggest(config, trials, 1, 0)) == 1


def test_warping_keeps_the_good_half_and_presses_the_bad_one_together() -> None:
    import numpy as np

    outcomes = np.array([1.0, 2.0, 3.0, 4.0, 1e6, 1e9])
    warped = warp(outcomes)
    assert (np.diff(warped) > 0).all()
    assert np.allclose(np.diff(warped[:3]), np.diff(warped[:3])[0])
    assert warped.max() < 4
    assert warped.mean() == pytest.approx(0, abs=1e-9)
