"""How an object comes to be a row of the store: for uploads, and for what the server itself writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlgate.core.errors import NotFound
from mlgate.core.names import bucket_name, check_id, id_of
from mlgate.core.storage import next_generation
from mlgate.core.wire import encode_base64, format_timestamp
from mlgate.ports import Blob, Record, StoredObject, Transaction

#: What a client may set; everything else of an object is the server's.
SETTABLE = (
    "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "customTime",
    "metadata", "storageClass",
)  # fmt: skip


def bucket_of(tx: Transaction, bucket_id: str) -> Record:
    """The bucket's record. Raises NotFound."""
    found = tx.get(bucket_name(check_id("bucket", bucket_id, "bucket")))
    if found is None or found.kind != "bucket":
        raise NotFound("The specified bucket does not exist.")
    return found


def store_object(
    tx: Transaction,
    bucket: Record,
    name: str,
    blob: Blob,
    metadata: Mapping[str, Any],
    now: datetime,
    old: StoredObject | None = None,
    extra: Mapping[str, Any] | None = None,
) -> StoredObject:
    """Store a new generation of an object, over the old one if there is one.

    The generation is the clock's, and greater than any before, those of deleted objects included.
    """
    moment = format_timestamp(now)
    stored = StoredObject(
        bucket=id_of(bucket.name),
        name=name,
        generation=next_generation(now, max(bucket.hidden["generation"], old.generation if old else 0)),
        digest=blob.digest,
        size=blob.size,
        body={
            "storageClass": bucket.body["storageClass"],
            **{field: metadata[field] for field in SETTABLE if metadata.get(field)},
            "md5Hash": encode_base64(blob.md5),
            "crc32c": encode_base64(blob.crc32c),
            "metageneration": 1,
            "timeCreated": moment,
            "updated": moment,
            **(extra or {}),
        },
    )
    tx.put_object(stored)
    return stored
