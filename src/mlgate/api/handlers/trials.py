"""Trials: what a study tries. Each is decided on its study (R-005)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mlgate import studies
from mlgate.api import operations, suggestions
from mlgate.api.call import Call
from mlgate.api.json_body import read_body
from mlgate.api.messages.message import Empty, Message, encode
from mlgate.api.messages.operations import Operation
from mlgate.api.messages.studies import (
    AddTrialMeasurementRequest,
    CheckTrialEarlyStoppingStateRequest,
    CompleteTrialRequest,
    ListOptimalTrialsRequest,
    StopTrialRequest,
    SuggestTrialsRequest,
    Trial,
)
from mlgate.core import lro, trials
from mlgate.core.names import id_of, join, parent_of
from mlgate.core.vizier.pareto import optimal_trials
from mlgate.core.vizier.questions import parsed
from mlgate.core.vizier.space import refuse
from mlgate.core.vizier.stopping import Forecast, has_rule, verdict
from mlgate.core.vizier.study import ACTIVE, STOPPING, StudyConfig
from mlgate.core.vizier.study import Trial as StudyTrial
from mlgate.core.wire import format_timestamp
from mlgate.ports import Record, Transaction

Json = dict[str, Any]


def create_trial(call: Call, body: Trial) -> Json:
    """A point of the user's own: to be run by the next client that asks, or with its outcome, a known result.

    Raises InvalidArgument, ResourceExhausted.
    """
    study = _study(call, call.resource)
    trial = trials.created(_config(study), encode(body), call.now)
    record = studies.add_trial(call.tx, study, trial, call.now)
    call.tx.update(study)
    return record.body


def get_trial(call: Call) -> Json:
    return call.record(call.params["name"], studies.TRIAL).body


def list_trials(call: Call) -> Json:
    """All of them, in their order: this method has no pages."""
    study = _study(call, call.resource)
    return {"trials": [record.body for record in studies.trials_of(call.tx, study.name)]}


def list_optimal_trials(call: Call, _: ListOptimalTrialsRequest) -> Json:
    """The best ones; with several metrics those that no other trial dominates."""
    study = _study(call, call.resource)
    config = _config(study)
    trials = parsed(config, [trial.told for trial in call.services.completed.of(call.tx, study)[0]])
    optimal = (join(study.name, "trials", str(trial.id)) for trial in optimal_trials(config.metrics, trials))
    return {"trials": [call.record(name, studies.TRIAL).body for name in optimal]}


def add_measurement(call: Call, body: AddTrialMeasurementRequest) -> Json:
    record, study = _trial(call)
    measurement = _required(body.measurement, "measurement")
    record.body = trials.measured(_config(study), record.body, measurement, call.now)
    call.tx.update(record)
    return record.body


def complete_trial(call: Call, body: CompleteTrialRequest) -> Json:
    record, study = _trial(call)
    final = None if body.final_measurement is None else encode(body.final_measurement)
    record.body = trials.completed(
        _config(study), record.body, final, bool(body.trial_infeasible), body.infeasible_reason or "", call.now
    )
    return _stored(call, record, study)


def stop_trial(call: Call, _: StopTrialRequest) -> Json:
    record, study = _trial(call)
    record.body = trials.stopped(record.body)
    return _stored(call, record, study)


def delete_trial(call: Call) -> Empty:
    record, study = _trial(call)
    call.tx.delete(record.name)
    studies.note(study, record, gone=True)
    call.tx.update(study)
    return Empty()


async def suggest_trials(call: Call) -> Operation:
    """An operation that gives the client its pending trials, or new ones; done at once unless it takes long.

    Raises InvalidArgument; ResourceExhausted when the study has no more trials to give.
    """
    body = await read_body(call, SuggestTrialsRequest)
    client = trials.check_client(body.client_id)
    count = body.suggestion_count or 0
    if not 1 <= count <= studies.MAX_TRIALS:
        raise refuse("suggestionCount", f"suggestionCount is required: from 1 to {studies.MAX_TRIALS}.")
    return await suggestions.suggest(call, client, count)


async def check_early_stopping_state(call: Call) -> Operation:
    """Whether whoever runs the trial should end it: by the study's rule, or because somebody stopped it. Changes
    nothing."""
    await read_body(call, CheckTrialEarlyStoppingStateRequest)
    study, said = await call.on_thread(lambda tx: _verdict(call, tx))
    should_stop = await suggestions.think(call.services, said) if isinstance(said, dict) else said

    def store(tx: Transaction) -> Operation:
        call.tx = tx
        trial = call.params["name"]
        location = parent_of(study) or ""
        record = operations.begin_of_study(call, location, lro.CHECK_TYPE, study=study, trial=trial)
        times = {"startTime": format_timestamp(call.now), "endTime": format_timestamp(call.services.clock.now())}
        response = {"@type": lro.CHECK_RESPONSE_TYPE, "shouldStop": should_stop, **times}
        record.body = lro.succeeded(record.body, call.now, response)
        tx.update(record)
        return operations.message(record)

    return await call.on_thread(store, write=True)


def _verdict(call: Call, tx: Transaction) -> tuple[str, bool | Json]:
    """The study, and the answer; or what the optimizer is to be asked for it."""
    call.tx = tx
    record, study = _trial(call)
    config = _config(study)
    if record.body["state"] != ACTIVE or not has_rule(config):
        return study.name, record.body["state"] == STOPPING
    completed, _ = call.services.completed.of(tx, study)
    curves = [trial.curve for trial in completed if trial.curve is not None]
    finals = [trial.losses[0] for trial in completed if trial.losses]
    said = verdict(config, curves, finals, StudyTrial.parse(config.space, record.body, int(id_of(record.name))))
    return study.name, {"ask": "forecast", **asdict(said)} if isinstance(said, Forecast) else said


def _study(call: Call, name: str) -> Record:
    return call.record(name, studies.STUDY)


def _trial(call: Call) -> tuple[Record, Record]:
    """The trial that the URL names, and its study."""
    record = call.record(call.params["name"], studies.TRIAL)
    return record, _study(call, record.parent)


def _config(study: Record) -> StudyConfig:
    return StudyConfig.parse(study.body["studyConfig"])


def _stored(call: Call, record: Record, study: Record) -> Json:
    studies.note(study, record)
    call.tx.update(record)
    call.tx.update(study)
    return record.body


def _required(message: Message | None, field: str) -> Json:
    if message is None:
        raise refuse(field, f"{field} is required.")
    return encode(message)
