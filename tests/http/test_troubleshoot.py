"""Why somebody may, or may not, over HTTP: what each situation is told as, and to whom how much of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient
import pytest

from mlgate.api import discovery
from mlgate.api.methods import registry
from mlgate.core.names import full_name
from tests.command_line import CommandLine
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing

PREDICT = "ml.models.predict"
ORGANIZATION = "organizations/1"
FORUM = "cloudidentity.googleapis.com/groups.discussion_forum"
LATER = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
CAN, CANNOT, UNKNOWN = "CAN_ACCESS", "CANNOT_ACCESS", "UNKNOWN_INFO"
V1 = {
    CAN: "GRANTED",
    CANNOT: "NOT_GRANTED",
    UNKNOWN: "UNKNOWN_INFO_DENIED",
    "UNKNOWN_CONDITIONAL": "UNKNOWN_CONDITIONAL",
}


def unique(text: str = "x") -> str:
    return f"{text}{uuid.uuid4().hex[:10]}"


def person() -> str:
    return f"{unique()}@example.com"


class World(Api):
    """A server on which ada, the owner, may see and change everything."""

    def give(self, resource: str, role: str, *members: str, condition: dict[str, str] | None = None) -> None:
        """One more binding on a resource."""
        http, body = ("GET", None) if "/models/" in resource else ("POST", {"options": {"requestedPolicyVersion": 3}})
        query = {"options.requestedPolicyVersion": "3"} if http == "GET" else {}
        version = "v3" if resource.startswith("folders/") else "v1"
        policy = self.done(OWNER, http, f"/{version}/{resource}:getIamPolicy", body, params=query)
        binding = {"role": role, "members": list(members), **({"condition": condition} if condition else {})}
        policy["bindings"] = [*policy.get("bindings", ()), binding]
        changed = {"policy": {**policy, "version": 3}}
        self.done(OWNER, "POST", f"/{version}/{resource}:setIamPolicy", changed)

    def new_model(self, project: str = "") -> str:
        project = project or self.new_project(unique("p-")).removeprefix("/v1/")
        model = unique("m")
        self.done(OWNER, "POST", f"/v1/{project}/models", {"name": model})
        return f"{project}/models/{model}"

    def new_group(self, *members: str, end: str = "") -> str:
        """The address of a new group with these members (addresses)."""
        email = person()
        made = self.done(OWNER, "POST", "/v1/groups", {
            "groupKey": {"id": email}, "parent": ORGANIZATION, "labels": {FORUM: ""},
        })["response"]["name"]  # fmt: skip
        for member in members:
            expiry = {"expiryDetail": {"expireTime": end}} if end else {}
            body = {"preferredMemberKey": {"id": member}, "roles": [{"name": "MEMBER", **expiry}]}
            self.done(OWNER, "POST", f"/v1/{made}/memberships", body)
        return email

    def deny(self, place: str, *denied: str, exceptions: tuple[str, ...] = (), condition: str = "") -> None:
        """A deny policy against PREDICT."""
        rule: dict[str, Any] = {
            "deniedPrincipals": list(denied), "exceptionPrincipals": list(exceptions),
            "deniedPermissions": ["ml.googleapis.com/models.predict"],
        }  # fmt: skip
        if condition:
            rule["denialCondition"] = {"title": "when", "expression": condition}
        attached = f"cloudresourcemanager.googleapis.com%2F{place.replace('/', '%2F')}"
        body = {"displayName": "no", "rules": [{"denyRule": rule}]}
        self.done(OWNER, "POST", f"/v2/policies/{attached}/denypolicies", body, params={"policyId": unique("d")})

    def why(self, principal: str, resource: str, permission: str = PREDICT, by: str = OWNER, **more: Any) -> Any:
        return self.done(by, "POST", "/v3/iam:troubleshoot", question(principal, resource, permission, **more))

    def why_v1(self, principal: str, resource: str, permission: str = PREDICT, by: str = OWNER) -> Any:
        return self.done(by, "POST", "/v1/iam:troubleshoot", question(principal, resource, permission))

    def holds(self, email: str, model: str, permission: str = PREDICT) -> bool:
        """What the person's own calls would be answered by."""
        asked = {"permissions": [permission]}
        return bool(self.done(f"user:{email}", "POST", f"/v1/{model}:testIamPermissions", asked))


def question(principal: str, resource: str, permission: str, **more: Any) -> dict[str, Any]:
    name = resource if resource.startswith("//") else full_name(resource)
    return {"accessTuple": {"principal": principal, "fullResourceName": name, "permission": permission, **more}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("why") / "data").initialize().start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(server: Server) -> Iterator[World]:
    with World(server) as made:
        made.give(ORGANIZATION, "roles/iam.denyAdmin", OWNER)
        yield made


def bindings(answer: Any, resource: str) -> list[Any]:
    policies = answer["allowPolicyExplanation"]["explainedPolicies"]
    return next(p.get("bindingExplanations", []) for p in policies if p["fullResourceName"] == full_name(resource))


def binding_of(answer: Any, resource: str, role: str = "roles/ml.modelUser") -> Any:
    return next(b for b in bindings(answer, resource) if b["role"] == role)


def rules(answer: Any) -> list[Any]:
    places = answer["denyPolicyExplanation"].get("explainedResources", [])
    return [rule for place in places for policy in place["explainedPolicies"] for rule in policy["ruleExplanations"]]


# --------------------------------------------------------------------------------------------------------- situations


@dataclass
class Situation:
    """What is set up for `bob` on a model, what he is told to have, and what of it is shown."""

    made: Callable[[World, str, str], None]
    state: str
    #: Of the binding of modelUser on the model: role, membership and whether it grants; "" where there is none.
    role: str = ""
    member: str = ""
    value: Any = field(default=None)
    denied: str = "NOT_DENIED"


USER = "roles/ml.modelUser"


def goog(email: str) -> str:
    return f"principal://goog/subject/{email}"


def _nested(world: World, model: str, bob: str) -> None:
    inner = world.new_group(bob)
    world.give(model, USER, f"group:{world.new_group(world.new_group(inner))}")


def _expired(world: World, model: str, bob: str) -> None:
    group = world.new_group()
    with writing(world.server) as tx:  # the API makes no membership that has ended already
        tx.set_fact("group", f"group:{group}", {f"user:{bob}": 1.0})
    world.give(model, USER, f"group:{group}")


def _when(expression: str) -> Callable[[World, str, str], None]:
    condition = {"title": "when", "expression": expression}
    return lambda world, model, bob: world.give(model, USER, f"user:{bob}", condition=condition)


def _denied(exception: bool = False, condition: str = "") -> Callable[[World, str, str], None]:
    def make(world: World, model: str, bob: str) -> None:
        world.give(model, USER, f"user:{bob}")
        team = f"principalSet://goog/group/{world.new_group(bob)}"
        exceptions = (goog(bob),) if exception else ()
        world.deny("/".join(model.split("/")[:2]), team, exceptions=exceptions, condition=condition)

    return make


def _dying(world: World, model: str, bob: str) -> None:
    world.give(model, USER, f"user:{bob}")
    world.done(OWNER, "DELETE", f"/v1/{'/'.join(model.split('/')[:2])}")


SITUATIONS = {
    "nothing names him": Situation(lambda world, model, bob: None, CANNOT),
    "a binding names somebody else": Situation(
        lambda world, model, bob: world.give(model, USER, "user:eve@example.com"), CANNOT, "INCLUDED", "NOT_MATCHED"
    ),
    "his role does not hold it": Situation(
        lambda world, model, bob: world.give("/".join(model.split("/")[:2]), "roles/ml.viewer", f"user:{bob}"), CANNOT
    ),
    "a binding names him": Situation(
        lambda world, model, bob: world.give(model, USER, f"user:{bob}"), CAN, "INCLUDED", "MATCHED"
    ),
    "he is in a group in a group in a group": Situation(_nested, CAN, "INCLUDED", "MATCHED"),
    "his membership has ended": Situation(_expired, CANNOT, "INCLUDED", "NOT_MATCHED"),
    "the condition is true": Situation(
        _when(f'request.time < timestamp("{TOMORROW}")'), CAN, "INCLUDED", "MATCHED", True
    ),
    "the condition is false": Situation(
        _when('request.time < timestamp("2020-01-01T00:00:00Z")'), CANNOT, "INCLUDED", "MATCHED", False
    ),
    "the condition fails": Situation(
        _when('request.time.getHours("Mars/Olympus") < 5'), CANNOT, "INCLUDED", "MATCHED", "error"
    ),
    "a deny rule is about his group": Situation(_denied(), CANNOT, "INCLUDED", "MATCHED", denied="DENIED"),
    "he is excepted from the deny rule": Situation(_denied(exception=True), CAN, "INCLUDED", "MATCHED"),
    "the deny rule's condition is false": Situation(_denied(condition="false"), CAN, "INCLUDED", "MATCHED"),
    "the deny rule's condition fails": Situation(
        _denied(condition='request.time.getHours("Mars/Olympus") < 5'), CANNOT, "INCLUDED", "MATCHED", denied="DENIED"
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_told_as_it_is(world: World, name: str) -> None:
    situation, model, bob = SITUATIONS[name], world.new_model(), person()
    situation.made(world, model, bob)
    answer = world.why(bob, model)
    assert answer["overallAccessState"] == situation.state
    assert world.holds(bob, model) == (situation.state == CAN)
    assert answer["denyPolicyExplanation"]["denyAccessState"] == f"DENY_ACCESS_STATE_{situation.denied}"
    assert world.why_v1(bob, model)["access"] == V1[situation.state]
    if situation.role:
        shown = binding_of(answer, model)
        assert shown["rolePermission"] == f"ROLE_PERMISSION_{situation.role}"
        assert shown["combinedMembership"]["membership"] == f"MEMBERSHIP_{situation.member}"
        explained = shown.get("conditionExplanation", {})
        assert explained.get("value", "error" if explained.get("errors") else None) == situation.value


def test_the_way_through_groups_is_shown_from_the_outside_in(world: World) -> None:
    model, bob = world.new_model(), person()
    inner = world.new_group(bob)
    outer = world.new_group(inner)
    world.give(model, USER, f"group:{outer}", "user:eve@example.com")
    path = [f"group:{outer}", f"group:{inner}"]
    shown = binding_of(world.why(bob, model), model)["memberships"]
    assert shown[f"group:{outer}"]["groupPath"] == path
    assert "groupPath" not in shown["user:eve@example.com"]
    old = world.why_v1(bob, model)["explainedPolicies"][0]["bindingExplanations"]
    assert old[-1]["memberships"][f"group:{outer}"] == {
        "groupPath": path, "membership": "MEMBERSHIP_INCLUDED", "relevance": "HIGH",
    }  # fmt: skip


def test_the_part_that_alone_falls_short_is_relevant(world: World) -> None:
    model, bob = world.new_model(), person()
    world.give(model, USER, "user:eve@example.com")
    near = binding_of(world.why(bob, model), model)
    assert near["relevance"] == near["combinedMembership"]["relevance"] == "HEURISTIC_RELEVANCE_HIGH"
    assert near["rolePermissionRelevance"] == "HEURISTIC_RELEVANCE_NORMAL"
    far = binding_of(world.why(bob, model, "ml.jobs.create"), model)
    assert far["relevance"] == "HEURISTIC_RELEVANCE_NORMAL"
    world.give("/".join(model.split("/")[:2]), USER, f"user:{bob}")
    needless = binding_of(world.why(bob, model), model)
    assert needless["relevance"] == "HEURISTIC_RELEVANCE_NORMAL"


def test_every_place_is_explained_from_the_resource_upwards(world: World) -> None:
    model = world.new_model()
    answer = world.why(person(), model)
    names = [p["fullResourceName"] for p in answer["allowPolicyExplanation"]["explainedPolicies"]]
    assert names == [full_name(model), full_name("/".join(model.split("/")[:2])), full_name(ORGANIZATION)]


def test_a_deny_rule_is_explained_part_by_part(world: World) -> None:
    model, bob, eve = world.new_model(), person(), person()
    team = world.new_group(bob)
    world.give(model, USER, f"user:{bob}", f"user:{eve}")
    project = "/".join(model.split("/")[:2])
    world.deny(project, f"principalSet://goog/group/{team}", exceptions=(goog(eve),))
    answer = world.why(bob, model)
    (place,) = answer["denyPolicyExplanation"]["explainedResources"]
    assert place["fullResourceName"] == full_name(project)
    (policy,) = place["explainedPolicies"]
    assert policy["policy"]["kind"] == "DenyPolicy"
    (rule,) = rules(answer)
    assert rule["denyAccessState"] == "DENY_ACCESS_STATE_DENIED"
    state = rule["deniedPermissions"]["ml.googleapis.com/models.predict"]["permissionMatchingState"]
    assert state == "PERMISSION_PATTERN_MATCHED"
    member = rule["deniedPrincipals"][f"principalSet://goog/group/{team}"]
    assert (member["membership"], member["groupPath"]) == ("MEMBERSHIP_MATCHED", [f"group:{team}"])
    assert rule["combinedExceptionPrincipal"]["membership"] == "MEMBERSHIP_NOT_MATCHED"
    (error,) = world.why_v1(bob, model)["errors"]
    assert "deny policy denies" in error["message"]


def test_on_a_project_that_is_being_deleted_everything_is_denied(world: World) -> None:
    model, bob = world.new_model(), person()
    _dying(world, model, bob)
    answer = world.why(bob, model)
    assert answer["overallAccessState"] == CANNOT
    (place,) = [p for p in answer["denyPolicyExplanation"]["explainedResources"] if "fullResourceName" in p]
    assert place["denyAccessState"] == "DENY_ACCESS_STATE_DENIED"
    assert place["explainedPolicies"][0]["policy"]["displayName"] == "project-is-being-deleted"
    assert not world.holds(bob, model)


def test_another_time_may_be_asked_about(world: World) -> None:
    model, bob = world.new_model(), person()
    world.give(model, USER, f"group:{world.new_group(bob, end=TOMORROW)}")
    context = {"request": {"receiveTime": LATER}}
    assert world.why(bob, model)["overallAccessState"] == CAN
    later = world.why(bob, model, conditionContext=context)
    assert later["overallAccessState"] == CANNOT
    assert later["accessTuple"]["conditionContext"] == context


def test_a_limit_on_the_roles_that_may_be_given_depends_on_the_change(world: World) -> None:
    model, bob = world.new_model(), person()
    only = 'api.getAttribute("iam.googleapis.com/modifiedGrantsByRole", []).hasOnly(["roles/ml.modelUser"])'
    world.give(model, "roles/ml.modelOwner", f"user:{bob}", condition={"title": "users only", "expression": only})
    assert world.why(bob, model, "ml.models.setIamPolicy")["overallAccessState"] == "UNKNOWN_CONDITIONAL"
    assert world.why_v1(bob, model, "ml.models.setIamPolicy")["access"] == "UNKNOWN_CONDITIONAL"
    assert world.why(bob, model, PREDICT)["overallAccessState"] == CAN


@pytest.mark.parametrize("principal", ["{}", "user:{}"])
@pytest.mark.parametrize("permission", [PREDICT, "ml.googleapis.com/models.predict"])
def test_principals_and_permissions_are_taken_in_each_of_their_forms(
    world: World, principal: str, permission: str
) -> None:
    model, bob = world.new_model(), person()
    world.give(model, USER, f"user:{bob}")
    answer = world.why(principal.format(bob.upper()), model, permission)
    assert answer["accessTuple"]["permissionFqdn"] == "ml.googleapis.com/models.predict"
    assert answer["overallAccessState"] == CAN
    assert world.why(f"serviceAccount:{bob}", model, permission)["overallAccessState"] == CANNOT


def test_a_service_account_is_asked_about_by_its_address(world: World) -> None:
    model = world.new_model()
    project = "/".join(model.split("/")[:2])
    made = world.done(OWNER, "POST", f"/v1/{project}/serviceAccounts", {"accountId": "caller-x"})
    world.give(model, USER, f"serviceAccount:{made['email']}")
    assert world.why(made["email"], model)["overallAccessState"] == CAN


def test_what_has_no_policy_of_its_own_is_explained_by_what_it_is_in(world: World) -> None:
    project = world.new_project(unique("p-")).removeprefix("/v1/")
    bucket, bob = unique("b-"), person()
    world.done(OWNER, "POST", "/storage/v1/b", {"name": bucket}, params={"project": project.split("/")[1]})
    world.done(OWNER, "POST", f"/upload/storage/v1/b/{bucket}/o", {}, params={"uploadType": "media", "name": "a/b"})
    world.give(project, "roles/storage.objectViewer", f"user:{bob}")
    asked = f"//storage.googleapis.com/projects/_/buckets/{bucket}/objects/a/b"
    answer = world.why(bob, asked, "storage.objects.get")
    assert answer["overallAccessState"] == CAN
    names = [p["fullResourceName"] for p in answer["allowPolicyExplanation"]["explainedPolicies"]]
    assert names[0] == f"//storage.googleapis.com/projects/_/buckets/{bucket}"


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("principal", "group:g@example.com", "group:g@example.com"),
        ("principal", "", "nobody"),
        ("principal", "allUsers", "allUsers"),
        ("permission", "ml.models.fly", "ml.models.fly"),
        ("permission", "ml.models.*", "ml.models.*"),
        ("permission", "", "permission"),
        ("fullResourceName", "projects/p", "projects/p"),
        ("fullResourceName", "//ml.googleapis.com/projects/p/models", "no resource"),
        ("fullResourceName", "//compute.googleapis.com/projects/p/disks/d", "no resource"),
    ],
)
@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_wrong_question_is_refused_by_field(world: World, version: str, field: str, value: str, named: str) -> None:
    asked = question("bob@example.com", "projects/p/models/m", PREDICT)
    asked["accessTuple"][field] = value
    answer = world(OWNER, "POST", f"/{version}/iam:troubleshoot", asked)
    assert answer.status_code == 400, answer.text
    assert named in error_of(answer)["message"]
    violations = error_of(answer)["details"][-1]["fieldViolations"]
    assert violations[0]["field"] == f"accessTuple.{field}"


@pytest.mark.parametrize(
    "context",
    [{"effectiveTags": [{"tagKeyParentName": "x"}]}, {"destination": {"ip": "::1"}}, {"resource": {"name": "x"}}],
)
def test_a_context_that_conditions_here_do_not_read_is_unimplemented(world: World, context: dict[str, Any]) -> None:
    asked = question("bob@example.com", "projects/p/models/m", PREDICT, conditionContext=context)
    answer = world(OWNER, "POST", "/v3/iam:troubleshoot", asked)
    assert (answer.status_code, error_of(answer)["status"]) == (501, "UNIMPLEMENTED")
    assert next(iter(context)) in error_of(answer)["message"]


# ----------------------------------------------------------------------------------------------------- who may see it


def test_whoever_may_see_nothing_is_told_nothing_not_even_what_exists(world: World) -> None:
    model, bob, stranger = world.new_model(), person(), f"user:{person()}"
    world.give(model, USER, f"user:{bob}")
    project, _, _ = model.rpartition("/models/")
    places = (model, f"{project}/models/none", "projects/no-such-project/models/m", project, "projects/no-such-project")
    for version, hidden in (
        ("v1", {"access": "UNKNOWN_INFO_DENIED", "explainedPolicies": [{"access": "UNKNOWN_INFO_DENIED"}]}),
        ("v3", None),
    ):
        answers = []
        for place in places:
            asked = question(bob, place, PREDICT)
            answer = world.done(stranger, "POST", f"/{version}/iam:troubleshoot", asked)
            answer.pop("accessTuple", None)
            answers.append(answer)
        assert all(answer == answers[0] for answer in answers)
        assert hidden is None or answers[0] == hidden
    assert answers[0]["overallAccessState"] == UNKNOWN
    assert answers[0]["allowPolicyExplanation"]["explainedPolicies"] == [
        {"allowAccessState": "ALLOW_ACCESS_STATE_UNKNOWN_INFO"}
    ]


def test_one_without_a_token_is_not_answered(world: World) -> None:
    asked = question("bob@example.com", "projects/p", PREDICT)
    for version in ("v1", "v3"):
        assert world("", "POST", f"/{version}/iam:troubleshoot", asked).status_code == 401


def test_an_owner_of_the_model_sees_its_policy_and_nothing_above(world: World) -> None:
    model, bob, carol = world.new_model(), person(), f"user:{person()}"
    world.give(model, "roles/ml.modelOwner", carol)
    world.give(model, USER, f"user:{bob}")
    answer = world.why(bob, model, by=carol)
    visible, hidden = answer["allowPolicyExplanation"]["explainedPolicies"]
    assert visible["fullResourceName"] == full_name(model)
    assert hidden == {"allowAccessState": "ALLOW_ACCESS_STATE_UNKNOWN_INFO"}
    assert answer["allowPolicyExplanation"]["allowAccessState"] == "ALLOW_ACCESS_STATE_GRANTED"
    assert answer["denyPolicyExplanation"]["denyAccessState"] == "DENY_ACCESS_STATE_UNKNOWN_INFO"
    assert answer["overallAccessState"] == UNKNOWN, "a deny policy that she may not see may deny it"
    assert world.why_v1(bob, model, by=carol)["access"] == "UNKNOWN_INFO_DENIED"


def test_who_is_in_a_group_is_shown_to_whoever_may_list_its_members(world: World) -> None:
    model, bob, carol = world.new_model(), person(), f"user:{person()}"
    world.give(model, "roles/ml.modelOwner", carol)
    with_bob, without = world.new_group(bob), world.new_group()
    for group in (with_bob, without):
        world.give(model, USER, f"group:{group}")
        member = binding_of(world.why(bob, model, by=carol), model)["memberships"][f"group:{group}"]
        assert member == {"membership": "MEMBERSHIP_UNKNOWN_INFO", "relevance": "HEURISTIC_RELEVANCE_NORMAL"}
    world.give(ORGANIZATION, "roles/cloudidentity.groupsViewer", carol)
    shown = binding_of(world.why(bob, model, by=carol), model)["memberships"]
    assert [part["membership"] for part in shown.values()] == ["MEMBERSHIP_MATCHED", "MEMBERSHIP_NOT_MATCHED"]


def test_what_a_custom_role_holds_is_shown_to_whoever_may_get_it(world: World) -> None:
    model, bob, carol = world.new_model(), person(), f"user:{person()}"
    project, _, _ = model.rpartition("/models/")
    body = {"roleId": "callers", "role": {"title": "t", "includedPermissions": [PREDICT], "stage": "GA"}}
    role = world.done(OWNER, "POST", f"/v1/{project}/roles", body)["name"]
    world.give(model, role, f"user:{bob}")
    world.give(model, "roles/ml.modelOwner", carol)
    shown = binding_of(world.why(bob, model, by=carol), model, role)
    assert shown["rolePermission"] == "ROLE_PERMISSION_UNKNOWN_INFO"
    world.give(project, "roles/iam.roleViewer", carol)
    shown = binding_of(world.why(bob, model, by=carol), model, role)
    assert shown["rolePermission"] == "ROLE_PERMISSION_INCLUDED"


def test_everybody_may_learn_what_they_hold_themselves_now_and_no_more(world: World) -> None:
    model, bob, eve = world.new_model(), person(), person()
    world.give(model, USER, f"user:{bob}")
    for email, state in ((bob, CAN), (eve, CANNOT)):
        answer = world.why(email, model, by=f"user:{email}")
        assert answer["overallAccessState"] == state
        assert answer["allowPolicyExplanation"]["explainedPolicies"] == [
            {"allowAccessState": "ALLOW_ACCESS_STATE_UNKNOWN_INFO"}
        ]
        assert world.why_v1(email, model, by=f"user:{email}")["access"] == V1[state]
        later = {"request": {"receiveTime": LATER}}
        answer = world.why(email, model, by=f"user:{email}", conditionContext=later)
        assert answer["overallAccessState"] == UNKNOWN


def test_who_may_read_a_resource_is_told_that_it_is_not_there(world: World) -> None:
    """A stranger is not, and one who asks about themselves has what `testIamPermissions` tells of it: nothing."""
    project, bob = world.new_project(unique("p-")).removeprefix("/v1/"), person()
    missing = f"{project}/models/none"
    answer = world(OWNER, "POST", "/v3/iam:troubleshoot", question(bob, missing, PREDICT))
    assert (answer.status_code, error_of(answer)["status"]) == (404, "NOT_FOUND")
    assert world.why(bob, missing, by=f"user:{bob}")["overallAccessState"] == CANNOT


def test_what_is_above_a_project_is_shown_to_whoever_may_get_the_project(world: World) -> None:
    """One who reads the organization's policy does not learn by it which projects there are."""
    world.give(ORGANIZATION, "roles/iam.roleAdmin", OWNER)
    held = {"title": "t", "includedPermissions": ["resourcemanager.organizations.getIamPolicy"], "stage": "GA"}
    role = world.done(OWNER, "POST", f"/v1/{ORGANIZATION}/roles", {"roleId": unique("r"), "role": held})["name"]
    reader = f"user:{person()}"
    world.give(ORGANIZATION, role, reader)
    project = world.new_project(unique("p-")).removeprefix("/v1/")
    shown = [
        world.why("bob@example.com", place, by=reader)["allowPolicyExplanation"]
        for place in (project, "projects/no-such-project")
    ]
    assert shown[0] == shown[1]
    assert "roles/resourcemanager.organizationAdmin" in json.dumps(
        world.why("bob@example.com", ORGANIZATION, by=reader)
    )


def test_a_403_names_permission_resource_and_principal(world: World) -> None:
    model, bob = world.new_model(), f"user:{person()}"
    error = error_of(world(bob, "GET", f"/v1/{model}"))
    for said in ("ml.models.get", model, bob):
        assert said in error["message"]
    assert error["details"][0]["metadata"] == {"permission": "ml.models.get", "resource": model, "principal": bob}


# ------------------------------------------------------------------------------------------------------ Google's shape


@cache
def google(version: str) -> dict[str, Any]:
    place = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    document: dict[str, Any] = json.loads((place / f"policytroubleshooter.{version}.json").read_text())
    return document


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_the_messages_are_those_of_the_document_and_the_path_through_groups(version: str) -> None:
    ours = discovery.document(registry(), "policytroubleshooter", "http://127.0.0.1:1", version)
    theirs = {name.replace("_", ""): schema for name, schema in google(version)["schemas"].items()}
    added = set()
    for name, schema in ours["schemas"].items():
        known = theirs[name.replace("_", "")]["properties"]
        for field_name, described in schema["properties"].items():
            if field_name not in known:
                added.add((name.rpartition("Explanation")[2], field_name))
            elif "enum" in described:
                assert described["enum"] == known[field_name]["enum"], (name, field_name)
    members = {"AnnotatedMembership"} if version == "v1" else {
        "AnnotatedAllowMembership", "AnnotatedDenyPrincipalMatching"}  # fmt: skip
    assert added == {(member, "groupPath") for member in members}
    for name, schema in theirs.items():
        if name.startswith("GoogleCloudPolicytroubleshooter") and not name.endswith("EvaluationState"):
            mine = next(s for n, s in ours["schemas"].items() if n.replace("_", "") == name)
            assert set(schema["properties"]) - set(mine["properties"]) <= {"evaluationStates"}, name


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_googles_own_client_is_answered(world: World, version: str) -> None:
    model, bob = world.new_model(), person()
    world.give(model, USER, f"user:{bob}")
    service = world.server.api("policytroubleshooter", version=version)
    answer = service.iam().troubleshoot(body=question(bob, model, PREDICT)).execute()
    assert answer["access" if version == "v1" else "overallAccessState"] == (V1[CAN] if version == "v1" else CAN)


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path)


def test_the_command_line_tells_it_in_words(world: World, ada: CommandLine) -> None:
    model, bob = world.new_model(), person()
    project, _, model_id = model.rpartition("/models/")
    inner = world.new_group(bob)
    outer = world.new_group(inner)
    ends = {"title": "for a day", "expression": f'request.time < timestamp("{TOMORROW}")'}
    world.give(model, USER, f"group:{outer}", condition=ends)
    said = ada.ok("iam", "troubleshoot", model, "--permission", PREDICT, "--principal", bob).stdout
    assert said.splitlines()[0] == f"Yes: {bob} has {PREDICT} on {full_name(model)}."
    assert f"✓ members: group:{outer} → group:{inner} → {bob}" in said
    assert '✓ condition "for a day"' in said
    assert f"(until {TOMORROW[:10]}" in said
    assert "✗ roles/ml.modelOwner does not grant it" in said
    world.deny(project, f"principalSet://goog/group/{outer}")
    by_id = ("iam", "troubleshoot", model_id, "--project", project.partition("/")[2])
    said = ada.ok(*by_id, "--permission", PREDICT, "--principal", bob).stdout
    assert said.startswith(f"No: {bob} does not have {PREDICT} on {full_name(model)}: a deny policy denies it.")
    assert "✓ ml.googleapis.com/models.predict: the rule denies it" in said
    assert f"✓ denied: group:{outer} → group:{inner} → {bob}" in said
    shown = ada.ok(*by_id, "--permission", PREDICT, "--principal", bob, "--format", "json").json
    assert shown["overallAccessState"] == CANNOT


def test_the_command_line_says_what_may_not_be_seen(world: World, server: Server, tmp_path: Path) -> None:
    model, eve = world.new_model(), CommandLine(server, tmp_path, f"user:{person()}")
    said = eve.ok("iam", "troubleshoot", model, "--permission", PREDICT, "--principal", "bob@example.com").stdout
    assert said.startswith("Unknown: you may not see all that decides")
    assert "? there may be policies that you may not read" in said
    assert "? there may be deny policies that you may not read" in said


def test_the_command_line_has_googles_words_too(world: World, ada: CommandLine) -> None:
    model, bob = world.new_model(), person()
    name = full_name(model)
    options = ("--permission", PREDICT, "--principal-email", bob)
    said = ada.ok("policy-troubleshoot", "iam", name, *options).stdout
    assert said.startswith(f"No: {bob} does not have {PREDICT} on {name}: no binding grants it.")
    assert "nobody who signs in" in ada.fails("policy-troubleshoot", "iam", name, *options[:3], "group:x")
