"""What is done on the other pages: deploying, policy history, storage, groups, accounts, roles, questions."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.console.people import ConsoleServer, P, a_model, someone
from tests.harness import OWNER, PROJECT
from tests.http.people import Api


def test_a_model_is_made_and_deployed_from_files(console: ConsoleServer, browser: Browser) -> None:
    with Api(console) as api:
        api.new_project("new-lab")
    with someone(browser, console) as ada:
        page = ada.go("/projects/new-lab/models")
        expect(page.get_by_text("No models yet")).to_be_visible()
        ada.button("New model").click()
        page.get_by_label("Name", exact=True).fill("not a name")
        ada.button("Create").click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("not a name")
        page.get_by_label("Name", exact=True).fill("dropped")
        page.get_by_label("Labels (optional)").fill("team=green")
        ada.button("Create").click()
        page.wait_for_url("**/models/dropped")
        expect(page.get_by_text("No versions yet")).to_be_visible()
        for version in ("v1", "v2"):
            ada.go("/projects/new-lab/models/dropped")
            ada.button("Deploy a version").click()
            expect(page.get_by_label("Bucket for the files")).to_have_value("new-lab-models")  # made for the first one
            page.get_by_label("Version", exact=True).fill(version)
            file = {"name": "model.joblib", "mimeType": "application/octet-stream", "buffer": a_model()}
            page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
            expect(page.get_by_role("dialog").locator(".hint").get_by_text("model.joblib", exact=True)).to_be_visible()
            ada.button("Deploy").click()
            page.wait_for_url(f"**/versions/{version}")
            expect(page.get_by_role("status").get_by_text("READY")).to_be_visible()
        ada.button("Make default").click()
        expect(ada.told()).to_contain_text("v2 is the default version")
        page.get_by_role("tab", name="Log").click()
        expect(page.get_by_role("log")).to_contain_text("202")
        page.get_by_role("link", name="dropped").click()
        ada.button("Make v1 the default").click()
        expect(ada.told()).to_contain_text("v1 is the default version")
        page.go_back()
        page.wait_for_url("**/versions/v2*")
        ada.button("Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(ada.told()).to_contain_text("v2 is being deleted")
        assert not ada.complaints


def test_an_old_policy_is_compared_and_restored(console: ConsoleServer, browser: Browser) -> None:
    with Api(console) as api, someone(browser, console) as ada:
        api.done(OWNER, "POST", f"{P}/models", {"name": "history"})
        owner = {"role": "roles/ml.modelOwner", "members": [OWNER]}
        user = {"role": "roles/ml.modelUser", "members": ["user:zoe@example.com"]}
        api.done(OWNER, "POST", f"{P}/models/history:setIamPolicy", {"policy": {"bindings": [owner, user]}})
        api.done(OWNER, "POST", f"{P}/models/history:setIamPolicy", {"policy": {"bindings": [owner]}})
        page = ada.go(f"/projects/{PROJECT}/models/history?tab=history")
        ada.button("Compare revision 2 with now").click()
        expect(page.get_by_text("would come back")).to_be_visible()
        ada.button("Restore revision 2").click()
        page.get_by_role("dialog").get_by_role("button", name="Restore").click()
        expect(ada.told()).to_contain_text("Revision 2 holds again")
        assert user in api.done(OWNER, "GET", f"{P}/models/history:getIamPolicy")["bindings"]


def test_files_go_into_a_bucket_and_come_back(console: ConsoleServer, browser: Browser) -> None:
    with someone(browser, console) as ada:
        page = ada.go(f"/projects/{PROJECT}/storage")
        ada.button("New bucket").click()
        page.get_by_label("Name", exact=True).fill("fresh-bucket")
        ada.button("Create").click()
        page.wait_for_url("**/storage/fresh-bucket")
        expect(page.get_by_text("Nothing here")).to_be_visible()
        file = {"name": "a b.txt", "mimeType": "text/plain", "buffer": b"hello"}
        page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
        expect(ada.told()).to_contain_text("Uploaded: a b.txt")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download a b.txt").click()
        assert Path(download.value.path()).read_bytes() == b"hello"
        ada.button("Delete a b.txt").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_text("Nothing here")).to_be_visible()
        assert not ada.complaints


def test_groups_accounts_roles_and_questions(console: ConsoleServer, browser: Browser) -> None:
    with someone(browser, console) as ada:
        page = ada.go(f"/projects/{PROJECT}/access?tab=groups")
        page.get_by_role("button", name="Team (team@example.com)").click()
        page.get_by_label("Add a member").fill("frank@example.com")
        ada.button("Add").click()
        expect(ada.told()).to_contain_text("frank@example.com is in team@example.com")
        ada.button("Remove frank@example.com from team@example.com").click()
        expect(ada.told()).to_contain_text("is out of")

        ada.go(f"/projects/{PROJECT}/access?tab=accounts")
        email = f"caller@{PROJECT}.iam.gserviceaccount.com"
        ada.button(f"New key for {email}").click()
        expect(page.get_by_text("shown this once")).to_be_visible()
        with page.expect_download() as download:
            ada.button("Save as key.json").click()
        assert '"private_key"' in Path(download.value.path()).read_text()
        ada.button("I have it").click()
        ada.button(f"Disable {email}").click()
        expect(page.get_by_text("DISABLED", exact=True)).to_be_visible()
        ada.button(f"Enable {email}").click()
        expect(page.get_by_text("ENABLED", exact=True)).to_be_visible()

        ada.go(f"/projects/{PROJECT}/access?tab=roles")
        ada.button("New custom role").click()
        page.get_by_label("Id", exact=True).fill("caller")
        page.get_by_label("Title").fill("Caller")
        page.get_by_role("combobox", name="Permissions").fill("ml.models.predict")
        page.get_by_role("option", name="ml.models.predict").click()
        page.keyboard.press("Escape")
        ada.button("Create").click()
        expect(page.get_by_text(f"projects/{PROJECT}/roles/caller")).to_be_visible()
        ada.button("Show Caller").click()
        expect(page.get_by_role("dialog")).to_contain_text("ml.models.predict")

        ada.go(f"/projects/{PROJECT}/access?tab=why")
        page.get_by_label("Whom").fill("mallory@example.com")
        page.get_by_label("Resource").fill("cancer")
        ada.button("Explain").click()
        expect(page.get_by_text("No: mallory@example.com does not have ml.models.predict")).to_be_visible()
        assert "principal=mallory" in page.url  # the answer has an address
        assert not ada.complaints
