"""A study and its trials as the optimizer sees them, read from wire form: values only, no names of resources."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlgate.core.vizier.space import DOUBLE, Assignment, Json, Space, Value, key, parse_integer, refuse
from mlgate.core.wire import parse_duration

GAUSSIAN_PROCESS, GRID, RANDOM = "GAUSSIAN_PROCESS_BANDIT", "GRID_SEARCH", "RANDOM_SEARCH"
REQUESTED, ACTIVE, STOPPING, COMPLETED = "REQUESTED", "ACTIVE", "STOPPING", "COMPLETED"


@dataclass(frozen=True)
class Metric:
    """What is measured. `sign` times its value is a loss: smaller is better."""

    name: str
    sign: float = -1.0


@dataclass(frozen=True)
class Stopping:
    """Which rule stops unpromising trials ("decay" or "median"), and what its curves run along."""

    rule: str
    use_elapsed_time: bool = False


@dataclass(frozen=True)
class StudyConfig:
    space: Space
    metrics: tuple[Metric, ...]
    algorithm: str = GAUSSIAN_PROCESS
    stopping: Stopping | None = None

    @classmethod
    def parse(cls, config: Json | None, field: str = "studyConfig") -> StudyConfig:
        """Raises InvalidArgument, with the field at fault."""
        if not config:
            raise refuse(field, f"{field} is required: parameters and metrics of the study.")
        space = Space.parse(config.get("parameters"), f"{field}.parameters")
        metrics = _metrics(config.get("metrics"), f"{field}.metrics")
        algorithm = config.get("algorithm") or "ALGORITHM_UNSPECIFIED"
        if algorithm == "ALGORITHM_UNSPECIFIED":
            algorithm = GAUSSIAN_PROCESS
        if algorithm not in (GAUSSIAN_PROCESS, GRID, RANDOM):
            message = f'"{algorithm[:50]}" is no algorithm: one of {GAUSSIAN_PROCESS}, {GRID}, {RANDOM}.'
            raise refuse(f"{field}.algorithm", message)
        doubles = [parameter.name for parameter in space.parameters if parameter.kind == DOUBLE]
        if algorithm == GRID and doubles:
            message = (
                f'{GRID} needs a finite space; "{doubles[0][:100]}" is DOUBLE. Use DISCRETE, or another algorithm.'
            )
            raise refuse(f"{field}.algorithm", message)
        stopping = _stopping(config.get("automatedStoppingConfig"), f"{field}.automatedStoppingConfig")
        return cls(space, metrics, algorithm, stopping)


@dataclass(frozen=True)
class Measurement:
    steps: int
    seconds: float
    metrics: Mapping[str, float]

    @classmethod
    def parse(cls, measurement: Json, field: str = "measurement") -> Measurement:
        """Raises InvalidArgument."""
        try:
            steps = parse_integer(measurement.get("stepCount") or 0)
            if steps < 0:
                raise ValueError
        except (ValueError, OverflowError):
            message = f'stepCount is a whole number from 0; "{str(measurement["stepCount"])[:40]}" is given.'
            raise refuse(f"{field}.stepCount", message) from None
        elapsed = measurement.get("elapsedTime") or 0.0
        try:
            seconds = elapsed if isinstance(elapsed, (int, float)) else parse_duration(elapsed)
        except ValueError as error:
            raise refuse(f"{field}.elapsedTime", f"elapsedTime: {error}.") from None
        metrics: dict[str, float] = {}
        for i, item in enumerate(measurement.get("metrics") or ()):
            name = item.get("metric") or ""
            if name in metrics:
                raise refuse(f"{field}.metrics[{i}].metric", f'The metric "{name[:100]}" is given twice.')
            if item.get("value") is None:
                raise refuse(f"{field}.metrics[{i}].value", f'The metric "{name[:100]}" has no value.')
            metrics[name] = float(item["value"])
        return cls(steps, float(seconds), metrics)

    def along(self, use_elapsed_time: bool) -> float:
        return self.seconds if use_elapsed_time else float(self.steps)


@dataclass(frozen=True)
class Trial:
    """A point of the space and what became of it. `id` grows from 1 within its study."""

    id: int
    parameters: Assignment
    state: str = ACTIVE
    measurements: tuple[Measurement, ...] = ()
    final: Measurement | None = None
    infeasible: bool = False
    client: str = ""

    @classmethod
    def parse(cls, space: Space, trial: Json, trial_id: int) -> Trial:
        """Raises InvalidArgument."""
        final = trial.get("finalMeasurement")
        return cls(
            id=trial_id,
            parameters=space.read(trial.get("parameters")),
            state=trial.get("state") or REQUESTED,
            measurements=tuple(
                Measurement.parse(item, f"trial.measurements[{i}]")
                for i, item in enumerate(trial.get("measurements") or ())
            ),
            final=None if final is None else Measurement.parse(final, "trial.finalMeasurement"),
            infeasible=bool(trial.get("trialInfeasible")),
            client=trial.get("clientId") or "",
        )

    @cached_property
    def key(self) -> frozenset[tuple[str, Value]]:
        return key(self.parameters)

    @property
    def is_pending(self) -> bool:
        return self.state != COMPLETED

    def losses(self, metrics: Sequence[Metric]) -> list[float] | None:
        """The outcome, smaller is better; None unless it is feasible and reports every metric as a number."""
        if self.state != COMPLETED or self.infeasible or self.final is None:
            return None
        values = [metric.sign * self.final.metrics.get(metric.name, math.nan) for metric in metrics]
        return values if all(math.isfinite(value) for value in values) else None


def seed_of(study_name: str) -> int:
    """The seed of everything random in a study: its suggestions are the same wherever they are computed."""
    return int.from_bytes(hashlib.sha256(study_name.encode()).digest()[:8])


def _metrics(specs: Sequence[Json] | None, field: str) -> tuple[Metric, ...]:
    if not specs:
        raise refuse(field, f"{field} is required: what is to be maximized or minimized?")
    metrics: dict[str, Metric] = {}
    for i, spec in enumerate(specs):
        name, goal = spec.get("metric"), spec.get("goal") or "GOAL_TYPE_UNSPECIFIED"
        if not name:
            raise refuse(f"{field}[{i}].metric", f"{field}[{i}].metric is required: the name of the metric.")
        if name in metrics:
            raise refuse(f"{field}[{i}].metric", f'The metric "{name[:100]}" is given twice.')
        if goal not in ("GOAL_TYPE_UNSPECIFIED", "MAXIMIZE", "MINIMIZE"):
            raise refuse(f"{field}[{i}].goal", f'"{goal[:50]}" is no goal: MAXIMIZE or MINIMIZE.')
        metrics[name] = Metric(name, 1.0 if goal == "MINIMIZE" else -1.0)
    return tuple(metrics.values())


def _stopping(config: Json | None, field: str) -> Stopping | None:
    decay = (config or {}).get("decayCurveStoppingConfig")
    median = (config or {}).get("medianAutomatedStoppingConfig")
    if decay is not None and median is not None:
        raise refuse(field, f"{field} takes decayCurveStoppingConfig or medianAutomatedStoppingConfig, not both.")
    chosen = decay if decay is not None else median
    if chosen is None:
        return None
    return Stopping("median" if decay is None else "decay", bool(chosen.get("useElapsedTime")))
