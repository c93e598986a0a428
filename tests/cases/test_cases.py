"""Every case file, five times: by the rule, by the index, by the twin, and by running servers over HTTP on both
databases."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from mlgate.api.methods import registry
from mlgate.api.routing import Router
from mlgate.core.iam.conditions import holds
from mlgate.core.iam.evaluate import decide
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.roles import permissions_by_role
from tests import twin, worlds
from tests.cases.case import (
    Ask,
    Case,
    Facts,
    Set,
    Wait,
    all_cases,
    binding_of,
    deny_of,
    member,
    members,
    memberships,
    policy_of,
)
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing
from tests.postgres import postgres
from tests.worlds import START, Change, SmallWorld

CASES = all_cases()
ROUTER = Router(registry().rows)
Judge = Callable[[worlds.Ask], bool]


# By the rule, the index and the twin


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_index_and_twin_decide_the_case(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "said", lambda e, ask: holds(e, ask.resource, ask.at, ask.modified))
    world = SmallWorld(roles={role: tuple(held) for role, held in permissions_by_role("documented").items()})
    index = AccessIndex(world.roles)
    at = START
    for model, owner in case.models.items():
        Change("policy", model, policy_of({"roles/ml.modelOwner": [owner]}, at)).apply(world, index)
    nothing = {project: {} for project in case.projects}
    apply(replace(case.facts, policies=nothing | case.facts.policies), world, index, at)
    for step in case.steps:
        if isinstance(step, Wait):
            at += step.seconds
        elif isinstance(step, Set):
            if not step.denied:
                apply(step.facts, world, index, at)
        else:
            for name, allows in judges(world, index).items():
                assert decided(allows, step, at) == step.is_allowed, f"{name}: {step.line}"


def apply(facts: Facts, world: SmallWorld, index: AccessIndex, at: float) -> None:
    for place, parent in facts.folders.items():
        Change("parent", place, parent).apply(world, index)
    for role, held in facts.roles.items():
        Change("role", role, held and tuple(held)).apply(world, index)
    for group, inside in facts.groups.items():
        Change("group", group, None if inside is None else memberships(inside, at)).apply(world, index)
    for place, rules in facts.deny.items():
        Change("denials", place, None if rules is None else deny_of(rules)).apply(world, index)
    for resource, plain in facts.policies.items():
        owned = {"roles/owner": [OWNER]} if is_project(resource) else {}  # a project always has its owner
        Change("policy", resource, policy_of({**owned, **plain}, at)).apply(world, index)


def is_project(name: str) -> bool:
    return name.startswith("projects/") and name.count("/") == 1


def judges(world: SmallWorld, index: AccessIndex) -> dict[str, Judge]:
    return {
        "the rule": lambda ask: decide(world, ask.question).allowed,
        "the index": lambda ask: ask.of(index),
        "the twin": lambda ask: twin.may(world, ask),
    }


def decided(allows: Judge, ask: Ask, at: float) -> bool:
    row, parameters = ROUTER.match(ask.http, f"/v1/{ask.path}")
    permitted = not isinstance(row.requires, str) or allows(
        worlds.Ask(ask.who, row.requires, row.resource(parameters), at)
    )
    needs = ask.also
    return permitted and (
        not needs or any(allows(worlds.Ask(ask.who, permission, needs["at"], at)) for permission in needs["any"])
    )


# By the server


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield stack.enter_context(Api(request.getfixturevalue("server")))
            return
        url = stack.enter_context(postgres())
        made = Server(tmp_path_factory.mktemp("cases") / "data", database_url=url).initialize().start()
        stack.callback(made.close)
        yield stack.enter_context(Api(made))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_decides_the_case(case: Case, api: Api) -> None:
    live = Live(api, case)
    live.prepare()
    for step in case.steps:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
        elif isinstance(step, Set):
            live.set(step.facts, member(step.by) if step.by else OWNER, denied=step.denied)
        else:
            live.ask(step)


class Live:
    """A case on the server: its projects `p` and `q`, its folders and its groups get names of their own."""

    def __init__(self, api: Api, case: Case) -> None:
        self.api = api
        self.case = case
        self.short = case.name.replace("_", "-")[:20].strip("-")
        self.ids = {project: f"projects/{project[-1]}-{self.short}" for project in case.projects}
        self.groups: dict[str, str] = {}
        self.roles: set[str] = set()
        self.denials: dict[str, str] = {}

    def real(self, text: str) -> str:
        text = re.sub(r"(projects|folders)/(\w+)\b", lambda m: self.ids.get(m.group(), m.group()), text)
        return re.sub(r"group:(\w+)@", lambda m: f"group:{m.group(1)}-{self.short}@", text)

    def done(self, who: str, http: str, path: str, body: Any = None, **options: Any) -> Any:
        return self.api.done(who, http, path, body and json.loads(self.real(json.dumps(body))), **options)

    def prepare(self) -> None:
        """Projects, then models by their creators, who are Developers for a moment, then the facts of the case."""
        for project in self.case.projects:
            path = self.api.new_project(self.real(project).partition("/")[2])
            creators = [member(who) for model, who in self.case.models.items() if model.startswith(f"{project}/")]
            assert self.api.bind(path, {"roles/ml.developer": creators}).status_code == 200
        for model, creator in self.case.models.items():
            parent, _, model_id = model.rpartition("/")
            self.done(member(creator), "POST", f"/v1/{self.real(parent)}", {"name": model_id})
        nothing = {project: {} for project in self.case.projects}
        self.set(replace(self.case.facts, policies=nothing | self.case.facts.policies), OWNER)

    def set(self, facts: Facts, by: str, *, denied: bool = False) -> None:
        """Everything by the API, except the policies of jobs and operations, which only the server sets."""
        now = time.time()
        for place, parent in facts.folders.items():
            self.set_parent(place, parent)
        for role, held in facts.roles.items():
            self.set_role(role, held)
        for group in facts.groups:
            self.make_group(group)
        for group, inside in facts.groups.items():
            self.set_group(group, inside, now)
        for place, rules in facts.deny.items():
            self.set_denials(place, rules)
        for resource, plain in facts.policies.items():
            if "/jobs/" in resource or "/operations/" in resource:
                with writing(self.api.server) as tx:
                    tx.set_policy(self.real(resource), policy_of(plain, now))
            else:
                self.set_policy(resource, plain, by, now, denied=denied)

    def set_policy(self, resource: str, plain: dict[str, list[str]], by: str, now: float, *, denied: bool) -> None:
        owned = {"roles/owner": [by]} if is_project(resource) and "roles/owner" not in plain else {}
        bindings = []
        for given, names in {**owned, **plain}.items():
            role, condition = binding_of(given, now)
            binding = {"role": role, "members": list(members(names))}
            if condition:
                binding["condition"] = {"expression": condition.expression, "title": condition.title}
            bindings += [binding] * bool(names)
        version = "v3" if resource.startswith("folders/") else "v1"
        body = json.loads(self.real(json.dumps({"policy": {"version": 3, "bindings": bindings}})))
        answer = self.api(by, "POST", f"/{version}/{self.real(resource)}:setIamPolicy", body)
        assert answer.status_code == (403 if denied else 200), answer.text

    def set_role(self, role: str, held: list[str] | None) -> None:
        name = self.real(role)
        parent, _, role_id = name.rpartition("/")
        if held is None:
            self.done(OWNER, "DELETE", f"/v1/{name}")
        elif name in self.roles:
            self.api(OWNER, "POST", f"/v1/{name}:undelete", {})  # refused unless it is deleted
            self.done(OWNER, "PATCH", f"/v1/{name}", {"includedPermissions": held})
        else:
            self.roles.add(name)
            self.done(OWNER, "POST", f"/v1/{parent}", {"roleId": role_id, "role": {"includedPermissions": held}})

    def make_group(self, group: str) -> None:
        if group not in self.groups:
            email = self.real(group).partition(":")[2]
            made = self.done(OWNER, "POST", "/v1/groups", {"groupKey": {"id": email}})
            self.groups[group] = made["response"]["name"]

    def set_group(self, group: str, inside: list[str] | None, now: float) -> None:
        if inside is None:
            self.done(OWNER, "DELETE", f"/v1/{self.groups.pop(group)}")
            return
        path = f"/v1/{self.groups[group]}/memberships"
        for old in self.done(OWNER, "GET", path).get("memberships", []):
            self.done(OWNER, "DELETE", f"/v1/{old['name']}")
        for who, end in memberships(inside, now).items():
            role: dict[str, Any] = {"name": "MEMBER"}
            if end is not None:
                role["expiryDetail"] = {"expireTime": datetime.fromtimestamp(end, UTC).isoformat()}
            self.done(OWNER, "POST", path, {"preferredMemberKey": {"id": self.address(who)}, "roles": [role]})

    def address(self, who: str) -> str:
        return self.real(who).partition(":")[2]

    def set_parent(self, place: str, parent: str) -> None:
        if is_project(place):
            self.done(OWNER, "POST", f"/v3/{self.real(place)}:move", {"destinationParent": self.real(parent)})
        elif place in self.ids:
            body = {"destinationParent": self.real(parent)}
            self.done(OWNER, "POST", f"/v3/{self.real(place)}:move", body)
        else:
            name = f"{place[-1]} {self.short}"
            made = self.done(OWNER, "POST", "/v3/folders", {"displayName": name, "parent": self.real(parent)})
            self.ids[place] = made["response"]["name"]

    def set_denials(self, place: str, rules: list[dict[str, Any]] | None) -> None:
        attachment = quote(quote(f"cloudresourcemanager.googleapis.com/{self.real(place)}", safe=""), safe="")
        path = f"/v2/policies/{attachment}/denypolicies"
        if place in self.denials:
            self.done(OWNER, "DELETE", f"{path}/{self.denials.pop(place)}")
        if rules is not None:
            self.denials[place] = "case"
            body = {"rules": [{"denyRule": self.deny_rule(rule)} for rule in rules]}
            self.done(OWNER, "POST", path, body, params={"policyId": "case"})

    def deny_rule(self, rule: dict[str, Any]) -> dict[str, Any]:
        spelled = {
            "deniedPrincipals": [self.principal(who) for who in members(rule["who"])],
            "exceptionPrincipals": [self.principal(who) for who in members(rule.get("but", []))],
            "deniedPermissions": [permission_v2(p) for p in rule["what"]],
            "exceptionPermissions": [permission_v2(p) for p in rule.get("except", [])],
        }
        condition = rule.get("if")
        return spelled | ({"denialCondition": {"expression": condition, "title": "a condition"}} if condition else {})

    def principal(self, who: str) -> str:
        forms = {
            "user": "principal://goog/subject/",
            "group": "principalSet://goog/group/",
            "serviceAccount": "principal://iam.googleapis.com/projects/-/serviceAccounts/",
        }
        kind, _, _ = who.partition(":")
        return "principalSet://goog/public:all" if who == "allUsers" else forms[kind] + self.address(who)

    def ask(self, ask: Ask) -> None:
        path = f"/v1/{self.real(ask.path)}"
        is_probe = ask.expect in ("allow", "deny") and ask.body is None
        body = json.loads(self.real(json.dumps(ask.body)))
        response = self.api(ask.who, ask.http, path, body, params={"nope": "1"} if is_probe else {})
        if ask.expect == "allow":
            assert response.status_code == 400 if is_probe else response.status_code not in (401, 403), ask.line
        else:
            assert response.status_code == (403 if ask.expect == "deny" else int(ask.expect)), ask.line + response.text
        if response.status_code == 403:
            assert error_of(response)["status"] == "PERMISSION_DENIED"
        assert self.real(ask.shows) in response.text


def permission_v2(permission: str) -> str:
    """`ml.googleapis.com/models.predict` of `ml.models.predict`."""
    service, _, rest = permission.partition(".")
    return f"{'cloudresourcemanager' if service == 'resourcemanager' else service}.googleapis.com/{rest}"
