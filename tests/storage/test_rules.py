"""The pure rules of storage."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.core.errors import InvalidArgument, OutOfRange
from mlgate.core.storage import (
    ContentRange,
    Hashes,
    Multipart,
    before,
    behind,
    check_object_name,
    common_prefix,
    failed_condition,
    merged,
    next_generation,
    parse_content_range,
    parse_range,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    "name", ["a", "a/b", "/", "//", "../../etc/passwd", "a/../b", "%2e%2e", "...", "ü" * 512, "a:b"]
)
def test_an_object_name_may_be_nearly_anything(name: str) -> None:
    assert check_object_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a\nb", "a\rb", "a\x00b", "a" * 1025, "ü" * 513, ".well-known/acme-challenge/x", "\ud800"]
)
def test_an_object_name_that_storage_forbids_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_object_name(name)


@given(NAMES, NAMES)
def test_behind_a_prefix_is_exactly_after_all_names_that_start_with_it(prefix: str, name: str) -> None:
    for candidate in (name, prefix + name, prefix):
        assert (candidate > behind(prefix)) == (candidate > prefix and not candidate.startswith(prefix))


@given(NAMES, NAMES)
def test_before_a_name_is_exactly_before_it_and_after_all_smaller_ones(start: str, name: str) -> None:
    for candidate in (name, start, start + name, start[:-1] or "a"):
        assert (candidate > before(start)) == (candidate >= start)


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("", 10, None),
        ("bytes=0-3", 10, (0, 4)),
        ("bytes=5-", 10, (5, 5)),
        ("bytes=5-99", 10, (5, 5)),
        ("bytes=-3", 10, (7, 3)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=3-1", 10, None),
        ("bytes=-", 10, None),
        ("bytes=0-1,4-5", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=x-y", 10, None),
    ],
)
def test_a_range_is_read_as_the_rfc_says(header: str, size: int, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, size) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_range_without_any_byte_is_out_of_range(header: str, size: int) -> None:
    with pytest.raises(OutOfRange):
        parse_range(header, size)


def test_a_content_range_is_read() -> None:
    assert parse_content_range("bytes 0-9/10") == ContentRange(0, 9, 10)
    assert parse_content_range("bytes 5-9/*") == ContentRange(5, 9, None)
    assert parse_content_range("bytes */10") == ContentRange(None, -1, 10)
    assert parse_content_range("bytes */*") == ContentRange(None, -1, None)


@pytest.mark.parametrize(
    "header", ["", "bytes", "0-9/10", "bytes 9-0/10", "bytes 0-10/10", "bytes -1-5/10", "bytes a-b/c"]
)
def test_a_content_range_that_makes_no_sense_is_refused(header: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_content_range(header)


@pytest.mark.parametrize(
    ("query", "generation", "failed"),
    [
        ({}, 5, ""),
        ({"ifGenerationMatch": 5}, 5, ""),
        ({"ifGenerationMatch": 4}, 5, "ifGenerationMatch"),
        ({"ifGenerationMatch": 0}, 0, ""),
        ({"ifGenerationMatch": 0}, 5, "ifGenerationMatch"),
        ({"ifGenerationNotMatch": 0}, 0, "ifGenerationNotMatch"),
        ({"ifGenerationNotMatch": 0}, 5, ""),
        ({"ifMetagenerationMatch": 2}, 5, "ifMetagenerationMatch"),
        ({"ifMetagenerationNotMatch": 1}, 5, "ifMetagenerationNotMatch"),
    ],
)
def test_preconditions_compare_with_what_is_there(query: dict[str, int], generation: int, failed: str) -> None:
    assert failed_condition(query, generation, 1 if generation else 0) == failed


def test_a_generation_is_the_clock_in_microseconds_and_always_rises() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_generation(now, 0) == 1767225600000000
    assert next_generation(now, 1767225600000000) == 1767225600000001


def test_hashes_of_the_header_are_compared_too() -> None:
    md5, crc32c = b"m" * 16, b"crcc"
    Hashes().with_headers({"x-goog-hash": "crc32c=Y3JjYw==,md5=bW1tbW1tbW1tbW1tbW1tbQ=="}).check(md5, crc32c)
    for wrong in (
        Hashes(md5="AAAA"),
        Hashes(crc32c="AAAA"),
        Hashes(md5="%%"),
        Hashes().with_headers({"x-goog-hash": "crc32c=AAAA"}),
    ):
        with pytest.raises(InvalidArgument):
            wrong.check(md5, crc32c)


def test_a_merge_patch_removes_by_null_and_merges_objects() -> None:
    assert merged({"a": 1, "m": {"x": "1", "y": "2"}}, {"a": None, "b": 2, "m": {"x": None, "z": "3"}}) == {
        "b": 2,
        "m": {"y": "2", "z": "3"},
    }


def test_a_common_prefix_ends_with_the_first_delimiter_behind_the_prefix() -> None:
    assert common_prefix("a/b/c", "", "/") == "a/"
    assert common_prefix("a/b/c", "a/", "/") == "a/b/"
    assert common_prefix("a/b", "a/", "/") == ""
    assert common_prefix("a--b--c", "a", "--") == "a--"
    assert common_prefix("a/b", "", "") == ""


# -------------------------------------------------------------------------------------------------------- multipart


def body_of(
    metadata: bytes, media: bytes, eol: bytes = b"\r\n", boundary: bytes = b"==0==", tail: bytes = b""
) -> bytes:
    mark = b"--" + boundary
    head = mark + eol + b"Content-Type: application/json; charset=UTF-8" + eol * 2 + metadata + eol
    return head + mark + eol + b"content-type: text/plain" + eol * 2 + media + eol + mark + b"--" + tail


@given(
    media=st.one_of(
        st.binary(max_size=300), st.sampled_from([b"\r", b"\n", b"x\r\n--==0==--y", b"--==0==", b"\r\n--==0=="])
    ),
    eol=st.sampled_from([b"\r\n", b"\n"]),
    tail=st.sampled_from([b"", b"\r\n", b"\n"]),
    cut=st.integers(1, 90),
)
def test_a_body_in_two_parts_gives_the_same_media_however_it_arrives(
    media: bytes, eol: bytes, tail: bytes, cut: int
) -> None:
    body = body_of(b'{"name": "x"}', media, eol, tail=tail)
    parts = Multipart('multipart/related; boundary="==0=="')
    got = b"".join(parts.feed(body[at : at + cut]) for at in range(0, len(body), cut)) + parts.finish()
    assert got == media
    assert parts.metadata == b'{"name": "x"}'
    assert parts.content_type == "text/plain"


def test_the_boundary_may_stand_without_quotes_and_behind_other_parameters() -> None:
    parts = Multipart("Multipart/Related; charset=utf-8; boundary=abc; start=x")
    assert parts.feed(body_of(b"{}", b"data", boundary=b"abc")) + parts.finish() == b"data"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--==0==",
        body_of(b"{}", b"data")[:-2],
        body_of(b"{}", b"data")[:40],
        body_of(b"{}", b"data") + b"more",
        body_of(b"{}", b"data", boundary=b"other"),
    ],
)
def test_a_body_that_is_cut_off_or_has_other_boundaries_is_refused(body: bytes) -> None:
    parts = Multipart('multipart/related; boundary="==0=="')

    def read() -> None:
        parts.feed(body)
        parts.finish()

    with pytest.raises(InvalidArgument):
        read()


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/related", "multipart/mixed; boundary=x"])
def test_a_multipart_upload_needs_its_content_type(kind: str) -> None:
    with pytest.raises(InvalidArgument):
        Multipart(kind)


def test_a_first_part_without_end_is_refused_before_it_fills_the_memory() -> None:
    parts = Multipart("multipart/related; boundary=b")
    parts.feed(b"--b\r\n\r\n")
    parts.feed(b"x" * 900_000)
    with pytest.raises(InvalidArgument):
        parts.feed(b"x" * 200_000)
