"""The console's process: NiceGUI behind a gate that lets nobody in without a session, and sets the headers."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
import uvicorn
from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from mlgate.console.client import new_http
from mlgate.console.frame import Frame
from mlgate.console.sessions import Session, Sessions
from mlgate.console.sign_in import SignIn, sign_in_address
from mlgate.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger("mlgate.console")

#: What is served to everybody: signing in, and the program's own scripts and styles.
_OPEN = ("/sign-in", "/sign-out", "/session", "/console.css", "/console.js", "/sign-in.js", "/mark.svg", "/favicon.ico")
_NICEGUI = "/_nicegui/"
_PRIVATE = ("/_nicegui/client/", "/_nicegui_ws/")
#: eval is NiceGUI's: Vue compiles its templates in the browser. See docs/decisions/013-console.md.
_POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=()"),
)


def run(settings: Settings, listening: socket.socket, sessions_dir: Path) -> None:
    """Serve the console on a socket that listens already, until SIGTERM."""
    config = uvicorn.Config(
        build(settings, sessions_dir),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        ws="websockets-sansio",
        ws_max_size=16 << 20,
    )
    uvicorn.Server(config).run(sockets=[listening])


def build(settings: Settings, sessions_dir: Path) -> Asgi:
    logging.getLogger("nicegui").addHandler(_ToStructlog())
    logging.getLogger("nicegui").propagate = False
    http = new_http(_api_url(settings))
    sessions = Sessions(sessions_dir)
    sign_in = SignIn(sessions, http, secure=settings.console_url.startswith("https://"))
    frame = Frame(http, sessions, settings.public_url or _api_url(settings))
    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    outer.router.routes.extend([*sign_in.routes(), *frame.routes()])
    ui.run_with(
        outer,
        root=frame.page,
        title="mlgate",
        favicon=Path(__file__).parent / "static" / "mark.svg",
        dark=None,
        language="en-US",
        tailwind=False,
        gzip_middleware_factory=None,
        binding_refresh_interval=None,
        reconnect_timeout=30.0,
        show_welcome_message=False,
    )
    nicegui_app.config.quasar_config["loadingBar"]["skipHijack"] = True  # a bar without a name for screen readers
    nicegui_app.on_shutdown(http.aclose)
    return GZipMiddleware(Headers(Gate(outer, sign_in, settings.console_url)), minimum_size=500, compresslevel=5)


class Gate:
    """Lets a request pass that has a session, puts it into the scope, and sends others to sign in. What changes
    something, and every websocket, must come from a page of this console."""

    def __init__(self, inner: Asgi, sign_in: SignIn, console_url: str) -> None:
        self._inner = inner
        self._sign_in = sign_in
        self._host = urlsplit(console_url).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._inner(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401})
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        path: str = scope["path"]
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and not self._is_ours(headers):
            return PlainTextResponse("This was not sent by a page of the console.", 403)
        scope["mlgate.session"] = session = self._session(headers)
        is_open = path in _OPEN or (path.startswith(_NICEGUI) and not path.startswith(_PRIVATE))
        if is_open or session is not None:
            return None
        if scope["type"] == "http" and scope["method"] == "GET" and not path.startswith(_PRIVATE):
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(sign_in_address(path + (f"?{query}" if query else "")), 303)
        return PlainTextResponse("Sign in first.", 401)

    def _is_ours(self, headers: dict[str, str]) -> bool:
        return urlsplit(headers.get("origin", "")).netloc in (headers.get("host"), self._host or headers.get("host"))

    def _session(self, headers: dict[str, str]) -> Session | None:
        try:
            cookies = {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
        except CookieError:
            return None
        return self._sign_in.session_of(cookies)


class Headers:
    """The headers of every answer, and the nonce of the scripts that a page of the console itself contains."""

    def __init__(self, inner: Asgi) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        nonce, held, page = secrets.token_urlsafe(16), dict[str, Any](), bytearray()
        policy = _POLICY.format(nonce=nonce).encode()
        # a form that is sent under no-referrer has no Origin, by which the gate knows it
        referrer = b"same-origin" if scope["path"] == "/sign-in" else b"no-referrer"
        own = (*_HEADERS, (b"referrer-policy", referrer), (b"content-security-policy", policy))

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *own]
                start = {**message, "headers": headers}
                if any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                    held.update(start)
                else:
                    await send(start)
            elif not held:
                await send(message)
            else:
                page.extend(message.get("body", b""))
                if not message.get("more_body"):
                    body = bytes(page).replace(b"<script", b'<script nonce="%s"' % nonce.encode())
                    kept = [(name, value) for name, value in held["headers"] if name != b"content-length"]
                    await send({**held, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
                    await send({**message, "body": body})

        await self._inner(scope, receive, sending)


class _ToStructlog(logging.Handler):
    """NiceGUI's own messages in our log, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        getattr(log, level if level in ("debug", "info", "warning", "error") else "error")(
            record.getMessage(), exc_info=record.exc_info
        )


def _api_url(settings: Settings) -> str:
    """The API as this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
