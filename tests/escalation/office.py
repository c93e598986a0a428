"""A server in this process: calls go through the same door as over HTTP, and need no network."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mlgate.adapters.identity.tokens import new_token
from mlgate.api.call import Head, Request, Services
from mlgate.app.api import services as services_of
from mlgate.http.asgi import App
from mlgate.settings import Settings

URL = "http://here.example"


class AtOnce(Executor):
    """Does what it is given before it answers: with one caller there is nobody to wait for a thread."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # handed on, as a thread would
            done.set_exception(error)
        return done


class _Given:
    """A request's body."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, _: int) -> bytes:
        return self._data

    async def stream(self) -> AsyncIterator[bytes]:
        if self._data:
            yield self._data


class Office:
    def __init__(self, data_dir: Path, catalogue: str) -> None:
        settings = Settings(data_dir=str(data_dir), role_catalogue=catalogue, public_url=URL)
        self.services: Services = replace(services_of(settings, {}), executor=AtOnce())
        self._app = App(self.services)
        self._runner = asyncio.Runner()
        make_key = cache(self.services.identity.make_key)  # one pair for all keys: making them is all that is slow
        self.services.identity.make_key = make_key  # type: ignore[method-assign]

    def close(self) -> None:
        async def receive() -> dict[str, str]:
            return {"type": "lifespan.shutdown"}

        async def send(_: object) -> None: ...

        self._runner.run(self._app({"type": "lifespan"}, receive, send))
        self._runner.close()
        self.services.store.close()

    def sign_in(self, principal: str) -> str:
        """A token, as `mlgate admin token` makes it."""
        with self.services.store.write() as tx:
            account = tx.fact("account", principal.partition(":")[2]) or {}
            return new_token(tx, principal, datetime.now(UTC) + timedelta(hours=1), account.get("uid", ""))

    def use(self, app: App) -> None:
        """Let another door take the calls."""
        self._app = app

    def raw(
        self, bearer: str, http: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[int, bytes]:
        """Status and answer. The path is encoded already; a body of bytes is a form."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""

        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        headers |= {"content-length": str(len(data)), "content-type": "application/json"}
        pairs = list((query or {}).items())
        request = Request(Head(http, f"/{path}", pairs, headers, URL), _Given(data), "request")

        async def answered() -> tuple[int, bytes]:
            response = await self._app.answer(request)
            if isinstance(response.body, bytes):
                return response.status, response.body
            return response.status, b"".join([chunk async for chunk in response.body])

        return self._runner.run(answered())

    def call(
        self, bearer: str, http: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[int, Any]:
        """Status and JSON answer."""
        status, answer = self.raw(bearer, http, path, query, body)
        return status, json.loads(answer) if answer else {}

    def done(self, bearer: str, http: str, path: str, body: Any = None, **query: str) -> Any:
        status, answer = self.call(bearer, http, path, query, body)
        assert status in (200, 204), f"{http} {path} {urlencode(query)}: {status} {answer}"
        return answer


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory where there is one: these databases need not survive anything."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="escalation", dir=memory if memory.is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
