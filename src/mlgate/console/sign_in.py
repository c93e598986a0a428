"""Signing in and out: the one part that knows how a person proves who they are.

Two ways: the one-time code of a link (`mlgate admin login-link`), and a token that the person pastes. The code stands
behind the `#` of the link, so it is never sent in an address or a Referer; the page takes it out of the history and
posts it. Either way the browser gets a cookie with a random id. It is SameSite=Strict: a page that was reached from
another site asks `/session` first, which its own request may, and goes on when somebody is signed in.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mlgate.cli.failure import Failure
from mlgate.console.client import ConsoleClient
from mlgate.console.sessions import Session, Sessions
from mlgate.core.wire import parse_timestamp

COOKIE = "mlgate_session"
STATIC = Path(__file__).parent / "static"
_TEMPLATE = (STATIC / "sign_in.html").read_text()
_MAX_FORM = 16 << 10


class SignIn:
    """The routes of signing in; `secure` says that browsers reach the console by https."""

    def __init__(self, sessions: Sessions, http: httpx.AsyncClient, *, secure: bool) -> None:
        self._sessions = sessions
        self._http = http
        self._secure = secure

    def routes(self) -> list[Route]:
        return [
            Route("/sign-in", self._form, methods=["GET"]),
            Route("/sign-in", self._enter, methods=["POST"]),
            Route("/sign-out", self._leave, methods=["POST"]),
            Route("/session", self._who, methods=["GET"]),
            Route("/console.css", lambda _: FileResponse(STATIC / "console.css"), methods=["GET"]),
            Route("/console.js", lambda _: FileResponse(STATIC / "console.js"), methods=["GET"]),
            Route("/sign-in.js", lambda _: FileResponse(STATIC / "sign_in.js"), methods=["GET"]),
            Route("/mark.svg", lambda _: FileResponse(STATIC / "mark.svg"), methods=["GET"]),
        ]

    def session_of(self, cookies: dict[str, str]) -> Session | None:
        return self._sessions.get(cookies.get(COOKIE, ""))

    async def _form(self, request: Request) -> Response:
        return _page(_local(request.query_params.get("next", "")))

    async def _enter(self, request: Request) -> Response:
        if int(request.headers.get("content-length") or _MAX_FORM + 1) > _MAX_FORM:
            return _page("/", "That was too long to be a token.", 413)
        form = await request.form(max_files=0, max_fields=10)
        code, token = str(form.get("code", "")).strip(), str(form.get("token", "")).strip()
        target = _local(str(form.get("next", "")))
        try:
            if code:
                opened = await ConsoleClient(self._http).open_session(code)
                bearer = opened["accessToken"]
            else:
                if not token.isascii() or not token.isprintable() or not token:
                    return _page(target, "Paste a token, as mlgate auth print-access-token prints it.", 400)
                opened, bearer = await ConsoleClient(self._http, token).session(), token
        except Failure as failure:
            return _page(target, failure.message, failure.http_status or 503)
        expires = parse_timestamp(opened["expireTime"]).timestamp()
        session = self._sessions.open(bearer, opened["principal"], expires)
        response = RedirectResponse(target, 303)
        response.set_cookie(
            COOKIE, session.id, expires=parse_timestamp(opened["expireTime"]), httponly=True, samesite="strict",
            secure=self._secure,
        )  # fmt: skip
        return response

    async def _leave(self, request: Request) -> Response:
        """End the session and the token behind it."""
        session = self.session_of(request.cookies)
        response = RedirectResponse("/sign-in", 303)
        if session is not None:
            try:
                await ConsoleClient(self._http, session.bearer).end_session()
            except Failure as failure:
                if failure.http_status != 401:
                    return _page("/", f"You are still signed in: {failure.message}", 503)
            self._sessions.close(session)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=self._secure)
        return response

    async def _who(self, request: Request) -> Response:
        session = self.session_of(request.cookies)
        if session is None:
            return JSONResponse({}, 401)
        return JSONResponse({"principal": session.principal, "expires": session.expires})


def sign_in_address(target: str) -> str:
    return f"/sign-in?next={quote(target, safe='')}"


def _page(target: str, error: str = "", status: int = 200) -> Response:
    told = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    html = _TEMPLATE.replace("{{error}}", told).replace("{{next}}", escape(target, quote=True))
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})


def _local(target: str) -> str:
    """A path of this console; "/" for what leads elsewhere."""
    parts = urlsplit(target)
    is_path = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if is_path and not parts.scheme and not parts.netloc else "/"
