"""Scalars of TensorFlow summary files: TFRecord frames of Event messages, read without TensorFlow.

    frame   u64 length | u32 crc | data | u32 crc        little-endian; checksums are not looked at
    Event   1 wall_time (double), 2 step (int64), 5 summary
    Value   1 tag, 2 simple_value (float), 8 tensor: 1 dtype, 4 content, 5 float_val, 6 double_val

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto and summary.proto. A file that a
job is still writing ends anywhere; what is cut off is left for the next reading.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

_FLOAT, _DOUBLE = 1, 2
_MOST = 16 << 20


def scalars(data: bytes, wanted: str) -> list[tuple[int, float, float]]:
    """(step, time, value) of each scalar of a tag, in the order of the file."""
    found = []
    for frame in _frames(data):
        try:
            found += list(_of_event(frame, wanted))
        except (IndexError, struct.error, ValueError, OverflowError):
            continue  # not a message, or cut
    return found


def _frames(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if length > _MOST or at + 16 + length > len(data):
            return
        yield data[at + 12 : at + 12 + length]
        at += 16 + length


def _of_event(frame: bytes, wanted: str) -> Iterator[tuple[int, float, float]]:
    time, step, summaries = 0.0, 0, []
    for number, value in _fields(frame):
        if number == 1 and isinstance(value, bytes):
            (time,) = struct.unpack("<d", value)
        elif number == 2 and isinstance(value, int):
            step = value
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for number, value in _fields(summary):
            if number == 1 and isinstance(value, bytes):
                scalar = _of_value(value, wanted)
                if scalar is not None and math.isfinite(scalar) and 0 <= step < 2**63:
                    yield step, time, scalar


def _of_value(data: bytes, wanted: str) -> float | None:
    tag, scalar = "", None
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            tag = value.decode("utf-8", "replace")
        elif number == 2 and isinstance(value, bytes):
            (scalar,) = struct.unpack("<f", value)
        elif number == 8 and isinstance(value, bytes):
            scalar = _of_tensor(value)
    return scalar if tag == wanted else None


def _of_tensor(data: bytes) -> float | None:
    """The only number of a tensor; None for any other."""
    kind: Any = 0
    raw = b""
    for number, value in _fields(data):
        if number == 1:
            kind = value
        elif number in (4, 5, 6) and isinstance(value, bytes):
            raw += value
    if kind == _FLOAT and len(raw) == 4:
        return float(struct.unpack("<f", raw)[0])
    if kind == _DOUBLE and len(raw) == 8:
        return float(struct.unpack("<d", raw)[0])
    return None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an integer for a varint, else the bytes. Raises IndexError where it is cut."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind, -1)
        if kind == 2:
            size, at = _varint(data, at)
        if size < 0 or at + size > len(data):
            raise IndexError
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError
