"""`mlgate serve`: one supervisor, N API processes on one listening socket, one worker.

    supervisor --- api (uvicorn) x N      share the socket; no model code, no framework
              |--- console               pages for browsers, a client of the API like any other; where NiceGUI is
              |--- worker                deployments, and the model processes below it
              \\--- runner                jobs, if runner_slots lets it; their processes have keepers that outlive all

The supervisor decides nothing and holds no data: it starts the others, starts one again that died, and passes a SIGTERM
on. A lock on the data directory keeps a second server off the same embedded database. Each child asks the kernel to be
killed when its parent dies, so `kill -9` of the supervisor leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import structlog

from mlgate.app.confinement import confinement
from mlgate.app.places import open_store, places
from mlgate.core.errors import FailedPrecondition
from mlgate.logs import configure
from mlgate.settings import Settings

log = structlog.get_logger("mlgate.serve")

CHILD_SETTINGS = "MLGATE_CHILD"
DRAIN_SECONDS = 25.0
START_SECONDS = 60.0
#: Of one API process; more are answered 503 at once.
MAX_CONNECTIONS = 4096
_PR_SET_PDEATHSIG = 1
#: A request makes hundreds of objects and hardly a cycle among them.
GC_THRESHOLDS = 50_000, 20, 20


@dataclass
class Child:
    role: str
    process: subprocess.Popen[bytes]
    ready: int
    started: float
    failures: int = 0


class Supervisor:
    def __init__(self, settings: Settings, ready_file: Path | None, *, console_anywhere: bool = False) -> None:
        """With `console_anywhere`, the console takes any free port when its own is taken."""
        self._settings = settings
        self._console_anywhere = console_anywhere
        self._ready_file = ready_file
        self._children: list[Child] = []
        self._stopping = False
        self._console: socket.socket | None = None

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Raises FailedPrecondition when the server cannot start."""
        open_store(self._settings).close()  # says what is wrong before anything is started, and migrates
        lock = self._lock()
        listening = self._listen(self._settings.port)
        self._settings = replace(self._settings, port=listening.getsockname()[1])
        if self._settings.console_port >= 0 and find_spec("nicegui"):
            self._console = self._listen_for_console()
        sandbox = confinement(self._settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        given = {"sandbox": asdict(sandbox)}
        try:
            runner = ["runner"] if self._settings.runner_slots >= 0 else []
            for role in ("worker", *runner, *["api"] * self._settings.workers):
                self._start(role, listening, given)
            for child in list(self._children):
                self._wait_ready(child)
            if self._console is not None:
                self._start("console", listening, {})  # nothing waits for it: until then browsers wait in the queue
            self._announce(listening)
            self._watch(listening, given)
        finally:
            self._end()
            lock.close()
        return 0

    def _lock(self) -> IO[str]:
        place = places(self._settings).lock
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FailedPrecondition(f"Another server runs on {self._settings.data_dir}.") from None
        return lock

    def _listen(self, port: int, hint: str = "") -> socket.socket:
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.host, port))
        except (OSError, OverflowError) as error:
            listening.close()
            why = getattr(error, "strerror", None) or "a port is a number from 0 to 65535"
            raise FailedPrecondition(f"Cannot listen on {settings.host}:{port}: {why}{hint}.") from None
        listening.listen(2048)
        listening.set_inheritable(True)
        return listening

    def _listen_for_console(self) -> socket.socket:
        try:
            return self._listen(self._settings.console_port, "; MLGATE_CONSOLE_PORT names another, -1 none")
        except FailedPrecondition as error:
            if not self._console_anywhere:
                raise
            free = self._listen(0)
            log.warning("console on another port", port=free.getsockname()[1], reason=error.message)
            return free

    # -------------------------------------------------------------------------------------------------- children

    def _start(self, role: str, listening: socket.socket, given: Mapping[str, Any], failures: int = 0) -> Child:
        """Start a child; it says on its pipe when it is ready."""
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        settings = self._settings if role != "console" else replace(self._settings, database_url="")
        plan = {"role": role, "settings": asdict(settings), "ready": writing, "parent": os.getpid(), **given}
        shared = {"api": listening, "console": self._console}.get(role)
        plan["socket"] = shared.fileno() if shared is not None else -1
        kept = (writing, shared.fileno()) if shared is not None else (writing,)
        environ = dict(os.environ)
        if role == "console":
            environ.pop("MLGATE_DATABASE_URL", None)  # it is a client: it has no business with the database
        process = subprocess.Popen(
            [sys.executable, "-m", "mlgate.serve"],
            env={**environ, CHILD_SETTINGS: json.dumps(plan)},
            pass_fds=kept,
            stdin=subprocess.DEVNULL,
        )
        os.close(writing)
        if role == "console":
            os.close(reading)
        child = Child(role, process, reading, time.monotonic(), failures)
        self._children.append(child)
        return child

    def _wait_ready(self, child: Child) -> None:
        ready, _, _ = select.select([child.ready], [], [], START_SECONDS)
        said = os.read(child.ready, 1) if ready else b""
        os.close(child.ready)
        if not said and not self._stopping:
            raise FailedPrecondition(f"The {child.role} process did not start; its log says why.")

    def _announce(self, listening: socket.socket) -> None:
        url, console = _address(listening), _address(self._console) if self._console is not None else ""
        log.info(
            "serving",
            url=url,
            public_url=self._settings.public_url or url,
            console=self._settings.console_url or console,
            workers=self._settings.workers,
        )
        if console:
            places(self._settings).console.write_text(console + "\n")
        if sys.stderr.isatty():
            print(f"mlgate serves on {url} (Ctrl-C stops it).", file=sys.stderr)
            if console:
                print(f"The console is on {self._settings.console_url or console}.", file=sys.stderr)
        if self._ready_file:
            scratch = self._ready_file.with_name(self._ready_file.name + ".tmp")
            scratch.write_text(json.dumps({"url": url, "console": console, "pid": os.getpid()}) + "\n")
            scratch.replace(self._ready_file)

    def _watch(self, listening: socket.socket, given: Mapping[str, Any]) -> None:
        while not self._stopping:
            time.sleep(0.1)
            for child in list(self._children):
                status = child.process.poll()
                if status is None or self._stopping:
                    continue
                self._children.remove(child)
                lived = time.monotonic() - child.started
                failures = 0 if lived > 60 else child.failures + 1
                log.error("process died", role=child.role, status=status, lived=round(lived, 1))
                time.sleep(min(2.0 ** (failures - 1) / 10, 5.0) if failures else 0)
                try:
                    started = self._start(child.role, listening, given, failures)
                    if started.role != "console":
                        self._wait_ready(started)
                except FailedPrecondition as error:
                    log.error("process not restarted", role=child.role, error=error.message)

    def _stop(self) -> None:
        self._stopping = True

    def _end(self) -> None:
        """Drain the API first, then end the worker (whose end ends the model processes)."""
        for role in ("console", "api", "worker", "runner"):
            running = [c.process for c in self._children if c.role == role and c.process.poll() is None]
            for process in running:
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + DRAIN_SECONDS
            for process in running:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self._ready_file:
            self._ready_file.unlink(missing_ok=True)
        places(self._settings).console.unlink(missing_ok=True)
        log.info("stopped")


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


# ---------------------------------------------------------------------------------------------------------- children


def _die_with_parent(parent: int) -> None:
    """Linux: SIGKILL for this process when its parent ends. Elsewhere the supervisor's SIGTERM has to do."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _raise_file_limit() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run_api(settings: Settings, plan: Mapping[str, Any]) -> None:
    import uvicorn

    from mlgate.app.api import api
    from mlgate.http.protocol import BoundedProtocol

    _raise_file_limit()
    ready: int = plan["ready"]

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            gc.collect()
            gc.freeze()  # what is here stays: collections need not look at it
            gc.set_threshold(*GC_THRESHOLDS)
            os.write(ready, b"r")
            os.close(ready)

    config = uvicorn.Config(
        api(settings, {"sandbox": {k: plan["sandbox"][k] for k in ("mode", "reason")}}),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
        http=BoundedProtocol,
        limit_concurrency=MAX_CONNECTIONS,
        ws="none",
    )
    Announcing(config).run(sockets=[socket.socket(fileno=plan["socket"])])


def _run_worker(settings: Settings, plan: Mapping[str, Any]) -> None:
    from mlgate.app.worker import worker as build

    worker, supervisor = build(settings, plan["sandbox"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    os.write(plan["ready"], b"r")
    os.close(plan["ready"])
    try:
        worker.run()
    finally:
        supervisor.close()


def _run_runner(settings: Settings, plan: Mapping[str, Any]) -> None:
    """Its end ends no job: those go on under their keepers, and the next runner takes them up."""
    from mlgate.app.runner import runner as build

    runner = build(settings, plan["sandbox"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: runner.stop())
    os.write(plan["ready"], b"r")
    os.close(plan["ready"])
    runner.run()


def _run_console(settings: Settings, plan: Mapping[str, Any]) -> None:
    from mlgate.console.app import run

    os.close(plan["ready"])
    where = places(settings)
    run(settings, socket.socket(fileno=plan["socket"]), where.sessions)


def main() -> None:
    """A child's beginning: its plan comes in the environment, and is removed from it."""
    plan = json.loads(os.environ.pop(CHILD_SETTINGS))
    _die_with_parent(plan["parent"])
    settings = Settings(**plan["settings"])
    configure(settings.log_level, role=plan["role"])
    run = {"api": _run_api, "worker": _run_worker, "runner": _run_runner, "console": _run_console}[plan["role"]]
    try:
        run(settings, plan)
    except FailedPrecondition as error:
        log.error("cannot start", error=error.message)
        sys.exit(1)


if __name__ == "__main__":
    main()
