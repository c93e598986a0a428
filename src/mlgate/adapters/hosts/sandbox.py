"""Confinement of code that nobody trusts: how a model process's command line is wrapped.

    bubblewrap   namespaces of its own for files, processes and network: it sees Python, the model, nothing else
    landlock     the same files by kernel rule, the same network (none) by seccomp; other processes' existence can be
                 seen, and files it writes to its scratch folder are limited one by one, not in sum
    off          limits on memory and files only: for models that the administrator trusts; it must be asked for
    none         no way of confinement works here, so no model is loaded

Both real modes also drop capabilities and, where the files allow it, root; apply the seccomp filter and the limits of
confinement/launch.py; and give an environment, descriptors and a scratch folder that hold nothing of the server's.
`probe` believes nothing that it has not seen fail: it runs a process in each mode and lets it try to break out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mlgate.core.errors import FailedPrecondition, InvalidArgument

BUBBLEWRAP, LANDLOCK, OFF, NONE = "bubblewrap", "landlock", "off", "none"
SETTINGS = ("auto", BUBBLEWRAP, LANDLOCK, OFF)
NOBODY = 65534
THREADS = 512
FILES = 1024
SCRATCH_BYTES = 256 << 20
CONFINEMENT = Path(__file__).parent / "confinement"
LAUNCHER = str(CONFINEMENT / "launch.py")

# What every dynamically linked program needs. Whole of /usr is not given: /usr/local may hold anything.
_SYSTEM = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/nix/store", "/gnu/store",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
#: There is no /proc in the bubble, but this link: TensorFlow ends the process when it cannot read it.
_OWN_PROGRAM = "/proc/self/exe"
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")

_ASK = """
import json, sys, sysconfig
prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
print(json.dumps([sys.executable, prefixes, [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]]))
"""

_ESCAPES = """
import os, socket, sys
secret, outside, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def fails(attempt):
    try:
        attempt()
    except OSError:
        return
    print("a confined process could", attempt.__name__.replace("_", " "))
    sys.exit(1)
def read_a_file_of_the_server(): open(secret).read()
def write_beside_its_scratch_folder(): open(outside, "w")
def list_a_folder_of_the_server(): os.listdir(os.path.dirname(secret))
def open_a_connection(): socket.create_connection(("127.0.0.1", port), 1)
def send_a_datagram(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
def start_a_process(): os.fork() or os._exit(0)
for attempt in (read_a_file_of_the_server, write_beside_its_scratch_folder, list_a_folder_of_the_server,
                open_a_connection, send_a_datagram, start_a_process):
    fails(attempt)
open(os.path.join(os.environ["HOME"], "x"), "w").close()
print("confined")
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and the paths that it cannot run without."""

    executable: str
    read: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A way of confinement that was seen to work (or `none`), and why this one."""

    mode: str
    reason: str
    bubblewrap: tuple[str, ...] = ()

    def command(
        self, python: Interpreter, arguments: list[str], *, read: list[str], scratch: str, memory_bytes: int
    ) -> list[str]:
        """The command line that runs `python arguments` confined; `read` are paths it may read beside Python's own.

        To be started by the process (and the thread) whose death is to end it. Raises FailedPrecondition in mode none.
        """
        if self.mode == NONE:
            raise FailedPrecondition(f"Models cannot be loaded: {self.reason}", reason="NO_SANDBOX")
        is_bubble = self.mode == BUBBLEWRAP
        given = [*python.read, *_existing(_SYSTEM), *read]
        plan = {
            "mode": self.mode,
            "uid": NOBODY,
            "parent": 0 if is_bubble else os.getpid(),
            "scratch": "" if is_bubble else scratch,
            "read": given,
            "write": [scratch, *_existing(_DEVICES)],
            "must_read": [python.executable, LAUNCHER, *read],
            "limits": self._limits(memory_bytes),
        }
        # The launcher keeps -S: site-packages must not run before the limits stand. The program itself wants it.
        launch = [python.executable, "-I", "-S", "-B", LAUNCHER, json.dumps(plan), python.executable, *arguments]
        return [*self.bubblewrap, *_binds([*given, str(CONFINEMENT)]), "--", *launch] if is_bubble else launch

    def environment(self, scratch: str) -> dict[str, str]:
        """The whole environment of a confined process: nothing of the server's own."""
        home = "/tmp" if self.mode == BUBBLEWRAP else scratch
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        # joblib tries for a semaphore and warns when it gets none; without processes it would not use it
        joblib = {"JOBLIB_MULTIPROCESSING": "0"}
        return {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", **threads, **joblib}

    def _limits(self, memory_bytes: int) -> dict[str, int]:
        limits = {"AS": memory_bytes, "CORE": 0, "NOFILE": FILES, "FSIZE": SCRATCH_BYTES, "MEMLOCK": 0, "MSGQUEUE": 0}
        if self.mode == BUBBLEWRAP or os.geteuid() == 0:
            # Counted per user: in a user namespace, or as nobody, that is the models alone. With the server's own uid
            # it would be everything that person runs, so there the fork ban of the filter has to do.
            limits["NPROC"] = THREADS
        return limits


def probe(setting: str = "auto") -> Sandbox:
    """The confinement that this machine can give. Raises InvalidArgument for an unknown setting."""
    if setting not in SETTINGS:
        raise InvalidArgument(f"sandbox '{setting}' is not one of: {', '.join(SETTINGS)}")
    if setting == OFF:
        return Sandbox(OFF, "switched off by the administrator: models can do all that the server can")
    failures: list[str] = []
    for candidate in _candidates(setting):
        failure = _escape(candidate)
        if not failure:
            why = f" (bubblewrap cannot be used: {'; '.join(failures)})" if failures else ""
            return Sandbox(candidate.mode, candidate.reason + why, candidate.bubblewrap)
        failures.append(failure)
    return Sandbox(
        NONE,
        f"no sandbox works on this machine ({'; '.join(failures)}). Install bubblewrap, or use a kernel with Landlock"
        " (5.13 or later); sandbox=off runs models unconfined and is only for models that you trust.",
    )


@lru_cache(maxsize=256)
def interpreter(python: str) -> Interpreter:
    """What `python` needs to run, by asking it once. Raises FailedPrecondition."""
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-B", "-c", _ASK], capture_output=True, text=True, timeout=60, env={}, check=True
        )
        executable, prefixes, libraries = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise FailedPrecondition(f"The environment's Python '{python}' cannot be run: {error}") from None
    environment = Path(executable).parent.parent
    if (environment / "pyvenv.cfg").exists():
        prefixes.append(str(environment))  # without `site` a virtual environment does not know itself
    whole = [prefix for prefix in prefixes if prefix not in _SHARED_PREFIXES]
    paths = [*whole, *libraries, *_links(executable)]
    return Interpreter(executable, _outermost([*paths, *(os.path.realpath(path) for path in paths)]))


def _links(path: str) -> list[str]:
    """The path and what it links to, link by link."""
    found = [path]
    while os.path.islink(path) and len(found) < 40:
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        found.append(path)
    return found


def _outermost(paths: list[str]) -> tuple[str, ...]:
    """Existing paths without those that lie in another of them."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if os.path.exists(path) and not any(path.startswith(above + "/") for above in kept):
            kept.append(path)
    return tuple(kept)


def _existing(paths: tuple[str, ...]) -> list[str]:
    return [path for path in paths if os.path.exists(path)]


def _binds(paths: list[str]) -> list[str]:
    arguments = ["--perms", "1777", "--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp"]
    outermost = _outermost(paths)
    for folder in sorted(
        {str(above) for path in (*outermost, *_DEVICES, _OWN_PROGRAM) for above in Path(path).parents} - {"/", "/tmp"}
    ):
        arguments += ["--perms", "0755", "--dir", folder]  # by itself bubblewrap makes them for root alone
    for path in outermost:
        if path in _SYSTEM and os.path.islink(path) and not os.path.isabs(os.readlink(path)):
            arguments += ["--symlink", os.readlink(path), path]
        else:
            arguments += ["--ro-bind", path, path]
    for path in _existing(_DEVICES):
        arguments += ["--dev-bind", path, path]
    return [*arguments, "--symlink", "/model", _OWN_PROGRAM, "--remount-ro", "/", "--chdir", "/tmp"]


def _candidates(setting: str) -> list[Sandbox]:
    found = []
    program = shutil.which("bwrap")
    if setting in ("auto", BUBBLEWRAP) and program:
        spaces = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        bubble = (program, *spaces, "--die-with-parent")
        # Root needs no user namespace and can then become nobody for good; in a container only the second may work.
        if os.geteuid() == 0:
            found.append(Sandbox(BUBBLEWRAP, "bubblewrap, as nobody where files allow it", bubble))
        user = ("--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY))
        found.append(Sandbox(BUBBLEWRAP, "bubblewrap, in a user namespace", (*bubble, *user)))
    if setting in ("auto", LANDLOCK):
        found.append(Sandbox(LANDLOCK, "Landlock and seccomp"))
    return found


def _escape(sandbox: Sandbox) -> str:
    """What is wrong with a mode: empty when a process in it tried to break out and failed at everything."""
    scratch = tempfile.mkdtemp(prefix="mlgate-probe-")
    outside = tempfile.mkdtemp(prefix="mlgate-secret-")
    try:
        secret = os.path.join(outside, "mlgate-secret")
        Path(secret).write_text("secret")
        with socket.create_server(("127.0.0.1", 0)) as server:
            python = interpreter(sys.executable)
            tries = ["-I", "-c", _ESCAPES, secret, os.path.join(outside, "new"), str(server.getsockname()[1])]
            command = sandbox.command(python, tries, read=[], scratch=scratch, memory_bytes=1 << 30)
            environment = sandbox.environment(scratch)
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=60,
                env=environment,
                cwd=scratch,
                start_new_session=True,
            )
    except (OSError, subprocess.SubprocessError, FailedPrecondition) as error:
        return f"{sandbox.mode}: {error}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(outside, ignore_errors=True)
    if done.returncode == 0 and done.stdout.strip() == "confined":
        return ""
    said = (done.stdout + done.stderr).strip().splitlines()
    return f"{sandbox.mode}: {said[-1] if said else f'ended with code {done.returncode}'}"
