"""64 workers on one study, over several server processes: no trial goes to two of them and none is lost."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.concurrency.fleet import Fleet, Line, fleet
from tests.harness import OWNER, PROJECT
from tests.http.vizier import number, point
from tests.vizier.studies import config, double, integer

pytestmark = pytest.mark.xdist_group("concurrency")
WORKERS, ROUNDS = 64, 3
LOCATION = f"/v1/projects/{PROJECT}/locations/us-central1"
Json = dict[str, Any]


@pytest.fixture(scope="module", params=["sqlite", "postgres-two-servers"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(request.param, tmp_path_factory.mktemp("studies")) as made:
        yield made


def new_study(servers: Fleet, study_config: Json) -> str:
    study = f"s{uuid.uuid4().hex[:12]}"
    servers.done("POST", f"{LOCATION}/studies?studyId={study}", {"studyConfig": study_config})
    return f"{LOCATION}/studies/{study}"


def in_parallel(servers: Fleet, work: Callable[[Line, str, int], None]) -> None:
    """`work(line, bearer, n)` on a connection and a thread for each worker, spread over all processes."""
    each = -(-WORKERS // len(servers.processes()))
    lines, bearer = servers.lines(each)[:WORKERS], servers.bearer(OWNER)
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(work, line, bearer, n) for n, line in enumerate(lines)]:
            done.result(300)
    servers.hang_up(lines)


def call(line: Line, bearer: str, path: str, body: Json) -> tuple[int, Json]:
    status, answer = line.ask(bearer, "POST", path, body)
    return status, json.loads(answer)


def suggested(line: Line, bearer: str, study: str, client: str, count: int) -> list[Json]:
    """The trials that a client is given, none when the space is exhausted; a slow answer is polled, as clients do."""
    status, operation = call(line, bearer, f"{study}/trials:suggest", {"clientId": client, "suggestionCount": count})
    until = time.monotonic() + 120
    while status == 200 and not operation.get("done"):
        assert time.monotonic() < until, operation
        time.sleep(0.1)
        status, answer = line.ask(bearer, "GET", f"/v1/{operation['name']}")
        operation = json.loads(answer)
    if status == 429 or operation.get("error", {}).get("code") == 8:
        return []
    assert (status, operation.get("error")) == (200, None), operation
    trials: list[Json] = operation["response"].get("trials", [])
    return trials


def test_no_trial_goes_to_two_workers_and_none_is_lost(servers: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(servers, config(double("x"), double("z"), integer("n", 1, 100)))
    given: list[tuple[int, int, str]] = []
    waits: list[float] = []

    def work(line: Line, bearer: str, n: int) -> None:
        for _ in range(ROUNDS):
            started = time.monotonic()
            (trial,) = suggested(line, bearer, study, f"w{n}", 1)
            waits.append(time.monotonic() - started)
            given.append((n, number(trial), json.dumps(point(trial))))
            final = {"finalMeasurement": {"metrics": [{"metric": "y", "value": point(trial)["x"]}]}}
            status, ended = call(line, bearer, f"/v1/{trial['name']}:complete", final)
            assert (status, ended["state"]) == (200, "COMPLETED"), ended

    started = time.monotonic()
    in_parallel(servers, work)
    seconds = time.monotonic() - started
    total = WORKERS * ROUNDS
    assert len(given) == total
    assert max(Counter(trial for _, trial, _ in given).values()) == 1, "one trial went to two workers"
    assert len({at for _, _, at in given}) == total, "one point was tried twice"
    trials = servers.done("GET", f"{study}/trials")["trials"]
    assert [number(t) for t in trials] == sorted(number(t) for t in trials)
    assert {(int(t["clientId"][1:]), number(t)) for t in trials} == {(n, trial) for n, trial, _ in given}
    assert {t["state"] for t in trials} == {"COMPLETED"}
    waits.sort()
    with capsys.disabled():
        print(
            f"\n{servers.layout}: {total} trials by {WORKERS} workers in {seconds:.1f} s, {total / seconds:.0f} a "
            f"second; suggest waits {waits[total // 2]:.2f} s, at most {waits[-1]:.2f} s"
        )


@pytest.mark.parametrize("algorithm", ["GRID_SEARCH", "GAUSSIAN_PROCESS_BANDIT"])
def test_every_point_of_a_grid_is_tried_once(servers: Fleet, algorithm: str) -> None:
    study = new_study(servers, config(integer("a", 1, 10), integer("b", 1, 10), algorithm=algorithm))
    seen: list[str] = []

    def work(line: Line, bearer: str, n: int) -> None:
        while True:
            trials = suggested(line, bearer, study, f"w{n}", 2)
            if not trials:
                return
            for trial in trials:
                seen.append(json.dumps(point(trial)))
                final = {"finalMeasurement": {"metrics": [{"metric": "y", "value": 1.0}]}}
                assert call(line, bearer, f"/v1/{trial['name']}:complete", final)[0] == 200

    in_parallel(servers, work)
    assert Counter(seen).most_common(1)[0][1] == 1
    assert len(seen) == 100
    assert servers.done("GET", study)["state"] == "COMPLETED"


def test_workers_who_share_a_client_id_get_the_same_trial(servers: Fleet) -> None:
    study = new_study(servers, config(double("x")))
    given: list[int] = []

    def work(line: Line, bearer: str, n: int) -> None:
        (trial,) = suggested(line, bearer, study, f"team{n % 8}", 1)
        given.append(100 * (n % 8) + number(trial))

    in_parallel(servers, work)
    assert len(set(given)) == 8
    assert len(servers.done("GET", f"{study}/trials")["trials"]) == 8
