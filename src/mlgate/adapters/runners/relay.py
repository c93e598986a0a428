"""A job's requests: what is answered here, what goes on to the server, what goes out, what is refused.

What goes on is written anew from what was understood of the request, without the job's credentials and with the token
of its account; see gateway.py and routes.py.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from mlgate.adapters.runners import batches, routes, wire
from mlgate.adapters.runners.exchange import HOP_BY_HOP, Exchange, chunk
from mlgate.adapters.runners.origins import Origin, Reach, absolute, origin_of
from mlgate.adapters.runners.wire import Head

UPSTREAM_SECONDS = 600.0
#: What a job cannot say to the server: who it is, whom it asks, how the message is framed.
_DROPPED = HOP_BY_HOP | {
    "host", "expect", "authorization", "cookie", "forwarded", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-proto", "x-http-method-override",
}  # fmt: skip


class Relay:
    """Answers requests for one job. `own` is the address under which the job finds its gateway."""

    def __init__(
        self,
        upstream: str,
        token: Callable[[], str],
        *,
        account: str,
        project: str,
        public_url: str,
        own: Origin,
        reach: Reach,
    ) -> None:
        self._upstream = urlsplit(upstream)
        self._token = token
        self._account, self._project = account, project
        self._links = tuple(url.rstrip("/") for url in (upstream, public_url) if url)
        self._own, self._reach = own, reach

    def answer(self, exchange: Exchange, tunnel: Origin | None) -> None:
        """Answer a request. Raises Malformed before anything of it went on, Gone."""
        head = exchange.head
        origin, target = tunnel or self._meant(head), head.target
        if not target.startswith("/"):
            origin, target = absolute(target, tunnel)
            if origin != tunnel and not self._reach.is_here(origin.host) and origin != self._own:
                self._forward(exchange, origin, target)
                return
        path, _, query = target.partition("?")
        own = routes.own_answer(head.method, path, query, head.header("metadata-flavor"), self._account, self._project)
        if own is not None:
            exchange.drain()
            exchange.answer(own)
            return
        if path.startswith("/computeMetadata"):
            exchange.refuse(404, "There is no such metadata.")
            return
        if routes.is_batch(head.method, path):
            payload, kind = batches.rebuilt(exchange.whole(batches.MAX_BYTES), head.header("content-type"))
            self._relay(exchange, origin, path, iter([payload]), len(payload), kind)
            return
        if named := routes.plain_object(origin.host, head.method, path):
            path = "/download/storage/v1/b/{}/o/{}".format(*named)
            query = "&".join(filter(None, (query, "alt=media")))
        if not routes.is_allowed(head.method, path):
            exchange.refuse(403, f'A job may not call "{head.method} {path[:200]}" through its gateway.')
            return
        clean = routes.without_credentials(query)
        self._relay(exchange, origin, path + ("?" + clean if clean else ""), exchange.body(), head.length)

    def _meant(self, head: Head) -> Origin:
        """Whom a plain request was meant for. Its Host is believed where that is one of the names, and changes nothing
        but the links in the answer."""
        origin = origin_of("http", head.header("host"))
        return origin if origin and self._reach.is_here(origin.host) else self._own

    def _relay(
        self,
        exchange: Exchange,
        origin: Origin,
        target: str,
        body: Iterator[bytes],
        length: int | None,
        kind: str | None = None,
    ) -> None:
        """Send a request to the server as the job's account, and its answer back."""
        try:
            token = self._token()
        except Exception:  # noqa: BLE001 - the keeper's business; to the job the server is not there for a moment
            exchange.refuse(503, "There is no token for the job's account at the moment.")
            return
        headers = [("Host", origin.authority), ("Authorization", f"Bearer {token}")]
        headers += [pair for pair in exchange.head.headers if _goes_on(pair[0], exchange.head)]
        if kind is not None:
            headers = [pair for pair in headers if pair[0] != "content-type"] + [("Content-Type", kind)]
        there = _connection(self._upstream.scheme, self._upstream.hostname or "", self._upstream.port)
        self._exchange(exchange, there, target, headers, body, length, origin)

    def _forward(self, exchange: Exchange, origin: Origin, target: str) -> None:
        """Send a plain request out to a host that the job may reach, without a token."""
        if not self._reach.is_open(origin.host):
            exchange.refuse(403, f'A job has no network but its own server: "{origin.authority}" is out of reach.')
            return
        try:
            there = _connection("http", self._reach.address(origin), origin.port)
        except OSError as error:
            exchange.refuse(502, f"There is no way to {origin.host}: {error}.")
            return
        headers = [("Host", origin.authority)]
        headers += [pair for pair in exchange.head.headers if pair[0] == "authorization" or pair[0] not in _DROPPED]
        self._exchange(exchange, there, target, headers, exchange.body(), exchange.head.length, None)

    def _exchange(
        self,
        exchange: Exchange,
        there: http.client.HTTPConnection,
        target: str,
        headers: list[tuple[str, str]],
        body: Iterator[bytes],
        length: int | None,
        origin: Origin | None,
    ) -> None:
        try:
            try:
                there.putrequest(exchange.head.method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in headers:
                    there.putheader(name, value.encode("latin-1"))
                there.putheader("Connection", "close")
                _send(there, body, length)
            except (BrokenPipeError, ConnectionResetError):
                if exchange.is_broken or there.sock is None:  # the caller hung up, or nothing was begun
                    raise
                # else the server has answered before it read everything, and hung up
            answer = there.getresponse()
        except (OSError, http.client.HTTPException):
            exchange.refuse(503, "The server cannot be reached at the moment.")
            return
        finally:
            if exchange.is_broken:
                there.close()
        with answer:
            exchange.pass_on(answer, lambda location: self._location(location, origin))
        there.close()

    def _location(self, location: str, origin: Origin | None) -> str:
        """An address in an answer as the caller must write it to come here again."""
        if origin is None:
            return location
        for link in (f"http://{origin.authority}", *self._links):
            if location == link or location.startswith(link + "/"):
                return f"{origin.scheme}://{origin.authority}" + location.removeprefix(link)
        return location


def _goes_on(name: str, head: Head) -> bool:
    named = {one.strip() for one in head.header("connection").lower().split(",")}
    return name not in _DROPPED and name not in named


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    return kind(host, port, timeout=UPSTREAM_SECONDS, blocksize=wire.PIECE)


def _send(there: http.client.HTTPConnection, body: Iterator[bytes], length: int | None) -> None:
    if length is None:
        there.putheader("Transfer-Encoding", "chunked")
    elif length or there._method not in ("GET", "HEAD", "DELETE"):  # type: ignore[attr-defined]
        there.putheader("Content-Length", str(length))
    there.endheaders()
    for piece in body:
        there.send(chunk(piece) if length is None else piece)
    if length is None:
        there.send(b"0\r\n\r\n")
