"""The contestants. Each is given the same world and asked the same questions.

An engine may prepare what it likes in `load`; what it then answers must be right after every `grant` and `revoke`. The
peers are in `peers.py`; those that need a package are left out when it is not installed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Protocol

from bench.authz.workload import World
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.policy import Binding, Policy, merged


class Engine(Protocol):
    """Those that can change also have `grant` and `revoke` (resource, role, member); those that can list, `models`
    (principal, permission, project, at), which are in order."""

    name: ClassVar[str]
    #: The package that it needs; the standard library is always there.
    package: ClassVar[str] = ""

    def load(self, world: World) -> None: ...

    def check(self, principal: str, permission: str, resource: str, at: float) -> bool: ...

    def forget(self) -> None:
        """Drop remembered answers, as any change would, and nothing that took work to prepare."""


class Index(Engine):
    name = "mlgate"

    def load(self, world: World) -> None:
        self._world = world
        self._index = loaded(world)
        self.check = self._index.is_allowed  # type: ignore[method-assign]  # what callers would call, no wrapper

    def grant(self, resource: str, role: str, member: str) -> None:
        self._index.set_policy(resource, with_member(self._world.policies[resource], role, member))

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._index.set_policy(resource, without_member(self._world.policies[resource], role, member))

    def models(self, principal: str, permission: str, project: str, at: float) -> list[str]:
        found = self._index.children(principal, permission, f"{project}/models", at)
        if found is None:
            allowed = self._index.is_allowed
            found = sorted(m for m in self._world.models[project] if allowed(principal, permission, m, at))
        return found

    def forget(self) -> None:
        self._index.set_parent("projects/none", None)


class LookUp(Engine):
    """The limit for Python: every answer is known beforehand and looked up by the question. It cannot change."""

    name = "one dict look-up"

    def load(self, world: World) -> None:
        self._answers = dict(world.questions)

    def check(self, principal: str, permission: str, resource: str, at: float) -> bool:
        return self._answers[principal, permission, resource]


class AsWritten(Engine):
    """Nothing prepared: the rule as it is written down."""

    name = "the rule as written"

    def load(self, world: World) -> None:
        self._world = world

    def check(self, principal: str, permission: str, resource: str, at: float) -> bool:
        return self._world.may(principal, permission, resource)


def loaded(world: World) -> AccessIndex:
    """The index as a server would have it."""
    index = AccessIndex(world.roles)
    for group, members in world.groups.items():
        index.set_group(group, members)
    for resource, parent in world.parents.items():
        index.set_parent(resource, parent)
    for resource, policy in world.policies.items():
        index.set_policy(resource, policy)
    for resource, denials in world.deny.items():
        index.set_denials(resource, denials)
    return index


def with_member(policy: Policy, role: str, member: str) -> Policy:
    return replace(policy, bindings=merged((*policy.bindings, Binding(role, (member,)))))


def without_member(policy: Policy, role: str, member: str) -> Policy:
    """Without the member's unconditional grant of the role."""
    kept = (
        replace(b, members=tuple(m for m in b.members if m != member)) if (b.role, b.condition) == (role, None) else b
        for b in policy.bindings
    )
    return replace(policy, bindings=tuple(b for b in kept if b.members))
