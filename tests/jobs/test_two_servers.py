"""Two servers on one PostgreSQL, each with its own data directory, jobs and runner; the bytes of objects are shared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate.adapters.db.store import SqlStore
from mlgate.runner.training import ELSEWHERE
from tests.harness import Server
from tests.http.people import Api
from tests.jobs.predictions import BatchLab, counts, json_lines, rows_of
from tests.jobs.test_recovery import PROGRAM
from tests.postgres import postgres

LEASE = 1.0
#: Seconds that processes go on alone: far longer than any restart, and short where that is the point.
PATIENCE, IMPATIENCE = 600.0, 4.0
SECONDS = 120.0


class Pair(BatchLab):
    """The lab speaks with the first server; jobs run on either."""

    servers: tuple[Server, Server]

    def where(self, job_id: str) -> Server:
        """The server that has a job's processes."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for server in self.servers:
                if self.folders(server, job_id):
                    return server
            time.sleep(0.02)
        raise AssertionError(f"{job_id} is nowhere: {self.get(job_id)}")

    def folders(self, server: Server, job_id: str) -> list[Path]:
        return [place for place in (server.data_dir / "jobs").glob(f"{self.uid(job_id)}*") if place.is_dir()]

    def uid(self, job_id: str) -> str:
        store = SqlStore(self.servers[0].database_url)
        try:
            with store.read() as tx:
                record = tx.get(f"projects/{self.project_id}/jobs/{job_id}")
        finally:
            store.close()
        assert record is not None
        return record.uid

    def submit_on_second(self, *args: str) -> str:
        """A job that runs on the second server, the one that the lab does not speak with."""
        for _ in range(10):
            job_id = self.submit(PROGRAM, *args)
            self.until_line(job_id, "line 0")
            if self.where(job_id) is self.servers[1]:
                return job_id
            self.api.done(self.owner, "POST", f"{self.path}/jobs/{job_id}:cancel", {})
        raise AssertionError("the second server runs no jobs")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root = tmp_path_factory.mktemp("pair")
    settings = {
        "MLGATE_RUNNER_SLOTS": "1", "MLGATE_LEASE_SECONDS": str(LEASE), "MLGATE_JOB_PATIENCE": str(PATIENCE),
    }  # fmt: skip
    with postgres() as url:
        first, second = (Server(root / name, database_url=url, settings=settings) for name in ("one", "two"))
        first.initialize().start()
        second.data_dir.mkdir()
        (second.data_dir / "blobs").symlink_to(first.data_dir / "blobs")
        second.start()
        try:
            with Api(first) as api:
                lab = Pair(api, "jobs-pair")
                lab.servers = first, second
                lab.make()
                yield lab
        finally:
            first.close()
            second.close()


def test_a_job_whose_server_is_away_is_left_alone_and_goes_on_with_it(pair: Pair) -> None:
    job_id = pair.submit_on_second("200", "8", "0")
    pair.servers[1].kill()
    away = time.monotonic()
    while time.monotonic() < away + 4 * LEASE:
        assert pair.get(job_id)["state"] == "RUNNING"
        time.sleep(0.2)
    pair.servers[1].restart()
    job = pair.wait(job_id, seconds=SECONDS)
    assert job["state"] == "SUCCEEDED", f"{job}\n{pair.log(job_id)}"
    assert [line for line in pair.lines(job_id) if line.startswith("line")] == [f"line {n}" for n in range(200)]


def test_when_a_server_stays_away_its_job_fails_truly_and_what_it_had_not_begun_runs_elsewhere(pair: Pair) -> None:
    pair.servers[1].settings = {**pair.servers[1].settings, "MLGATE_JOB_PATIENCE": str(IMPATIENCE)}
    pair.servers[1].restart()
    lost = pair.submit_on_second("10000", "600", "0")
    cancelled = pair.submit(PROGRAM, "10000", "600", "0")  # keeps the first server busy
    pair.until_line(cancelled, "line 0")
    waiting = pair.submit(PROGRAM, "3", "0.1", "0")
    (folder,) = pair.folders(pair.servers[1], lost)
    pair.servers[1].kill()
    pair.api.done(pair.owner, "POST", f"{pair.path}/jobs/{cancelled}:cancel", {})
    assert pair.wait(waiting, seconds=SECONDS)["state"] == "SUCCEEDED"
    assert pair.get(lost)["state"] == "RUNNING"
    job = pair.wait(lost, seconds=SECONDS)
    assert (job["state"], job["errorMessage"]) == ("FAILED", ELSEWHERE)
    assert not [place for place in Path("/proc").glob("[0-9]*/cmdline") if _names(place, str(folder))]
    assert pair.lines(lost).count("line 0") == 1
    pair.servers[1].restart()
    until = time.monotonic() + SECONDS
    while pair.folders(pair.servers[1], lost):
        assert time.monotonic() < until, "what is left of it is not removed"
        time.sleep(0.1)
    assert pair.get(lost)["state"] == "FAILED"


@pytest.mark.long
def test_a_batch_prediction_goes_on_elsewhere_and_writes_each_instance_once(pair: Pair) -> None:
    pair.put_models()
    rows = rows_of(40_000)
    given = pair.upload("many.json", json_lines(rows))
    while True:
        job_id = pair.begin(given, maxWorkerCount="1")
        if pair.where(job_id) is pair.servers[1]:
            break
        pair.wait(job_id)
    pair.servers[1].kill()
    job = pair.wait(job_id, seconds=SECONDS)
    pair.servers[1].restart()
    assert counts(job) == ("SUCCEEDED", len(rows), 0), job
    assert pair.results(job_id) == pytest.approx(pair.expected(rows))


def _names(place: Path, text: str) -> bool:
    try:
        return text.encode() in place.read_bytes()
    except OSError:
        return False
