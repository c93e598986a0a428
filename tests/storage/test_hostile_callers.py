"""What a security review found in storage, kept as tests: each once worked."""

from __future__ import annotations

import asyncio
import fcntl
import json
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from mlgate.adapters.blobs.files import FileBlobs, FileWriter
from mlgate.adapters.db.migrate import migrate
from mlgate.adapters.db.store import SqlStore, sqlite_url
from mlgate.api import audit, storage
from mlgate.api.handlers import buckets, uploads
from mlgate.api.messages.message import MAX_FAULTS, decode
from mlgate.api.messages.storage import ComposeRequest, Object
from mlgate.app import admin
from mlgate.app.api import services as services_of
from mlgate.core.errors import Aborted, InvalidArgument
from mlgate.core.storage import parse_content_range, parse_range
from mlgate.http.asgi import App
from mlgate.ports import Record
from mlgate.settings import Settings
from tests.harness import PROJECT, Server
from tests.storage.clients import chunk, media, path_of, start, upload

P = f"/v1/projects/{PROJECT}"


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


@contextmanager
def quickly(seconds: float = 2.0) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


# ------------------------------------------------------------------------------------------------------------ sessions


def test_an_account_made_again_does_not_continue_the_uploads_of_the_old_one(
    server: Server, http: httpx.Client, bucket: str
) -> None:
    account_id = "up-" + uuid.uuid4().hex[:12]

    def account() -> httpx.Client:
        """A new account of that name who may do everything in the bucket."""
        made = http.post(f"{P}/serviceAccounts", json={"accountId": account_id}).raise_for_status().json()
        member = f"serviceAccount:{made['email']}"
        binding = {"role": "roles/storage.objectAdmin", "members": [member]}
        http.put(f"/storage/v1/b/{bucket}/iam", json={"bindings": [binding]}).raise_for_status()
        client = httpx.Client(base_url=server.url)
        client.headers["Authorization"] = f"Bearer {server.token(member, '3599s')}"
        return client

    with account() as old:
        url, done = start(old, bucket, "a"), start(old, bucket, "b")
        assert chunk(old, url, b"old", "bytes 0-2/6").status_code == 308
        assert old.put(done, content=b"secret").status_code == 200
        assert chunk(old, done, b"", "bytes */*").status_code == 200
    http.delete(f"{P}/serviceAccounts/{account_id}@{PROJECT}.iam.gserviceaccount.com").raise_for_status()
    with account() as new:
        for session in (url, done):
            assert chunk(new, session, b"", "bytes */*").status_code == 404
            assert chunk(new, session, b"new", "bytes 3-5/6").status_code == 404
            assert new.delete(session).status_code == 404


# ------------------------------------------------------------------------------------------------------------- threads

UPLOAD = "upload-0123456789-0123456789"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As while another process writes the upload."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("work", [lambda b: b.partial_append(UPLOAD, b"x", 1), lambda b: b.partial_commit(UPLOAD)])
def test_an_upload_that_somebody_writes_is_aborted_and_not_waited_for(
    tmp_path: Path, work: Callable[[FileBlobs], Any]
) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.partial_append(UPLOAD, b"1", 0)
    outcomes: list[BaseException] = []

    def run() -> None:
        with pytest.raises(Aborted, match="Another request is writing this upload") as raised:
            work(blobs)
        outcomes.append(raised.value)

    with locked(tmp_path / "partial" / UPLOAD):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(5)
        assert outcomes
    blobs.partial_append(UPLOAD, b"2", 1)
    assert blobs.partial_commit(UPLOAD).size == 2


def test_requests_that_wait_for_one_upload_hold_up_nobody_else(server: Server, http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a")
    assert chunk(http, url, b"1", "bytes 0-0/*").status_code == 308
    upload_id = url.rpartition("upload_id=")[2]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(chunk(http, url, b"2", "bytes 1-1/2").status_code))
        for _ in range(24)
    ]
    with locked(server.data_dir / "blobs" / "partial" / upload_id):
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        with quickly():
            assert httpx.get(f"{server.url}/storage/v1/b/{bucket}", headers=http.headers).status_code == 200
        for thread in threads:
            thread.join(30)
    assert statuses == [409] * 24
    assert chunk(http, url, b"2", "bytes 1-1/2").status_code == 200


def test_a_chunk_waits_a_little_for_the_one_before_it(server: Server, http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a")
    assert chunk(http, url, b"1", "bytes 0-0/*").status_code == 308
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(chunk(http, url, b"2", "bytes 1-1/2").status_code))
    with locked(server.data_dir / "blobs" / "partial" / url.rpartition("upload_id=")[2]):
        thread.start()
        time.sleep(0.3)
    thread.join(30)
    assert statuses == [200]


Body = Callable[[httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def here(tmp_path: Path) -> Callable[[Body], None]:
    """Runs what asks a server in this process, in which things can be held up; it has a bucket, `here`."""
    settings = Settings(data_dir=str(tmp_path / "data"))
    admin.initialize(settings, "user:ada@example.com", PROJECT)
    token, _ = admin.issue_token(settings, "user:ada@example.com", 3600)

    def run(body: Body) -> None:
        async def inside() -> None:
            services = services_of(settings, {})
            transport = httpx.ASGITransport(app=App(services))  # type: ignore[arg-type]
            headers = {"Authorization": f"Bearer {token}"}
            try:
                async with httpx.AsyncClient(transport=transport, base_url="http://here", headers=headers) as client:
                    await client.post("/storage/v1/b", params={"project": PROJECT}, json={"name": "here"})
                    await body(client)
            finally:
                services.executor.shutdown()
                services.store.close()

        asyncio.run(inside())

    return run


async def session(client: httpx.AsyncClient, name: str) -> str:
    opened = await client.post("/upload/storage/v1/b/here/o", params={"uploadType": "resumable", "name": name})
    return str(opened.headers["Location"])


@pytest.mark.parametrize("what", ["finishing", "composing"])
def test_long_work_on_files_holds_up_nobody_else(
    here: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    go = threading.Event()

    def held_up(method: Any) -> Any:
        def work(*arguments: Any) -> Any:
            go.wait(30)
            return method(*arguments)

        return work

    async def body(client: httpx.AsyncClient) -> None:
        await client.post("/upload/storage/v1/b/here/o?uploadType=media&name=a", content=b"1")
        urls = [await session(client, f"n{n}") for n in range(20)]
        source = {"sourceObjects": [{"name": "a"}]}
        if what == "finishing":
            monkeypatch.setattr(FileBlobs, "partial_commit", held_up(FileBlobs.partial_commit))
            calls = [client.put(url, content=b"1") for url in urls]
        else:
            monkeypatch.setattr(FileWriter, "write", held_up(FileWriter.write))
            calls = [client.post(f"/storage/v1/b/here/o/n{n}/compose", json=source) for n in range(20)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.5)
        try:
            got = await asyncio.wait_for(client.get("/storage/v1/b/here"), 5)
            assert got.status_code == 200
            if what == "finishing":  # chunks have other threads than what follows them
                url = "/upload/storage/v1/b/here/o?uploadType=media&name=b"
                assert (await asyncio.wait_for(client.post(url, content=b"1"), 5)).status_code == 200
        finally:
            go.set()
        assert {(await task).status_code for task in tasks} == {200}

    here(body)


def test_a_composition_has_the_bytes_of_all_its_sources_however_large(http: httpx.Client, bucket: str) -> None:
    parts = [b"a" * (20 << 20), b"", b"c" * 100]
    for n, part in enumerate(parts):
        upload(http, bucket, str(n), part)
    sources = [{"name": str(n)} for n in (0, 1, 2, 0)]
    made = http.post(path_of(bucket, "whole", "/compose"), json={"sourceObjects": sources})
    assert made.status_code == 200, made.text
    assert media(http, bucket, "whole").content == b"".join(parts) + parts[0]


def test_bodies_of_metadata_are_read_on_a_thread(here: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    parse = storage.parse_json

    def noting(data: bytes, message: Any) -> Any:
        threads.add(threading.current_thread().name)
        return parse(data, message)

    monkeypatch.setattr(storage, "parse_json", noting)
    monkeypatch.setattr(uploads, "parse_json", noting)

    async def body(client: httpx.AsyncClient) -> None:
        url = "/upload/storage/v1/b/here/o"
        two = b'--b\r\n\r\n{"name": "a"}\r\n--b\r\n\r\nx\r\n--b--'
        headers = {"Content-Type": "multipart/related; boundary=b"}
        answers = [
            await client.post(url, params={"uploadType": "multipart"}, content=two, headers=headers),
            await client.post(url, params={"uploadType": "resumable"}, json={"name": "b"}),
            await client.post("/storage/v1/b/here/o", json={"name": "c"}),
            await client.patch("/storage/v1/b/here/o/a", json={"metadata": {"k": "v"}}),
            await client.put("/storage/v1/b/here", json={"labels": {"k": "v"}}),
        ]
        assert [answer.status_code for answer in answers] == [200] * 5, [answer.text for answer in answers]

    here(body)
    assert threads
    assert not any(name == threading.main_thread().name for name in threads)


# -------------------------------------------------------------------------------------------------------------- bodies

HOSTILE = {
    "unknown": (Object, {"contexts": {"custom": {"k" * (1 << 20): {f"n{n}": 1 for n in range(100_000)}}}}),
    "entries": (Object, {"metadata": {f"n{n}": 1 for n in range(100_000)}}),
    "items": (ComposeRequest, {"sourceObjects": [{"nmae": 1}] * 100_000}),
    "wrong": (ComposeRequest, {"sourceObjects": [1] * 100_000}),
    "names": (Object, {"x" * 1000 + str(n): 1 for n in range(10_000)}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_body_full_of_faults_is_refused_at_once_and_names_a_hundred(name: str) -> None:
    message, body = HOSTILE[name]
    with quickly(0.5), pytest.raises(InvalidArgument) as raised:
        decode(message, body)
    assert len(raised.value.fields) == MAX_FAULTS
    assert all(len(path) <= 1000 and len(what) <= 300 for path, what in raised.value.fields)


def test_a_body_with_one_fault_names_the_whole_path() -> None:
    with pytest.raises(InvalidArgument) as raised:
        decode(Object, {"metadata": {"a": "b", "c": 1}, "contexts": {"custom": {"k": {"valeu": "x"}}}})
    assert [path for path, _ in raised.value.fields] == ["metadata.c", "contexts.custom.k.valeu"]


@pytest.mark.parametrize("size", [1, 3])
def test_a_patch_full_of_unknown_names_does_not_stop_the_server(http: httpx.Client, bucket: str, size: int) -> None:
    upload(http, bucket, "a", b"1")
    key = "k" * (size << 18)
    names = {f"{n:x}": 1 for n in range(size * 50_000)}
    body = json.dumps({"contexts": {"custom": {key: names}}}).encode()
    with quickly():
        answer = http.patch(path_of(bucket, "a"), content=body)
    assert answer.status_code == (400 if size == 1 else 413)
    assert len(answer.content) < 100_000


@pytest.mark.parametrize("depth", [100, 500, 900, 990, 5000])
def test_a_body_nested_deeply_is_no_fault_of_the_server(http: httpx.Client, bucket: str, depth: int) -> None:
    upload(http, bucket, "a", b"1")
    body = b'{"metadata":' * depth + b"1" + b"}" * depth
    assert http.patch(path_of(bucket, "a"), content=body).status_code == 400
    where = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=b"
    assert http.post(where, content=body).status_code == 400


# ------------------------------------------------------------------------------------------------------------- headers


@pytest.mark.parametrize("size", ["\u00b2", "9" * 5000, "1" * 20, "-1", "+1", "1_0", "0x1", "1.0", "1 1"])
def test_a_header_that_is_no_number_of_bytes_is_refused(http: httpx.Client, bucket: str, size: str) -> None:
    where = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=a"
    raw = size.encode("latin-1")
    assert http.post(where, headers={b"X-Upload-Content-Length": raw}).status_code == 400
    url = start(http, bucket, "a")
    for header in (b"bytes 0-0/" + raw, b"bytes 0-" + raw + b"/*", b"bytes */" + raw):
        assert http.put(url, content=b"1", headers={b"Content-Range": header}).status_code == 400


@pytest.mark.parametrize("digit", ["\u0663", "\u00b2", "\uff11"])
def test_only_ascii_digits_are_digits(digit: str) -> None:
    for header in (f"bytes 0-{digit}/*", f"bytes {digit}-9/*", f"bytes */{digit}"):
        with pytest.raises(InvalidArgument):
            parse_content_range(header)
    assert parse_range(f"bytes={digit}-", 10) is None


# ------------------------------------------------------------------------------------------------------------- buckets


def test_a_call_asks_about_a_hundred_permissions_at_most(http: httpx.Client, bucket: str) -> None:
    for name in (bucket, "no-such-bucket"):
        url = f"/storage/v1/b/{name}/iam/testPermissions"
        assert http.get(url, params={"permissions": [f"p.q.{n}" for n in range(100)]}).status_code == 200
        assert http.get(url, params={"permissions": [f"p.q.{n}" for n in range(101)]}).status_code == 400


class Watched:
    """What test_bucket_permissions asks for, in its order."""

    def __init__(self, record: Record | None) -> None:
        self.record = record
        self.asked: list[str] = []
        self.params = {"bucket": "some-bucket"}
        self.request = SimpleNamespace(query=[("permissions", "a.b.c"), ("permissions", "d.e.f")])
        self.tx = self

    def may(self, permission: str, resource: str) -> bool:
        self.asked.append(permission)
        return True

    def get(self, name: str) -> Record | None:
        self.asked.append(name)
        return self.record


def test_permissions_are_decided_before_anybody_looks_whether_the_bucket_exists() -> None:
    there = Watched(Record("buckets/some-bucket", "bucket", "projects/p", "1", {}, datetime.now(UTC)))
    absent = Watched(None)
    assert buckets.test_bucket_permissions(there).permissions == ["a.b.c", "d.e.f"]  # type: ignore[arg-type]
    assert not buckets.test_bucket_permissions(absent).permissions  # type: ignore[arg-type]
    assert there.asked == absent.asked == ["a.b.c", "d.e.f", "buckets/some-bucket"]


def test_the_grant_that_let_a_change_happen_is_found_before_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(sqlite_url(tmp_path))
    store = SqlStore(sqlite_url(tmp_path))
    hidden = {"metageneration": 1, "updated": "", "generation": 0}
    body = {"location": "US", "storageClass": "STANDARD"}
    now = datetime.now(UTC)
    seen: list[int] = []
    call: Any = SimpleNamespace(
        params={"bucket": "some-bucket"}, query={}, now=now,
        request=SimpleNamespace(headers={}, base_url="", request_id=""),
        services=SimpleNamespace(snapshot=SimpleNamespace(projects={})),
    )  # fmt: skip

    def deciding_grant(call: Any) -> None:
        record = call.tx.get("buckets/some-bucket")
        seen.append(record.hidden["metageneration"])

    monkeypatch.setattr(audit, "deciding_grant", deciding_grant)
    monkeypatch.setattr(audit, "entry", lambda call, outcome: None)
    try:
        with store.write() as tx:
            tx.insert(Record("buckets/some-bucket", "bucket", "projects/p", "1", body, now, hidden=hidden))
            monkeypatch.setattr(type(tx), "audit", lambda tx, entry: None)
            changed = buckets._change(call, tx, lambda old: {**old, "labels": {"a": "b"}})
        assert changed["metageneration"] == "2"
        assert seen == [1]
    finally:
        store.close()
