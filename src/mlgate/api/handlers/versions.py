"""Versions of a model: create (a deployment), get, list, patch, delete, setDefault."""

from __future__ import annotations

from collections.abc import Iterable

from mlgate.api import operations
from mlgate.api.call import Call
from mlgate.api.messages.message import decode, encode
from mlgate.api.messages.models import ListVersionsResponse, SetDefaultVersionRequest, Version
from mlgate.api.messages.operations import Operation
from mlgate.api.method import Need
from mlgate.api.paging import page
from mlgate.api.usage import last_uses
from mlgate.core import lro, request_logging, versions
from mlgate.core.errors import Aborted, AlreadyExists, FailedPrecondition, ResourceExhausted, Unimplemented
from mlgate.core.labels import check_labels
from mlgate.core.names import check_id, join
from mlgate.core.wire import parse_mask, split_mask
from mlgate.ports import Record
from mlgate.records import serving_fact, version_plain

_FILTER_FIELDS = ("name", "description", "labels", "state", "framework", "runtimeVersion", "isDefault", "deploymentUri")
_MASK = (
    "description", "labels", "autoScaling.minNodes", "autoScaling.maxNodes", "manualScaling.nodes", "autoScaling",
    "manualScaling", "requestLoggingConfig", "requestLoggingConfig.samplingPercentage",
    "requestLoggingConfig.bigqueryTableName", "predictionClass", "packageUris",
)  # fmt: skip
_LATER_MASK = ("predictionClass", "packageUris")
_KEPT = (
    "description", "deployment_uri", "runtime_version", "python_version", "framework", "labels", "machine_type",
    "auto_scaling", "manual_scaling", "prediction_class", "package_uris", "service_account", "explanation_config",
    "faster_copy",
)  # fmt: skip


def may_act_as(call: Call, body: Version) -> Iterable[Need]:
    """A version's code runs as its service account: the caller must be allowed to act as it (R-093)."""
    if body.service_account:
        email = body.service_account.lower()
        account = call.services.snapshot.accounts.get(email)
        project = account.project if account else "-"
        yield Need(("iam.serviceAccounts.actAs",), join(f"projects/{project}", "serviceAccounts", email))


def may_log_to(call: Call, body: Version) -> Iterable[Need]:
    """Whoever has requests logged must be allowed to create objects where they go (core/request_logging.py)."""
    config = body.request_logging_config
    named = any(path.startswith("requestLoggingConfig") for path in split_mask(call.query.get("updateMask", "")))
    if not named or config is None or not (config.bigquery_table_name or config.sampling_percentage):
        return  # nothing is changed, or logging ends
    present = call.tx.get(call.resource)
    stored = present.body.get("requestLoggingConfig", {}) if present is not None else {}
    name = config.bigquery_table_name or stored.get("bigqueryTableName")
    if name:
        yield Need((request_logging.PERMISSION,), request_logging.sink_of(name).resource)


def create_version(call: Call, body: Version) -> Operation:
    """Begin a deployment: version CREATING, operation, and the worker's task, in one transaction.

    Raises InvalidArgument, Unimplemented for fields that this server has not, AlreadyExists, NotFound for the model.
    """
    model = call.record(call.resource, "model")
    name = join(model.name, "versions", check_id("version", body.name or "", "version.name"))
    check_labels(body.labels, "version.labels")
    versions.check_new(encode(body))
    if call.tx.count(model.name, "version") >= call.settings.max_versions:
        raise ResourceExhausted(f"Model {model.name} holds its {call.settings.max_versions} versions already.")
    kept = Version(name=name, state="CREATING", **{field: getattr(body, field) for field in _KEPT})
    record = Record(
        name=name, kind="version", parent=model.name, uid=call.services.ids.uid(), body=encode(kept), created=call.now
    )
    try:
        call.tx.insert(record)
    except AlreadyExists:
        failed = call.record(name, "version").body["state"] == "FAILED"
        hint = " It is FAILED: delete it first, or choose another name." if failed else ""
        raise AlreadyExists(
            f"Field: version.name Error: A version with the same name already exists: {name}.{hint}",
            fields=[("version.name", "A version with the same name already exists.")],
        ) from None
    operation = operations.begin(
        call, "CREATE_VERSION", model.name, version=version_plain(call.tx, record, model), labels=body.labels
    )
    return operations.queue(call, operation, "deploy_version", version=name, uid=record.uid)


def get_version(call: Call) -> Version:
    record = call.record(call.resource, "version")
    return decode(Version, version_plain(call.tx, record, used=last_uses(call.tx.usage_totals([record.name]))))


def list_versions(call: Call) -> ListVersionsResponse:
    model = call.record(call.resource, "model")
    records, token = page(call, model.name, "version", lambda r: version_plain(call.tx, r, model), _FILTER_FIELDS)
    used = last_uses(call.tx.usage_totals([r.name for r in records]))
    shown = [decode(Version, version_plain(call.tx, r, model, used)) for r in records]
    return ListVersionsResponse(versions=shown, next_page_token=token)


def patch_version(call: Call, body: Version) -> Operation:
    """Change the fields that the mask names. Raises Aborted for a stale etag, FailedPrecondition unless READY."""
    record = call.record(call.resource, "version")
    paths = parse_mask(call.query.get("updateMask", ""), _MASK)
    for path in paths:
        if path.split(".")[0] in _LATER_MASK:
            raise Unimplemented(f"Changing Version.{path} is not implemented by this server.")
    if body.etag and body.etag != record.etag:
        raise Aborted(f"The etag of {record.name} is not current; read it again and retry.")
    updating = versions.move(record.body, "UPDATING")
    given = encode(body)
    for path in paths:
        field, _, inner = path.partition(".")
        if field == "labels":
            check_labels(body.labels, "version.labels")
        if inner:
            part = {**updating.get(field, {}), inner: given.get(field, {}).get(inner, 0)}
            updating[field] = part
            if field != "requestLoggingConfig":
                updating.pop("manualScaling" if field == "autoScaling" else "autoScaling", None)
        elif given.get(field):
            updating[field] = given[field]
        else:
            updating.pop(field, None)
    versions.check_scaling(updating)
    is_logging = any(path.startswith("requestLoggingConfig") for path in paths)
    if is_logging and updating.get("requestLoggingConfig"):
        request_logging.check(updating["requestLoggingConfig"])
    record.body = versions.move(updating, "READY")
    call.tx.update(record)
    call.tx.set_fact("serving", record.parent, serving_fact(call.tx, call.record(record.parent, "model")))
    response = {"@type": lro.VERSION_TYPE, **version_plain(call.tx, record)}
    return operations.done(
        call, "UPDATE_VERSION", record.parent, response, version=version_plain(call.tx, record),
        labels=record.body.get("labels"),
    )  # fmt: skip


def delete_version(call: Call) -> Operation:
    """Delete a version that is not the default, or the only one (api.md 2.4). Its process ends with it."""
    record = call.record(call.resource, "version")
    model = call.record(record.parent, "model")
    versions.move(record.body, "DELETING")
    if model.hidden.get("default") == record.name:
        if call.tx.count(model.name, "version") > 1:
            raise FailedPrecondition(
                f"Cannot delete {record.name}: it is the default version and not the only one. "
                "Make another version the default first."
            )
        model.hidden.pop("default")
        call.tx.update(model)
    plain = version_plain(call.tx, record, model)
    call.tx.delete(record.name)
    call.tx.set_fact("serving", model.name, serving_fact(call.tx, model))
    return operations.done(
        call, "DELETE_VERSION", model.name, version={**plain, "state": "DELETING"}, labels=record.body.get("labels")
    )


def set_default_version(call: Call, _: SetDefaultVersionRequest) -> Version:
    """Make a READY version the one that predictions on the model use."""
    record = call.record(call.params["name"], "version")
    if record.body["state"] != "READY":
        raise FailedPrecondition(f"{record.name} is {record.body['state']}; only a READY version can be the default.")
    model = call.record(record.parent, "model")
    model.hidden["default"] = record.name
    call.tx.update(model)
    call.tx.set_fact("serving", model.name, serving_fact(call.tx, model))
    return decode(Version, version_plain(call.tx, record, model))
