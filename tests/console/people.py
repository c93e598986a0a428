"""People at browsers, for the tests of the console and for the pictures of the sharing guide."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect

from mlgate.app import admin
from mlgate.ports import Record
from mlgate.settings import Settings
from tests.harness import OWNER, PROJECT, Server, mlgate
from tests.http.people import Api, writing

BOB, EVE, MALLORY = "user:bob@example.com", "user:eve@example.com", "user:mallory@example.com"
P = f"/v1/projects/{PROJECT}"
MODELS = {
    "cancer": ("Tells benign from malignant", {"team": "blue"}),
    "churn": ("Who leaves next month", {"team": "red", "stage": "test"}),
    "prices": ("House prices in euro", {}),
}
A_VERSION = {
    "name": "v1", "deploymentUri": "gs://ada-models/cancer/v1", "runtimeVersion": "2.11", "pythonVersion": "3.7"
}  # fmt: skip
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)


@dataclass
class ConsoleServer(Server):
    """A server whose console runs, too."""

    @property
    def console(self) -> str:
        return str(json.loads((self.data_dir / "ready.json").read_text())["console"])

    def link(self, principal: str, seconds: float = 3600) -> str:
        """As `login_link`, without the command line, which takes a second to start."""
        code = admin.login_code(Settings(data_dir=str(self.data_dir)), principal, seconds)
        return f"{self.console}/sign-in#code={code}"

    def login_link(self, principal: str, *more: str) -> str:
        done = mlgate("admin", "login-link", principal, "--data-dir", str(self.data_dir), *more)
        return str(done.stdout.strip())


def fill(server: Server) -> None:
    """Some of everything: models, one deployed; a group, a bucket, a study, a service account."""
    with Api(server) as api:
        for name, (about, labels) in MODELS.items():
            api.done(OWNER, "POST", f"{P}/models", {"name": name, "description": about, "labels": labels})
        api.done(OWNER, "POST", f"/storage/v1/b?project={PROJECT}", {"name": "ada-models"})
        upload(api, "ada-models", "cancer/v1/model.joblib", a_model())
        api.done(OWNER, "POST", f"{P}/models/cancer/versions", A_VERSION)
        group = api.done(
            OWNER, "POST", "/v1/groups?initialGroupConfig=WITH_INITIAL_OWNER",
            {"groupKey": {"id": "team@example.com"}, "displayName": "Team"},
        )["response"]["name"]  # fmt: skip
        member = {"preferredMemberKey": {"id": "eve@example.com"}, "roles": [{"name": "MEMBER"}]}
        api.done(OWNER, "POST", f"/v1/{group}/memberships", member)
        api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "caller"})
        study(api, "tuning", 12)
    with writing(server) as tx:  # a job as a finished one is stored: running one would take long
        tx.insert(
            Record(f"projects/{PROJECT}/jobs/sweep", "job", f"projects/{PROJECT}", "sweep", A_JOB, datetime.now(UTC))
        )


_TRIALS = [
    {"trialId": str(n), "state": "SUCCEEDED", "hyperparameters": {"lr": f"0.0{n}"},
     "finalMetric": {"trainingStep": "3", "objectiveValue": 0.5 + n / 10},
     "allMetrics": [{"trainingStep": str(step), "objectiveValue": step * n / 30} for step in range(1, 4)]}
    for n in range(1, 4)
]  # fmt: skip
A_JOB: dict[str, Any] = {
    "jobId": "sweep", "state": "SUCCEEDED", "createTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:10:00Z",
    "trainingInput": {"pythonModule": "trainer.task", "hyperparameters": {"goal": "MAXIMIZE", "maxTrials": 3}},
    "trainingOutput": {"isHyperparameterTuningJob": True, "completedTrialCount": "3", "trials": _TRIALS},
}  # fmt: skip


def upload(api: Api, bucket: str, name: str, content: bytes) -> None:
    api.sign_in([OWNER])
    headers = {"Authorization": f"Bearer {api.bearers[OWNER]}", "Content-Type": "application/octet-stream"}
    path = f"/upload/storage/v1/b/{bucket}/o"
    api.client.post(
        path, params={"uploadType": "media", "name": name}, content=content, headers=headers
    ).raise_for_status()


def wait_until_ready(api: Api, model: str) -> None:
    until = time.monotonic() + PATIENCE / 1000
    while (version := api.done(OWNER, "GET", f"{P}/models/{model}/versions/v1"))["state"] != "READY":
        assert version["state"] == "CREATING", version
        assert time.monotonic() < until
        time.sleep(0.1)


def a_model() -> bytes:
    import joblib
    from sklearn.linear_model import LogisticRegression

    file = io.BytesIO()
    joblib.dump(LogisticRegression().fit([[float(i)] for i in range(20)], [i > 9 for i in range(20)]), file)
    return file.getvalue()


def study(api: Api, study_id: str, trials: int) -> None:
    """A study of two metrics with trials that have ended, some with learning curves."""
    parameters = [
        {"parameter": "lr", "type": "DOUBLE", "doubleValueSpec": {"minValue": 0.0001, "maxValue": 0.1},
         "scaleType": "UNIT_LOG_SCALE"},
        {"parameter": "layers", "type": "INTEGER", "integerValueSpec": {"minValue": "1", "maxValue": "8"}},
        {"parameter": "kind", "type": "CATEGORICAL", "categoricalValueSpec": {"values": ["relu", "tanh"]}},
    ]  # fmt: skip
    metrics = [{"metric": "loss", "goal": "MINIMIZE"}, {"metric": "seconds", "goal": "MINIMIZE"}]
    path = f"{P}/locations/us-central1/studies"
    config = {"parameters": parameters, "metrics": metrics}
    api.done(OWNER, "POST", f"{path}?studyId={study_id}", {"studyConfig": config})
    dice = random.Random(0)
    for number in range(trials):
        lr, layers = 10 ** dice.uniform(-4, -1), dice.randint(1, 8)
        loss, seconds = abs(lr - 0.01) * 10 + dice.random() / 10, layers * 3 + dice.random()
        measured = [{"metric": "loss", "value": loss}, {"metric": "seconds", "value": seconds}]
        steps = [
            {"stepCount": str(step), "metrics": [{"metric": "loss", "value": loss + 1 / step}]} for step in range(1, 6)
        ]
        given = [
            {"parameter": "lr", "floatValue": lr}, {"parameter": "layers", "intValue": str(layers)},
            {"parameter": "kind", "stringValue": dice.choice(("relu", "tanh"))},
        ]  # fmt: skip
        body: dict[str, Any] = {"parameters": given, "state": "COMPLETED", "finalMeasurement": {"metrics": measured}}
        if number < 12:
            body["measurements"] = steps
        api.done(OWNER, "POST", f"{path}/{study_id}/trials", body)


@dataclass
class Person:
    """Somebody at a browser of their own; what the page complained about, and asked of other hosts."""

    server: ConsoleServer
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(self.server.console + path)
        self.settle()
        return self.page

    def follow(self, path: str) -> Page:
        """As a click on a link: the frame stays, and the page in it changes."""
        self.page.evaluate(
            """path => {
              document.querySelector(".page")?.classList.add("left");
              const a = Object.assign(document.createElement("a"), {href: path});
              document.body.append(a);
              a.click();
              a.remove();
            }""",
            path,
        )
        expect(self.page.locator(".page.left")).to_have_count(0)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the page shows what it was going to."""
        expect(self.page.locator("#main")).to_be_visible()
        expect(self.page.locator(".waiting")).to_have_count(0)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def tick(self, name: str) -> None:
        """Tick a checkbox, which shows it when the console has heard of it."""
        box = self.page.get_by_role("checkbox", name=name, exact=True)
        box.click()
        expect(box).to_be_checked()

    def told(self) -> Any:
        return self.page.locator(".told")

    def shot(self, file: Path) -> None:
        self.page.evaluate("document.fonts.ready")
        self.page.screenshot(path=file, animations="disabled", caret="hide")


@contextmanager
def someone(browser: Browser, server: ConsoleServer, principal: str = OWNER, **options: Any) -> Iterator[Person]:
    """A person who has signed in by a link."""
    context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 800}), **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    person = Person(server, context, page)
    host = urlsplit(server.console).netloc
    page.on("pageerror", lambda error: person.complaints.append(str(error)))
    page.on("console", lambda m: person.complaints.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: person.strangers.append(r.url) if _is_stranger(r.url, host) else None)
    try:
        page.goto(server.link(principal))
        page.wait_for_url(lambda url: "/sign-in" not in url)
        yield person
    finally:
        context.close()


def _is_stranger(url: str, host: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host
