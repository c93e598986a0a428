"""The worker's control socket: an API process asks where a version answers, and the worker starts it if need be.

One JSON line each way, one exchange a connection. Only the server's own user can reach the socket (0600 in a folder
of 0700), and confined models have no `connect`.

    {"spec": {...}}                   ->  {"sockets": ["/path", ...]}
    {"who": "...", "waiting": {...}}  ->  {"sockets": {uid: ["/path", ...]}}    how many requests wait, by uid
    {"hung": "/path"}                 ->  {}
    any                               ->  {"error": {"status": "FAILED_PRECONDITION", "message": "..."}}
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from mlgate.core import errors
from mlgate.core.errors import RpcError, Unavailable
from mlgate.ports import ModelSpec, Scaling

SOCKET, POINTER = "host.sock", "host.path"
LONGEST_PATH = 90  # of a folder: the kernel takes 107 bytes for a socket, and a file name is added to it
LONGEST_LINE = 1 << 20
ERRORS: dict[str, type[RpcError]] = {
    kind.status: kind
    for kind in (errors.FailedPrecondition, errors.InvalidArgument, errors.ResourceExhausted, errors.Unavailable)
}


def prepare(run_dir: Path) -> tuple[Path, bool]:
    """The folder for sockets, made and private, and whether it is a short one that stands in for `run_dir`."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chmod(run_dir, 0o700)
    for stale in (run_dir / SOCKET, run_dir / POINTER, *run_dir.glob("m*.sock")):
        stale.unlink(missing_ok=True)
    if len(os.fsencode(run_dir.absolute())) <= LONGEST_PATH:
        return run_dir.absolute(), False
    short = Path(tempfile.mkdtemp(prefix="mlgate-"))
    (run_dir / POINTER).write_text(str(short / SOCKET))
    return short, True


def scratch_prefix(run_dir: Path) -> str:
    """How the scratch folders of this worker's models begin, after removing those that a killed worker left.

    They are not in `run_dir`, which a model that runs as another user could not reach through.
    """
    prefix = f"mlgate-model-{hashlib.sha256(os.fsencode(run_dir.absolute())).hexdigest()[:12]}-"
    for left in Path(tempfile.gettempdir()).glob(prefix + "*"):
        shutil.rmtree(left, ignore_errors=True)
    return prefix


def socket_path(run_dir: Path) -> str:
    """Where the control socket of `run_dir` is."""
    try:
        return (run_dir / POINTER).read_text()
    except FileNotFoundError:
        return str(run_dir.absolute() / SOCKET)


class Answerer(Protocol):
    """What the worker does about each question."""

    def ensure(self, spec: ModelSpec) -> list[str]: ...

    def report(self, who: str, waiting: Mapping[str, int]) -> dict[str, list[str]]: ...

    def restart(self, path: str) -> None: ...


def spec_question(spec: ModelSpec) -> dict[str, Any]:
    return {"spec": dataclasses.asdict(spec)}


async def ask(run_dir: Path, question: Mapping[str, Any]) -> Any:
    """The worker's answer, its `sockets`. Raises the error that it reports, Unavailable when it does not answer."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path(run_dir), limit=LONGEST_LINE)
    except OSError:
        raise Unavailable("The model worker is not running.") from None
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise Unavailable("The model worker did not answer.")
        answer = json.loads(line)
    except (OSError, ValueError):
        raise Unavailable("The model worker went away.") from None
    finally:
        writer.close()
    if "error" in answer:
        error = answer["error"]
        raise ERRORS.get(error["status"], Unavailable)(error["message"])
    return answer.get("sockets")


class ControlServer:
    """Listens from construction to `close`; a thread an exchange, since an answer may take a model's loading time."""

    def __init__(self, path: Path, answerer: Answerer) -> None:
        self._path = path
        self._answerer = answerer
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen(128)
        self._thread = threading.Thread(target=self._accept, name="mlgate-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._exchange, args=(connection,), name="mlgate-ask", daemon=True).start()

    def _exchange(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            connection.settimeout(10)
            line = lines.readline(LONGEST_LINE)
            if line:
                connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            question = json.loads(line)
            if "hung" in question:
                self._answerer.restart(question["hung"])
                return {}
            if "waiting" in question:
                return {"sockets": self._answerer.report(question["who"], question["waiting"])}
            asked = question["spec"]
            spec = ModelSpec(**{**asked, "scaling": Scaling(**asked["scaling"])})
        except (ValueError, TypeError, KeyError) as error:
            return _error(errors.InvalidArgument(f"The question is not understood: {error}"))
        try:
            return {"sockets": self._answerer.ensure(spec)}
        except RpcError as error:
            return _error(error)


def _error(error: RpcError) -> dict[str, Any]:
    return {"error": {"status": error.status, "message": error.message}}
