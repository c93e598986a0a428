"""Uploads: the three protocols by which the bytes of an object arrive
(https://cloud.google.com/storage/docs/uploads-downloads#uploads).

    media      one request, whose body is the object
    multipart  one request, whose body is the metadata as JSON and then the object (multipart/related)
    resumable  a first request with the metadata opens a session; its bytes come in chunks, and after a broken
               connection the client asks what arrived and goes on from there

In each, bytes go to the blob store as they arrive, on a thread, and the object comes to be in one short transaction at
the end, in which the caller is authorized again. Whoever hangs up before that leaves nothing that can be seen.

A session is the record `buckets/B/uploads/ID`, so it survives a restart. It belongs to the principal who opened it (a
service account by its uid): the address alone opens nothing. Once complete it stays and answers what it made, because a
client that did not get the last answer asks again. `expire_uploads` removes sessions after seven days.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from mlgate.api.call import Call, Response
from mlgate.api.messages.storage import Object
from mlgate.api.storage import (
    check_access_lists,
    check_object,
    metadata_body,
    not_here,
    on_bulk,
    on_chunk,
    on_executor,
    parse_json,
    put,
)
from mlgate.core.errors import Aborted, NotFound, TooLarge
from mlgate.core.iam.principals import email_of
from mlgate.core.names import bucket_name, id_of, join
from mlgate.core.storage import (
    ContentRange,
    Hashes,
    Multipart,
    check_conditions,
    check_header,
    check_object_name,
    parse_content_range,
    parse_size,
    refuse,
)
from mlgate.ports import Blob, Blobs, Record, Transaction
from mlgate.stored_objects import bucket_of

T = TypeVar("T")

LIFETIME = timedelta(days=7)
_CONDITIONS = ("ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch")
_WRITE_SIZE = 1 << 20
_APPEND_SIZE = 8 << 20
#: How many seconds a request waits for another one that is adding to the same upload, or hashing it to its end.
_PATIENCE, _PATIENCE_AT_END = 2.0, 20.0


async def insert_object(call: Call) -> dict[str, Any] | Response:
    """An object, or a session to upload one. Chunks of a session may come as POST too (gcsfs sends them so)."""
    check_access_lists(call)
    if call.query.get("upload_id"):
        return await continue_upload(call)
    kind = call.query.get("uploadType", "")
    if kind == "media":
        return await _insert_media(call)
    if kind == "multipart":
        return await _insert_multipart(call)
    if kind == "resumable":
        return await _start_upload(call)
    raise refuse("uploadType", f'uploadType is "{kind[:50]}"; it must be media, multipart or resumable.')


async def insert_empty_object(call: Call) -> dict[str, Any]:
    """Metadata alone, sent to the address without `/upload`: an object without bytes."""
    check_access_lists(call)
    data = await metadata_body(call)
    wanted = await on_executor(call, lambda: _Wanted.read(call, data, ""))
    blob = await on_chunk(lambda: _store_all(call.services.blobs, []))
    return await _finish(call, wanted, blob)


# ---------------------------------------------------------------------------------------------------- one request


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the client says of the object before its bytes."""

    name: str
    metadata: dict[str, Any]
    hashes: Hashes

    @staticmethod
    def read(call: Call, data: bytes, content_type: str) -> _Wanted:
        """From JSON, query and headers. Raises InvalidArgument, or Unimplemented for what this server has not."""
        _, body = parse_json(data, Object)
        metadata = check_object(body)
        if content_type:
            check_header(content_type, "Content-Type")
            metadata.setdefault("contentType", content_type)
        if call.query.get("contentEncoding"):
            check_header(call.query["contentEncoding"], "contentEncoding")
            metadata["contentEncoding"] = call.query["contentEncoding"]
        name = check_object_name(call.query.get("name") or body.name or "")
        return _Wanted(name, metadata, Hashes(body.md5_hash or "", body.crc32c or ""))


async def _insert_media(call: Call) -> dict[str, Any]:
    headers = call.request.headers
    wanted = replace(
        _Wanted.read(call, b"", headers.get("content-type", "")), hashes=Hashes(md5=headers.get("content-md5", ""))
    )
    return await _finish(call, wanted, await _receive(call, call.request.body.stream()))


async def _insert_multipart(call: Call) -> dict[str, Any]:
    parts = Multipart(call.request.headers.get("content-type", ""))

    async def media() -> AsyncIterator[bytes]:
        async for data in call.request.body.stream():
            yield parts.feed(data)
        yield parts.finish()

    blob = await _receive(call, media())
    wanted = await on_executor(call, lambda: _Wanted.read(call, parts.metadata, parts.content_type))
    return await _finish(call, wanted, blob)


async def _receive(call: Call, stream: AsyncIterator[bytes]) -> Blob:
    """Store what arrives. A small object takes one trip to a thread, a large one a trip for each megabyte."""
    parts: list[bytes] = []
    held = 0
    async for data in stream:
        parts.append(data)
        held += len(data)
        if held >= _WRITE_SIZE:
            return await _receive_large(call, b"".join(parts), stream)
    return await on_chunk(lambda: _store_all(call.services.blobs, parts))


async def _receive_large(call: Call, data: bytes, stream: AsyncIterator[bytes]) -> Blob:
    writer = await on_chunk(call.services.blobs.writer)
    parts, held, total = [data], len(data), len(data)
    try:
        async for data in stream:
            parts.append(data)
            held += len(data)
            total += len(data)
            _check_size(call, total)
            if held >= _WRITE_SIZE:
                await on_chunk(partial(writer.write, b"".join(parts)))
                parts, held = [], 0
        await on_chunk(partial(writer.write, b"".join(parts)))
        return await on_chunk(writer.commit)
    finally:
        writer.abandon()


def _store_all(blobs: Blobs, parts: list[bytes]) -> Blob:
    writer = blobs.writer()
    try:
        writer.write(b"".join(parts))
        return writer.commit()
    finally:
        writer.abandon()


async def _finish(call: Call, wanted: _Wanted, blob: Blob) -> dict[str, Any]:
    """Verify the hashes, then let the object be."""
    wanted.hashes.with_headers(call.request.headers).check(blob.md5, blob.crc32c)
    bucket = call.params["bucket"]
    return await call.on_thread(
        lambda tx: put(call, tx, bucket, wanted.name, blob, wanted.metadata, call.query), write=True
    )


def _check_size(call: Call, size: int) -> None:
    if size > call.settings.max_object:
        raise TooLarge(f"The object is larger than the {call.settings.max_object} bytes that this server takes.")


# -------------------------------------------------------------------------------------------------------- resumable


async def _start_upload(call: Call) -> Response:
    """Open a session, and answer its address. Preconditions are checked now, to fail early, and again at the end."""
    headers = call.request.headers
    data = await metadata_body(call)
    wanted = await on_executor(call, lambda: _Wanted.read(call, data, headers.get("x-upload-content-type", "")))
    declared = headers.get("x-upload-content-length", "")
    total = parse_size(declared, "X-Upload-Content-Length") if declared else None
    _check_size(call, total or 0)
    bucket = call.params["bucket"]
    upload_id = call.services.ids.token()
    record = Record(
        name=join(bucket_name(bucket), "uploads", upload_id),
        kind="upload",
        parent=bucket_name(bucket),
        uid=call.services.ids.uid(),
        body={},
        created=call.now,
        hidden={
            **_owner(call),
            "object": wanted.name,
            "metadata": wanted.metadata,
            "md5": wanted.hashes.md5,
            "crc32c": wanted.hashes.crc32c,
            "total": total,
            "query": {name: call.query[name] for name in _CONDITIONS if name in call.query},
        },
    )

    def start(tx: Transaction) -> None:
        bucket_of(tx, bucket)
        old = tx.get_object(bucket, wanted.name)
        check_conditions(call.query, old.generation if old else 0, old.body["metageneration"] if old else 0)
        if old is not None:
            call.require("storage.objects.delete", bucket_name(bucket))
        tx.insert(record)

    await call.on_thread(start, write=True)
    path = f"upload/storage/v1/b/{quote(bucket, safe='')}/o?uploadType=resumable&upload_id={upload_id}"
    location = f"{call.request.base_url}/{path}"
    return Response(headers=[("Location", location), ("X-GUploader-UploadID", upload_id)])


async def continue_upload(call: Call) -> dict[str, Any] | Response:
    """A chunk, the end, or the question what has arrived: which one is said by Content-Range.

    308 with a Range header means: go on from there. The object means: done.
    """
    check_access_lists(call)
    if not call.query.get("upload_id"):
        raise refuse("upload_id", "upload_id is required: send chunks to the address that the first request answered.")
    session = await call.on_thread(lambda tx: _session(call, tx))
    if "result" in session.hidden:
        return _result(session)
    upload_id = id_of(session.name)
    header = call.request.headers.get("content-range", "")
    given = parse_content_range(header) if header else ContentRange(0, -1, None)
    total = _total(call, session, given)
    size = await on_chunk(lambda: call.services.blobs.partial_size(upload_id))
    if given.first is not None:
        size, end = await _append(call, upload_id, given, size, whole=not header)
        total = total if header else _total(call, session, ContentRange(0, end - 1, end))
    if total is None or size < total or given == ContentRange(None, -1, None):
        return Response(status=308, headers=[("Range", f"bytes=0-{size - 1}")] if size else [])
    if size > total:
        raise refuse("Content-Range", f"{size} bytes have arrived, more than the {total} of the whole object.")
    return await _complete(call, session, upload_id)


def _result(session: Record) -> dict[str, Any]:
    result: dict[str, Any] = session.hidden["result"]
    return result


def _total(call: Call, session: Record, given: ContentRange) -> int | None:
    declared = session.hidden["total"]
    if declared is not None and given.total not in (None, declared):
        raise refuse("Content-Range", f"The object was declared to have {declared} bytes, not {given.total}.")
    _check_size(call, max(given.total or 0, given.last + 1))
    return given.total


async def _append(call: Call, upload_id: str, given: ContentRange, size: int, *, whole: bool) -> tuple[int, int]:
    """Add the bytes of the body that have not arrived before; the new size, and where the body ended. What came before
    a broken connection is kept; what comes behind a gap is not."""
    first = given.first or 0
    at, held, parts = first, 0, list[bytes]()
    blobs = call.services.blobs

    async def flush() -> int:
        nonlocal parts, held
        data, parts, held = b"".join(parts), [], 0
        return await _append_rest(blobs, upload_id, data, size)

    try:
        async for data in call.request.body.stream():
            if not whole and at + len(data) > given.last + 1:
                raise refuse("Content-Range", "The body is longer than Content-Range says.")
            new = data[max(size + held - at, 0) :] if first <= size else b""
            at += len(data)
            _check_size(call, at)
            if new:
                parts.append(new)
                held += len(new)
            if held >= _APPEND_SIZE:
                call.authorize()  # a long upload ends where the right to it does
                size = await flush()
    finally:
        if parts:
            size = await flush()
    return size, at


async def _append_rest(blobs: Blobs, upload_id: str, data: bytes, at: int) -> int:
    """Append what is not there yet; the new size. A request whose connection broke may still be storing its last bytes
    while the next one begins: they are the same bytes of the same object, so those that are there are skipped."""

    def append() -> int:
        nonlocal data, at
        try:
            return blobs.partial_append(upload_id, data, at)
        except Aborted:
            size = blobs.partial_size(upload_id)
            if size < at + len(data):
                data, at = data[max(size - at, 0) :], max(size, at)
                raise
            return size

    return await _patiently(lambda: on_chunk(append), _PATIENCE)


async def _patiently(work: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Try again for a while, on no thread between, what another request is in the way of. Raises Aborted."""
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + seconds, 0.05
    while True:
        try:
            return await work()
        except Aborted:
            if loop.time() >= until:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, 1.0)


async def _complete(call: Call, session: Record, upload_id: str) -> dict[str, Any]:
    """Make the object, once: two requests that end the same upload get the same answer."""
    blobs = call.services.blobs
    blob = await _patiently(lambda: on_bulk(lambda: blobs.partial_commit(upload_id)), _PATIENCE_AT_END)
    hashes = Hashes(session.hidden["md5"], session.hidden["crc32c"]).with_headers(call.request.headers)
    hashes.check(blob.md5, blob.crc32c)

    def store(tx: Transaction) -> dict[str, Any]:
        current = _session(call, tx)
        if "result" not in current.hidden:
            hidden = current.hidden
            bucket = id_of(current.parent)
            shown = put(call, tx, bucket, hidden["object"], blob, hidden["metadata"], hidden["query"])
            current.hidden = {"principal": hidden["principal"], "uid": hidden["uid"], "result": shown}
            tx.update(current)
        return _result(current)

    answer = await call.on_thread(store, write=True)
    await on_chunk(lambda: blobs.partial_abandon(upload_id))
    return answer


async def cancel_upload(call: Call) -> Response:
    """End a session without an object. Storage answers 499 when that worked."""
    if not call.query.get("upload_id"):
        raise not_here("DELETE without upload_id")

    def cancel(tx: Transaction) -> str:
        session = _session(call, tx)
        tx.delete(session.name)
        return id_of(session.name)

    upload_id = await call.on_thread(cancel, write=True)
    await on_bulk(lambda: call.services.blobs.partial_abandon(upload_id))
    return Response(status=499)


def _session(call: Call, tx: Transaction) -> Record:
    """The caller's own session in this bucket. Raises NotFound, also for somebody else's."""
    bucket = bucket_of(tx, call.params["bucket"])
    found = tx.get(join(bucket.name, "uploads", call.query["upload_id"].replace("\x00", "")))
    if (
        found is None
        or found.kind != "upload"
        or found.parent != bucket.name
        or any(found.hidden.get(key) != value for key, value in _owner(call).items())
        or found.created + LIFETIME < call.now
    ):
        raise NotFound("No such upload session: it was never opened by you, was cancelled, or has expired.")
    return found


def _owner(call: Call) -> dict[str, str]:
    """Whose a session is. A service account that was deleted and made again has the same address and another uid."""
    kind, _, _ = call.principal.partition(":")
    account = call.services.snapshot.accounts.get(email_of(call.principal)) if kind == "serviceAccount" else None
    return {"principal": call.principal, "uid": account.uid if account else ""}


def expire_uploads(tx: Transaction, blobs: Blobs, now: datetime) -> int:
    """Remove the sessions that are older than seven days, with what arrived of them; returns how many."""
    expired = [record for record in tx.find("upload") if record.created + LIFETIME < now]
    for record in expired:
        tx.delete(record.name)
        blobs.partial_abandon(id_of(record.name))
    return len(expired)
