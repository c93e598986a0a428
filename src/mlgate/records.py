"""What stored records look like from outside: the JSON that shows a model, version or job, and the fact that serves it.

Used by the API, which answers with these, and by the worker, which ends operations with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from mlgate.core import versions
from mlgate.core.names import id_of
from mlgate.core.wire import encode_base64, format_timestamp
from mlgate.ports import Record, Transaction


def version_plain(
    tx: Transaction, record: Record, model: Record | None = None, used: Mapping[str, datetime] = MappingProxyType({})
) -> dict[str, Any]:
    """The version in wire form, with what is stored elsewhere: its times, its etag, whether it is the default. `used`
    tells by name when versions were last used, to those who ask for a version."""
    model = model or tx.get(record.parent)
    plain = {**record.body, "createTime": format_timestamp(record.created), "etag": encode_base64(record.etag)}
    if model is not None and model.hidden.get("default") == record.name:
        plain["isDefault"] = True
    if record.name in used:
        plain["lastUseTime"] = format_timestamp(used[record.name])
    return plain


def model_plain(tx: Transaction, record: Record, used: Mapping[str, datetime] = MappingProxyType({})) -> dict[str, Any]:
    """The model in wire form, with its default version whole."""
    plain = {**record.body, "etag": encode_base64(record.etag)}
    default = tx.get(record.hidden["default"]) if record.hidden.get("default") else None
    if default is not None:
        plain["defaultVersion"] = version_plain(tx, default, record, used)
    return plain


def job_plain(record: Record, queue: Sequence[str] = ()) -> dict[str, Any]:
    """The job in wire form, with its etag and, while it waits, its place in the queue (of job names)."""
    plain = {**record.body, "etag": encode_base64(record.etag)}
    if record.body["state"] == "QUEUED" and record.name in queue:
        plain["jobPosition"] = str(queue.index(record.name) + 1)
    return plain


def serving_fact(tx: Transaction, model: Record) -> dict[str, Any]:
    """What every process must know to predict with a model: its READY versions, which is the default, and what is
    logged."""
    served = {
        id_of(v.name): {"uid": v.uid, **v.hidden["serving"], **versions.nodes(v.body), **_logging(v)}
        for v in tx.children(model.name, "version")
        if v.body["state"] in ("READY", "UPDATING") and "serving" in v.hidden
    }
    return {
        "default": id_of(model.hidden.get("default") or ""),
        "versions": served,
        "accessLog": bool(model.body.get("onlinePredictionLogging")),
        "consoleLog": bool(model.body.get("onlinePredictionConsoleLogging")),
    }


def _logging(version: Record) -> dict[str, Any]:
    config = version.body.get("requestLoggingConfig") or {}
    share = config.get("samplingPercentage", 0)
    return {"logging": {"share": share, "sink": config["bigqueryTableName"]}} if share else {}
