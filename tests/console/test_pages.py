"""Every page: without serious findings of axe, without a request to another host, 390 pixels wide; in dark too."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, TimeoutError, expect

from tests.console.people import ConsoleServer, Person, someone
from tests.harness import PROJECT

_STUDY = "/locations/us-central1/studies/tuning"
PAGES = {
    "/models?selected=cancer&panel=permissions": "ML Engine Model Owner",
    "/models/cancer": "v1",
    "/models/cancer?tab=try": "Try a prediction",
    "/models/cancer?tab=code": "curl",
    "/models/cancer?tab=history": "roles/ml.modelOwner",
    "/models/cancer?tab=traffic": "",
    "/models/cancer/versions/v1": "gs://ada-models/cancer/v1",
    "/models/none": "There is nothing here",
    "/models/cancer/versions/v1?tab=log": "",
    "/jobs": "sweep",
    "/jobs/sweep": "Tuning",
    "/jobs/sweep?tab=log": "No lines",
    "/jobs/sweep?tab=trials": "Learning curves",
    "/studies": "tuning",
    _STUDY: "Best so far",
    f"{_STUDY}?tab=curves": "loss",
    f"{_STUDY}?tab=parallel": "A line is a trial",
    f"{_STUDY}?tab=slice": "layers",
    f"{_STUDY}?tab=contour": "Expected loss",
    f"{_STUDY}?tab=importance": "What loss depends on",
    f"{_STUDY}?tab=front": "Pareto front",
    f"{_STUDY}?tab=trials": "Export CSV",
    "/operations": "Create version",
    "/storage": "ada-models",
    "/storage/ada-models": "cancer/",
    "/storage/ada-models?prefix=cancer%2Fv1%2F": "model.joblib",
    "/storage/ada-models?tab=permissions": "Owner",
    "/access?tab=who&resource=cancer": "ada@example.com",
    "/access?tab=what&principal=ada@example.com": "roles/owner",
    "/access?tab=why&principal=bob@example.com&resource=prices": "bob@example.com",
    "/access?tab=roles": "roles/ml.modelUser",
    "/access?tab=groups": "team@example.com",
    "/access?tab=accounts": f"caller@{PROJECT}",
}
DARK = ("/models?selected=cancer&panel=permissions", _STUDY, f"{_STUDY}?tab=contour", "/access?tab=who&resource=cancer")
_SEVERE = ("serious", "critical")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_keeps_to_itself(console: ConsoleServer, browser: Browser, scheme: Any) -> None:
    findings: list[str] = []
    with someone(browser, console, color_scheme=scheme) as ada:
        for path in PAGES if scheme == "light" else DARK:
            ada.follow(f"/projects/{PROJECT}{path}")
            if PAGES[path]:
                expect(ada.page.locator("#main").get_by_text(PAGES[path]).first).to_be_visible()
            findings += [*_severe(ada, path), *_too_wide(ada, path)]
        assert not findings, "\n".join(findings)
        assert not ada.strangers
        assert not ada.complaints


def test_signing_in_is_accessible(console: ConsoleServer, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"{console.console}/sign-in")
    expect(page.get_by_role("heading", name="Sign in to mlgate")).to_be_visible()
    findings = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [f["id"] for f in findings if f["impact"] in _SEVERE] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def _severe(person: Person, path: str) -> list[str]:
    findings = Axe().run(person.page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{path}: {finding['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for finding in findings if finding["impact"] in _SEVERE for node in finding["nodes"]
    ]  # fmt: skip


def _too_wide(person: Person, path: str) -> list[str]:
    """No page is wider than a phone; what is wider scrolls in its own box."""
    person.page.set_viewport_size({"width": 390, "height": 800})
    try:
        person.page.wait_for_function("document.documentElement.scrollWidth <= 390", timeout=10_000)
    except TimeoutError:
        return [f"{path}: {person.page.evaluate('document.documentElement.scrollWidth')} pixels wide"]
    finally:
        person.page.set_viewport_size({"width": 1280, "height": 800})
    return []
