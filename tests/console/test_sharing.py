"""The sharing flow in a browser, as docs/sharing.md tells it, as owner, as user and as stranger; and two people who
edit one policy. `make docs` runs the first test for the guide's pictures (MLGATE_PICTURES names their directory)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.console.people import BOB, MALLORY, MODELS, ConsoleServer, P, Person, someone, wait_until_ready
from tests.harness import OWNER, PROJECT
from tests.http.people import Api

GUIDE = Path(__file__).parents[2] / "docs" / "sharing.md"
USER, MODEL_OWNER = "roles/ml.modelUser", "roles/ml.modelOwner"
USER_TITLE, OWNER_TITLE = "ML Engine Model User", "ML Engine Model Owner"


def test_sharing_models_as_the_guide_tells_it(console: ConsoleServer, browser: Browser, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("MLGATE_PICTURES") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    with Api(console) as api, someone(browser, console) as ada:
        wait_until_ready(api, "cancer")
        page = ada.go(f"/projects/{PROJECT}/models")
        ada.shot(pictures / "1-models.png")

        # several models, each with a checkbox that says its name
        for model in ("cancer", "churn"):
            ada.tick(model)
        ada.button("Show Info Panel").click()
        panel = page.get_by_role("complementary", name="Info panel")
        expect(panel.get_by_role("tab", name="Permissions")).to_be_visible()
        expect(panel.get_by_text("2 models selected")).to_be_visible()
        expect(panel.get_by_text("2 of 2 models")).to_be_visible()

        # members, a role with help on which to choose, Add
        panel.get_by_label("Add members").fill("bob@example.com, group:team@example.com")
        panel.get_by_label("Select a role").click()
        for title in (USER_TITLE, OWNER_TITLE):
            expect(page.get_by_role("option", name=title)).to_be_visible()
        page.get_by_role("option", name=OWNER_TITLE).click()
        expect(panel.get_by_text("For whoever looks after the model")).to_be_visible()
        panel.get_by_label("Select a role").click()
        page.get_by_role("option", name=USER_TITLE).click()
        expect(panel.get_by_text("For whoever uses the model")).to_be_visible()
        ada.shot(pictures / "2-add.png")
        ada.button("Add").click()
        expect(ada.told()).to_contain_text("added to ML Engine Model User on 2 models")

        # what the server says, by role, and where each comes from
        assert _members(api, "cancer", USER) == _members(api, "churn", USER) == {BOB, "group:team@example.com"}
        expect(_member(ada, BOB)).to_contain_text("2 of 2 models")
        expect(panel.get_by_label("Add members")).to_have_value("")
        panel.get_by_role("button", name='Expand "Owner (1)"').click()
        expect(panel.get_by_text(f"Project {PROJECT}").filter(visible=True)).to_be_visible()
        panel.get_by_role("button", name="Show who is in team@example.com").click()
        expect(panel.get_by_text("eve@example.com")).to_be_visible()
        ada.told().get_by_role("button", name="Dismiss").click()
        panel.get_by_role("button", name='Collapse "Owner (1)"').click()
        panel.evaluate("panel => panel.scrollTop = 230")
        page.mouse.move(0, 0)
        ada.shot(pictures / "3-shared.png")

        # Bob uses what was shared, and nothing else
        with someone(browser, console, BOB) as bob:
            _uses_the_model(bob)

            # the trash icon ends it, for that member alone
            panel.get_by_role("button", name=f"Remove bob@example.com from {USER_TITLE}").click()
            expect(ada.told()).to_contain_text("bob@example.com removed from")
            expect(_member(ada, BOB)).to_have_count(0)
            ada.shot(pictures / "4-removed.png")
            assert _members(api, "cancer", USER) == _members(api, "churn", USER) == {"group:team@example.com"}
            bob.button("Predict").click()
            expect(bob.page.get_by_role("alert")).to_contain_text("Permission 'ml.models.predict' denied")

        # and can be undone
        ada.told().get_by_role("button", name="Undo").click()
        expect(_member(ada, BOB)).to_be_visible()
        expect(ada.told()).to_contain_text("Undone")
        assert BOB in _members(api, "cancer", USER) & _members(api, "churn", USER)

        # an end date
        panel.get_by_label("Add members").fill("carol@example.com")
        panel.get_by_label("Ends after (optional)").fill("2099-12-31")
        ada.button("Add").click()
        expect(_member(ada, "user:carol@example.com")).to_contain_text("days left")
        conditions = [b.get("condition", {}) for b in _policy(api, "cancer")["bindings"]]
        assert 'request.time < timestamp("2100-01-01T00:00:00Z")' in [c.get("expression") for c in conditions]

        # what is wrong with an address is said, and it stays to be corrected
        panel.get_by_label("Add members").fill("robot:x")
        ada.button("Add").click()
        expect(ada.told()).to_contain_text('Invalid member "robot:x"')
        expect(panel.get_by_label("Add members")).to_have_value("robot:x")

        # the address tells it all
        page.reload()
        expect(page.get_by_role("checkbox", name="churn")).to_be_checked()
        expect(_member(ada, BOB)).to_be_visible()
        assert not ada.strangers
        assert not ada.complaints
    told = GUIDE.read_text()
    for picture in ("1-models.png", "2-add.png", "3-shared.png", "4-removed.png"):
        assert f"sharing/{picture}" in told
        assert (GUIDE.parent / "sharing" / picture).exists(), "make docs writes the pictures"


def _uses_the_model(bob: Person) -> None:
    page = bob.page
    page.get_by_placeholder("demo-project").fill(PROJECT)  # no project is his, so none is listed
    bob.button("Open").click()
    page.wait_for_url("**/models")
    expect(page.get_by_role("link", name="cancer")).to_be_visible()
    expect(page.get_by_role("link", name="prices")).to_have_count(0)
    expect(page.get_by_text("ml.models.list")).to_be_visible()  # why he does not see all
    bob.tick("cancer")
    bob.button("Show Info Panel").click()
    expect(page.get_by_role("alert")).to_contain_text("Permission 'ml.models.getIamPolicy' denied")
    expect(page.get_by_label("Add members")).to_be_hidden()
    bob.go(f"/projects/{PROJECT}/models/cancer?tab=try")
    page.get_by_label("Request (JSON)").fill('{"instances": [[3.0], [15.0]]}')
    bob.button("Predict").click()
    expect(page.get_by_label("Answer")).to_contain_text('"predictions"')


def test_a_stranger_is_told_which_permission_is_missing(console: ConsoleServer, browser: Browser) -> None:
    with someone(browser, console, MALLORY) as mallory:
        expect(mallory.page.get_by_text("No whole project is shared with you")).to_be_visible()
        mallory.go(f"/projects/{PROJECT}/models")
        expect(mallory.page.get_by_text("No model is shared with you here")).to_be_visible()
        for path, permission in (
            ("models/cancer", "ml.models.get"), ("models/cancer/versions/v1", "ml.versions.get"),
            ("operations", "ml.operations.list"), ("storage", "storage.buckets.list"),
            ("storage/ada-models", "storage.objects.list"),
        ):  # fmt: skip
            mallory.go(f"/projects/{PROJECT}/{path}")
            expect(mallory.page.get_by_role("alert")).to_contain_text(f"Permission '{permission}' denied")
        assert not mallory.complaints


def test_whoever_was_overtaken_is_told_and_keeps_their_input(console: ConsoleServer, browser: Browser) -> None:
    with Api(console) as api, someone(browser, console) as ada, someone(browser, console) as carol:
        for person in (ada, carol):
            person.go(f"/projects/{PROJECT}/models?selected=prices&panel=permissions")
            expect(_member(person, OWNER).first).to_be_visible()
        carol.page.get_by_label("Add members").fill("dave@example.com")
        carol.button("Add").click()
        expect(carol.told()).to_contain_text("added to")
        ada.page.get_by_label("Add members").fill("erin@example.com")
        ada.button("Add").click()
        expect(ada.told()).to_contain_text("Somebody else changed who has access to prices in the meantime")
        expect(ada.page.get_by_label("Add members")).to_have_value("erin@example.com")
        expect(_member(ada, "user:dave@example.com")).to_be_visible()
        expect(_member(ada, "user:erin@example.com")).to_have_count(0)
        ada.button("Add").click()
        expect(ada.told()).to_contain_text("erin@example.com added to")
        assert _members(api, "prices", USER) == {"user:dave@example.com", "user:erin@example.com"}

        # the loser of a removal is told, too
        carol.page.get_by_role("button", name=f"Remove dave@example.com from {USER_TITLE}").click()
        expect(carol.told()).to_contain_text("Somebody else changed")
        expect(_member(carol, "user:dave@example.com")).to_be_visible()
        assert MODELS


def _member(person: Person, member: str):  # type: ignore[no-untyped-def]
    return person.page.locator(f'[data-member="{member}"]:not(.member-new)')


def _policy(api: Api, model: str) -> dict:  # type: ignore[type-arg]
    return json.loads(api(OWNER, "GET", f"{P}/models/{model}:getIamPolicy?options.requestedPolicyVersion=3").content)


def _members(api: Api, model: str, role: str) -> set[str]:
    bindings = _policy(api, model).get("bindings", ())
    return {member for b in bindings if b["role"] == role and "condition" not in b for member in b["members"]}
