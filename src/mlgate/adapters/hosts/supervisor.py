"""Keeps the model processes of this machine: how many each version has, started, ended, evicted. Lives in the worker.

Theory of operation. A version has replicas (replica.py), each a process, a thread and a socket. A version without one
gets its first when somebody asks for it; API processes report every second how many requests wait at each, and once a
second every version is given the number that scaling.py wants. A process that is ended for good is asked to leave:
it answers what it has, and its callers go elsewhere, so neither scaling nor evicting nor deleting loses a request.

Before a process starts there must be memory for it (`models_memory`): versions that nobody has asked for longest make
room, down to none, unless they are never to be without a process. What a first load says of a version, that it cannot
be loaded or crashes again and again, is remembered for a while, so that a stream of requests for a broken version does
not become a stream of processes; `load` always tries afresh.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlgate.adapters.hosts import control, scaling
from mlgate.adapters.hosts.child import Log, ModelProcess
from mlgate.adapters.hosts.replica import PAUSING, RUNNING, STARTING, Replica, Surroundings
from mlgate.adapters.hosts.sandbox import Sandbox, interpreter
from mlgate.adapters.hosts.spares import Spares
from mlgate.adapters.runners.gateway import Gateway
from mlgate.core.errors import FailedPrecondition, Unavailable
from mlgate.ports import ModelSpec

TICK_SECONDS = 1.0
#: Reports older than this say nothing of the present.
STALE_SECONDS = 3.0
#: What a process is taken to need before it was ever seen: Python, a framework, and its files twice.
USUAL_MEMORY = 100 << 20
#: How often a version may be evicted while somebody waits for it.
EVICTIONS = 3
#: How long a start waits before it takes the memory of a version that is in use.
TURN_SECONDS = 3.0
#: How long a start waits for those that make room to be gone.
ROOM_SECONDS = 10.0


class ModelSupervisor:
    """The model processes of this machine; a ModelLoader, and the answerer of the control socket."""

    def __init__(
        self,
        run_dir: Path,
        sandbox: Sandbox,
        *,
        on_log: Log = lambda uid, line: None,
        ready_seconds: float = 120.0,
        idle_seconds: float = 900.0,
        memory_bytes: int = 0,
        spares: int = 0,
        most_processes: int = 1,
        gateway: Callable[[str, Path], Gateway] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_log(uid, line)` gets what model processes print. `memory_bytes` is for all of them (0: no bound),
        `most_processes` for one version; `gateway` is the way to this server of a version with an account. Raises
        OSError when `run_dir` cannot be used."""
        self.sandbox = sandbox
        self.run_dir = run_dir
        self._idle_seconds = idle_seconds
        self._memory_bytes = memory_bytes
        self._most_processes = most_processes
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._room = threading.Lock()
        self._versions: dict[str, Version] = {}
        self._ending: list[Version] = []
        self._number = 0
        self._sockets, self._is_private = control.prepare(run_dir)
        scratch = control.scratch_prefix(run_dir)
        self._spares = Spares(spares, sandbox, scratch, on_log, ready_seconds, monotonic, self._has_room)
        self.around = Surroundings(sandbox, scratch, ready_seconds, on_log, self._spares.take, gateway, monotonic)
        self._closing = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="mlgate-scaling", daemon=True)
        self._ticker.start()
        self._control = control.ControlServer(self._sockets / control.SOCKET, self)

    # ------------------------------------------------------------------------------------------------- commands

    def load(self, spec: ModelSpec) -> str:
        """Try a model: return its framework when it answers, at once if it already does. Raises FailedPrecondition."""
        version = self._version(spec, retry=True)
        version.wait_ready()
        version.used = self._monotonic()
        return version.spec.framework

    def copy(self, spec: ModelSpec, target: Path) -> tuple[str, dict[str, Any]]:
        """Try a model and, in a process of its own, to make a faster copy of it in the file `target`: the framework,
        and what the copy is, or the `reason` why there is none. Raises FailedPrecondition."""
        around = self.around
        scratch = tempfile.mkdtemp(prefix=around.scratch)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            process = ModelProcess(
                spec, ("copy", descriptor), self.sandbox, interpreter(spec.python), scratch, around.on_log
            )
        finally:
            os.close(descriptor)
        try:
            framework = process.wait_ready(around.ready_seconds)
            said = process.copy if isinstance(process.copy, dict) else {"reason": "the process said nothing of it."}
            return framework, said
        finally:
            process.stop()

    def ensure(self, spec: ModelSpec) -> list[str]:
        """The paths of the version's sockets, a process started if need be. Raises FailedPrecondition, Unavailable."""
        for _ in range(EVICTIONS):
            version = self._version(spec, retry=False)
            version.used = self._monotonic()
            try:
                version.wait_ready()
            except Unavailable:
                if version.is_gone:  # it had to make room, in this very moment
                    continue
                raise
            paths = version.paths()
            if paths:
                return paths
        raise Unavailable("The version's processes are ended again and again to make room for others'.")

    def scale(self, spec: ModelSpec) -> None:
        """Give a version at once the processes that it is never to be without. Raises FailedPrecondition."""
        if spec.scaling.low or spec.uid in self._versions:
            self._version(spec, retry=False, is_used=False).grow(spec.scaling.low)

    def report(self, who: str, waiting: Mapping[str, int]) -> dict[str, list[str]]:
        """What an API process says of versions that it asks: how many requests wait for each. Where they answer."""
        now, found = self._monotonic(), {}
        for uid, number in waiting.items():
            version = self._versions.get(uid)
            if version is not None:
                version.used = now
                version.reports[who] = (number, now)
                found[uid] = version.paths()
        return found

    def restart(self, path: str) -> None:
        """Kill the process of a socket, which has not answered for too long; another follows."""
        for version in list(self._versions.values()):
            for one in version.replicas():
                if one.path == path:
                    one.restart()

    def unload(self, uid: str) -> None:
        """End the version's processes, if there are any; the requests that they have are answered first."""
        with self._lock:
            version = self._versions.pop(uid, None)
            if version is not None:
                self._ending.append(version)
        if version is not None:
            version.leave()

    def running(self) -> list[dict[str, Any]]:
        """What runs: uid, state, pid, since (epoch seconds), restarts, rss (bytes), one row for each process."""
        versions = list(self._versions.values())
        return [one.describe() for version in versions for one in version.replicas()]

    def close(self) -> None:
        self._closing.set()
        self._control.close()
        self._ticker.join()
        with self._lock:
            versions = [*self._versions.values(), *self._ending]
            self._versions.clear()
        self._spares.close()
        for version in versions:
            version.kill()
        for version in versions:
            version.join()
        if self._is_private:
            shutil.rmtree(self._sockets, ignore_errors=True)

    # -------------------------------------------------------------------------------------------------- versions

    def socket(self) -> Path:
        """A path for one more socket."""
        with self._lock:
            self._number += 1
            return self._sockets / f"m{self._number}.sock"

    def _version(self, spec: ModelSpec, retry: bool, is_used: bool = True) -> Version:
        """The version's entry, with a replica that runs, will run, or has failed a moment ago."""
        spec = replace(spec, scaling=self._bounded(spec))
        while True:
            with self._lock:
                version = self._versions.get(spec.uid)
                if version is not None and version.spec == spec:
                    version.spec = replace(version.spec, scaling=spec.scaling)
                    old = None
                else:
                    version, old = Version(spec, self, self._monotonic()), version
                    self._versions[spec.uid] = version
                    if old is not None:
                        self._ending.append(old)
            if old is not None:
                old.leave()
            if not is_used or version.revive(retry):
                return version

    def _bounded(self, spec: ModelSpec) -> Any:
        low = min(spec.scaling.low, self._most_processes)
        return replace(spec.scaling, low=low, high=max(1, low, min(spec.scaling.high, self._most_processes)))

    # ---------------------------------------------------------------------------------------------------- memory

    def make_room(self, spec: ModelSpec) -> None:
        """Return when there is memory for one more process: at once by ending what nobody uses, else after a while,
        by taking turns. Raises Unavailable when what must stay needs it all."""
        if not self._memory_bytes:
            return
        with self._room:
            until, needed = self._monotonic() + TURN_SECONDS, _likely(spec)
            while (ended := self._evict(spec, needed, scaling.IN_USE)) is None:
                if self._monotonic() > until:
                    ended = self._evict(spec, needed, 0.0)
                    break
                time.sleep(0.05)
            if ended is None:
                raise Unavailable(
                    f"There is no memory for one more model process: versions that start, or are never to be without "
                    f"one, need the {self._memory_bytes >> 20} MB that there are for models (models_memory)."
                )
            until = self._monotonic() + ROOM_SECONDS
            while ended and self._monotonic() < until and not all(version.is_over() for version in ended):
                time.sleep(0.01)

    def _evict(self, spec: ModelSpec, needed: int, least_idle: float) -> list[Version] | None:
        """End versions so that `needed` bytes are free; None when that cannot be had by ending those."""
        now = self._monotonic()
        versions = [v for v in list(self._versions.values()) if v.spec.uid != spec.uid]
        rows = [
            scaling.Holding(v.spec.uid, memory, now - v.used, v.age(now), v.spec.scaling.low)
            for v in versions
            if (memory := v.memory())
        ]
        spare = self._spares.memory()
        evicted = scaling.to_evict(rows, needed + spare, self._memory_bytes, least_idle)
        if evicted is None:
            evicted = scaling.to_evict(rows, needed, self._memory_bytes, least_idle)
            if evicted is not None and spare:
                self._spares.give_up()
        if evicted is None and not rows:
            return []  # alone it may have more than there is for all
        if evicted is None:
            return None
        ended = [self._versions[uid] for uid in evicted if uid in self._versions]
        for uid in evicted:
            self.around.on_log(uid, "The version's processes are ended to make room for another version's.")
            self.unload(uid)
        return ended

    def _has_room(self) -> bool:
        """Whether one more spare fits beside what there is."""
        held = sum(version.memory() for version in list(self._versions.values()))
        return not self._memory_bytes or held + self._spares.memory() + USUAL_MEMORY <= self._memory_bytes

    # --------------------------------------------------------------------------------------------------- scaling

    def _tick(self) -> None:
        while not self._closing.wait(TICK_SECONDS):
            now = self._monotonic()
            with self._lock:
                self._ending = [version for version in self._ending if not version.is_over()]
                versions = list(self._versions.values())
            for version in versions:
                number = version.wanted(now, self._idle_seconds)
                if not number and version.replicas():
                    self.around.on_log(version.spec.uid, "The version's processes are ended: nobody asks for them.")
                    self.unload(version.spec.uid)
                else:
                    version.resize(number)


class Version:
    """A version's replicas, and what is seen of them."""

    def __init__(self, spec: ModelSpec, supervisor: ModelSupervisor, now: float) -> None:
        self.spec = spec
        self.used = now
        #: How many requests wait in each API process, and when it said so.
        self.reports: dict[str, tuple[int, float]] = {}
        #: Ended for good: who still holds it has to ask for another.
        self.is_gone = False
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._replicas: list[Replica] = []
        self._leaving: list[Replica] = []
        self._crowded_since = self._busy_since = self._looked = now
        self._cpu = self._began = 0.0

    # ------------------------------------------------------------------------------------------------- questions

    def replicas(self) -> list[Replica]:
        with self._lock:
            return list(self._replicas)

    def paths(self) -> list[str]:
        return [one.path for one in self.replicas() if one.state == RUNNING]

    def wait_ready(self) -> None:
        """Return when the first replica answers. Raises FailedPrecondition, Unavailable."""
        replicas = self.replicas()
        if not replicas:
            raise Unavailable("The version was undeployed.")
        if any(one.state == RUNNING for one in replicas):
            return
        replicas[0].wait_ready()
        if not self.spec.framework:
            self.spec = replace(self.spec, framework=replicas[0].framework)

    def age(self, now: float) -> float:
        """For how long it has answered; 0 when it does not yet."""
        running = any(one.state == RUNNING for one in self.replicas())
        if not running:
            self._began = 0.0
        elif not self._began:
            self._began = now
        return now - self._began + 1e-3 if running else 0.0

    def memory(self) -> int:
        """Bytes that its processes hold, or will."""
        with self._lock:
            replicas = [*self._replicas, *self._leaving]
        processes = [one.process() for one in replicas if not one.is_over()]
        return sum(process.own_memory() if process else _likely(self.spec) for process in processes)

    def is_over(self) -> bool:
        with self._lock:
            return all(one.is_over() for one in (*self._replicas, *self._leaving))

    def wanted(self, now: float, idle_seconds: float) -> int:
        """How many processes it is to have; asked once a tick."""
        self.age(now)
        if any(one.state in (STARTING, PAUSING) for one in self.replicas()):
            self.used = max(self.used, now)  # somebody waits for it
        processes = [process for one in self.replicas() if (process := one.process()) is not None]
        cpu, passed = sum(process.cpu_seconds() for process in processes), max(now - self._looked, 1e-3)
        busy = max(0.0, cpu - self._cpu) / passed / max(len(processes), 1)
        self._cpu, self._looked = cpu, now
        waiting = sum(number for number, when in list(self.reports.values()) if now - when < STALE_SECONDS)
        if not scaling.is_crowded(len(processes), waiting, busy):
            self._crowded_since = now
        if busy > scaling.CALM:
            self._busy_since = now
        seen = scaling.Seen(len(self.replicas()), now - self._crowded_since, now - self._busy_since, now - self.used)
        return scaling.wanted(seen, self.spec.scaling, idle_seconds)

    # -------------------------------------------------------------------------------------------------- commands

    def revive(self, retry: bool) -> bool:
        """Have a replica that runs, will run, or has failed a moment ago; False for a version that was ended. Raises
        Unavailable for want of memory."""
        with self._lock:
            useless = [one for one in self._replicas if not one.is_of_use(retry)]
            self._drop(useless)
            is_there = bool(self._replicas)
        if not is_there:
            self._add(1)
        return not self.is_gone

    def grow(self, number: int) -> None:
        if len(self.replicas()) < number:
            self._add(number)

    def resize(self, number: int) -> None:
        """Grow in the background, or let the newest leave."""
        have = len(self.replicas())
        if have < number:
            threading.Thread(target=self._try_add, args=(number,), name="mlgate-grow", daemon=True).start()
        with self._lock:
            over = self._replicas[number:] if number else []
            self._drop(over)

    def leave(self) -> None:
        with self._lock:
            self.is_gone = True
            self._drop(list(self._replicas))

    def kill(self) -> None:
        with self._lock:
            self.is_gone = True
            replicas = [*self._replicas, *self._leaving]
        for one in replicas:
            one.kill()

    def join(self) -> None:
        with self._lock:
            replicas = [*self._replicas, *self._leaving]
        for one in replicas:
            one.join()

    def _try_add(self, number: int) -> None:
        try:
            self._add(number)
        except (FailedPrecondition, Unavailable) as error:
            self._supervisor.around.on_log(self.spec.uid, f"No further process can be started. {error.message}")

    def _add(self, number: int) -> None:
        """Have so many replicas, each started once there is memory for it."""
        while True:
            self._supervisor.make_room(self.spec)
            with self._lock:
                if len(self._replicas) >= number or self.is_gone:
                    return
                one = Replica(self.spec, self._supervisor.socket(), self._supervisor.around)
                self._replicas.append(one)
            one.start()

    def _drop(self, replicas: Iterable[Replica]) -> None:
        """Under the lock: let these leave."""
        for one in replicas:
            self._replicas.remove(one)
            self._leaving.append(one)
            one.leave()
        self._leaving = [one for one in self._leaving if not one.is_over()]


def _likely(spec: ModelSpec) -> int:
    """Bytes that a process of the version will hold, as far as its files tell."""
    files = (path for directory in spec.directories() for path in Path(directory).rglob("*"))
    return USUAL_MEMORY + 2 * sum(path.stat().st_size for path in files if path.is_file())
