"""The files that batch prediction reads, in blocks of bounded size: lines, tables of numbers, TFRecords; gzip of each.

A line belongs to the part of a file in which it begins, so parts can be cut anywhere. A CSV row is a line: no line end
can be inside quotes.
"""

from __future__ import annotations

import csv
import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

BLOCK = 1 << 20
#: What is longer is an error of its own, of which so much is shown.
LONGEST_LINE, SHOWN = 16 << 20, 1000
LONGEST_RECORD = 64 << 20
_HEAD, _CHECK = struct.Struct("<Q"), struct.Struct("<I")


class Unreadable(Exception):
    """A file is not what it should be, from some point on."""


class TooLong(NamedTuple):
    start: bytes


def opened(path: str, is_zipped: bool) -> BinaryIO:
    file: Any = gzip.open(path, "rb") if is_zipped else open(path, "rb", buffering=1 << 17)  # noqa: SIM115
    return file  # type: ignore[no-any-return]


def lines(file: BinaryIO, start: int, end: float) -> Iterator[bytes | TooLong]:
    """Whole lines, about a block at a time: those that begin from `start` on and before `end`. Raises Unreadable."""
    try:
        at = start
        if start:
            file.seek(start - 1)
            at = start - 1 + _skip_line(file)
        while at < end:
            data = file.read(int(min(BLOCK, end - at)))
            if not data:
                return
            at += len(data)
            if not data.endswith(b"\n"):
                rest = file.readline(LONGEST_LINE)
                at += len(rest)
                data += rest
                if len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
                    at += _skip_line(file)
                    cut = data.rfind(b"\n") + 1
                    yield TooLong(data[cut : cut + SHOWN])
                    data = data[:cut]
            yield data
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(str(error)) from None


def _skip_line(file: BinaryIO) -> int:
    """Read past the end of the line; how many bytes that was."""
    count = 0
    while True:
        piece = file.readline(BLOCK)
        count += len(piece)
        if not piece or piece.endswith(b"\n"):
            return count


def records(file: BinaryIO, most: int) -> Iterator[list[bytes]]:
    """The records of a TFRecord file, `most` at a time, or fewer that are large. Raises Unreadable.

    A record is its length (8 bytes), a checksum of that, its bytes and a checksum of those. The first checksum is
    looked at: what is no TFRecord file at all is found out at once.
    """
    block: list[bytes] = []
    size = 0
    try:
        while True:
            head = file.read(12)
            if not head:
                break
            if len(head) < 12 or _masked(head[:8]) != _CHECK.unpack(head[8:])[0]:
                raise Unreadable("it is not in the format TFRecord, or damaged")
            (length,) = _HEAD.unpack(head[:8])
            if length > LONGEST_RECORD:
                raise Unreadable(f"a record has {length} bytes; {LONGEST_RECORD} are allowed")
            data = file.read(length)
            if len(data) < length or len(file.read(4)) < 4:
                raise Unreadable("it ends within a record")
            block.append(data)
            size += length
            if len(block) >= most or size >= BLOCK:
                yield block
                block, size = [], 0
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(str(error)) from None
    if block:
        yield block


def _table() -> list[int]:
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        made.append(byte)
    return made


_CRC32C = _table()


def _masked(data: bytes) -> int:
    """CRC-32C, turned and moved as TFRecord has it, so that checksums of checksums are no trap."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ------------------------------------------------------------------------------------------------------------- CSV


def table_of(text: bytes) -> Any:
    """The rows as one array of numbers, where each row has the same number of cells and each cell is a number or
    empty; otherwise None, and the rows have to be read one by one."""
    if b'"' in text:
        return None
    import numpy

    marks = numpy.frombuffer(text, numpy.uint8)  # bytes.count takes a third as long as reading the numbers
    rows = int(numpy.count_nonzero(marks == ord("\n"))) + (not text.endswith(b"\n"))
    commas = int(numpy.count_nonzero(marks == ord(",")))
    columns = text.partition(b"\n")[0].count(b",") + 1
    try:
        import pandas  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return _loaded(text, rows, columns)
    try:
        frame = pandas.read_csv(
            io.BytesIO(text), header=None, na_values=[""], keep_default_na=False, low_memory=False,
        )  # fmt: skip
    except (ValueError, OverflowError):  # a row with more cells, or bytes that are no text
        return None
    if len(frame) != rows or commas != rows * (columns - 1):  # empty lines, or rows with fewer cells
        return None
    if any(kind.kind not in "iuf" for kind in frame.dtypes):
        return None
    return frame.to_numpy()


def _loaded(text: bytes, rows: int, columns: int) -> Any:
    import numpy

    try:
        found = [line for line in text.decode("ascii").split("\n") if line and line != "\r"]
        table = numpy.loadtxt(found, delimiter=",", comments=None, ndmin=2)
    except (ValueError, OverflowError):
        return None
    return table if table.shape == (rows, columns) else None


class Table:
    """The lines of a block, taken apart only where one of them is to be shown."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.rows: list[str] | None = None

    def __getitem__(self, part: Any) -> Any:
        if self.rows is None:
            found = self.text.decode("utf-8", "replace").split("\n")
            self.rows = [line.rstrip("\r") for line in found if line.rstrip("\r")]
        return self.rows[part]


def cells_of(line: str) -> list[Any]:
    """A row's values: numbers where they are numbers, text otherwise; an empty cell is a number that is missing.
    Raises csv.Error."""
    (cells,) = csv.reader([line], strict=True)
    return [_value(cell) for cell in cells]


def _value(cell: str) -> Any:
    if not cell:
        return float("nan")
    for kind in (int, float):
        try:
            return cell if "_" in cell else kind(cell)
        except ValueError:
            continue
    return cell
