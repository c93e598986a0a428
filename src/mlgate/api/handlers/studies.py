"""Studies: create, get, list, delete, and what their plots show. A study never changes but for its state."""

from __future__ import annotations

from typing import Any

from mlgate import studies
from mlgate.api.call import Call
from mlgate.api.messages.message import Empty, encode
from mlgate.api.messages.studies import Study
from mlgate.api.suggestions import think
from mlgate.core import lro
from mlgate.core.errors import AlreadyExists, NotFound, ResourceExhausted
from mlgate.core.names import check_id, check_location, join, parent_of
from mlgate.core.vizier.questions import plot_of
from mlgate.core.vizier.study import StudyConfig
from mlgate.ports import Transaction

Json = dict[str, Any]

MAX_STUDIES = 10_000


def create_study(call: Call, body: Study) -> Json:
    """Raises InvalidArgument, AlreadyExists, ResourceExhausted."""
    study_id = check_id("study", call.query.get("studyId", ""), "studyId")
    location = call.resource
    call.record(parent_of(location) or "", "project")
    check_location(location)
    config = encode(body.study_config) if body.study_config is not None else {}
    StudyConfig.parse(config)
    if call.tx.count(location, studies.STUDY) >= MAX_STUDIES:
        raise ResourceExhausted(f"{location} holds its {MAX_STUDIES} studies already.")
    name = join(location, "studies", study_id)
    record = studies.new_study(name, location, call.services.ids.uid(), config, call.now)
    try:
        call.tx.insert(record)
    except AlreadyExists:
        raise AlreadyExists(f"A study with the same name already exists: {name}.") from None
    return record.body


def get_study(call: Call) -> Json:
    return call.record(call.resource, studies.STUDY).body


def list_studies(call: Call) -> Json:
    """All of them: this method has no pages."""
    call.record(parent_of(call.resource) or "", "project")
    check_location(call.resource)
    return {"studies": [record.body for record in call.tx.children(call.resource, studies.STUDY)]}


def delete_study(call: Call) -> Empty:
    """With its trials. Its operations stay; one that still runs ends with NOT_FOUND."""
    study = call.record(call.resource, studies.STUDY)
    for trial in call.tx.children(study.name, studies.TRIAL):
        call.tx.delete(trial.name)
    for entry in study.hidden["waiting"].values():
        operation = call.tx.get(entry["operation"])
        if operation is not None and not lro.is_done(operation.body):
            operation.body = lro.failed(operation.body, call.now, NotFound(f"{study.name} was deleted."))
            call.tx.update(operation)
    call.tx.delete(study.name)
    return Empty()


async def plot(call: Call) -> Json:
    """What a plot of the study shows, for whoever draws it. Raises InvalidArgument; FailedPrecondition where too few
    trials have ended."""
    kind = call.query.get("kind") or "history"
    plot_of(kind)

    def question(tx: Transaction) -> Json:
        call.tx = tx
        study = call.record(call.resource, studies.STUDY)
        trials = call.services.completed.told(tx, study)
        given = {field: call.query.get(field) or "" for field in ("metric", "first", "second")}
        return {"ask": "plot", "kind": kind, "config": study.body["studyConfig"], "trials": trials, **given}

    asked = await call.on_thread(question)
    return {"study": call.resource, "kind": kind, "data": await think(call.services, asked)}
