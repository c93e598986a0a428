"""What a job's packages say of the runtime that they need, read without running or unpacking them."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence

from mlgate.ports import Blobs

#: So many bytes of a package are read, unpacked, to find out what it imports.
MOST_BYTES = 32 << 20
#: At the beginning of a line, or of a file in a tar archive.
_TENSORFLOW = re.compile(rb"(?:^|\0)[ \t]*(?:import|from)[ \t]+(?:tensorflow|keras|tf_keras)\b", re.MULTILINE)


def framework_of(blobs: Blobs, packages: Sequence[tuple[str, str]]) -> str:
    """TENSORFLOW where a package imports it: that environment is several times as large, so nobody else gets it."""
    for name, digest in packages:
        tail = b""
        for piece in _text(blobs, name, digest):
            if _TENSORFLOW.search(tail + piece):
                return "TENSORFLOW"
            tail = piece[-200:]
    return ""


def _text(blobs: Blobs, name: str, digest: str) -> Iterator[bytes]:
    try:
        yield from _wheel(blobs, digest) if name.endswith(".whl") else _source(blobs, digest)
    except (zlib.error, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, EOFError):
        return  # it will be told when it is installed


def _source(blobs: Blobs, digest: str) -> Iterator[bytes]:
    unpacked, left = zlib.decompressobj(31), MOST_BYTES
    for piece in blobs.open(digest):
        while piece and left > 0:
            text = unpacked.decompress(piece, 1 << 16)
            left -= len(text)
            yield text
            piece = unpacked.unconsumed_tail
        if left <= 0:
            return


def _wheel(blobs: Blobs, digest: str) -> Iterator[bytes]:
    whole = b"".join(blobs.open(digest, 0, MOST_BYTES))
    left = MOST_BYTES
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        for info in archive.infolist():
            if info.filename.endswith(".py") and left > 0:
                with archive.open(info) as file:
                    text = file.read(min(left, 1 << 20))
                left -= len(text)
                yield b"\n" + text
