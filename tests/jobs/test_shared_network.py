"""Jobs where a container forbids namespaces: in the machine's network, with their gateway and nothing else of it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mlgate.adapters.hosts.confinement import landlock, seccomp
from mlgate.adapters.hosts.sandbox import LOOPBACK, OFF, Sandbox, probe
from mlgate.adapters.runners.gateway import Gateway
from tests.harness import Server
from tests.hosts.test_sandbox import verdict
from tests.http.people import Api
from tests.jobs.confined import ConfinedJob
from tests.jobs.predictions import BatchLab, counts, json_lines, rows_of

CONTAINER = Path(__file__).with_name("container.py")


@pytest.fixture(scope="module")
def shared() -> Sandbox:
    found = probe(LOOPBACK, for_jobs=True)
    assert found.mode == LOOPBACK, found.reason
    return found


# ------------------------------------------------------------------------------------------------------ the attacks

WAYS = """
import ctypes, errno, os, socket, struct, sys
from urllib.parse import urlsplit
own, server, other, here = urlsplit(os.environ["MLGATE_SERVER"]).port, *map(int, sys.argv[1:3]), sys.argv[3]
libc = ctypes.CDLL(None, use_errno=True)
def tries(name, attempt):
    try:
        attempt()
    except (OSError, ValueError):
        return
    print("could", name)
def connects(address, prepare=lambda one: None, timeout=2):
    with socket.socket() as one:
        one.settimeout(timeout)
        prepare(one)
        one.connect(address)
def option(level, name, value):
    return lambda one: one.setsockopt(level, name, value)
lo, addresses = b"lo\\0", ["127.0.0.1", "127.0.0.2", "0.0.0.0", here]
for address in addresses:
    for port in (server, other):
        tries(f"connect to {address}:{port}", lambda: connects((address, port)))
        for call in ("sendto", "sendmsg"):
            def by_sending():
                with socket.socket() as one:
                    if call == "sendto":
                        one.sendto(b"GET /healthz HTTP/1.0\\r\\n\\r\\n", 0x20000000, (address, port))
                    else:
                        one.sendmsg([b"x"], [], 0x20000000, (address, port))
            tries(f"{call} a connection to {address}:{port}", by_sending)
        fast = option(socket.IPPROTO_TCP, 30, 1)
        tries(f"connect fast to {address}:{port}", lambda: connects((address, port), fast))
        smc = option(socket.IPPROTO_TCP, 31, b"smc")
        tries(f"connect by SMC to {address}:{port}", lambda: connects((address, port), smc))
for device in (b"", b"\\0", b"eth0\\0"):
    tries(f"leave loopback for {device}", lambda: option(socket.SOL_SOCKET, 25, device)(socket.socket()))
tries("leave loopback by number", lambda: option(socket.SOL_SOCKET, 62, 0)(socket.socket()))
def unconnected():
    with socket.socket() as one:
        one.connect(("127.0.0.1", own))
        libc.connect(one.fileno(), struct.pack("=H14x", 0), 16)
        device = one.getsockopt(socket.SOL_SOCKET, 25, 16)
        if device.rstrip(b"\\0") != b"lo":
            print("left loopback by AF_UNSPEC", device)
unconnected()
tries("reach the port of its gateway elsewhere", lambda: connects(("192.0.2.1", own), timeout=1))
for kind, protocol in ((socket.SOCK_DGRAM, 0), (socket.SOCK_RAW, 1), (socket.SOCK_STREAM, 262),
                       (socket.SOCK_STREAM, 132), (socket.SOCK_SEQPACKET, 132), (socket.SOCK_STREAM, 256)):
    tries(f"open a socket {kind}, {protocol}", lambda: socket.socket(socket.AF_INET, kind, protocol))
for family in set(socket.AddressFamily) - {socket.AF_INET}:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        tries(f"open a socket of {family.name}", lambda: socket.socket(family, kind))
tries("be a server", lambda: socket.create_server(("127.0.0.1", 0)))
tries("listen", lambda: socket.socket().listen())
connects(("127.0.0.1", own))
for address in addresses[1:3]:
    tries(f"reach something of its gateway's port at {address}", lambda: connects((address, own)) or print(address))
print("tried all")
"""


def test_a_job_reaches_its_gateway_and_nothing_else_of_the_machines_network(
    server: Server, shared: Sandbox, tmp_path: Path
) -> None:
    with (
        ConfinedJob(shared, tmp_path / "one", server.url, server.token()) as one,
        ConfinedJob(shared, tmp_path / "two", server.url, server.token("user:nobody@example.com")) as two,
    ):
        others = int(two.gateway.environment()["MLGATE_SERVER"].rpartition(":")[2])
        said = one.run(WAYS, server.port(), others, _own_address()).splitlines()
    # 0.0.0.0 is another name of 127.0.0.1
    assert [line for line in said if not line.endswith("0.0.0.0")] == ["tried all"]


def _own_address() -> str:
    """An address of this machine beside loopback, where it has one: no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.3"
        return str(one.getsockname()[0])


def test_sockets_keep_what_was_asked_of_them(server: Server, shared: Sandbox, tmp_path: Path) -> None:
    code = """
import fcntl, os, socket, subprocess, sys, threading
for kind, flags in ((socket.SOCK_NONBLOCK, os.O_NONBLOCK), (0, 0)):
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM | kind)
    assert fcntl.fcntl(one.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK == flags
    assert not os.get_inheritable(one.fileno())
    assert one.type == socket.SOCK_STREAM
made = []
threads = [threading.Thread(target=lambda: made.append(socket.socket())) for _ in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len({one.fileno() for one in made}) == 50
subprocess.run([sys.executable, "-c", "import socket; socket.socket()"], check=True)
assert socket.getaddrinfo("localhost", 80)
print("kept")
"""
    with ConfinedJob(shared, tmp_path / "one", server.url, server.token()) as job:
        assert job.run(code) == "kept\n"


def test_a_job_without_a_gateway_has_no_sockets(shared: Sandbox, tmp_path: Path) -> None:
    with ConfinedJob(shared, tmp_path / "one", "http://127.0.0.1:1", "x") as job:
        job.gateway.door = lambda: None  # type: ignore[method-assign]
        said = job.run("import socket\ntry: socket.socket()\nexcept OSError as error: print(error.strerror)")
    assert said == "Function not implemented\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_the_machine_does_not_speak_for_a_job(server: Server, tmp_path: Path) -> None:
    gateway = Gateway(
        server.url, lambda: server.token(), account="a@p", project="p", directory=tmp_path, mode=OFF
    )  # fmt: skip
    gateway.start()
    try:
        port = int(gateway.environment()["MLGATE_SERVER"].rpartition(":")[2])
        for user, is_answered in ((0, True), (65534, False)):
            os.seteuid(user)
            try:
                theirs = socket.socket()
            finally:
                os.seteuid(0)
            with theirs, suppress(ConnectionError):
                theirs.settimeout(60)
                theirs.connect(("127.0.0.1", port))
                theirs.sendall(b"GET /storage/v1/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert bool(theirs.recv(1)) == is_answered
    finally:
        gateway.close()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_asks_for_sockets_and_refuses_ways_around_them(machine: str) -> None:
    column, architecture = seccomp.ARCHITECTURES[machine]
    code = seccomp.program(machine, 77, seccomp.JOB_SCOPED, asks=True)
    refused = seccomp.REFUSE | 1
    table = [
        (seccomp.SOCKET, (2, 1, 0), seccomp.ASK), (seccomp.SOCKET, (10, 1, 0), seccomp.REFUSE | 97),
        (seccomp.SOCKET, (16, 3, 0), seccomp.REFUSE | 97), (seccomp.SOCKET, (1, 1, 0), seccomp.REFUSE | 97),
        (seccomp.SOCKETPAIR, (1, 1, 0), seccomp.ALLOW), (seccomp.SOCKETPAIR, (1, 2, 0), refused),
        ((49, 200), (3, 0, 16), refused), ((50, 201), (3, 1), refused), ((42, 203), (3, 0, 16), seccomp.ALLOW),
        ((44, 206), (3, 0, 9, 0), seccomp.ALLOW), ((44, 206), (3, 0, 9, 0x20004000), refused),
        ((46, 211), (3, 0, 0), seccomp.ALLOW), ((46, 211), (3, 0, 0x20000000), refused),
        ((307, 269), (3, 0, 1, 0x20000000), refused), (seccomp.SET_OPTION, (3, 6, 1), seccomp.ALLOW),
        (seccomp.SET_OPTION, (3, 6, 31), refused), (seccomp.SET_OPTION, (3, 1, 31), seccomp.ALLOW),
    ]  # fmt: skip
    for call, arguments, expected in table:
        assert verdict(code, architecture, call[column], *arguments) == expected, (call, arguments)


def test_a_kernel_without_rules_for_ports_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda libc: 3)
    with pytest.raises(OSError, match=r"has no rules for ports \(version 3; Linux 6\.7 has\)"):
        landlock.ruleset(None, [], [], [1])


# ------------------------------------------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def contained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchLab]:
    """A server in what a container gives it."""
    server = Server(tmp_path_factory.mktemp("container") / "data", settings={"MLGATE_RUNNER_SLOTS": "2"})
    server.within = (sys.executable, str(CONTAINER))
    with Api(server.initialize().start()) as api:
        lab = BatchLab(api, "jobs-contained")
        lab.make()
        lab.put_models()
        yield lab
    server.close()


def test_a_server_in_a_container_runs_jobs_that_reach_their_buckets(contained: BatchLab) -> None:
    job = contained.run("""
import sys
from google.cloud import storage
blob = storage.Client().bucket(sys.argv[1]).blob("made")
blob.upload_from_string("by a job")
print(blob.download_as_text())
""", contained.bucket)  # fmt: skip
    assert job["state"] == "SUCCEEDED", job
    assert contained.lines(job["jobId"])[-1] == "by a job"


def test_a_server_in_a_container_predicts_batches(contained: BatchLab) -> None:
    rows = rows_of(20)
    job = contained.predict(contained.upload("rows.json", json_lines(rows)))
    assert counts(job) == ("SUCCEEDED", 20, 0), job
    assert contained.results(job["jobId"]) == pytest.approx(contained.expected(rows))


def test_a_cluster_is_refused_where_its_processes_could_not_meet(contained: BatchLab) -> None:
    cluster = {"scaleTier": "CUSTOM", "masterType": "n1-standard-4", "workerType": "n1-standard-4", "workerCount": "1"}
    job = contained.run("print('never')", **cluster)
    assert job["state"] == "FAILED"
    assert "network of its own" in job["errorMessage"]
    assert "never" not in contained.lines(job["jobId"])


def test_a_job_in_a_container_is_cancelled_with_all_that_it_started(contained: BatchLab) -> None:
    job_id = contained.submit("""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", child.pid, flush=True)
child.wait()
""")  # fmt: skip
    contained.until_line(job_id, "started")
    child = int(contained.lines(job_id)[-1].split()[1])
    contained.api.done(contained.owner, "POST", f"{contained.path}/jobs/{job_id}:cancel", {})
    assert contained.wait(job_id)["state"] == "CANCELLED"
    assert not Path(f"/proc/{child}").exists()
