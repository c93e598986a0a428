"""How batch prediction cuts and reads files: no line is lost or read twice, and tables are what rows would be."""

from __future__ import annotations

import io
import random
from itertools import pairwise
from typing import Any

import numpy
import pytest

from mlgate.adapters.runtimes import formats
from mlgate.adapters.runtimes.batch import encode_json
from mlgate.core import batch

LINES = [b"", b"a", b"bb", b"\r", b"x" * 50, "ü".encode() * 9]


@pytest.mark.parametrize("seed", range(20))
def test_however_a_file_is_cut_each_line_is_read_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(formats, "BLOCK", rng.randint(1, 80))
    data = b"\n".join(rng.choice(LINES) for _ in range(rng.randint(0, 60)))
    cuts = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(rng.randint(0, 8)))})
    found: list[Any] = []
    for start, end in pairwise(cuts):
        for block in formats.lines(io.BytesIO(data), start, end):
            assert isinstance(block, bytes)
            found += block.removesuffix(b"\n").split(b"\n")
    assert [line for line in found if line] == [line for line in data.split(b"\n") if line]


def test_a_line_that_never_ends_is_one_error_and_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "BLOCK", 64)
    monkeypatch.setattr(formats, "LONGEST_LINE", 100)
    data = b"one\n" + b"y" * 1000 + b"\ntwo\n"
    found = list(formats.lines(io.BytesIO(data), 0, len(data)))
    assert [block for block in found if isinstance(block, bytes) and block] == [b"one\n", b"two\n"]
    (wrong,) = [block for block in found if isinstance(block, formats.TooLong)]
    assert wrong.start.startswith(b"yyyy")


TABLES: list[tuple[bytes, Any]] = [
    (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
    (b"1,2.5\r\n-3e2,4\r\n", [[1, 2.5], [-300, 4]]),
    (b"1,\n3,4", [[1, float("nan")], [3, 4]]),
    (b"7\n8\n", [[7], [8]]),
    (b"1,2\n3\n", None),
    (b"1\n3,4\n", None),
    (b"1,2\n\n3,4\n", None),
    (b"1,a\n3,4\n", None),
    (b'"1",2\n', None),
    (b"True,2\n", None),
    (b"\xff,2\n", None),
]


@pytest.mark.parametrize("way", [formats.table_of, lambda text: formats._loaded(text, *_shape(text))])
@pytest.mark.parametrize(("text", "expected"), TABLES, ids=[repr(text) for text, _ in TABLES])
def test_a_table_is_read_whole_only_where_that_is_the_same(way: Any, text: bytes, expected: Any) -> None:
    found = way(text)
    if expected is None or (way is not formats.table_of and b",\n" in text):
        assert found is None
        return
    assert numpy.array_equal(found, numpy.array(expected), equal_nan=True)
    rows = [formats.cells_of(line.strip()) for line in text.decode().splitlines()]
    assert numpy.array_equal(found, numpy.array(rows), equal_nan=True)


def _shape(text: bytes) -> tuple[int, int]:
    return text.count(b"\n") + (not text.endswith(b"\n")), text.partition(b"\n")[0].count(b",") + 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [("1,2.5,x", [1, 2.5, "x"]), ('"a,b","c""d"', ["a,b", 'c"d']), ("1_000", ["1_000"]), ("0x10", ["0x10"])],
)
def test_a_cell_is_a_number_where_it_looks_like_one(line: str, expected: list[Any]) -> None:
    assert formats.cells_of(line) == expected


@pytest.mark.parametrize(
    ("predictions", "text"),
    [
        ([1.5, 2, None, True], b"1.5\n2\nnull\ntrue\n"),
        (["a,b", 1], b'"a,b"\n1\n'),
        ([[1, 2], {"x": 1}], b'[1,2]\n{"x":1}\n'),
    ],
)
def test_a_result_is_a_line(predictions: list[Any], text: bytes) -> None:
    assert encode_json(predictions) == text


def test_shards_hold_everything_once_and_only_lines_are_cut() -> None:
    rng = random.Random(1)
    for _ in range(200):
        inputs = [(rng.choice([0, 10, 5 << 20, 300 << 20]), rng.random() < 0.7) for _ in range(rng.randint(1, 20))]
        found = batch.shards(inputs, rng.randint(1, 8))
        ends = [0] * len(inputs)
        for number, start, end in (part for shard in found for part in shard):
            assert start == ends[number] < end
            ends[number] = end
            assert inputs[number][1] or (start, end) == (0, inputs[number][0])
        assert ends == [size for size, _ in inputs]
        cut = [sum(end - start for _, start, end in shard) for shard in found if all(inputs[n][1] for n, _, _ in shard)]
        assert all(size <= batch.SHARD_BYTES for size in cut)


PATHS = [
    ("a/*.json", ["a/1.json", "a/b/2.json", "a/3.csv"], ["a/1.json"]),
    ("a/**", ["a/1", "a/b/2", "a/", "b"], ["a/1", "a/b/2"]),
    ("a*", ["a", "ab", "a/b"], ["a", "ab"]),
    ("a.c*", ["abc", "a.c1"], ["a.c1"]),
]


@pytest.mark.parametrize(("path", "names", "expected"), PATHS, ids=[path for path, _, _ in PATHS])
def test_a_star_is_any_text_within_a_folder(path: str, names: list[str], expected: list[str]) -> None:
    assert batch.matching(path, names) == expected
