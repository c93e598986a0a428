"""Which trials are stopped, which are best, and how trials are read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from mlgate.core.errors import InvalidArgument
from mlgate.core.vizier.pareto import optimal_trials
from mlgate.core.vizier.stopping import Curve, completed_curve, should_stop
from mlgate.core.vizier.study import Measurement, StudyConfig, Trial, seed_of
from tests.vizier.studies import FINITE_TREE, completed, double, infeasible, running, study

MEDIAN, DECAY = {"medianAutomatedStoppingConfig": {}}, {"decayCurveStoppingConfig": {}}
DONE = [running(at, 9.0, 5.0, 3.0 + at, final=True) for at in range(1, 4)]  # running averages at step 2: 7


def rule(stopping: dict[str, Any] | None, metrics: str = "y") -> StudyConfig:
    return study(double("x"), stopping=stopping, metrics=metrics)


@pytest.mark.parametrize(
    ("losses", "stops"),
    [((9.0, 8.0), True), ((9.0, 7.0), False), ((6.0, 99.0), False), ((9.0,), False), ((9.1,), True)],
)
def test_the_median_rule_compares_the_best_so_far_with_running_averages(losses: tuple[float, ...], stops: bool) -> None:
    assert should_stop(rule(MEDIAN), DONE, running(9, *losses)) is stops


def test_the_median_rule_turns_round_when_the_metric_is_maximized() -> None:
    config = rule(MEDIAN, "+y")
    assert should_stop(config, DONE, running(9, 6.9, 6.9))
    assert not should_stop(config, DONE, running(9, 7.1, 0.0))


def test_the_median_rule_can_run_along_elapsed_time() -> None:
    config = rule({"medianAutomatedStoppingConfig": {"useElapsedTime": True}})
    slow = running(9, 8.0, step=100)  # step 100, yet only 10 seconds in: there the others stood at 9
    assert not should_stop(config, DONE, slow)
    assert should_stop(rule(MEDIAN), DONE, slow)


@pytest.mark.parametrize(
    ("config", "trials", "trial"),
    [
        (rule(None), DONE, running(9, 99.0)),
        (rule({}), DONE, running(9, 99.0)),
        (rule(MEDIAN, "y z"), DONE, running(9, 99.0)),
        (rule(MEDIAN), DONE[:2], running(9, 99.0)),
        (rule(MEDIAN), DONE, running(9)),
        (rule(MEDIAN), DONE, running(9, math.nan)),
        (rule(MEDIAN), [*DONE[:2], infeasible(3, {"x": 0.1})], running(9, 99.0)),
        (rule(DECAY), DONE, running(9, 99.0)),
    ],
    ids=["no config", "empty config", "two metrics", "few trials", "no curve", "no number", "infeasible", "few curves"],
)
def test_nothing_is_stopped_without_a_reason(config: StudyConfig, trials: list[Trial], trial: Trial) -> None:
    assert not should_stop(config, trials, trial)


def decaying(trial_id: int, floor: float, steps: int, *, final: bool = False, sign: float = 1.0) -> Trial:
    return running(trial_id, *(sign * (floor + math.exp(-step / 3)) for step in range(steps)), final=final)


@pytest.mark.parametrize(("sign", "metric"), [(1.0, "y"), (-1.0, "+y")])
def test_the_decay_curve_stops_what_will_not_win_and_leaves_what_may(sign: float, metric: str) -> None:
    pytest.importorskip("scipy")
    done = [decaying(at, at / 10, 20, final=True, sign=sign) for at in range(1, 8)]
    assert should_stop(rule(DECAY, metric), done, decaying(9, 2.0, 6, sign=sign))
    assert not should_stop(rule(DECAY, metric), done, decaying(9, 0.05, 6, sign=sign))
    assert not should_stop(rule(DECAY, metric), done, decaying(9, 2.0, 20, sign=sign)), "it is at the end"


def test_curves_that_were_cut_short_teach_nothing_about_the_end() -> None:
    pytest.importorskip("scipy")
    done = [decaying(at, at / 10, 20, final=True) for at in range(1, 5)]
    done += [decaying(at, 1.0, 6, final=True) for at in range(5, 9)]
    assert not should_stop(rule(DECAY), done, decaying(99, 2.0, 5))


@pytest.mark.parametrize("step", [0, 5])
def test_a_final_value_without_its_step_is_no_point_at_the_beginning(step: int) -> None:
    """As most clients report it; its own step may also lie before the last measurement."""
    trial = running(1, 9.0, 8.0, 7.0, final=True, step=10)
    early = replace(trial, final=Measurement(step, 0.0, {"y": 1.0}))
    curve = completed_curve(rule(MEDIAN), early)
    assert curve is not None
    assert (list(curve.places), list(curve.losses)) == ([10.0, 20.0, 30.0], [9.0, 8.0, 7.0])


@pytest.mark.parametrize(("step", "ends"), [(30, [30.0]), (40, [30.0, 40.0])])
def test_the_final_value_ends_the_curve(step: int, ends: list[float]) -> None:
    trial = replace(running(1, 9.0, 8.0, 7.0, final=True, step=10), final=Measurement(step, 0.0, {"y": 1.0}))
    curve = completed_curve(rule(MEDIAN), trial)
    assert curve is not None
    assert list(curve.places) == [10.0, 20.0, *ends]
    assert curve.losses[-1] == 1.0


def test_a_trial_without_measurements_is_a_curve_of_its_outcome() -> None:
    curve = completed_curve(rule(MEDIAN), completed(1, {"x": 0.5}, 3.0))
    assert curve is not None
    assert (curve.average(0.0), curve.at(9.0)) == (3.0, 3.0)


def test_a_curve_is_read_between_its_points_and_is_level_beyond_them() -> None:
    curve = Curve(running(1, 9.0, 5.0, 4.0), rule(MEDIAN).metrics[0], by_time=False)
    assert [curve.at(place) for place in (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0)] == [9.0, 9.0, 7.0, 5.0, 4.5, 4.0, 4.0]
    assert [curve.average(place) for place in (0.5, 1.0, 2.9, 9.0)] == [None, 9.0, 7.0, 6.0]


def test_of_very_many_curves_the_decay_curve_learns_from_those_that_stood_nearest() -> None:
    pytest.importorskip("scipy")
    done = [decaying(at, at / 100, 20, final=True) for at in range(1, 400)]
    assert should_stop(rule(DECAY), done, decaying(999, 2.0, 6))
    assert not should_stop(rule(DECAY), done, decaying(999, 0.001, 6))


def test_the_optimum_of_one_metric_is_the_best_trial_and_its_equals() -> None:
    trials = [
        completed(1, {"x": 1}, 2.0),
        completed(2, {"x": 2}, 1.0),
        completed(3, {"x": 3}, 1.0),
        infeasible(4, {"x": 4}),
    ]
    assert [t.id for t in optimal_trials(rule(None).metrics, trials)] == [2, 3]
    assert [t.id for t in optimal_trials(rule(None, "+y").metrics, trials)] == [1]
    assert optimal_trials(rule(None).metrics, []) == []


def test_a_trial_that_lacks_a_metric_is_not_on_the_front() -> None:
    metrics = rule(None, "y +z").metrics
    trials = [completed(1, {"x": 1}, 0.0), completed(2, {"x": 2}, 1.0, 1.0, names="y z")]
    assert [trial.id for trial in optimal_trials(metrics, trials)] == [2]


def test_a_trial_is_read_from_the_wire() -> None:
    wire = {
        "state": "COMPLETED",
        "clientId": "w1",
        "parameters": [
            {"parameter": "a", "stringValue": "x"},
            {"parameter": "b", "intValue": "2"},
            {"parameter": "c", "intValue": 1},
        ],
        "measurements": [{"stepCount": "1", "elapsedTime": "1.5s", "metrics": [{"metric": "y", "value": 3}]}],
        "finalMeasurement": {"stepCount": 2, "elapsedTime": {"seconds": 3}, "metrics": [{"metric": "y", "value": 2.5}]},
    }  # fmt: skip
    trial = Trial.parse(study(*FINITE_TREE).space, wire, 7)
    assert trial == Trial(
        7, {"a": "x", "b": 2, "c": 1}, "COMPLETED", (Measurement(1, 1.5, {"y": 3.0}),), Measurement(2, 3.0, {"y": 2.5}),
        client="w1",
    )  # fmt: skip
    assert not trial.is_pending
    assert trial.losses(rule(None, "+y").metrics) == [-2.5]


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        ({"stepCount": -1}, "measurement.stepCount"),
        ({"stepCount": "one"}, "measurement.stepCount"),
        ({"elapsedTime": "soon"}, "measurement.elapsedTime"),
        ({"metrics": [{"metric": "y"}]}, "measurement.metrics[0].value"),
        ({"metrics": [{"metric": "y", "value": 1}, {"metric": "y", "value": 1}]}, "measurement.metrics[1].metric"),
    ],
)
def test_a_measurement_at_fault_is_refused_with_its_field(wire: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Measurement.parse(wire)
    assert caught.value.fields[0][0] == field


def test_the_seed_belongs_to_the_name_of_the_study() -> None:
    assert seed_of("studies/a") == seed_of("studies/a") != seed_of("studies/b")
