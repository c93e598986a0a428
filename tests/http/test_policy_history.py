"""The history of policies over HTTP and on the command line: who, when, what; who may read it; restoring."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlgate.api.policies import delta
from mlgate.cli import policies
from mlgate.cli.client import Client
from mlgate.core.iam.policy import Binding, Condition, Policy
from mlgate.core.wire import parse_timestamp
from tests.command_line import CommandLine
from tests.harness import OWNER, PROJECT, Server
from tests.http.people import Api, error_of

BOB, EVE = "user:bob@example.com", "user:eve@example.com"
MODEL_OWNER, MODEL_USER = "roles/ml.modelOwner", "roles/ml.modelUser"
P = f"/v1/projects/{PROJECT}"


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        yield made


@pytest.fixture
def model(api: Api) -> str:
    """The path of a model of the test's own, made by Ada."""
    return new_model(api, f"m{uuid.uuid4().hex[:12]}")


def new_model(api: Api, model_id: str, who: str = OWNER) -> str:
    api.done(who, "POST", f"{P}/models", {"name": model_id})
    return f"{P}/models/{model_id}"


def revisions(api: Api, path: str, who: str = OWNER, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.done(who, "GET", f"{path}/iamPolicyRevisions", params=params)["policyRevisions"]
    return found


def added(role: str, member: str) -> dict[str, str]:
    return {"action": "ADD", "role": role, "member": member}


def removed(role: str, member: str) -> dict[str, str]:
    return {"action": "REMOVE", "role": role, "member": member}


def test_each_write_is_a_revision_that_says_who_when_and_what(api: Api, model: str) -> None:
    assert api.bind(model, {MODEL_OWNER: [OWNER, BOB]}).status_code == 200
    api.bind(model, {MODEL_OWNER: [OWNER, BOB], MODEL_USER: [EVE]}, by=BOB)
    api.bind(model, {MODEL_OWNER: [OWNER]}, by=BOB)
    found = revisions(api, model)
    assert [r["revisionId"] for r in found] == ["4", "3", "2", "1"]
    assert [r["principal"] for r in found] == [BOB, BOB, OWNER, OWNER]
    assert [r["bindingDeltas"] for r in found] == [
        [removed(MODEL_OWNER, BOB), removed(MODEL_USER, EVE)],
        [added(MODEL_USER, EVE)],
        [added(MODEL_OWNER, BOB)],
        [added(MODEL_OWNER, OWNER)],
    ]
    times = [parse_timestamp(r["createTime"]) for r in reversed(found)]
    assert times == sorted(times)
    assert datetime.now(UTC) - timedelta(minutes=5) < times[0] <= times[-1] <= datetime.now(UTC)


def test_a_revision_is_read_with_its_whole_policy_and_its_change(api: Api, model: str) -> None:
    set_by_ada = api.bind(model, {MODEL_OWNER: [OWNER], MODEL_USER: [BOB]}).json()
    api.bind(model, {MODEL_OWNER: [OWNER]})
    listed = revisions(api, model)[1]
    assert listed["name"] == f"{model.removeprefix('/v1/')}/iamPolicyRevisions/2"
    read = api.done(OWNER, "GET", f"/v1/{listed['name']}")
    assert read == {**listed, "policy": set_by_ada}
    assert read["bindingDeltas"] == [added(MODEL_USER, BOB)]


def test_pages_go_from_the_newest_to_the_oldest_and_each_change_is_told(api: Api, model: str) -> None:
    for n in range(6):
        api.bind(model, {MODEL_OWNER: [OWNER], MODEL_USER: [f"user:u{n}@example.com"]})
    seen: list[dict[str, Any]] = []
    token = ""
    while True:
        path = f"{model}/iamPolicyRevisions"
        page = api.done(OWNER, "GET", path, params={"pageSize": 3, "pageToken": token})
        seen += page["policyRevisions"]
        token = page.get("nextPageToken", "")
        if not token:
            break
        assert len(page["policyRevisions"]) == 3
    assert seen == revisions(api, model)
    assert [r["revisionId"] for r in seen] == ["7", "6", "5", "4", "3", "2", "1"]
    assert [len(r["bindingDeltas"]) for r in seen] == [2, 2, 2, 2, 2, 1, 1]


def test_a_token_is_good_for_its_own_list_only(api: Api, model: str) -> None:
    api.bind(model, {MODEL_OWNER: [OWNER, BOB]})
    token = api.done(OWNER, "GET", f"{model}/iamPolicyRevisions", params={"pageSize": 1})["nextPageToken"]
    other = new_model(api, f"m{uuid.uuid4().hex[:12]}")
    for who, path in ((BOB, model), (OWNER, other)):
        refused = api(who, "GET", f"{path}/iamPolicyRevisions", params={"pageToken": token})
        assert error_of(refused)["status"] == "INVALID_ARGUMENT"
    refused = api(OWNER, "GET", f"{model}/iamPolicyRevisions", params={"pageSize": -1})
    assert error_of(refused)["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("revision", "status"),
    [("2", 404), ("0", 404), ("9" * 18, 404), ("9" * 19, 400), ("9" * 200, 400), ("-1", 400), ("x", 400), ("²", 400)],
)
def test_a_revision_that_is_not_there_is_not_found(api: Api, model: str, revision: str, status: int) -> None:
    refused = api(OWNER, "GET", f"{model}/iamPolicyRevisions/{revision}")
    assert refused.status_code == status, refused.text
    assert revision[:50] in error_of(refused)["message"]


def test_the_history_is_for_those_who_may_read_the_policy(api: Api, model: str) -> None:
    for suffix in ("", "/1"):
        wanted = "ml.models.getIamPolicy"
        for who in (EVE, BOB):
            error = error_of(api(who, "GET", f"{model}/iamPolicyRevisions{suffix}"))
            assert (error["status"], wanted in error["message"]) == ("PERMISSION_DENIED", True)
            missing = error_of(api(who, "GET", f"{P}/models/missing/iamPolicyRevisions{suffix}"))
            assert missing["message"] == error["message"].replace(model.rpartition("/")[2], "missing")
        assert error_of(api(OWNER, "GET", f"{P}/models/missing/iamPolicyRevisions{suffix}"))["code"] == 404
    api.bind(model, {MODEL_OWNER: [OWNER, BOB], MODEL_USER: [EVE]})
    assert len(revisions(api, model, BOB)) == 2
    assert error_of(api(EVE, "GET", f"{model}/iamPolicyRevisions"))["code"] == 403
    api.bind(model, {MODEL_OWNER: [OWNER]})
    assert error_of(api(BOB, "GET", f"{model}/iamPolicyRevisions/1"))["code"] == 403


def test_a_model_made_again_shows_nothing_of_the_one_that_was_deleted(api: Api, model: str) -> None:
    """T-24."""
    api.bind(model, {MODEL_OWNER: [OWNER], MODEL_USER: [EVE]})
    api.done(OWNER, "DELETE", model)
    assert error_of(api(OWNER, "GET", f"{model}/iamPolicyRevisions"))["code"] == 404
    assert error_of(api(OWNER, "GET", f"{model}/iamPolicyRevisions/2"))["code"] == 404
    new_model(api, model.rpartition("/")[2])
    found = revisions(api, model)
    assert [(r["revisionId"], r["bindingDeltas"]) for r in found] == [("1", [added(MODEL_OWNER, OWNER)])]
    assert error_of(api(OWNER, "GET", f"{model}/iamPolicyRevisions/2"))["code"] == 404


def test_every_kind_of_resource_has_its_history(api: Api) -> None:
    tag = uuid.uuid4().hex[:10]
    project = api.new_project(f"p{tag}")
    account = api.done(OWNER, "POST", f"{project}/serviceAccounts", {"accountId": f"robot-{tag}"})["name"]
    api.done(OWNER, "POST", "/storage/v1/b", {"name": f"b-{tag}"}, params={"project": f"p{tag}"})
    bucket = api.done(OWNER, "GET", f"/storage/v1/b/b-{tag}/iam")
    bucket["bindings"] = [{"role": "roles/storage.objectViewer", "members": [BOB]}]
    api.done(OWNER, "PUT", f"/storage/v1/b/b-{tag}/iam", bucket)
    api.bind(f"/v1/{account}", {"roles/iam.serviceAccountUser": [BOB]})
    newest = {path: revisions(api, path)[0] for path in (project, f"/v1/{account}", f"/v1/buckets/b-{tag}")}
    assert {path: (r["principal"], r["bindingDeltas"][-1]["role"]) for path, r in newest.items()} == {
        project: (OWNER, "roles/ml.serviceAgent"),
        f"/v1/{account}": (OWNER, "roles/iam.serviceAccountUser"),
        f"/v1/buckets/b-{tag}": (OWNER, "roles/storage.objectViewer"),
    }
    number = api.done(OWNER, "GET", project)["projectNumber"]
    assert revisions(api, f"/v1/projects/{number}") == revisions(api, project)


def test_the_first_revisions_of_a_new_server_are_its_owners(make_server: Callable[..., Server]) -> None:
    with Api(make_server()) as api:
        for path in ("/v1/organizations/1", P):
            assert [(r["revisionId"], r["principal"]) for r in revisions(api, path)] == [("1", OWNER)]


def test_a_deleted_account_leaves_a_revision_by_whoever_deleted_it(api: Api, model: str) -> None:
    account = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": f"r-{uuid.uuid4().hex[:10]}"})
    member = f"serviceAccount:{account['email']}"
    api.bind(model, {MODEL_OWNER: [OWNER], MODEL_USER: [member]})
    api.done(OWNER, "DELETE", f"/v1/{account['name']}")
    gone = f"deleted:{member}?uid={account['uniqueId']}"
    newest = revisions(api, model)[0]
    assert newest["bindingDeltas"] == [removed(MODEL_USER, member), added(MODEL_USER, gone)]
    assert newest["principal"] == OWNER


def test_only_so_many_revisions_are_kept_and_the_oldest_does_not_tell_its_change(
    make_server: Callable[..., Server],
) -> None:
    with Api(make_server(settings={"MLGATE_POLICY_REVISIONS_KEPT": "2"})) as api:
        model = new_model(api, "kept")
        for n in range(3):
            api.bind(model, {MODEL_OWNER: [OWNER], MODEL_USER: [f"user:u{n}@example.com"]})
        found = revisions(api, model)
        assert [(r["revisionId"], "bindingDeltas" in r) for r in found] == [("4", True), ("3", False)]
        assert "keeps it no more" in error_of(api(OWNER, "GET", f"{model}/iamPolicyRevisions/2"))["message"]


def test_the_same_grant_under_another_condition_is_another_grant() -> None:
    def under(*conditions: Condition | None) -> Policy:
        return Policy(tuple(Binding(MODEL_USER, (BOB,), condition) for condition in conditions))

    friday, monday = Condition("request.time < x", "friday"), Condition("request.time < y", "monday")
    plain = {"expression": "request.time < x", "title": "friday", "description": ""}
    assert delta(under(None), under(friday)) == [
        removed(MODEL_USER, BOB),
        {**added(MODEL_USER, BOB), "condition": plain},
    ]
    assert delta(under(friday, None), under(None, friday)) == []
    assert [d["action"] for d in delta(under(friday), under(monday))] == ["REMOVE", "ADD"]
    assert delta(under(), under(monday, None)) == delta(under(friday), under(friday, monday, None))


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path / "config")


def test_the_history_is_listed_described_and_restored(ada: CommandLine, api: Api, model: str) -> None:
    name = model.rpartition("/")[2]
    api.bind(model, {MODEL_OWNER: [OWNER], MODEL_USER: [BOB, EVE, "user:u@example.com", "user:v@example.com"]})
    api.bind(model, {MODEL_OWNER: [OWNER]})
    table = ada.ok("models", "list-iam-policy-revisions", name).stdout.splitlines()
    assert table[0].split() == ["REVISION_ID", "CREATE_TIME", "PRINCIPAL", "CHANGES"]
    assert [line.split()[0] for line in table[1:]] == ["3", "2", "1"]
    assert table[2].endswith(f"+{MODEL_USER} {BOB}, +{MODEL_USER} {EVE}, +{MODEL_USER} user:u@example.com, and 1 more")
    assert table[3].endswith(f"+{MODEL_OWNER} {OWNER}")
    assert len(ada.ok("models", "list-iam-policy-revisions", name, "--limit=1", "--format=json").json) == 1
    shown = ada.ok("models", "describe-iam-policy-revision", name, "2").yaml
    assert len(shown["bindingDeltas"]) == 4
    restored = ada.ok("models", "restore-iam-policy", name, "--revision", "2")
    assert "Restored revision 2" in restored.stderr
    assert restored.yaml["bindings"] == shown["policy"]["bindings"]
    assert restored.yaml["etag"] != shown["policy"]["etag"]
    newest = revisions(api, model)[0]
    assert (newest["revisionId"], len(newest["bindingDeltas"])) == ("4", 4)
    assert api(BOB, "GET", model).status_code == 200
    assert "NOT_FOUND" in ada.fails("models", "restore-iam-policy", name, "--revision", "9")


def test_other_kinds_are_restored_in_the_same_words(ada: CommandLine, api: Api) -> None:
    tag = uuid.uuid4().hex[:10]
    api.new_project(f"p{tag}")
    ada.ok("storage", "buckets", "create", f"gs://b-{tag}", "--project", f"p{tag}")
    ada.ok("iam", "service-accounts", "create", f"robot-{tag}")
    for words, name, role in (
        (("projects",), f"p{tag}", "roles/viewer"),
        (("storage", "buckets"), f"gs://b-{tag}", "roles/storage.objectViewer"),
        (("iam", "service-accounts"), f"robot-{tag}@{PROJECT}.iam.gserviceaccount.com", "roles/iam.serviceAccountUser"),
    ):
        for member in (BOB, EVE):
            ada.ok(*words, "add-iam-policy-binding", name, f"--member={member}", f"--role={role}")
        newest = ada.ok(*words, "list-iam-policy-revisions", name, "--format=json").json[0]
        assert newest["changes"] == f"+{role} {EVE}"
        before = str(int(newest["revisionId"]) - 1)
        wanted = ada.ok(*words, "describe-iam-policy-revision", name, before, "--format=json").json["policy"]
        restored = ada.ok(*words, "restore-iam-policy", name, "--revision", before, "--format=json").json
        assert restored["bindings"] == wanted["bindings"]


def test_conditions_are_in_the_history_and_come_back_with_it(ada: CommandLine, api: Api, model: str) -> None:
    condition = {"title": "until 2100", "expression": 'request.time < timestamp("2100-01-01T00:00:00Z")'}
    conditional = {"role": MODEL_USER, "members": [BOB], "condition": condition}
    owner = {"role": MODEL_OWNER, "members": [OWNER]}
    for bindings in ([owner, conditional], [owner, {**conditional, "condition": {**condition, "title": "x"}}], [owner]):
        body = {"policy": {"version": 3, "bindings": bindings}}
        api.done(OWNER, "POST", f"{model}:setIamPolicy", body)
    name, found = model.rpartition("/")[2], revisions(api, model)
    assert found[2]["bindingDeltas"] == [{**added(MODEL_USER, BOB), "condition": condition}]
    assert [delta["condition"]["title"] for delta in found[1]["bindingDeltas"]] == ["until 2100", "x"]
    assert api(BOB, "GET", model).status_code == 403
    for revision, status in (("2", 200), ("1", 403), ("3", 200)):  # on and off, also over a policy with conditions
        ada.ok("models", "restore-iam-policy", name, "--revision", revision)
        assert api(BOB, "GET", model).status_code == status
    now = api.done(OWNER, "GET", f"{model}:getIamPolicy", params={"options.requestedPolicyVersion": 3})
    assert now["bindings"] == api.done(OWNER, "GET", f"{model}/iamPolicyRevisions/3")["policy"]["bindings"]
    assert now["bindings"][1]["condition"]["title"] == "x"


def test_restoring_takes_auditing_back_too(ada: CommandLine, api: Api) -> None:
    project = api.new_project(f"p{uuid.uuid4().hex[:10]}")
    policy = api.done(OWNER, "POST", f"{project}:getIamPolicy", {})
    logged = {"logType": "DATA_READ", "exemptedMembers": [BOB]}
    policy["auditConfigs"] = [{"service": "allServices", "auditLogConfigs": [logged]}]
    body = {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
    api.done(OWNER, "POST", f"{project}:setIamPolicy", body)
    changed = revisions(api, project)[0]
    told = {"action": "ADD", "service": "allServices", "logType": "DATA_READ"}
    assert changed["auditConfigDeltas"] == [told, {**told, "exemptedMember": BOB}]
    assert policies.summary(changed) == f"+log allServices DATA_READ, +log allServices DATA_READ except {BOB}"
    for revision, audited in (("1", False), ("2", True)):
        ada.ok("projects", "restore-iam-policy", project.rpartition("/")[2], "--revision", revision)
        assert ("auditConfigs" in api.done(OWNER, "POST", f"{project}:getIamPolicy", {})) is audited


def test_what_is_restored_is_the_old_policy_under_the_etag_that_was_just_read() -> None:
    condition = {"expression": "true", "title": "t"}
    old = {"etag": "b2xk", "bindings": [{"role": MODEL_USER, "members": [BOB], "condition": condition}], "version": 3}
    written = policies.restored(old, {"etag": "bmV3", "bindings": [{"role": "x", "members": [EVE]}]})
    assert written == {**old, "etag": "bmV3"}
    plain = {"etag": "b2xk", "bindings": [{"role": MODEL_USER, "members": [BOB]}], "version": 1}
    assert policies.restored(plain, written) == {**plain, "etag": "bmV3", "version": 3}  # conditions may be taken away


def test_a_restore_is_refused_when_somebody_was_faster(ada: CommandLine, api: Api, model: str) -> None:
    from mlgate.cli.failure import Failure

    api.bind(model, {MODEL_OWNER: [OWNER], MODEL_USER: [EVE]})
    name = model.removeprefix("/v1/")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in ada.environment.items():
            patch.setenv(variable, value)
        client = Client()
        current = client.call("ml.projects.models.getIamPolicy", resource=name)
        old = client.call("mlgate.iamPolicyRevisions.get", resource=name, revision="1")["policy"]
        api.bind(model, {MODEL_OWNER: [OWNER, BOB]})
        body = policies.wrapped(policies.restored(old, current))
        with pytest.raises(Failure, match="concurrent policy changes"):
            client.call("ml.projects.models.setIamPolicy", body, resource=name)
        client.close()
    assert len(revisions(api, model)) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([], ""),
        ([removed("roles/x", BOB)], f"-roles/x {BOB}"),
        ([{**added("roles/x", BOB), "condition": {"expression": "a < b", "title": "soon"}}], f"+roles/x {BOB} if soon"),
        ([{**added("roles/x", BOB), "condition": {"expression": "a < b"}}], f"+roles/x {BOB} if a < b"),
    ],
)
def test_a_change_is_told_in_a_line(changes: list[dict[str, Any]], told: str) -> None:
    assert policies.summary({"bindingDeltas": changes}) == told
