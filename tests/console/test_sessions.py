"""Signing in, and the ends of a session: by hand, by time, by the API; a restart under an open page."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
from playwright.sync_api import Browser, expect

from mlgate.console.sessions import Sessions
from tests.console.people import ConsoleServer, someone
from tests.harness import OWNER, PROJECT
from tests.http.people import tokens

ENDED = "Your session has ended"


def test_a_link_signs_in_once_and_leaves_no_trace(console: ConsoleServer, browser: Browser) -> None:
    context = browser.new_context()
    page, link = context.new_page(), console.login_link(OWNER)
    code = link.partition("code=")[2]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer', '')}"))
    page.goto(link)
    page.wait_for_url("**/models")
    assert not [line for line in asked if code in line]
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")[2] == ""
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
    page.get_by_role("button", name="Account of ada@example.com").click()
    expect(page.get_by_text(f"Signed in as {OWNER}")).to_be_visible()
    stored = [file.read_bytes() for file in (console.data_dir / "sessions").iterdir()]
    assert stored
    assert not any(b"mlgate_" in content or b"ada" in content for content in stored)
    for everything in ("localStorage", "sessionStorage"):
        assert "mlgate_" not in page.evaluate(f"JSON.stringify({everything})")
    assert code not in console.log()

    again = context.browser.new_context().new_page()  # type: ignore[union-attr]
    again.goto(link)
    expect(again.get_by_role("alert")).to_contain_text("was used")
    again.context.close()
    context.close()


def test_a_pasted_token_signs_in_and_signing_out_ends_it(console: ConsoleServer, browser: Browser) -> None:
    context = browser.new_context()
    page, token = context.new_page(), tokens(console, [OWNER])[OWNER]
    page.goto(f"{console.console}/projects/{PROJECT}/storage")
    page.get_by_label("Access token").fill("nonsense")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("unknown or has expired")
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/storage")  # where the person was going
    second = context.new_page()
    second.goto(f"{console.console}/projects/{PROJECT}/models")
    expect(second.get_by_role("link", name="cancer")).to_be_visible()
    page.get_by_role("button", name="Account of ada@example.com").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to mlgate")).to_be_visible()
    expect(second.get_by_text(ENDED)).to_be_visible()  # every open page is told
    assert httpx.get(f"{console.url}/session", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    second.goto(f"{console.console}/projects/{PROJECT}/models")
    expect(second.get_by_role("heading", name="Sign in to mlgate")).to_be_visible()
    context.close()


def test_the_end_of_a_token_is_told_on_the_page(console: ConsoleServer, browser: Browser) -> None:
    context = browser.new_context()
    page, token = context.new_page(), tokens(console, [OWNER])[OWNER]
    page.goto(f"{console.console}/sign-in?next=/projects/{PROJECT}/models?selected=cancer%26panel=permissions")
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Add members").fill("bob@example.com")
    httpx.post(f"{console.url}/session:end", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text(ENDED)).to_be_visible()
    page.get_by_role("button", name="Look at the page").click()
    expect(page.get_by_label("Add members")).to_have_value("bob@example.com")
    context.close()


def test_a_session_ends_when_its_token_does(console: ConsoleServer, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(console.link(OWNER, 2))
    over = page.get_by_text(ENDED).or_(page.get_by_role("heading", name="Sign in to mlgate"))
    expect(over).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Sign in to mlgate")).to_be_visible()
    page.context.close()


def test_a_session_opens_with_its_id_alone(tmp_path: Path) -> None:
    session = Sessions(tmp_path).open("mlgate_secret", OWNER, time.time() + 60)
    found = Sessions(tmp_path).get(session.id)
    assert found is not None
    assert (found.bearer, found.principal) == ("mlgate_secret", OWNER)
    assert Sessions(tmp_path).get(session.id[:-1] + "x") is None
    assert b"secret" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    over = Sessions(tmp_path).open("mlgate_old", OWNER, time.time() - 1)
    assert Sessions(tmp_path).get(over.id) is None


def test_nobody_gets_in_without_a_session_or_from_another_site(console: ConsoleServer) -> None:
    with httpx.Client(base_url=console.console) as http:
        for path in ("/", f"/projects/{PROJECT}/models", "/download/ada-models/cancer/v1/model.joblib"):
            answer = http.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in?next=")
        for path in ("/_nicegui/client/x/upload/1", "/_nicegui_ws/socket.io/"):
            assert http.get(path).status_code == 401
        elsewhere = {"Origin": "https://evil.example"}
        for origin in (elsewhere, {"Origin": "null"}, {}):
            assert http.post("/sign-in", data={"token": "x"}, headers=origin).status_code == 403
        for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
            token = {"token": tokens(console, [OWNER])[OWNER], "next": target}
            answer = http.post("/sign-in", data=token, headers={"Origin": console.console})
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
        headers = http.get("/sign-in").headers
        assert "'unsafe-inline'" not in headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
        assert headers["x-frame-options"] == "DENY"


def test_an_open_page_survives_a_restart_of_the_server(console: ConsoleServer, browser: Browser) -> None:
    with someone(browser, console) as ada:
        ada.go(f"/projects/{PROJECT}/models")
        console.settings["MLGATE_CONSOLE_PORT"] = console.console.rpartition(":")[2]
        console.stop()
        expect(ada.page.get_by_text("Connection lost")).to_be_visible()
        console.start(console.port())
        expect(ada.page.get_by_text("Connection lost")).to_be_hidden()
        expect(ada.page.get_by_role("link", name="churn")).to_be_visible()
        ada.page.get_by_role("link", name="churn").click()
        expect(ada.page.get_by_role("heading", name="churn")).to_be_visible()  # still signed in
