"""Several server processes on one database, and connections of which one knows the process that holds the other end.

Which process accepted a connection is read from the kernel: /proc/net/tcp gives the inode of the socket at the server's
end, and the process that has it among its open files is the one that serves.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness import OWNER, PROJECT, Server
from tests.http.people import tokens
from tests.postgres import postgres

#: How the processes are spread: SQLite belongs to one server, a PostgreSQL serves several.
LAYOUTS = {"sqlite": (3,), "postgres": (3,), "postgres-two-servers": (2, 2)}
P = f"/v1/projects/{PROJECT}"
_TRIES = 400


class Line:
    """One kept connection to one process."""

    def __init__(self, server: Server, timeout: float = 60) -> None:
        self.server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port(), timeout=timeout)
        self._connection.connect()
        self.pid = _holder(server, self._connection.sock.getsockname()[1])

    def send(self, bearer: str, method: str, path: str, body: Any = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        self._connection.request(method, path, data, headers)

    def receive(self) -> tuple[int, bytes]:
        """The status and the body of the answer to what was sent."""
        response = self._connection.getresponse()
        return response.status, response.read()

    def ask(self, bearer: str, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        self.send(bearer, method, path, body)
        return self.receive()

    def close(self) -> None:
        self._connection.close()


def _holder(server: Server, port: int) -> int:
    """The process that holds the server's end of the connection from this port, once it has accepted it."""
    for _ in range(_TRIES):
        inode = next((i for here, there, i in _sockets() if here == server.port() and there == port), "0")
        for pid in api_processes(server) if inode != "0" else ():
            if f"socket:[{inode}]" in _files(pid):
                return pid
        time.sleep(0.005)
    raise AssertionError("nobody accepts connections")


def _sockets() -> Iterator[tuple[int, int, str]]:
    """Local port, remote port and inode of every TCP socket."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        yield int(fields[1].rpartition(":")[2], 16), int(fields[2].rpartition(":")[2], 16), fields[9]


def _files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(one))
    return found


def api_processes(server: Server) -> list[int]:
    """The children of the server that listen."""
    assert server.process is not None
    listening = next(inode for here, there, inode in _sockets() if here == server.port() and there == 0)
    children: list[int] = []
    for task in Path(f"/proc/{server.process.pid}/task").glob("*/children"):
        with suppress(OSError):
            children += map(int, task.read_text().split())
    return [pid for pid in children if f"socket:[{listening}]" in _files(pid)]


@dataclass
class Fleet:
    servers: list[Server]
    layout: str
    _lines: list[Line] = field(default_factory=list)
    _bearers: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Server:
        return self.servers[0]

    def processes(self) -> list[int]:
        return [pid for server in self.servers for pid in api_processes(server)]

    def bearer(self, principal: str = OWNER) -> str:
        if principal not in self._bearers:
            self._bearers |= tokens(self.first, [principal], seconds=36_000)
        return self._bearers[principal]

    def lines(self, each: int) -> list[Line]:
        """So many connections to every process. Raises AssertionError when some process takes none: a test that spoke
        with one process only would prove nothing."""
        found: list[Line] = []
        for server in self.servers:
            wanted = dict.fromkeys(api_processes(server), each)
            for _ in range(_TRIES):
                if not any(wanted.values()):
                    break
                line = Line(server)
                if wanted.get(line.pid):
                    wanted[line.pid] -= 1
                    found.append(line)
                else:
                    line.close()
            assert not any(wanted.values()), f"these processes took too few connections: {wanted}"
        self._lines += found
        assert Counter(line.pid for line in found) == dict.fromkeys(self.processes(), each)
        return found

    def lines_to(self, pid: int, count: int) -> list[Line]:
        """Connections to one process."""
        (server,) = (server for server in self.servers if pid in api_processes(server))
        found: list[Line] = []
        for _ in range(_TRIES):
            if len(found) == count:
                self._lines += found
                return found
            line = Line(server)
            if line.pid == pid:
                found.append(line)
            else:
                line.close()
        raise AssertionError(f"process {pid} took only {len(found)} connections")

    def done(self, method: str, path: str, body: Any = None, *, line: Line | None = None) -> Any:
        """The answer to a call of the owner that must succeed."""
        status, answer = (line or self._office()).ask(self.bearer(), method, path, body)
        assert status == 200, f"{method} {path}: {status} {answer.decode()}"
        return json.loads(answer)

    def _office(self) -> Line:
        """A connection for the owner, to any process, made anew when its process has gone."""
        if not hasattr(self, "_desk") or self._desk.pid not in self.processes():
            self._desk = Line(self.first)
            self._lines.append(self._desk)
        return self._desk

    def hang_up(self, lines: list[Line]) -> None:
        for line in lines:
            line.close()

    def close(self) -> None:
        self.hang_up(self._lines)
        for server in self.servers:
            server.close()


@contextmanager
def fleet(layout: str, directory: Path) -> Iterator[Fleet]:
    """Servers on one database, with an owner who may do everything in the organization."""
    with ExitStack() as stack:
        url = stack.enter_context(postgres()) if layout.startswith("postgres") else ""
        servers = []
        for n, workers in enumerate(LAYOUTS[layout]):
            server = Server(directory / f"data{n}", workers=workers, database_url=url)
            if n == 0:
                server.initialize()
            server.data_dir.mkdir(exist_ok=True)
            servers.append(server.start())
        made = Fleet(servers, layout)
        stack.callback(made.close)
        governing = ("resourcemanager.organizationAdmin", "resourcemanager.projectCreator", "cloudidentity.groupsAdmin",
                     "resourcemanager.folderAdmin", "iam.denyAdmin")  # fmt: skip
        bindings = [{"role": f"roles/{role}", "members": [OWNER]} for role in governing]
        made.done("POST", "/v1/organizations/1:setIamPolicy", {"policy": {"bindings": bindings}})
        yield made
