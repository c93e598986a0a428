"""The optimizer in a process of its own, so that predictions keep their latency while it thinks.

The process reads one question a line (`core.vizier.questions`) and writes one answer a line. It starts with the first
question, ends when its parent does (its input ends then) or when it was asked nothing for a while, and is started anew
when it has died. numpy computes on one thread and the process yields to others.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from mlgate.core import errors

IDLE_SECONDS = 900.0
#: How long it may think: while a caller waits, and where nobody does.
ANSWERED_SECONDS, THOUGHT_SECONDS = 10.0, 600.0
#: Importing numpy and scipy takes long on a busy machine, and says nothing about the study.
STARTING_SECONDS = 60.0
_READY = b"ready\n"
_ERRORS: dict[str, type[errors.RpcError]] = {
    error.status: error
    for error in (errors.InvalidArgument, errors.FailedPrecondition, errors.Unimplemented, errors.Internal)
}
_MISSING = "The optimizer needs numpy and scipy, which this server lacks: install mlgate[vizier]."


class ProcessOptimizer:
    """The port `Optimizer`."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: dict[str, Any]) -> Any:
        line = json.dumps(question).encode() + b"\n"
        with self._turn:
            for _ in range(2):  # the process may just have ended, for having nothing to do
                try:
                    process = self._running()
                    assert process.stdin is not None
                    process.stdin.write(line)
                    process.stdin.flush()
                    said = self._read(process, self._timeout)
                except (BrokenPipeError, ConnectionError):
                    said = b""
                if said:
                    return _value(json.loads(said))
                self.close()
        raise errors.Unavailable("The optimizer's process died.")

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            kept = {name: value for name, value in os.environ.items() if not name.startswith("MLGATE_")}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlgate.adapters.optimizer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
            if self._read(self._process, STARTING_SECONDS) != _READY:
                raise BrokenPipeError
        return self._process

    def _read(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """One line, or nothing from a process that has died. Raises DeadlineExceeded."""
        assert process.stdout is not None
        number, said, until = process.stdout.fileno(), bytearray(), time.monotonic() + seconds
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([number], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.close()
                raise errors.DeadlineExceeded(f"The optimizer took more than {seconds:g} s.")
            read = os.read(number, 1 << 20)
            if not read:
                return b""
            said += read
        return bytes(said)


def _value(said: dict[str, Any]) -> Any:
    if "error" not in said:
        return said["answer"]
    fields = [(field, what) for field, what in said.get("fields", ())]
    raise _ERRORS.get(said["status"], errors.Internal)(said["error"], fields=fields)


# ---------------------------------------------------------------------------------------------------- in the process


def main() -> None:
    """Answer questions until there are no more."""
    from mlgate.core.vizier import questions

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    with suppress(OSError):
        os.nice(5)
    with suppress(ModuleNotFoundError):  # whoever asks for what needs it is told
        from mlgate.core.vizier import gaussian_process  # noqa: F401
    answers.write(_READY)
    answers.flush()
    while select.select([0], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        said: dict[str, Any]
        try:
            said = {"answer": questions.answer(json.loads(line))}
        except errors.RpcError as error:
            said = {"error": error.message, "status": error.status, "fields": error.fields}
        except ModuleNotFoundError:
            said = {"error": _MISSING, "status": errors.Unimplemented.status}
        except Exception as error:  # noqa: BLE001  # a fault of the optimizer is told, and must not end the process
            said = {"error": f"{type(error).__name__}: {error}", "status": errors.Internal.status}
        answers.write(json.dumps(said).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
