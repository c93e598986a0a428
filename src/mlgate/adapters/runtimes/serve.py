"""A model process: load, say so, then answer frames until the worker that started it goes away.

One thread. Each turn reads what has arrived on every connection, predicts it together, writes the answers: while a
prediction runs the next batch gathers in the socket buffers, so batches grow with the load and no timer is needed.

    request   u32 length | u32 id | body                 length counts what follows it; all numbers little-endian
    answer    u32 length | u32 id | u16 status | body

A connection that reads slowly gets a buffer of its own and is not read from while that is long, so it stalls nobody.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import struct
import warnings
from collections import deque
from typing import Any

from .batching import answer
from .contract import Failed
from .frameworks import Model, load_model

REQUEST = struct.Struct("<II")
ANSWER = struct.Struct("<IIH")
LARGEST_FRAME = 64 << 20
LONGEST_BACKLOG = 32 << 20
READ = 1 << 20
BATCH_REQUESTS = 256
BATCH_BYTES = 4 << 20


class Connection:
    """What has come in and not been parsed, and what could not be sent yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.is_open = True

    def frames(self) -> list[tuple[int, bytes]]:
        """The complete requests that have arrived. Raises ValueError when the peer does not speak our protocol."""
        buffer, start, found = self.incoming, 0, []
        while len(buffer) - start >= 8:
            length, number = REQUEST.unpack_from(buffer, start)
            if not 4 <= length <= LARGEST_FRAME:
                raise ValueError(length)
            end = start + 4 + length
            if len(buffer) < end:
                break
            found.append((number, bytes(buffer[start + 8 : end])))
            start = end
        if start:
            del buffer[:start]
        return found


class Server:
    def __init__(self, model: Model, listener: socket.socket, alive: int, seconds: float, together: bool) -> None:
        self.model = model
        self.seconds = seconds
        self.together = together
        self.waiting: deque[tuple[Connection, int, bytes]] = deque()
        self.selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, None)
        self.selector.register(alive, selectors.EVENT_READ, alive)

    def run(self) -> None:
        while True:
            for key, events in self.selector.select(0 if self.waiting else None):
                if key.data is None:
                    self.accept(key.fileobj)
                elif isinstance(key.data, int):
                    os._exit(0)  # the worker is gone: nothing here is worth a cleanup
                else:
                    if events & selectors.EVENT_WRITE:
                        self.flush(key.data)
                    if events & selectors.EVENT_READ and key.data.is_open:
                        self.read(key.data)
            if self.waiting:
                self.predict()

    def accept(self, listener: Any) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # it went away between the event and here, or there are no descriptors left
            return
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, Connection(sock))

    def read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(connection)
            return
        connection.incoming += data
        try:
            self.waiting.extend((connection, number, body) for number, body in connection.frames())
        except ValueError:
            self.drop(connection)

    def predict(self) -> None:
        """Answer the requests at the head of the queue, as many as make a sensible batch."""
        batch: list[tuple[Connection, int, bytes]] = []
        size = 0
        while self.waiting and len(batch) < BATCH_REQUESTS and size < BATCH_BYTES:
            batch.append(self.waiting.popleft())
            size += len(batch[-1][2])
        # A prediction that never ends would hold the version for good. The default action of SIGALRM kills even a
        # model that is deep in C code; the supervisor then starts a fresh process.
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        answers = answer(self.model, [body for _, _, body in batch], self.together)
        signal.setitimer(signal.ITIMER_REAL, 0)
        touched: dict[int, Connection] = {}
        for place, (connection, number, _) in enumerate(batch):
            status, body = answers[place]
            connection.outgoing += ANSWER.pack(6 + len(body), number, status) + body
            touched[id(connection)] = connection
        for connection in touched.values():
            self.flush(connection)

    def flush(self, connection: Connection) -> None:
        if not connection.is_open:
            return
        out = connection.outgoing
        try:
            while out:
                del out[: connection.sock.send(out)]
        except BlockingIOError:
            pass
        except OSError:
            self.drop(connection)
            return
        wanted = (selectors.EVENT_WRITE if out else 0) | (selectors.EVENT_READ if len(out) < LONGEST_BACKLOG else 0)
        if self.selector.get_key(connection.sock).events != wanted:
            self.selector.modify(connection.sock, wanted, connection)

    def drop(self, connection: Connection) -> None:
        connection.is_open = False
        self.selector.unregister(connection.sock)
        connection.sock.close()


def main(start: str) -> None:
    """Run with `start`, a JSON object: framework, directory, options, and the descriptors listen, alive and status."""
    settings = json.loads(start)
    options = settings.get("options") or {}
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        framework, model = load_model(settings["framework"], settings["directory"], options)
    except Failed as failure:
        _announce(settings["status"], {"error": failure.text})
        os._exit(3)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a framework that breaks on import
        reason = "it does not fit in its memory limit" if isinstance(error, MemoryError) else repr(error)
        _announce(settings["status"], {"error": f"Failed to load model: {reason} (Error code: 0)"})
        os._exit(3)
    warnings.simplefilter("ignore")  # one warning a prediction would be the bulk of the log, and of the time
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=settings["listen"])
    server = Server(
        model, listener, settings["alive"], float(options.get("predict_seconds", 120)), bool(options.get("batch", True))
    )
    _announce(settings["status"], {"ok": True, "framework": framework})
    server.run()


def _announce(descriptor: int, message: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(message).encode("ascii") + b"\n")
    os.close(descriptor)
