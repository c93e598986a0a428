"""The slopes that the searches follow are those of the functions, by small differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")

from mlgate.core.vizier.gp import GaussianProcess, _Posterior, fit  # noqa: E402
from mlgate.core.vizier.improvement import ExpectedImprovement, HypervolumeImprovement, ImprovementBeside  # noqa: E402

OWNER = np.array([0, 1, 1, 2, 3])  # the second parameter is a category of two
FREE = np.array([0, 3, 4])
STEP = 1e-6


def observed(seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.random((14, len(OWNER))), rng.normal(size=14)


def process(seed: int = 0) -> GaussianProcess:
    x, y = observed(seed)
    return fit(x, y, OWNER)


def differences(function: Callable[[Any], float], at: Any, columns: Any) -> list[float]:
    found = []
    for column in columns:
        step = np.zeros(len(at))
        step[column] = STEP
        found.append((function(at + step) - function(at - step)) / (2 * STEP))
    return found


HERE = np.array([0.3, 0.5, 0.2, 0.9, 0.6])


def test_of_mean_and_deviation() -> None:
    believed = process()
    (mean,), deviation, (by_mean,), by_deviation = believed.slopes(HERE, FREE)
    assert (float(mean), deviation) == pytest.approx(tuple(float(v[0]) for v in believed.predict(HERE[None])))
    for i, slopes in enumerate((by_mean, by_deviation)):
        expected = differences(lambda a, i=i: float(believed.predict(a[None])[i][0]), HERE, FREE)  # type: ignore[misc]
        assert slopes == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("mark", [-9.0, -1.0, 0.0, 9.0], ids=lambda mark: f"mark {mark:g}")
def test_of_the_expected_improvement(mark: float) -> None:
    improvement = ExpectedImprovement(process(), mark)
    value, slopes = improvement.slope(HERE, FREE)
    assert value == pytest.approx(float(improvement.score(HERE[None])[0]))
    expected = differences(lambda a: float(improvement.score(a[None])[0]), HERE, FREE)
    assert slopes == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("mark", [-9.0, -1.0, 0.0, 9.0], ids=lambda mark: f"mark {mark:g}")
def test_of_the_improvement_beside_others(mark: float) -> None:
    waiting, (x, y) = np.random.default_rng(1).random((3, len(OWNER))), observed()
    improvement = ImprovementBeside(process(), x, y, waiting, mark, np.random.default_rng(2))
    value, slopes = improvement.slope(HERE, FREE)
    assert value == pytest.approx(float(improvement.score(HERE[None])[0]))
    expected = differences(lambda a: float(improvement.score(a[None])[0]), HERE, FREE)
    assert slopes == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_what_is_drawn_is_what_is_believed() -> None:
    believed, points = process(), np.random.default_rng(1).random((3, len(OWNER)))
    drawn = believed.drawn(points, np.random.default_rng(2).normal(size=(100_000, 3)))
    mean, deviation = believed.predict(points)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.01)
    assert drawn.std(axis=0) == pytest.approx(deviation, rel=0.01)
    both = np.r_[points[:1], points[:1] + 1e-6]  # nearly the same point: nearly the same outcome
    one, other = believed.drawn(both, np.random.default_rng(3).normal(size=(1000, 2))).T
    assert np.abs(one - other).max() < 0.02


def test_of_the_hypervolume() -> None:
    processes, losses = [process(0), process(1)], np.stack([observed(0)[1], observed(1)[1]], axis=1)
    improvement = HypervolumeImprovement(processes, losses, np.random.default_rng(0))
    value, slopes = improvement.slope(HERE, FREE)
    assert value == pytest.approx(float(improvement.score(HERE[None])[0]))
    expected = differences(lambda a: float(improvement.score(a[None])[0]), HERE, FREE)
    assert slopes == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_of_the_hyperparameters() -> None:
    x, y = observed()
    posterior = _Posterior(x, y, OWNER)
    theta = np.array([0.1, 0.4, -0.3, 0.2, -2.0, 0.1, -4.0])
    expected = differences(lambda t: posterior(t)[0], theta, range(len(theta)))
    assert posterior(theta)[1] == pytest.approx(expected, rel=1e-4, abs=1e-5)
