"""kill -9 of the server in the middle of a study: what was answered is kept, and the study goes on."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.harness import Server
from tests.http.vizier import Study, measurement, number
from tests.recovery.test_kill import ROUNDS, SEED, descendants, killed_at_random, wait_done
from tests.recovery.test_kill import Writer as Client
from tests.vizier.studies import config, double

pytestmark = pytest.mark.xdist_group("recovery")


def test_trials_that_were_answered_survive_and_the_same_clients_go_on(make_server: Callable[..., Server]) -> None:
    server, rng = make_server(workers=2), random.Random(SEED)
    study = Study(server, config(double("x"), double("z")))
    completed: set[int] = set()
    lock = threading.Lock()

    def worker(name: str) -> Callable[[httpx.Client, int], bool]:
        def step(client: httpx.Client, _: int) -> bool:
            asked = client.post(f"{study.path}/trials:suggest", json={"clientId": name, "suggestionCount": 1})
            assert asked.status_code == 200, asked.text
            (trial,) = asked.json()["response"]["trials"]
            ended = client.post(f"/v1/{trial['name']}:complete", json={"finalMeasurement": measurement(1.0)})
            assert ended.status_code == 200, ended.text
            with lock:
                assert number(trial) not in completed
                completed.add(number(trial))
            return True

        return step

    for _ in range(ROUNDS):
        before = len(completed)
        workers = [Client(worker(f"w{n}"), server.http(), 0) for n in range(4)]
        killed_at_random(server, workers, rng, 2.5)
        server.restart()
        study = _again(study, server)
        trials = study.trials()
        stored = {number(t) for t in trials if t["state"] == "COMPLETED"}
        assert completed <= stored
        assert len(stored - completed) <= 4, "only what was in flight may be there unanswered"
        completed |= stored
        pending = [t for t in trials if t["state"] == "ACTIVE"]
        assert len(pending) <= 4
        for trial in pending:
            assert study.suggest(trial["clientId"]) == [trial], "a client goes on with what it had"
            study.complete(trial, 1.0)
            completed.add(number(trial))
        assert study.suggest("after") != []
        study.complete(study.suggest("after")[0], 1.0)
        completed.add(number(study.trials()[-1]))
        assert len(completed) > before


def test_a_suggestion_that_runs_is_ended_after_the_server_is_killed(make_server: Callable[..., Server]) -> None:
    server, rng = make_server(settings={"MLGATE_LEASE_SECONDS": "2"}), random.Random(SEED + 1)
    for _ in range(ROUNDS):
        study = Study(server, config(*(double(f"x{n}") for n in range(10))))
        running = study.ask("many", 60).json()
        time.sleep(rng.uniform(0, 2.0))  # the random point itself
        server.kill()
        server.restart()
        done = wait_done(server, running["name"])
        study = _again(study, server)
        assert len(done["response"]["trials"]) == 60  # type: ignore[index]
        assert len(study.trials()) == 60
        assert len(study.suggest("many", 60)) == 60


def test_the_optimizers_process_is_replaced_when_it_dies_and_ends_with_the_server(
    make_server: Callable[..., Server],
) -> None:
    server = make_server()
    study = Study(server, config(double("x")))
    study.suggest("a")
    assert server.process is not None
    (thinking,) = optimizers(server.process.pid)
    os.kill(thinking, 9)
    assert len(study.suggest("b")) == 1
    (thinking,) = optimizers(server.process.pid)
    server.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{thinking}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{thinking}").exists()


def test_what_takes_too_long_is_left_to_the_worker_until_it_is_quick_again(make_server: Callable[..., Server]) -> None:
    server = make_server()
    study = Study(server, config(double("x")))
    study.suggest("a")
    assert server.process is not None
    (thinking,) = optimizers(server.process.pid)
    os.kill(thinking, signal.SIGSTOP)
    running = study.ask("b").json()
    assert "done" not in running
    assert len(wait_done(server, running["name"])["response"]["trials"]) == 1  # type: ignore[index]
    assert len(study.suggest("c")) == 1


def optimizers(pid: int) -> list[int]:
    def command(one: int) -> str:
        return Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode()

    return [one for one in descendants(pid) if "mlgate.adapters.optimizer" in command(one)]


def _again(study: Study, server: Server) -> Study:
    """The same study after a restart, on a connection of its own."""
    study.http = server.http()
    return study
