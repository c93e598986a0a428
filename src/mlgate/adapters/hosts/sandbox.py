"""Confinement of code that nobody trusts: how the command line of a model process, or of a job, is wrapped.

    bubblewrap   namespaces of its own for files, processes and network: it sees Python, the model, nothing else
    landlock     the same files by kernel rule, the same network (none) by seccomp; other processes' existence can be
                 seen, and files it writes to its scratch folder are limited one by one, not in sum
    loopback     for jobs only, where there are no namespaces: Landlock, whose rule for ports names the gateway's, and
                 sockets that are made outside and lead nowhere but to this machine (hosts/sockets.py)
    off          limits on memory and files only: for models that the administrator trusts; it must be asked for
    none         no way of confinement works here, so no model is loaded

Both real modes also drop capabilities and, where the files allow it, root; apply the seccomp filter and the limits of
confinement/launch.py; and give an environment, descriptors and a scratch folder that hold nothing of the server's.
`probe` believes nothing that it has not seen fail: it runs a process in each mode and lets it try to break out.

A job is a whole program, so its profile is wider: processes and threads up to a number, a working folder and a folder
for temporary files on the disk, the machine's programs to call, and a network of its own in which its gateway answers
on one port (in `loopback` that port of the machine's, and it cannot be a server itself). In the bubble it also has its
own /proc and /dev/shm; without one, files keep their modes and times, processes share no memory by name, and unix
sockets come in pairs only, since all three would lead to others.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from mlgate.adapters.hosts import sockets
from mlgate.core.errors import FailedPrecondition, InvalidArgument

BUBBLEWRAP, LANDLOCK, LOOPBACK, OFF, NONE = "bubblewrap", "landlock", "loopback", "off", "none"
SETTINGS = ("auto", BUBBLEWRAP, LANDLOCK, OFF)
NOBODY = 65534
THREADS = 512
FILES = 1024
SCRATCH_BYTES = 256 << 20
SHARED_BYTES = 1 << 30
#: Where a probed job finds its door: a port that only root may open elsewhere, as the gateway's are.
_PROBED_PORT = 443
_NAMESPACES = ", and let this server make network namespaces, or run it on Linux 6.7 or later"
#: The kernel counts the processes of every user but root.
_AS_ROOT = "the number of a job's processes is not limited, since only root can read the Python that they run"
CONFINEMENT = Path(__file__).parent / "confinement"
LAUNCHER = str(CONFINEMENT / "launch.py")

# What every dynamically linked program needs. Whole of /usr is not given: /usr/local may hold anything.
_SYSTEM = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/nix/store", "/gnu/store",
)  # fmt: skip
#: What a job may call and look up, and the two files without which it does not know its own loopback by name.
_MACHINE = (
    "/bin", "/usr/bin", "/usr/local/bin", "/sys/devices/system/cpu", "/etc/mime.types", "/etc/protocols",
    "/etc/services",
)  # fmt: skip
_NAMES = ("/etc/hosts", "/etc/nsswitch.conf")
#: Users for jobs, of the range that systemd keeps for users which live as long as a service. Processes are counted by
#: user, so no job takes another's, or a model's, share.
_LOWEST_UID, _UIDS = 61184, 4336
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_OWN_PROGRAM = "/proc/self/exe"
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")

_ASK = """
import json, sys, sysconfig
prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
print(json.dumps([sys.executable, prefixes, [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]]))
"""

_ATTEMPTS = """
import os, socket, sys
secret, outside, port, server = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def fails(attempt):
    try:
        attempt()
    except OSError:
        return
    print("a confined process could", attempt.__name__.replace("_", " "))
    sys.exit(1)
def read_a_file_of_the_server(): open(secret).read()
def write_beside_its_own_folder(): open(outside, "w")
def list_a_folder_of_the_server(): os.listdir(os.path.dirname(secret))
def open_a_connection(): socket.create_connection(("127.0.0.1", port), 1)
def send_a_datagram(to="192.0.2.1"): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (to, port))
def talk_to_a_socket_with_a_name(): socket.socket(socket.AF_UNIX).connect(os.path.join(os.path.dirname(secret), "s"))
for attempt in (read_a_file_of_the_server, write_beside_its_own_folder, list_a_folder_of_the_server,
                open_a_connection, send_a_datagram, talk_to_a_socket_with_a_name):
    fails(attempt)
open(os.path.join(os.environ["HOME"], "x"), "w").close()
"""
_MODEL_ATTEMPTS = """
def start_a_process(): os.fork() or os._exit(0)
def open_a_socket(): send_a_datagram("127.0.0.1")
fails(start_a_process)
fails(open_a_socket)
print("confined")
"""
#: What a job must not be able to do, and what it must: a probe that only failed would call a broken sandbox a good one.
_JOB_ATTEMPTS = """
import ctypes, subprocess
def signal_the_server(): os.kill(server, 0)
def make_a_namespace():
    if ctypes.CDLL(None).unshare(0x10000000) != 0:
        raise OSError
def open_a_connection_by_sending(): socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", port))
fails(signal_the_server)
fails(make_a_namespace)
fails(open_a_connection_by_sending)
socket.create_connection(("127.0.0.1", int(sys.argv[5])), 10).close()
socket.getaddrinfo("localhost", 80)
subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
print("confined" if os.getuid() else "confined as root")
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and the paths that it cannot run without."""

    executable: str
    read: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may take: memory and file size in bytes for each of its processes, and their number with all
    threads."""

    memory_bytes: int = 8 << 30
    file_bytes: int = 20 << 30
    processes: int = 2048
    open_files: int = 4096

    def resources(self) -> dict[str, int]:
        """By the names of setrlimit."""
        return {
            "AS": self.memory_bytes, "FSIZE": self.file_bytes, "NPROC": self.processes, "NOFILE": self.open_files,
            "CORE": 0, "MEMLOCK": 0, "MSGQUEUE": 0,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Door:
    """Where a job finds its gateway: ports on its loopback, whose listening sockets go out through `fd`, an inherited
    unix socket (`pass_fds`), and a file of host names that mean the gateway, in the place of /etc/hosts.

    In the mode loopback the ports are the gateway's own, there are no such names, and through `fd` goes the descriptor
    on which the kernel asks for the job's sockets."""

    fd: int
    ports: tuple[int, ...]
    hosts: str


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
            "job": False,
            "uid": NOBODY,
            "parent": 0 if is_bubble else os.getpid(),
            "own": [] if is_bubble else [scratch],
            "read": given,
            "write": [scratch, *_existing(_DEVICES)],
            "must_read": [python.executable, LAUNCHER, *read],
            "limits": self._limits(memory_bytes),
        }
        launch = _launch(python, plan, arguments)
        return [*self.bubblewrap, *_binds([*given, str(CONFINEMENT)]), "--", *launch] if is_bubble else launch

    def job_command(
        self,
        python: Interpreter,
        arguments: list[str],
        *,
        read: list[str],
        work: str,
        temporary: str,
        limits: JobLimits,
        door: Door | None,
    ) -> list[str]:
        """The command line that runs `python arguments` as a job; `work` and `temporary` are folders that become the
        job's. Raises FailedPrecondition where jobs cannot be confined."""
        if self.mode == NONE:
            raise FailedPrecondition(f"Jobs cannot be run: {self.reason}", reason="NO_SANDBOX")
        is_bubble = self.mode == BUBBLEWRAP
        given = [*python.read, *_existing((*_SYSTEM, *_MACHINE)), *read]
        plan = {
            "mode": self.mode,
            "job": True,
            "door": None if door is None else {"fd": door.fd, "ports": door.ports, "hosts": door.hosts},
            "uid": _LOWEST_UID + os.stat(work).st_ino % _UIDS,
            "parent": 0 if is_bubble else os.getpid(),
            "own": [work, "/tmp" if is_bubble else temporary],
            "read": [*given, *_existing(_NAMES)],
            "write": [work, temporary, *_existing(_DEVICES)],
            "must_read": [python.executable, LAUNCHER, *read],
            "limits": limits.resources(),
        }
        launch = _launch(python, plan, arguments)
        if not is_bubble:
            return launch
        folders = [flag for above in reversed(Path(work).parents) for flag in ("--perms", "0755", "--dir", str(above))]
        first = ["--bind", temporary, "/tmp", *folders]
        rest = ["--bind", work, work, "--size", str(SHARED_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm"]
        rest += ["--proc", "/proc"]
        for link, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            rest += ["--symlink", f"/proc/self/{target}", f"/dev/{link}"]
        etc = CONFINEMENT / "etc"
        rest += ["--ro-bind", str(etc / "nsswitch.conf"), "/etc/nsswitch.conf"]
        rest += ["--ro-bind", str(etc / "hosts") if door is None else door.hosts, "/etc/hosts"]
        if "--unshare-user" in self.bubblewrap:
            rest += ["--cap-add", "CAP_NET_BIND_SERVICE"]  # for the doors; the launcher drops it
        rest += ["--hostname", "job", "--chdir", work]
        return [*self.bubblewrap, *_binds([*given, str(CONFINEMENT)], first, rest), "--", *launch]

    def job_environment(self, python: Interpreter, work: str, temporary: str) -> dict[str, str]:
        """The environment of a job, to which the caller adds what the job is told."""
        programs = f"{os.path.dirname(python.executable)}:/usr/local/bin:/usr/bin:/bin"
        shown = "/tmp" if self.mode == BUBBLEWRAP else temporary
        alone = {} if self.mode == BUBBLEWRAP else {"JOBLIB_MULTIPROCESSING": "0"}
        who = dict.fromkeys(("USER", "LOGNAME"), "job")
        return {"PATH": programs, "HOME": work, "TMPDIR": shown, "LANG": "C.UTF-8", **who, **alone}

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


def probe(setting: str = "auto", *, for_jobs: bool = False) -> Sandbox:
    """The confinement that this machine can give to models, or to jobs. Raises InvalidArgument for an unknown
    setting."""
    if setting not in (*SETTINGS, *([LOOPBACK] if for_jobs else [])):
        raise InvalidArgument(f"sandbox '{setting}' is not one of: {', '.join(SETTINGS)}")
    if setting == OFF:
        return Sandbox(OFF, "switched off by the administrator: models can do all that the server can")
    failures: list[str] = []
    for candidate in _candidates(setting):
        if candidate.mode == LOOPBACK and not for_jobs:
            continue
        failure = _escape(candidate, for_jobs)
        if failure in ("", _AS_ROOT):
            why = f" (what is better cannot be used: {'; '.join(failures)})" if failures else ""
            why += f"; {failure}" if failure else ""
            return Sandbox(candidate.mode, candidate.reason + why, candidate.bubblewrap)
        failures.append(failure)
    return Sandbox(
        NONE,
        f"no sandbox works on this machine ({'; '.join(failures)}). Install bubblewrap, or use a kernel with Landlock"
        f" (5.13 or later){_NAMESPACES if for_jobs else ''}; sandbox=off runs models unconfined and is only for models"
        " that you trust.",
    )


@cache
def for_jobs(sandbox: Sandbox) -> Sandbox:
    """The confinement of jobs where models have `sandbox`: the same way, or the next, tried out at the first
    question."""
    return sandbox if sandbox.mode in (OFF, NONE) else probe(sandbox.mode, for_jobs=True)


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


def _launch(python: Interpreter, plan: dict[str, object], arguments: list[str]) -> list[str]:
    # The launcher keeps -S: site-packages must not run before the limits stand. The program itself wants it.
    return [python.executable, "-I", "-S", "-B", LAUNCHER, json.dumps(plan), python.executable, *arguments]


def _existing(paths: tuple[str, ...]) -> list[str]:
    return [path for path in paths if os.path.exists(path)]


_SCRATCH = ("--perms", "1777", "--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp")
#: There is no /proc in a model's bubble, but this link: TensorFlow ends the process when it cannot read it.
_MODEL_REST = ("--symlink", "/model", _OWN_PROGRAM, "--chdir", "/tmp")


def _binds(paths: list[str], temporary: Sequence[str] = _SCRATCH, rest: Sequence[str] = _MODEL_REST) -> list[str]:
    """What the bubble shows: `paths` to read, the devices, and bubblewrap's arguments `temporary` and `rest`."""
    arguments = [*temporary]
    outermost = _outermost(paths)
    for folder in sorted(
        {str(above) for path in (*outermost, *_DEVICES, _OWN_PROGRAM) for above in Path(path).parents} - {"/", "/tmp"}
    ):
        arguments += ["--perms", "0755", "--dir", folder]  # by itself bubblewrap makes them for root alone
    for path in outermost:
        if path in (*_SYSTEM, *_MACHINE) and os.path.islink(path) and not os.path.isabs(os.readlink(path)):
            arguments += ["--symlink", os.readlink(path), path]
        else:
            arguments += ["--ro-bind", path, path]
    for path in _existing(_DEVICES):
        arguments += ["--dev-bind", path, path]
    return [*arguments, *rest, "--remount-ro", "/"]


def _candidates(setting: str) -> list[Sandbox]:
    """Ways to be tried, the best one first; the last is for jobs only."""
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
    if setting in ("auto", LANDLOCK, LOOPBACK):
        found.append(Sandbox(LOOPBACK, "Landlock and seccomp, with the machine's loopback"))
    return found


def _escape(sandbox: Sandbox, for_jobs: bool) -> str:
    """What is wrong with a mode: empty when a process in it tried to break out and failed at everything."""
    scratch = tempfile.mkdtemp(prefix="mlgate-probe-")
    outside = tempfile.mkdtemp(prefix="mlgate-secret-")
    inner, outer = socket.socketpair()
    try:
        secret = os.path.join(outside, "mlgate-secret")
        Path(secret).write_text("secret")
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_server(("127.0.0.1", 0)) as gateway,
            socket.socket(socket.AF_UNIX) as named,
            inner,
            outer,
        ):
            named.bind(os.path.join(outside, "s"))
            named.listen()
            os.chmod(os.path.join(outside, "s"), 0o777)
            port = server.getsockname()[1]
            told = [secret, os.path.join(outside, "new"), str(port), str(os.getpid())]
            door = _PROBED_PORT
            if sandbox.mode == LOOPBACK:
                door = gateway.getsockname()[1]
                threading.Thread(target=sockets.answer_through, args=(outer,), daemon=True).start()
            done = _try_out(sandbox, scratch, told, inner if for_jobs else None, door)
    except (OSError, subprocess.SubprocessError, FailedPrecondition) as error:
        return f"{sandbox.mode}: {error}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(outside, ignore_errors=True)
    if done.returncode == 0 and done.stdout.strip() == "confined":
        return ""
    if done.returncode == 0 and done.stdout.strip() == "confined as root":
        return _AS_ROOT
    said = (done.stdout + done.stderr).strip().splitlines()
    return f"{sandbox.mode}: {said[-1] if said else f'ended with code {done.returncode}'}"


def _try_out(
    sandbox: Sandbox, scratch: str, told: list[str], gateway: socket.socket | None, door_port: int
) -> subprocess.CompletedProcess[str]:
    python = interpreter(sys.executable)
    given: tuple[int, ...] = ()
    if gateway is None:
        tries = ["-I", "-c", _ATTEMPTS + _MODEL_ATTEMPTS, *told]
        command = sandbox.command(python, tries, read=[], scratch=scratch, memory_bytes=1 << 30)
        environment = sandbox.environment(scratch)
    else:
        work, temporary = os.path.join(scratch, "work"), os.path.join(scratch, "temporary")
        os.mkdir(work)
        os.mkdir(temporary)
        given = (gateway.fileno(),)
        door = Door(gateway.fileno(), (door_port,), str(CONFINEMENT / "etc" / "hosts"))
        tries = ["-I", "-c", _ATTEMPTS + _JOB_ATTEMPTS, *told, str(door_port)]
        command = sandbox.job_command(
            python, tries, read=[], work=work, temporary=temporary, limits=JobLimits(), door=door
        )
        environment, scratch = sandbox.job_environment(python, work, temporary), work
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        cwd=scratch,
        pass_fds=given,
        start_new_session=True,
    )
