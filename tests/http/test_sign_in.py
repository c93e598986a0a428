"""Signing in by a one-time code, asking who one is, signing out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from mlgate.api.handlers.sign_in import new_code
from tests.harness import OWNER, Server, mlgate
from tests.http.people import Api, error_of, tokens, writing

BOB = "user:bob@example.com"


def _code(server: Server, *, minutes: float = 10, principal: str = BOB) -> str:
    code, now = f"code-{datetime.now(UTC).timestamp()}", datetime.now(UTC)
    with writing(server) as tx:
        new_code(tx, code, principal, 3600.0, now, now + timedelta(minutes=minutes))
    return code


def _open(server: Server, code: str) -> httpx.Response:
    return httpx.post(f"{server.url}/session:open", json={"code": code})


def _session(server: Server, bearer: str) -> httpx.Response:
    return httpx.get(f"{server.url}/session", headers={"Authorization": f"Bearer {bearer}"})


def test_a_link_has_a_code_that_opens_one_session(server: Server) -> None:
    link = mlgate("admin", "login-link", BOB, "--data-dir", str(server.data_dir), "--lifetime", "600s").stdout.strip()
    address, _, code = link.partition("#code=")
    assert address.endswith("/sign-in")
    opened = _open(server, code)
    assert opened.headers["cache-control"] == "no-store"
    session = opened.json()
    assert session["principal"] == BOB
    told = _session(server, session["accessToken"]).json()
    assert told == {"principal": BOB, "expireTime": session["expireTime"]}
    left = datetime.fromisoformat(told["expireTime"]) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=600)
    again = _open(server, code)
    assert error_of(again)["status"] == "UNAUTHENTICATED"
    with writing(server) as tx:
        assert not [record for record in tx.find("loginCode") if code in str(record)]


@pytest.mark.parametrize("code", ["", "guess", "x" * 3000, "\\ud800"])
def test_a_code_that_was_not_given_out_opens_nothing(server: Server, code: str) -> None:
    body = f'{{"code": "{code}"}}'.encode()
    assert httpx.post(f"{server.url}/session:open", content=body).status_code in (400, 401)


def test_a_code_ends_after_its_time(server: Server) -> None:
    assert _open(server, _code(server, minutes=-0.1)).status_code == 401


def test_ending_a_session_ends_its_token_and_no_other(server: Server) -> None:
    with Api(server) as api:
        api.sign_in([OWNER])
        first, second = _open(server, _code(server)).json()["accessToken"], tokens(server, [BOB])[BOB]
        ended = httpx.post(f"{server.url}/session:end", headers={"Authorization": f"Bearer {first}"})
        assert ended.status_code == 200
        assert error_of(_session(server, first))["status"] == "UNAUTHENTICATED"
        assert _session(server, second).status_code == 200
        assert api(OWNER, "GET", "/session").status_code == 200
        assert httpx.post(f"{server.url}/session:end").status_code == 401


def test_an_ended_token_is_refused_by_every_process(make_server) -> None:  # type: ignore[no-untyped-def]
    server = make_server(workers=2)
    bearer = server.token(BOB)
    for _ in range(20):
        assert _session(server, bearer).status_code == 200  # both have seen it
    httpx.post(f"{server.url}/session:end", headers={"Authorization": f"Bearer {bearer}"}).raise_for_status()
    assert {_session(server, bearer).status_code for _ in range(20)} == {401}


def test_a_link_is_for_a_person(server: Server) -> None:
    account = "serviceAccount:x@demo-project.iam.gserviceaccount.com"
    done = mlgate("admin", "login-link", account, "--data-dir", str(server.data_dir), check=False)
    assert done.returncode == 1
    assert "a link is for a person" in done.stderr
