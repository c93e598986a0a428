"""Case files: a small world of policies, and requests in it -> allow or deny, and why. One short YAML file an idea.

    why: which requirement says so
    models: {projects/p/models/m: ada}         who created it, and so owns it
    roles: {projects/p/roles/x: [ml.models.predict]}
    groups: {group:team@example.com: [bob]}
    policies: {projects/p: {roles/ml.viewer: [vera]}}
    steps:
      - vera GET projects/p/models/m -> allow
      - set: {groups: {group:team@example.com: []}}
      - set: {policies: {projects/p/models/m: {}}}
        by: ada                                 over HTTP, this person sets it (else the project's owner, ada)
      - ask: dora POST projects/p/jobs -> deny
        body: {...}                             sent over HTTP, where the call is then made for real
        also: {any: [ml.models.predict], at: projects/q/models/m}    what the resource that the body names needs
        shows: text                             what the answer over HTTP holds

A name without a colon is `user:NAME@example.com`. `allow` and `deny` are tried with `?nope=1`, which is read after
authorization and refused with 400, so nothing is changed; a number as the expectation makes the call for real.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.iam.principals import parse_member
from mlgate.core.names import project_of

HERE = Path(__file__).parent
_ASK = re.compile(r"(\S+) ([A-Z]+) (\S+) -> (allow|deny|\d{3})")


def member(name: str) -> str:
    return name if ":" in name or name in ("allUsers", "allAuthenticatedUsers") else f"user:{name}@example.com"


def members(names: list[str]) -> tuple[str, ...]:
    return tuple(map(member, names))


def policy_of(plain: Mapping[str, list[str]]) -> Policy:
    """The policy as it is stored: the API puts addresses in lower case."""
    bound = {role: tuple(map(parse_member, members(names))) for role, names in plain.items() if names}
    return Policy(tuple(Binding(role, canonical) for role, canonical in bound.items()))


@dataclass(frozen=True)
class Facts:
    """Policies, custom roles and groups: all of the world, or those that change. A value of None takes one away."""

    policies: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    roles: dict[str, list[str] | None] = field(default_factory=dict)
    groups: dict[str, list[str] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    line: str
    who: str
    http: str
    path: str
    expect: str
    body: Any = None
    also: Mapping[str, Any] | None = None
    shows: str = ""

    @property
    def is_allowed(self) -> bool:
        return self.expect not in ("deny", "401", "403")


@dataclass(frozen=True)
class Set:
    facts: Facts
    by: str | None = None


@dataclass(frozen=True)
class Case:
    name: str
    why: str
    models: dict[str, str]
    facts: Facts
    steps: tuple[Ask | Set, ...]

    @property
    def projects(self) -> set[str]:
        named = (*self.models, *self.facts.policies, *(s.path for s in self.steps if isinstance(s, Ask)))
        return {project.partition(":")[0] for name in named if (project := project_of(name))}


def read(path: Path) -> Case:
    """The case of a file. Raises when a key of it is misspelt."""
    plain = yaml.safe_load(path.read_text())
    steps = tuple(map(_step, plain.pop("steps")))
    return Case(path.stem, plain.pop("why"), plain.pop("models", {}), Facts(**plain), steps)


def all_cases() -> list[Case]:
    return [read(path) for path in sorted(HERE.glob("*.yaml"))]


def _step(plain: Any) -> Ask | Set:
    if isinstance(plain, str):
        plain = {"ask": plain}
    if "set" in plain:
        return Set(Facts(**plain.pop("set")), **plain)
    line = plain.pop("ask")
    match = _ASK.fullmatch(line)
    assert match, f"{line!r} is not WHO VERB PATH -> allow, deny or a status"
    who, http, path, expect = match.groups()
    return Ask(line, member(who), http, path, expect, **plain)
