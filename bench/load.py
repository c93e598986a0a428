"""A load generator: N keep-alive connections that each send the same request again as soon as it is answered.

Run as a process of its own (pinned to another core than the server): `python -m bench.load '{"url": ..., ...}'` prints
one JSON line. Counts only answers of status 200; anything else is an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, run: _Run) -> None:
        self.request, self.run = request, run
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._send()

    def _send(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = bytes(self.buffer[:head]).lower()
        at = lower.index(b"content-length:") + 15
        end = lower.find(b"\r\n", at)
        length = int(lower[at : end if end >= 0 else head])
        if len(self.buffer) < head + 4 + length:
            return
        self.run.answered(self.buffer[9:12] == b"200", time.perf_counter() - self.began)
        self.buffer.clear()
        if self.run.going:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.closed(exc)


class _Run:
    def __init__(self, connections: int) -> None:
        self.going, self.counting = True, False
        self.latencies: list[float] = []
        self.errors = 0
        self.open = connections
        self.done = asyncio.get_running_loop().create_future()

    def answered(self, ok: bool, seconds: float) -> None:
        if self.counting:
            if ok:
                self.latencies.append(seconds)
            else:
                self.errors += 1

    def closed(self, exc: Exception | None) -> None:
        self.open -= 1
        if self.going:
            self.errors += 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


async def drive(plan: dict[str, Any]) -> dict[str, Any]:
    """Load `url` for `seconds` after a warm-up, and count."""
    url = urlsplit(plan["url"])
    body = plan["body"].encode()
    lines = [f"POST {url.path} HTTP/1.1", f"Host: {url.netloc}", "Content-Type: application/json"]
    lines += [f"{k}: {v}" for k, v in plan.get("headers", {}).items()] + [f"Content-Length: {len(body)}", "", ""]
    request = "\r\n".join(lines).encode() + body
    run = _Run(plan["connections"])
    loop = asyncio.get_running_loop()
    for _ in range(plan["connections"]):
        await loop.create_connection(lambda: _Connection(request, run), url.hostname, url.port)
    await asyncio.sleep(plan.get("warmup", 1.0))
    run.counting, began = True, time.perf_counter()
    await asyncio.sleep(plan["seconds"])
    run.counting, elapsed = False, time.perf_counter() - began
    run.going = False
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
