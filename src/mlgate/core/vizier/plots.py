"""What the plots of a study show, as plain data: whoever draws needs no rule of Vizier.

Numbers carry a position between 0 and 1 along their scale, so that a log axis is drawn as an even one. Values of
metrics are as the trials reported them. `importance` and `contour` ask a Gaussian process that was fitted to the
trials; they need numpy and scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlgate.core.errors import FailedPrecondition, InvalidArgument
from mlgate.core.vizier.pareto import optimal_trials
from mlgate.core.vizier.space import CATEGORICAL, Parameter, Value
from mlgate.core.vizier.study import Metric, StudyConfig, Trial

Json = dict[str, Any]

MODEL_NEEDS = 5
_SAMPLES, _LEVELS = 256, 24


def history(config: StudyConfig, trials: Sequence[Trial]) -> Json:
    """For each metric the value of each trial in the order of ids, and the best so far."""
    series = []
    for metric in config.metrics:
        points, best = [], None
        for trial in sorted(trials, key=lambda trial: trial.id):
            losses = trial.losses([metric])
            if losses:
                best = losses[0] if best is None else min(best, losses[0])
                points.append({"trial": trial.id, "value": metric.sign * losses[0], "best": metric.sign * best})
        series.append({"metric": metric.name, "goal": _goal(metric), "points": points})
    return {"series": series, "infeasible": [trial.id for trial in trials if trial.infeasible]}


def parallel_coordinates(config: StudyConfig, trials: Sequence[Trial]) -> Json:
    """An axis for each parameter of the tree, a line for each measured trial; a line skips what was inactive in it."""
    lines = []
    for trial in trials:
        losses = trial.losses(config.metrics)
        if losses:
            at = {
                str(parameter.index): _at(parameter, value)
                for parameter, value in config.space.active(trial.parameters)
            }
            lines.append({"trial": trial.id, "metrics": _values(config, losses), "at": at})
    return {"axes": [_axis(parameter) for parameter in config.space.parameters], "lines": lines}


def slices(config: StudyConfig, trials: Sequence[Trial]) -> Json:
    """For each parameter the measured trials in which it was active."""
    panels: dict[int, Json] = {p.index: {"axis": _axis(p), "points": []} for p in config.space.parameters}
    for trial in trials:
        losses = trial.losses(config.metrics)
        for parameter, value in config.space.active(trial.parameters) if losses else ():
            point = {"trial": trial.id, "value": value, "at": _at(parameter, value)}
            panels[parameter.index]["points"].append(point | {"metrics": _values(config, losses or ())})
    return {"panels": list(panels.values())}


def pareto_front(config: StudyConfig, trials: Sequence[Trial]) -> Json:
    """Every measured trial, and whether it is optimal."""
    optimal = {trial.id for trial in optimal_trials(config.metrics, trials)}
    points = [
        {"trial": trial.id, "metrics": _values(config, losses), "optimal": trial.id in optimal}
        for trial in trials
        if (losses := trial.losses(config.metrics))
    ]
    return {"metrics": [{"metric": metric.name, "goal": _goal(metric)} for metric in config.metrics], "points": points}


def importance(config: StudyConfig, trials: Sequence[Trial], metric: str = "") -> Json:
    """How much of what the model expects of the metric varies with each parameter alone; the shares add up to 1.

    Effects that only several parameters have together count for none of them. Raises InvalidArgument,
    FailedPrecondition.
    """
    import numpy as np

    from mlgate.core.vizier.gaussian_process import warp

    chosen = _metric(config, metric)
    encoding, codes, losses = _measured(config, trials, chosen)
    process = _fit(encoding, codes, warp(losses))
    sample = np.random.default_rng(0).random((_SAMPLES, len(config.space.parameters)))
    spread = []
    for parameter in config.space.parameters:
        means = []
        for level in (np.arange(_LEVELS) + 0.5) / _LEVELS:
            sample_here = sample.copy()
            sample_here[:, parameter.index] = level
            means.append(float(process.predict(encoding.features(encoding.sample(sample_here)))[0].mean()))
        spread.append(float(np.var(means)))
    total = sum(spread) or 1.0
    shares = [{**_axis(p), "importance": s / total} for p, s in zip(config.space.parameters, spread, strict=True)]
    return {"metric": chosen.name, "parameters": sorted(shares, key=lambda share: -share["importance"])}


def contour(config: StudyConfig, trials: Sequence[Trial], first: str = "", second: str = "", metric: str = "") -> Json:
    """What the model expects of the metric over two parameters, averaged over the others as the trials had them. Which
    parameter is not named is the most important one.

    `levels[i][j]` belongs to position i of the second and j of the first. Raises InvalidArgument, FailedPrecondition.
    """
    chosen = _metric(config, metric)
    if not (first and second):
        first, second = _most_important(config, trials, first, second, metric)
    across, up = _parameter(config, first, "first"), _parameter(config, second, "second")
    if across.index == up.index:
        raise InvalidArgument(
            f'A contour has two parameters; "{first[:100]}" is given twice.', fields=[("second", "the same")]
        )
    encoding, codes, losses = _measured(config, trials, chosen)
    centre, spread = float(losses.mean()), float(losses.std()) or 1.0
    process = _fit(encoding, codes, (losses - centre) / spread)
    grids = [_positions(parameter) for parameter in (across, up)]
    levels = []
    for row in grids[1]:
        level = []
        for column in grids[0]:
            here = codes.copy()
            here[:, across.index], here[:, up.index] = column, row
            mean = float(process.predict(encoding.features(encoding.canonical(here)))[0].mean())
            level.append(chosen.sign * (centre + spread * mean))
        levels.append(level)
    points = [
        {
            "trial": trial.id,
            "at": [_at(across, held[across.index]), _at(up, held[up.index])],
            "value": chosen.sign * told[0],
        }
        for trial in trials
        if (told := trial.losses([chosen]))
        and {across.index, up.index} <= (held := {p.index: v for p, v in config.space.active(trial.parameters)}).keys()
    ]
    axes = [_axis(across), _axis(up)]
    return {"metric": chosen.name, "axes": axes, "positions": grids, "levels": levels, "points": points}


def _most_important(
    config: StudyConfig, trials: Sequence[Trial], first: str, second: str, metric: str
) -> tuple[str, str]:
    """Two parameters, the named ones among them."""
    ranked = (row["parameter"] for row in importance(config, trials, metric)["parameters"])
    others = [name for name in dict.fromkeys(ranked) if name not in (first, second)]
    if len(others) + bool(first) + bool(second) < 2:
        message = "A contour has two parameters, and this study has only one."
        raise InvalidArgument(message, fields=[("second", message)])
    first = first or others.pop(0)
    return first, second or others.pop(0)


def _measured(config: StudyConfig, trials: Sequence[Trial], metric: Metric) -> Any:
    import numpy as np

    from mlgate.core.vizier.encoding import Encoding
    from mlgate.core.vizier.gaussian_process import telling

    told = [(trial, losses[0]) for trial in trials if (losses := trial.losses([metric]))]
    if len(told) < MODEL_NEEDS:
        raise FailedPrecondition(
            f'{len(told)} trials report "{metric.name[:100]}"; this plot needs {MODEL_NEEDS} or more.'
        )
    shown = telling(np.array([loss for _, loss in told]))  # a model of many takes long and says no more
    encoding = Encoding(config.space)
    return (
        encoding,
        np.array([encoding.encode(told[i][0].parameters) for i in shown]),
        np.array([told[i][1] for i in shown]),
    )


def _fit(encoding: Any, codes: Any, y: Any) -> Any:
    from mlgate.core.vizier.gp import fit

    return fit(encoding.features(codes), y, encoding.owner)


def _metric(config: StudyConfig, name: str) -> Metric:
    for metric in config.metrics:
        if name in ("", metric.name):
            return metric
    message = f'"{name[:100]}" is no metric of this study: {", ".join(metric.name for metric in config.metrics)}.'
    raise InvalidArgument(message, fields=[("metric", message)])


def _parameter(config: StudyConfig, name: str, field: str) -> Parameter:
    for parameter in config.space.parameters:
        if parameter.name == name:
            return parameter
    message = f'"{name[:100]}" is no parameter of this study.'
    raise InvalidArgument(message, fields=[(field, message)])


def _axis(parameter: Parameter) -> Json:
    axis: Json = {"index": parameter.index, "parameter": parameter.name, "type": parameter.kind}
    if parameter.kind == CATEGORICAL:
        return axis | {"values": list(parameter.values)}
    return axis | {"scale": parameter.scale, "low": parameter.low, "high": parameter.high}


def _at(parameter: Parameter, value: Value) -> float:
    """The position of a number; categories stand evenly from 0 to 1."""
    if isinstance(value, str):
        return parameter.values.index(value) / max(parameter.count - 1, 1)
    return parameter.position(value)


def _positions(parameter: Parameter) -> list[float]:
    """Codes to draw a contour over: each category, or steps along the scale."""
    if parameter.kind == CATEGORICAL:
        return [float(i) for i in range(parameter.count)]
    return [i / (_LEVELS - 1) for i in range(_LEVELS)]


def _values(config: StudyConfig, losses: Sequence[float]) -> dict[str, float]:
    return {metric.name: metric.sign * loss for metric, loss in zip(config.metrics, losses, strict=True)}


def _goal(metric: Metric) -> str:
    return "MINIMIZE" if metric.sign > 0 else "MAXIMIZE"
