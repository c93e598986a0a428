"""The API as the command line sees it: each call by its method id, its verb and path taken from the method table.

httpx and the table load on the first call, so that help and completion answer at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from mlgate import __version__
from mlgate.cli import configuration, credentials
from mlgate.cli.failure import Failure, from_answer

if TYPE_CHECKING:
    import httpx

    from mlgate.api.method import Method
    from mlgate.cli.wire_log import WireLog

Query = Mapping[str, str | int | bool | list[str] | None]
_TABLES = {"cloudresourcemanager": "resourcemanager"}
_CONNECT_SECONDS, _READ_SECONDS = 10, 300


def _httpx() -> Any:
    """httpx without its own command line, whose imports take longer than the rest of it."""
    if "httpx" not in sys.modules:
        sys.modules["httpx._main"] = None  # type: ignore[assignment]  # httpx does without when it cannot be imported
        try:
            import_module("httpx")
        finally:
            del sys.modules["httpx._main"]
    return sys.modules["httpx"]


def method_row(method_id: str, path: Mapping[str, str], within: str = "", http: str = "") -> Method:
    """The table's row for a method and the parameters of its path; `within` (the beginning of the path) and `http`
    choose where a method has several addresses."""
    api = method_id.partition(".")[0]
    rows = import_module(f"mlgate.api.methods.{_TABLES.get(api, api)}").ROWS
    for row in rows:
        if row.id != method_id:
            continue
        if row.path.startswith(within) and http in ("", row.http) and _fits(row, path):
            return row  # type: ignore[no-any-return]
    raise LookupError(f"the method table has no {method_id} for {dict(path)}")


def _fits(row: Method, path: Mapping[str, str]) -> bool:
    variables = row.template.variables
    return {v.name for v in variables} == set(path) and all(
        "/" not in v.pattern or path[v.name].count("/") == v.pattern.count("/") for v in variables
    )


class Client:
    """One server, as one person or service."""

    def __init__(self, project: str = "", log: WireLog | None = None) -> None:
        self._project = project
        self._log = log

    @cached_property
    def server(self) -> str:
        server = configuration.require("server").rstrip("/")
        if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).hostname:
            raise Failure("INVALID_ARGUMENT", f'The server "{server}" is no address such as https://ml.example.com.')
        return server

    @property
    def project(self) -> str:
        """The project id: of --project, else of the environment, else the saved one."""
        return self._project or configuration.require("project")

    @property
    def bearer(self) -> str:
        """The token for the next request: asked for each time, because a long wait may outlive one."""
        return credentials.bearer(self.post_form)

    # --------------------------------------------------------------------------------------------------- API calls

    def call(self, method_id: str, /, body: Any = None, query: Query | None = None, **path: str) -> dict[str, Any]:
        """Call a method and return its answer. Raises Failure for any answer that is an error."""
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        return self.parsed(self.send(method_row(method_id, path), path, query, content, headers))

    def listed(
        self, method_id: str, /, field: str, query: Query | None = None, limit: int | None = None, **path: str
    ) -> list[dict[str, Any]]:
        """All items of a list method, over all its pages, or the first `limit`."""
        items: list[dict[str, Any]] = []
        given = {k: v for k, v in (query or {}).items() if v is not None}
        while True:
            answer = self.call(method_id, query=given, **path)
            items += answer.get(field, [])
            token = answer.get("nextPageToken")
            if not token or (limit is not None and len(items) >= limit):
                return items[:limit]
            given["pageToken"] = token

    def send(
        self,
        row: Method,
        path: Mapping[str, str],
        query: Query | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request of a method, its answer read to the end, unjudged."""
        with self.stream(row, path, query, content, headers) as response:
            response.read()
        if self._log:
            self._log.body(response.content)
        return response

    @contextmanager
    def stream(
        self,
        row: Method,
        path: Mapping[str, str],
        query: Query | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx.Response]:
        """One request of a method, its answer to be read by the caller."""
        url = f"{self.server}/{row.template.fill(path, lambda text: quote(text, safe=''))}"
        given = {k: str(v).lower() if isinstance(v, bool) else v for k, v in (query or {}).items() if v is not None}
        headers = {"Authorization": f"Bearer {self.bearer}", **(headers or {})}
        with self._request(row.http, url, params=given, content=content, headers=headers) as response:
            yield response

    def post_form(self, url: str, form: Mapping[str, str]) -> Any:
        """The token endpoint's kind of call: no bearer, a form in, JSON out."""
        with self._request("POST", url, data=dict(form)) as response:
            response.read()
        return self.parsed(response)

    @staticmethod
    def parsed(response: httpx.Response) -> dict[str, Any]:
        """The JSON of an answer. Raises Failure for an error, and for what is no JSON object."""
        try:
            body = json.loads(response.content) if response.content else {}
        except ValueError:
            body = response.text
        if not response.is_success or not isinstance(body, dict):
            raise from_answer(response.status_code, body)
        return body

    # ------------------------------------------------------------------------------------------------------- HTTP

    @cached_property
    def _http(self) -> httpx.Client:
        httpx, address = _httpx(), urlsplit(self.server)
        local = address.hostname in ("localhost", "127.0.0.1", "::1")
        return httpx.Client(  # type: ignore[no-any-return]
            timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=not local,  # a proxy cannot reach this machine's own loopback
            verify=address.scheme == "https",  # without TLS, reading the certificates would be time lost
            headers={"User-Agent": f"mlgate/{__version__}"},
        )

    def close(self) -> None:
        if "_http" in self.__dict__:
            self._http.close()

    @contextmanager
    def _request(self, verb: str, url: str, **options: Any) -> Iterator[httpx.Response]:
        httpx = _httpx()
        request = self._http.build_request(verb, url, **options)
        if self._log:
            self._log.request(request)
        try:
            response = self._http.send(request, stream=True)
            if self._log:
                self._log.response(response)
            try:
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise Failure("UNAVAILABLE", f"{self.server} does not answer ({why}). Is the server running?") from error
