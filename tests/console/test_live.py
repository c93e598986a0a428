"""Pages of what moves: a job that runs, and the traffic of a version."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.console.people import A_VERSION, ConsoleServer, P, someone, wait_until_ready
from tests.harness import OWNER, PROJECT
from tests.http.people import Api
from tests.jobs.programs import Lab

#: Says something until it is ended.
TALKER = """
import itertools, time
for number in itertools.count():
    print("step", number, flush=True)
    time.sleep(0.1)
"""


def test_a_running_job_is_followed_and_cancelled(console: ConsoleServer, browser: Browser) -> None:
    with Api(console) as api, someone(browser, console) as ada:
        lab = Lab(api, "live-lab").make()
        page = ada.go("/projects/live-lab/jobs")
        expect(page.get_by_text("No jobs yet")).to_be_visible()
        job = lab.submit(TALKER)
        ada.button("Refresh").click()
        page.get_by_role("link", name=job).click()
        expect(page.get_by_role("status").get_by_text("RUNNING")).to_be_visible()  # seen without a reload
        page.get_by_role("tab", name="Log").click()
        log = page.get_by_role("log")
        expect(log.get_by_text("step 1", exact=False).first).to_be_visible()
        seen = log.locator(".log-line").count()
        expect(log.locator(".log-line").nth(seen + 20)).to_be_attached()  # more, as it is printed
        ada.button("Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
        expect(ada.told()).to_contain_text(f"{job} is being cancelled")
        page.get_by_role("tab", name="State").click()
        expect(page.get_by_role("status").get_by_text("CANCELLED")).to_be_visible()
        expect(ada.button("Cancel")).to_be_disabled()
        page.get_by_role("link", name="Jobs", exact=True).first.click()
        expect(page.get_by_role("row").filter(has_text=job)).to_contain_text("CANCELLED")
        assert not ada.complaints


def test_traffic_is_drawn_as_it_comes(console: ConsoleServer, browser: Browser) -> None:
    with Api(console) as api, someone(browser, console) as ada:
        api.done(OWNER, "POST", f"{P}/models", {"name": "counted"})
        api.done(OWNER, "POST", f"{P}/models/counted/versions", A_VERSION)
        wait_until_ready(api, "counted")
        page = ada.go(f"/projects/{PROJECT}/models/counted/versions/v1?tab=traffic")
        expect(page.get_by_text("No requests")).to_be_visible()
        for given, status in ((3.0, 200), (15.0, 200), ("x", 400)):
            body = {"instances": [[given]]}
            assert api(OWNER, "POST", f"{P}/models/counted:predict", body).status_code == status
        expect(page.get_by_text("3 requests; failures: 1 of 400")).to_be_visible()  # seen without a reload
        drawn = page.get_by_role("img", name="requests over time, 1 periods").locator("svg path[fill]:not([fill=none])")
        expect(drawn.first).to_be_visible()
        page.get_by_role("button", name="last hour").click()
        expect(page.get_by_role("img", name="milliseconds over time")).to_be_visible()
        ada.go(f"/projects/{PROJECT}/models/counted?tab=traffic")
        expect(page.get_by_text("3 requests; failures: 1 of 400")).to_be_visible()
        assert not ada.complaints
