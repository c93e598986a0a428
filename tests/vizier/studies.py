"""Studies in wire form, and trials, for the tests of the optimizer."""

from __future__ import annotations

from typing import Any

from mlgate.core.vizier.space import Assignment
from mlgate.core.vizier.study import ACTIVE, COMPLETED, Measurement, StudyConfig, Trial

Json = dict[str, Any]


def double(name: str, low: float = 0.0, high: float = 1.0, scale: str | None = None) -> Json:
    return {
        "parameter": name, "type": "DOUBLE", "scaleType": scale, "doubleValueSpec": {"minValue": low, "maxValue": high},
    }  # fmt: skip


def integer(name: str, low: int, high: int, scale: str | None = None) -> Json:
    bounds = {"minValue": str(low), "maxValue": str(high)}
    return {"parameter": name, "type": "INTEGER", "scaleType": scale, "integerValueSpec": bounds}


def category(name: str, *values: str) -> Json:
    return {"parameter": name, "type": "CATEGORICAL", "categoricalValueSpec": {"values": list(values)}}


def discrete(name: str, *values: float) -> Json:
    return {"parameter": name, "type": "DISCRETE", "discreteValueSpec": {"values": list(values)}}


def child(spec: Json, *values: str | int | float) -> Json:
    kinds = {str: "parentCategoricalValues", int: "parentIntValues", float: "parentDiscreteValues"}
    shown = [str(value) if isinstance(value, int) else value for value in values]
    return {**spec, kinds[type(values[0])]: {"values": shown}}


def parent(spec: Json, *children: Json) -> Json:
    return {**spec, "childParameterSpecs": list(children)}


def config(*parameters: Json, algorithm: str | None = None, metrics: str = "y", stopping: Json | None = None) -> Json:
    """`metrics`: names, each minimized, or maximized with a + in front."""
    goals = [
        {"metric": name.lstrip("+"), "goal": "MAXIMIZE" if name.startswith("+") else "MINIMIZE"}
        for name in metrics.split()
    ]
    return {
        "parameters": list(parameters), "metrics": goals, "algorithm": algorithm, "automatedStoppingConfig": stopping,
    }  # fmt: skip


def study(
    *parameters: Json, algorithm: str | None = None, metrics: str = "y", stopping: Json | None = None
) -> StudyConfig:
    return StudyConfig.parse(config(*parameters, algorithm=algorithm, metrics=metrics, stopping=stopping))


TREE = (
    parent(
        category("model", "linear", "tree", "net"),
        child(double("l2", 1e-6, 10.0, "UNIT_LOG_SCALE"), "linear", "net"),
        child(integer("rate", 1, 5), "tree"),
        child(double("rate", 1e-4, 1.0, "UNIT_LOG_SCALE"), "net"),
        child(parent(integer("layers", 1, 3), child(integer("width", 4, 256, "UNIT_LOG_SCALE"), 2, 3)), "net"),
    ),
    parent(
        discrete("sample", 0.25, 0.5, 1.0), child(double("momentum", 0.5, 0.999, "UNIT_REVERSE_LOG_SCALE"), 0.5, 1.0)
    ),
)
FINITE_TREE = (
    parent(category("a", "x", "y"), child(integer("b", 1, 3), "x"), child(discrete("b", 0.5, 2.0), "y")),
    integer("c", 1, 2),
)


def completed(trial_id: int, point: Assignment, *values: float, names: str = "y") -> Trial:
    metrics = dict(zip(names.split(), values, strict=True))
    return Trial(trial_id, point, COMPLETED, final=Measurement(0, 0.0, metrics))


def infeasible(trial_id: int, point: Assignment) -> Trial:
    return Trial(trial_id, point, COMPLETED, infeasible=True)


def pending(trial_id: int, point: Assignment) -> Trial:
    return Trial(trial_id, point, ACTIVE)


def running(trial_id: int, *losses: float, final: bool = False, step: int = 1) -> Trial:
    """A trial measured at steps 1, 2, 3, ... times `step`."""
    measured = tuple(Measurement(step * i, 10.0 * i, {"y": loss}) for i, loss in enumerate(losses, 1))
    return Trial(trial_id, {"x": 0.5}, COMPLETED if final else ACTIVE, measured, final=measured[-1] if final else None)
