"""The upload protocols, request by request."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.harness import Server
from tests.storage.clients import chunk, media, path_of, start, upload

DATA = bytes(range(256)) * 4096  # 1 MiB
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
WRONG_MD5 = base64.b64encode(b"\x00" * 16).decode()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def multipart(metadata: object, data: bytes) -> tuple[bytes, dict[str, str]]:
    head = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(metadata)}\r\n--b\r\nContent-Type: text/x\r\n\r\n"
    return head.encode() + data + b"\r\n--b--\r\n", {"Content-Type": "multipart/related; boundary=b"}


def names(http: httpx.Client, bucket: str) -> list[str]:
    return [item["name"] for item in http.get(f"/storage/v1/b/{bucket}/o").json().get("items", [])]


# ------------------------------------------------------------------------------------------------------ one request


def test_a_media_upload_takes_the_content_type_of_the_request(http: httpx.Client, bucket: str) -> None:
    made = upload(http, bucket, "a", DATA, headers={"Content-Type": "image/x"})
    assert made.status_code == 200
    assert made.json().items() >= {
        "kind": "storage#object", "name": "a", "bucket": bucket, "size": str(len(DATA)), "contentType": "image/x",
        "md5Hash": MD5, "metageneration": "1",
    }.items()  # fmt: skip
    got = media(http, bucket, "a")
    assert (got.content, got.headers["content-type"], got.headers["etag"]) == (DATA, "image/x", made.json()["etag"])
    assert got.headers["x-goog-generation"] == made.json()["generation"]
    assert got.headers["x-goog-hash"] == f"crc32c={made.json()['crc32c']},md5={MD5}"
    assert http.get(made.json()["mediaLink"]).content == DATA
    assert http.get(made.json()["selfLink"]).json() == made.json()


def test_a_multipart_upload_takes_metadata_and_media(http: httpx.Client, bucket: str) -> None:
    body, headers = multipart({"name": "a", "metadata": {"k": "v"}, "md5Hash": MD5}, DATA)
    url = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart"
    made = http.post(url, content=body, headers=headers)
    assert (made.json()["contentType"], made.json()["metadata"], made.json()["md5Hash"]) == ("text/x", {"k": "v"}, MD5)
    assert media(http, bucket, "a").content == DATA


@pytest.mark.parametrize(
    ("headers", "metadata"),
    [
        ({"x-goog-hash": f"md5={WRONG_MD5}"}, {}),
        ({"x-goog-hash": "crc32c=AAAAAA=="}, {}),
        ({"x-goog-hash": "crc32c=no base64"}, {}),
        ({}, {"md5Hash": WRONG_MD5}),
        ({}, {"crc32c": "AAAAAA=="}),
    ],
)
def test_bytes_that_hash_to_something_else_are_refused_and_nothing_is_stored(
    http: httpx.Client, bucket: str, headers: dict[str, str], metadata: dict[str, str]
) -> None:
    body, kind = multipart({"name": "a", **metadata}, DATA)
    url = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart"
    assert http.post(url, content=body, headers={**kind, **headers}).status_code == 400
    session = start(http, bucket, "a", **metadata)
    assert http.put(session, content=DATA, headers=headers).status_code == 400
    if headers:
        assert upload(http, bucket, "a", DATA, headers=headers).status_code == 400
    assert upload(http, bucket, "a", DATA, headers={"Content-MD5": WRONG_MD5}).status_code == 400
    assert names(http, bucket) == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("uploadType=media", 400),
        ("uploadType=media&name=a%0Ab", 400),
        ("uploadType=media&name=..", 400),
        ("uploadType=media&name=" + "x" * 1025, 400),
        ("uploadType=strange&name=a", 400),
        ("name=a", 400),
        ("uploadType=multipart&name=a", 400),
        ("uploadType=media&name=a&unknown=1", 400),
        ("uploadType=media&name=a&predefinedAcl=publicRead", 400),
        ("uploadType=media&name=a&kmsKeyName=k", 501),
        ("uploadType=media&name=a&upload_id=none", 404),
        ("uploadType=media&name=a&upload_id=..%2F..%2Fetc", 404),
        ("uploadType=media&name=a&upload_id=%00", 404),
    ],
)
def test_an_upload_that_cannot_be_right_is_refused(http: httpx.Client, bucket: str, query: str, status: int) -> None:
    answer = http.post(f"/upload/storage/v1/b/{bucket}/o?{query}", content=b"x")
    assert answer.status_code == status, answer.text
    assert names(http, bucket) == []


@pytest.mark.parametrize("metadata", [{"name": "a", "nmae": "b"}, {"name": 5}, {"name": "a", "metadata": {"k": 1}}, []])
def test_metadata_that_cannot_be_read_is_refused(http: httpx.Client, bucket: str, metadata: object) -> None:
    body, headers = multipart(metadata, DATA)
    url = f"/upload/storage/v1/b/{bucket}/o"
    assert http.post(url, params={"uploadType": "multipart"}, content=body, headers=headers).status_code == 400
    assert http.post(url, params={"uploadType": "resumable"}, json=metadata).status_code == 400


def test_a_header_cannot_be_smuggled_in_metadata(http: httpx.Client, bucket: str) -> None:
    upload(http, bucket, "a", b"x")
    for field in ("contentType", "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage"):
        answer = http.patch(path_of(bucket, "a"), json={field: "x\r\nSet-Cookie: a=b"})
        assert answer.status_code == 400
    assert http.patch(path_of(bucket, "a"), json={"contentDisposition": "attachment; filename=ü"}).status_code == 200
    assert media(http, bucket, "a").status_code == 200


def test_a_page_that_somebody_uploads_cannot_run_on_this_origin(http: httpx.Client, bucket: str) -> None:
    upload(http, bucket, "a", b"<script>", headers={"Content-Type": "text/html"})
    headers = media(http, bucket, "a").headers
    assert headers["content-security-policy"].startswith("sandbox")
    assert headers["x-content-type-options"] == "nosniff"


def test_an_upload_that_breaks_off_leaves_nothing(server: Server, http: httpx.Client, bucket: str) -> None:
    for kind in ("media", "multipart"):
        with hang_up(
            server, f"POST /upload/storage/v1/b/{bucket}/o?uploadType={kind}&name=a", 5 << 20, b"x" * (3 << 20)
        ):
            pass
    eventually(lambda: not list((server.data_dir / "blobs" / "tmp").iterdir()))
    assert names(http, bucket) == []


def test_a_refused_upload_gets_its_answer_however_large_it_is(server: Server, bucket: str) -> None:
    """The client is still sending when the answer comes; it must not see a broken connection instead."""
    for client in (server.http("user:stranger@example.com"), server.http(None)):
        with client as http:
            for _ in range(3):
                assert upload(http, bucket, "a", DATA * 20).status_code in (401, 403)
            assert http.get("/storage/v1/b/x").status_code in (401, 403)


def hang_up(server: Server, request: str, declared: int, body: bytes, headers: str = "") -> socket.socket:
    """Send a part of a request; leaving the `with` cuts the connection."""
    made = socket.create_connection(("127.0.0.1", server.port()))
    head = f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token()}\r\nContent-Length: {declared}\r\n"
    made.sendall(head.encode() + headers.encode() + b"\r\n" + body)
    return made


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


# -------------------------------------------------------------------------------------------------------- resumable


def test_a_session_takes_chunks_and_says_how_far_it_is(http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a", metadata={"k": "v"}, headers={"X-Upload-Content-Type": "text/x"})
    assert urlsplit(url).netloc == http.base_url.netloc.decode()
    assert "range" not in chunk(http, url, b"", "bytes */*").headers
    first = chunk(http, url, DATA[:1000], f"bytes 0-999/{len(DATA)}")
    assert (first.status_code, first.headers["range"]) == (308, "bytes=0-999")
    asked = chunk(http, url, b"", f"bytes */{len(DATA)}")
    assert (asked.status_code, asked.headers["range"]) == (308, "bytes=0-999")
    done = chunk(http, url, DATA[1000:], f"bytes 1000-{len(DATA) - 1}/{len(DATA)}")
    assert done.status_code == 200
    assert (done.json()["md5Hash"], done.json()["contentType"], done.json()["metadata"]) == (MD5, "text/x", {"k": "v"})
    assert media(http, bucket, "a").content == DATA


def test_whoever_missed_the_last_answer_gets_it_again(http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a")
    done = http.put(url, content=DATA)
    assert done.status_code == 200
    assert chunk(http, url, b"", "bytes */*").json() == done.json()
    assert chunk(http, url, DATA, f"bytes 0-{len(DATA) - 1}/{len(DATA)}").json() == done.json()
    upload(http, bucket, "a", b"newer")
    assert chunk(http, url, b"", f"bytes */{len(DATA)}").json() == done.json()
    assert media(http, bucket, "a").content == b"newer"


def test_the_total_may_come_last_with_an_empty_chunk(http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a")
    assert chunk(http, url, DATA, f"bytes 0-{len(DATA) - 1}/*").status_code == 308
    assert http.post(url, headers={"Content-Range": f"bytes */{len(DATA)}"}).json()["md5Hash"] == MD5


def test_bytes_that_arrived_before_are_skipped_and_a_gap_is_not_filled(http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a")
    chunk(http, url, DATA[:1000], "bytes 0-999/*")
    assert chunk(http, url, DATA[500:2000], "bytes 500-1999/*").headers["range"] == "bytes=0-1999"
    assert chunk(http, url, DATA[100:200], "bytes 100-199/*").headers["range"] == "bytes=0-1999"
    assert chunk(http, url, DATA[5000:6000], "bytes 5000-5999/*").headers["range"] == "bytes=0-1999"
    rest = chunk(http, url, DATA[2000:], f"bytes 2000-{len(DATA) - 1}/{len(DATA)}")
    assert rest.json()["md5Hash"] == MD5


@pytest.mark.parametrize(
    ("content_range", "data"),
    [
        ("bytes 0-3/4", b"toolong"),
        ("bytes 0-3/2", b"four"),
        ("nonsense", b"four"),
        ("bytes 0-99999999999999/*", b"four"),
        ("bytes */99999999999999", b""),
    ],
)
def test_a_chunk_that_makes_no_sense_is_refused(
    http: httpx.Client, bucket: str, content_range: str, data: bytes
) -> None:
    url = start(http, bucket, "a")
    assert chunk(http, url, data, content_range).status_code in (400, 413)
    assert names(http, bucket) == []


def test_an_upload_is_as_long_as_it_was_declared(http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a", headers={"X-Upload-Content-Length": "10"})
    assert chunk(http, url, b"four", "bytes 0-3/4").status_code == 400
    assert http.put(url, content=b"eleven bytes").status_code == 400
    assert chunk(http, url, b"", "bytes */4").status_code == 400


def test_a_body_without_a_range_is_the_whole_object_never_less_than_arrived_before(
    http: httpx.Client, bucket: str
) -> None:
    url = start(http, bucket, "a")
    chunk(http, url, DATA[:1000], "bytes 0-999/*")
    assert http.put(url, content=b"").status_code == 400
    assert names(http, bucket) == []
    assert http.put(url, content=DATA).json()["md5Hash"] == MD5


def test_after_a_broken_connection_the_upload_goes_on_where_it_was(
    server: Server, http: httpx.Client, bucket: str
) -> None:
    url = start(http, bucket, "a")
    target = urlsplit(url)
    with hang_up(server, f"PUT {target.path}?{target.query}", len(DATA), DATA[:700_000]):
        time.sleep(0.1)
    eventually(lambda: "range" in chunk(http, url, b"", "bytes */*").headers)
    at = int(chunk(http, url, b"", "bytes */*").headers["range"].rpartition("-")[2]) + 1
    assert 0 < at <= 700_000
    assert chunk(http, url, DATA[at:], f"bytes {at}-{len(DATA) - 1}/{len(DATA)}").json()["md5Hash"] == MD5


def test_a_cancelled_session_is_gone(http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a")
    chunk(http, url, DATA[:1000], "bytes 0-999/*")
    assert http.delete(url).status_code == 499
    assert chunk(http, url, b"", "bytes */*").status_code == 404
    assert http.delete(url).status_code == 404


def test_a_session_belongs_to_whoever_opened_it(server: Server, http: httpx.Client, bucket: str) -> None:
    policy = http.get(f"/storage/v1/b/{bucket}/iam").json()
    policy["bindings"] = [{"role": "roles/storage.objectAdmin", "members": ["user:colleague@example.com"]}]
    assert http.put(f"/storage/v1/b/{bucket}/iam", json=policy).status_code == 200
    url = start(http, bucket, "a")
    with server.http("user:colleague@example.com") as colleague:
        assert chunk(colleague, url, b"", "bytes */*").status_code == 404
        assert colleague.put(url, content=b"stolen").status_code == 404
        assert colleague.delete(url).status_code == 404
    with server.http(None) as nobody:
        assert nobody.put(url, content=b"stolen").status_code == 401
    assert http.put(url, content=DATA).status_code == 200


def test_a_session_is_good_in_its_own_bucket_only(server: Server, http: httpx.Client, bucket: str) -> None:
    other = http.post(f"/storage/v1/b?project={server.project}", json={"name": bucket + "-other"}).json()["name"]
    url = start(http, bucket, "a")
    assert http.put(url.replace(f"/b/{bucket}/", f"/b/{other}/"), content=DATA).status_code == 404


def test_a_session_dies_with_its_bucket(server: Server, http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a")
    assert http.delete(f"/storage/v1/b/{bucket}").status_code == 204
    assert http.post(f"/storage/v1/b?project={server.project}", json={"name": bucket}).status_code == 200
    assert http.put(url, content=DATA).status_code == 404


def test_a_revoked_caller_cannot_finish_an_upload(server: Server, http: httpx.Client, bucket: str) -> None:
    """The right is taken away while the body is on its way."""
    path = f"/storage/v1/b/{bucket}/iam"
    policy = http.get(path).json()
    policy["bindings"] = [{"role": "roles/storage.objectCreator", "members": ["user:leaver@example.com"]}]
    policy = http.put(path, json=policy).json()
    sent, go_on = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield DATA
        sent.set()
        go_on.wait(10)
        yield DATA

    statuses: list[int] = []
    with server.http("user:leaver@example.com") as leaver:
        url = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=late"
        thread = threading.Thread(target=lambda: statuses.append(leaver.post(url, content=body()).status_code))
        thread.start()
        assert sent.wait(10)
        assert http.put(path, json={**policy, "bindings": []}).status_code == 200
        go_on.set()
        thread.join(30)
    assert statuses == [403]
    assert names(http, bucket) == []


def test_preconditions_are_checked_when_a_session_opens_and_when_it_ends(http: httpx.Client, bucket: str) -> None:
    url = start(http, bucket, "a", params={"ifGenerationMatch": 0})
    upload(http, bucket, "a", b"first")
    assert http.put(url, content=DATA).status_code == 412
    opened = http.post(
        f"/upload/storage/v1/b/{bucket}/o", params={"uploadType": "resumable", "name": "a", "ifGenerationMatch": 0}
    )
    assert opened.status_code == 412
    assert media(http, bucket, "a").content == b"first"


def test_racing_creators_with_a_precondition_have_one_winner(http: httpx.Client, bucket: str) -> None:
    statuses: list[int] = []

    def create(n: int) -> None:
        statuses.append(upload(http, bucket, "a", b"%d" % n, params={"ifGenerationMatch": 0}).status_code)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 7


def test_an_object_larger_than_the_limit_is_refused(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"MLGATE_MAX_OBJECT": str(3 << 20)})
    with server.http() as http:
        http.post(f"/storage/v1/b?project={server.project}", json={"name": "small-bucket"})
        assert upload(http, "small-bucket", "a", DATA * 3).status_code == 200
        assert upload(http, "small-bucket", "b", DATA * 3 + b"x").status_code == 413
        url = start(http, "small-bucket", "b")
        assert http.put(url, content=DATA * 3 + b"x").status_code == 413
        assert chunk(http, url, b"", f"bytes */{4 << 20}").status_code == 413
        assert names(http, "small-bucket") == ["a"]


# ---------------------------------------------------------------------------------------------------------- kill -9


def test_after_kill_9_an_object_is_whole_or_not_there_and_a_session_goes_on(make_server: Callable[..., Server]) -> None:
    server = make_server()
    body = DATA * 8
    answered: set[str] = set()
    stop = threading.Event()

    def work(worker: int) -> None:
        with server.http() as http:
            for n in range(1000):
                name = f"{worker}-{n}"
                try:
                    if upload(http, "killed", name, name.encode() + body).status_code == 200:
                        answered.add(name)
                except httpx.TransportError:
                    return
                if stop.is_set():
                    return

    with server.http() as http:
        assert http.post(f"/storage/v1/b?project={server.project}", json={"name": "killed"}).status_code == 200
        url = start(http, "killed", "session")
        assert chunk(http, url, DATA, f"bytes 0-{len(DATA) - 1}/*").status_code == 308
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answered) >= 6)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join(60)
    server.restart()
    with server.http() as http:
        there = set(names(http, "killed"))
        assert answered <= there
        for name in there:
            assert media(http, "killed", name).content == name.encode() + body
        assert chunk(http, url, b"", "bytes */*").headers["range"] == f"bytes=0-{len(DATA) - 1}"
        assert chunk(http, url, b"", f"bytes */{len(DATA)}").json()["md5Hash"] == MD5
