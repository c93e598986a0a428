"""Objects: reading, ranges, listing, preconditions, copies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlgate.adapters.blobs.memory import MemoryBlobs
from mlgate.adapters.db.migrate import migrate
from mlgate.adapters.db.store import SqlStore, sqlite_url
from mlgate.api.handlers import objects
from mlgate.api.handlers.uploads import expire_uploads
from mlgate.core.errors import AlreadyExists
from mlgate.ports import Record, StoredObject, Transaction
from tests.harness import Server
from tests.storage.clients import media, path_of, start, upload

DATA = bytes(range(256)) * 8192  # 2 MiB: more than is sent in one piece


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


@pytest.mark.parametrize(
    ("asked", "status", "start_", "stop"),
    [
        ("bytes=0-99", 206, 0, 100),
        ("bytes=100-", 206, 100, len(DATA)),
        ("bytes=-5", 206, len(DATA) - 5, len(DATA)),
        ("bytes=5-99999999", 206, 5, len(DATA)),
        ("bytes=0-1,5-6", 200, 0, len(DATA)),
        ("nonsense", 200, 0, len(DATA)),
    ],
)
@pytest.mark.parametrize("root", ["", "/download"])
def test_a_range_gets_its_bytes(
    http: httpx.Client, bucket: str, asked: str, status: int, start_: int, stop: int, root: str
) -> None:
    upload(http, bucket, "a", DATA)
    got = http.get(root + path_of(bucket, "a"), params={"alt": "media"}, headers={"Range": asked})
    assert (got.status_code, got.content) == (status, DATA[start_:stop])
    assert got.headers["content-length"] == str(stop - start_)
    assert got.headers.get("content-range") == (f"bytes {start_}-{stop - 1}/{len(DATA)}" if status == 206 else None)


def test_a_range_behind_the_end_is_not_satisfiable(http: httpx.Client, bucket: str) -> None:
    upload(http, bucket, "a", b"12345")
    upload(http, bucket, "empty", b"")
    got = media(http, bucket, "a", Range="bytes=5-")
    assert (got.status_code, got.headers["content-range"]) == (416, "bytes */5")
    assert media(http, bucket, "empty", Range="bytes=0-").headers["content-range"] == "bytes */0"


def test_a_download_that_is_hung_up_on_harms_nobody(http: httpx.Client, bucket: str) -> None:
    upload(http, bucket, "a", DATA * 20)
    with http.stream("GET", path_of(bucket, "a"), params={"alt": "media"}) as got:
        next(got.iter_raw())
    assert media(http, bucket, "a", Range="bytes=0-9").status_code == 206


def test_an_object_that_is_replaced_during_a_download_arrives_as_it_was(http: httpx.Client, bucket: str) -> None:
    upload(http, bucket, "a", DATA * 20)
    with http.stream("GET", path_of(bucket, "a"), params={"alt": "media"}) as got:
        chunks = got.iter_bytes()
        first = next(chunks)
        upload(http, bucket, "a", b"new")
        assert first + b"".join(chunks) == DATA * 20
    assert media(http, bucket, "a").content == b"new"


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "a//b",
        "%2e%2e/x",
        "a?b#c",
        "projects/1/x",
        "ü 漢字 \U0001f600",
        "a:b@c;d=e&f",
        "x" * 1024,
    ],
)
def test_any_name_is_just_a_name(http: httpx.Client, bucket: str, name: str) -> None:
    made = upload(http, bucket, name, name.encode())
    assert (made.status_code, made.json()["name"]) == (200, name)
    assert media(http, bucket, name).content == name.encode()
    assert http.get(made.json()["selfLink"]).json()["name"] == name
    assert [item["name"] for item in http.get(f"/storage/v1/b/{bucket}/o").json()["items"]] == [name]
    assert http.delete(path_of(bucket, name)).status_code == 204
    assert http.get(path_of(bucket, name)).status_code == 404


def test_the_message_for_a_missing_object_is_googles(http: httpx.Client, bucket: str) -> None:
    answer = http.get(path_of(bucket, "no/such")).json()["error"]
    assert (answer["code"], answer["message"]) == (404, f"No such object: {bucket}/no/such")
    assert answer["errors"][0]["reason"] == "notFound"


def test_another_generation_is_not_found(http: httpx.Client, bucket: str) -> None:
    old = upload(http, bucket, "a", b"1").json()["generation"]
    new = upload(http, bucket, "a", b"2").json()["generation"]
    assert int(new) > int(old)
    assert http.get(path_of(bucket, "a"), params={"generation": new}).status_code == 200
    for call in (http.get, http.delete):
        assert call(path_of(bucket, "a"), params={"generation": old}).status_code == 404
    assert http.patch(path_of(bucket, "a"), params={"generation": old}, json={}).status_code == 404


def test_a_failed_precondition_is_412_and_an_unchanged_object_304(http: httpx.Client, bucket: str) -> None:
    made = upload(http, bucket, "a", b"1").json()
    where, generation = path_of(bucket, "a"), made["generation"]
    for params, status in [
        ({"ifGenerationMatch": generation}, 200),
        ({"ifGenerationMatch": "1"}, 412),
        ({"ifGenerationNotMatch": generation}, 304),
        ({"ifGenerationNotMatch": "1"}, 200),
        ({"ifMetagenerationMatch": "1"}, 200),
        ({"ifMetagenerationMatch": "2"}, 412),
        ({"ifMetagenerationNotMatch": "1"}, 304),
        ({"ifGenerationMatch": "one"}, 400),
    ]:
        assert http.get(where, params=params).status_code == status, params
        assert http.get(where, params={**params, "alt": "media"}).status_code == status, params
    for etag in (made["etag"], f'"{made["etag"]}"', f'"x", W/"{made["etag"]}"', "*"):
        assert http.get(where, headers={"If-None-Match": etag}).status_code == 304
        assert http.get(where, headers={"If-Match": etag}).status_code == 200
    assert http.get(where, headers={"If-Match": "other"}).status_code == 412
    assert http.patch(where, params={"ifMetagenerationMatch": "9"}, json={}).status_code == 412
    assert http.delete(where, params={"ifGenerationMatch": "9"}).status_code == 412
    assert http.delete(where, params={"ifGenerationNotMatch": generation}).status_code == 412


def test_copies_check_the_source_too(http: httpx.Client, bucket: str) -> None:
    made = upload(http, bucket, "a", b"1").json()
    url = path_of(bucket, "a", f"/rewriteTo/b/{bucket}/o/b")
    assert http.post(url, params={"ifSourceGenerationMatch": "1"}).status_code == 412
    assert http.post(url, params={"sourceGeneration": "1"}).status_code == 404
    assert (
        http.post(url, params={"ifSourceGenerationMatch": made["generation"], "ifGenerationMatch": 0}).status_code
        == 200
    )
    assert http.post(url, params={"ifGenerationMatch": 0}).status_code == 412
    assert http.post(url, json={"contentType": "text/new"}).json()["resource"]["contentType"] == "text/new"
    assert http.post(path_of(bucket, "none", f"/copyTo/b/{bucket}/o/b")).status_code == 404
    assert http.post(path_of(bucket, "a", f"/copyTo/b/{bucket}/o/%2E%2E")).status_code == 400
    assert http.post(path_of(bucket, "a", "/moveTo/o/a")).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"sourceObjects": []}, 400),
        ({"sourceObjects": [{"name": "a"}] * 33}, 400),
        ({"sourceObjects": [{"name": "none"}]}, 404),
        ({"sourceObjects": [{"name": "a", "generation": "1"}]}, 404),
        ({"sourceObjects": [{"name": "a", "objectPreconditions": {"ifGenerationMatch": "1"}}]}, 412),
        ({"sourceObjects": [{"name": "a"}], "destination": {"crc32c": "AAAAAA=="}}, 400),
        ({"sourceObjects": [{"name": "a"}], "deleteSourceObjects": True}, 501),
    ],
)
def test_a_composition_that_cannot_be_right_is_refused(
    http: httpx.Client, bucket: str, body: dict[str, Any], status: int
) -> None:
    upload(http, bucket, "a", b"1")
    assert http.post(path_of(bucket, "whole", "/compose"), json=body).status_code == status
    assert http.get(path_of(bucket, "whole")).status_code == 404


@pytest.mark.parametrize(
    "change",
    [{"eventBasedHold": True}, {"temporaryHold": True}, {"kmsKeyName": "k"}, {"acl": [{"entity": "allUsers"}]}],
)
def test_metadata_that_would_change_the_meaning_is_refused_by_name(
    http: httpx.Client, bucket: str, change: dict[str, Any]
) -> None:
    upload(http, bucket, "a", b"1")
    answer = http.patch(path_of(bucket, "a"), json=change)
    assert (answer.status_code, next(iter(change)) in answer.json()["error"]["message"]) == (501, True)


def test_metadata_has_a_limit(http: httpx.Client, bucket: str) -> None:
    upload(http, bucket, "a", b"1")
    assert http.patch(path_of(bucket, "a"), json={"metadata": {"k": "x" * 8192}}).status_code == 400


# ---------------------------------------------------------------------------------------------------------- listing

TREE = ["a", "a/", "a/1", "a/2", "a/b/", "a/b/1", "a/b/c/1", "ab", "b/1", "b//1", "c", "z/\U0010ffff/x", "ü/1"]


@pytest.fixture(scope="module")
def tree(server: Server, worker_id: str) -> str:
    name = f"tree-{worker_id}"
    with server.http() as http:
        http.post(f"/storage/v1/b?project={server.project}", json={"name": name})
        for entry in TREE:
            assert upload(http, name, entry, b"x").status_code == 200
    return name


def listed(http: httpx.Client, bucket: str, **params: Any) -> list[str]:
    """All pages: items and, marked by an arrow, prefixes."""
    found: list[str] = []
    while True:
        answer = http.get(f"/storage/v1/b/{bucket}/o", params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [item["name"] for item in page.get("items", [])] + [
            "→" + prefix for prefix in page.get("prefixes", [])
        ]
        if "nextPageToken" not in page:
            return sorted(found)
        params["pageToken"] = page["nextPageToken"]


def expected(
    prefix: str = "", delimiter: str = "", start_: str = "", end: str = "", trailing: bool = False
) -> list[str]:
    """The same from Google's description, without any shortcut."""
    found: set[str] = set()
    for name in TREE:
        if not name.startswith(prefix) or name < start_ or (end and name >= end):
            continue
        rest = name[len(prefix) :]
        if delimiter and delimiter in rest:
            common = prefix + rest.partition(delimiter)[0] + delimiter
            found.add("→" + common)
            if trailing and name == common:
                found.add(name)
        else:
            found.add(name)
    return sorted(found)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "b/", "z", "none", "ü", "\U0010ffff"])
@pytest.mark.parametrize("delimiter", ["", "/", "b", "//"])
def test_a_listing_is_what_the_description_says_whatever_its_pages(
    http: httpx.Client, tree: str, size: int, prefix: str, delimiter: str
) -> None:
    assert listed(http, tree, maxResults=size, prefix=prefix, delimiter=delimiter) == expected(prefix, delimiter)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("start_", "end"), [("a/1", ""), ("", "a/b/"), ("a/", "b/1"), ("ab", "ab"), ("a/b/1", "ü"), ("b", "")]
)
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_listing_starts_and_ends_at_its_offsets(
    http: httpx.Client, tree: str, size: int, start_: str, end: str, delimiter: str
) -> None:
    params = {"maxResults": size, "startOffset": start_, "endOffset": end, "delimiter": delimiter}
    assert listed(http, tree, **params) == expected("", delimiter, start_, end)


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_name_that_ends_with_the_delimiter_is_shown_when_asked_for(http: httpx.Client, tree: str, size: int) -> None:
    params = {"delimiter": "/", "includeTrailingDelimiter": "true", "maxResults": size}
    assert listed(http, tree, **params) == expected("", "/", trailing=True)


def test_a_page_token_is_good_for_its_caller_and_query_only(server: Server, http: httpx.Client, tree: str) -> None:
    url = f"/storage/v1/b/{tree}/o"
    token = http.get(url, params={"maxResults": 1, "prefix": "a"}).json()["nextPageToken"]
    assert http.get(url, params={"pageToken": token, "prefix": "a"}).status_code == 200
    for params in ({"pageToken": token}, {"pageToken": token, "prefix": "b"}, {"pageToken": "x", "prefix": "a"}):
        assert http.get(url, params=params).status_code == 400
    policy = http.get(f"/storage/v1/b/{tree}/iam").json()
    policy["bindings"] = [{"role": "roles/storage.objectViewer", "members": ["user:reader@example.com"]}]
    http.put(f"/storage/v1/b/{tree}/iam", json=policy)
    with server.http("user:reader@example.com") as reader:
        assert reader.get(url, params={"pageToken": token, "prefix": "a"}).status_code == 400


@pytest.mark.parametrize(
    ("params", "status"),
    [({"maxResults": -1}, 400), ({"maxResults": "x"}, 400), ({"prefix": "\x00"}, 400), ({"matchGlob": "*"}, 501),
     ({"softDeleted": "true"}, 501), ({"maxResults": 99999, "versions": "true", "projection": "full"}, 200)],
)  # fmt: skip
def test_a_listing_answers_odd_parameters(http: httpx.Client, tree: str, params: dict[str, Any], status: int) -> None:
    assert http.get(f"/storage/v1/b/{tree}/o", params=params).status_code == status


# --------------------------------------------------------------------------------------------- without a server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    migrate(sqlite_url(tmp_path))
    made = SqlStore(sqlite_url(tmp_path))
    yield made
    made.close()


class Counting:
    """A transaction that counts the rows it gives."""

    def __init__(self, tx: Transaction) -> None:
        self.tx, self.rows, self.queries = tx, 0, 0

    def list_objects(self, *arguments: Any, **options: Any) -> list[StoredObject]:
        found = self.tx.list_objects(*arguments, **options)
        self.rows += len(found)
        self.queries += 1
        return found


def test_a_listing_with_a_delimiter_does_not_read_what_lies_below_the_prefixes(store: SqlStore) -> None:
    with store.write() as tx:
        for folder in range(20):
            for n in range(100):
                tx.put_object(StoredObject("b", f"folder{folder:02d}/{n:05d}", 1, "0" * 64, 1, {}))
        for n in range(300):
            tx.put_object(StoredObject("b", f"z{n:05d}", 1, "0" * 64, 1, {}))
    with store.read() as tx:
        counting = Counting(tx)
        found = list(objects._entries(counting, "b", "", "/", "", None, 2000))  # type: ignore[arg-type]
    assert len({common for _, common in found if common}) == 20
    assert len(found) == 320
    assert counting.rows < 700
    assert counting.queries < 30


def test_listing_a_large_bucket_by_its_folders_takes_no_time(store: SqlStore) -> None:
    with store.write() as tx:
        for n in range(5_000):
            tx.put_object(StoredObject("b", f"one/{n:06d}", 1, "0" * 64, 1, {}))
        tx.put_object(StoredObject("b", "two", 1, "0" * 64, 1, {}))
    began = time.perf_counter()
    with store.read() as tx:
        found = list(objects._entries(tx, "b", "", "/", "", None, 1000))
    assert [common or stored.name for stored, common in found] == ["one/", "two"]
    assert time.perf_counter() - began < 0.1


def test_sessions_end_after_seven_days(store: SqlStore) -> None:
    blobs = MemoryBlobs()
    now = datetime(2026, 1, 10, tzinfo=UTC)
    ids = {
        "old-upload-0123456789": now - timedelta(days=7, seconds=1),
        "new-upload-0123456789": now - timedelta(days=6),
    }
    with store.write() as tx:
        for upload_id, created in ids.items():
            blobs.partial_append(upload_id, b"x", 0)
            tx.insert(Record(f"buckets/b/uploads/{upload_id}", "upload", "buckets/b", upload_id, {}, created))
    with store.write() as tx:
        assert expire_uploads(tx, blobs, now) == 1
    with store.read() as tx:
        assert [r.uid for r in tx.find("upload")] == ["new-upload-0123456789"]
    assert [blobs.partial_size(upload_id) for upload_id in ids] == [0, 1]


def test_a_generation_rises_over_a_deletion(server: Server, http: httpx.Client, bucket: str) -> None:
    seen = []
    for _ in range(5):
        seen.append(int(upload(http, bucket, "a", b"x").json()["generation"]))
        http.delete(path_of(bucket, "a"))
    assert seen == sorted(set(seen))


def test_buckets_share_one_space_of_names(store: SqlStore) -> None:
    with store.write() as tx:
        tx.insert(Record("buckets/b", "bucket", "projects/p", "1", {}, datetime.now(UTC)))
        with pytest.raises(AlreadyExists):
            tx.insert(Record("buckets/b", "bucket", "projects/q", "2", {}, datetime.now(UTC)))


def test_a_session_url_names_the_address_that_the_client_used(server: Server, bucket: str) -> None:
    with httpx.Client(base_url=f"http://localhost:{server.port()}") as http:
        http.headers["Authorization"] = f"Bearer {server.token()}"
        assert start(http, bucket, "a").startswith(f"http://localhost:{server.port()}/upload/")
