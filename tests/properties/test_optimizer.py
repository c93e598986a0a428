"""What must hold for every space and history: suggestions lie inside, are new, depend on their arguments only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy")

from mlgate.core.vizier import suggest
from mlgate.core.vizier.encoding import Encoding
from mlgate.core.vizier.pareto import optimal_trials
from mlgate.core.vizier.space import Assignment, Space, key
from mlgate.core.vizier.stopping import MEDIAN_NEEDS, should_stop
from mlgate.core.vizier.study import Metric, StudyConfig, Trial
from tests.vizier import studies
from tests.vizier.studies import child, completed, infeasible, pending, running, study

ALGORITHMS = ("ALGORITHM_UNSPECIFIED", "RANDOM_SEARCH")
LINEAR, LOG, REVERSE = "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"
Specs = list[dict[str, Any]]


@st.composite
def parameters(draw: st.DrawFn, name: str = "p", depth: int = 2, is_finite: bool = False) -> dict[str, Any]:
    """A parameter with children, some of which share a name."""
    kind = draw(st.sampled_from(["integer", "category", "discrete"] + ([] if is_finite else ["double"])))
    scale = draw(st.sampled_from([None, LINEAR, LOG, REVERSE]))
    low = draw(st.integers(1, 5) if scale in (LOG, REVERSE) else st.integers(-5, 5))
    span = draw(st.integers(0, 3 if is_finite else 1000))
    if kind == "double":
        return studies.double(name, low / 7, low / 7 + span, scale)
    values: list[Any]
    if kind == "integer":
        spec, values = studies.integer(name, low, low + span, scale), [low, low + span]
    elif kind == "category":
        values = ["u", "v", "w"][: draw(st.integers(1, 3))]
        spec = studies.category(name, *values)
    else:
        values = [low + 0.5 * i for i in range(draw(st.integers(1, 4)))]
        spec = {**studies.discrete(name, *values), "scaleType": scale}
    children = []
    for i in range(draw(st.integers(0, 2)) if depth else 0):
        when = draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
        children.append(child(draw(parameters(f"{name}{i}", depth - 1, is_finite)), *when))
    if depth and len(set(values)) > 1:  # two of one name
        for value in (values[0], values[-1]):
            children.append(child(draw(parameters(f"{name}_", 0, is_finite)), value))
    return {**spec, "childParameterSpecs": children}


def specs(is_finite: bool = False) -> st.SearchStrategy[Specs]:
    return (
        st.integers(1, 3).flatmap(lambda n: st.tuples(*(parameters(f"{c}", 1, is_finite) for c in "xyz"[:n]))).map(list)
    )


def belongs(space: Space, point: Assignment) -> None:
    """Exactly the active parameters, each with a feasible value of its type: what the reader of trials accepts."""
    assert space.read(space.write(point)) == point
    for parameter, value in space.active(point):
        assert type(value) is {"INTEGER": int, "CATEGORICAL": str}.get(parameter.kind, float)


def history(config: StudyConfig, count: int, seed: int) -> list[Trial]:
    """Random trials of every fate: measured, infeasible, pending, without the metric."""
    rng = np.random.default_rng(seed)
    encoding = Encoding(config.space)
    trials: list[Trial] = []
    for trial_id in range(1, count + 1):
        point = encoding.decode(encoding.sample(rng.random((1, len(config.space.parameters))))[0])
        losses = [
            float(value) for value in rng.choice([0.0, 1.0, -3e5, 1e-9, float(rng.normal())], len(config.metrics))
        ]
        names = " ".join(metric.name for metric in config.metrics)
        fates = [
            completed(trial_id, point, *losses, names=names), completed(trial_id, point, *losses, names=names),
            infeasible(trial_id, point), pending(trial_id, point), Trial(trial_id, point, "COMPLETED"),
        ]  # fmt: skip
        trials.append(fates[int(rng.integers(len(fates)))])
    return trials


@settings(max_examples=40, deadline=None)
@given(specs(), st.integers(0, 2**32), st.integers(0, 25), st.sampled_from(ALGORITHMS), st.sampled_from(["y", "y +z"]))
def test_suggestions_lie_in_the_space_and_are_the_same_for_the_same_arguments(
    parameters: Specs, seed: int, count: int, algorithm: str, metrics: str
) -> None:
    config = study(*parameters, algorithm=algorithm, metrics=metrics)
    trials = history(config, count, seed)
    points = suggest(config, trials, 3, seed)
    for point in points:
        belongs(config.space, point)
    assert points == suggest(config, trials, 3, seed)
    if config.space.size is None:
        assert len(points) == 3


@settings(max_examples=40, deadline=None)
@given(specs(is_finite=True), st.integers(0, 2**32), st.sampled_from([*ALGORITHMS, "GRID_SEARCH"]))
def test_a_finite_space_is_tried_without_repeats_until_it_is_exhausted(
    parameters: Specs, seed: int, algorithm: str
) -> None:
    config = study(*parameters, algorithm=algorithm)
    size, trials, rng = config.space.size, list[Trial](), np.random.default_rng(seed)
    assert size is not None
    while len(trials) < min(size, 30):
        points = suggest(config, trials, 4, seed)
        assert points
        for point in points:
            belongs(config.space, point)
            at = len(trials) + 1
            trials.append(infeasible(at, point) if rng.random() < 0.2 else completed(at, point, float(rng.normal())))
    assert len({trial.key for trial in trials}) == len(trials)
    if size <= 30:
        assert len(trials) == size
        assert suggest(config, trials, 1, seed) == []


@settings(max_examples=100, deadline=None)
@given(specs(), st.integers(0, 2**32))
def test_a_point_survives_its_codes(parameters: Specs, seed: int) -> None:
    encoding = Encoding(Space.parse(parameters))
    uniform = np.random.default_rng(seed).random((20, len(encoding.space.parameters)))
    codes = encoding.sample(np.vstack([uniform, np.zeros_like(uniform[:1]), np.ones_like(uniform[:1])]))
    np.testing.assert_allclose(encoding.canonical(codes), codes, atol=1e-9)
    assert np.isfinite(encoding.features(codes)).all()
    for row in codes:
        point = encoding.decode(row)
        belongs(encoding.space, point)
        np.testing.assert_allclose(encoding.encode(point), row, atol=1e-9)
        for (name, value), again in zip(point.items(), encoding.decode(encoding.encode(point)).values(), strict=True):
            assert value == again or math.isclose(value, again, rel_tol=1e-9, abs_tol=1e-9), name  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(specs(is_finite=True))
def test_the_points_of_a_finite_space_are_as_many_as_its_size_says(parameters: Specs) -> None:
    space = Space.parse(parameters)
    if space.size is not None and space.size <= 2000:
        keys = [key(point) for point in space.points()]
        assert len(keys) == len(set(keys)) == space.size


# Stopping, and the best


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=6), max_size=8),
    st.lists(st.integers(-9, 9), min_size=1, max_size=6),
    st.booleans(),
)
def test_the_median_rule_agrees_with_its_twin(done: list[list[int]], curve: list[int], by_time: bool) -> None:
    config = study(
        studies.double("x"), stopping={"medianAutomatedStoppingConfig": {"useElapsedTime": by_time}}, metrics="y"
    )
    trials = [running(at, *map(float, losses), final=True) for at, losses in enumerate(done, 1)]
    now = running(99, *map(float, curve))
    assert should_stop(config, [*trials, now], now) == _median_twin(done, curve)


def _median_twin(done: Sequence[Sequence[int]], curve: Sequence[int]) -> bool:
    averages = sorted(fmean(losses[: len(curve)]) for losses in done)
    if len(averages) < MEDIAN_NEEDS:
        return False
    middle = len(averages) // 2
    median = averages[middle] if len(averages) % 2 else (averages[middle - 1] + averages[middle]) / 2
    return min(curve) > median


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12), st.booleans(), st.booleans())
def test_the_front_is_what_no_trial_dominates(outcomes: list[tuple[int, int]], first: bool, second: bool) -> None:
    metrics = [Metric("a", 1.0 if first else -1.0), Metric("b", 1.0 if second else -1.0)]
    trials = [completed(at, {"x": at}, float(a), float(b), names="a b") for at, (a, b) in enumerate(outcomes, 1)]
    losses = {trial.id: trial.losses(metrics) or [] for trial in trials}
    expected = [
        trial.id
        for trial in trials
        if not any(
            other != losses[trial.id] and all(a <= b for a, b in zip(other, losses[trial.id], strict=True))
            for other in losses.values()
        )
    ]
    assert [trial.id for trial in optimal_trials(metrics, trials)] == expected
