"""Random small worlds of policies, deny policies, groups, roles and hierarchies, and the histories that make them.

A history is a list of steps: a change to the world, or a question asked of it; time passes between them. Worlds are
made by histories, not at once, so that what must hold for a world also gets tested while it changes, with questions in
between to fill every cache. A history is plain data: it prints as YAML, and a failing one is shrunk by leaving out what
does not matter.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import yaml

from mlgate.core.iam.deny import DenyPolicy, DenyRule
from mlgate.core.iam.evaluate import Question
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.policy import Binding, Condition, Policy
from mlgate.core.names import parent_of

PEOPLE = ("user:ann@x.org", "user:bob@x.org", "user:cy@x.org", "serviceAccount:s@p.iam.gserviceaccount.com")
GROUPS = tuple(f"group:g{i}@x.org" for i in range(6))
EVERYBODY = ("allUsers", "allAuthenticatedUsers")
GONE = ("deleted:user:ann@x.org?uid=1", "deleted:group:g0@x.org?uid=2")
ODD = ("", "user:", "group:", "USER:ann@x.org", "ann@x.org", "domain:x.org", "anonymous", "projectOwner:p", "all Users")
CALLERS = (*PEOPLE, *PEOPLE, "anonymous")
ODD_CALLERS = (*GONE, *ODD, *EVERYBODY, GROUPS[0], "user:nobody@x.org")

PERMISSIONS = ("ml.models.get", "ml.models.predict", "ml.versions.predict", "ml.jobs.cancel", "ml.models.setIamPolicy")
NO_SUCH_PERMISSION = "ml.models.fly"
PREDEFINED = {
    "roles/ml.viewer": ("ml.models.get",),
    "roles/ml.modelUser": ("ml.models.get", "ml.models.predict", "ml.versions.predict"),
    "roles/ml.jobOwner": ("ml.jobs.cancel",),
    "roles/owner": PERMISSIONS,
}
CUSTOM = ("projects/p/roles/a", "projects/q/roles/b", "organizations/1/roles/c")
ROLES = (*PREDEFINED, *CUSTOM, "roles/no.such")

TOPS = ("organizations/1", "folders/2", "folders/3")
ROOTS = ("projects/p", "projects/q", "buckets/b")
INNER = ("projects/p/models/m", "projects/p/models/n", "projects/q/models/m", "projects/p/jobs/j", "projects/q/jobs/j")
LEAVES = (
    "projects/p/models/m/versions/v",
    "projects/p/models/m/versions/w",
    "projects/q/models/m/versions/v",
    "projects/p/operations/o",
    "projects/p/locations/l/studies/s",
    "projects/p/locations/l/studies/s/trials/1",
    "projects/p/locations/l",
    "buckets/b/objects/o",
)
ODD_PLACES = ("", "projects", "projects/p/models", "projects/p/models/m/", "/", "projects/nowhere/models/m")
PLACES = (*TOPS, *ROOTS, *INNER, *LEAVES)

#: Eight in the morning, UTC, of a day; a history starts here, and lasts at most `LONGEST` seconds.
START, LONGEST = 1_800_000_000.0, 1000
#: Each expression with what it says of (resource, time, modified roles), written by hand; None is an error.
CONDITIONS: dict[str, Callable[[str, float, Collection[str]], bool | None]] = {
    "true": lambda resource, at, modified: True,
    "false": lambda resource, at, modified: False,
    "1 / 0 == 1": lambda resource, at, modified: None,
    "no such CEL": lambda resource, at, modified: None,
    "resource.name": lambda resource, at, modified: None,
    'request.time.getHours("Mars/Olympus") < 5': lambda resource, at, modified: None,
    'request.time < timestamp("2027-01-15T08:05:00Z")': lambda resource, at, modified: at < START + 300,
    'request.time < timestamp("2027-01-15T09:10:00.5+01:00")': lambda resource, at, modified: at < START + 600.5,
    'request.time >= timestamp("2027-01-15T08:08:00Z")': lambda resource, at, modified: at >= START + 480,
    'resource.name.startsWith("projects/p/models/")': lambda resource, at, modified: resource.startswith(
        "projects/p/models/"
    ),
    'resource.type == "ml.googleapis.com/Version"': lambda resource, at, modified: "/versions/" in resource,
    'resource.service == "storage.googleapis.com"': lambda resource, at, modified: resource.startswith("buckets/"),
    'resource.name.extract("models/{m}/versions") == "m"': lambda resource, at, modified: (
        "models/m/versions" in resource
    ),
    'api.getAttribute("iam.googleapis.com/modifiedGrantsByRole", []).hasOnly(["roles/ml.modelUser"])': (
        lambda resource, at, modified: set(modified) <= {"roles/ml.modelUser"}
    ),
    'resource.type == "ml.googleapis.com/Model" || 1 / 0 == 1': lambda resource, at, modified: (
        True if resource.count("/") == 3 and "/models/" in resource else None
    ),
}
EXPRESSIONS = tuple(CONDITIONS)
PATTERNS = (*PERMISSIONS, "ml.models.*", "ml.*.predict", "*.*.*", "ml.jobs.*", "storage.*.*", "ml.*", "")


@dataclass(slots=True)
class SmallWorld:
    """A world that `evaluate.decide` can read, as plain dicts."""

    roles: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(PREDEFINED))
    policies: dict[str, Policy] = field(default_factory=dict)
    groups: dict[str, dict[str, float | None]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    deny: dict[str, tuple[DenyPolicy, ...]] = field(default_factory=dict)

    def policy(self, resource: str) -> Policy | None:
        return self.policies.get(resource)

    def denials(self, resource: str) -> tuple[DenyPolicy, ...]:
        return self.deny.get(resource, ())

    def parent(self, resource: str) -> str | None:
        return self.parents[resource] if resource in self.parents else parent_of(resource)

    def permissions(self, role: str) -> tuple[str, ...]:
        return self.roles.get(role, ())

    def members(self, group: str) -> dict[str, float | None]:
        return self.groups.get(group, {})

    def index(self) -> AccessIndex:
        """The world, compiled at once."""
        index = AccessIndex(self.roles)
        for resource, policy in self.policies.items():
            index.set_policy(resource, policy)
        for group, members in self.groups.items():
            index.set_group(group, members)
        for resource, parent in self.parents.items():
            index.set_parent(resource, parent)
        for resource, policies in self.deny.items():
            index.set_denials(resource, policies)
        return index


@dataclass(frozen=True, slots=True)
class Change:
    """One change, applied to a world and an index alike. A value of None takes the entry away."""

    what: Literal["role", "policy", "group", "parent", "denials"]
    name: str
    value: Any

    def apply(self, world: SmallWorld, index: AccessIndex) -> None:
        tables: dict[str, dict[str, Any]] = {
            "role": world.roles,
            "policy": world.policies,
            "group": world.groups,
            "parent": world.parents,
            "denials": world.deny,
        }
        if self.value is None:
            tables[self.what].pop(self.name, None)
        else:
            tables[self.what][self.name] = self.value
        getattr(index, f"set_{self.what}")(self.name, self.value)


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to which every implementation must give the same answer."""

    principal: str
    permission: str
    resource: str
    at: float = START
    modified: tuple[str, ...] = ()

    @property
    def question(self) -> Question:
        return Question(self.principal, self.permission, self.resource, self.at, self.modified)

    def of(self, index: AccessIndex) -> bool:
        """The answer of the index."""
        return index.is_allowed(self.principal, self.permission, self.resource, self.at, self.modified)


Step = Change | Ask


def question(rng: random.Random) -> Ask:
    callers = CALLERS if rng.random() < 0.9 else ODD_CALLERS
    places = PLACES if rng.random() < 0.95 else ODD_PLACES
    modified = tuple(rng.sample(("roles/ml.modelUser", "roles/ml.viewer"), rng.choice((0, 0, 1, 2))))
    return Ask(rng.choice(callers), rng.choice((*PERMISSIONS, NO_SUCH_PERMISSION)), rng.choice(places), START, modified)


def change(rng: random.Random) -> Change:
    what = rng.choices(("policy", "group", "parent", "role", "denials"), (12, 6, 2, 3, 0.7))[0]
    gone = rng.random() < 0.15
    if what == "policy":
        return Change("policy", rng.choice(PLACES), None if gone else policy(rng))
    if what == "group":
        name = rng.choice(GROUPS) if rng.random() < 0.97 else rng.choice(PEOPLE + ODD)
        return Change("group", name, None if gone else {member: end(rng) for member in some_members(rng)})
    if what == "denials":
        place = rng.choice(TOPS + ROOTS[:2]) if rng.random() < 0.9 else rng.choice(PLACES)
        return Change("denials", place, None if gone else tuple(deny(rng) for _ in range(rng.randint(1, 2))))
    if what == "parent":
        place, parent = rng.choice(ROOTS + TOPS if rng.random() < 0.9 else PLACES), rng.choice(TOPS + ROOTS)
        return Change("parent", place, None if gone else parent)
    some = tuple(rng.sample(PERMISSIONS, rng.randint(0, 3)))
    return Change("role", rng.choice(CUSTOM if rng.random() < 0.9 else ROLES), None if gone else some)


def policy(rng: random.Random) -> Policy:
    return Policy(tuple(binding(rng) for _ in range(rng.randint(0, 3))))


def binding(rng: random.Random) -> Binding:
    return Binding(rng.choice(ROLES), some_members(rng), condition(rng))


def condition(rng: random.Random) -> Condition | None:
    return Condition(rng.choice(EXPRESSIONS)) if rng.random() < 0.25 else None


def end(rng: random.Random) -> float | None:
    return START + rng.randint(-10, LONGEST * 3 // 2) if rng.random() < 0.2 else None


def deny(rng: random.Random) -> DenyPolicy:
    return DenyPolicy(rng.choice("ab"), tuple(deny_rule(rng) for _ in range(rng.randint(1, 2))))


def deny_rule(rng: random.Random) -> DenyRule:
    exceptions = some_members(rng) if rng.random() < 0.4 else ()
    spared = (rng.choice(PATTERNS),) if rng.random() < 0.3 else ()
    return DenyRule(some_members(rng), (rng.choice(PATTERNS),), exceptions, spared, condition(rng))


def some_members(rng: random.Random) -> tuple[str, ...]:
    pools, weights = (PEOPLE, GROUPS, EVERYBODY, GONE, ODD), (10, 10, 0.5, 1, 1)
    return tuple(rng.choice(rng.choices(pools, weights)[0]) for _ in range(rng.randint(0, 4)))


def history(seed: int, changes: int = 30, questions: int = 20) -> list[Step]:
    """Changes, with questions between the later ones; every other question has been asked before, some time ago."""
    rng = random.Random(f"world {seed}")
    steps: list[Step] = [change(rng) for _ in range(changes // 2)]
    asked: list[Ask] = []
    at = START
    while len(asked) < questions:
        at += rng.choice((0, 0.5, LONGEST / questions))
        asked.append(replace(rng.choice(asked) if asked and rng.random() < 0.5 else question(rng), at=at))
        steps.append(asked[-1])
        if rng.random() < changes / 2 / questions:
            steps.append(change(rng))
    return steps


def made_by(steps: Iterable[Step]) -> tuple[SmallWorld, AccessIndex]:
    """The world at the end of a history, and the index that followed it there."""
    world = SmallWorld()
    index = AccessIndex(world.roles)
    for step in steps:
        if isinstance(step, Change):
            step.apply(world, index)
        else:
            step.of(index)
    return world, index


def shrunk(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """A history that still fails, from which nothing more can be left out."""
    current = list(steps)
    while smaller := next((less for less in smaller_histories(current) if fails(less)), None):
        current = smaller
    return current


def smaller_histories(steps: list[Step]) -> Iterator[list[Step]]:
    for size in (8, 1):
        for i in range(0, len(steps), size):
            yield steps[:i] + steps[i + size :]
    for i, step in enumerate(steps):
        if isinstance(step, Change):
            for value in smaller_values(step.value):
                yield [*steps[:i], replace(step, value=value), *steps[i + 1 :]]


def smaller_values(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from (value[:i] + value[i + 1 :] for i in range(len(value)))
    elif isinstance(value, dict):
        yield from ({k: v for k, v in value.items() if k != key} for key in value)
        yield from (value | {key: None} for key, end in value.items() if end is not None)
    elif isinstance(value, Policy):
        for i, one in enumerate(value.bindings):
            rest = value.bindings[:i], value.bindings[i + 1 :]
            yield Policy((*rest[0], *rest[1]))
            for members in smaller_values(one.members):
                yield Policy((*rest[0], replace(one, members=members), *rest[1]))
            if one.condition:
                yield Policy((*rest[0], replace(one, condition=None), *rest[1]))


def as_yaml(steps: Iterable[Step]) -> str:
    """The history as YAML, ready to become a case."""
    plain = [{step.what: step.name, "to": step.value} if isinstance(step, Change) else {"ask": step} for step in steps]
    return yaml.safe_dump(json.loads(json.dumps(plain, default=as_data)), sort_keys=False, width=120)


def as_data(value: Any) -> Any:
    if isinstance(value, Policy):
        return [{k: v for k, v in asdict(binding).items() if v} for binding in value.bindings]
    return asdict(value)
