"""Builds a runtime's environment with uv: whole or not at all, once however many want it.

    ROOT/NAME-DIGEST          a finished environment; the digest is of its lock and its Python, so that a changed lock
                              is another environment and versions that run in the old one keep it
    ROOT/.NAME-DIGEST.part    one that is being built, renamed when it is whole
    ROOT/.NAME-DIGEST.lock    held while it is built
    ROOT/.cache  ROOT/.pythons   uv's own; an environment's files are hard links into the cache

What is half built is of no use to anybody: whoever gets the lock removes it. The packages themselves are in uv's cache
by then, so that the second try is short.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mlgate.core.errors import FailedPrecondition
from mlgate.core.runtimes import Runtime, headline

LOCKS = Path(__file__).parent / "locks"
#: Gets what is worth telling of a build, line by line.
Tell = Callable[[str], None]


class Builder:
    def __init__(self, root: Path, *, wheelhouse: str = "", locks: Path = LOCKS) -> None:
        """With a `wheelhouse`, a directory of wheels, nothing is fetched from anywhere else."""
        self.root = root
        self._wheelhouse = os.path.abspath(wheelhouse) if wheelhouse else ""
        self._locks = locks

    def lock_of(self, runtime: Runtime) -> Path:
        """The file that says which packages, by version and hash."""
        return self._locks / f"{runtime.name}.txt"

    def directory(self, runtime: Runtime) -> str:
        """The name of the environment's directory."""
        made_of = f"{runtime.python_version}\n{self.lock_of(runtime).read_text()}"
        return f"{runtime.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    def is_built(self, runtime: Runtime) -> bool:
        # A link to a Python that was removed since does not exist either: then it is built again.
        return interpreter(self.root / self.directory(runtime)).exists()

    def build(self, runtime: Runtime, tell: Tell) -> Path:
        """The environment's directory, built unless it is there. Raises FailedPrecondition with what to do."""
        directory = self.directory(runtime)
        target = self.root / directory
        if self.is_built(runtime):
            return target
        if self._wheelhouse and not os.path.isdir(self._wheelhouse):
            raise FailedPrecondition(f"{_told(runtime)} cannot be built: the wheelhouse of the settings is not there.")
        self.root.mkdir(parents=True, exist_ok=True)
        with self._alone(directory, tell) as lock:
            if self.is_built(runtime):
                return target
            self._sweep()
            scratch = self.root / f".{directory}.part"
            shutil.rmtree(scratch, ignore_errors=True)
            if target.exists():  # its Python is gone
                os.rename(target, scratch)
                shutil.rmtree(scratch)
            try:
                tell(f"building {directory} of Python {runtime.python_version}, {headline(runtime.packages)}")
                self._install(runtime, scratch, tell, lock)
                os.rename(scratch, target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            tell(f"built {directory}")
        return target

    # ----------------------------------------------------------------------------------------------------- steps

    def _install(self, runtime: Runtime, scratch: Path, tell: Tell, lock: IO[bytes]) -> None:
        offline = ["--offline", "--no-python-downloads"] if self._wheelhouse else []
        source = ["--no-index", "--find-links", self._wheelhouse] if self._wheelhouse else []
        python = str(interpreter(scratch))
        venv = [_uv(), "venv", "--quiet", "--no-project", "--relocatable", "--python", runtime.python_version, *offline]
        made = self._run([*venv, str(scratch)], tell, lock)
        if not made:
            raise FailedPrecondition(
                f"{_told(runtime)} cannot be built: no Python {runtime.python_version} was found on the server's PATH, "
                "and none could be fetched. Install one, or choose another runtimeVersion."
            )
        install = [
            _uv(), "pip", "install", "--python", python, "--require-hashes", "--no-deps", "--only-binary", ":all:",
            "--link-mode", "hardlink", *offline, *source, "--requirements", str(self.lock_of(runtime)),
        ]  # fmt: skip
        installed = self._run(install, tell, lock)
        if not installed:
            where = "the wheelhouse" if self._wheelhouse else "the package index"
            raise FailedPrecondition(
                f"{_told(runtime)} could not be built from {where}; the server's log says why. When that is mended, "
                f"`mlgate runtimes build {runtime.runtime_version}` builds it."
            )
        # Models run where nothing can be written, so this is the only chance. Tests are a third of it and never run;
        # packages carry files of other Pythons, which do not compile and are no fault. -S: no package's code runs here.
        compile_all = ["-I", "-S", "-m", "compileall", "-q", "-q", "-j", "0", "-x", "/tests?/", str(scratch / "lib")]
        self._run([python, *compile_all], tell, lock)

    def _run(self, command: list[str], tell: Tell, lock: IO[bytes]) -> bool:
        """Run to the end; whether it went well. The child holds the lock as well, so that one which outlives a killed
        builder is never joined by another in the same directory."""
        process = subprocess.Popen(
            command,
            cwd="/",  # uv looks for settings in the folders above
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            umask=0o022,  # models may run as another user
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                if line.strip():
                    tell(re.sub(r"://[^/\s@]*@", "://***@", line.rstrip()))
        return process.returncode == 0

    def _environment(self) -> dict[str, str]:
        """The server's own, for the proxy and index that uv is set up with, without what is the server's business."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLGATE_", "PYTHON", "VIRTUAL_ENV"))}
        return {
            **kept,
            "PATH": os.pathsep.join([kept.get("PATH", os.defpath), *_pyenv()]),
            "UV_CACHE_DIR": str(self.root / ".cache"),
            "UV_PYTHON_INSTALL_DIR": str(self.root / ".pythons"),
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
        }

    # ----------------------------------------------------------------------------------------------------- alone

    @contextmanager
    def _alone(self, directory: str, tell: Tell | None) -> Iterator[IO[bytes]]:
        """Held by one builder at a time, of any process; BlockingIOError instead of waiting when nobody is told."""
        with (self.root / f".{directory}.lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if tell is None:
                    raise
                tell("another process builds it; waiting")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock

    def _sweep(self) -> None:
        """Remove what killed builders left."""
        for left in self.root.glob(".*.part"):
            with suppress(BlockingIOError), self._alone(left.name[1:].removesuffix(".part"), None):
                shutil.rmtree(left, ignore_errors=True)


def interpreter(environment: Path) -> Path:
    return environment / "bin" / "python"


def _told(runtime: Runtime) -> str:
    return f"The environment {runtime.name} (Python {runtime.python_version})"


def _uv() -> str:
    import uv

    return uv.find_uv_bin()


def _pyenv() -> list[str]:
    """Where pyenv keeps its Pythons: all of them are installed, but only the chosen ones are found on PATH."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted((str(found) for found in root.glob("versions/*/bin")), reverse=True)
