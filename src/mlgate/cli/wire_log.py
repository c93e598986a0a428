"""`--log-http`: requests and responses on standard error, without anything secret."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})
_SECRET_FIELDS = frozenset({"access_token", "id_token", "refresh_token", "assertion", "private_key", "privateKeyData"})
_SECRET_QUERY = re.compile(r"((?:access_token|upload_id|key)=)[^&]+")
_HIDDEN = "--- redacted ---"
_MOST = 10_000


class WireLog:
    """Writes what goes over the wire."""

    def request(self, request: httpx.Request) -> None:
        self._write(f"=== request: {request.method} {_address(str(request.url))}")
        self._headers(request.headers)
        kind = request.headers.get("content-type", "")
        if kind.startswith("application/x-www-form-urlencoded"):
            self._write(_HIDDEN)
        else:
            self.body(request.content)

    def response(self, response: httpx.Response) -> None:
        self._write(f"=== response: {response.status_code} {response.reason_phrase}")
        self._headers(response.headers)

    def body(self, content: bytes) -> None:
        """A body: JSON without its secret fields, anything else by its size alone."""
        if not content:
            return
        try:
            shown = json.dumps(_without_secrets(json.loads(content)), indent=2)
        except ValueError:
            shown = f"({len(content)} bytes)"
        self._write(shown if len(shown) <= _MOST else shown[:_MOST] + f"\n... ({len(content)} bytes)")

    def _headers(self, headers: httpx.Headers) -> None:
        for name, value in headers.items():
            hidden = name.lower() in _SECRET_HEADERS
            self._write(f"{name}: {_HIDDEN if hidden else _address(value)}")

    @staticmethod
    def _write(text: str) -> None:
        print(text, file=sys.stderr)


def _address(text: str) -> str:
    return _SECRET_QUERY.sub(lambda match: match.group(1) + _HIDDEN, text)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _HIDDEN if k in _SECRET_FIELDS else _without_secrets(v) for k, v in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value
