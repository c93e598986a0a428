"""What the handlers of storage share: finding buckets and objects, reading bodies, and `put`, by which every new object
comes to be.

An object is one row: its name, its generation, the digest of its bytes, and its metadata nearly as shown. Replacing one
writes a new generation over the row; the old one is gone (`generation=` of it is 404), and its bytes go when nothing
refers to them any more. All writes of a bucket's objects happen in writing transactions, one after another, so
preconditions are exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from mlgate.api.call import Call
from mlgate.api.messages.message import M, decode, encode
from mlgate.api.messages.storage import Object
from mlgate.core.errors import InvalidArgument, NotFound, Unimplemented
from mlgate.core.names import id_of
from mlgate.core.storage import (
    check_conditions,
    check_header,
    check_metadata,
    check_object_name,
    check_storage_class,
    etag,
    refuse,
)
from mlgate.core.wire import camel
from mlgate.ports import Blob, StoredObject, Transaction
from mlgate.stored_objects import SETTABLE, bucket_of, store_object

T = TypeVar("T")

#: Predefined access control lists that give nobody anything beyond the project; gcsfs sends two of them.
_PRIVATE = ("private", "projectPrivate", "bucketOwnerRead", "bucketOwnerFullControl")
MAX_RESULTS = 1000
MAX_METADATA = 1 << 20
#: Work on files has threads of its own, or slow disks and large objects would hold up every other call of the process.
#: What reads as much as an object has (hashing a finished upload, composing) cannot hold up chunks that arrive either.
_CHUNKS = ThreadPoolExecutor(8, thread_name_prefix="chunks")
_BULK = ThreadPoolExecutor(4, thread_name_prefix="bulk")


# ------------------------------------------------------------------------------------------------------------- finding


def find(tx: Transaction, bucket_id: str, name: str, generation: int | None = None) -> StoredObject:
    """The object, of that generation when one is given. Raises NotFound."""
    bucket = id_of(bucket_of(tx, bucket_id).name)
    found = tx.get_object(bucket, check_object_name(name, "object"))
    if found is None or generation not in (None, found.generation):
        raise NotFound(f"No such object: {bucket}/{name}" + (f"#{generation}" if generation is not None else ""))
    return found


# ------------------------------------------------------------------------------------------------------------ requests


async def json_body(call: Call, message: type[M]) -> dict[str, Any]:
    """The body as sent, nulls included, once it has been found to be a right `message`. Raises InvalidArgument."""
    data = await metadata_body(call)
    return await on_executor(call, lambda: parse_json(data, message)[0])


async def metadata_body(call: Call) -> bytes:
    return await call.request.body.read(min(MAX_METADATA, call.method.max_body, call.settings.max_request))


def parse_json(data: bytes, message: type[M]) -> tuple[dict[str, Any], M]:
    try:
        body = msgspec.json.decode(data) if data.strip() else {}
        plain = without_nulls(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidArgument("The body is not JSON.") from None
    read = decode(message, plain)
    return {camel(name): value for name, value in body.items()}, read


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


# ------------------------------------------------------------------------------------------------------------- threads


async def on_executor(call: Call, work: Callable[[], T]) -> T:
    """Run what takes a moment on one of the threads that all calls share."""
    return await asyncio.get_running_loop().run_in_executor(call.services.executor, work)


async def on_chunk(work: Callable[[], T]) -> T:
    """Run what writes a few megabytes."""
    return await asyncio.get_running_loop().run_in_executor(_CHUNKS, work)


async def on_bulk(work: Callable[[], T]) -> T:
    """Run what reads or writes as much as an object has."""
    return await asyncio.get_running_loop().run_in_executor(_BULK, work)


# ---------------------------------------------------------------------------------------------------------- parameters


def max_results(call: Call) -> int:
    size = call.query.get("maxResults", 0)
    if size < 0:
        raise refuse("maxResults", f"maxResults is {size}; it must not be negative.")
    return int(min(size or MAX_RESULTS, MAX_RESULTS))


def check_access_lists(call: Call) -> None:
    """Refuse parameters that ask for access control lists, or for keys and locks that this server does not have."""
    for name in ("predefinedAcl", "predefinedDefaultObjectAcl", "destinationPredefinedAcl"):
        value = call.query.get(name)
        if value and value not in _PRIVATE:
            raise refuse(name, f"{name}: access is by policy only (uniform bucket-level access); use setIamPolicy.")
    for name in ("kmsKeyName", "destinationKmsKeyName", "enableObjectRetention", "dropContextGroups"):
        if call.query.get(name):
            raise not_here(name)
    for name in call.request.headers:
        if name.startswith(("x-goog-encryption-", "x-goog-copy-source-encryption-")):
            raise not_here(name)


def refuse_fields(found: Mapping[str, Any]) -> None:
    """Raises Unimplemented for the first field that has a value."""
    for field, value in found.items():
        if value:
            raise not_here(field)


def not_here(field: str) -> Unimplemented:
    return Unimplemented(f"{field} is not implemented by this server.")


# ------------------------------------------------------------------------------------------------------------- objects


def put(
    call: Call,
    tx: Transaction,
    bucket_id: str,
    name: str,
    blob: Blob,
    metadata: Mapping[str, Any],
    query: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A new generation of the object, as it is then shown.

    1. The preconditions in `query` are checked against the present generation (ConditionNotMet).
    2. Replacing an object also needs storage.objects.delete (PermissionDenied).
    """
    bucket = bucket_of(tx, bucket_id)
    old = tx.get_object(bucket_id, check_object_name(name))
    check_conditions(query, old.generation if old else 0, old.body["metageneration"] if old else 0)
    if old is not None:
        call.require("storage.objects.delete", bucket.name)
    return shown(call, store_object(tx, bucket, name, blob, metadata, call.services.clock.now(), old, extra))


def check_object(body: Object) -> dict[str, Any]:
    """The fields that a client may set, found to be right. Raises Unimplemented for those that this server has not."""
    refuse_fields(
        {
            "acl": body.acl,
            "contexts": body.contexts and encode(body.contexts),
            "customerEncryption": body.customer_encryption and encode(body.customer_encryption),
            "eventBasedHold": body.event_based_hold,
            "kmsKeyName": body.kms_key_name,
            "retention": body.retention and encode(body.retention),
            "temporaryHold": body.temporary_hold,
        }
    )
    plain = encode(body)
    for field in ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType"):
        check_header(plain.get(field), field)
    check_metadata(body.metadata)
    check_storage_class(body.storage_class)
    return {field: plain[field] for field in SETTABLE if field in plain}


def shown(call: Call, stored: StoredObject) -> dict[str, Any]:
    """The object as clients see it."""
    body, generation = stored.body, str(stored.generation)
    path = f"b/{quote(stored.bucket, safe='')}/o/{quote(stored.name, safe='')}"
    base = call.request.base_url
    return {
        **body,
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{generation}",
        "selfLink": f"{base}/storage/v1/{path}",
        "mediaLink": f"{base}/download/storage/v1/{path}?generation={generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": generation,
        "metageneration": str(body["metageneration"]),
        "size": str(stored.size),
        "etag": etag(stored.generation, body["metageneration"]),
        "timeStorageClassUpdated": body["timeCreated"],
        "timeFinalized": body["timeCreated"],
    }
