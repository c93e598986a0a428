"""Trials: which states they walk through, and what may be said of them in each. All in the trial's own JSON.

    (created) -> REQUESTED -> ACTIVE -> STOPPING
        |                       |          |
        v                       v          v
    COMPLETED <-----------------+----------+

A trial that is created with its outcome is COMPLETED at once; one without is REQUESTED until a client gets it. Only an
ACTIVE or STOPPING trial is measured or completed, and a COMPLETED one never changes: it has a finalMeasurement or is
trialInfeasible (Trial.state in the `ml` v1 document).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlgate.core.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from mlgate.core.names import id_of
from mlgate.core.vizier.space import refuse
from mlgate.core.vizier.study import ACTIVE, COMPLETED, REQUESTED, STOPPING, Measurement, StudyConfig
from mlgate.core.wire import format_duration, format_timestamp, parse_timestamp

Json = dict[str, Any]

MAX_MEASUREMENTS = 5000
MAX_REASON = 4096
_RUNNING = (ACTIVE, STOPPING)
_REASON_ALONE = "infeasibleReason goes with trialInfeasible only."


def created(config: StudyConfig, given: Mapping[str, Any], now: datetime) -> Json:
    """A trial of the user's own. With an outcome it is a known result, without one it waits for a client.

    Raises InvalidArgument.
    """
    trial: Json = {"state": REQUESTED, "parameters": config.space.write(config.space.read(given.get("parameters")))}
    for i, measurement in enumerate(given.get("measurements") or ()):
        trial = _with_measurement(config, trial, measurement, f"trial.measurements[{i}]")
    final, infeasible = given.get("finalMeasurement"), bool(given.get("trialInfeasible"))
    if given.get("infeasibleReason") and not infeasible:
        raise refuse("trial.infeasibleReason", _REASON_ALONE)
    wanted = given.get("state") or "STATE_UNSPECIFIED"
    if final is not None or infeasible or wanted == COMPLETED:
        return _ended(config, trial, final, infeasible, given.get("infeasibleReason") or "", now, "trial.")
    if wanted not in ("STATE_UNSPECIFIED", REQUESTED):
        raise refuse("trial.state", f"A new trial is REQUESTED or COMPLETED; suggest makes it ACTIVE, not {wanted}.")
    return trial


def suggested(parameters: list[Json], client: str, now: datetime) -> Json:
    return handed_out({"parameters": parameters, "state": REQUESTED}, client, now)


def handed_out(trial: Json, client: str, now: datetime) -> Json:
    return {**trial, "state": ACTIVE, "clientId": client, "startTime": format_timestamp(now)}


def measured(config: StudyConfig, trial: Json, measurement: Json, now: datetime) -> Json:
    """With one more measurement, in its place: they are ordered by (steps, elapsed time), and a later report for the
    same place replaces the earlier one. Raises InvalidArgument, FailedPrecondition, ResourceExhausted."""
    _check_running(trial, "measured")
    return _with_measurement(config, trial, _timed(trial, measurement, now), "measurement")


def completed(
    config: StudyConfig, trial: Json, final: Json | None, infeasible: bool, reason: str, now: datetime
) -> Json:
    """Without a final measurement the last reported one counts; `infeasible` wins over either.

    Raises InvalidArgument, FailedPrecondition.
    """
    _check_running(trial, "completed")
    return _ended(config, trial, None if final is None else _timed(trial, final, now), infeasible, reason, now)


def stopped(trial: Json) -> Json:
    """Whoever runs it should end it; one that is ending or ended stays as it is. Raises FailedPrecondition."""
    if trial["state"] == REQUESTED:
        raise FailedPrecondition(f"Trial {_id(trial)} is REQUESTED: nobody runs it. Delete it instead.")
    return {**trial, "state": STOPPING} if trial["state"] == ACTIVE else trial


def _ended(
    config: StudyConfig, trial: Json, final: Json | None, infeasible: bool, reason: str, now: datetime, at: str = ""
) -> Json:
    if reason and not infeasible:
        raise refuse(f"{at}infeasibleReason", _REASON_ALONE)
    if len(reason) > MAX_REASON:
        raise refuse(f"{at}infeasibleReason", f"infeasibleReason is longer than {MAX_REASON} characters.")
    ended = {**trial, "state": COMPLETED, "endTime": format_timestamp(now)}
    if infeasible:
        ended["trialInfeasible"] = True
        return ended | ({"infeasibleReason": reason} if reason else {})
    if final is None and not trial.get("measurements"):
        message = "finalMeasurement is required: the trial has no measurement yet. Or set trialInfeasible."
        raise refuse(f"{at}finalMeasurement", message)
    if final is not None:
        _check(config, final, f"{at}finalMeasurement")
    return ended | {"finalMeasurement": final if final is not None else trial["measurements"][-1]}


def _with_measurement(config: StudyConfig, trial: Json, measurement: Json, field: str) -> Json:
    place = _place(_check(config, measurement, field))
    others = [m for m in trial.get("measurements", ()) if _place(Measurement.parse(m)) != place]
    if len(others) >= MAX_MEASUREMENTS:
        raise ResourceExhausted(f"A trial has at most {MAX_MEASUREMENTS} measurements.")
    kept = sorted([*others, measurement], key=lambda m: _place(Measurement.parse(m)))
    return {**trial, "measurements": kept}


def _check(config: StudyConfig, given: Json, field: str) -> Measurement:
    """Raises InvalidArgument for a measurement that tells the study nothing."""
    measurement = Measurement.parse(given, field)
    if measurement.seconds < 0:
        raise refuse(f"{field}.elapsedTime", "elapsedTime must not be negative.")
    known = [metric.name for metric in config.metrics]
    if not any(name in measurement.metrics for name in known):
        told = ", ".join(name[:100] for name in list(measurement.metrics)[:10]) or "none"
        raise refuse(f"{field}.metrics", f"The study's metrics are {', '.join(known)[:1000]}; given: {told}.")
    return measurement


def _place(measurement: Measurement) -> tuple[int, float]:
    return measurement.steps, measurement.seconds


def _timed(trial: Json, measurement: Json, now: datetime) -> Json:
    """With the time since the trial started, where the client does not say."""
    if measurement.get("elapsedTime") is not None or "startTime" not in trial:
        return measurement
    seconds = max(0.0, (now - parse_timestamp(trial["startTime"])).total_seconds())
    return {**measurement, "elapsedTime": format_duration(seconds)}


def _check_running(trial: Json, what: str) -> None:
    if trial["state"] not in _RUNNING:
        raise FailedPrecondition(
            f"Trial {_id(trial)} is {trial['state']}: only an ACTIVE or STOPPING one can be {what}."
        )


def _id(trial: Json) -> str:
    return id_of(trial.get("name", ""))


def check_client(client: str | None) -> str:
    """Raises InvalidArgument."""
    if not client or len(client) > 500:
        message = "clientId is required: the name of whoever runs the trials, at most 500 characters."
        raise InvalidArgument(message, fields=[("clientId", message)])
    return client
