"""Large things stay usable: 10,000 models, a study of 1,000 trials, a log of a hundred megabytes. A page holds a window
of them and no more."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, expect

from mlgate import job_logs
from mlgate.ports import Record, Transaction
from mlgate.studies import add_trial, new_study
from tests.console.people import ConsoleServer, someone
from tests.harness import OWNER
from tests.http.people import Api, writing

BIG = "big-project"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def big_project(console: ConsoleServer) -> None:
    """Stored as the API stores it, without ten thousand calls."""
    with Api(console) as api:
        api.new_project(BIG)
    with writing(console) as tx:
        for number in range(10_000):
            name = f"projects/{BIG}/models/m{number:05}"
            tx.insert(Record(name, "model", f"projects/{BIG}", str(number), {"name": name}, NOW))
        location = f"projects/{BIG}/locations/us-central1"
        axes = [
            {"parameter": f"p{i}", "type": "DOUBLE", "doubleValueSpec": {"minValue": 0.0, "maxValue": 1.0 + i / 4}}
            for i in range(6)
        ]
        config = {"parameters": axes, "metrics": [{"metric": "loss", "goal": "MINIMIZE"}]}
        study = new_study(f"{location}/studies/long", location, "1", config, NOW)
        tx.insert(study)
        dice = random.Random(0)
        for number in range(1000):
            add_trial(tx, study, _trial(dice, number), NOW)
        tx.update(study)
        _add_log(tx)


def _add_log(tx: Transaction) -> None:
    """A job that printed 50,000 lines of 2,000 characters, a hundred in a second."""
    body = {"jobId": "talker", "state": "SUCCEEDED", "createTime": _stamp(0), "startTime": _stamp(0),
            "endTime": _stamp(500), "trainingInput": {}}  # fmt: skip
    job = Record(f"projects/{BIG}/jobs/talker", "job", f"projects/{BIG}", "job", body, NOW)
    tx.insert(job)
    for start in range(0, 50_000, 1000):
        lines = [
            job_logs.Line(NOW + timedelta(seconds=number / 100), job_logs.INFO, f"line {number:05} " + "x" * 2000)
            for number in range(start, start + 1000)
        ]
        job_logs.append(tx, job, job_logs.Stream("master-replica-0"), lines, start, start + 1000)


def _stamp(second: int) -> str:
    return (NOW + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _trial(dice: random.Random, number: int) -> dict:  # type: ignore[type-arg]
    at = [dice.random() for _ in range(6)]
    end = _stamp(number)
    return {
        "state": "COMPLETED", "startTime": end, "endTime": end,
        "parameters": [{"parameter": f"p{i}", "floatValue": value} for i, value in enumerate(at)],
        "finalMeasurement": {"metrics": [{"metric": "loss", "value": sum((x - 0.5) ** 2 for x in at)}]},
    }  # fmt: skip


def test_ten_thousand_models(console: ConsoleServer, browser: Browser) -> None:
    with someone(browser, console) as ada:
        page = ada.go(f"/projects/{BIG}/models")
        expect(page.get_by_role("link", name="m00000")).to_be_visible()
        assert page.locator("tbody tr").count() <= 101
        ada.button("Next").click()
        expect(page.get_by_role("link", name="m00100")).to_be_visible()
        expect(page.get_by_text("101 to 200")).to_be_visible()
        ada.tick("m00150")
        page.get_by_label("Search models").fill("m0999")
        expect(page.get_by_role("link", name="m09999")).to_be_visible()
        expect(page.get_by_text("1 to 10", exact=True)).to_be_visible()
        ada.tick("m09999")
        ada.button("Show Info Panel").click()
        expect(page.get_by_text("2 models selected")).to_be_visible()  # also what is out of sight
        page.get_by_label("Add members").fill("bob@example.com")
        ada.button("Add").click()
        expect(ada.told()).to_contain_text("added to ML Engine Model User on 2 models")
        assert page.evaluate("document.querySelectorAll('*').length") < 5000
        assert not ada.complaints


def test_a_study_of_a_thousand_trials(console: ConsoleServer, browser: Browser) -> None:
    with someone(browser, console, OWNER) as ada:
        study = f"/projects/{BIG}/locations/us-central1/studies/long"
        page = ada.go(study)
        expect(page.get_by_text("after 1000 trials")).to_be_visible()
        page.get_by_role("tab", name="Parallel coordinates").click()
        drawn = page.get_by_role("img", name="1000 trials across 6 parameters and loss")
        expect(drawn).to_be_visible()
        for end in ("1.25", "1.5", "1.75", "2", "2.25"):  # of the axes of p1 to p5
            expect(drawn.get_by_text(end, exact=True)).to_be_visible()
        page.get_by_role("tab", name="Trials").click()
        expect(page.get_by_text("1000 trials")).to_be_visible()
        assert page.locator("tbody tr").count() < 200  # the rest is drawn when it comes into sight
        with page.expect_download() as download:
            ada.button("Export CSV").click()
        lines = download.value.path().read_text().splitlines()
        assert lines[0] == "Trial,State,loss,p0,p1,p2,p3,p4,p5,Client"
        assert len(lines) == 1001
        page.go_back()
        page.go_forward()
        assert not ada.complaints


def test_a_log_of_a_hundred_megabytes(console: ConsoleServer, browser: Browser) -> None:
    with someone(browser, console) as ada:
        page = ada.go(f"/projects/{BIG}/jobs/talker?tab=log")
        log = page.get_by_role("log")
        expect(log.get_by_text("line 49999")).to_be_visible()
        assert log.locator(".log-line").count() == 500
        ada.button("Older lines").click()
        expect(log.get_by_text("line 49499")).to_be_visible()
        expect(log.get_by_text("line 49500")).to_have_count(0)
        assert log.locator(".log-line").count() == 500
        ada.button("Newest lines").click()
        expect(log.get_by_text("line 49999")).to_be_visible()
        assert not ada.complaints
