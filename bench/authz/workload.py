"""A world of projects, models, groups and policies, with questions, their right answers, and changes to make.

The same seed makes the same world everywhere. A *binding* is counted as one (resource, role, member). People share
projects, projects share models unevenly, a few models are shared with everybody, groups nest three deep; half of the
questions are answered yes. Right answers come from `Reference`, which reads the rule straight off the data.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mlgate.core.iam.policy import Binding, Policy

Question = tuple[str, str, str]

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
    "small": Size(5, 100, 200, 20, 20, 1_000, 4_000),
    "medium": Size(100, 10_000, 5_000, 500, 500, 100_000, 20_000),
    "large": Size(1_000, 100_000, 50_000, 5_000, 5_000, 1_000_000, 50_000),
}
VERSIONS_OF_A_MODEL = 3
CHANGES = 100


@dataclass(slots=True)
class World:
    """All that an engine is given. `changes` are members who may not predict on a model yet."""

    roles: Mapping[str, Collection[str]]
    policies: dict[str, Policy] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    bindings: int = 0
    questions: dict[Question, bool] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)


def chain(resource: str) -> list[str]:
    """The resource and its ancestors: version, model, project."""
    segments = resource.split("/")
    return ["/".join(segments[:n]) for n in range(len(segments), 0, -2)]


class Reference:
    """The rule, read straight off the data, with nothing prepared."""

    def __init__(self, world: World) -> None:
        self._world = world

    def may(self, principal: str, permission: str, resource: str) -> bool:
        for place in chain(resource):
            policy = self._world.policies.get(place)
            for binding in policy.bindings if policy else ():
                if permission not in self._world.roles[binding.role]:
                    continue
                if any(self._contains(member, principal, ()) for member in binding.members):
                    return True
        return False

    def _contains(self, member: str, principal: str, through: tuple[str, ...]) -> bool:
        if member in (principal, "allUsers"):
            return True
        if member == "allAuthenticatedUsers":
            return principal != ANONYMOUS
        if not member.startswith("group:") or member in through:
            return False
        return any(self._contains(m, principal, (*through, member)) for m in self._world.groups.get(member, ()))


class Maker:
    """Makes one world; each method adds a part of it."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size = size
        self.rng = random.Random(f"authz {seed} {size}")
        self.projects = [f"projects/p{i}" for i in range(size.projects)]
        self.users = [f"user:u{i}@example.com" for i in range(size.users)]
        self.accounts = [
            f"serviceAccount:s{i}@p{i % size.projects}.iam.gserviceaccount.com" for i in range(size.service_accounts)
        ]
        self.group_names = [f"group:g{i}@example.com" for i in range(size.groups)]
        self.models: dict[str, list[str]] = {project: [] for project in self.projects}
        self.given: dict[str, dict[str, dict[str, None]]] = {}
        self.world = World(ROLES)

    def make(self) -> World:
        self.add_models()
        self.add_groups()
        self.add_bindings()
        self.add_questions()
        self.add_changes()
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
            self.world.groups[name] = tuple(dict.fromkeys(members))

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

    def add_questions(self) -> None:
        """Likely and unlikely ones, until there are as many of either answer as are wanted; all different."""
        reference, policies = Reference(self.world), list(self.world.policies)
        found: dict[bool, dict[Question, bool]] = defaultdict(dict)
        while min(len(found[True]), len(found[False])) < self.size.questions // 2:
            question = self.likely(policies) if self.rng.random() < 0.5 else self.unlikely()
            answer = reference.may(*question)
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
            who = rng.choice(self.world.groups[who])
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
        reference = Reference(self.world)
        while len(self.world.changes) < CHANGES:
            user, models = self.rng.choice(self.users), self.models[self.rng.choice(self.projects)]
            model = self.rng.choice(models) if models else ""
            if model and not reference.may(user, "ml.models.predict", model):
                self.world.changes.append((model, user))


def make_world(size: str, seed: int = 7) -> World:
    return Maker(SIZES[size], seed).make()
