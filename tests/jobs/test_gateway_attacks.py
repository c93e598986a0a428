"""What a job must not get from its gateway: other paths and hosts, others' rights, the token, answers after its end.

The first half speaks raw bytes to a gateway whose server is a recorder: what was not allowed must not have reached it,
what was must have arrived as one request, written anew. The second half runs in the real sandbox.
"""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlgate.adapters.hosts.sandbox import LOOPBACK, NONE, OFF, JobLimits, Sandbox, probe
from mlgate.adapters.runners.gateway import Gateway
from tests.harness import Server
from tests.jobs.confined import ConfinedJob

SECRET = "the-true-token-of-the-account"
OBJECT = "/storage/v1/b/bucket/o/object"


class Recorder(http.server.ThreadingHTTPServer):
    """Stands for the server: remembers each request (line, headers, body) and answers with its number."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.location = ""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Recorder
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with suppress(OSError, ValueError):  # the gateway hung up in the middle: that is no request
            self._record(headers)

    def _record(self, headers: dict[str, str]) -> None:
        body = self.rfile.read(int(headers["content-length"])) if "content-length" in headers else self._chunks(headers)
        if len(body) != int(headers.get("content-length", len(body))):
            return
        self.server.requests.append((self.requestline, headers, body))
        self.send_response(200)
        if self.server.location:
            self.send_header("location", self.server.location)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"ok")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET

    def _chunks(self, headers: dict[str, str]) -> bytes:
        found = b""
        while "transfer-encoding" in headers and (size := int(self.rfile.readline(), 16)):
            found += self.rfile.read(size)
            self.rfile.readline()
        return found

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_gateway(recorder: Recorder, tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Gateways that can be spoken to from here, as sandbox=off has them."""
    made = []

    def make(**options: Any) -> Gateway:
        folder = tmp_path / f"gateway{len(made)}"
        folder.mkdir()
        given = {"account": "a@p", "project": "p", "directory": folder, "mode": OFF, **options}
        made.append(Gateway(recorder.url, lambda: SECRET, **given))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    return make_gateway()


def address(gateway: Gateway) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(gateway.environment()["STORAGE_EMULATOR_HOST"])
    return str(parts.hostname), int(parts.port or 0)


def say(gateway: Gateway, data: bytes) -> bytes:
    """All that comes back on a connection for these bytes, after which the caller has no more to say."""
    with socket.create_connection(address(gateway), 60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(1 << 16):
            found += piece
    assert SECRET.encode() not in found
    return found


def until_ok(connection: socket.socket) -> None:
    found = b""
    while not found.endswith(b"ok"):
        piece = connection.recv(1000)
        assert piece, found
        found += piece


def request(target: str, method: str = "GET", *headers: str, body: str = "", host: str = "localhost") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join([*lines, "", ""]) + body).encode("latin-1")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", OBJECT),
        ("POST", "/upload/storage/v1/b/bucket/o?uploadType=resumable&name=x"),
        ("PUT", "/resumable/upload/storage/v1/b/bucket/o?upload_id=1"),
        ("GET", "/download/storage/v1/b/bucket/o/object?alt=media"),
        ("GET", "/storage/v1/b/bucket/iam"),
        ("DELETE", "/storage/v1/b/bucket/o/iam"),
        ("POST", "/v1/projects/p/models/m:predict"),
        ("POST", "/v1/projects/p:predict"),
        ("POST", "/v1/projects/p/models/m/versions/v:predict"),
        ("GET", "/v1/projects/p/models/m:getIamPolicy"),
        ("POST", "/v1/projects/p/locations/us-central1/studies/s/trials:suggest"),
        ("GET", "/v1/projects/p/jobs"),
        ("GET", "/discovery/v1/apis/ml/v1/rest"),
        ("GET", "/$discovery/rest?version=v1"),
    ],
)
def test_what_jobs_are_for_goes_through(gateway: Gateway, recorder: Recorder, method: str, target: str) -> None:
    assert status(say(gateway, request(target, method))) == 200
    ((_, headers, _),) = recorder.requests
    assert headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/projects"),
        ("POST", "/v1/projects/p:setIamPolicy"),
        ("POST", "/v1/projects/p/models/m:setIamPolicy"),
        ("POST", "/v1/projects/p/models/m%3AsetIamPolicy"),
        ("POST", "/v1/projects/p/models/m:%73etIamPolicy"),
        ("POST", "//v1/projects/p:setIamPolicy"),
        ("POST", "/v1//projects/p:setIamPolicy"),
        ("POST", "/v1/projects/p/serviceAccounts"),
        ("POST", "/v1/projects/-/serviceAccounts/other@p.iam.gserviceaccount.com:generateAccessToken"),
        ("POST", "/v1/projects/p/serviceAccounts/other/keys"),
        ("POST", "/v1/projects/p/models/../serviceAccounts"),
        ("POST", "/v1/projects/p/models/%2e%2e/serviceAccounts"),
        ("POST", "/v1/projects/p/models/m%2F..%2F..%2FserviceAccounts"),
        ("GET", "/v1/organizations/1"),
        ("POST", "/v1/organizations/1:setIamPolicy"),
        ("GET", "/v2/policies"),
        ("PUT", "/storage/v1/b/bucket/iam"),
        ("PUT", "/storage/v1/b/bucket/%69am"),
        ("POST", "/storage/v1/b/bucket/acl"),
        ("POST", "/storage/v1/projects/p/hmacKeys"),
        ("PATCH", "/storage/v1/b/bucket/defaultObjectAcl/x"),
        ("PUT", "//storage/v1/b/bucket/iam"),
        ("GET", "/storage/v1/../../v1/projects/p:setIamPolicy"),
        ("GET", "/storage/v1/b/../../../v1/projects"),
        ("GET", "/storage/v1/b/%2E%2E/o"),
        ("GET", "/storage/v1/b/x\\..\\y"),
        ("GET", "/storage/v10/b"),
        ("GET", "/storagev1/b"),
        ("POST", "/session:open"),
        ("GET", "/session"),
        ("GET", "/openapi.json"),
        ("OPTIONS", OBJECT),
        ("TRACE", OBJECT),
        ("GET", "/bucket/object"),
        ("GET", "http://127.0.0.1:1/storage/v1/b"),
        ("GET", "http://evil.example.com/storage/v1/b"),
        ("GET", "http://storage.googleapis.com@evil.example.com/storage/v1/b"),
        ("GET", "https://storage.googleapis.com/storage/v1/b"),
        ("GET", "http://storage.googleapis.com:99999/storage/v1/b"),
        ("GET", "ftp://storage.googleapis.com/storage/v1/b"),
        ("GET", "storage/v1/b"),
        ("GET", "*"),
        ("GET", "http://storage.googleapis.com/v1/projects/p:setIamPolicy"),
        ("GET", "/storage/v1/b#/../x"),
    ],
)
def test_everything_else_stays_here(gateway: Gateway, recorder: Recorder, method: str, target: str) -> None:
    assert status(say(gateway, request(target, method, "Content-Length: 0"))) in (400, 403)
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("method", "target", "seen"),
    [
        ("GET", "/bucket/folder/an%20object", "/download/storage/v1/b/bucket/o/folder%2Fan%20object?alt=media"),
        ("GET", "/bucket/object?generation=1&access_token=x", f"/download{OBJECT}?generation=1&alt=media"),
        ("GET", "/storage/v10/b", "/download/storage/v1/b/storage/o/v10%2Fb?alt=media"),
        ("GET", "/bucket/../v1/projects", ""),
        ("GET", "/bucket/%2e%2e/object", ""),
        ("GET", "/v1/projects", ""),
        ("GET", "/bucket/", ""),
        ("GET", "/bucket", ""),
        ("PUT", "/bucket/object", ""),
    ],
)
def test_the_storage_host_reads_objects_without_an_api_in_the_address(
    gateway: Gateway, recorder: Recorder, method: str, target: str, seen: str
) -> None:
    answer = say(gateway, request(target, method, "Content-Length: 0", host="storage.googleapis.com"))
    assert status(answer) == 200 if seen else status(answer) in (400, 403)
    assert [line for line, _, _ in recorder.requests] == ([f"{method} {seen} HTTP/1.1"] if seen else [])


HIDDEN = "POST /v1/projects/p:setIamPolicy HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        request(OBJECT, "PUT", "Content-Length: 5", f"Content-Length: {len(HIDDEN)}") + HIDDEN.encode(),
        request(OBJECT, "PUT", "Content-Length: 5, 5") + b"hello",
        request(OBJECT, "PUT", "Content-Length: +5") + b"hello",
        request(OBJECT, "PUT", "Content-Length: 0x5") + b"hello",
        request(OBJECT, "PUT", "Content-Length: -5") + b"hello",
        request(OBJECT, "PUT", "Content-Length : 5") + b"hello",
        request(OBJECT, "PUT", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
        request(OBJECT, "PUT", "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
        request(OBJECT, "PUT", "Transfer-Encoding: chunked", "Transfer-Encoding: identity2") + b"0\r\n\r\n",
        request(OBJECT, "PUT", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        request(OBJECT, "PUT", "X: y\r\n Transfer-Encoding: chunked") + b"0\r\n\r\n",
        request(OBJECT, "PUT", "X: y\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
        request(OBJECT, "PUT", "X: y\rTransfer-Encoding: chunked") + b"0\r\n\r\n",
        request(OBJECT, "PUT", "X\0: y"),
        request(OBJECT, "GET", "Host: other"),
        f"GET {OBJECT} HTTP/1.1\n\n".encode(),
        f"GET {OBJECT} HTTP/2.0\r\n\r\n".encode(),
        f"GET {OBJECT}\r\n\r\n".encode(),
        f"GET  {OBJECT} HTTP/1.1\r\n\r\n".encode(),
        f"get {OBJECT} HTTP/1.1\r\n\r\n".encode(),
        f" GET {OBJECT} HTTP/1.1\r\n\r\n".encode(),
        f"PUT {OBJECT} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        request(OBJECT, "GET", *["X: y"] * 300),
        request(OBJECT, "GET", "X: " + "y" * 70_000),
    ],
)
def test_a_message_that_two_readers_could_read_in_two_ways_is_refused(
    gateway: Gateway, recorder: Recorder, data: bytes
) -> None:
    answer = say(gateway, data)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert recorder.requests == []


@pytest.mark.parametrize(
    "chunks",
    [
        b"5;x=y\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhellooo\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"ffffffffffffffffff\r\nhello",
        b"5\r\nhel",
        b"",
    ],
)
def test_broken_chunks_never_end_the_message_to_the_server(gateway: Gateway, recorder: Recorder, chunks: bytes) -> None:
    answer = say(gateway, request(OBJECT, "PUT", "Transfer-Encoding: chunked") + chunks)
    assert answer == b"" or status(answer) in (400, 503)
    assert recorder.requests == []


def test_chunks_and_a_length_are_one_message_and_the_last_of_its_connection(
    gateway: Gateway, recorder: Recorder
) -> None:
    """As TensorFlow uploads; the bytes behind it are not a request."""
    head = request(OBJECT, "PUT", "Transfer-Encoding: chunked", "Content-Length: 5")
    answer = say(gateway, head + b"5\r\nhello\r\n0\r\n\r\n" + request("/storage/v1/b/second/o"))
    assert status(answer) == 200
    assert answer.count(b"HTTP/1.1 ") == 1
    ((line, headers, body),) = recorder.requests
    assert (line, body) == (f"PUT {OBJECT} HTTP/1.1", b"hello")
    assert "content-length" not in headers
    lying = request(OBJECT, "PUT", "Transfer-Encoding: chunked", "Content-Length: 3")
    assert status(say(gateway, lying + b"5\r\nhello\r\n0\r\n\r\n")) == 400
    assert len(recorder.requests) == 1


def test_a_body_that_looks_like_a_request_is_a_body(gateway: Gateway, recorder: Recorder) -> None:
    answer = say(gateway, request(OBJECT, "PUT", body=HIDDEN) + request("/storage/v1/b/second/o"))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert [line for line, _, _ in recorder.requests] == [
        f"PUT {OBJECT} HTTP/1.1",
        "GET /storage/v1/b/second/o HTTP/1.1",
    ]
    assert recorder.requests[0][2] == HIDDEN.encode()


def test_what_the_job_says_of_itself_does_not_go_on(gateway: Gateway, recorder: Recorder) -> None:
    sent = ("Authorization: Bearer other", "Cookie: session=1", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=x",
            "X-HTTP-Method-Override: DELETE", "Proxy-Authorization: Basic eA==", "Connection: X-Named", "X-Named: 1",
            "X-Goog-Meta-A: kept")  # fmt: skip
    say(
        gateway,
        request(OBJECT + "?alt=json&access_token=other&oauth_token=x&%61ccess_token=y&key=z&fields=id", "GET", *sent),
    )
    ((line, headers, _),) = recorder.requests
    assert line == f"GET {OBJECT}?alt=json&fields=id HTTP/1.1"
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["x-goog-meta-a"] == "kept"
    gone = {"cookie", "x-forwarded-for", "forwarded", "x-http-method-override", "proxy-authorization", "x-named"}
    assert not gone & headers.keys()


def test_a_host_that_is_not_ours_does_not_reach_the_server(gateway: Gateway, recorder: Recorder) -> None:
    for host in ("evil.example.com", "127.0.0.1:1", "storage.googleapis.com.evil.example.com", "a b", ""):
        say(gateway, f"GET {OBJECT} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    own = "{}:{}".format(*address(gateway))
    assert {headers["host"] for _, headers, _ in recorder.requests} == {own}


def batch(*inner: str) -> bytes:
    parts = "".join(
        f"--b\r\nContent-Type: application/http\r\nContent-ID: <{n}>\r\n\r\n{one}\r\n" for n, one in enumerate(inner)
    )
    return request("/batch/storage/v1", "POST", "Content-Type: multipart/mixed; boundary=b", body=parts + "--b--\r\n")


def test_the_parts_of_a_batch_are_written_anew(gateway: Gateway, recorder: Recorder) -> None:
    answer = say(gateway, batch(
        f"DELETE {OBJECT}?access_token=x HTTP/1.1\r\nAuthorization: Bearer other\r\nIf-Match: 1\r\n\r\n",
        f"PATCH https://evil.example.com{OBJECT} HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{{}}",
    ))  # fmt: skip
    assert status(answer) == 200
    ((_, headers, body),) = recorder.requests
    assert b"other" not in body
    assert b"evil" not in body
    assert b"--b\r\n" not in body
    assert body.count(headers["content-type"].partition("boundary=")[2].encode()) == 3
    assert f"DELETE {OBJECT} HTTP/1.1\r\nIf-Match: 1\r\n\r\n".encode() in body
    assert f"PATCH {OBJECT} HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{{}}".encode() in body


@pytest.mark.parametrize(
    "inner",
    [
        "POST /v1/projects/p:setIamPolicy HTTP/1.1\r\n\r\n{}",
        "PUT /storage/v1/b/bucket/iam HTTP/1.1\r\n\r\n{}",
        "POST //v1/projects/p:setIamPolicy HTTP/1.1\r\n\r\n{}",
        "GET https://x/v1/projects HTTP/1.1\r\n\r\n",
        "GET /storage/v1/../v1/projects HTTP/1.1\r\n\r\n",
        "rubbish",
        f"GET {OBJECT} HTTP/1.1\r\n\r\n\r\n--b\r\n\r\nPOST /v1/projects/p:setIamPolicy HTTP/1.1\r\n\r\n{{}}",
        f"GET {OBJECT} HTTP/1.1\n\n\n--b\n\nPOST /v1/projects/p:setIamPolicy HTTP/1.1\n\n{{}}",
    ],
)
def test_a_batch_with_a_part_that_is_not_allowed_is_refused(gateway: Gateway, recorder: Recorder, inner: str) -> None:
    assert status(say(gateway, batch(f"GET {OBJECT} HTTP/1.1\r\n\r\n", inner))) == 400
    assert recorder.requests == []


def test_who_asks_for_a_token_gets_one_that_opens_nothing(gateway: Gateway, recorder: Recorder, server: Server) -> None:
    flavored = "Metadata-Flavor: Google"
    token = say(gateway, request("/computeMetadata/v1/instance/service-accounts/default/token", "GET", flavored))
    assert b'"mlgate-job"' in token
    assert b'"mlgate-job"' in say(gateway, request("/token", "POST", body="grant_type=x&assertion=y"))
    for path in ("/computeMetadata/v1/instance/service-accounts/default/identity?audience=x", "/computeMetadata/v1/x"):
        assert status(say(gateway, request(path, "GET", flavored))) == 404
    without_flavor = "/computeMetadata/v1/instance/service-accounts/default/token"
    assert status(say(gateway, request(without_flavor))) == 404
    assert recorder.requests == []
    answer = httpx.get(f"{server.url}/storage/v1/b?project=p", headers={"Authorization": "Bearer mlgate-job"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("{upstream}/upload/storage/v1/x?upload_id=1", "http://storage.googleapis.com/upload/storage/v1/x?upload_id=1"),
        ("https://ml.example.com/a", "http://storage.googleapis.com/a"),
        ("http://storage.googleapis.com/a", "http://storage.googleapis.com/a"),
        ("https://ml.example.com.evil/a", "https://ml.example.com.evil/a"),
    ],
)
def test_the_way_back_leads_through_the_gateway(
    make_gateway: Callable[..., Gateway], recorder: Recorder, location: str, seen: str
) -> None:
    recorder.location = location.format(upstream=recorder.url)
    asked = request(OBJECT, host="storage.googleapis.com")
    answer = say(make_gateway(public_url="https://ml.example.com"), asked)
    assert f"\r\nLocation: {seen}\r\n".encode() in answer


@pytest.mark.parametrize(
    "target",
    ["127.0.0.1:{port}", "localhost:{port}", "evil.example.com:443", "storage.googleapis.com:22", "[::1]:1", "x"],
)
def test_no_tunnel_leads_out(gateway: Gateway, recorder: Recorder, target: str) -> None:
    wanted = target.format(port=recorder.server_address[1])
    assert status(say(gateway, f"CONNECT {wanted} HTTP/1.1\r\n\r\n".encode())) == 403
    assert recorder.requests == []


def test_an_open_network_is_open_to_others_and_not_to_this_machine(
    make_gateway: Callable[..., Gateway], recorder: Recorder
) -> None:
    port = recorder.server_address[1]
    everywhere = make_gateway(open_to=["*"])
    for target in (f"127.0.0.1:{port}", f"localhost:{port}", "169.254.169.254:80", "0.0.0.0:1", "10.0.0.1:1"):
        assert status(say(everywhere, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())) in (403, 502), target
        assert status(say(everywhere, request(f"http://{target}/x"))) in (403, 404, 502), target
    assert recorder.requests == []


def test_a_host_that_is_named_in_full_can_be_reached_without_the_token(
    make_gateway: Callable[..., Gateway], recorder: Recorder
) -> None:
    port = recorder.server_address[1]
    named = make_gateway(open_to=["localhost"])
    inner = "GET /inner HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = say(named, f"CONNECT localhost:{port} HTTP/1.1\r\n\r\n{inner}".encode())
    assert status(answer) == 200
    assert status(say(named, request(f"http://localhost:{port}/plain", "GET", "Authorization: Basic eA=="))) == 200
    assert all(SECRET not in str(headers) for _, headers, _ in recorder.requests)
    assert recorder.requests[-1][1]["authorization"] == "Basic eA=="
    assert status(say(named, b"CONNECT evil.example.com:443 HTTP/1.1\r\n\r\n")) == 403


def test_after_the_end_nothing_is_answered_and_what_was_under_way_is_cut(gateway: Gateway, recorder: Recorder) -> None:
    with socket.create_connection(address(gateway), 60) as idle, socket.create_connection(address(gateway), 60) as busy:
        idle.sendall(request(OBJECT))
        until_ok(idle)
        busy.sendall(request(OBJECT, "PUT", "Content-Length: 1000") + b"half of it")
        gateway.close()
        for connection in (idle, busy):
            with suppress(OSError):
                connection.sendall(request(OBJECT))
                assert connection.recv(1 << 16) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(gateway), 5)
    assert len(recorder.requests) == 1


def test_a_tunnel_does_not_outlive_the_job(gateway: Gateway, recorder: Recorder) -> None:
    context = ssl.create_default_context(cafile=gateway.environment()["SSL_CERT_FILE"])
    with socket.create_connection(address(gateway), 60) as outside:
        outside.sendall(b"CONNECT storage.googleapis.com:443 HTTP/1.1\r\n\r\n")
        assert outside.recv(1000).startswith(b"HTTP/1.1 200")
        with context.wrap_socket(outside, server_hostname="storage.googleapis.com") as inside:
            inside.sendall(request(OBJECT))
            until_ok(inside)
            gateway.close()
            with suppress(OSError):
                inside.sendall(request(OBJECT))
                assert inside.recv(1000) == b""
    assert len(recorder.requests) == 1


# -------------------------------------------------------------------------------------------------- in the sandbox


@pytest.fixture(scope="module", params=["bubblewrap", "landlock", "loopback"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    found = probe(request.param, for_jobs=True)
    if found.mode == NONE:
        pytest.fail(found.reason)
    return found


ESCAPES = """
import ctypes, glob, os, socket, sys
server, token, private, other = int(sys.argv[1]), bytes.fromhex(sys.argv[2]).decode(), sys.argv[3], int(sys.argv[4])
def tries(name, attempt):
    try:
        found = attempt()
    except (OSError, ValueError) as error:
        return
    print("could", name, found)
tries("reach the server itself", lambda: socket.create_connection(("127.0.0.1", server), 5))
tries("reach the internet", lambda: socket.create_connection(("192.0.2.1", 443), 5))
tries("reach the internet over IPv6", lambda: socket.create_connection(("2001:db8::1", 443), 5))
tries("ask a name server", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
tries("resolve a name", lambda: socket.getaddrinfo("example.com", 443))
for family in (socket.AF_PACKET, 38, 40, 44):  # raw, kernel crypto, the hypervisor, XDP
    tries("open a socket of family %s" % family, lambda: socket.socket(family, socket.SOCK_RAW))
tries("open a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *arguments):
    if libc.syscall(number, *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")
for name, flags in {"user": 0x10000000, "network": 0x40000000, "mount": 0x20000}.items():
    tries("make a namespace: " + name, lambda: syscall(272, flags))
    tries("be born in a namespace: " + name, lambda: syscall(56, flags | 17, 0, 0, 0, 0))
tries("signal another job", lambda: os.kill(other, 0))
tries("trace another process", lambda: syscall(101, 16, other, 0, 0))
for place in (private, os.path.dirname(private), "/etc/shadow", "/root/.ssh", "/proc/%d/environ" % other,
              "/proc/%d/cmdline" % os.getppid() if os.getppid() > 2 else "/nowhere"):
    tries("read " + place, lambda: os.listdir(place) if os.path.isdir(place) else open(place, "rb").read())
tries("change the authorities", lambda: open(os.environ["SSL_CERT_FILE"], "w"))
tries("replace the names", lambda: open("/etc/hosts", "w"))
tries("put a file beside its own", lambda: open("/usr/lib/x", "w"))
seen = []
for pattern in ("/proc/*/environ", "/proc/*/cmdline", "/proc/*/task/*/environ"):
    for path in glob.glob(pattern):
        try:
            seen.append(open(path, "rb").read().decode("latin-1"))
        except OSError:
            pass
seen += os.environ.values()
for number in range(3, 256):  # a descriptor of the gateway's
    try:
        kind = os.readlink("/proc/self/fd/%d" % number) if os.path.isdir("/proc/self/fd") else os.fstat(number)
    except OSError:
        continue
    if "socket" in str(kind):
        print("holds a socket", number, kind)
if any(token in text for text in seen):
    print("could see the token")
import urllib.request
for path in ("/", "/computeMetadata/v1/instance/service-accounts/default/token", "/storage/v1/b?project=demo-project",
             "/v1/projects/demo-project/models", "/v1/projects/demo-project:getConfig", "/healthz"):
    asked = urllib.request.Request(os.environ["STORAGE_EMULATOR_HOST"] + path, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(asked) as answer:
            text = str(answer.headers) + answer.read().decode()
    except urllib.error.HTTPError as error:
        text = str(error.headers) + error.read().decode()
    if token in text:
        print("was told the token by", path)
print("tried all")
"""


def test_a_job_gets_neither_out_nor_the_token_nor_another_job(server: Server, sandbox: Sandbox, tmp_path: Path) -> None:
    token = server.token()
    with (
        ConfinedJob(sandbox, tmp_path / "one", server.url, token) as one,
        ConfinedJob(sandbox, tmp_path / "two", server.url, server.token("user:nobody@example.com")) as two,
    ):
        other = two.start(["-c", "import time; print('up', flush=True); time.sleep(600)"])
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        private = str(two.folder / "gateway")
        # as hex, so that the argument itself is not what is found
        said = one.run(ESCAPES, server.port(), token.encode().hex(), private, other.pid)
        assert said == "tried all\n"
        assert sorted(path.name for path in (two.folder / "gateway").iterdir()) == ["authorities.pem", "hosts"]


def test_each_job_reaches_its_own_gateway_where_it_is_told_to(server: Server, sandbox: Sandbox, tmp_path: Path) -> None:
    code = """
import os, urllib.request
try:
    print(urllib.request.urlopen(os.environ["STORAGE_EMULATOR_HOST"] + "/storage/v1/b?project=demo-project").status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    with (
        ConfinedJob(sandbox, tmp_path / "one", server.url, server.token()) as one,
        ConfinedJob(sandbox, tmp_path / "two", server.url, server.token("user:nobody@example.com")) as two,
    ):
        first, second = (job.gateway.environment()["STORAGE_EMULATOR_HOST"] for job in (one, two))
        assert (first == second) == (sandbox.mode != LOOPBACK)
        assert (one.run(code), two.run(code)) == ("200\n", "403\n")


def test_a_job_whose_gateway_has_ended_is_alone(server: Server, sandbox: Sandbox, tmp_path: Path) -> None:
    code = """
import os, sys, urllib.request
url = os.environ["STORAGE_EMULATOR_HOST"] + "/storage/v1/b?project=demo-project"
print(urllib.request.urlopen(url).status, flush=True)
while not os.path.exists("closed"):
    pass
try:
    print(urllib.request.urlopen(url, timeout=5).status)
except OSError as error:
    print("alone")
"""
    with ConfinedJob(sandbox, tmp_path / "one", server.url, server.token()) as one:
        process = one.start(["-c", code])
        assert process.stdout is not None
        assert process.stdout.readline() == "200\n"
        one.gateway.close()
        (one.work / "closed").touch()
        assert process.communicate(timeout=60)[0] == "alone\n"


def test_a_fork_bomb_and_a_giant_file_meet_their_limits(sandbox: Sandbox, tmp_path: Path) -> None:
    code = """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
children = []
try:
    while len(children) < 100:
        children.append(os.fork())
        if not children[-1]:
            signal.pause()
except OSError:
    print("no more processes")
for child in children:
    os.kill(child, signal.SIGKILL)
try:
    with open("giant", "wb") as file:
        file.truncate(1 << 40)
except OSError:
    print("no larger file")
try:
    bytearray(8 << 30)
except MemoryError:
    print("no more memory")
print(os.getuid())
"""
    limits = JobLimits(memory_bytes=2 << 30, file_bytes=1 << 20, processes=64)
    with ConfinedJob(sandbox, tmp_path / "one", "http://127.0.0.1:1", "x", limits=limits) as one:
        *met, user = one.run(code).splitlines()
    # the kernel does not count root's processes, which a job without a bubble is by name where only root reads Python
    assert met == [*(["no more processes"] if user != "0" else []), "no larger file", "no more memory"]
    assert user != "0" or "not limited" in sandbox.reason
