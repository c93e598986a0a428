"""The prototype's front: granian relays each body, unparsed, over one unix socket to one worker process.

It has no sign-in, no decision, no audit and no limits: what it costs is what the path costs at least. A frame to the
worker is `length, number, length of the name, name, body`, one from it `length, number, status, body`; a length counts
what follows it.
"""

import asyncio
import os
import socket
import struct
import subprocess
import sys
from typing import Any

REQUEST = struct.Struct("<IIB")
ANSWER = struct.Struct("<IIH")
WORKER = os.path.join(os.path.dirname(__file__), "prototype_worker.py")
HEADERS = [("content-type", "application/json")]
BEFORE, AFTER = len("/v1/models/"), len(":predict")


class Link(asyncio.Protocol):
    def __init__(self) -> None:
        self.incoming = bytearray()
        self.waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self.number = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()

    def ask(self, name: bytes, body: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self.number = number = (self.number + 1) & 0xFFFFFFFF
        answered = self.waiting[number] = self.loop.create_future()
        self.transport.write(REQUEST.pack(5 + len(name) + len(body), number, len(name)) + name + body)
        return answered

    def data_received(self, data: bytes) -> None:
        incoming, start = self.incoming, 0
        incoming += data
        while len(incoming) - start >= ANSWER.size:
            length, number, status = ANSWER.unpack_from(incoming, start)
            end = start + 4 + length
            if len(incoming) < end:
                break
            answered = self.waiting.pop(number, None)
            if answered and not answered.done():
                answered.set_result((status, bytes(incoming[start + ANSWER.size : end])))
            start = end
        del incoming[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        for answered in self.waiting.values():
            if not answered.done():
                answered.set_exception(ConnectionError("the worker ended"))


class App:
    def __init__(self) -> None:
        self.link: Link | None = None
        self.starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        subprocess.Popen([sys.executable, WORKER, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()
        _, self.link = await asyncio.get_running_loop().create_connection(Link, sock=ours)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if self.link is None:
            self.starting = self.starting or asyncio.ensure_future(self.start())
            await self.starting
        assert self.link
        status, body = await self.link.ask(scope.path[BEFORE:-AFTER].encode(), await protocol())
        protocol.response_bytes(status, HEADERS, body)


app = App()
