"""Blobs in memory: the twin for tests, which passes the same contract as the files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from mlgate.adapters.blobs.files import CHUNK, Hasher, check_digest, check_upload_id
from mlgate.core.errors import Aborted, AlreadyExists, NotFound
from mlgate.ports import Blob


class MemoryBlobs:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._stored: dict[str, tuple[bytes, float]] = {}
        self._partial: dict[str, bytearray] = {}
        self._done: dict[str, Blob] = {}

    def writer(self) -> MemoryWriter:
        return MemoryWriter(self)

    def open(self, digest: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        data = self._bytes(digest)[start : None if length is None else start + length]
        return iter([data[at : at + CHUNK] for at in range(0, len(data), CHUNK)])

    def materialize(self, digest: str, target: Path) -> None:
        data = self._bytes(digest)
        if target.exists():
            raise AlreadyExists(f"{target} already exists.")
        target.write_bytes(data)
        target.chmod(0o444)

    def partial_size(self, upload_id: str) -> int:
        done = self._done.get(check_upload_id(upload_id))
        return done.size if done else len(self._partial.get(upload_id, b""))

    def partial_append(self, upload_id: str, data: bytes, at: int) -> int:
        with self._lock:
            if check_upload_id(upload_id) in self._done or self.partial_size(upload_id) != at:
                raise Aborted("The upload went on in another request; ask for its status and continue from there.")
            self._partial.setdefault(upload_id, bytearray()).extend(data)
            return at + len(data)

    def partial_commit(self, upload_id: str) -> Blob:
        with self._lock:
            done = self._done.get(check_upload_id(upload_id))
            if done is not None:
                self.put(self._bytes(done.digest))
                return done
            blob = self._done[upload_id] = self.put(bytes(self._partial.pop(upload_id, b"")))
            return blob

    def partial_abandon(self, upload_id: str) -> None:
        with self._lock:
            self._partial.pop(check_upload_id(upload_id), None)
            self._done.pop(upload_id, None)

    def sweep(self, keep: set[str], older_than_seconds: float) -> int:
        before = time.time() - older_than_seconds
        with self._lock:
            gone = [d for d, (_, born) in self._stored.items() if d not in keep and born < before]
            for digest in gone:
                del self._stored[digest]
            return len(gone)

    def put(self, data: bytes) -> Blob:
        hasher = Hasher()
        hasher.update(data)
        blob = hasher.blob()
        with self._lock:
            self._stored[blob.digest] = (data, time.time())
        return blob

    def _bytes(self, digest: str) -> bytes:
        found = self._stored.get(check_digest(digest))
        if found is None:
            raise NotFound(f'Blob "{digest}" was not found.')
        return found[0]


class MemoryWriter:
    def __init__(self, blobs: MemoryBlobs) -> None:
        self._blobs = blobs
        self._data: bytearray | None = bytearray()

    def write(self, data: bytes) -> None:
        self._open().extend(data)

    def commit(self) -> Blob:
        data, self._data = self._open(), None
        return self._blobs.put(bytes(data))

    def abandon(self) -> None:
        self._data = None

    def _open(self) -> bytearray:
        if self._data is None:
            raise Aborted("The upload was abandoned.")
        return self._data
