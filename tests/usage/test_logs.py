"""The files behind tables and logs of versions, and which lines of a model process are kept."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlgate.adapters.lines import LogFiles, TableFiles
from mlgate.api import prediction_log
from mlgate.api.prediction_log import Prediction, PredictionLog
from mlgate.core.usage import Counts
from mlgate.snapshot import RequestLogging, ServedModel, ServedVersion
from mlgate.worker.version_log import VersionLog

CLOCK: Any = SimpleNamespace(now=lambda: datetime(2026, 1, 2, tzinfo=UTC))


def test_many_writers_of_a_table_mix_no_lines(tmp_path: Path) -> None:
    tables = [TableFiles(tmp_path, 1 << 20) for _ in range(4)]
    lines = [json.dumps({"n": n, "text": "x" * 300}).encode() for n in range(20)]
    threads = [
        threading.Thread(target=lambda t=t: [t.append(("p", "d", "t"), lines) for _ in range(10)]) for t in tables
    ]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = (tmp_path / "p" / "d" / "t.jsonl").read_bytes().splitlines()
    assert sorted(found) == sorted(lines * 40)


def test_a_table_takes_as_many_lines_as_it_has_room_for(tmp_path: Path) -> None:
    tables = TableFiles(tmp_path, 10)
    assert tables.append(("p", "d", "t"), [b"123", b"123", b"1", b"1"]) == 3
    assert tables.append(("p", "d", "t"), [b"1"]) == 0
    assert (tmp_path / "p" / "d" / "t.jsonl").read_bytes() == b"123\n123\n1\n"


@pytest.mark.parametrize("part", ["..", "a/b", "", ".hidden", "a.b", "x" * 200, "a\nb"])
def test_names_that_are_no_plain_names_become_no_paths(tmp_path: Path, part: str) -> None:
    with pytest.raises(ValueError, match="cannot be a part"):
        TableFiles(tmp_path, 100).append(("p", part, "t"), [b"x"])
    with pytest.raises(ValueError, match="cannot be a part"):
        LogFiles(tmp_path).append(part, [b"x"])


def test_a_log_keeps_its_last_lines_and_goes_with_its_version(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    lines = [f"{n:0100d}".encode() for n in range(60_000)]
    for start in range(0, len(lines), 1000):
        logs.append("1", lines[start : start + 1000])
    found = logs.read("1")
    assert found == lines[-len(found) :]
    assert 1 << 20 <= sum(len(line) + 1 for line in found) <= 3 << 20
    logs.append("2", [b"x"])
    logs.keep({"2"})
    assert logs.read("1") == found  # it is young
    logs.keep({"2"}, older_than_seconds=0)
    assert logs.read("1") == []
    assert logs.read("2") == [b"x"]


def test_what_a_process_prints_is_kept_of_deployments_and_where_the_model_wants_it(tmp_path: Path) -> None:
    def version(uid: str) -> ServedVersion:
        return ServedVersion(uid, "digest", "SCIKIT_LEARN")

    served = {
        "quiet": ServedModel("v", {"v": version("1")}),
        "loud": ServedModel("v", {"v": version("2")}, console_log=True),
    }
    snapshot: Any = SimpleNamespace(revision=1, served=served)
    log = VersionLog(snapshot, LogFiles(tmp_path), CLOCK, 0.01)
    for uid in ("1", "2", "3"):  # 3 is served by nobody yet
        log.printed(uid, f"of {uid}; Bearer mlgate_{'x' * 30}")
        log.said(uid, "loaded")
    snapshot.revision, served["quiet"] = 2, ServedModel("v", {"v": version("1")}, console_log=True)
    log.printed("1", "louder")
    log.close()

    def texts(uid: str) -> list[tuple[str, str]]:
        return [(line["kind"], line["text"]) for line in map(json.loads, log.logs.read(uid))]

    assert texts("1") == [("SERVER", "loaded"), ("CONSOLE", "louder")]
    assert texts("2") == [("CONSOLE", "of 2; Bearer [redacted]"), ("SERVER", "loaded")]
    assert texts("3") == [("CONSOLE", "of 3; Bearer [redacted]"), ("SERVER", "loaded")]


def test_rows_that_find_no_room_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row waits; the second is one too many; the third has no place, since its project is gone."""
    monkeypatch.setattr(prediction_log, "MOST_ROWS", 1)
    counted: list[dict[str, Counts]] = []
    snapshot: Any = SimpleNamespace(refresh=lambda: 1, projects={})
    log = PredictionLog(
        store=None,  # type: ignore[arg-type]
        blobs=None,  # type: ignore[arg-type]
        snapshot=snapshot, tables=TableFiles(tmp_path, 1000), logs=LogFiles(tmp_path), clock=CLOCK,
        usage=SimpleNamespace(add=counted.append),  # type: ignore[arg-type]
        seconds=60,
    )  # fmt: skip
    one = Prediction("projects/p/models/m/versions/v", "7", "predict", CLOCK.now(), 200, 0.1, 1, 1)
    for _ in range(2):
        log.sample(one, RequestLogging(1.0, "p-project.d.t"), b"{}", b"{}")
    log.sample(one, RequestLogging(0.0, "p-project.d.t"), b"{}", b"{}")
    log.close()
    assert [{uid: counts.unlogged for uid, counts in some.items()} for some in counted] == [{"7": 2}]
