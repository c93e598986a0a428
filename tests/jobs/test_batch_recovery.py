"""kill -9 anywhere while a batch prediction runs: it goes on from its finished shards and writes no instance twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server
from tests.http.people import Api
from tests.jobs.predictions import BatchLab, counts
from tests.jobs.test_recovery import kill_runner, processes_of

SEED = int(os.environ.get("MLGATE_SOAK_SEED", "20261122"))
pytestmark = pytest.mark.xdist_group("recovery")

SLOW = """
import time

class Slow:
    @classmethod
    def from_path(cls, model_dir):
        return cls()

    def predict(self, instances, **kwargs):
        time.sleep(0.2 if "slow" in instances else 0.0)
        if "bad" in instances:
            raise ValueError("bad")
        return list(instances)
"""
ROWS = 60


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchLab]:
    settings = {"MLGATE_RUNNER_SLOTS": "2", "MLGATE_LEASE_SECONDS": "3"}
    server = Server(tmp_path_factory.mktemp("batch") / "data", settings=settings)
    with Api(server.initialize().start()) as api:
        lab = BatchLab(api, "batch-recovery")
        lab.make()
        lab.put_models()
        lab.deploy_custom("slow", SLOW, "Slow")
        # as large as the smallest shard, for the most part of empty lines
        for n in range(6):
            rows = [f"{n}-{row}" for row in range(ROWS)]
            rows[5] = "bad"
            rows[10:10] = ["slow"] * 3
            lab.upload(f"rows/{n}.txt", "".join(f"{row}\n" for row in rows).encode() + b"\n" * (4 << 20))
        yield lab
    server.close()


def begin(lab: BatchLab) -> str:
    model = f"projects/{lab.project_id}/models/slow"
    return lab.begin(f"gs://{lab.bucket}/rows/*", dataFormat="TEXT", modelName=model, batchSize="1")


def check(lab: BatchLab, job_id: str) -> None:
    """Every instance once, as a prediction or as an error."""
    job = lab.wait(job_id, seconds=600)
    assert counts(job) == ("SUCCEEDED", 6 * (ROWS + 2), 6), lab.log(job_id)
    found = lab.results(job_id)
    wanted = [f"{n}-{row}" for n in range(6) for row in range(ROWS) if row != 5] + ["slow"] * 18
    assert sorted(found) == sorted(wanted)
    assert [each["instance"] for each in lab.errors(job_id)] == ["bad"] * 6


def done(lab: BatchLab, job_id: str) -> int:
    return sum("shards are done" in line for line in lab.lines(job_id, "service"))


def until_done(lab: BatchLab, job_id: str, count: int) -> None:
    until = time.monotonic() + 120
    while done(lab, job_id) < count:
        assert time.monotonic() < until, lab.log(job_id)
        time.sleep(0.05)


def kill_keepers(lab: BatchLab, job_id: str) -> None:
    for pid in processes_of(lab, job_id, b"keeper"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_programs(lab: BatchLab, job_id: str) -> None:
    for pid in processes_of(lab, job_id, b""):
        with suppress(OSError):
            if b"runners.keeper" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def kill_server(lab: BatchLab, job_id: str) -> None:
    lab.api.server.kill()
    lab.api.server.restart()


KILLS: dict[str, Callable[[BatchLab, str], Any]] = {
    "runner": lambda lab, job_id: kill_runner(lab), "keepers": kill_keepers, "programs": kill_programs,
    "server": kill_server,
}  # fmt: skip


@pytest.mark.parametrize("who", KILLS)
def test_what_is_killed_is_made_up_for_and_finished_shards_stay(lab: BatchLab, who: str) -> None:
    job_id = begin(lab)
    until_done(lab, job_id, 1)
    KILLS[who](lab, job_id)
    check(lab, job_id)
    assert done(lab, job_id) == sum(".results-" in name for name in lab.outputs(job_id))  # none was done twice


def test_kills_at_random(lab: BatchLab) -> None:
    rng = random.Random(SEED)
    job_id = begin(lab)
    for _ in range(5):
        time.sleep(rng.uniform(0.0, 1.5))  # the random point itself: there is nothing to wait for
        KILLS[rng.choice(["runner", "keepers", "runner"])](lab, job_id)
    check(lab, job_id)


def test_nothing_is_seen_before_the_end_and_cancel_leaves_nothing(lab: BatchLab) -> None:
    job_id = begin(lab)
    until_done(lab, job_id, 1)
    assert lab.outputs(job_id) == {}
    assert counts(lab.get(job_id))[:2] >= ("RUNNING", ROWS + 2)
    lab.api.done(lab.owner, "POST", f"{lab.path}/jobs/{job_id}:cancel", {})
    assert lab.wait(job_id)["state"] == "CANCELLED"
    assert lab.outputs(job_id) == {}
    assert not processes_of(lab, job_id, b"")


def test_several_workers_share_the_shards(lab: BatchLab) -> None:
    job_id = begin(lab)
    check(lab, job_id)
    tasks = {entry["resource"]["labels"]["task_name"] for entry in lab.entries(job_id)}
    assert {"worker-replica-0", "worker-replica-1"} <= tasks, tasks
