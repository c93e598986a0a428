"""Objects: get (metadata or media), list, delete, patch, update, copy, rewrite, move, compose.

How an object is kept, and how a new one comes to be, is in `api/storage.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from mlgate.api.call import Call, Response
from mlgate.api.messages.message import Message, decode
from mlgate.api.messages.storage import ComposeRequest, Object
from mlgate.api.method import Need
from mlgate.api.storage import (
    check_access_lists,
    check_object,
    find,
    json_body,
    max_results,
    not_here,
    on_bulk,
    put,
    refuse_fields,
    shown,
    without_nulls,
)
from mlgate.core.errors import ConditionNotMet, OutOfRange, TooLarge
from mlgate.core.names import bucket_name, id_of
from mlgate.core.storage import (
    Hashes,
    before,
    behind,
    check_conditions,
    check_text,
    common_prefix,
    etag,
    failed_condition,
    merged,
    parse_range,
    refuse,
)
from mlgate.core.wire import decode_base64, format_timestamp, page_token, parse_page_token
from mlgate.ports import Blob, BlobWriter, StoredObject, Transaction
from mlgate.stored_objects import SETTABLE, bucket_of

_INLINE = 1 << 20
_MAX_SOURCES = 32
_MAX_CHUNK = 1001
#: Composing gives its thread back after so many bytes: large compositions take turns with what else is there to do.
_COPY_SIZE = 16 << 20


# ---------------------------------------------------------------------------------------------------------- reading


async def get_object(call: Call) -> dict[str, Any] | Response:
    """The metadata, or with `alt=media` the bytes, or the part of them that a Range header asks for."""
    check_access_lists(call)
    refuse_fields({name: call.query.get(name) for name in ("softDeleted", "restoreToken")})
    return await call.on_thread(lambda tx: _get(call, tx))


async def download(call: Call) -> dict[str, Any] | Response:
    """As `get_object`, under the path for media."""
    call.query["alt"] = "media"
    return await get_object(call)


def _get(call: Call, tx: Transaction) -> dict[str, Any] | Response:
    stored = find(tx, call.params["bucket"], call.params["object"], call.query.get("generation"))
    headers = call.request.headers
    tag = etag(stored.generation, stored.body["metageneration"])
    failed = failed_condition(call.query, stored.generation, stored.body["metageneration"])
    if failed.endswith("NotMatch") or _names(headers.get("if-none-match", ""), tag):
        return Response(status=304, headers=[("ETag", tag)])
    check_conditions(call.query, stored.generation, stored.body["metageneration"])
    if headers.get("if-match") and not _names(headers["if-match"], tag):
        raise ConditionNotMet("At least one of the pre-conditions you specified did not hold: If-Match.")
    return _media(call, stored) if call.query.get("alt") == "media" else shown(call, stored)


def _names(header: str, tag: str) -> bool:
    return any(one.strip().removeprefix("W/").strip('"') in (tag, "*") for one in header.split(",") if one.strip())


def _media(call: Call, stored: StoredObject) -> Response:
    body = stored.body
    headers = [*_media_headers(stored), ("Accept-Ranges", "bytes")]
    status, start, length = 200, 0, stored.size
    try:
        part = parse_range(call.request.headers.get("range", ""), stored.size)
    except OutOfRange as error:
        headers = [("Content-Range", f"bytes */{stored.size}")]
        return Response(status=416, body=error.message.encode(), headers=headers, media_type="text/plain")
    if part is not None:
        status, (start, length) = 206, part
        headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{stored.size}"))
    chunks = call.services.blobs.open(stored.digest, start, length)
    media_type = _ascii(body.get("contentType") or "application/octet-stream")
    if length <= _INLINE:
        return Response(status=status, body=b"".join(chunks), headers=headers, media_type=media_type)
    headers.append(("Content-Length", str(length)))
    return Response(status=status, body=_stream(call, chunks), headers=headers, media_type=media_type)


def _media_headers(stored: StoredObject) -> list[tuple[str, str]]:
    """The policy keeps a browser from running what somebody uploaded as a page of this server."""
    body = stored.body
    fields = {
        "Cache-Control": body.get("cacheControl") or "private, max-age=0",
        "Content-Disposition": body.get("contentDisposition"),
        "Content-Encoding": body.get("contentEncoding"),
        "Content-Language": body.get("contentLanguage"),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "ETag": etag(stored.generation, body["metageneration"]),
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(body["metageneration"]),
        "x-goog-hash": f"crc32c={body['crc32c']},md5={body['md5Hash']}",
        "x-goog-storage-class": body["storageClass"],
        "x-goog-stored-content-encoding": body.get("contentEncoding") or "identity",
        "x-goog-stored-content-length": str(stored.size),
    }
    return [(name, _ascii(value)) for name, value in fields.items() if value]


def _ascii(value: str) -> str:
    """A header's text as the bytes of its UTF-8: headers know no other alphabet."""
    return value if value.isascii() else value.encode().decode("latin-1")


async def _stream(call: Call, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while data := await loop.run_in_executor(call.services.executor, next, chunks, b""):
        yield data


# ---------------------------------------------------------------------------------------------------------- listing


def list_objects(call: Call) -> dict[str, Any]:
    """Objects in order of name; with a delimiter, what lies below a common prefix is shown as that prefix, once."""
    for name in ("matchGlob", "filter", "softDeleted"):
        if call.query.get(name):
            raise not_here(name)
    bucket = id_of(bucket_of(call.tx, call.params["bucket"]).name)
    query = call.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, end = query.get("startOffset", ""), query.get("endOffset", "")
    trailing = query.get("includeTrailingDelimiter", False)
    for field in ("prefix", "delimiter", "startOffset", "endOffset"):
        check_text(query.get(field, ""), field)
    mark = (call.principal, bucket, prefix, delimiter, start, end, str(trailing))
    size = max_results(call)
    after = max(before(start), _after_token(query.get("pageToken", ""), mark))
    items: list[StoredObject] = []
    prefixes: list[str] = []
    last = ""
    more = False
    for stored, common in _entries(call.tx, bucket, prefix, delimiter, after, end or None, size):
        if len(items) + len(prefixes) >= size:
            more = True
            break
        if common:
            prefixes.append(common)
            last = "p" + common
        if stored is not None and (not common or (trailing and stored.name == common)):
            items.append(stored)
            last = last if common else "n" + stored.name
    answer: dict[str, Any] = {"kind": "storage#objects"}
    if prefixes:
        answer["prefixes"] = prefixes
    if items:
        answer["items"] = [shown(call, stored) for stored in items]
    if more:
        answer["nextPageToken"] = page_token(last, *mark)
    return answer


def _after_token(token: str, mark: tuple[str, ...]) -> str:
    if not token:
        return ""
    last = parse_page_token(token, *mark)
    check_text(last, "pageToken")
    return behind(last[1:]) if last.startswith("p") else last[1:]


def _entries(
    tx: Transaction, bucket: str, prefix: str, delimiter: str, after: str, until: str | None, size: int
) -> Iterator[tuple[StoredObject, str]]:
    """Objects with "", or the first object below a common prefix with that prefix. Rows are read in chunks that start
    small behind each prefix and grow, so a bucket of many folders costs one short query a folder."""
    chunk = min(size + 1, 16 if delimiter else _MAX_CHUNK)
    while True:
        rows = tx.list_objects(bucket, prefix=prefix, after=after, until=until, limit=chunk)
        skipped = False
        for stored in rows:
            common = common_prefix(stored.name, prefix, delimiter)
            after = behind(common) if common else stored.name
            yield stored, common
            if common:
                skipped = True
                break
        if not skipped and len(rows) < chunk:
            return
        chunk = min(16, size + 1) if skipped else min(2 * chunk, _MAX_CHUNK)


# ---------------------------------------------------------------------------------------------------------- writing


def delete_object(call: Call) -> Response:
    stored = find(call.tx, call.params["bucket"], call.params["object"], call.query.get("generation"))
    check_conditions(call.query, stored.generation, stored.body["metageneration"])
    _remove(call.tx, stored)
    return Response(status=204)


def _remove(tx: Transaction, stored: StoredObject) -> None:
    """The bucket remembers the highest generation that went: a later object of this name must not get it again."""
    tx.delete_object(stored.bucket, stored.name)
    bucket = bucket_of(tx, stored.bucket)
    if stored.generation > bucket.hidden["generation"]:
        bucket.hidden["generation"] = stored.generation
        tx.update(bucket)


async def patch_object(call: Call) -> dict[str, Any]:
    """Change some of the metadata; null removes a field or one entry of `metadata`."""
    patch = await json_body(call, Object)
    return await call.on_thread(lambda tx: _change(call, tx, lambda old: merged(old, patch)), write=True)


async def update_object(call: Call) -> dict[str, Any]:
    """Replace all of the metadata that can be set."""
    given = without_nulls(await json_body(call, Object))
    return await call.on_thread(
        lambda tx: _change(call, tx, lambda old: {"storageClass": old["storageClass"], **given}), write=True
    )


def _change(call: Call, tx: Transaction, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    check_access_lists(call)
    refuse_fields({"overrideUnlockedRetention": call.query.get("overrideUnlockedRetention")})
    stored = find(tx, call.params["bucket"], call.params["object"], call.query.get("generation"))
    check_conditions(call.query, stored.generation, stored.body["metageneration"])
    old = {field: stored.body[field] for field in SETTABLE if field in stored.body}
    new = check_object(decode(Object, without_nulls(change(old))))
    if new.get("storageClass", old["storageClass"]) != old["storageClass"]:
        raise refuse("storageClass", "The storage class of an object is changed by rewriting it.")
    kept = {field: value for field, value in stored.body.items() if field not in SETTABLE}
    stored.body = {
        **kept,
        "storageClass": old["storageClass"],
        **new,
        "metageneration": stored.body["metageneration"] + 1,
        "updated": format_timestamp(call.services.clock.now()),
    }
    tx.put_object(stored)
    return shown(call, stored)


# ---------------------------------------------------------------------------------------- copy, rewrite, move, compose


def reads_source(call: Call, _: Message | None) -> Iterable[Need]:
    """Copying also reads: the caller needs storage.objects.get where the source is."""
    yield Need(("storage.objects.get",), bucket_name(call.params["sourceBucket"]))


def reads_and_deletes(call: Call, _: Message | None) -> Iterable[Need]:
    """Moving reads and deletes the source, in the same bucket."""
    for permission in ("storage.objects.get", "storage.objects.delete"):
        yield Need((permission,), bucket_name(call.params["bucket"]))


def copy_object(call: Call, body: Object) -> dict[str, Any]:
    return _copy(call, body, call.params["sourceBucket"], call.params["destinationBucket"])[0]


def rewrite_object(call: Call, body: Object) -> dict[str, Any]:
    """Done in one answer, whatever the size: the bytes are shared."""
    refuse_fields({"rewriteToken": call.query.get("rewriteToken")})
    copied, size = _copy(call, body, call.params["sourceBucket"], call.params["destinationBucket"])
    return {
        "kind": "storage#rewriteResponse",
        "done": True,
        "objectSize": str(size),
        "totalBytesRewritten": str(size),
        "resource": copied,
    }


def move_object(call: Call) -> dict[str, Any]:
    """Another name in the same bucket, at once."""
    bucket = call.params["bucket"]
    if call.params["sourceObject"] == call.params["destinationObject"]:
        raise refuse("destinationObject", "An object cannot be moved to its own name.")
    moved, _ = _copy(call, Object(), bucket, bucket)
    _remove(call.tx, find(call.tx, bucket, call.params["sourceObject"]))
    return moved


def _copy(call: Call, body: Object, source_bucket: str, bucket: str) -> tuple[dict[str, Any], int]:
    """Metadata in the body replaces that of the source; a body without any keeps it."""
    check_access_lists(call)
    source = find(call.tx, source_bucket, call.params["sourceObject"], call.query.get("sourceGeneration"))
    check_conditions(call.query, source.generation, source.body["metageneration"], "ifSource")
    given = check_object(body)
    kept = {field: value for field, value in source.body.items() if field in SETTABLE}
    extra = {"componentCount": source.body["componentCount"]} if "componentCount" in source.body else {}
    copied = put(
        call,
        call.tx,
        bucket,
        call.params["destinationObject"],
        blob_of(source),
        given or kept,
        call.query,
        extra,
    )
    return copied, source.size


def blob_of(stored: StoredObject) -> Blob:
    body = stored.body
    return Blob(stored.digest, stored.size, decode_base64(body["md5Hash"]), decode_base64(body["crc32c"]))


async def compose_object(call: Call) -> dict[str, Any]:
    """A new object of the bytes of up to 32 others, one after another."""
    check_access_lists(call)
    raw = await json_body(call, ComposeRequest)
    body = decode(ComposeRequest, without_nulls(raw))
    bucket = call.params["destinationBucket"]
    wanted = body.source_objects or []
    refuse_fields({"deleteSourceObjects": body.delete_source_objects})
    if not 1 <= len(wanted) <= _MAX_SOURCES:
        raise refuse("sourceObjects", f"{len(wanted)} source objects are given; 1 to {_MAX_SOURCES} are allowed.")
    metadata = check_object(body.destination or Object())
    call.require("storage.objects.get", bucket_name(bucket))

    def sources(tx: Transaction) -> list[StoredObject]:
        found = [find(tx, bucket, source.name or "", source.generation) for source in wanted]
        for source, stored in zip(wanted, found, strict=True):
            asked = source.object_preconditions
            if asked is not None:
                check_conditions({"ifGenerationMatch": asked.if_generation_match}, stored.generation, 0)
        return found

    found = await call.on_thread(sources)
    blob = await _joined(call, found)
    if hashes := (body.destination and Hashes(body.destination.md5_hash or "", body.destination.crc32c or "")):
        hashes.check(blob.md5, blob.crc32c)
    parts = sum(stored.body.get("componentCount", 1) for stored in found)

    def store(tx: Transaction) -> dict[str, Any]:
        call.require("storage.objects.get", bucket_name(bucket))
        name = call.params["destinationObject"]
        return put(call, tx, bucket, name, blob, metadata, call.query, {"componentCount": parts})

    return await call.on_thread(store, write=True)


async def _joined(call: Call, sources: list[StoredObject]) -> Blob:
    if sum(stored.size for stored in sources) > call.settings.max_object:
        raise TooLarge(f"The object would be larger than the {call.settings.max_object} bytes allowed.")
    blobs = call.services.blobs
    writer = await on_bulk(blobs.writer)
    try:
        for stored in sources:
            chunks = await on_bulk(partial(blobs.open, stored.digest))
            while await on_bulk(partial(_copy_some, chunks, writer)):
                pass
        return await on_bulk(writer.commit)
    finally:
        writer.abandon()


def _copy_some(chunks: Iterator[bytes], writer: BlobWriter) -> bool:
    """Whether there may be more."""
    copied = 0
    for data in chunks:
        writer.write(data)
        copied += len(data)
        if copied >= _COPY_SIZE:
            return True
    return False
