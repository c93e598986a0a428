"""Files of JSON lines in the data directory: tables of logged requests, and the logs of versions.

Several processes append to one file, each whole lines at a time, under a lock on it. Names come checked
(core/request_logging.py) or are uids; what is neither is refused here once more, since they become paths.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")
#: A version's log is a file of about so many bytes and the one before it.
_LOG_BYTES = 1 << 20


class TableFiles:
    """PROJECT/DATASET/TABLE.jsonl below a directory; each grows to a limit and no further."""

    def __init__(self, root: Path, largest: int) -> None:
        self._root = root
        self._largest = largest

    def append(self, table: Sequence[str], lines: Sequence[bytes]) -> int:
        """Write the lines behind those that are there, as many as the table has room for; how many. Raises OSError."""
        *folders, name = [_checked(part) for part in table]
        folder = self._root.joinpath(*folders)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder / f"{name}.jsonl") as file:
            size = os.fstat(file).st_size
            ends = accumulate((len(line) + 1 for line in lines), initial=size)
            fitting = sum(end <= self._largest for end in ends) - 1
            if fitting > 0:
                _write(file, _joined(lines[:fitting]), size)
        return max(fitting, 0)


class LogFiles:
    """The last lines of each version, by its uid."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def append(self, uid: str, lines: Sequence[bytes]) -> None:
        """Raises OSError."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(uid)
        with _locked(self._root / "lock"), _opened(path) as file:
            size = os.fstat(file).st_size
            if size <= _LOG_BYTES:
                _write(file, _joined(lines), size)
                return
            path.replace(self._old(uid))
            with _opened(path) as fresh:
                _write(fresh, _joined(lines), 0)

    def read(self, uid: str) -> list[bytes]:
        """The lines that are kept, oldest first."""
        found: list[bytes] = []
        for path in (self._old(uid), self._path(uid)):
            with suppress(FileNotFoundError):
                found += [line for line in path.read_bytes().split(b"\n") if line]
        return found

    def keep(self, uids: Collection[str], older_than_seconds: float = 600.0) -> None:
        """Remove the logs of all others, unless they are so young that their version may not be known yet."""
        for path in self._root.glob("*.jsonl") if self._root.is_dir() else ():
            is_old = time.time() - path.stat().st_mtime >= older_than_seconds
            if is_old and path.name.partition(".")[0] not in uids:
                path.unlink(missing_ok=True)

    def _path(self, uid: str) -> Path:
        return self._root / f"{_checked(uid)}.jsonl"

    def _old(self, uid: str) -> Path:
        return self._root / f"{_checked(uid)}.old.jsonl"


def _checked(part: str) -> str:
    if not _PART.fullmatch(part):
        raise ValueError(f"{part!r} cannot be a part of a file's name")
    return part


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    with _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _write(file: int, data: bytes, size: int) -> None:
    """All of it, or nothing: a disk that is full leaves no half line."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        os.ftruncate(file, size)
        raise
