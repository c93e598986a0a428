"""A load generator: keep-alive connections that each ask again as soon as they are answered.

Run as a process of its own (pinned to another core than the server), `python -m bench.serving.load` reads a plan as
JSON from its input, sends the same request again and again, and prints one JSON line. Answers of status 200 count,
anything else is an error. `Connection` also serves whoever asks for something else each time (mixed.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit


class Asker(Protocol):
    """What a connection asks, and what becomes of the answers."""

    def next(self) -> bytes | None:
        """The next request; None closes the connection."""

    def answered(self, status: int, body: bytes, seconds: float) -> None: ...

    def closed(self, is_waiting: bool) -> None:
        """The connection ended; `is_waiting` when a request on it was not answered."""


class Connection(asyncio.Protocol):
    """One request at a time. Answers must have a Content-Length: any other ends the connection."""

    def __init__(self, asker: Asker) -> None:
        self.began = 0.0
        """When the request that waits was sent; 0 while none does."""
        self._asker = asker
        self._incoming = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def abort(self) -> None:
        self._transport.abort()

    def _ask(self) -> None:
        request = self._asker.next()
        if request is None:
            self._transport.close()
        else:
            self.began = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        incoming = self._incoming
        incoming += data
        head = incoming.find(b"\r\n\r\n")
        if head < 0:
            return
        length = content_length(bytes(incoming[:head]))
        if length is None:
            self.abort()
        elif len(incoming) >= head + 4 + length:
            seconds, self.began = time.perf_counter() - self.began, 0.0
            status, body = int(incoming[9:12]), bytes(incoming[head + 4 : head + 4 + length])
            incoming.clear()
            self._asker.answered(status, body, seconds)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._asker.closed(bool(self.began))


def content_length(head: bytes) -> int | None:
    """Of an answer's head; None when it does not say."""
    at = (lower := head.lower()).find(b"\r\ncontent-length:")
    if at < 0:
        return None
    end = lower.find(b"\r\n", at + 2)
    return int(lower[at + 17 : end if end >= 0 else len(lower)])


def request(url: SplitResult, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST of JSON, as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {url.netloc}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class _Run:
    """All connections of a plan: the same request each time."""

    def __init__(self, request: bytes, connections: int) -> None:
        self.is_going, self.is_counting = True, False
        self.latencies: list[float] = []
        self.errors = 0
        self._request = request
        self._open = connections
        self.done = asyncio.get_running_loop().create_future()

    def next(self) -> bytes | None:
        return self._request if self.is_going else None

    def answered(self, status: int, body: bytes, seconds: float) -> None:
        if self.is_counting and status == 200:
            self.latencies.append(seconds)
        elif self.is_counting:
            self.errors += 1

    def closed(self, is_waiting: bool) -> None:
        self._open -= 1
        if self.is_going:
            self.errors += 1
        if not self._open and not self.done.done():
            self.done.set_result(None)


async def drive(plan: dict[str, Any]) -> dict[str, Any]:
    """Load `url` for `seconds` after a warm-up, and count."""
    url = urlsplit(plan["url"])
    run = _Run(request(url, url.path, plan.get("headers", {}), plan["body"].encode()), plan["connections"])
    loop = asyncio.get_running_loop()
    for _ in range(plan["connections"]):
        await loop.create_connection(lambda: Connection(run), url.hostname, url.port)
    await asyncio.sleep(plan.get("warmup", 1.0))
    run.is_counting, began = True, time.perf_counter()
    await asyncio.sleep(plan["seconds"])
    run.is_counting, elapsed = False, time.perf_counter() - began
    run.is_going = False
    await asyncio.wait_for(run.done, 30)
    taken = sorted(run.latencies) or [0.0]
    return {
        "per_second": len(run.latencies) / elapsed,
        "p50_ms": taken[len(taken) // 2] * 1e3,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1e3,
        "errors": run.errors,
    }


def main() -> None:
    plan = json.loads(sys.stdin.read())
    if plan.get("cpu") is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan["cpu"]})
    import uvloop

    print(json.dumps(uvloop.run(drive(plan))))


if __name__ == "__main__":
    main()
