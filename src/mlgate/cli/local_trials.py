"""Trials as commands on this machine: `mlgate studies optimize`.

Each worker is a thread with a client id of its own. Its command gets the parameters, and what it prints is read line by
line as it comes:

    loss=0.31 accuracy=0.9           the result; the last such line counts
    {"loss": 0.31}                   the same
    step=3 loss=0.5, {"step": 3, ...}  a measurement on the way; the study may then say that the trial should stop

Ctrl-C ends the commands. Their trials are deleted, so that their points may come again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from mlgate.cli.failure import Failure
from mlgate.vizier_client import Study, Trial, Value, default_client_id

#: So many failures, and no trial that succeeded: it is the command that is wrong.
MOST_FAILURES = 5
_PAIR = re.compile(r"(\S+?)=(\S+)")


class Runner:
    """`say` gets a line for each trial that ends."""

    def __init__(self, study: Study, command: Sequence[str], *, environment: bool, say: Callable[[str], None]) -> None:
        self._study, self._command, self._in_environment, self._say = study, list(command), environment, say
        self._metrics = study.metrics
        self._may_stop = bool(study.config.get("automatedStoppingConfig"))
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._left: int | None = None
        self._succeeded = self._failed = 0
        self._best: tuple[float, int] | None = None

    def run(self, trials: int | None, workers: int, client_id: str = "") -> None:
        """Until there are no more trials. Raises Failure when the command cannot be run, or only ever fails."""
        self._left, name = trials, client_id or default_client_id()
        with ThreadPoolExecutor(workers, thread_name_prefix="trial") as pool:
            try:
                for future in [pool.submit(self._work, f"{name}-{number}") for number in range(1, workers + 1)]:
                    future.result()
            except BaseException as error:
                self._end()
                if isinstance(error, KeyboardInterrupt):
                    self._say("Ending: trials that still run are given back.")
                raise
        if not self._ending.is_set():
            self._say(f"{self._succeeded} trials succeeded, {self._failed} were infeasible.")

    def _end(self) -> None:
        with self._lock:
            self._ending.set()
            for process in self._running.values():
                _signal(process, signal.SIGTERM)

    def _work(self, client_id: str) -> None:
        try:
            self._run_trials(client_id)
        except Failure:
            self._end()  # the others too
            raise

    def _run_trials(self, client_id: str) -> None:
        while self._take() and (found := self._study.suggest(client_id)):
            trial = found[0]
            try:
                self._one(trial)
            finally:
                if self._ending.is_set() and not trial.is_ended:
                    with suppress(Failure):
                        trial.delete()

    def _take(self) -> bool:
        with self._lock:
            if self._ending.is_set() or self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            return True

    # ------------------------------------------------------------------------------------------------------- one

    def _one(self, trial: Trial) -> None:
        stopped, measured, last, result = False, False, 0, dict[str, float]()
        with self._start(trial) as process:
            try:
                for step, values in self._printed(process):
                    if step is None:
                        result = values
                        continue
                    trial.measure(values, step=step)
                    measured, last = True, max(last, step)
                    if self._may_stop and not stopped and trial.should_stop():
                        stopped = True
                        _signal(process, signal.SIGTERM)
                code = process.wait()
            finally:
                with self._lock:
                    self._running.pop(trial.id, None)
                _signal(process, signal.SIGKILL)  # and whatever it left behind
        if self._ending.is_set():
            return
        if code != 0 and not stopped:
            self._infeasible(trial, f"The command ended with {code}." if code > 0 else f"Signal {-code} ended it.")
        elif result or measured:
            trial.complete(result or None, step=last)
            self._tell(trial, result, stopped)
        else:
            self._infeasible(trial, f"The command printed none of the study's metrics: {', '.join(self._metrics)}.")

    def _printed(self, process: subprocess.Popen[str]) -> Iterator[tuple[int | None, dict[str, float]]]:
        """What the lines tell, as they come."""
        assert process.stdout is not None
        for line in process.stdout:
            step, values = read_line(line, self._metrics)
            if values:
                yield step, values

    def _start(self, trial: Trial) -> subprocess.Popen[str]:
        flags, environment = list[str](), dict(os.environ)
        if self._in_environment:
            environment |= {name: shown(value) for name, value in trial.parameters.items()}
        else:
            flags = [f"--{name}={shown(value)}" for name, value in trial.parameters.items()]
        environment["MLGATE_TRIAL"] = trial.name
        with self._lock:
            if self._ending.is_set():
                raise Failure("CANCELLED", "Ended.")
            try:
                process = subprocess.Popen(
                    [*self._command, *flags],
                    stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment, text=True, errors="replace",
                    start_new_session=True,  # Ctrl-C is for us: the trial must not look failed
                )  # fmt: skip
            except (OSError, ValueError) as error:
                self._ending.set()
                why = getattr(error, "strerror", None) or str(error)
                raise Failure("INVALID_ARGUMENT", f"{self._command[0]} cannot be run: {why}.") from None
            self._running[trial.id] = process
        return process

    # ------------------------------------------------------------------------------------------------------ tell

    def _infeasible(self, trial: Trial, reason: str) -> None:
        trial.infeasible(reason)
        self._say(f"Trial {trial.id}: infeasible. {reason}  {_parameters(trial)}")
        with self._lock:
            self._failed += 1
            hopeless = self._failed >= MOST_FAILURES and not self._succeeded
        if hopeless:
            raise Failure("FAILED_PRECONDITION", f"{self._failed} trials failed and none succeeded: {reason}")

    def _tell(self, trial: Trial, result: dict[str, float], stopped: bool) -> None:
        values = " ".join(f"{name}={value:g}" for name, value in result.items()) or "measured on the way"
        with self._lock:
            self._succeeded += 1
            best = self._note_best(trial, result)
        self._say(f"Trial {trial.id}: {values}{' (stopped early)' * stopped}{best}  {_parameters(trial)}")

    def _note_best(self, trial: Trial, result: dict[str, float]) -> str:
        if len(self._metrics) > 1 or self._metrics[0] not in result:
            return ""
        sign = 1 if self._study.config["metrics"][0].get("goal") == "MINIMIZE" else -1
        loss = sign * result[self._metrics[0]]
        if self._best is None or loss < self._best[0]:
            self._best = (loss, trial.id)
        return f" (best {sign * self._best[0]:g}, trial {self._best[1]})"


def read_line(line: str, metrics: Sequence[str]) -> tuple[int | None, dict[str, float]]:
    """The step, if the line has one, and the study's metrics in it."""
    values: dict[str, float] = {}
    step: int | None = None
    for name, value in _pairs(line):
        with suppress(TypeError, ValueError, OverflowError):
            if name == "step" and name not in metrics:
                step = max(0, int(value))
            elif name in metrics and not isinstance(value, bool):
                values[name] = float(value)
    return step, values


def _pairs(line: str) -> Iterator[tuple[str, Any]]:
    if line.lstrip().startswith("{"):
        with suppress(ValueError):
            read = json.loads(line)
            yield from read.items()
            return
    for match in _PAIR.finditer(line):
        yield match.group(1), match.group(2).rstrip(",;")


def shown(value: Value) -> str:
    """As a program reads it: a whole number has no point."""
    return repr(value) if isinstance(value, float) else str(value)


def _parameters(trial: Trial) -> str:
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in trial.parameters.items()
    )


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """To the command and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
