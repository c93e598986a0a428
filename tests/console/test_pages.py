"""Every page: without serious findings of axe, without a request to another host, 390 pixels wide; in dark too."""

from __future__ import annotations

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, TimeoutError, expect

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
PHONE = {"width": 390, "height": 800}
_SEVERE = ("serious", "critical")


def test_every_page_is_accessible_on_a_phone(console: ConsoleServer, browser: Browser) -> None:
    findings: list[str] = []
    with someone(browser, console, viewport=PHONE) as ada:
        for path, text in PAGES.items():
            _visit(ada, path, text)
            findings += [*_severe(ada.page, path, "#main"), *_too_wide(ada, path)]
        assert not findings, "\n".join(findings)
        assert not ada.strangers
        assert not ada.complaints


def test_the_colours_of_the_dark_are_accessible(console: ConsoleServer, browser: Browser) -> None:
    findings: list[str] = []
    with someone(browser, console, color_scheme="dark") as ada:
        for path in DARK:
            _visit(ada, path, PAGES[path])
            findings += _severe(ada.page, path)
        assert not findings, "\n".join(findings)
        assert not ada.complaints


def test_signing_in_is_accessible(console: ConsoleServer, browser: Browser) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(f"{console.console}/sign-in")
    expect(page.get_by_role("heading", name="Sign in to mlgate")).to_be_visible()
    assert _severe(page, "/sign-in") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def _visit(person: Person, path: str, text: str) -> None:
    person.follow(f"/projects/{PROJECT}{path}")
    if text:
        expect(person.page.locator("#main").get_by_text(text).first).to_be_visible()


def _severe(page: Page, path: str, where: str = "html") -> list[str]:
    """What axe finds in a part of the page."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("where => axe.run(where, {resultTypes: ['violations']})", where)
    return [
        f"{path}: {finding['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for finding in found["violations"] if finding["impact"] in _SEVERE for node in finding["nodes"]
    ]  # fmt: skip


def _too_wide(person: Person, path: str) -> list[str]:
    """No page is wider than a phone; what is wider scrolls in its own box."""
    try:
        person.page.wait_for_function("document.documentElement.scrollWidth <= innerWidth", timeout=10_000)
    except TimeoutError:
        return [f"{path}: {person.page.evaluate('document.documentElement.scrollWidth')} pixels wide"]
    return []
