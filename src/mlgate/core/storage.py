"""The rules of Cloud Storage: names, generations, preconditions, hashes, byte ranges, listings, bodies in two parts.

Object names are keys. Nothing here or elsewhere joins one to a path: a name such as `../../etc/passwd` is as good as
any other, and is answered from the database.

A listing with a delimiter must not read the million names below one prefix: it shows the prefix once and goes on
behind it. `behind` gives the bound for that, `before` the one for starting at a name.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlgate.core.errors import ConditionNotMet, InvalidArgument, OutOfRange
from mlgate.core.wire import decode_base64, encode_base64

MAX_NAME = 1024
MAX_METADATA = 8192
STORAGE_CLASSES = (
    "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY",
)  # fmt: skip
_LAST = "\U0010ffff"


def refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field, message)])


# ------------------------------------------------------------------------------------------------- names and fields


def check_object_name(name: str, field: str = "name") -> str:
    """The name as given, or InvalidArgument (https://cloud.google.com/storage/docs/objects#naming)."""
    if not name:
        raise refuse(field, f"{field} is required: an object needs a name.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise refuse(field, "The object name holds a character that no text may hold.") from None
    if size > MAX_NAME:
        raise refuse(field, f"The object name has {size} bytes in UTF-8; at most {MAX_NAME} are allowed.")
    if any(c in name for c in "\r\n\x00"):
        raise refuse(field, "The object name holds a carriage return, a line feed or a NUL.")
    if name in (".", "..") or name.startswith(".well-known/acme-challenge/"):
        raise refuse(field, f'An object cannot be named "{name[:100]}".')
    return name


def check_text(value: str, field: str) -> None:
    """A text that the database can compare with names. Page tokens too: whoever makes one up gets no further."""
    if "\x00" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise refuse(field, f"{field} holds a character that no name may hold.")


def check_header(value: str | None, field: str) -> None:
    """A field that goes into a response header holds no control character."""
    if value and any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise refuse(field, f"{field} holds a control character.")


def check_storage_class(value: str | None) -> None:
    if value and value not in STORAGE_CLASSES:
        raise refuse("storageClass", f'"{value[:100]}" is no storage class: use one of {", ".join(STORAGE_CLASSES)}.')


def check_metadata(metadata: Mapping[str, str] | None) -> None:
    size = sum(len(k.encode()) + len(v.encode()) for k, v in (metadata or {}).items())
    if size > MAX_METADATA:
        raise refuse("metadata", f"metadata holds {size} bytes; at most {MAX_METADATA} are allowed.")


def merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the members of a JSON merge patch (RFC 7396): null removes, objects merge, all else replaces."""
    out = dict(old)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping):
            before = out.get(key)
            out[key] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            out[key] = value
    return out


# ------------------------------------------------------------------------------------- generations and preconditions


def next_generation(now: datetime, before: int) -> int:
    """Microseconds since 1970, and always more than any generation before it, also when the clock is set back."""
    return max(int(now.astimezone(UTC).timestamp() * 1_000_000), before + 1)


def etag(generation: int, metageneration: int) -> str:
    return base64.b64encode(f"{generation}.{metageneration}".encode()).decode()


def failed_condition(query: Mapping[str, Any], generation: int, metageneration: int, prefix: str = "if") -> str:
    """The first precondition of the query that does not hold, "" when all do. What does not exist has generation 0."""
    actual = {"Generation": generation, "Metageneration": metageneration}
    for what, value in actual.items():
        wanted = query.get(f"{prefix}{what}Match")
        if wanted is not None and wanted != value:
            return f"{prefix}{what}Match"
        refused = query.get(f"{prefix}{what}NotMatch")
        if refused is not None and refused == value:
            return f"{prefix}{what}NotMatch"
    return ""


def check_conditions(query: Mapping[str, Any], generation: int, metageneration: int, prefix: str = "if") -> None:
    """Raises ConditionNotMet."""
    if name := failed_condition(query, generation, metageneration, prefix):
        raise ConditionNotMet(
            f"At least one of the pre-conditions you specified did not hold: {name}={query[name]}.",
            reason="conditionNotMet",
        )


# ----------------------------------------------------------------------------------------------------------- hashes


@dataclass(frozen=True, slots=True)
class Hashes:
    """What the sender says that the bytes hash to, in base64; "" where they say nothing."""

    md5: str = ""
    crc32c: str = ""

    def with_headers(self, headers: Mapping[str, str]) -> Hashes:
        """These, with those of the header `x-goog-hash: crc32c=...,md5=...` over them."""
        md5, crc32c = self.md5, self.crc32c
        for part in headers.get("x-goog-hash", "").split(","):
            name, _, value = part.strip().partition("=")
            if name == "md5":
                md5 = value
            elif name == "crc32c":
                crc32c = value
        return Hashes(md5, crc32c)

    def check(self, md5: bytes, crc32c: bytes) -> None:
        """Raises InvalidArgument when the bytes that arrived are not those that were sent."""
        for what, given, actual in (("MD5 hash", self.md5, md5), ("CRC32C", self.crc32c, crc32c)):
            if given and _raw(what, given) != actual:
                raise InvalidArgument(
                    f'Provided {what} "{given}" doesn\'t match calculated {what} "{encode_base64(actual)}".'
                )


def _raw(what: str, text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError:
        raise InvalidArgument(f'Provided {what} "{text[:100]}" is not base64.') from None


# ----------------------------------------------------------------------------------------------------------- ranges

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII)
_SIZE = re.compile(r"\d{1,19}", re.ASCII)


def parse_size(text: str, field: str) -> int:
    """A number of bytes in a header. Raises InvalidArgument."""
    if not _SIZE.fullmatch(text):
        raise refuse(field, f'{field} "{text[:50]}" is no number of bytes.')
    return int(text)


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """(first byte, number of bytes) of a Range header; None means all of it: there is no header, or one that RFC 9110
    lets a server ignore. Raises OutOfRange when no byte of the object is in it."""
    match = _RANGE.fullmatch(header.strip().replace(" ", "").lower())
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), size if not last else min(int(last) + 1, size)
        if last and int(last) < start:
            return None
    if start >= stop:
        raise OutOfRange(f"The requested range cannot be satisfied: the object has {size} bytes.")
    return start, stop - start


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes of the object a chunk of a resumable upload is. `first` None: no bytes, only a question or the end.
    `total` None: not known yet."""

    first: int | None
    last: int
    total: int | None

    @property
    def length(self) -> int:
        return 0 if self.first is None else self.last - self.first + 1


def parse_content_range(header: str) -> ContentRange:
    """`bytes 0-99/200`, `bytes 0-99/*`, `bytes */200` or `bytes */*`. Raises InvalidArgument."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if not match:
        raise refuse("Content-Range", f'Content-Range "{header[:100]}" cannot be read: write bytes 0-99/200.')
    total = None if match.group(3) == "*" else int(match.group(3))
    if match.group(1) is None:
        return ContentRange(None, -1, total)
    first, last = int(match.group(1)), int(match.group(2))
    if last < first or (total is not None and last >= total):
        raise refuse("Content-Range", f'Content-Range "{header[:100]}" is no range of its total.')
    return ContentRange(first, last, total)


# --------------------------------------------------------------------------------------------------------- listings


def common_prefix(name: str, prefix: str, delimiter: str) -> str:
    """The part of the name up to and with the first delimiter behind the prefix; "" when there is none."""
    at = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: at + len(delimiter)] if at >= 0 else ""


def behind(prefix: str) -> str:
    """A text that no object name equals, greater than every one that starts with `prefix` and smaller than all others
    that are greater than `prefix`: a name has at most 1024 bytes, so no more than that of U+10FFFF can follow."""
    return prefix + _LAST * (MAX_NAME // 4 + 1)


def before(name: str) -> str:
    """A text smaller than `name` and greater than every object name that is smaller than `name`."""
    if not name:
        return ""
    last = ord(name[-1]) - 1
    if last <= 0:
        return name[:-1]
    return name[:-1] + chr(0xD7FF if 0xD800 <= last <= 0xDFFF else last) + _LAST * (MAX_NAME // 4 + 1)


# ------------------------------------------------------------------------------------------------ multipart/related

#: Google's command line puts the boundary between single quotes, which are none by the rules and meant as such.
_BOUNDARY = re.compile(
    r"""multipart/related\s*;.*?boundary=(?:"([^"\r\n]{1,200})"|'([^'\r\n]{1,200})'|([^\s;"]{1,200}))""", re.I | re.S
)
_MAX_HEAD = 1 << 20
_EPILOGUE = 64


class Multipart:
    """A body of two parts: metadata as JSON, then the media. Give it the bytes as they arrive; it gives the media's.

    Its line ends are those of the first line: gcsfs ends lines with a bare line feed, and media that end with a
    carriage return must not lose it. The last boundary of the body ends the media, so that media which hold the
    boundary themselves arrive whole (gcsfs always uses `==0==`).
    """

    def __init__(self, content_type: str) -> None:
        match = _BOUNDARY.match(content_type.strip())
        if not match:
            raise refuse("Content-Type", "A multipart upload needs Content-Type: multipart/related; boundary=....")
        self._mark = b"--" + (match.group(1) or match.group(2) or match.group(3)).encode("latin-1", "replace")
        self._end = b""
        self._buffer = b""
        self._started = False
        self.metadata = b""
        self.content_type = ""

    def feed(self, data: bytes) -> bytes:
        """Media bytes that are certain. Raises InvalidArgument."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._started and not self._read_head():
            if len(self._buffer) > _MAX_HEAD:
                raise InvalidArgument("The first part of the body is too large, or its boundary never comes.")
            return b""
        sure = len(self._buffer) - len(self._end) - _EPILOGUE
        if sure <= 0:
            return b""
        media, self._buffer = self._buffer[:sure], self._buffer[sure:]
        return media

    def finish(self) -> bytes:
        """The rest of the media. Raises InvalidArgument when the body stops before its last boundary."""
        at = self._buffer.rfind(self._end) if self._started else -1
        if at < 0 or self._buffer[at + len(self._end) :].strip():
            raise InvalidArgument("The body does not end with its closing boundary.")
        return self._buffer[:at]

    def _read_head(self) -> bool:
        text = self._buffer.lstrip(b"\r\n")
        start = text.find(b"\n")
        if start < 0:
            return False
        if text[:start].rstrip() != self._mark:
            raise InvalidArgument("The body does not start with its boundary.")
        eol = b"\r\n" if text[start - 1 : start] == b"\r" else b"\n"
        first = text.find(eol * 2, start + 1 - len(eol))
        middle = text.find(eol + self._mark + eol, first + len(eol)) if first >= 0 else -1
        second = text.find(eol * 2, middle + len(eol + self._mark)) if middle >= 0 else -1
        if second < 0:
            return False
        self.metadata = text[first + 2 * len(eol) : middle]
        head = text[middle:second].decode("latin-1")
        found = re.search(r"^content-type:[ \t]*([^\r\n]*)", head, re.I | re.M)
        self.content_type = found.group(1).strip() if found else ""
        self._end = eol + self._mark + b"--"
        self._buffer = text[second + 2 * len(eol) :]
        self._started = True
        return True
