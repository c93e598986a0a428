"""Bytes to and from buckets: whole or in chunks that can be taken up again, each checked by its CRC32C.

A small object goes in one request, metadata and bytes together. A larger one goes in chunks: after a broken connection
or a 5xx the client asks what has arrived and goes on from there. A download is written beside its place and moved there
once it is complete and its checksum is right, so that a broken one leaves nothing behind.
"""

from __future__ import annotations

import json
import mimetypes
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from mlgate.cli.client import Client, method_row
from mlgate.cli.failure import Failure
from mlgate.core.wire import encode_base64

Advance = Callable[[int], None]

_CHUNK = 8 << 20
_BLOCK = 1 << 20
_ATTEMPTS = 6
_MISMATCH = "What arrived is not what was sent (its CRC32C is wrong); try again."


# ---------------------------------------------------------------------------------------------------------- uploads


def upload_file(client: Client, local: Path, bucket: str, name: str) -> dict[str, Any]:
    """Upload a file as an object, and return the object."""
    try:
        with local.open("rb") as source:
            return upload(client, source, bucket, name, mimetypes.guess_type(local.name)[0])
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{local} cannot be read: {error.strerror}.") from None


def upload_directory(client: Client, local: Path, bucket: str, prefix: str) -> int:
    """Upload all files below a directory, and return how many. Symbolic links to directories are not followed."""
    files = sorted(path for path in local.rglob("*") if path.is_file())
    for file in files:
        upload_file(client, file, bucket, prefix + file.relative_to(local).as_posix())
    return len(files)


def upload(client: Client, source: IO[bytes], bucket: str, name: str, media_type: str | None = None) -> dict[str, Any]:
    """Upload a seekable file."""
    size, checksum = _measure(source)
    metadata = {
        "name": name,
        "contentType": media_type or "application/octet-stream",
        "crc32c": checksum,
    }
    with _progress(f"Uploading {name}", size) as advance:
        if size <= _CHUNK:
            made = _upload_whole(client, bucket, metadata, source.read())
            advance(size)
            return made
        return _Resumable(client, bucket, metadata, size).send(source, advance)


def _measure(source: IO[bytes]) -> tuple[int, str]:
    """Size and checksum; leaves the file at its beginning."""
    checksum, size = _new_checksum(), 0
    while block := source.read(_BLOCK):
        checksum.update(block)
        size += len(block)
    source.seek(0)
    return size, encode_base64(checksum.digest())


def _new_checksum() -> Any:
    import google_crc32c

    return google_crc32c.Checksum()  # type: ignore[no-untyped-call]


def _upload_whole(client: Client, bucket: str, metadata: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}\r\n"
        f"--{boundary}\r\nContent-Type: {metadata['contentType']}\r\n\r\n"
    )
    content = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
    row, path = method_row("storage.objects.insert", {"bucket": bucket}, "upload/", "POST"), {"bucket": bucket}
    return client.parsed(client.send(row, path, {"uploadType": "multipart"}, content, headers))


class _Resumable:
    """An upload in chunks (https://cloud.google.com/storage/docs/performing-resumable-uploads)."""

    def __init__(self, client: Client, bucket: str, metadata: Mapping[str, Any], size: int) -> None:
        self._client = client
        self._path = {"bucket": bucket}
        self._metadata = metadata
        self._size = size
        self._row = method_row("storage.objects.insert", self._path, "upload/", "PUT")

    def send(self, source: IO[bytes], advance: Advance) -> dict[str, Any]:
        session = self._open()
        position, failures = 0, 0
        while True:
            source.seek(position)
            chunk = source.read(_CHUNK)
            try:
                answer = self._put(session, chunk, f"bytes {position}-{position + len(chunk) - 1}/{self._size}")
            except Failure as failure:
                failures += 1
                if failure.status not in ("UNAVAILABLE", "INTERNAL", "UNKNOWN") or failures >= _ATTEMPTS:
                    raise
                time.sleep(0.2 * 2**failures)
                answer = self._put(session, b"", f"bytes */{self._size}")
            if "name" in answer:
                advance(self._size - position)
                return answer
            advance(answer["arrived"] - position)
            position = answer["arrived"]

    def _open(self) -> str:
        row = method_row("storage.objects.insert", self._path, "upload/", "POST")
        headers = {"Content-Type": "application/json", "X-Upload-Content-Length": str(self._size)}
        body = json.dumps(self._metadata).encode()
        response = self._client.send(row, self._path, {"uploadType": "resumable"}, body, headers)
        self._client.parsed(response)
        # of the address only the session counts: the token goes to no other server than ours
        return parse_qs(urlsplit(response.headers["Location"]).query)["upload_id"][0]

    def _put(self, session: str, chunk: bytes, content_range: str) -> dict[str, Any]:
        """The object when all has arrived, else how many bytes have."""
        query = {"uploadType": "resumable", "upload_id": session}
        response = self._client.send(self._row, self._path, query, chunk, {"Content-Range": content_range})
        if response.status_code == 308:
            given = response.headers.get("Range", "")
            return {"arrived": int(given.rpartition("-")[2]) + 1 if given else 0}
        return self._client.parsed(response)


# -------------------------------------------------------------------------------------------------------- downloads


def download_file(client: Client, bucket: str, name: str, local: Path) -> None:
    """Download an object to a file."""
    local.parent.mkdir(parents=True, exist_ok=True)
    scratch = local.with_name(f".{local.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with scratch.open("wb") as target:
            download(client, bucket, name, target)
        os.replace(scratch, local)
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{local} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(FileNotFoundError):
            scratch.unlink()


def download(client: Client, bucket: str, name: str, target: IO[bytes]) -> None:
    """Write an object's bytes. Raises Failure, at the end, when they are not the ones that were stored."""
    path = {"bucket": bucket, "object": name}
    row = method_row("storage.objects.get", path, "storage/")
    checksum = _new_checksum()
    with client.stream(row, path, {"alt": "media"}, headers={"Accept-Encoding": "identity"}) as response:
        if not response.is_success:
            response.read()
            client.parsed(response)
        size = int(response.headers.get("Content-Length", 0))
        with _progress(f"Downloading {name}", size) as advance:
            for block in response.iter_raw(_BLOCK):
                checksum.update(block)
                target.write(block)
                advance(len(block))
        expected = _stated_checksum(response.headers.get("x-goog-hash", ""))
    if expected and expected != encode_base64(checksum.digest()):
        raise Failure("DATA_LOSS", _MISMATCH)


def _stated_checksum(header: str) -> str:
    parts = (part.strip().partition("=") for part in header.split(","))
    return next((value for name, _, value in parts if name == "crc32c"), "")


def copy(client: Client, source: tuple[str, str], target: tuple[str, str]) -> None:
    """Copy an object within the server, in as many steps as the server asks for."""
    path = {
        "sourceBucket": source[0],
        "sourceObject": source[1],
        "destinationBucket": target[0],
        "destinationObject": target[1],
    }
    token: str | None = None
    while True:
        answer = client.call("storage.objects.rewrite", {}, {"rewriteToken": token}, **path)
        if answer.get("done"):
            return
        token = answer["rewriteToken"]


# --------------------------------------------------------------------------------------------------------- progress


@contextmanager
def _progress(what: str, size: int) -> Iterator[Advance]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(escape(what), total=size)
        yield lambda count: progress.advance(task, count)
