"""Mallory: tries every write of the method table, with the greediest bodies, until nothing new is gained.

She knows every name, etag and past policy (the search reads the store), so that nothing rests on secrecy; only keys and
tokens she has to win by calls. What she wins she uses: a service account whose key she gets acts with her from then on.

A new write row is tried as soon as it is in the table: its path is filled from PLACES, its body comes from BODIES, and
`test_every_write_has_a_greedy_body` fails until it is there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

from mlgate.api.handlers.tokens import GRANT
from mlgate.api.method import DELETE, Audit, Method, Style
from mlgate.core.iam.permissions import ALL, ORGANIZATION_ONLY
from mlgate.core.iam.policy import Policy
from mlgate.core.iam.roles import ROLES
from mlgate.core.names import ORGANIZATION, id_of, parent_of, policies_name, project_of
from mlgate.core.wire import encode_base64
from mlgate.ports import Fact, Record
from tests.escalation.office import Office
from tests.escalation.world import (
    ALPHA,
    BUCKET,
    GONE_ACCOUNT,
    GONE_GROUP,
    JOB,
    LABELS,
    LATER_ACCOUNT,
    LATER_PROJECT,
    MALLORY,
    OPERATION,
    World,
)

Held = set[tuple[str, str]]


class Attempt(NamedTuple):
    """A query and a body. One that is `passing` is undone unless it wins something: Mallory does not saw off the branch
    on which she sits, she only looks whether it would fall."""

    query: dict[str, str] = {}
    body: Any = None
    passing: bool = False


ROUNDS = 10
MINE = "mine"
ME = MALLORY.partition(":")[2]


def is_write(row: Method) -> bool:
    return row.audit in (Audit.ADMIN_WRITE, Audit.DATA_WRITE) or row.runs is Style.WRITE


def destroys(row: Method) -> bool:
    """What takes away comes after all that adds: afterwards Mallory builds again in the ruins."""
    return row.http == DELETE or row.template.verb in ("disable", "cancel")


@dataclass
class Attack:
    """One run. `thorough` tries policies role by role, for rights that depend on which role is handed out."""

    world: World
    office: Office
    thorough: bool = False
    #: Called after every call that succeeded.
    after: Callable[[Attack], None] = lambda attack: None
    #: Everybody who acts: principal and bearer.
    team: dict[str, str] = field(default_factory=dict)
    won: Held = field(default_factory=set)
    #: The calls that succeeded, for whoever has to mend what was found.
    calls: list[str] = field(default_factory=list)
    #: Resources on whose policies everything was tried once; later rounds try only what is new there.
    probed: set[str] = field(default_factory=set)
    _uids: dict[str, str] = field(default_factory=dict)
    _seen: int = -1
    _tried: set[tuple[Any, ...]] = field(default_factory=set)

    def run(self) -> Held:
        """All that was ever held, as (permission, place), on places that are still what they were."""
        self.team[MALLORY] = self.office.sign_in(MALLORY)
        self._uids = {record.name: record.uid for record in map(self.get, self.world.parents) if record}
        rows = [row for row in self.office.services.registry.rows if is_write(row) and row.handler is not None]
        building = [row for row in rows if not destroys(row)]
        self._until_quiet(building)
        self._round([row for row in rows if destroys(row)])
        self._until_quiet(building)
        return self.won

    def _until_quiet(self, rows: list[Method]) -> None:
        """A step may show only in the next one, so quiet is two rounds without anything new."""
        quiet = 0
        for _ in range(ROUNDS):
            before = (len(self.won), len(self.team))
            self._round(rows)
            quiet = quiet + 1 if (len(self.won), len(self.team)) == before else 0
            if quiet == 2:
                return
        raise AssertionError(f"something new after {ROUNDS} rounds still")

    def _round(self, rows: list[Method]) -> None:
        self._look()
        for row in rows:
            if row.id in SKIPPED:
                continue
            for path in self.paths(row):
                self._try(row, path)

    def _try(self, row: Method, path: dict[str, str]) -> None:
        """One row on one resource: each body, by the first of the team who may."""
        for attempt in BODIES[row.id](self, path):
            if attempt.passing and self._is_old(row, path, attempt):
                continue
            may = any(self._call(row, path, who, attempt) not in (401, 403) for who in list(self.team))
            decided_by_path = row.also is None and row.on_body is None and row.resource(path) and not self.thorough
            if decided_by_path and not may:
                return  # authorization comes before the body: another one changes nothing

    def _is_old(self, row: Method, path: dict[str, str], attempt: Attempt) -> bool:
        """Whether the same was tried on the same policy, with as much won before."""
        name = row.resource(path)
        policy = self.policy(name)
        tried = json.dumps({**attempt.body, "policy": {**attempt.body.get("policy", {}), "etag": ""}})
        key = (row.id, name, policy.bindings if policy else (), tried, len(self.won), len(self.team))
        if key in self._tried:
            return True
        self._tried.add(key)
        return False

    def _call(self, row: Method, path: dict[str, str], who: str, attempt: Attempt) -> int:
        address = _address(row, path)
        before, won = self.policy(row.resource(path)) if attempt.passing else None, len(self.won)
        status, answer = self.office.call(self.team[who], row.http, address, attempt.query, attempt.body)
        if status < 300:
            asked = f"{address}?{urlencode(attempt.query)} {json.dumps(attempt.body)[:300]}"
            self.calls.append(f"{who} {row.http} {asked}")
            self._use(answer)
            self._look()
            self.after(self)
            if attempt.passing and len(self.won) == won:
                self._undo(row.resource(path), before)
        return status

    def _undo(self, name: str, policy: Policy | None) -> None:
        with self.office.services.store.write() as tx:
            tx.set_policy(name, policy)
        self.calls.append(f"(undone: the policy of {name} is as it was)")

    def _use(self, answer: Any) -> None:
        """A key that was made is exchanged for a token."""
        if not isinstance(answer, dict) or "privateKeyData" not in answer:
            return
        key = json.loads(base64.b64decode(answer["privateKeyData"]))
        now = int(datetime.now(UTC).timestamp())
        claims = {"iss": key["client_email"], "aud": key["token_uri"], "iat": now, "exp": now + 3600}
        header = {"alg": "RS256", "kid": key["private_key_id"]}
        assertion = jwt.encode(header, claims, RSAKey.import_key(key["private_key"]))
        form = urlencode({"grant_type": GRANT, "assertion": assertion}).encode()
        status, answer = self.office.call("", "POST", "token", {}, form)
        if status == 200:
            self.team[f"serviceAccount:{key['client_email']}"] = answer["access_token"]
            self._seen = -1

    # ------------------------------------------------------------------------------------------------------- looking

    def _look(self) -> None:
        """Remember what the team holds now. What was made anew under an old name is Mallory's own, and not counted."""
        reached, facts = self.office.services.store.changes(self._seen)
        self._seen = reached
        if not any(self._matters(fact) for fact in facts):
            return
        snapshot = self.office.services.snapshot
        snapshot.refresh()
        for place in self.world.parents:
            missing = [permission for permission in ALL if (permission, place) not in self.won]
            gained = [p for p in missing if any(snapshot.allows(who, p, place) for who in self.team)]
            if gained and not self.is_changed(place):
                self.won |= {(permission, place) for permission in gained}

    def _matters(self, fact: Fact) -> bool:
        """Whether a change can be felt on the places of the world; those of Mallory's own things cannot."""
        place = {"policy": fact.key, "deny": fact.key, "parent": fact.key, "project": f"projects/{fact.key}",
                 "bucket": f"buckets/{fact.key}"}.get(fact.kind)  # fmt: skip
        if place is None:
            return fact.kind in ("role", "group")
        return place in self.world.parents or place.startswith("folders/")

    def is_changed(self, place: str) -> bool:
        name: str | None = place
        while name:
            if name in self._uids:
                record = self.get(name)
                return record is None or record.uid != self._uids[name]
            name = parent_of(name)
        return False

    def get(self, name: str) -> Record | None:
        with self.office.services.store.read() as tx:
            return tx.get(name)

    def find(self, kind: str) -> list[str]:
        with self.office.services.store.read() as tx:
            return [record.name for record in tx.find(kind)]

    def projects(self) -> list[str]:
        return self.few("project")

    def folders(self) -> list[str]:
        return self.few("folder")

    def few(self, kind: str) -> list[str]:
        """Those of the world, and some of what was made since: more of them would be more of the same."""
        found = sorted(self.find(kind), key=lambda name: name not in self._uids)
        return found[: 2 + sum(name in self._uids for name in found)]

    def policy(self, name: str) -> Policy | None:
        with self.office.services.store.read() as tx:
            return tx.policy(name)

    def history(self, name: str) -> list[Policy]:
        with self.office.services.store.read() as tx:
            return [revision.policy for revision in tx.policy_revisions(name, limit=20)]

    # --------------------------------------------------------------------------------------------------------- paths

    def paths(self, row: Method) -> Iterator[dict[str, str]]:
        """Every resource that the row can be called on, by the values of its path's parameters."""
        variables = row.template.variables
        choices = [list(_places(row, variable.name, variable.pattern)(self)) for variable in variables]
        for values in product(*choices):
            yield dict(zip((variable.name for variable in variables), values, strict=True))


def _address(row: Method, path: dict[str, str]) -> str:
    """The path, with its parameters encoded; names of deny policies are that already."""

    def fill(match: re.Match[str]) -> str:
        name, _, pattern = match.group(1).partition("=")
        value = path[name]
        return value if pattern.startswith("policies/") else quote(value, safe="/" if pattern else "")

    return re.sub(r"\{([^}]*)\}", fill, row.path)


#: What can stand in a path, by the pattern of its parameter, or for plain ones by the name.
PLACES: dict[str, Callable[[Attack], Iterable[str]]] = {
    "projects/*": lambda a: a.projects(),
    "organizations/*": lambda a: [ORGANIZATION],
    "folders/*": lambda a: a.folders(),
    "groups/*": lambda a: a.find("group"),
    "groups/*/memberships/*": lambda a: a.find("membership"),
    "projects/*/models/*": lambda a: a.find("model"),
    "projects/*/models/*/versions/*": lambda a: a.find("version"),
    "projects/*/operations/*": lambda a: [OPERATION, *a.find("operation")],
    "projects/*/locations/*/operations/*": lambda a: [f"{project_of(OPERATION)}/locations/us-central1/operations/o"],
    "projects/*/locations/*": lambda a: [f"{project}/locations/us-central1" for project in a.projects()],
    "projects/*/locations/*/studies/*": lambda a: a.find("study"),
    "projects/*/locations/*/studies/*/trials/*": lambda a: a.find("trial")[:3],
    "projects/*/jobs/*": lambda a: [JOB, *a.find("job")],
    "projects/*/serviceAccounts/*": lambda a: a.find("serviceAccount"),
    "projects/*/serviceAccounts/*/keys/*": lambda a: a.find("serviceAccountKey"),
    "projects/*/roles/*": lambda a: [name for name in a.find("role") if name.startswith("projects/")],
    "organizations/*/roles/*": lambda a: [name for name in a.find("role") if name.startswith("organizations/")],
    "policies/*/denypolicies": lambda a: [f"{policies_name(place)}/denypolicies" for place in _deniable(a)],
    "policies/*/denypolicies/*": lambda a: [
        f"{policies_name(parent_of(name) or '')}/denypolicies/{id_of(name)}" for name in a.find("denyPolicy")
    ],
    "projectId": lambda a: map(id_of, a.projects()),
    "resource": lambda a: map(id_of, a.projects()),
    "bucket": lambda a: map(id_of, a.few("bucket")),
    "destinationBucket": lambda a: map(id_of, a.few("bucket")),
    "sourceBucket": lambda a: [id_of(BUCKET)],
    "object": lambda a: ["mine"],
    "sourceObject": lambda a: ["mine"],
    "destinationObject": lambda a: ["theirs"],
}


def _places(row: Method, name: str, pattern: str) -> Callable[[Attack], Iterable[str]]:
    if row.id == "iam.projects.serviceAccounts.undelete":
        return _deleted_accounts
    key = pattern if "/" in pattern else name
    assert key in PLACES, f"{row.id}: add to PLACES what can stand in its path for {key}"
    return PLACES[key]


def _deleted_accounts(attack: Attack) -> Iterable[str]:
    for name in attack.find("deletedServiceAccount"):
        record = attack.get(name)
        if record is not None:
            yield f"{record.parent}/serviceAccounts/{record.uid}"


def _deniable(attack: Attack) -> list[str]:
    return [ORGANIZATION, *attack.folders(), *attack.projects()]


# -------------------------------------------------------------------------------------------------------------- bodies


def plain(*attempts: tuple[Any, ...]) -> Callable[[Attack, dict[str, str]], Iterable[Attempt]]:
    return lambda attack, path: [Attempt(*attempt) for attempt in attempts]


def _kind_of(name: str) -> str:
    if name.startswith("buckets/"):
        return "bucket"
    collection = name.split("/")[-2]
    return {"models": "model", "jobs": "job", "serviceAccounts": "serviceAccount"}.get(collection, collection[:-1])


def _policies(attack: Attack, name: str) -> Iterator[dict[str, Any]]:
    """Every policy by which somebody might give themselves more: first the greediest that keeps what is there."""
    kind, current, record = _kind_of(name), attack.policy(name), attack.get(name)
    home = project_of(name) or (record.parent if record else "")
    custom = [role for role in attack.find("role") if role.startswith((f"{home}/roles/", "organizations/"))]
    known = [role for role in ROLES if attack.world.catalogue in role.catalogues]
    bindable = [*(role.name for role in known if kind in role.on), *custom]
    kept = [_wire(binding) for binding in current.bindings] if current else []
    for binding in kept:  # an address that nobody has would be refused once its project is there
        binding["members"] = [m for m in binding["members"] if f"{LATER_ACCOUNT}@" not in m]
    etag = encode_base64(current.etag) if current else ""

    def with_roles(roles: Iterable[str], others: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"version": 3, "bindings": [*others, *({"role": r, "members": [MALLORY]} for r in roles)], **more}

    yield with_roles(bindable, kept)
    if not attack.thorough and name in attack.probed:
        return
    attack.probed.add(name)
    for role in known:
        if attack.thorough or role.name not in bindable:
            yield with_roles([role.name], kept)
        if attack.thorough:
            yield with_roles([role.name], [], etag=etag)
    for old in attack.history(name):
        bindings = [_wire(binding) for binding in old.bindings]
        yield {"version": 3, "bindings": bindings}
        yield {"version": 3, "bindings": bindings, "etag": etag}
        yield {"version": 1, "bindings": bindings, "etag": encode_base64(old.etag)}
    if attack.thorough:
        yield from _without_conditions(kept, etag)
    yield with_roles(bindable, [])


def _without_conditions(kept: list[dict[str, Any]], etag: str) -> Iterator[dict[str, Any]]:
    """The policy as it is, but for a condition that is dropped, weakened, or in a form for old readers."""
    free = [{k: v for k, v in binding.items() if k != "condition"} for binding in kept]
    true = [{**b, "condition": {"expression": "true", "title": "t"}} if "condition" in b else b for b in kept]
    for bindings, version in product((free, true, []), (0, 1, 3)):
        yield {"version": version, "bindings": bindings, "etag": etag}
        yield {"version": version, "bindings": bindings}
    for gone in range(len(kept)):
        yield {"version": 3, "bindings": kept[:gone] + kept[gone + 1 :]}


def _wire(binding: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": binding.role, "members": list(binding.members)}
    if binding.condition:
        c = binding.condition
        shown["condition"] = {"expression": c.expression, "title": c.title, "description": c.description}
    return shown


def _set_policy(attack: Attack, path: dict[str, str], prefix: str = "") -> Iterator[Attempt]:
    for n, policy in enumerate(_policies(attack, prefix + path["resource"])):
        yield Attempt({}, {"policy": policy}, passing=n > 0)
        for mask in ("etag", "version", "auditConfigs", "bindings") if attack.thorough and n == 0 else ():
            yield Attempt({}, {"policy": policy, "updateMask": mask}, passing=True)


def _set_project_policy(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    return _set_policy(attack, path, "" if "/" in path["resource"] else "projects/")


def _set_bucket_policy(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for n, policy in enumerate(_policies(attack, f"buckets/{path['bucket']}")):
        yield Attempt({}, policy, passing=n > 0)


def _models(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for name in (MINE, "m", "other", "n"):
        yield Attempt({}, {"name": name})


def _versions(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    body = {"name": MINE, "deploymentUri": "gs://alpha-bucket/m", "runtimeVersion": "2.11", "pythonVersion": "3.7"}
    yield Attempt({}, body)
    for account in attack.find("serviceAccount"):
        yield Attempt({}, {**body, "name": "acting", "serviceAccount": id_of(account)})


def _jobs(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    job = {"scaleTier": "BASIC", "region": "us-central1", "pythonModule": "a.b",
           "packageUris": ["gs://alpha-bucket/p.whl"], "runtimeVersion": "2.11", "pythonVersion": "3.7"}  # fmt: skip
    yield Attempt({}, {"jobId": MINE, "trainingInput": job})
    for n, account in enumerate(attack.find("serviceAccount")):
        yield Attempt({}, {"jobId": f"acting{n}", "trainingInput": {**job, "serviceAccount": id_of(account)}})
    data = {"dataFormat": "JSON", "inputPaths": ["gs://alpha-bucket/*"], "outputPath": "gs://alpha-bucket/out"}
    for n, model in enumerate(attack.find("model")):
        given = {**data, "region": "us-central1", "modelName": model}
        yield Attempt({}, {"jobId": f"using{n}", "predictionInput": given})


def _new_projects(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for n, place in enumerate([ORGANIZATION, *attack.folders()]):
        for parent in (place, {"type": place.split("/")[0][:-1], "id": id_of(place)}):
            yield Attempt({}, {"projectId": LATER_PROJECT, "parent": parent})
            yield Attempt({}, {"projectId": f"{MINE}-project-{n}", "parent": parent})


def _updated_projects(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    yield Attempt({}, {"name": MINE, "labels": {"a": "b"}})
    for place in [ORGANIZATION, *attack.folders()]:
        yield Attempt({}, {"name": MINE, "parent": {"type": place.split("/")[0][:-1], "id": id_of(place)}})


def _new_folders(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for place in [ORGANIZATION, *attack.folders()]:
        yield Attempt({}, {"displayName": "Mine", "parent": place})
        yield Attempt({"parent": place}, {"displayName": "Mine too"})


def _moves(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for place in [*attack.folders(), ORGANIZATION]:  # the top last: there the fewest deny policies stand
        yield Attempt({}, {"destinationParent": place})


def _accounts(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    traps = {ALPHA: (GONE_ACCOUNT, "editor-account", "owner-account"), f"projects/{LATER_PROJECT}": (LATER_ACCOUNT,)}
    for account_id in traps.get(path["name"], ()):
        yield Attempt({}, {"accountId": account_id})


def _keys(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    if f"serviceAccount:{id_of(path['name'])}" not in attack.team:
        yield Attempt({}, {})


def _most(place: str) -> list[list[str]]:
    """What a custom role may hold: all there is, or in a project all that a project's may."""
    return [list(ALL), *([[p for p in ALL if p not in ORGANIZATION_ONLY]] if place.startswith("projects/") else [])]


def _new_roles(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for held in _most(path["parent"]):
        yield Attempt({}, {"roleId": MINE, "role": {"includedPermissions": held, "stage": "GA"}})


def _edited_roles(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for held in _most(path["name"]):
        yield Attempt({"updateMask": "includedPermissions,stage"}, {"includedPermissions": held, "stage": "GA"})
        yield Attempt({}, {"includedPermissions": held, "stage": "GA"})


def _rule(**more: Any) -> dict[str, Any]:
    return {"denyRule": {"deniedPrincipals": ["principal://goog/subject/carol@example.com"],
                         "deniedPermissions": ["ml.googleapis.com/models.get"], **more}}  # fmt: skip


def _memberships(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for roles in (("MEMBER", "OWNER"), ("MEMBER", "MANAGER"), ("MEMBER",)):
        yield Attempt({}, {"preferredMemberKey": {"id": ME}, "roles": [{"name": role} for role in roles]})
    for name in attack.find("group"):
        group = attack.get(name)
        if group is not None:
            yield Attempt({}, {"preferredMemberKey": group.body["groupKey"], "roles": [{"name": "MEMBER"}]})


def _groups(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for address in (GONE_GROUP, f"{MINE}@example.com"):
        body = {"groupKey": {"id": address}, "parent": ORGANIZATION, "labels": LABELS}
        yield Attempt({"initialGroupConfig": "WITH_INITIAL_OWNER"}, body)
        yield Attempt({}, body)


def _modified_memberships(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    yield Attempt({}, {"addRoles": [{"name": "OWNER"}]})
    yield Attempt({}, {"addRoles": [{"name": "MANAGER"}]})
    end = {"fieldMask": "expiryDetail.expireTime", "membershipRole": {"name": "MEMBER"}}
    yield Attempt({}, {"updateRolesParams": [end]})


def _buckets(attack: Attack, path: dict[str, str]) -> Iterator[Attempt]:
    for project in map(id_of, attack.projects()):
        yield Attempt({"project": project}, {"name": f"{MINE}-{project}"})
        for name in ("alpha-bucket", "beta-bucket"):
            yield Attempt({"project": project}, {"name": name})


_STUDY = {"studyConfig": {
    "metrics": [{"metric": "m", "goal": "MAXIMIZE"}], "algorithm": "RANDOM_SEARCH",
    "parameters": [{"parameter": "x", "type": "DOUBLE", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
}}  # fmt: skip
_TRIAL = {"parameters": [{"parameter": "x", "floatValue": 0.5}]}
_MEASUREMENT = {"metrics": [{"metric": "m", "value": 1.0}], "stepCount": "1"}
_LISTS = {"acl": [{"entity": f"user-{ME}", "role": "OWNER"}]}
_NOTHING, _EMPTY = Attempt(), Attempt(body={})

#: The greediest bodies of each method, by its id.
BODIES: dict[str, Callable[[Attack, dict[str, str]], Iterable[Attempt]]] = {
    "ml.projects.models.create": _models,
    "ml.projects.models.patch": plain(({"updateMask": "description"}, {"description": "mine"})),
    "ml.projects.models.delete": plain(_NOTHING),
    "ml.projects.models.setIamPolicy": _set_policy,
    "ml.projects.models.versions.create": _versions,
    "ml.projects.models.versions.patch": plain(({"updateMask": "description"}, {"description": "mine"})),
    "ml.projects.models.versions.delete": plain(_NOTHING),
    "ml.projects.models.versions.setDefault": plain(_EMPTY),
    "ml.projects.operations.cancel": plain(_EMPTY),
    "ml.projects.operations.delete": plain(_NOTHING),
    "ml.projects.locations.operations.cancel": plain(_EMPTY),
    "ml.projects.locations.studies.create": plain(({"studyId": MINE}, _STUDY)),
    "ml.projects.locations.studies.delete": plain(_NOTHING),
    "ml.projects.locations.studies.trials.create": plain(({}, _TRIAL)),
    "ml.projects.locations.studies.trials.suggest": plain(({}, {"suggestionCount": 1, "clientId": MINE})),
    "ml.projects.locations.studies.trials.addMeasurement": plain(({}, {"measurement": _MEASUREMENT})),
    "ml.projects.locations.studies.trials.stop": plain(_EMPTY),
    "ml.projects.locations.studies.trials.complete": plain(({}, {"finalMeasurement": _MEASUREMENT})),
    "ml.projects.locations.studies.trials.delete": plain(_NOTHING),
    "ml.projects.jobs.create": _jobs,
    "ml.projects.jobs.patch": plain(({"updateMask": "labels"}, {"labels": {"a": "b"}})),
    "ml.projects.jobs.cancel": plain(_EMPTY),
    "ml.projects.jobs.setIamPolicy": _set_policy,
    "cloudresourcemanager.projects.create": _new_projects,
    "cloudresourcemanager.projects.update": _updated_projects,
    "cloudresourcemanager.projects.patch": plain(({"updateMask": "displayName"}, {"displayName": MINE})),
    "cloudresourcemanager.projects.move": _moves,
    "cloudresourcemanager.projects.delete": plain(_NOTHING),
    "cloudresourcemanager.projects.undelete": plain(_EMPTY),
    "cloudresourcemanager.projects.setIamPolicy": _set_project_policy,
    "cloudresourcemanager.folders.create": _new_folders,
    "cloudresourcemanager.folders.patch": plain(({"updateMask": "displayName"}, {"displayName": "Mine now"})),
    "cloudresourcemanager.folders.move": _moves,
    "cloudresourcemanager.folders.delete": plain(_NOTHING),
    "cloudresourcemanager.folders.undelete": plain(_EMPTY),
    "cloudresourcemanager.folders.setIamPolicy": _set_policy,
    "cloudresourcemanager.organizations.setIamPolicy": _set_policy,
    "iam.projects.serviceAccounts.create": _accounts,
    "iam.projects.serviceAccounts.patch": plain(
        ({}, {"serviceAccount": {"displayName": MINE}, "updateMask": "displayName"}),
        ({}, {"serviceAccount": {"email": ME, "disabled": False}, "updateMask": "email,disabled"}),
    ),
    "iam.projects.serviceAccounts.delete": plain(_NOTHING),
    "iam.projects.serviceAccounts.undelete": plain(_EMPTY),
    "iam.projects.serviceAccounts.disable": plain(_EMPTY),
    "iam.projects.serviceAccounts.enable": plain(_EMPTY),
    "iam.projects.serviceAccounts.setIamPolicy": _set_policy,
    "iam.projects.serviceAccounts.keys.create": _keys,
    "iam.projects.serviceAccounts.keys.delete": plain(_NOTHING),
    "iam.projects.serviceAccounts.keys.disable": plain(_EMPTY),
    "iam.projects.serviceAccounts.keys.enable": plain(_EMPTY),
    **{
        f"iam.{place}.roles.{verb}": bodies
        for place in ("projects", "organizations")
        for verb, bodies in {"create": _new_roles, "patch": _edited_roles, "delete": plain(_NOTHING),
                             "undelete": plain(_EMPTY)}.items()
    },
    "iam.policies.createPolicy": plain(({"policyId": "mine"}, {"rules": [_rule()]})),
    "iam.policies.update": plain(
        ({}, {"rules": [_rule()]}),
        ({}, {"rules": [_rule(exceptionPrincipals=[f"principal://goog/subject/{ME}"])]}),
    ),
    "iam.policies.delete": plain(_NOTHING),
    "cloudidentity.groups.create": _groups,
    "cloudidentity.groups.patch": plain(({"updateMask": "displayName"}, {"displayName": MINE})),
    "cloudidentity.groups.delete": plain(_NOTHING),
    "cloudidentity.groups.memberships.create": _memberships,
    "cloudidentity.groups.memberships.delete": plain(_NOTHING),
    "cloudidentity.groups.memberships.modifyMembershipRoles": _modified_memberships,
    "storage.buckets.insert": _buckets,
    "storage.buckets.patch": plain(({}, {"labels": {"a": "b"}}), ({}, _LISTS)),
    "storage.buckets.update": plain(({}, {"labels": {"a": "b"}}), ({}, _LISTS)),
    "storage.buckets.delete": plain(_NOTHING),
    "storage.buckets.setIamPolicy": _set_bucket_policy,
    "storage.objects.insert": plain(({"name": MINE}, {}), ({"name": MINE, "predefinedAcl": "publicRead"}, {})),
    "storage.objects.patch": plain(({}, {"metadata": {"a": "b"}}), ({}, _LISTS)),
    "storage.objects.update": plain(({}, {"metadata": {"a": "b"}}), ({}, _LISTS)),
    "storage.objects.delete": plain(_NOTHING),
    "storage.objects.copy": plain(_EMPTY),
    "storage.objects.rewrite": plain(_EMPTY),
    "storage.objects.move": plain(_NOTHING),
    "storage.objects.compose": plain(({}, {"sourceObjects": [{"name": MINE}]})),
}  # fmt: skip

#: Writes that are not tried on their own, and why.
SKIPPED = {
    "mlgate.token": "every key that is made is exchanged at once, see Attack._use",
    "mlgate.session.open": "a code is 256 random bits, made by whoever has the data directory",
    "mlgate.session.end": "it ends the token that the call bears, and nothing else",
}
