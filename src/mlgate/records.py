"""What stored records look like from outside: the JSON that shows a model or version, and the fact that serves them.

Used by the API, which answers with these, and by the worker, which ends operations with them.
"""

from __future__ import annotations

from typing import Any

from mlgate.core.names import id_of
from mlgate.core.wire import encode_base64, format_timestamp
from mlgate.ports import Record, Transaction


def version_plain(tx: Transaction, record: Record, model: Record | None = None) -> dict[str, Any]:
    """The version in wire form, with what is stored elsewhere: its times, its etag, whether it is the default."""
    model = model or tx.get(record.parent)
    plain = {**record.body, "createTime": format_timestamp(record.created), "etag": encode_base64(record.etag)}
    if model is not None and model.hidden.get("default") == record.name:
        plain["isDefault"] = True
    return plain


def model_plain(tx: Transaction, record: Record) -> dict[str, Any]:
    """The model in wire form, with its default version whole."""
    plain = {**record.body, "etag": encode_base64(record.etag)}
    default = tx.get(record.hidden["default"]) if record.hidden.get("default") else None
    if default is not None:
        plain["defaultVersion"] = version_plain(tx, default, record)
    return plain


def serving_fact(tx: Transaction, model: Record) -> dict[str, Any]:
    """What every process must know to predict with a model: its READY versions and which is the default."""
    versions = {
        id_of(v.name): {"uid": v.uid, **v.hidden["serving"]}
        for v in tx.children(model.name, "version")
        if v.body["state"] in ("READY", "UPDATING") and "serving" in v.hidden
    }
    return {"default": id_of(model.hidden.get("default") or ""), "versions": versions}
