"""What a study is made of, as it is typed: a file in the words of the API, or parameters and metrics one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlgate.cli.failure import Failure

_KINDS = {"double": "DOUBLE", "int": "INTEGER", "category": "CATEGORICAL", "discrete": "DISCRETE"}
_SCALES = {"linear": "UNIT_LINEAR_SCALE", "log": "UNIT_LOG_SCALE", "reverse-log": "UNIT_REVERSE_LOG_SCALE"}
_STOPPING = {"decay": "decayCurveStoppingConfig", "median": "medianAutomatedStoppingConfig"}
_ALGORITHMS = {"gp": "GAUSSIAN_PROCESS_BANDIT", "grid": "GRID_SEARCH", "random": "RANDOM_SEARCH"}
PARAMETER_HELP = "NAME=double:LOW:HIGH[:log], NAME=int:LOW:HIGH, NAME=category:A,B or NAME=discrete:1,2,4."


def config_of(
    file: Path | None, parameters: list[str], metrics: list[str], algorithm: str, stopping: str
) -> dict[str, Any]:
    """The StudyConfig. Raises Failure."""
    config = _read(file) if file is not None else {}
    if parameters:
        config["parameters"] = [*config.get("parameters", []), *map(parameter_of, parameters)]
    if metrics:
        config["metrics"] = [*config.get("metrics", []), *map(_metric, metrics)]
    if algorithm:
        config["algorithm"] = _ALGORITHMS.get(algorithm, algorithm)
    if stopping:
        rule, _, along = stopping.partition(":")
        if rule not in _STOPPING or along not in ("", "time"):
            raise _refuse(f'"{stopping}" is no stopping rule: decay, median, decay:time or median:time.')
        config["automatedStoppingConfig"] = {_STOPPING[rule]: {"useElapsedTime": along == "time"}}
    if not config:
        raise _refuse("A study needs parameters and metrics: give --parameter and --metric, or --config.")
    return config


def parameter_of(text: str) -> dict[str, Any]:
    """`lr=double:0.001:0.1:log` as a ParameterSpec. Raises Failure."""
    name, _, spec = text.partition("=")
    kind, _, rest = spec.partition(":")
    made: dict[str, Any] = {"parameter": name, "type": _KINDS.get(kind)}
    try:
        if kind == "category":
            return {**made, "categoricalValueSpec": {"values": rest.split(",")}}
        values, _, scale = rest.partition(":") if kind == "discrete" else _bounds(rest)
        if scale:
            made["scaleType"] = _SCALES[scale]
        if kind == "discrete":
            return {**made, "discreteValueSpec": {"values": [float(value) for value in values.split(",")]}}
        low, high = values.split(":")
        if kind == "int":
            return {**made, "integerValueSpec": {"minValue": str(int(low)), "maxValue": str(int(high))}}
        if kind == "double":
            return {**made, "doubleValueSpec": {"minValue": float(low), "maxValue": float(high)}}
    except (ValueError, KeyError):
        pass
    raise _refuse(f'"{text}" is no parameter: write {PARAMETER_HELP}')


def _bounds(text: str) -> tuple[str, str, str]:
    low, _, rest = text.partition(":")
    high, colon, scale = rest.partition(":")
    return f"{low}:{high}", colon, scale


def _metric(text: str) -> dict[str, str]:
    """`loss:minimize`, or `accuracy`, which is maximized."""
    name, _, goal = text.partition(":")
    if goal.lower() not in ("", "minimize", "maximize"):
        raise _refuse(f'"{text}" is no metric: write NAME, NAME:minimize or NAME:maximize.')
    return {"metric": name, "goal": goal.upper() or "MAXIMIZE"}


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        read = yaml.safe_load(file.read_text())
    except OSError as error:
        raise _refuse(f"{file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _refuse(f"{file} is neither YAML nor JSON: {str(error).splitlines()[0]}.") from None
    if not isinstance(read, dict):
        raise _refuse(f"{file} holds no study: an object with parameters and metrics.")
    inner = read.get("studyConfig", read.get("study_config", read))
    return dict(inner) if isinstance(inner, dict) else {}


def _refuse(message: str) -> Failure:
    return Failure("INVALID_ARGUMENT", message)
