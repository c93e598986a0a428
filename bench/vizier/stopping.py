"""The stopping rules on 120 real learning curves: log loss of gradient boosting after 10, 20, 40, 80, 160 rounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.vizier.problems import tables
from mlgate.core.vizier.stopping import should_stop
from mlgate.core.vizier.study import COMPLETED, Measurement, StudyConfig, Trial

STEPS = (10, 20, 40, 80, 160)
TRIALS, SHUFFLES = 40, 20
RULES = {"none": {}, "median": {"medianAutomatedStoppingConfig": {}}, "decay curve": {"decayCurveStoppingConfig": {}}}


def table() -> Iterator[str]:
    yield "| rule | share of steps run | median loss of the best value | worst loss | runs that lost the best trial |"
    yield "|---|---|---|---|---|"
    curves = np.array(tables()["gbt"]["err"]).transpose(0, 1, 3, 2).reshape(-1, len(STEPS))
    for name, rule in RULES.items():
        runs = np.array([_run(curves, rule, shuffle) for shuffle in range(SHUFFLES)])
        share, loss = runs.T
        yield (
            f"| {name} | {np.median(share):.2f} | {np.median(loss):.4f} | {loss.max():.4f} "
            f"| {np.mean(loss > 1e-9):.0%} |"
        )


def _run(curves: Any, rule: dict[str, Any], shuffle: int) -> tuple[float, float]:
    """The share of the steps that were run, and by how much the best value seen misses the best there was."""
    parameter = {"parameter": "x", "type": "DOUBLE", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}
    metrics = [{"metric": "loss", "goal": "MINIMIZE"}]
    config = StudyConfig.parse({"parameters": [parameter], "metrics": metrics, "automatedStoppingConfig": rule})
    chosen = curves[np.random.default_rng(shuffle).permutation(len(curves))[:TRIALS]]
    trials: list[Trial] = []
    steps = 0
    for at, values in enumerate(chosen, 1):
        measured: list[Measurement] = []
        for step, value in zip(STEPS, values, strict=True):
            measured.append(Measurement(step, float(step), {"loss": float(value)}))
            running = Trial(at, {"x": 0.5}, measurements=tuple(measured))
            if step < STEPS[-1] and should_stop(config, trials, running):
                break
        steps += measured[-1].steps
        trials.append(Trial(at, {"x": 0.5}, COMPLETED, tuple(measured), final=measured[-1]))
    best = min(m.metrics["loss"] for trial in trials for m in trial.measurements)
    return steps / (STEPS[-1] * TRIALS), max(best - float(chosen[:, -1].min()), 0.0)
