"""Model processes from the outside: the supervisor starts and watches them, the client asks them."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import joblib
import pytest

from mlgate.adapters.hosts import control
from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.memory import MemoryModelHost
from mlgate.adapters.hosts.sandbox import Sandbox
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.adapters.runtimes import frameworks
from mlgate.adapters.runtimes.pickled import load_pickled
from mlgate.core.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, RpcError, Unavailable
from mlgate.ports import ModelAnswer, ModelSpec
from tests.hosts.models import Written, iris, model_class, spec

T = TypeVar("T")
ROW = b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
# What the first number of an instance makes this model do.
MOODS = """
mood = x[0][0]
if mood == -1: os.kill(os.getpid(), signal.SIGKILL)
if mood == -2: time.sleep(3600)
if mood == -4: time.sleep(0.5)
if mood == -3: print('last thoughts', flush=True); os._exit(9)
return x[:, 0]
"""


def asked(*rows: list[float]) -> bytes:
    return json.dumps({"instances": rows}).encode()


def run(supervisor: ModelSupervisor, body: Callable[[SocketModelHost], Awaitable[T]], **options: Any) -> T:
    """Run `body` with a host in an event loop of its own."""

    async def inside() -> T:
        host = SocketModelHost(supervisor.run_dir, **options)
        try:
            return await body(host)
        finally:
            await host.close()

    return asyncio.run(inside())


def row_of(supervisor: ModelSupervisor, uid: str) -> dict[str, Any]:
    (found,) = [row for row in supervisor.running() if row["uid"] == uid]
    return found


@pytest.fixture(scope="module")
def flowers(supervisor: ModelSupervisor, folder: Path) -> ModelSpec:
    made = spec(folder, iris(), "flowers")
    supervisor.load(made)
    return made


def test_a_loaded_model_answers(supervisor: ModelSupervisor, flowers: ModelSpec) -> None:
    async def body(host: SocketModelHost) -> None:
        assert await host.predict(flowers, ROW, 10) == ModelAnswer(200, b'{"predictions":[0]}')

    run(supervisor, body)
    row = row_of(supervisor, "flowers")
    assert row["pid"] > 0
    assert row["rss"] > 10 << 20
    assert row["restarts"] == 0


def test_loading_what_is_loaded_does_nothing(supervisor: ModelSupervisor, flowers: ModelSpec) -> None:
    pid = row_of(supervisor, "flowers")["pid"]
    supervisor.load(flowers)
    assert row_of(supervisor, "flowers")["pid"] == pid


def test_an_error_of_the_model_is_an_answer(supervisor: ModelSupervisor, flowers: ModelSpec) -> None:
    async def body(host: SocketModelHost) -> None:
        for wrong in (b"", b"[", asked([1.0]), b"[" * 50_000, b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}"):
            answer = await host.predict(flowers, wrong, 10)
            assert answer.status == 400
            assert "(Error code: " in json.loads(answer.body)["error"]
        assert (await host.predict(flowers, ROW, 10)).status == 200

    run(supervisor, body)


def test_concurrent_requests_get_their_own_answers(supervisor: ModelSupervisor, folder: Path) -> None:
    echo = spec(folder, model_class("return x[:, 0]"), "echo")

    async def caller(host: SocketModelHost, number: int) -> None:
        for turn in range(30):
            value = number * 1000 + turn
            if (number + turn) % 5 == 0:
                answer = await host.predict(echo, asked([value], [value, value]), 30)
                assert answer.status == 400
            else:
                rows = [[value + i / 8] for i in range(1 + turn % 3)]
                answer = await host.predict(echo, asked(*rows), 30)
                assert answer.status == 200
                assert json.loads(answer.body) == {"predictions": [row[0] for row in rows]}

    async def body(host: SocketModelHost) -> None:
        await asyncio.gather(*[caller(host, number) for number in range(64)])

    run(supervisor, body)


def test_large_bodies_and_answers_do_not_block(supervisor: ModelSupervisor, folder: Path) -> None:
    wide = spec(folder, model_class("return [['x' * 1000] * 1000 for _ in x]"), "wide")

    async def body(host: SocketModelHost) -> None:
        rows = asked(*[[float(i)] * 1000 for i in range(12)])
        one = asked([1.0] * 1000)
        answers = await asyncio.gather(*[host.predict(wide, one, 60) for _ in range(20)])
        assert {len(answer.body) for answer in answers} == {len(answers[0].body)}
        assert len(answers[0].body) > 1_000_000
        assert (await host.predict(wide, rows, 60)).status == 200

    run(supervisor, body)
    supervisor.unload("wide")


@pytest.mark.parametrize("signal_or_exit", [-1, -3])
def test_a_crashed_model_process_is_restarted(
    supervisor: ModelSupervisor, folder: Path, log: list[tuple[str, str]], signal_or_exit: int
) -> None:
    moody = spec(folder, model_class(MOODS), f"moody{signal_or_exit}")

    async def body(host: SocketModelHost) -> None:
        assert (await host.predict(moody, asked([7.0]), 60)).status == 200
        with pytest.raises(Unavailable, match="ended during the request"):
            await host.predict(moody, asked([signal_or_exit]), 60)
        assert (await host.predict(moody, asked([7.0]), 60)).body == b'{"predictions":[7.0]}'

    run(supervisor, body)
    assert row_of(supervisor, moody.uid)["restarts"] == 1
    assert any(uid == moody.uid and "The version's model process" in line for uid, line in log)
    supervisor.unload(moody.uid)


def test_a_kill_under_load_fails_only_what_was_in_flight(supervisor: ModelSupervisor, folder: Path) -> None:
    victim = spec(folder, model_class("time.sleep(0.01)\nreturn x[:, 0]"), "victim")

    async def body(host: SocketModelHost) -> None:
        await host.predict(victim, asked([1.0]), 60)
        waiting = [asyncio.ensure_future(host.predict(victim, asked([float(i)]), 60)) for i in range(64)]
        _, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        again = [asyncio.ensure_future(host.predict(victim, asked([float(i)]), 60)) for i in range(64)]
        await asyncio.sleep(0)  # let them write
        os.kill(row_of(supervisor, "victim")["pid"], signal.SIGKILL)
        outcomes = await asyncio.gather(*rest, *again, return_exceptions=True)
        assert all(isinstance(outcome, Unavailable | ModelAnswer) for outcome in outcomes)
        assert any(isinstance(outcome, Unavailable) for outcome in outcomes)
        after = await asyncio.gather(*[host.predict(victim, asked([float(i)]), 60) for i in range(64)])
        assert [json.loads(answer.body)["predictions"] for answer in after] == [[float(i)] for i in range(64)]

    run(supervisor, body)
    supervisor.unload("victim")


def test_a_model_that_crashes_again_and_again_is_given_up(supervisor: ModelSupervisor, folder: Path) -> None:
    broken = spec(folder, model_class(MOODS), "broken")

    async def body(host: SocketModelHost) -> None:
        for _ in range(5):
            with pytest.raises(Unavailable, match="ended during the request"):
                await host.predict(broken, asked([-3.0]), 60)
        with pytest.raises(Unavailable):  # it may have come in just before the supervisor gave up
            await host.predict(broken, asked([7.0]), 60)
        with pytest.raises(Unavailable, match=r"crashes again and again.*last thoughts"):
            await host.predict(broken, asked([7.0]), 60)

    run(supervisor, body)
    assert row_of(supervisor, "broken")["state"] == "FAILED"
    supervisor.load(broken)  # who deploys may always try again
    assert row_of(supervisor, "broken")["state"] == "RUNNING"
    supervisor.unload("broken")


def test_a_prediction_that_never_ends_is_cut_off(supervisor: ModelSupervisor, folder: Path) -> None:
    """By the process's own clock: who is asked for less time than a prediction may take leaves it alone."""
    stuck = spec(folder, model_class(MOODS), "stuck", seconds=1)

    async def body(host: SocketModelHost) -> None:
        await host.predict(stuck, asked([7.0]), 60)
        with pytest.raises(DeadlineExceeded):
            await host.predict(stuck, asked([-2.0]), 0.2)
        with pytest.raises(Unavailable):
            await host.predict(stuck, asked([7.0]), 60)
        assert (await host.predict(stuck, asked([7.0]), 60)).status == 200

    run(supervisor, body)
    supervisor.unload("stuck")


def test_a_full_queue_refuses_and_counts_what_timed_out(supervisor: ModelSupervisor, folder: Path) -> None:
    slow = spec(folder, model_class(MOODS), "slow")

    async def body(host: SocketModelHost) -> None:
        await host.predict(slow, asked([7.0]), 60)
        waiting = [asyncio.ensure_future(host.predict(slow, asked([-2.0]), 0.1)) for _ in range(3)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 3
        with pytest.raises(ResourceExhausted):
            await host.predict(slow, asked([7.0]), 60)

    run(supervisor, body, max_waiting=3)
    supervisor.unload("slow")


@pytest.mark.parametrize("mood", [-4.0, -2.0], ids=["slow", "endless"])
def test_an_unloaded_version_answers_what_it_was_asked_and_is_gone(
    supervisor: ModelSupervisor, folder: Path, mood: float
) -> None:
    brief = spec(folder, model_class(MOODS), f"brief{mood}", seconds=3)

    async def body(host: SocketModelHost) -> None:
        await host.predict(brief, asked([7.0]), 60)
        waiting = asyncio.ensure_future(host.predict(brief, asked([mood]), 60))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(supervisor.unload, brief.uid)
        assert brief.uid not in {row["uid"] for row in supervisor.running()}
        if mood == -4:
            assert (await waiting).body == b'{"predictions":[-4.0]}'
        else:
            with pytest.raises(Unavailable):
                await waiting

    run(supervisor, body)
    supervisor.unload(brief.uid)  # again does nothing


# ---------------------------------------------------------------------------------------------- reasons to refuse


def directory(folder: Path, name: str, **files: bytes) -> ModelSpec:
    made = spec(folder, iris(), name)
    (Path(made.directory) / "model.joblib").unlink()
    for file, content in files.items():
        (Path(made.directory) / file.replace("_", ".")).write_bytes(content)
    return made


def missing_module() -> bytes:
    return b"\x80\x04cno_such_module\nThing\n."


REASONS = {
    "nothing": ({}, r"neither model.joblib nor model.pkl is in the model's folder, which holds: nothing"),
    "other": ({"model_onnx": b"x"}, r"which holds: model.onnx"),
    "garbage": ({"model_pkl": b"this is no pickle"}, r"model.pkl could not be read: .*written by joblib"),
    "empty": ({"model_pkl": b""}, r"model.pkl could not be read"),
    "dict": ({"model_pkl": pickle.dumps({"a": 1})}, r"Invalid model type detected: builtins.dict"),
    "module": ({"model_pkl": missing_module()}, r"needs the module 'no_such_module'"),
    "name": ({"model_pkl": b"\x80\x04cos\nno_such_name\n."}, r"refers to code of your own"),
    "exit": ({"model_pkl": pickle.dumps(Written("raise SystemExit(0)"))}, r"SystemExit"),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_model_that_cannot_be_loaded_gives_a_reason(supervisor: ModelSupervisor, folder: Path, name: str) -> None:
    files, reason = REASONS[name]
    with pytest.raises(FailedPrecondition, match=reason) as failed:
        supervisor.load(directory(folder, name, **files))
    assert failed.value.message.startswith("Failed to load model: ")
    assert failed.value.message.endswith("(Error code: 0)")
    assert "Traceback" not in failed.value.message


def test_an_unknown_framework_is_named(supervisor: ModelSupervisor, folder: Path) -> None:
    made = spec(folder, iris(), "framework")
    with pytest.raises(FailedPrecondition, match=r"'CAFFE' cannot be served here; use one of: .*SCIKIT_LEARN"):
        supervisor.load(ModelSpec("framework", made.directory, "CAFFE", made.python))


def test_a_model_of_another_version_names_both(tmp_path: Path) -> None:
    class Warns:
        def __reduce__(self) -> Any:
            source = (
                "import warnings\n"
                "warnings.warn('Trying to unpickle estimator X from version 0.1 when using version 9.9.')\n"
                "raise AttributeError('no such part')"
            )
            return Written(source).__reduce__()

    joblib.dump(Warns(), tmp_path / "model.joblib")
    with pytest.raises(frameworks.Failed, match=r"saved with scikit-learn 0\.1 and this environment has 9\.9"):
        load_pickled(str(tmp_path))


def test_a_model_that_is_never_ready_is_stopped(folder: Path, sandbox: Sandbox) -> None:
    endless = spec(folder, Written("import time\ntime.sleep(3600)"), "endless")
    supervisor = ModelSupervisor(folder / "run-endless", sandbox, ready_seconds=5)
    try:
        with pytest.raises(FailedPrecondition, match="not ready in 5 seconds"):
            supervisor.load(endless)
    finally:
        supervisor.close()


def test_a_failure_is_remembered_for_requests_but_not_for_who_deploys(
    supervisor: ModelSupervisor, folder: Path
) -> None:
    made = directory(folder, "later")
    with pytest.raises(FailedPrecondition):
        supervisor.load(made)
    joblib.dump(iris(), Path(made.directory) / "model.joblib")

    async def body(host: SocketModelHost) -> None:
        with pytest.raises(FailedPrecondition, match="holds: nothing"):
            await host.predict(made, ROW, 10)

    run(supervisor, body)
    supervisor.load(made)
    supervisor.unload("later")


WORKER = """
import sys
from pathlib import Path
from mlgate.adapters.hosts.sandbox import probe
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.ports import ModelSpec
supervisor = ModelSupervisor(Path(sys.argv[1]), probe(sys.argv[2]))
supervisor.load(ModelSpec("orphan", sys.argv[3], "SCIKIT_LEARN", sys.executable))
print(supervisor.running()[0]["pid"], flush=True)
sys.stdin.read()
"""


def test_model_processes_do_not_outlive_the_worker(folder: Path, confined: Sandbox) -> None:
    orphan = spec(folder, model_class(MOODS), f"orphan-{confined.mode}")
    arguments = [sys.executable, "-c", WORKER, str(folder / "run-orphan"), confined.mode, orphan.directory]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid = os.pidfd_open(int(worker.stdout.readline()))
        worker.kill()
    try:
        ended, _, _ = select.select([pid], [], [], 10)
        assert ended
    finally:
        os.close(pid)
    left = f"{control.scratch_prefix(folder / 'run-orphan')}*"  # which a worker in the same folder removes
    assert not list(Path(tempfile.gettempdir()).glob(left))


def test_a_long_folder_name_is_no_obstacle(folder: Path, sandbox: Sandbox) -> None:
    supervisor = ModelSupervisor(folder / ("long" * 30), sandbox)
    try:
        assert Path(control.socket_path(supervisor.run_dir)).is_socket()
        made = spec(folder, iris(), "far")

        async def body(host: SocketModelHost) -> None:
            assert (await host.predict(made, ROW, 60)).status == 200

        run(supervisor, body)
    finally:
        supervisor.close()
    assert not Path(control.socket_path(supervisor.run_dir)).exists()


def test_only_the_servers_own_user_reaches_the_sockets(supervisor: ModelSupervisor, flowers: ModelSpec) -> None:
    assert supervisor.run_dir.stat().st_mode & 0o777 == 0o700
    for path in supervisor.run_dir.glob("*.sock"):
        assert path.stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------------------------------------ the client alone


class Scripted:
    """A worker whose versions answer as a function says; counts how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.run_dir, _ = control.prepare(folder / "r")
        self.asked = 0
        self.connections: list[asyncio.StreamWriter] = []
        self.server = control.ControlServer(self.run_dir / control.SOCKET, self)

    def ensure(self, spec: ModelSpec) -> list[str]:
        self.asked += 1
        return [str(self.run_dir / "model.sock")]

    def report(self, who: str, waiting: Mapping[str, int]) -> dict[str, list[str]]:
        return {}

    def restart(self, path: str) -> None:
        raise AssertionError(path)

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        while len(head := await reader.read(4)) == 4:
            frame = await reader.readexactly(int.from_bytes(head, "little"))
            answer = frame[:4] + b"\xc8\x00" + frame[5:]
            writer.write(len(answer).to_bytes(4, "little") + answer)
        writer.close()


def scripted(folder: Path, body: Callable[[Scripted, SocketModelHost], Awaitable[None]]) -> None:
    async def inside() -> None:
        worker = Scripted(folder)
        host = SocketModelHost(worker.run_dir)
        listening = await asyncio.start_unix_server(worker.echo, worker.run_dir / "model.sock")
        try:
            await body(worker, host)
        finally:
            await host.close()
            listening.close()
            await asyncio.gather(*[writer.wait_closed() for writer in worker.connections], return_exceptions=True)
            await asyncio.to_thread(worker.server.close)

    asyncio.run(inside())


VERSION = ModelSpec("1", "/", "SCIKIT_LEARN", "python")


def test_a_hundred_first_requests_ask_once(tmp_path: Path) -> None:
    async def body(worker: Scripted, host: SocketModelHost) -> None:
        answers = await asyncio.gather(*[host.predict(VERSION, b"%d" % i, 10) for i in range(100)])
        assert [answer.body for answer in answers] == [b"%d" % i for i in range(100)]
        assert worker.asked == 1
        assert len(worker.connections) == 1

    scripted(tmp_path, body)


def test_a_request_that_never_left_takes_a_fresh_connection(tmp_path: Path) -> None:
    async def body(worker: Scripted, host: SocketModelHost) -> None:
        await host.predict(VERSION, b"1", 10)
        host._links["1"][0]._transport.abort()  # type: ignore[union-attr]
        assert (await host.predict(VERSION, b"2", 10)).body == b"2"
        assert worker.asked == 2

    scripted(tmp_path, body)


def test_a_caller_that_gives_up_does_not_disturb_the_others(tmp_path: Path) -> None:
    async def body(worker: Scripted, host: SocketModelHost) -> None:
        first = asyncio.ensure_future(host.predict(VERSION, b"1", 10))
        second = asyncio.ensure_future(host.predict(VERSION, b"2", 10))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).body == b"2"
        third = asyncio.ensure_future(host.predict(VERSION, b"3", 10))
        await asyncio.sleep(0)
        third.cancel()
        assert (await host.predict(VERSION, b"4", 10)).body == b"4"

    scripted(tmp_path, body)


def test_without_a_worker_a_prediction_is_unavailable(tmp_path: Path) -> None:
    async def body() -> None:
        host = SocketModelHost(tmp_path)
        with pytest.raises(Unavailable, match="worker is not running"):
            await host.predict(VERSION, ROW, 1)
        await host.close()

    asyncio.run(body())


def test_the_twin_speaks_the_same_contract() -> None:
    async def body() -> None:
        host = MemoryModelHost(lambda instances: [sum(one) for one in instances])
        host.load(VERSION)
        assert await host.predict(VERSION, b'{"instances": [[1, 2]]}', 1) == ModelAnswer(200, b'{"predictions":[3]}')
        assert (await host.predict(VERSION, b'{"instances": ["a"]}', 1)).status == 400
        assert (await host.predict(VERSION, b"{}", 1)).status == 400
        host.failures["1"] = Unavailable("down")
        with pytest.raises(RpcError, match="down"):
            await host.predict(VERSION, ROW, 1)

    asyncio.run(body())
