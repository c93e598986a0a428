"""Requests and their answers as rows: in a table file or a bucket, for those who may write there, and no secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import OWNER, Server
from tests.http.deployed import deploy, eventually, linear, new_bucket, share, upload
from tests.http.people import Api, error_of

PROJECT, OTHER = "logging-project", "logging-other"
P = f"/v1/projects/{PROJECT}"
M, BUCKET, SINK = f"{P}/models/m", "logging-project-files", "logging-project-sink"
V = f"{M}/versions/v"
USER, DEV = "user:user@example.com", "user:dev@example.com"
TABLE = f"{PROJECT}.requests.m_v"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"MLGATE_REQUEST_LOG_SECONDS": "0.2", "MLGATE_MAX_TABLE_BYTES": "3000"}
    made = Server(tmp_path_factory.mktemp("logging") / "data", settings=settings).initialize().start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def agent(api: Api) -> str:
    return str(api.done(OWNER, "GET", f"{P}:getConfig")["serviceAccount"])


@pytest.fixture(scope="module")
def api(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(server) as made:
        made.sign_in([OWNER, USER])
        for project in (PROJECT, OTHER):
            made.new_project(project)
        new_bucket(made, PROJECT, BUCKET)
        new_bucket(made, PROJECT, SINK)
        made.done(OWNER, "POST", f"{P}/models", {"name": "m"})
        share(made, M, "roles/ml.modelUser", USER)
        share(made, P, "roles/ml.admin", DEV)
        uri = upload(made, tmp_path_factory.mktemp("m"), BUCKET, "m", linear())
        assert "response" in deploy(made, M, "v", uri, requestLoggingConfig={"samplingPercentage": 1.0})
        yield made


def log_to(api: Api, who: str, name: str | None, share: Any = 1.0, mask: str = "requestLoggingConfig") -> Any:
    config = None if name is None else {"bigqueryTableName": name, "samplingPercentage": share}
    return api(who, "PATCH", V, {"requestLoggingConfig": config}, params={"updateMask": mask})


def predict(api: Api, *instances: Any, **fields: Any) -> Any:
    return api(USER, "POST", f"{V}:predict", {"instances": list(instances), **fields})


def rows(server: Server, table: str = TABLE) -> list[dict[str, Any]]:
    path = server.data_dir.joinpath("tables", *table.split(".")).with_suffix(".jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def unlogged(api: Api) -> int:
    return int(api.done(OWNER, "GET", f"{V}:metrics")["total"].get("unloggedRequests", 0))


def test_creating_a_version_does_not_log(api: Api) -> None:
    assert "requestLoggingConfig" not in api.done(OWNER, "GET", V)


@pytest.mark.parametrize(
    ("name", "share", "reason"),
    [
        (TABLE, 1.5, "fraction"),
        (TABLE, -0.1, "fraction"),
        (TABLE, "NaN", "fraction"),
        ("table", 1, "neither"),
        ("a.b.c.d", 1, "neither"),
        (f"{PROJECT}.../x", 1, "neither"),
        (f"{PROJECT}.a.b/../c", 1, "neither"),
        (f"{PROJECT}.a.", 1, "neither"),
        ("Bad!.a.b", 1, "project id"),
        ("../x.a.b", 1, "neither"),
        ("gs://UPPER/x", 1, "bucket"),
        (f"gs://{SINK}/../x", 1, "segment"),
        ("", 1, "required"),
    ],
)
def test_what_is_no_place_or_no_fraction_is_refused(api: Api, name: str, share: Any, reason: str) -> None:
    error = error_of(log_to(api, OWNER, name, share))
    assert error["status"] == "INVALID_ARGUMENT"
    assert reason in error["message"]


def test_the_caller_needs_the_right_to_create_objects_where_it_is_logged(api: Api) -> None:
    """ml.admin may change versions, and nothing in buckets."""
    for name in (TABLE, f"{OTHER}.a.b", f"gs://{SINK}/x", "no-such-project.a.b", "gs://no-such-bucket/x"):
        for mask in ("requestLoggingConfig", "requestLoggingConfig.bigqueryTableName", "request_logging_config"):
            error = error_of(log_to(api, DEV, name, mask=mask))
            assert error["status"] == "PERMISSION_DENIED"
            assert "storage.objects.create" in error["message"]
    assert error_of(log_to(api, "user:stranger@example.com", TABLE))["status"] == "PERMISSION_DENIED"
    share(api, P, "roles/storage.objectCreator", DEV)
    assert log_to(api, DEV, TABLE).status_code == 200
    assert error_of(log_to(api, DEV, f"{OTHER}.a.b"))["status"] == "PERMISSION_DENIED"
    assert log_to(api, DEV, None).status_code == 200
    assert "requestLoggingConfig" not in api.done(OWNER, "GET", V)


def test_nothing_is_written_before_the_service_agent_may(server: Server, api: Api, agent: str) -> None:
    for place in (f"{PROJECT}.early.t", f"gs://{SINK}/early"):
        before = unlogged(api)
        assert log_to(api, OWNER, place).status_code == 200
        assert predict(api, [1, 2]).status_code == 200
        assert eventually(lambda: unlogged(api), lambda count, before=before: count > before) == before + 1  # type: ignore[misc]
    assert not (server.data_dir / "tables").exists()
    assert "items" not in api.done(OWNER, "GET", f"/storage/v1/b/{SINK}/o")
    assert "lacks storage.objects.create" in server.log()
    share(api, P, "roles/storage.objectCreator", f"serviceAccount:{agent}")


def test_a_table_gets_a_row_for_each_sampled_answer_of_the_model(server: Server, api: Api, agent: str) -> None:
    assert log_to(api, OWNER, TABLE).status_code == 200
    assert predict(api, [1, 2]).json() == {"predictions": [pytest.approx(9.0)]}
    assert predict(api, ["x", "y"]).status_code == 400
    found = eventually(lambda: rows(server), lambda some: len(some) == 2)
    assert [list(row) for row in found] == [["model", "model_version", "time", "raw_data", "raw_prediction",
                                             "groundtruth"]] * 2  # fmt: skip
    assert {(row["model"], row["model_version"], row["groundtruth"]) for row in found} == {("m", "v", None)}
    assert json.loads(found[0]["raw_data"]) == {"instances": [[1, 2]]}
    assert json.loads(found[0]["raw_prediction"])["predictions"] == [pytest.approx(9.0)]
    assert "Error code" in json.loads(found[1]["raw_prediction"])["error"]
    table = server.data_dir / "tables" / PROJECT / "requests" / "m_v.jsonl"
    assert (table.stat().st_mode & 0o077, table.parent.stat().st_mode & 0o077) == (0, 0)


def test_what_looks_like_a_token_is_not_logged(server: Server, api: Api, agent: str) -> None:
    assert log_to(api, OWNER, f"{PROJECT}.requests.secrets").status_code == 200
    assert predict(api, [1, 2], note=f"Bearer {api.bearers[USER]}").status_code == 200
    (row,) = eventually(lambda: rows(server, f"{PROJECT}.requests.secrets"))
    assert api.bearers[USER] not in json.dumps(row)
    assert "[redacted]" in row["raw_data"]


def test_a_full_table_takes_no_more_and_predictions_go_on(server: Server, api: Api, agent: str) -> None:
    assert log_to(api, OWNER, f"{PROJECT}.requests.full").status_code == 200
    before = unlogged(api)
    for _ in range(2):
        assert predict(api, *[[1, 2]] * 100).status_code == 200
        eventually(lambda: rows(server, f"{PROJECT}.requests.full"))
    assert eventually(lambda: unlogged(api), lambda count: count > before) == before + 1
    assert len(rows(server, f"{PROJECT}.requests.full")) == 1


def test_a_share_of_nothing_and_no_configuration_log_nothing(server: Server, api: Api, agent: str) -> None:
    assert log_to(api, OWNER, f"{PROJECT}.requests.none", 0).status_code == 200
    predict(api, [1, 2])
    assert log_to(api, OWNER, None).status_code == 200
    predict(api, [1, 2])
    assert log_to(api, OWNER, f"{PROJECT}.requests.after", 0.5).status_code == 200
    for _ in range(40):  # a chance of 1 in 10^12 that all, or none, of them are taken
        predict(api, [1, 2])
    found = eventually(lambda: rows(server, f"{PROJECT}.requests.after"))
    assert 1 <= len(found) < 40
    assert rows(server, f"{PROJECT}.requests.none") == []


def test_one_field_of_the_configuration_can_be_changed(api: Api, agent: str) -> None:
    assert log_to(api, OWNER, TABLE, 0.25).status_code == 200
    body = {"requestLoggingConfig": {"samplingPercentage": 0.5}}
    mask = {"updateMask": "requestLoggingConfig.samplingPercentage"}
    api.done(OWNER, "PATCH", V, body, params=mask)
    wanted = {"bigqueryTableName": TABLE, "samplingPercentage": 0.5}
    assert api.done(OWNER, "GET", V)["requestLoggingConfig"] == wanted
    share(api, P, "roles/ml.admin", "user:admin@example.com")
    more = api("user:admin@example.com", "PATCH", V, body, params=mask)
    assert "storage.objects.create" in error_of(more)["message"]
    api.done("user:admin@example.com", "PATCH", V, {"requestLoggingConfig": {"samplingPercentage": 0}}, params=mask)
    assert log_to(api, OWNER, None).status_code == 200
    assert error_of(api(OWNER, "PATCH", V, body, params=mask))["status"] == "INVALID_ARGUMENT"


def test_a_bucket_gets_objects_of_rows_and_a_stop_writes_the_last(server: Server, api: Api, agent: str) -> None:
    assert log_to(api, OWNER, f"gs://{SINK}/some/prefix").status_code == 200
    assert predict(api, [1, 2]).status_code == 200

    def logged() -> list[dict[str, Any]]:
        found = []
        for item in api.done(OWNER, "GET", f"/storage/v1/b/{SINK}/o").get("items", []):
            assert item["name"].startswith("some/prefix/m/v/")
            assert item["contentType"] == "application/jsonl"
            path = f"/storage/v1/b/{SINK}/o/{item['name'].replace('/', '%2F')}"
            content = api(OWNER, "GET", path, params={"alt": "media"}).text
            found += [json.loads(line) for line in content.splitlines()]
        return found

    assert len(eventually(logged)) == 1
    predict(api, [3, 4])
    server.restart()
    assert [json.loads(row["raw_data"])["instances"] for row in logged()] == [[[1, 2]], [[3, 4]]]


def test_a_link_among_the_tables_leads_nowhere(server: Server, api: Api, agent: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    (server.data_dir / "tables" / PROJECT / "requests" / "link.jsonl").symlink_to(outside)
    assert log_to(api, OWNER, f"{PROJECT}.requests.link").status_code == 200
    before = unlogged(api)
    predict(api, [1, 2])
    assert eventually(lambda: unlogged(api), lambda count: count > before) > before
    assert outside.read_text() == ""
