"""A model process: load, say so, then answer frames until the worker that started it goes away.

One thread. Each turn reads what has arrived on every connection, predicts it together, writes the answers: while a
prediction runs the next batch gathers in the socket buffers, so batches grow with the load and no timer is needed.

    request   u32 length | u32 id | u8 verb | body       length counts what follows it; all numbers little-endian
    answer    u32 length | u32 id | u16 status | body    id 0: no answer, but a request to go elsewhere from now on

Explanations wait in a line of their own and are computed in steps, one between two predictions (explaining.py).

A connection that reads slowly gets a buffer of its own and is not read from while that is long, so it stalls nobody.

The worker ends the process by closing the pipe `alive`. A byte on it means: take what has come, tell every peer to go
elsewhere, answer until they have all closed, and then end; so a version can lose a process without losing a request.
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
from collections.abc import Mapping
from typing import Any

from . import spare
from .batching import answer
from .contract import Failed
from .explaining import Explanations
from .frameworks import Model, load_model

REQUEST = struct.Struct("<IIB")
PREDICT, EXPLAIN = 0, 1
ANSWER = struct.Struct("<IIH")
LARGEST_FRAME = 64 << 20
LONGEST_BACKLOG = 32 << 20
READ = 1 << 18
BATCH_REQUESTS = 256
BATCH_BYTES = 4 << 20


class Connection:
    """What has come in and not been parsed, and what could not be sent yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.unanswered = 0
        self.is_open = True
        #: Whether the peer has said all that it will say.
        self.is_heard = False
        self.rests = False

    def frames(self, data: memoryview) -> list[tuple[int, int, bytes]]:
        """The requests that are complete with these data; what begins another is kept. Raises ValueError when the peer
        does not speak our protocol."""
        if self.incoming:
            self.incoming += data
            data = memoryview(bytes(self.incoming)) if self.has_frame() else data[:0]
        start, size, found = 0, len(data), []
        while size - start >= REQUEST.size:
            length, number, verb = REQUEST.unpack_from(data, start)
            if not 5 <= length <= LARGEST_FRAME:
                raise ValueError(length)
            end = start + 4 + length
            if size < end:
                break
            found.append((number, verb, bytes(data[start + REQUEST.size : end])))
            start = end
        if size:
            self.incoming = bytearray(data[start:])
        return found

    def has_frame(self) -> bool:
        """Whether what is here holds a whole request, or something that is none."""
        if len(self.incoming) < REQUEST.size:
            return False
        length = REQUEST.unpack_from(self.incoming)[0]
        return not 5 <= length <= LARGEST_FRAME or len(self.incoming) >= 4 + length

    def put(self, number: int, status: int, body: bytes) -> None:
        self.outgoing += ANSWER.pack(6 + len(body), number, status) + body
        self.unanswered -= 1


class Server:
    def __init__(
        self, model: Model, listener: socket.socket, alive: int, seconds: float, options: Mapping[str, Any]
    ) -> None:
        self.model = model
        self.seconds = seconds
        self.explanations = Explanations(model, options, seconds)
        self.together = bool(options.get("batch", True))
        self.waiting: deque[tuple[Connection, int, bytes]] = deque()
        self.connections: set[Connection] = set()
        self.is_leaving = False
        self.buffer = memoryview(bytearray(READ))
        self.selector = selectors.DefaultSelector()
        self.listener = listener
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, None)
        self.selector.register(alive, selectors.EVENT_READ, alive)

    def run(self) -> None:
        while not self.is_leaving or self.waiting or self.connections:
            for key, events in self.selector.select(0 if self.waiting or self.explanations else None):
                if key.data is None:
                    self.accept(key.fileobj)
                elif isinstance(key.data, int):
                    if not os.read(key.data, 1):
                        os._exit(0)  # the worker is gone: nothing here is worth a cleanup
                    self.leave()
                else:
                    if events & selectors.EVENT_WRITE:
                        self.flush(key.data)
                    if events & selectors.EVENT_READ and key.data.is_open:
                        self.read(key.data)
            if self.waiting:
                self.predict()
            if self.explanations:
                self.explain()

    def accept(self, listener: Any) -> bool:
        try:
            sock, _ = listener.accept()
        except OSError:  # it went away between the event and here, or there are no descriptors left
            return False
        sock.setblocking(False)
        connection = Connection(sock)
        self.connections.add(connection)
        self.selector.register(sock, selectors.EVENT_READ, connection)
        return True

    def leave(self) -> None:
        """Accept nobody any more, and ask everybody to go."""
        if self.is_leaving:
            return
        self.is_leaving = True
        self.listener.shutdown(socket.SHUT_RD)  # nobody can connect any more; who has, can still be accepted
        while self.accept(self.listener):
            pass
        self.selector.unregister(self.listener)
        self.listener.close()
        for connection in list(self.connections):
            connection.outgoing += ANSWER.pack(6, 0, 0)
            self.flush(connection)

    def read(self, connection: Connection) -> None:
        try:
            count = connection.sock.recv_into(self.buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            connection.is_heard = True
            self.flush(connection)
            return
        try:
            frames = connection.frames(self.buffer[:count])
        except ValueError:
            self.drop(connection)
            return
        connection.unanswered += len(frames)
        for number, verb, body in frames:
            if verb == EXPLAIN:
                self.explanations.add((connection, number), body)
            else:
                self.waiting.append((connection, number, body))

    def predict(self) -> None:
        """Answer the requests at the head of the queue, as many as make a sensible batch."""
        batch: list[tuple[Connection, int, bytes]] = []
        size = 0
        while self.waiting and len(batch) < BATCH_REQUESTS and size < BATCH_BYTES:
            connection, number, body = self.waiting.popleft()
            batch.append((connection, number, body))
            size += len(body)
        # A prediction that never ends would hold the version for good. The default action of SIGALRM kills even a
        # model that is deep in C code; the supervisor then starts a fresh process.
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        bodies = [body for _, _, body in batch]
        answers = answer(self.model, bodies, self.together)
        signal.setitimer(signal.ITIMER_REAL, 0)
        touched: dict[int, Connection] = {}
        for place, (connection, number, _) in enumerate(batch):
            connection.put(number, *answers[place])
            touched[id(connection)] = connection
        for connection in touched.values():
            self.flush(connection)

    def explain(self) -> None:
        """Go on for a moment with the explanation that was asked for first."""
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        done = self.explanations.step()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if done is not None:
            (connection, number), answered = done
            connection.put(number, *answered)
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
        if connection.is_heard and not out and not connection.unanswered:
            self.drop(connection)
            return
        listens = len(out) < LONGEST_BACKLOG and not connection.is_heard
        wanted = (selectors.EVENT_WRITE if out else 0) | (selectors.EVENT_READ if listens else 0)
        if not wanted:
            self.rest(connection)
        elif connection.rests:
            connection.rests = False
            self.selector.register(connection.sock, wanted, connection)
        elif self.selector.get_key(connection.sock).events != wanted:
            self.selector.modify(connection.sock, wanted, connection)

    def rest(self, connection: Connection) -> None:
        """Wait for nothing of a peer that has said all, until there is an answer for it."""
        if not connection.rests:
            connection.rests = True
            self.selector.unregister(connection.sock)

    def drop(self, connection: Connection) -> None:
        connection.is_open = False
        self.connections.discard(connection)
        if not connection.rests:
            self.selector.unregister(connection.sock)
        connection.sock.close()


def main(start: str) -> None:
    """Run with `start`, a JSON object: framework, directory, options, seconds (that one prediction may take), and the
    descriptors listen, alive and status. A spare process (spare.py) gets these later; one that is to make a faster
    copy (faster.py) gets `copy`, the descriptor of a file, instead of `listen`."""
    settings = json.loads(start)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if "assign" in settings:
        settings.update(spare.wait(settings, _announce))
    options = settings.get("options") or {}
    try:
        framework, model = load_model(settings["framework"], settings["directory"], options)
        if "copy" in settings:
            _announce(settings["status"], {"ok": True, "framework": framework, "copy": _copy(model, settings["copy"])})
            os._exit(0)
        if options.get("copy"):
            model = _with_copy(model, options["copy"])
    except Failed as failure:
        _announce(settings["status"], {"error": failure.text})
        os._exit(3)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a framework that breaks on import
        reason = "it does not fit in its memory limit" if isinstance(error, MemoryError) else repr(error)
        _announce(settings["status"], {"error": f"Failed to load model: {reason} (Error code: 0)"})
        os._exit(3)
    if "assign" in settings:
        spare.tidy(settings["directory"])
    warnings.simplefilter("ignore")  # one warning a prediction would be the bulk of the log, and of the time
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=settings["listen"])
    server = Server(model, listener, settings["alive"], settings["seconds"], options)
    _announce(settings["status"], {"ok": True, "framework": framework})
    os.close(settings["status"])
    server.run()
    os._exit(0)


def _copy(model: Model, descriptor: int) -> dict[str, Any]:
    """The description of the copy, or the `reason` why there is none."""
    from . import faster

    with open(descriptor, "wb") as file:
        try:
            return faster.make(model, file.write)
        except faster.Unable as error:
            return {"reason": str(error)}
        except MemoryError:
            return {"reason": "making it takes more memory than the process may have."}


def _with_copy(model: Model, directory: str) -> Model:
    from . import faster

    try:
        return faster.use(model, directory)
    except Exception as error:  # noqa: BLE001 - the original answers as well
        print("The faster copy is not used:", error, flush=True)
        return model


def _announce(descriptor: int, message: Mapping[str, Any]) -> None:
    os.write(descriptor, json.dumps(message).encode("ascii") + b"\n")
