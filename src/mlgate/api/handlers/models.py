"""Models: create, get, list, patch, delete."""

from __future__ import annotations

import re
from datetime import datetime

from mlgate.api import operations
from mlgate.api.call import Call
from mlgate.api.messages.message import decode, encode
from mlgate.api.messages.models import ListModelsResponse, Model
from mlgate.api.messages.operations import Operation
from mlgate.api.paging import page
from mlgate.api.usage import last_uses
from mlgate.core import lro
from mlgate.core.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.labels import check_labels
from mlgate.core.names import DEFAULT_LOCATION, check_id, join
from mlgate.core.wire import parse_mask
from mlgate.ports import Record
from mlgate.records import model_plain, serving_fact

_FILTER_FIELDS = ("name", "description", "labels", "regions", "onlinePredictionLogging", "defaultVersion")
_MASK = ("description", "defaultVersion.name", "labels", "onlinePredictionLogging", "onlinePredictionConsoleLogging")


def create_model(call: Call, body: Model) -> Model:
    """A model, empty; its creator becomes its owner in the same transaction (R-030). Raises AlreadyExists."""
    project = call.record(call.resource, "project")
    model_id = check_id("model", body.name or "", "model.name")
    check_labels(body.labels, "model.labels")
    name = join(project.name, "models", model_id)
    if call.tx.count(project.name, "model") >= call.settings.max_models:
        raise ResourceExhausted(f"Project {project.name} holds its {call.settings.max_models} models already.")
    record = Record(
        name=name,
        kind="model",
        parent=project.name,
        uid=call.services.ids.uid(),
        body=encode(
            Model(
                name=name,
                description=body.description,
                regions=_check_regions(body.regions),
                labels=body.labels,
                online_prediction_logging=body.online_prediction_logging,
                online_prediction_console_logging=body.online_prediction_console_logging,
            )
        ),
        created=call.now,
    )
    try:
        call.tx.insert(record)
    except AlreadyExists:
        raise AlreadyExists(
            f"Field: model.name Error: A model with the same name already exists: {name}.",
            fields=[("model.name", "A model with the same name already exists.")],
        ) from None
    call.tx.set_policy(name, Policy((Binding("roles/ml.modelOwner", (call.principal,)),)))
    call.tx.set_fact("serving", name, serving_fact(call.tx, record))
    return decode(Model, model_plain(call.tx, record))


def get_model(call: Call) -> Model:
    record = call.record(call.resource, "model")
    return decode(Model, model_plain(call.tx, record, _last_uses(call, [record])))


def list_models(call: Call) -> ListModelsResponse:
    call.record(call.resource, "project")
    records, token = page(call, call.resource, "model", lambda r: model_plain(call.tx, r), _FILTER_FIELDS)
    used = _last_uses(call, records)
    shown = [decode(Model, model_plain(call.tx, r, used)) for r in records]
    return ListModelsResponse(models=shown, next_page_token=token)


def _last_uses(call: Call, records: list[Record]) -> dict[str, datetime]:
    """When the models' default versions were last used."""
    names = (record.hidden.get("default") for record in records)
    return last_uses(call.tx.usage_totals([name for name in names if name]))


def patch_model(call: Call, body: Model) -> Operation:
    """Change the fields that the mask names. Raises Aborted when the body's etag is not the current one."""
    record = call.record(call.resource, "model")
    paths = parse_mask(call.query.get("updateMask", ""), _MASK)
    if body.etag and body.etag != record.etag:
        raise Aborted(f"The etag of {record.name} is not current; read it again and retry.")
    for path in paths:
        if path == "defaultVersion.name":
            _change_default(call, record, body)
        elif path == "labels":
            check_labels(body.labels, "model.labels")
            _put(record, "labels", body.labels)
        else:
            _put(record, path, encode(body).get(path))
    call.tx.update(record)
    call.tx.set_fact("serving", record.name, serving_fact(call.tx, record))
    return operations.done(
        call, "UPDATE_MODEL", record.name, {"@type": lro.MODEL_TYPE, **model_plain(call.tx, record)},
        labels=record.body.get("labels"),
    )  # fmt: skip


def delete_model(call: Call) -> Operation:
    """Delete a model that has no versions, with its policy (T-24)."""
    record = call.record(call.resource, "model")
    if call.tx.count(record.name, "version"):
        raise FailedPrecondition(f"Cannot delete model {record.name}: it still has versions. Delete them first.")
    call.tx.delete(record.name)
    call.tx.set_policy(record.name, None)
    call.tx.set_fact("serving", record.name, None)
    return operations.done(call, "DELETE_MODEL", record.name, labels=record.body.get("labels"))


def _change_default(call: Call, record: Record, body: Model) -> None:
    version_id = (body.default_version.name if body.default_version else "") or ""
    name = join(record.name, "versions", version_id.rpartition("/")[2])
    version = call.tx.get(name)
    if version is None or version.kind != "version":
        raise NotFound(f'Version "{version_id[:200]}" of {record.name} was not found.')
    if version.body["state"] != "READY":
        raise FailedPrecondition(f"{name} is {version.body['state']}; only a READY version can be the default.")
    record.hidden["default"] = name


def _put(record: Record, field: str, value: object) -> None:
    if value:
        record.body[field] = value
    else:
        record.body.pop(field, None)


def _check_regions(regions: list[str] | None) -> list[str]:
    """One region a model, us-central1 when none is given; all are this server."""
    regions = regions or [DEFAULT_LOCATION]
    if len(regions) > 1:
        message = "Only one region per model is supported."
        raise InvalidArgument(message, fields=[("model.regions", message)])
    if not re.fullmatch(r"[a-z]{2,20}-[a-z]{2,20}\d{1,2}|global", regions[0]):
        message = f'"{regions[0][:100]}" is no region, such as {DEFAULT_LOCATION}.'
        raise InvalidArgument(message, fields=[("model.regions", message)])
    return regions
