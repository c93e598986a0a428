"""Blobs as files: `DATA/blobs/ab/cdef...`, named by the SHA-256 of their bytes.

A writer fills a file in `tmp/` and hashes on the way; `commit` makes the bytes durable, renames the file to its digest
and makes the rename durable, all before it returns. Whoever dies on the way leaves a file in `tmp/` and nothing else.

A resumable upload is a file in `partial/`, appended to under a lock. Its commit first notes the result beside it
(`ID.done`), then moves the file to its digest: interrupted at any point, it can be asked again and answers the same.

INVARIANT: what `commit` has returned is there until `sweep` finds it unreferenced and old. So a writer that meets its
digest already stored renews the file's age, and `sweep` looks at the age and removes in one step: the two exclude each
other with a lock on `lock`, which also holds between processes.

Names of objects never come here; digests and upload ids are checked against their alphabets.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c

from mlgate.core.errors import Aborted, AlreadyExists, InvalidArgument, NotFound, ResourceExhausted
from mlgate.ports import Blob

CHUNK = 1 << 20
#: A session lives seven days; its file a little longer, whatever age `sweep` is given.
PARTIAL_SECONDS = 8 * 86400.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{16,128}")


class Hasher:
    """The three hashes of a stream of bytes."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0
        self._size = 0

    def update(self, data: bytes) -> None:
        self._sha256.update(data)
        self._md5.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)
        self._size += len(data)

    def blob(self) -> Blob:
        return Blob(self._sha256.hexdigest(), self._size, self._md5.digest(), self._crc32c.to_bytes(4, "big"))


def check_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise NotFound(f'Blob "{digest[:80]}" was not found.')
    return digest


def check_upload_id(upload_id: str) -> str:
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise InvalidArgument(f'"{upload_id[:80]}" is no upload id.')
    return upload_id


class FileBlobs:
    """The port `Blobs` in a directory; any number of threads and processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root, self._tmp, self._partial = root, root / "tmp", root / "partial"
        for directory in (self._tmp, self._partial, *(root / f"{n:02x}" for n in range(256))):
            directory.mkdir(parents=True, exist_ok=True)
        _sync(root)

    def writer(self) -> FileWriter:
        return FileWriter(self, self._tmp / secrets.token_hex(16))

    def open(self, digest: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return FileReader(self._path(digest), start, length)

    def materialize(self, digest: str, target: Path) -> None:
        source = self._path(digest)
        try:
            os.link(source, target)
        except FileExistsError:
            raise AlreadyExists(f"{target} already exists.") from None
        except FileNotFoundError:
            raise NotFound(f'Blob "{digest}" was not found.') from None
        except OSError:  # another file system, or one without links, or too many of them
            with _disk():
                shutil.copyfile(source, target)
                target.chmod(0o444)

    # ------------------------------------------------------------------------------------------ resumable uploads

    def partial_size(self, upload_id: str) -> int:
        path = self._partial / check_upload_id(upload_id)
        done = _read_done(path)
        if done is not None:
            return done.size
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def partial_append(self, upload_id: str, data: bytes, at: int) -> int:
        path = self._partial / check_upload_id(upload_id)
        with self._own(path) as fd:
            size = os.fstat(fd).st_size
            if _read_done(path) is not None or size != at:
                raise Aborted("The upload went on in another request; ask for its status and continue from there.")
            _write(fd, data)
            os.fsync(fd)
        if not at:
            _sync(self._partial)
        return size + len(data)

    def partial_commit(self, upload_id: str) -> Blob:
        path = self._partial / check_upload_id(upload_id)
        blob = _read_done(path)
        if blob is not None and self._renew(blob):
            return blob
        with self._own(path) as fd:
            blob = _read_done(path)
            if blob is not None and self._renew(blob):
                return blob
            hasher = Hasher()
            while data := os.read(fd, CHUNK):
                hasher.update(data)
            os.fsync(fd)
            found = hasher.blob()
            if blob is not None and blob != found:
                raise NotFound("The bytes of this upload are gone; start it again.")
            self._note_done(path, found)
            self._publish(path, found)
        return found

    def partial_abandon(self, upload_id: str) -> None:
        path = self._partial / check_upload_id(upload_id)
        path.unlink(missing_ok=True)
        _done(path).unlink(missing_ok=True)

    @contextmanager
    def _own(self, path: Path) -> Iterator[int]:
        """The partial file, opened and locked. Raises Aborted while another request has the lock: that one may take as
        long as hashing the whole file does, and nobody waits for it on a thread.

        Another request may have moved the file away before the lock was ours: what is open then is a blob, and must
        not be touched.
        """
        with _disk():
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise Aborted("Another request is writing this upload; ask for its status and continue.") from None
                if not path.exists() or path.stat().st_ino != os.fstat(fd).st_ino:
                    raise Aborted("The upload went on in another request; ask for its status and continue from there.")
                yield fd
            finally:
                os.close(fd)

    def _note_done(self, path: Path, blob: Blob) -> None:
        noted = {"digest": blob.digest, "size": blob.size, "md5": blob.md5.hex(), "crc32c": blob.crc32c.hex()}
        temporary = self._tmp / secrets.token_hex(16)
        with temporary.open("w") as file:
            json.dump(noted, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(_done(path))
        _sync(self._partial)

    # -------------------------------------------------------------------------------------------------- the store

    def _path(self, digest: str) -> Path:
        check_digest(digest)
        return self._root / digest[:2] / digest[2:]

    def _renew(self, blob: Blob) -> bool:
        """Whether the blob is stored; if so, `sweep` sees it as new."""
        with self._lock(fcntl.LOCK_SH):
            path = self._path(blob.digest)
            try:
                if path.stat().st_size != blob.size:
                    return False
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def _publish(self, source: Path, blob: Blob) -> None:
        """Give a durable file its final name, or drop it when that is taken, durably."""
        target = self._path(blob.digest)
        if self._renew(blob):
            source.unlink()
        else:
            source.chmod(0o444)
            os.utime(source)
            source.rename(target)
        _sync(target.parent)

    @contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        fd = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)

    def sweep(self, keep: set[str], older_than_seconds: float) -> int:
        """Also removes what dead writers left; a live one holds a lock on its file."""
        before = time.time() - older_than_seconds
        removed = 0
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            if path.parent.name + path.name not in keep and _is_older(path, before):
                with self._lock(fcntl.LOCK_EX):
                    if _is_older(path, before):
                        path.unlink()
                        removed += 1
        for path in self._tmp.iterdir():
            if _is_older(path, before) and _is_free(path):
                path.unlink(missing_ok=True)
        for path in self._partial.iterdir():
            if _is_older(path, min(before, time.time() - PARTIAL_SECONDS)):
                path.unlink(missing_ok=True)
        return removed


class FileWriter:
    """A blob on its way. The lock keeps a cancelled request from closing the file under a thread that still writes."""

    def __init__(self, blobs: FileBlobs, path: Path) -> None:
        self._blobs, self._path, self._hasher = blobs, path, Hasher()
        self._mutex = threading.Lock()
        self._fd = -1
        with _disk():
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def write(self, data: bytes) -> None:
        with self._mutex, _disk():
            self._check_open()
            _write(self._fd, data)
            self._hasher.update(data)

    def commit(self) -> Blob:
        with self._mutex, _disk():
            self._check_open()
            os.fsync(self._fd)
            blob = self._hasher.blob()
            self._blobs._publish(self._path, blob)
            self._close()
            return blob

    def abandon(self) -> None:
        with self._mutex:
            if self._fd >= 0:
                self._path.unlink(missing_ok=True)
                self._close()

    def __del__(self) -> None:
        self.abandon()

    def _check_open(self) -> None:
        if self._fd < 0:
            raise Aborted("The upload was abandoned.")

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


class FileReader:
    """The bytes of a blob in chunks. The file is open from the start: a blob that is swept meanwhile still arrives."""

    def __init__(self, path: Path, start: int, length: int | None) -> None:
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f'Blob "{path.parent.name}{path.name}" was not found.') from None
        self._at, self._left = start, length

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = os.pread(self._fd, CHUNK if self._left is None else min(CHUNK, self._left), self._at)
        if not data:
            raise StopIteration
        self._at += len(data)
        if self._left is not None:
            self._left -= len(data)
        return data

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


# ------------------------------------------------------------------------------------------------------------ files


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted("The disk that holds the objects is full.") from None
        raise


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _done(path: Path) -> Path:
    return path.with_name(path.name + ".done")


def _read_done(path: Path) -> Blob | None:
    try:
        noted = json.loads(_done(path).read_text())
    except FileNotFoundError:
        return None
    return Blob(noted["digest"], noted["size"], bytes.fromhex(noted["md5"]), bytes.fromhex(noted["crc32c"]))


def _is_older(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False


def _is_free(path: Path) -> bool:
    """Whether no writer is alive behind the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(fd)
