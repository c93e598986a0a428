"""Hyperparameter tuning inside a training job (api.md 2.7): its spec as a study, and its trials as the job shows them.

A trial is kept as JSON beside the job's message:

    {"id": 7, "parameters": [...], "state": "RUNNING", "measurements": [...], "startTime", "endTime", "stopped": true}

Parameters and measurements are in the words of studies, so that the optimizer is asked as it is for those. A job that
resumes another begins with that one's trials, which are `old`: they teach, and are not shown again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlgate.core.errors import FailedPrecondition, InvalidArgument
from mlgate.core.jobs import FAILED, RUNNING, SUCCEEDED, is_ended
from mlgate.core.vizier.study import GAUSSIAN_PROCESS, StudyConfig

Json = dict[str, Any]

DEFAULT_METRIC = "training/hptuning/metric"
#: As many as a study may have.
MOST_TRIALS = 1000
MOST_MEASUREMENTS = 1000
#: Where maxFailedTrials is not given: a job none of whose trials succeeds ends after so many.
HOPELESS = 5
_FIELD = "job.trainingInput.hyperparameters"
_VALUES = ("floatValue", "intValue", "stringValue")


def check(spec: Mapping[str, Any]) -> None:
    """Raises InvalidArgument."""
    for field in ("maxTrials", "maxParallelTrials"):
        if not 1 <= int(spec.get(field, 1)) <= MOST_TRIALS:
            raise _refuse(field, f"{field} is {spec[field]}; it must be between 1 and {MOST_TRIALS}.")
    if int(spec.get("maxFailedTrials") or 0) < 0:
        raise _refuse("maxFailedTrials", f"maxFailedTrials is {spec['maxFailedTrials']}; it must not be negative.")
    if not spec.get("params"):
        raise _refuse("params", "params is required: the parameters that are to be tuned.")
    try:
        StudyConfig.parse(study_config(spec))
    except InvalidArgument as error:
        fields = [(field.replace("studyConfig.parameters", f"{_FIELD}.params"), text) for field, text in error.fields]
        raise InvalidArgument(
            error.message.replace("studyConfig.parameters", "params"),
            fields=[(field.replace("studyConfig", _FIELD), text) for field, text in fields],
        ) from None


def study_config(spec: Mapping[str, Any]) -> Json:
    """The spec in the words of studies."""
    algorithm = spec.get("algorithm", "ALGORITHM_UNSPECIFIED")
    goal = spec.get("goal", "GOAL_TYPE_UNSPECIFIED")
    config: Json = {
        "algorithm": GAUSSIAN_PROCESS if algorithm == "ALGORITHM_UNSPECIFIED" else algorithm,
        "metrics": [{"metric": metric(spec), "goal": "MAXIMIZE" if goal == "GOAL_TYPE_UNSPECIFIED" else goal}],
        "parameters": [_parameter(param) for param in spec.get("params") or ()],
    }
    if spec.get("enableTrialEarlyStopping"):
        config["automatedStoppingConfig"] = {"medianAutomatedStoppingConfig": {}}
    return config


def metric(spec: Mapping[str, Any]) -> str:
    return str(spec.get("hyperparameterMetricTag") or DEFAULT_METRIC)


def _parameter(param: Mapping[str, Any]) -> Json:
    kind = param.get("type", "PARAMETER_TYPE_UNSPECIFIED")
    low, high = param.get("minValue", 0.0), param.get("maxValue", 0.0)
    made: Json = {"parameter": param.get("parameterName", ""), "type": kind}
    match kind:
        case "DOUBLE":
            made["doubleValueSpec"] = {"minValue": low, "maxValue": high}
        case "INTEGER":
            made["integerValueSpec"] = {"minValue": _whole(low, "minValue"), "maxValue": _whole(high, "maxValue")}
        case "CATEGORICAL":
            made["categoricalValueSpec"] = {"values": param.get("categoricalValues") or []}
        case "DISCRETE":
            made["discreteValueSpec"] = {"values": param.get("discreteValues") or []}
    scale = param.get("scaleType", "NONE")
    if scale != "NONE" and kind != "CATEGORICAL":
        made["scaleType"] = scale
    return made


def _whole(value: float, field: str) -> str:
    if not (math.isfinite(value) and float(value).is_integer()):
        raise _refuse("params", f"An INTEGER parameter has a whole {field}, not {value}.")
    return str(int(value))


# ----------------------------------------------------------------------------------------------------------- trials


def resumed(spec: Mapping[str, Any], previous: Mapping[str, Any], hidden: Mapping[str, Any]) -> list[Json]:
    """The trials with which a job begins that resumes a previous one. Raises FailedPrecondition."""
    before = previous.get("trainingInput", {}).get("hyperparameters")
    name = previous["jobId"]
    if before is None:
        raise FailedPrecondition(f"The job {name} has tuned nothing, so it cannot be resumed.")
    if not is_ended(previous):
        raise FailedPrecondition(f"The job {name} is {previous['state']}: it can be resumed once it has ended.")
    old, new = study_config(before), study_config(spec)
    if (old["parameters"], old["metrics"]) != (new["parameters"], new["metrics"]):
        raise FailedPrecondition(f"The job {name} has other params, goal or hyperparameterMetricTag than this one.")
    return [{**trial, "old": True} for trial in hidden.get("trials", ()) if trial["state"] == SUCCEEDED]


def question(spec: Mapping[str, Any], trials: Sequence[Json], name: str, ask: str, **more: Any) -> Json:
    """What the optimizer is to be asked."""
    shown = []
    for trial in trials:
        plain: Json = {"name": f"{name}/trials/{trial['id']}", "parameters": trial["parameters"], "state": "ACTIVE"}
        measurements = trial.get("measurements") or []
        if ask == "stop":
            plain["measurements"] = measurements
        if trial["state"] == SUCCEEDED and measurements:
            plain |= {"state": "COMPLETED", "finalMeasurement": measurements[-1]}
        elif trial["state"] not in (RUNNING, "PREPARING"):
            plain |= {"state": "COMPLETED", "trialInfeasible": True}
        shown.append(plain)
    return {"ask": ask, "config": study_config(spec), "trials": shown, "study": name, **more}


def arguments(parameters: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the program is given for them."""
    return [f"--{name}={value}" for name, value in spoken(parameters).items()]


def spoken(parameters: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Values as text; a whole number without a fraction, which every program can read."""
    said = {}
    for each in parameters:
        value = next(each[name] for name in _VALUES if name in each)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        said[str(each["parameter"])] = str(value)
    return said


def measured(trial: Json, wanted: str, found: Iterable[tuple[int, float, float]]) -> bool:
    """Add measurements (step, seconds since 1970, value) to a trial; whether any is new. A step's last one counts."""
    have = {int(each["stepCount"]): each["metrics"][0]["value"] for each in trial.get("measurements") or ()}
    before = dict(have)
    for step, _, value in sorted(found, key=lambda each: (each[0], each[1])):
        if step in have or len(have) < MOST_MEASUREMENTS:
            have[step] = value
    trial["measurements"] = [
        {"stepCount": str(step), "metrics": [{"metric": wanted, "value": value}]}
        for step, value in sorted(have.items())
    ]
    return have != before


def reported(text: bytes, wanted: str) -> list[tuple[int, float, float]]:
    """(step, time, value) of each line that cloudml-hypertune wrote for a metric; other lines are left out."""
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            step, time, value = int(entry.get("global_step") or 0), float(entry["timestamp"]), float(entry[wanted])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            continue  # a job writes there what it likes, and may be writing now
        if step >= 0 and math.isfinite(value) and math.isfinite(time):
            found.append((step, time, value))
    return found


def has_failed(spec: Mapping[str, Any], trials: Sequence[Json]) -> bool:
    """Whether so many trials have failed that the job does."""
    mine = [trial for trial in trials if not trial.get("old")]
    failed = sum(trial["state"] == FAILED for trial in mine)
    limit = int(spec.get("maxFailedTrials") or 0)
    if limit:
        return bool(failed >= limit)
    is_hopeless = not any(trial["state"] == SUCCEEDED for trial in mine)
    return bool(failed >= (min(HOPELESS, int(spec.get("maxTrials", 1))) if is_hopeless else MOST_TRIALS))


def output(spec: Mapping[str, Any], trials: Sequence[Json]) -> Json:
    """trainingOutput, the best trial first; those without a result follow in the order of their numbers."""
    sign = 1 if spec.get("goal") == "MINIMIZE" else -1
    mine = [trial for trial in trials if not trial.get("old")]

    def place(trial: Json) -> tuple[bool, float, int]:
        value = _final(trial)
        return value is None, 0.0 if value is None else sign * value["objectiveValue"], trial["id"]

    completed = sum(trial["state"] == SUCCEEDED for trial in mine)
    return {
        "isHyperparameterTuningJob": True,
        "hyperparameterMetricTag": metric(spec),
        **({"completedTrialCount": str(completed)} if completed else {}),
        "trials": [_shown(trial) for trial in sorted(mine, key=place)],
    }


def _shown(trial: Json) -> Json:
    shown: Json = {
        "trialId": str(trial["id"]),
        "hyperparameters": spoken(trial["parameters"]),
        "state": trial["state"],
        **{name: trial[name] for name in ("startTime", "endTime") if name in trial},
    }
    final = _final(trial)
    if final is not None:
        shown["finalMetric"] = final
    return {**shown, "isTrialStoppedEarly": True} if trial.get("stopped") else shown


def _final(trial: Json) -> Json | None:
    measurements = trial.get("measurements") or []
    if not measurements:
        return None
    last = measurements[-1]
    return {"objectiveValue": last["metrics"][0]["value"], "trainingStep": last["stepCount"]}


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(f"{_FIELD}.{field}", message)])
