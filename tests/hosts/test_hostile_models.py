"""Pickles that try to break out, on every way of confinement that this machine has.

One process a mode tries everything and tells how each attempt ended; each attempt is a test of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.sandbox import Sandbox
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.core.errors import FailedPrecondition, Unavailable
from mlgate.ports import ModelSpec
from tests.hosts.models import Written, iris, spec

ATTEMPTS = r"""
import ctypes, glob, json, mmap, os, resource, signal, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result < 0: raise OSError(ctypes.get_errno(), "refused")
    return result
def read(path):
    with open(path, "rb") as f: return f.read(100)

def read_a_secret_of_the_server(): read(SECRET)
def list_the_server_data(): os.listdir(os.path.dirname(SECRET))
def read_another_model(): read(OTHER_MODEL)
def read_shadow(): read("/etc/shadow")
def read_a_file_at_home():
    for path in HOME_FILES: read(path); return
    raise OSError("nobody is at home")
def find_the_secret_in_the_environment():
    if "MLGATE_TEST_SECRET" not in os.environ: raise OSError("absent")
def read_the_environment_of_the_server(): read("/proc/%d/environ" % SERVER)
def read_the_memory_of_the_server(): read("/proc/%d/maps" % SERVER); open("/proc/%d/mem" % SERVER, "r+b").close()
def read_the_environment_of_any_other_process():
    found = [p for p in glob.glob("/proc/[0-9]*/environ") if int(p.split("/")[2]) != os.getpid()]
    if not found: raise OSError("none to be seen")
    for p in found:
        try: read(p); return
        except OSError: pass
    raise OSError("none readable")
def trace_the_server(): checked(libc.ptrace(16, SERVER, None, None))
def read_memory_by_call():
    local = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    checked(libc.process_vm_readv(SERVER, local, 1, local, 1, 0))
def signal_the_server(): os.kill(SERVER, 0)
def signal_everybody(): os.kill(-1, 0)
def open_tcp(): socket.create_connection(("127.0.0.1", PORT), 2)
def open_tcp_ipv6(): socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
def send_udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", PORT))
def resolve_a_name(): socket.getaddrinfo("localhost.example", 80)
def open_netlink(): socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
def connect_to_the_control_socket(): socket.socket(socket.AF_UNIX).connect(CONTROL)
def connect_an_inherited_descriptor():
    last = OSError("no socket")
    for fd in range(3, 64):
        try: s = socket.socket(fileno=os.dup(fd))
        except OSError: continue
        try: s.connect(CONTROL); return
        except OSError as e: last = e
    raise last
def make_a_socket_pair(): socket.socketpair()
def write_beside_the_scratch_folder(): open(OUTSIDE, "w")
def write_into_the_model(): open(os.path.join(MODEL, "new"), "w")
def remove_the_model(): os.unlink(os.path.join(MODEL, "model.joblib"))
def write_into_the_interpreter(): open(os.path.join(sys.prefix, "new"), "w")
def make_the_secret_unreadable(): os.chmod(SECRET, 0)
def change_times_of_the_secret(): os.utime(SECRET, (0, 0))
def make_the_model_writable(): os.chmod(MODEL, 0o777)
def become_root_again(): os.setuid(0) if os.getuid() else (_ for _ in ()).throw(OSError("nothing to gain"))
def change_root(): os.chroot("/")
def mount_something(): checked(libc.mount(b"none", HOME.encode(), b"tmpfs", 0, None))
def make_a_namespace(): checked(libc.unshare(0x10000000))
def set_up_io_uring(): checked(libc.syscall(425, 4, ctypes.create_string_buffer(256)))
def raise_its_limits(): resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
def fork_a_process(): os.fork() or os._exit(0)
def run_a_program(): __import__("subprocess").run([sys.executable, "-c", ""], check=True)
def bomb_with_processes():
    for _ in range(1000): os.fork() or os._exit(0)
def bomb_with_threads():
    done = threading.Event(); started = []
    try:
        for _ in range(20000):
            t = threading.Thread(target=done.wait); t.start(); started.append(t)
    except (RuntimeError, MemoryError): raise OSError("bounded")
    finally:
        done.set()
        for t in started: t.join()
def bomb_with_memory():
    held = []
    try:
        for _ in range(64): held.append(mmap.mmap(-1, 64 << 20))
    except (MemoryError, OSError): raise OSError("bounded")
def hide_memory_in_a_file(): os.memfd_create("x")
def fill_a_file():
    with open(os.path.join(HOME, "big"), "wb") as f: f.truncate(8 << 30)

def ended(attempt):
    try: attempt()
    except BaseException as e: return type(e).__name__ + ":" + str(getattr(e, "errno", "") or "")
    return "ESCAPED"
"""

NAMES = re.findall(r"^def (\w+)\(\):", ATTEMPTS, re.MULTILINE)
REFUSALS = ("PermissionError", "FileNotFoundError", "OSError", "gaierror", "ValueError", "ProcessLookupError",
            "NotADirectoryError", "BlockingIOError")  # fmt: skip


def attempts(**facts: Any) -> Written:
    given = "\n".join(f"{name} = {value!r}" for name, value in facts.items())
    return Written(
        f"{ATTEMPTS}\n{given}\nHOME = os.environ['HOME']\n"
        f"told = {{name: ended(globals()[name]) for name in {NAMES!r}}}\n"
        "path = os.path.join(HOME, 'works'); open(path, 'w').close(); os.unlink(path)\n"
        "print('TOLD ' + json.dumps(told), flush=True)\nraise RuntimeError('that was all')\n"
    )


class Scene:
    """A server with a secret, a control socket, a port and an honest model, beside a hostile one."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.lines: list[str] = []
        self.supervisor = ModelSupervisor(self.run, sandbox, on_log=lambda uid, line: self.lines.append(line))
        self.honest = spec(folder, iris(), "honest")
        self.supervisor.load(self.honest)

    def still_predicts(self) -> bool:
        async def ask() -> bytes:
            host = SocketModelHost(self.run)
            try:
                return (await host.predict(self.honest, b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}', 30)).body
            finally:
                await host.close()

        return asyncio.run(ask()) == b'{"predictions":[0]}'


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, confined: Sandbox) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("hostile"), confined)
    yield made
    made.supervisor.close()


@pytest.fixture(scope="module")
def told(scene: Scene) -> dict[str, str]:
    """How each attempt of the hostile model ended."""
    data = scene.folder / "data"
    data.mkdir()
    (data / "database").write_text("secret")
    os.environ["MLGATE_TEST_SECRET"] = "secret"
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = {
            "SECRET": str(data / "database"),
            "OTHER_MODEL": str(Path(scene.honest.directory) / "model.joblib"),
            "HOME_FILES": [str(path) for path in Path.home().iterdir() if path.is_file()],
            "SERVER": os.getpid(),
            "PORT": server.getsockname()[1],
            "CONTROL": str(scene.run / "host.sock"),
            "OUTSIDE": str(data / "new"),
            "MODEL": str(scene.folder / "hostile"),
        }
        hostile = spec(scene.folder, attempts(**facts), "hostile", memory_bytes=2 << 30)
        with pytest.raises(FailedPrecondition, match="that was all"):
            scene.supervisor.load(hostile)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    (line,) = [line for line in scene.lines if line.startswith("TOLD ")] or [""]
    assert (data / "database").read_text() == "secret"
    assert sorted(path.name for path in data.iterdir()) == ["database"]
    del os.environ["MLGATE_TEST_SECRET"]
    return json.loads(line[5:])


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_model_fails_to(told: dict[str, str], name: str) -> None:
    assert told[name].split(":")[0] in REFUSALS, told[name]


def test_an_honest_model_goes_on_predicting_beside_a_hostile_one(told: dict[str, str], scene: Scene) -> None:
    assert scene.still_predicts()


def test_a_model_that_wants_too_much_memory_is_told_so(scene: Scene) -> None:
    greedy = spec(scene.folder, Written("model = bytearray(64 << 30)"), "greedy", memory_bytes=2 << 30)
    with pytest.raises(FailedPrecondition, match="does not fit in the memory limit"):
        scene.supervisor.load(greedy)
    assert scene.still_predicts()


def test_a_model_that_kills_its_process_while_loading_is_reported(scene: Scene) -> None:
    fatal = spec(scene.folder, Written("import os\nprint('goodbye', flush=True)\nos._exit(7)"), "fatal")
    with pytest.raises(FailedPrecondition, match=r"ended with code 7; its last words: goodbye"):
        scene.supervisor.load(fatal)
    assert scene.still_predicts()


def test_a_model_that_floods_its_log_is_cut_short(scene: Scene) -> None:
    flood = spec(scene.folder, Written("for i in range(200000): print('flood')\nraise RuntimeError('dry')"), "flood")
    with pytest.raises(FailedPrecondition, match="dry"):
        scene.supervisor.load(flood)
    assert sum(line == "flood" for line in scene.lines) < 2000


def test_a_model_that_lies_about_itself_fools_only_its_own_callers(scene: Scene) -> None:
    """It reports readiness by itself and then answers frames with nonsense."""
    source = """
import json, os, socket, sys
start = json.loads(sys.argv[1])
os.write(start["status"], b'{"ok": true}\\n')
listener = socket.socket(fileno=start["listen"])
listener.setblocking(True)
while True:
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall(b"\\xff" * 64)
"""
    liar = spec(scene.folder, Written(source), "liar")
    scene.supervisor.load(liar)
    assert scene.still_predicts()

    async def ask(spec: ModelSpec) -> None:
        host = SocketModelHost(scene.run)
        try:
            with pytest.raises(Unavailable):
                await host.predict(spec, b"{}", 10)
        finally:
            await host.close()

    asyncio.run(ask(liar))
    scene.supervisor.unload("liar")
