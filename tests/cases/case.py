"""Case files: a small world of policies, and requests in it -> allow or deny, and why. One short YAML file an idea.

    why: which requirement says so
    folders: {folders/f: organizations/1, projects/p: folders/f}    what stands in which; folders first
    models: {projects/p/models/m: ada}         who created it, and so owns it
    roles: {projects/p/roles/custom: [ml.models.predict]}
    groups: {group:team@example.com: [bob, carl for 2]}    a membership may end after some seconds
    policies:
      projects/p: {roles/ml.viewer: [vera], roles/ml.jobOwner for 2: [bob], roles/ml.admin if CONDITION: [vera]}
    deny: {projects/p: [{who: [bob], but: [carl], what: [ml.models.predict], except: [...], if: CONDITION}]}
    steps:
      - vera GET projects/p/models/m -> allow
      - set: {groups: {group:team@example.com: []}}
      - set: {policies: {projects/p/models/m: {}}}
        by: ada                                 over HTTP, this person sets it (else the project's owner, ada)
        denied: true                            and may not, so that nothing changes; skipped in the core
      - wait: 2.5                               seconds
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from mlgate.core.iam.deny import DenyPolicy, DenyRule
from mlgate.core.iam.policy import Binding, Condition, Policy
from mlgate.core.iam.principals import parse_member
from mlgate.core.names import project_of

HERE = Path(__file__).parent
_FOR = re.compile(r"(\S+) for ([\d.]+)")
_ASK = re.compile(r"(\S+) ([A-Z]+) (\S+) -> (allow|deny|\d{3})")


def member(name: str) -> str:
    return name if ":" in name or name in ("allUsers", "allAuthenticatedUsers") else f"user:{name}@example.com"


def members(names: list[str]) -> tuple[str, ...]:
    return tuple(map(member, names))


def policy_of(plain: Mapping[str, list[str]], at: float) -> Policy:
    """The policy as it is stored at that time: the API puts addresses in lower case."""
    bindings = []
    for given, names in plain.items():
        role, condition = binding_of(given, at)
        if names:
            bindings.append(Binding(role, tuple(map(parse_member, members(names))), condition))
    return Policy(tuple(bindings))


def binding_of(given: str, at: float) -> tuple[str, Condition | None]:
    """The role and the condition of `ROLE`, `ROLE if EXPRESSION` or `ROLE for SECONDS`."""
    if match := _FOR.fullmatch(given):
        end = datetime.fromtimestamp(at + float(match.group(2)), UTC).isoformat(timespec="milliseconds")
        return match.group(1), Condition(f'request.time < timestamp("{end.replace("+00:00", "Z")}")', "expires")
    role, _, expression = given.partition(" if ")
    return role, condition_of(expression)


def condition_of(expression: str | None) -> Condition | None:
    return Condition(expression, "a condition") if expression else None


def memberships(names: list[str], at: float) -> dict[str, float | None]:
    """Who is in a group, and until when."""
    found: dict[str, float | None] = {}
    for name in names:
        match = _FOR.fullmatch(name)
        found[member(match.group(1) if match else name)] = at + float(match.group(2)) if match else None
    return found


def deny_of(plain: list[dict[str, Any]]) -> tuple[DenyPolicy, ...]:
    """One deny policy with these rules."""
    rules = tuple(
        DenyRule(
            members(rule["who"]), tuple(rule["what"]), members(rule.get("but", [])), tuple(rule.get("except", ())),
            condition_of(rule.get("if")),
        )
        for rule in plain
    )  # fmt: skip
    return (DenyPolicy("case", rules),)


@dataclass(frozen=True)
class Facts:
    """Policies, deny policies, custom roles, groups and parents: all of the world, or those that change. A value of
    None takes one away."""

    policies: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    roles: dict[str, list[str] | None] = field(default_factory=dict)
    groups: dict[str, list[str] | None] = field(default_factory=dict)
    deny: dict[str, list[dict[str, Any]] | None] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)


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
    denied: bool = False


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Case:
    name: str
    why: str
    models: dict[str, str]
    facts: Facts
    steps: tuple[Ask | Set | Wait, ...]

    @property
    def projects(self) -> set[str]:
        named = (
            *self.models, *self.facts.policies, *self.facts.folders, *self.facts.deny,
            *(s.path for s in self.steps if isinstance(s, Ask)),
        )  # fmt: skip
        return {project.partition(":")[0] for name in named if (project := project_of(name))}


def read(path: Path) -> Case:
    """The case of a file. Raises when a key of it is misspelt."""
    plain = yaml.safe_load(path.read_text())
    steps = tuple(map(_step, plain.pop("steps")))
    return Case(path.stem, plain.pop("why"), plain.pop("models", {}), Facts(**plain), steps)


def all_cases() -> list[Case]:
    return [read(path) for path in sorted(HERE.glob("*.yaml"))]


def _step(plain: Any) -> Ask | Set | Wait:
    if isinstance(plain, str):
        plain = {"ask": plain}
    if "wait" in plain:
        return Wait(plain["wait"])
    if "set" in plain:
        return Set(Facts(**plain.pop("set")), **plain)
    line = plain.pop("ask")
    match = _ASK.fullmatch(line)
    assert match, f"{line!r} is not WHO VERB PATH -> allow, deny or a status"
    who, http, path, expect = match.groups()
    return Ask(line, member(who), http, path, expect, **plain)
