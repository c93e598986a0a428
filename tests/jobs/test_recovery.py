"""kill -9 of runner, server, keeper and job at random points: every job comes to its true end, each exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server
from tests.http.people import Api, writing
from tests.jobs.programs import ENDS, Lab

SOAK = int(os.environ.get("MLGATE_SOAK_ROUNDS", "0"))
JOBS, KILLS = (200, 20) if SOAK else (10, 4)
SEED = int(os.environ.get("MLGATE_SOAK_SEED", "20261122"))
pytestmark = pytest.mark.xdist_group("recovery")

#: Says its number of lines, and fails where it is told to.
PROGRAM = """
import sys, time
count, seconds, code = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
for n in range(count):
    print("line", n, flush=True)
    time.sleep(seconds / count)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings = {"MLGATE_RUNNER_SLOTS": "4", "MLGATE_LEASE_SECONDS": "3"}
    server = Server(tmp_path_factory.mktemp("recovery") / "data", settings=settings)
    with Api(server.initialize().start()) as api:
        yield Lab(api, "jobs-recovery").make()
    server.close()


def pid_of(lab: Lab, role: str) -> int:
    """The server's child of that role, by its log of starts: the one whose environment said so is its only mark."""
    assert lab.api.server.process is not None
    parent = lab.api.server.process.pid
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError, ValueError):
                status = (place / "stat").read_text().rpartition(")")[2].split()
                if int(status[1]) == parent and f'"role": "{role}"'.encode() in (place / "environ").read_bytes():
                    return int(place.name)
        time.sleep(0.02)
    raise AssertionError(f"there is no {role}")


def kill_runner(lab: Lab) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid_of(lab, "runner"), signal.SIGKILL)


def processes_of(lab: Lab, job_id: str, part: bytes) -> list[int]:
    """Processes whose command line names the job's folder and holds `part`."""
    with writing(lab.api.server) as tx:
        uid = tx.get(f"projects/{lab.project_id}/jobs/{job_id}").uid
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            text = place.read_bytes()
            if f"/jobs/{uid}".encode() in text and part in text:
                found.append(int(place.parent.name))
    return found


def check_exactly_once(lab: Lab, job: dict[str, Any], count: int) -> None:
    lines = [line for line in lab.lines(job["jobId"]) if line.startswith("line ")]
    assert lines == [f"line {n}" for n in range(count)], job["jobId"]
    said = lab.lines(job["jobId"], "service")
    assert len(said) == len(set(said)), said


def test_every_job_ends_truly_and_once_while_runners_are_killed(lab: Lab) -> None:
    rng = random.Random(SEED)
    expected: dict[str, tuple[int, str]] = {}
    for _ in range(JOBS):
        count, code = rng.randint(1, 60), rng.choice((0, 0, 3))
        seconds = rng.uniform(0.05, 2.0)
        job_id = lab.submit(PROGRAM, str(count), str(seconds), str(code))
        expected[job_id] = count, "FAILED" if code else "SUCCEEDED"
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.0, 2.5))  # the random point itself: there is nothing to wait for
        kill_runner(lab)
    for job_id, (count, state) in expected.items():
        job = lab.wait(job_id, seconds=600)
        assert (job["state"], job.get("errorMessage", "")[:60]) == (
            state,
            "The replica master-replica-0 exited with a non-zero status o" if state == "FAILED" else "",
        )
        check_exactly_once(lab, job, count)
    until = time.monotonic() + 60
    while any(path.name[0] != "." for path in (lab.api.server.data_dir / "jobs").iterdir()):
        assert time.monotonic() < until, "folders of ended jobs are left"
        time.sleep(0.1)


def test_a_killed_server_takes_up_its_jobs_again(lab: Lab) -> None:
    running = lab.submit(PROGRAM, "100", "6", "0")
    lab.until_line(running, "line 3")
    waiting = [lab.submit(PROGRAM, "3", "0.1", "0") for _ in range(3)]
    lab.api.server.kill()
    lab.api.server.restart()
    for job_id, count in ((running, 100), *((job_id, 3) for job_id in waiting)):
        assert lab.wait(job_id)["state"] == "SUCCEEDED"
        check_exactly_once(lab, lab.get(job_id), count)


def test_a_job_that_ended_while_no_server_ran_is_told_truly(lab: Lab) -> None:
    job_id = lab.submit(PROGRAM, "10", "1", "3")
    lab.until_line(job_id, "line 0")
    lab.api.server.kill()
    time.sleep(2)  # longer than the job runs
    lab.api.server.restart()
    job = lab.wait(job_id)
    assert job["state"] == "FAILED"
    assert "exited with a non-zero status of 3" in job["errorMessage"]
    check_exactly_once(lab, job, 10)


def test_cancel_reaches_a_job_whose_runner_was_killed(lab: Lab) -> None:
    job_id = lab.submit(PROGRAM, "100", "600", "0")
    lab.until_line(job_id, "line 0")
    kill_runner(lab)
    lab.api.done(lab.owner, "POST", f"{lab.path}/jobs/{job_id}:cancel", {})
    assert lab.wait(job_id)["state"] == "CANCELLED"
    assert not processes_of(lab, job_id, b"")


def test_a_killed_keeper_means_a_lost_job_that_is_not_run_again(lab: Lab) -> None:
    job_id = lab.submit(PROGRAM, "100", "600", "0")
    lab.until_line(job_id, "line 0")
    for pid in processes_of(lab, job_id, b"keeper"):
        os.kill(pid, signal.SIGKILL)
    job = lab.wait(job_id)
    assert job["state"] == "FAILED"
    assert "the process that kept it" in job["errorMessage"]
    assert lab.lines(job_id).count("line 0") == 1
    assert not processes_of(lab, job_id, b"")


def test_a_killed_job_process_fails_the_job_with_the_truth(lab: Lab) -> None:
    job_id = lab.submit("import os, time; print('pid', flush=True); time.sleep(600)")
    lab.until_line(job_id, "pid")
    confined = [
        pid for pid in processes_of(lab, job_id, b"") if b"keeper" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    for pid in confined:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job = lab.wait(job_id)
    assert (job["state"], "was killed (signal 9)" in job["errorMessage"]) == ("FAILED", True)


def test_a_stopped_server_leaves_its_jobs_to_the_next(lab: Lab) -> None:
    job_id = lab.submit(PROGRAM, "30", "4", "0")
    lab.until_line(job_id, "line 2")
    assert lab.api.server.stop() == 0
    lab.api.server.restart()
    assert lab.wait(job_id)["state"] in ENDS
    check_exactly_once(lab, lab.get(job_id), 30)
