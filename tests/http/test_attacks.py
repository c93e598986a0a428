"""What a security review tried and found, kept as tests: each once worked."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from bench.serving.processes import cpu_seconds, family
from tests.harness import PROJECT, Server

P = f"/v1/projects/{PROJECT}"
MIXED = {"Content-Type": "multipart/mixed; boundary=b"}


def unique(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:12]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """A block that must not take long."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@contextmanager
def quickly(server: Server, seconds: float = 2.0) -> Iterator[None]:
    """A block that must not cost the server much of a processor's time: it answers nobody meanwhile. Counted is its own
    time, so that a busy machine changes nothing."""
    assert server.process is not None
    before = cpu_seconds(family(server.process.pid))
    yield
    assert cpu_seconds(family(server.process.pid)) - before < seconds


@pytest.mark.parametrize(
    "fields", ["a/b(c,", "a(", "a)", "(", "a/", ",", "a(b", "a" * 4001, "a/" * 100 + "a", "a(" * 60]
)
def test_a_selector_that_cannot_be_read_is_refused_at_once(server: Server, fields: str) -> None:
    with quickly(server):
        assert server.http(None).get("/healthz", params={"fields": fields}).status_code == 400
        name = unique("m")
        assert server.http().post(f"{P}/models", params={"fields": fields}, json={"name": name}).status_code == 400
    assert server.http().get(f"{P}/models/{name}").status_code == 404, "nothing was done"


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nContent-ID: " + b"=?utf-8?q?a?= " * 30_000 + b"\r\n\r\nGET /healthz\r\n\r\n--b--",
        b"--b\r\n\r\n" * 400_000,
        b"--b\r\n\r\nGET /healthz?" + b"a&" * 1_500_000 + b"\r\n\r\n--b--",
        b"".join(b"--b\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % n for n in range(900)),
        b"--b\r\nContent-ID:" + b" " * 1_000_000 + b"\x01\r\n\r\nGET /v1/projects\r\n\r\n--b--",
        b"--b\r\nContent-ID: " + b"a " * 500_000 + b"\x01\r\n\r\nGET /v1/projects\r\n\r\n--b--",
    ],
    ids=["words", "parts", "parameters", "nested", "spaces", "gaps"],
)
def test_a_batch_that_is_dear_to_read_is_not_read_for_strangers_and_cheap_for_others(
    server: Server, body: bytes
) -> None:
    with quickly(server):
        assert server.http(None).post("/batch", content=body, headers=MIXED).status_code == 401
    with quickly(server, 3):
        assert server.http().post("/batch", content=body, headers=MIXED).status_code in (200, 400)


def test_a_content_id_cannot_add_lines_to_the_answer(server: Server) -> None:
    body = b"--b\r\nContent-ID: =?utf-8?q?a=0D=0AX-Evil:_1?=\r\n\r\nGET /healthz\r\n\r\n--b--"
    answer = server.http().post("/batch", content=body, headers=MIXED).text
    assert "\nX-Evil" not in answer


@pytest.mark.parametrize(
    "path", [f"{P}/models/" + "m" * 300, f"{P}/models/" + "eyJ" * 16_000, "/storage/v1/b/" + "b" * 300]
)
def test_names_that_nothing_can_have_are_refused_before_they_cost_anything(server: Server, path: str) -> None:
    with quickly(server):
        assert server.http("user:eve@example.com").get(path).status_code == 400


def test_a_flood_of_denied_writes_does_not_hold_up_others(server: Server) -> None:
    part = f"--b\r\n\r\nDELETE {P}/models/none\r\n\r\n".encode()
    eve, owner = server.http("user:eve@example.com"), server.http()
    for _ in range(4):
        assert eve.post("/batch", content=part * 1000 + b"--b--", headers=MIXED).status_code == 200
        with within(1.5):
            assert owner.get(f"{P}/models").status_code == 200
            assert owner.post(f"{P}/models", json={"name": unique("m")}).status_code == 200


def test_permissions_asked_about_are_limited_in_number(server: Server) -> None:
    eve = server.http("user:eve@example.com")
    asked = {"permissions": ["ml.models.get"] * 101}
    assert eve.post(f"{P}/models/none:testIamPermissions", json={"permissions": ["ml.models.get"] * 100}).json() == {}
    many = {"permissions": [f"ml.models.p{n}" for n in range(101)]}
    assert eve.post(f"{P}/models/none:testIamPermissions", json=many).status_code == 400
    assert eve.post(f"{P}/models/none:testIamPermissions", json=asked).status_code == 200, "the same one, 101 times"
    huge = {"permissions": ["x" * 70_000]}
    assert eve.post(f"{P}/models/none:testIamPermissions", json=huge).status_code == 413


def sent_raw(server: Server, data: bytes, more: bytes = b"", times: int = 0) -> bytes:
    """Send bytes as they are, then `more` again and again until the server closes; what it answered."""
    import socket

    with socket.create_connection(("127.0.0.1", server.port()), timeout=20) as connection:
        try:
            connection.sendall(data)
            for _ in range(times):
                connection.sendall(more)
        except OSError:
            return b"closed"
        try:
            return connection.recv(65536)
        except ConnectionError:
            return b"closed"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nx: ",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nx",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ",
        b"GET /",
    ],
    ids=["value", "name", "trailer", "path"],
)
def test_a_head_without_end_is_cut_off(server: Server, head: bytes) -> None:
    with within(10):
        assert sent_raw(server, head, b"a" * 65536, 2000) in (b"closed", b""), "the connection stays open"


def test_a_header_behind_the_body_is_none(server: Server) -> None:
    bearer = server.token().encode()
    request = (b"GET /v1/projects HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
               b"Authorization: Bearer " + bearer + b"\r\n\r\n")  # fmt: skip
    assert b" 401 " in sent_raw(server, request)[:20]


def test_media_in_a_batch_are_refused_and_two_credentials_in_a_part_are_none(server: Server) -> None:
    def part(line: bytes, *headers: bytes) -> bytes:
        return b"--b\r\n\r\n" + b"\r\n".join((line, *headers)) + b"\r\n\r\na\nb\r\n"

    bearer = b"Authorization: Bearer " + server.token().encode()
    upload = part(b"POST //upload/storage/v1/b/none/o?uploadType=media&name=x")
    twice = part(b"GET /v1/projects", b"Authorization: Bearer bad", bearer)
    answer = server.http().post("/batch", content=upload + twice + b"--b--", headers=MIXED).text
    assert "HTTP/1.1 400" in answer
    assert "HTTP/1.1 401" in answer


def test_a_large_upload_passes_the_bounds_of_the_head(server: Server) -> None:
    owner, bucket = server.http(), unique("b-")
    owner.post("/storage/v1/b", params={"project": PROJECT}, json={"name": bucket}).raise_for_status()
    data = b"x" * 20_000_000
    where = {"uploadType": "media", "name": "a"}
    pieces = (data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000))
    assert owner.post(f"/upload/storage/v1/b/{bucket}/o", params=where, content=pieces).status_code == 200
    assert owner.post(f"/upload/storage/v1/b/{bucket}/o", params=where, content=data).status_code == 200
    assert owner.get(f"/storage/v1/b/{bucket}/o/a?alt=media").content == data


# ------------------------------------------------------------------------------------------------------------ rights


def held_write(server: Server, member: str, path: str, body: bytes, act: Any) -> httpx.Response:
    """Send a request's head and a first byte, let `act` happen, then send the rest: the answer."""
    reached, go = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[:1]
        reached.set()
        go.wait(20)
        yield body[1:]

    answers: list[httpx.Response] = []
    client = server.http(member)
    sender = threading.Thread(target=lambda: answers.append(client.post(path, content=slowly())))
    sender.start()
    assert reached.wait(20)
    act()
    go.set()
    sender.join(30)
    return answers[0]


def new_account(owner: httpx.Client, account_id: str) -> dict[str, Any]:
    return dict(owner.post(f"{P}/serviceAccounts", json={"accountId": account_id}).raise_for_status().json())


def grant(owner: httpx.Client, role: str, member: str) -> None:
    policy = owner.post(f"{P}:getIamPolicy").json()
    policy["bindings"].append({"role": role, "members": [member]})
    owner.post(f"{P}:setIamPolicy", json={"policy": policy}).raise_for_status()


@pytest.mark.parametrize("act", ["disable", "delete", "replace"])
def test_a_request_held_open_does_not_outlive_the_account_that_sent_it(server: Server, act: str) -> None:
    owner = server.http()
    account = new_account(owner, account_id := unique("held-"))
    member = f"serviceAccount:{account['email']}"
    grant(owner, "roles/ml.admin", member)
    server.token(member)

    def ends() -> None:
        if act == "disable":
            owner.post(f"/v1/{account['name']}:disable").raise_for_status()
            return
        owner.delete(f"/v1/{account['name']}").raise_for_status()
        if act == "replace":
            new_account(owner, account_id)
            grant(owner, "roles/ml.admin", member)

    name = unique("m")
    answer = held_write(server, member, f"{P}/models", f'{{"name": "{name}"}}'.encode(), ends)
    assert answer.status_code in (401, 403)
    assert owner.get(f"{P}/models/{name}").status_code == 404


def test_a_project_being_deleted_serves_no_objects_and_signs_nobody_in(server: Server) -> None:
    owner, project, bucket = server.http(), unique("p"), unique("b-")
    owner.post("/v1/projects", json={"projectId": project}).raise_for_status()
    owner.post("/storage/v1/b", params={"project": project}, json={"name": bucket}).raise_for_status()
    binding = {"role": "roles/storage.admin", "members": ["user:bob@example.com"]}
    owner.put(f"/storage/v1/b/{bucket}/iam", json={"bindings": [binding]}).raise_for_status()
    account = owner.post(f"/v1/projects/{project}/serviceAccounts", json={"accountId": "robot-1"}).json()
    robot = server.http(f"serviceAccount:{account['email']}")
    bob = server.http("user:bob@example.com")
    assert bob.get(f"/storage/v1/b/{bucket}/o").status_code == 200
    assert robot.get("/v1/projects").status_code == 200
    owner.delete(f"/v1/projects/{project}").raise_for_status()
    assert bob.get(f"/storage/v1/b/{bucket}/o").status_code == 403
    assert robot.get("/v1/projects").status_code == 401
    owner.post(f"/v1/projects/{project}:undelete").raise_for_status()
    assert bob.get(f"/storage/v1/b/{bucket}/o").status_code == 200
    assert robot.get("/v1/projects").status_code == 200


def test_rights_do_not_wait_for_an_account_that_is_made_later(server: Server) -> None:
    owner, project, model = server.http(), unique("p"), unique("m")
    owner.post(f"{P}/models", json={"name": model}).raise_for_status()
    email = f"robot-1@{project}.iam.gserviceaccount.com"
    policy = {"bindings": [{"role": "roles/ml.modelUser", "members": [f"serviceAccount:{email}"]}]}
    owner.post(f"{P}/models/{model}:setIamPolicy", json={"policy": policy}).raise_for_status()
    owner.post("/v1/projects", json={"projectId": project}).raise_for_status()
    owner.post(f"/v1/projects/{project}/serviceAccounts", json={"accountId": "robot-1"}).raise_for_status()
    assert server.http(f"serviceAccount:{email}").get(f"{P}/models/{model}").status_code == 403
    assert f"deleted:serviceAccount:{email}?uid=0" in owner.get(f"{P}/models/{model}:getIamPolicy").text


def test_two_credentials_are_none(server: Server) -> None:
    headers = [("Authorization", f"Bearer {server.token('user:eve@example.com')}"),
               ("Authorization", f"Bearer {server.token()}")]  # fmt: skip
    assert server.http(None).get(f"{P}/models", headers=headers).status_code == 401


def test_the_token_endpoint_says_nothing_about_accounts(server: Server) -> None:
    import base64
    import json

    def b64(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    account = new_account(server.http(), unique("sa-"))
    answers = set()
    for issuer in (account["email"], "nobody@example.com"):
        for kid in ("\ud800", "0" * 40, "x", ""):
            assertion = f"{b64({'alg': 'RS256', 'kid': kid})}.{b64({'iss': issuer})}.AAAA"
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
            answer = server.http(None).post("/token", data=form)
            answers.add((answer.status_code, answer.text))
    assert len(answers) == 1


# ------------------------------------------------------------------------------------------------------------- audit


def audit_rows(server: Server, resource: str) -> list[tuple[str, str, str, str | None]]:
    import sqlite3

    with sqlite3.connect(server.data_dir / "mlgate.db") as database:
        rows = database.execute(
            "SELECT method, principal, outcome, because FROM audit_entries WHERE resource = ? ORDER BY id", (resource,)
        ).fetchall()
    database.close()
    return rows


def test_the_audit_log_names_the_grant_that_allowed_and_not_one_that_the_call_made(server: Server) -> None:
    owner, bob, model = server.http(), "user:bob@example.com", unique("m")
    owner.post(f"{P}/models", json={"name": model}).raise_for_status()
    name = f"projects/{PROJECT}/models/{model}"
    policy = {"bindings": [{"role": "roles/ml.modelOwner", "members": [bob]}]}
    owner.post(f"/v1/{name}:setIamPolicy", json={"policy": policy}).raise_for_status()
    without_bob = {"bindings": [{"role": "roles/ml.modelUser", "members": ["user:carol@example.com"]}]}
    server.http(bob).post(f"/v1/{name}:setIamPolicy", json={"policy": without_bob}).raise_for_status()
    last = audit_rows(server, name)[-1]
    assert last[:3] == ("ml.projects.models.setIamPolicy", bob, "OK")
    assert last[3] is not None
    assert "roles/ml.modelOwner" in last[3]


def test_every_denied_admin_write_is_audited_also_one_for_what_the_body_names(server: Server) -> None:
    owner, model = server.http(), unique("m")
    owner.post(f"{P}/models", json={"name": model}).raise_for_status()
    name = f"projects/{PROJECT}/models/{model}"
    mal = "user:mal@example.com"
    assert server.http(mal).delete(f"/v1/{name}").status_code == 403
    policy = {"bindings": [{"role": "roles/ml.modelOwner", "members": [mal]}]}
    owner.post(f"/v1/{name}:setIamPolicy", json={"policy": policy}).raise_for_status()
    account = new_account(owner, unique("sa-"))
    version = {"name": "v", "deploymentUri": "gs://bucket-1/m", "runtimeVersion": "2.11", "pythonVersion": "3.7",
               "serviceAccount": account["email"]}  # fmt: skip
    assert server.http(mal).post(f"/v1/{name}/versions", json=version).status_code == 403
    until = time.monotonic() + 10
    wanted = {(name, "ml.projects.models.delete"), (account["name"], "ml.projects.models.versions.create")}
    while wanted:
        wanted -= {(r, row[0]) for r, _ in wanted for row in audit_rows(server, r) if row[2] == "PERMISSION_DENIED"}
        assert time.monotonic() < until, wanted
