"""The contract of the port JobRunner. An adapter is a line in ADAPTERS; `reopened` is the same one, as another process
that starts anew would have it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlgate.adapters.blobs.files import FileBlobs
from mlgate.adapters.hosts.sandbox import BUBBLEWRAP, LANDLOCK, LOOPBACK, NONE, for_jobs, probe
from mlgate.adapters.runners.local import LocalRunner
from mlgate.core.errors import FailedPrecondition
from mlgate.executions import ABSENT, ENDED, LOST, RUNNING, Execution, JobProcess, JobRunner, Printed, Seen
from tests.jobs.programs import SECONDS, sdist

PROGRAM = """
import os, signal, subprocess, sys, time
verb, value = sys.argv[1:3]
print("hello", os.environ.get("WHO"), flush=True)
print("to the other", file=sys.stderr, flush=True)
if verb == "report":
    with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "w") as file:
        file.write(value)
if verb == "child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
if verb == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
if verb in ("sleep", "stubborn"):
    time.sleep(float(value))
if verb == "family":
    for n in range(int(value)):
        subprocess.Popen([sys.executable, "-c", "import time; x = b'x' * (120 << 20); time.sleep(600)"])
    time.sleep(600)
if verb == "fill":
    for n in range(int(value)):
        with open("file%d" % n, "wb") as file:
            file.write(b"x" * (1 << 20))
    time.sleep(600)
if verb == "flood":
    for n in range(int(value)):
        print("x" * 100)
sys.exit(int(value) if verb == "exit" else 0)
"""


@dataclass
class Case:
    runner: JobRunner
    reopened: Callable[[], JobRunner]
    program: str
    root: Path
    _count: int = 0

    def execution(self, verb: str = "exit", value: str = "0", *, processes: int = 1, **changes: object) -> Execution:
        self._count += 1
        made = tuple(
            JobProcess(
                f"worker-replica-{n}" if n else "master-replica-0", "trainer.task", (verb, value), {"WHO": str(n)}
            )
            for n in range(processes)
        )
        given: dict[str, object] = {"log_bytes": 1 << 20, **changes}
        return Execution(
            key=f"{self._count}-{verb}", python=sys.executable, processes=made, account="a@example.com", project="p",
            packages=(("000-trainer-0.1.tar.gz", self.program),), **given,  # type: ignore[arg-type]
        )  # fmt: skip

    def started(self, verb: str = "exit", value: str = "0", **changes: object) -> Execution:
        execution = self.execution(verb, value, **changes)  # type: ignore[arg-type]
        self.runner.start(execution, "token")
        return execution

    def until(self, execution: Execution, *states: str) -> Seen:
        until = time.monotonic() + SECONDS
        while (seen := self.runner.look(execution.key)).state not in states:
            assert time.monotonic() < until, (seen, self.printed(execution))
            time.sleep(0.02)
        return seen

    def until_line(self, execution: Execution, text: str) -> None:
        until = time.monotonic() + SECONDS
        while text not in [line.text for line in self.printed(execution)]:
            assert time.monotonic() < until, self.printed(execution)
            time.sleep(0.02)

    def printed(self, execution: Execution, task: str = "master-replica-0") -> list[Printed]:
        found: list[Printed] = []
        offset = 0
        while True:
            lines, end = self.runner.output(execution.key, task, offset)
            if end == offset:
                return found
            found, offset = found + lines, end


def local(mode: str) -> Callable[[Path, FileBlobs], JobRunner]:
    def made(root: Path, blobs: FileBlobs) -> JobRunner:
        sandbox = probe(mode, for_jobs=True)
        if sandbox.mode == NONE:
            pytest.skip(sandbox.reason)
        return LocalRunner(root / "jobs", sandbox, blobs)

    return made


ADAPTERS = {f"local, {mode}": local(mode) for mode in (BUBBLEWRAP, LANDLOCK, LOOPBACK)}


@pytest.fixture(params=ADAPTERS, scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    root = tmp_path_factory.mktemp("runner")
    blobs = FileBlobs(root / "blobs")
    writer = blobs.writer()
    writer.write(sdist({"task.py": PROGRAM}))
    make = ADAPTERS[request.param]
    case = Case(make(root, blobs), lambda: make(root, blobs), writer.commit().digest, root)
    yield case
    for key in case.runner.executions():
        case.runner.forget(key)


@pytest.fixture
def meeting(case: Case) -> Case:
    """Where processes of one execution have a network to meet in; elsewhere such are refused (FailedPrecondition)."""
    if isinstance(case.runner, LocalRunner) and for_jobs(case.runner.sandbox).mode == LOOPBACK:
        with pytest.raises(FailedPrecondition, match="network of its own"):
            case.started("sleep", "600", processes=2)
        pytest.skip("such an execution is refused")
    return case


@pytest.mark.parametrize("code", [0, 3])
def test_it_runs_to_its_end_and_says_how(case: Case, code: int) -> None:
    execution = case.started("exit", str(code))
    seen = case.until(execution, ENDED)
    assert (seen.code, seen.reason) == (code, "")
    assert 0 < seen.began <= seen.ended


def test_what_is_printed_is_told_line_by_line(case: Case) -> None:
    execution = case.started()
    case.until(execution, ENDED)
    lines = case.printed(execution)
    assert {(line.text, line.is_error) for line in lines} == {("hello 0", False), ("to the other", True)}
    _, end = case.runner.output(execution.key, "master-replica-0", 0)
    assert case.runner.output(execution.key, "master-replica-0", end) == ([], end)
    assert case.runner.output(execution.key, "nobody-0", 0) == ([], 0)


def test_what_is_printed_beyond_the_limit_is_counted_and_dropped(case: Case) -> None:
    execution = case.started("flood", "2000", log_bytes=5000)
    case.until(execution, ENDED)
    lines = case.printed(execution)
    assert sum(len(line.text) for line in lines) < 5200
    assert lines[-1].text.startswith("The log is full: ")


def test_no_key_is_begun_twice(case: Case) -> None:
    execution = case.started()
    case.until(execution, ENDED)
    case.runner.start(execution, "token")
    case.reopened().start(execution, "token")
    assert case.until(execution, ENDED).code == 0
    assert [line.text for line in case.printed(execution)].count("hello 0") == 1


def test_whoever_comes_later_finds_it_as_it_is(case: Case) -> None:
    execution = case.started("sleep", "600")
    case.until_line(execution, "hello 0")
    later = case.reopened()
    assert later.look(execution.key).state == RUNNING
    assert execution.key in later.executions()
    later.renew(execution.key, "another token")
    later.cancel(execution.key, 5)
    assert case.until(execution, ENDED).reason == "CANCELLED"


def test_cancel_asks_first_and_kills_after_the_grace(case: Case) -> None:
    polite, deaf = case.started("sleep", "600"), case.started("stubborn", "600")
    case.until_line(polite, "hello 0")
    case.until_line(deaf, "deaf")
    before = time.time()
    case.runner.cancel(polite.key, 60)
    assert case.until(polite, ENDED).ended - before < 60
    case.runner.cancel(deaf.key, 1)
    seen = case.until(deaf, ENDED)
    assert seen.reason == "CANCELLED"
    assert seen.ended - before > 1


def test_it_is_ended_when_its_time_is_over(case: Case) -> None:
    assert case.until(case.started("sleep", "600", seconds=1.0), ENDED).reason == "TOO_LONG"


def test_nothing_of_it_outlives_it(case: Case) -> None:
    execution = case.started("child")
    case.until(execution, ENDED)
    assert not processes_naming(f"/jobs/{execution.key}/")


def processes_naming(text: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            said = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in said:
            found.append(said.decode(errors="replace"))
    return found


def test_several_processes_end_with_the_first_that_fails(meeting: Case) -> None:
    case = meeting
    execution = case.execution("sleep", "600", processes=2)
    failing = JobProcess("worker-replica-0", "trainer.task", ("exit", "9"), {"WHO": "me"})
    execution = Execution(**{**fields_of(execution), "processes": (execution.processes[0], failing)})
    case.runner.start(execution, "token")
    seen = case.until(execution, ENDED)
    assert (seen.code, seen.task) == (9, "worker-replica-0")
    assert {line.text for line in case.printed(execution, "worker-replica-0")} == {"hello me", "to the other"}


def fields_of(execution: Execution) -> dict[str, object]:
    return {name: getattr(execution, name) for name in Execution.__dataclass_fields__}


def test_several_processes_end_with_the_master(meeting: Case) -> None:
    case = meeting
    execution = case.execution("sleep", "600", processes=2)
    master = JobProcess("master-replica-0", "trainer.task", ("exit", "0"), {})
    execution = Execution(**{**fields_of(execution), "processes": (master, execution.processes[1])})
    case.runner.start(execution, "token")
    assert (case.until(execution, ENDED).code, case.until(execution, ENDED).task) == (0, "master-replica-0")


def test_the_file_of_metrics_is_read_as_it_is(case: Case) -> None:
    execution = case.started("report", "one\ntwo\n")
    case.until(execution, ENDED)
    assert case.runner.metrics(execution.key) == b"one\ntwo\n"
    assert case.runner.metrics("never-was") == b""


def test_what_it_made_can_be_read_and_a_link_is_nothing(case: Case) -> None:
    execution = case.started("report", "one\ntwo\n")
    case.until(execution, ENDED)
    file = case.runner.made(execution.key, "metrics")
    assert file is not None
    with file:
        assert file.read() == b"one\ntwo\n"
    assert case.runner.made(execution.key, "nothing") is None
    assert case.runner.made("never-was", "metrics") is None
    (case.root / "jobs" / execution.key / "work" / "link").symlink_to("/etc/passwd")
    assert case.runner.made(execution.key, "link") is None


def test_what_is_forgotten_is_gone_and_ended(case: Case) -> None:
    execution = case.started("sleep", "600")
    case.until_line(execution, "hello 0")
    case.runner.forget(execution.key)
    assert case.runner.look(execution.key).state == ABSENT
    assert execution.key not in case.runner.executions()
    assert not processes_naming(f"/jobs/{execution.key}/")
    case.runner.forget(execution.key)


def test_what_never_was_is_absent(case: Case) -> None:
    assert case.runner.look("never-was").state == ABSENT
    case.runner.cancel("never-was", 1)
    case.runner.renew("never-was", "token")


def test_a_family_of_processes_has_one_limit_of_memory(case: Case) -> None:
    execution = case.started("family", "5", memory_bytes=400 << 20)
    assert case.until(execution, ENDED).reason == "OUT_OF_MEMORY"


def test_an_execution_that_fills_the_disk_is_ended(case: Case) -> None:
    execution = case.started("fill", "40", disk_bytes=10 << 20)
    assert case.until(execution, ENDED).reason == "TOO_LARGE"


# of the local adapter alone


def keepers(case: Case, execution: Execution) -> list[int]:
    text = str(case.root / "jobs" / execution.key).encode()
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = place.read_bytes()
        except OSError:
            continue
        if b"runners.keeper" in said and text in said:
            found.append(int(place.parent.name))
    return found


def test_a_keeper_that_is_killed_leaves_a_lost_execution_and_no_process(case: Case) -> None:
    execution = case.started("child", "0")
    execution = case.started("sleep", "600")
    case.until_line(execution, "hello 0")
    for pid in keepers(case, execution):
        os.kill(pid, signal.SIGKILL)
    case.until(execution, LOST)
    case.runner.start(execution, "token")
    assert case.until(execution, LOST).state == LOST
    assert not processes_naming(f"/jobs/{execution.key}/work")


def test_a_folder_that_vanishes_ends_its_execution(case: Case) -> None:
    execution = case.started("sleep", "600")
    case.until_line(execution, "hello 0")
    folder = case.root / "jobs" / execution.key
    folder.rename(case.root / "elsewhere")
    until = time.monotonic() + SECONDS
    while processes_naming(f"/jobs/{execution.key}/"):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_execution_that_nobody_cares_for_is_ended(case: Case) -> None:
    assert isinstance(case.runner, LocalRunner)
    case.runner.patience = 1.0
    try:
        execution = case.started("sleep", "600")
        assert case.until(execution, ENDED).reason == "DESERTED"
    finally:
        case.runner.patience = 3600.0
