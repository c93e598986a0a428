"""How models and versions are used: lastUseTime, series, totals for Prometheus, and the logs of versions."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlgate.core.wire import format_timestamp, parse_timestamp
from tests.harness import OWNER, Server
from tests.hosts.models import Written
from tests.http.deployed import deploy, eventually, linear, new_bucket, share, upload
from tests.http.people import Api, error_of
from tests.postgres import postgres

P = "/v1/projects/usage-project"
M = f"{P}/models/m"
V = f"{M}/versions/v"
USER, VIEWER, SCRAPER = "user:user@example.com", "user:viewer@example.com", "user:scraper@example.com"
GOOD, BAD = {"instances": [[1, 2]]}, {"instances": [["a", "b"]]}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two API processes, whose counts add up."""
    settings = {"MLGATE_REQUEST_LOG_SECONDS": "0.2"}
    root = tmp_path_factory.mktemp("usage")
    if request.param == "sqlite":
        made = Server(root / "data", workers=2, settings=settings).initialize().start()
        yield made
        made.close()
        return
    with postgres() as url:
        made = Server(root / "data", workers=2, settings=settings, database_url=url).initialize().start()
        yield made
        made.close()


@pytest.fixture(scope="module")
def uri(api: Api, tmp_path_factory: pytest.TempPathFactory) -> str:
    return upload(api, tmp_path_factory.mktemp("m"), "usage-project-files", "m", linear())


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        made.sign_in([OWNER])
        made.new_project("usage-project")
        new_bucket(made, "usage-project", "usage-project-files")
        made.done(OWNER, "POST", f"{P}/models", {"name": "m", "onlinePredictionLogging": True})
        share(made, M, "roles/ml.modelUser", USER)
        share(made, P, "roles/ml.viewer", VIEWER)
        yield made


def predict_on_new_connections(server: Server, bearer: str, path: str, bodies: list[Any]) -> None:
    """Each on a connection of its own, so that all API processes get some."""
    for body in bodies:
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {bearer}"}, timeout=60) as client:
            client.post(f"{path}:predict", json=body)


def total(api: Api, path: str, **query: str) -> dict[str, Any]:
    return dict(api.done(VIEWER, "GET", f"{path}:metrics", params=query)["total"])


def test_processes_add_up_and_the_last_use_is_told(server: Server, api: Api, uri: str) -> None:
    assert "response" in deploy(api, M, "v", uri)
    assert "lastUseTime" not in api.done(VIEWER, "GET", V)
    assert total(api, M)["requests"] == "0"
    before = datetime.now(UTC)
    api.sign_in([USER])
    bodies = [GOOD] * 12 + [BAD] * 4
    threads = [
        threading.Thread(target=predict_on_new_connections, args=(server, api.bearers[USER], path, bodies))
        for path in (M, V, M)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = eventually(lambda: total(api, V), lambda found: found["requests"] == "48")
    assert (counted["requests"], counted["failures"]) == ("48", {"400": "12"})
    assert total(api, M) == counted
    assert 0 < float(counted["p50"][:-1]) <= float(counted["p95"][:-1]) <= float(counted["p99"][:-1]) < 100
    assert int(counted["requestBytes"]) == 36 * len('{"instances":[[1,2]]}') + 12 * len('{"instances":[["a","b"]]}')
    assert int(counted["responseBytes"]) > 0
    for shown in (
        api.done(VIEWER, "GET", V),
        api.done(VIEWER, "GET", f"{M}/versions")["versions"][0],
        api.done(VIEWER, "GET", M)["defaultVersion"],
        api.done(VIEWER, "GET", f"{P}/models")["models"][0]["defaultVersion"],
    ):
        assert before - timedelta(seconds=1) <= parse_timestamp(shown["lastUseTime"]) <= datetime.now(UTC)


def test_a_series_has_the_periods_in_which_something_was_asked(api: Api, uri: str) -> None:
    api(USER, "POST", f"{V}:predict", GOOD)
    eventually(lambda: total(api, V), lambda found: int(found["requests"]) > 0)
    found = api.done(VIEWER, "GET", f"{V}:metrics", params={"alignmentPeriod": "3600s"})
    assert found["alignmentPeriod"] == "3600s"
    assert 1 <= len(found["points"]) <= 2
    assert sum(int(point["requests"]) for point in found["points"]) == int(found["total"]["requests"])
    old = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T01:00:00Z"}
    empty = api.done(VIEWER, "GET", f"{V}:metrics", params=old)
    assert "points" not in empty
    assert empty["total"]["requests"] == "0"
    assert "p50" not in empty["total"]


@pytest.mark.parametrize(
    "query",
    [
        {"startTime": "yesterday"},
        {"endTime": "1"},
        {"startTime": "2026-01-02T00:00:00Z", "endTime": "2026-01-01T00:00:00Z"},
        {"alignmentPeriod": "90s"},
        {"alignmentPeriod": "0s"},
        {"alignmentPeriod": "x"},
        {"startTime": "1970-01-01T00:00:00Z"},
    ],
)
def test_a_span_that_is_none_is_refused(api: Api, query: dict[str, str]) -> None:
    assert error_of(api(VIEWER, "GET", f"{M}:metrics", params=query))["status"] == "INVALID_ARGUMENT"


def test_metrics_and_logs_are_for_readers_of_the_resource(api: Api) -> None:
    for path in (f"{M}:metrics", f"{V}:metrics", f"{V}:listLogs"):
        assert api("user:stranger@example.com", "GET", path).status_code == 403
        assert api("", "GET", path).status_code == 401
    missing = f"{M}/versions/none"
    assert error_of(api(VIEWER, "GET", f"{missing}:metrics"))["status"] == "NOT_FOUND"
    assert error_of(api(VIEWER, "GET", f"{missing}:listLogs"))["status"] == "NOT_FOUND"


def test_prometheus_reads_totals_with_a_right_on_the_organization(api: Api, uri: str) -> None:
    for who in (VIEWER, OWNER):
        assert api(who, "GET", "/metrics").status_code == 403
    api.done(
        OWNER, "POST", "/v1/organizations/1:setIamPolicy",
        {"policy": {"bindings": [
            *api.done(OWNER, "POST", "/v1/organizations/1:getIamPolicy")["bindings"],
            {"role": "roles/ml.viewer", "members": [SCRAPER]},
        ]}},
    )  # fmt: skip
    api(USER, "POST", f"{V}:predict", GOOD)
    wanted = 'mlgate_prediction_requests_total{project="usage-project",model="m",version="v",code="200"}'
    text = eventually(lambda: api(SCRAPER, "GET", "/metrics").text, lambda page: wanted in page)
    assert wanted in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    values = dict(line.rsplit(" ", 1) for line in lines)
    labels = 'project="usage-project",model="m",version="v"'
    buckets = [int(v) for k, v in values.items() if k.startswith(f"mlgate_prediction_seconds_bucket{{{labels}")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == int(values[f"mlgate_prediction_seconds_count{{{labels}}}"]) > 0
    assert float(values[f"mlgate_prediction_seconds_sum{{{labels}}}"]) > 0


def test_a_deployment_has_a_log_and_answers_leave_access_lines(api: Api, uri: str) -> None:
    api(USER, "POST", f"{V}:predict", GOOD)
    api(USER, "POST", f"{V}:predict", BAD)

    def lines(**query: Any) -> list[dict[str, Any]]:
        return list(api.done(VIEWER, "GET", f"{V}:listLogs", params=query).get("lines", []))

    found = eventually(lambda: lines(kind="ACCESS"), lambda some: {"400"} <= {str(line["status"]) for line in some})
    assert {line["status"] for line in found} == {200, 400}
    assert {line["method"] for line in found} == {"predict"}
    assert all(float(line["latency"][:-1]) > 0 and int(line["requestBytes"]) > 0 for line in found)
    assert not any("instances" in str(line) or "mlgate_" in str(line) for line in found)
    assert len(lines(limit=1)) == 1
    said = [line["text"] for line in lines(kind="SERVER")]
    assert any("SCIKIT_LEARN" in text for text in said), said
    for query in ({"kind": "NONE"}, {"limit": -1}, {"limit": 5001}):
        assert error_of(api(VIEWER, "GET", f"{V}:listLogs", params=query))["status"] == "INVALID_ARGUMENT"


def test_what_a_model_prints_while_it_is_deployed_is_kept(api: Api, tmp_path: Path) -> None:
    """This one prints, and then is no model: its deployment fails, and its log says how far it came."""
    bad = upload(api, tmp_path, "usage-project-files", "bad", Written("print('weights are gone')\nmodel = 1"))
    ended = deploy(api, M, "bad", bad)
    assert "error" in ended
    path = f"{M}/versions/bad:listLogs"
    found = eventually(lambda: api.done(VIEWER, "GET", path).get("lines", []), lambda lines: len(lines) > 3)
    texts = [(line["kind"], line["text"]) for line in found]
    assert ("CONSOLE", "weights are gone") in texts
    assert texts[-1] == ("SERVER", f"The deployment failed: {ended['error']['message']}")
    assert any("environment" in text for _, text in texts)


def test_a_clean_stop_loses_no_count(server: Server, api: Api, uri: str) -> None:
    earlier = int(eventually(lambda: total(api, M))["requests"])
    predict_on_new_connections(server, api.bearers[USER], V, [GOOD] * 5)
    until = format_timestamp(datetime.now(UTC) + timedelta(minutes=2))
    server.restart()
    now = eventually(lambda: total(api, M, endTime=until), lambda found: int(found["requests"]) >= earlier + 5)
    assert int(now["requests"]) >= earlier + 5


def test_the_command_line_shows_them(server: Server, api: Api, uri: str, tmp_path: Path) -> None:
    env = {
        "MLGATE_SERVER": server.url, "MLGATE_TOKEN": api.bearers[OWNER], "MLGATE_PROJECT": "usage-project",
        "HOME": str(tmp_path), "PATH": "/usr/bin:/bin",
    }  # fmt: skip

    def shown(*words: str) -> str:
        command = [sys.executable, "-m", "mlgate.cli.main", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout

    assert "REQUESTS" in shown("models", "metrics", "m").upper()
    assert "REQUESTS" in shown("versions", "metrics", "v", "--model", "m", "--since", "2h").upper()
    assert "SCIKIT_LEARN" in shown("versions", "logs", "v", "--model", "m")
