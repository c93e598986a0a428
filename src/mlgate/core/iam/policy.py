"""Policies: who is given which role on one resource, and under which condition.

A `Policy` is a value. Changing one means making another and storing it under a new etag. What a policy may contain
(limits, member forms, which role on which kind of resource) is checked by `validate`, once, when it is set; the rule in
`evaluate.py` trusts a stored policy only as far as it is well formed: an unknown role or member grants nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """A CEL expression that must be true for its binding to grant."""

    expression: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """One role given to some members, in the order in which they were added."""

    role: str
    members: tuple[str, ...]
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The bindings of one resource. `etag` is the raw bytes; the wire carries it in base64."""

    bindings: tuple[Binding, ...] = ()
    etag: bytes = b""
    version: int = 1
    audit_configs: tuple[Mapping[str, Any], ...] = ()

    def members_of(self, role: str) -> tuple[str, ...]:
        """Who is given the role without a condition."""
        return tuple(m for b in self.bindings if b.role == role and b.condition is None for m in b.members)

    @property
    def is_conditional(self) -> bool:
        return any(binding.condition is not None for binding in self.bindings)


#: The etag of a resource that never had a policy (Google's services answer "ACAB").
NO_POLICY_ETAG = b"\x00\x01"

EMPTY = Policy(etag=NO_POLICY_ETAG)


def merged(bindings: Iterable[Binding]) -> tuple[Binding, ...]:
    """The bindings with one entry for each role and condition, duplicates dropped, first order kept (R-045)."""
    seen: dict[tuple[str, Condition | None], dict[str, None]] = {}
    for binding in bindings:
        seen.setdefault((binding.role, binding.condition), {}).update(dict.fromkeys(binding.members))
    return tuple(Binding(role, tuple(members), condition) for (role, condition), members in seen.items() if members)


def to_plain(policy: Policy) -> dict[str, Any]:
    """The policy as plain JSON values, the form in which it is stored and told to every process."""
    bindings = []
    for b in policy.bindings:
        binding: dict[str, Any] = {"role": b.role, "members": list(b.members)}
        if b.condition:
            binding["condition"] = condition_to_plain(b.condition)
        bindings.append(binding)
    return {
        "bindings": bindings,
        "etag": policy.etag.hex(),
        "version": policy.version,
        "audit_configs": list(policy.audit_configs),
    }


def from_plain(value: Mapping[str, Any]) -> Policy:
    """The inverse of `to_plain`."""
    return Policy(
        bindings=tuple(
            Binding(b["role"], tuple(b["members"]), condition_from_plain(b.get("condition"))) for b in value["bindings"]
        ),
        etag=bytes.fromhex(value["etag"]),
        version=value["version"],
        audit_configs=tuple(value.get("audit_configs", ())),
    )


def condition_to_plain(condition: Condition) -> dict[str, str]:
    return {"expression": condition.expression, "title": condition.title, "description": condition.description}


def condition_from_plain(value: Mapping[str, str] | None) -> Condition | None:
    return Condition(**value) if value else None
