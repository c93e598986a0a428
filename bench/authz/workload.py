"""A world of projects, models, groups and policies, with questions, their right answers, and changes to make.

The same seed makes the same world everywhere. A *binding* is counted as one (resource, role, member). People share
projects, projects share models unevenly, a few models are shared with everybody, groups nest three deep; half of the
questions are answered yes. Each size comes in two kinds:

    plain   bindings and groups, and nothing else
    full    the same, and 5 % of the bindings have a condition (half an end), one membership in ten ends (half of
            them has ended), and the projects are in an organization with a policy and a deny policy

Right answers come from `evaluate.decide`, the rule as it is written, which prepares nothing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mlgate.core.iam.conditions import until
from mlgate.core.iam.deny import DenyPolicy, DenyRule
from mlgate.core.iam.evaluate import Decision, decide
from mlgate.core.iam.evaluate import Question as Asked
from mlgate.core.iam.policy import Binding, Condition, Policy
from mlgate.core.names import ORGANIZATION

Question = tuple[str, str, str]

#: The moment of every question, in seconds since 1970.
NOW = datetime(2027, 1, 15, 10, tzinfo=UTC).timestamp()
DAY = 86400
PREDICT = "ml.models.predict"
ANONYMOUS = "anonymous"
SHARED_WITH_ALL = (("allUsers", 0.0008), ("allAuthenticatedUsers", 0.0008))

_READ_PROJECT = "resourcemanager.projects.get ml.projects.getConfig"
_STUDIES = "ml.studies.create ml.studies.delete ml.studies.get ml.studies.list"
_TRIALS = "ml.trials.create ml.trials.update ml.trials.delete ml.trials.get"
_JOBS = "ml.jobs.create ml.jobs.list ml.jobs.get ml.jobs.getIamPolicy"
_OPERATIONS = "ml.operations.list ml.operations.get"
_USE_MODEL = "ml.models.get ml.models.predict ml.versions.list ml.versions.get ml.versions.predict"
_OWN_MODEL = (
    "ml.models.getIamPolicy ml.models.setIamPolicy ml.models.delete ml.models.update "
    "ml.versions.create ml.versions.delete"
)
_READ = (
    f"{_READ_PROJECT} ml.studies.get ml.studies.list ml.trials.get ml.jobs.list ml.jobs.get {_OPERATIONS} "
    "ml.models.list ml.models.get ml.versions.list ml.versions.get"
)
_DEVELOP = (
    f"{_READ_PROJECT} {_STUDIES} {_TRIALS} {_JOBS} {_OPERATIONS} {_USE_MODEL} "
    "ml.models.create ml.models.list ml.models.getIamPolicy"
)
_ADMINISTER = f"{_DEVELOP} {_OWN_MODEL} ml.jobs.setIamPolicy ml.jobs.cancel ml.operations.cancel"

ROLES: dict[str, frozenset[str]] = {
    role: frozenset(permissions.split())
    for role, permissions in {
        "roles/owner": _ADMINISTER,
        "roles/editor": _ADMINISTER,
        "roles/viewer": f"{_READ} ml.models.predict ml.versions.predict",
        "roles/ml.admin": _ADMINISTER,
        "roles/ml.developer": _DEVELOP,
        "roles/ml.viewer": _READ,
        "roles/ml.modelOwner": f"{_USE_MODEL} {_OWN_MODEL}",
        "roles/ml.modelUser": _USE_MODEL,
        "projects/p0/roles/predictOnly": "ml.models.predict ml.versions.predict",
    }.items()
}
PROJECT_ROLES = {
    "roles/ml.admin": 2,
    "roles/ml.developer": 6,
    "roles/ml.viewer": 8,
    "roles/owner": 1,
    "roles/editor": 1,
    "roles/viewer": 3,
}
MODEL_ROLES = {"roles/ml.modelUser": 0.85, "roles/ml.modelOwner": 0.12, "projects/p0/roles/predictOnly": 0.03}
#: What is asked of a name of two, four or six segments: a project, a model, a version.
ASKED = {
    2: f"{_READ_PROJECT} ml.models.list ml.models.create ml.jobs.create ml.jobs.list ml.studies.create ml.studies.list",
    4: f"ml.models.get {'ml.models.predict ' * 3} ml.models.update ml.models.delete ml.models.getIamPolicy "
    "ml.models.setIamPolicy ml.versions.create ml.versions.list",
    6: f"ml.versions.get {'ml.versions.predict ' * 3} ml.versions.delete",
}


@dataclass(frozen=True, slots=True)
class Size:
    projects: int
    models: int
    users: int
    groups: int
    service_accounts: int
    bindings: int
    questions: int


SIZES = {
    "1k": Size(5, 100, 200, 20, 20, 1_000, 4_000),
    "10k": Size(20, 1_000, 1_000, 100, 100, 10_000, 10_000),
    "100k": Size(100, 10_000, 5_000, 500, 500, 100_000, 20_000),
    "1M": Size(1_000, 100_000, 50_000, 5_000, 5_000, 1_000_000, 50_000),
}
KINDS = ("plain", "full")
VERSIONS_OF_A_MODEL = 3
CHANGES = 100
LISTINGS = 400
CONDITIONAL, ENDING = 0.05, 0.10


@dataclass(frozen=True, slots=True)
class Limit:
    """What a condition of these worlds says, for engines that do not read its expression. One of the three is set."""

    end: float | None = None
    prefix: str = ""
    type: str = ""

    @property
    def expression(self) -> str:
        if self.end is not None:
            return until(datetime.fromtimestamp(self.end, UTC))
        if self.prefix:
            return f'resource.name.startsWith("{self.prefix}")'
        return f'resource.type == "{self.type}"'


@dataclass(slots=True)
class World:
    """All that an engine is given; also a world that `evaluate.decide` reads.

    `limits` tells of each expression what it says. `changes` are members who may not predict on a model yet. `listings`
    are callers and projects, and the models there on which the caller may predict.
    """

    roles: Mapping[str, Collection[str]]
    policies: dict[str, Policy] = field(default_factory=dict)
    groups: dict[str, dict[str, float | None]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    deny: dict[str, tuple[DenyPolicy, ...]] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)
    models: dict[str, list[str]] = field(default_factory=dict)
    users: list[str] = field(default_factory=list)
    bindings: int = 0
    questions: dict[Question, bool] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    listings: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def chain(self, resource: str) -> list[str]:
        """The resource and its ancestors: version, model, project, organization."""
        segments = resource.split("/")
        places = ["/".join(segments[:n]) for n in range(len(segments), 0, -2)]
        return [*places, self.parents[places[-1]]] if places[-1] in self.parents else places

    def may(self, principal: str, permission: str, resource: str) -> bool:
        return decide(self, Asked(principal, permission, resource, NOW)).allowed

    def policy(self, resource: str) -> Policy | None:
        return self.policies.get(resource)

    def denials(self, resource: str) -> Sequence[DenyPolicy]:
        return self.deny.get(resource, ())

    def parent(self, resource: str) -> str | None:
        return next(iter(self.chain(resource)[1:]), None)

    def permissions(self, role: str) -> Collection[str]:
        return self.roles[role]

    def members(self, group: str) -> Mapping[str, float | None]:
        return self.groups.get(group, {})


class Maker:
    """Makes one world; each method adds a part of it."""

    def __init__(self, size: Size, kind: str, seed: int) -> None:
        self.size = size
        self.kind = kind
        self.rng = random.Random(f"authz {seed} {size}")
        self.projects = [f"projects/p{i}" for i in range(size.projects)]
        self.users = [f"user:u{i}@example.com" for i in range(size.users)]
        self.accounts = [
            f"serviceAccount:s{i}@p{i % size.projects}.iam.gserviceaccount.com" for i in range(size.service_accounts)
        ]
        self.group_names = [f"group:g{i}@example.com" for i in range(size.groups)]
        self.models: dict[str, list[str]] = {project: [] for project in self.projects}
        self.given: dict[str, dict[str, dict[str, None]]] = {}
        self.world = World(ROLES, models=self.models, users=self.users)

    def make(self) -> World:
        self.add_models()
        self.add_groups()
        self.add_bindings()
        if self.kind == "full":
            self.end_memberships()
            self.add_conditions()
            self.add_organization()
        self.add_questions()
        self.add_changes()
        self.add_listings()
        return self.world

    def home_users(self, project: int) -> list[str]:
        return self.users[project :: self.size.projects]

    def home_groups(self, project: int) -> list[str]:
        return self.group_names[project :: self.size.projects]

    def add_models(self) -> None:
        for i in range(self.size.models):
            uneven = int(self.size.projects * self.rng.random() ** 2)
            project = self.projects[i % self.size.projects if self.rng.random() < 0.7 else uneven]
            self.models[project].append(f"{project}/models/m{i}")

    def add_groups(self) -> None:
        """Seven in ten hold people, two hold those groups, and the last hold groups of groups."""
        rng, names = self.rng, self.group_names
        first, second = int(len(names) * 0.70), int(len(names) * 0.92)
        for i, name in enumerate(names):
            home = self.home_users(i % self.size.projects)
            people = rng.sample(home, min(len(home), rng.randint(3, 25))) + rng.choices(self.users, k=3)
            if i < first:
                members = people + rng.choices(self.accounts, k=rng.randint(0, 2))
            else:
                lower = names[:first] if i < second else names[first:second]
                members = rng.sample(lower, min(len(lower), rng.randint(2, 5))) + people[: rng.randint(0, 4)]
            self.world.groups[name] = dict.fromkeys(members)

    def add_bindings(self) -> None:
        rng = self.rng
        for home, project in enumerate(self.projects):
            for role, count in PROJECT_ROLES.items():
                for _ in range(count):
                    self.give(project, role, self.someone(home))
        every = [(model, home) for home, project in enumerate(self.projects) for model in self.models[project]]
        for model, home in every:
            self.give(model, "roles/ml.modelOwner", rng.choice(self.home_users(home)))
        roles, weights = list(MODEL_ROLES), list(MODEL_ROLES.values())
        while self.world.bindings < self.size.bindings:
            model, home = every[int(len(every) * rng.random() ** 1.5)]
            self.give(model, rng.choices(roles, weights)[0], self.someone_or_all(home))
        for resource, by_role in self.given.items():
            bindings = (Binding(role, tuple(members)) for role, members in by_role.items())
            self.world.policies[resource] = Policy(tuple(bindings))

    def give(self, resource: str, role: str, member: str) -> None:
        members = self.given.setdefault(resource, {}).setdefault(role, {})
        self.world.bindings += member not in members
        members[member] = None

    def someone(self, home: int) -> str:
        rng, x = self.rng, self.rng.random()
        if x < 0.55:
            return rng.choice(self.home_users(home) if rng.random() < 0.6 else self.users)
        if x < 0.80:
            near = self.home_groups(home)
            return rng.choice(near if near and rng.random() < 0.6 else self.group_names)
        return rng.choice(self.accounts)

    def someone_or_all(self, home: int) -> str:
        x = self.rng.random()
        for member, share in SHARED_WITH_ALL:
            if x < share:
                return member
            x -= share
        return self.someone(home)

    def end_memberships(self) -> None:
        for members in self.world.groups.values():
            for member in members:
                if self.rng.random() < ENDING:
                    members[member] = self.some_end()

    def some_end(self) -> float:
        """Some second of the last ninety days or the next."""
        return NOW + self.rng.randrange(-90 * DAY, 90 * DAY) + 1

    def add_conditions(self) -> None:
        """Each member that gets one leaves its binding for one of its own."""
        for resource, policy in self.world.policies.items():
            bindings: list[Binding] = []
            for binding in policy.bindings:
                chosen = [member for member in binding.members if self.rng.random() < CONDITIONAL]
                bindings += [Binding(binding.role, (member,), self.some_condition(resource)) for member in chosen]
                rest = tuple(member for member in binding.members if member not in chosen)
                bindings += [replace(binding, members=rest)] if rest else []
            self.world.policies[resource] = Policy(tuple(bindings), version=3)

    def some_condition(self, resource: str) -> Condition:
        below = f"versions/v{self.rng.randrange(VERSIONS_OF_A_MODEL)}" if "/models/" in resource else "models/m1"
        kinds = {
            Limit(end=self.some_end()): 0.50,
            Limit(prefix=f"{resource}/{below}"): 0.25,
            Limit(type="ml.googleapis.com/Version"): 0.25,
        }
        limit = self.rng.choices(list(kinds), list(kinds.values()))[0]
        self.world.limits[limit.expression] = limit
        return Condition(limit.expression, title="limited")

    def add_organization(self) -> None:
        """Above all projects: a few who see everything, and what contractors and strangers never do."""
        rng, world = self.rng, self.world
        world.parents.update(dict.fromkeys(self.projects, ORGANIZATION))
        auditors = Binding("roles/ml.viewer", tuple(rng.sample(self.users, 3)))
        world.policies[ORGANIZATION] = Policy((auditors, Binding("roles/owner", (rng.choice(self.users),))))
        world.bindings += 4
        contractors, trusted = rng.sample(self.group_names[-max(2, len(self.group_names) // 12) :], 2)
        first = Limit(prefix=f"{self.projects[0]}/")
        world.limits[first.expression] = first
        world.deny[ORGANIZATION] = (
            DenyPolicy(
                "guard-rails",
                (
                    DenyRule((contractors,), ("ml.models.delete", "ml.models.setIamPolicy"), (trusted,)),
                    DenyRule(("allUsers",), ("ml.versions.*",), ("allAuthenticatedUsers",)),
                    DenyRule((contractors,), ("ml.*.predict",), (), (), Condition(first.expression, "first project")),
                ),
            ),
        )

    def add_questions(self) -> None:
        """Likely and unlikely ones, until there are as many of either answer as are wanted; all different."""
        policies = list(self.world.policies)
        found: dict[bool, dict[Question, bool]] = defaultdict(dict)
        while min(len(found[True]), len(found[False])) < self.size.questions // 2:
            question = self.likely(policies) if self.rng.random() < 0.5 else self.unlikely()
            answer = self.world.may(*question)
            if len(found[answer]) < self.size.questions // 2:
                found[answer][question] = answer
        mixed = [*found[True].items(), *found[False].items()]
        self.rng.shuffle(mixed)
        self.world.questions = dict(mixed)

    def likely(self, policies: list[str]) -> Question:
        """By somebody whom a binding names, directly or through groups, at the binding's resource or below."""
        rng = self.rng
        resource = rng.choice(self.projects) if rng.random() < 0.4 else rng.choice(policies)
        who = rng.choice(rng.choice(self.world.policies[resource].bindings).members)
        while who.startswith("group:"):
            who = rng.choice(list(self.world.groups[who]))
        if who.startswith("all"):
            who = ANONYMOUS if who == "allUsers" and rng.random() < 0.5 else rng.choice(self.users)
        return self.about(who, resource)

    def unlikely(self) -> Question:
        rng = self.rng
        if rng.random() < 0.02:
            return self.about(ANONYMOUS, rng.choice(self.projects))
        i = rng.randrange(len(self.users))
        who = self.users[i] if rng.random() < 0.8 else rng.choice(self.accounts)
        home = self.projects[i % self.size.projects]
        return self.about(who, home if rng.random() < 0.5 else rng.choice(self.projects))

    def about(self, who: str, resource: str) -> Question:
        rng = self.rng
        if resource in self.models and self.models[resource] and rng.random() < 0.85:
            resource = rng.choice(self.models[resource])
        if "/models/" in resource and rng.random() < 0.5:
            resource = f"{resource}/versions/v{rng.randrange(VERSIONS_OF_A_MODEL)}"
        return who, rng.choice(ASKED[resource.count("/") + 1].split()), resource

    def add_changes(self) -> None:
        while len(self.world.changes) < CHANGES:
            user, models = self.rng.choice(self.users), self.models[self.rng.choice(self.projects)]
            model = self.rng.choice(models) if models else ""
            if model and decide(self.world, Asked(user, PREDICT, model, NOW)) == Decision(False):  # and none denies
                self.world.changes.append((model, user))

    def add_listings(self) -> None:
        """Seven in ten about the project in which the caller is at home."""
        for _ in range(min(LISTINGS, len(self.users))):
            i = self.rng.randrange(len(self.users))
            home = self.projects[i % len(self.projects)]
            project = home if self.rng.random() < 0.7 else self.rng.choice(self.projects)
            models = sorted(model for model in self.models[project] if self.world.may(self.users[i], PREDICT, model))
            self.world.listings[self.users[i], project] = models


def make_world(size: str, kind: str, seed: int = 7) -> World:
    return Maker(SIZES[size], kind, seed).make()
