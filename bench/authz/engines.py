"""The contestants. Each is given the same world and asked the same questions.

An engine may prepare what it likes in `load`; what it then answers must be right after every `grant` and `revoke`.
Engines that need a package are left out when it is not installed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

from bench.authz.workload import ANONYMOUS, Reference, World, chain
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.policy import with_member, without_member


class Engine(Protocol):
    name: ClassVar[str]

    def load(self, world: World) -> None: ...

    def check(self, principal: str, permission: str, resource: str) -> bool: ...

    def grant(self, resource: str, role: str, member: str) -> None: ...

    def revoke(self, resource: str, role: str, member: str) -> None: ...

    def forget(self) -> None:
        """Drop remembered answers, as any change would, and nothing that took work to prepare."""


class Index(Engine):
    name = "mlgate"

    def load(self, world: World) -> None:
        self._policies = world.policies
        self._index = AccessIndex(world.roles)
        for group, members in world.groups.items():
            self._index.set_group(group, members)
        for resource, policy in world.policies.items():
            self._index.set_policy(resource, policy)
        self.check = self._index.is_allowed  # type: ignore[method-assign]  # what callers would call, no wrapper

    def grant(self, resource: str, role: str, member: str) -> None:
        self._index.set_policy(resource, with_member(self._policies[resource], role, member))

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._index.set_policy(resource, without_member(self._policies[resource], role, member))

    def forget(self) -> None:
        self._index.set_parent("projects/none", None)


class LookUp(Engine):
    """The limit for Python: every answer is known beforehand and looked up by the question. It cannot change."""

    name = "one dict look-up"

    def load(self, world: World) -> None:
        self._answers = dict(world.questions)

    def check(self, principal: str, permission: str, resource: str) -> bool:
        return self._answers[principal, permission, resource]


class Naive(Engine):
    """Nothing prepared: the rule as it is written down."""

    name = "naive reference"

    def load(self, world: World) -> None:
        self.check = Reference(world).may  # type: ignore[method-assign]


class Sqlite(Engine):
    """What one would write by hand: tables, indexes, and a recursive query."""

    name = "SQLite, recursive query"

    _TABLES = """
        CREATE TABLE binding(resource TEXT, role TEXT, member TEXT);
        CREATE TABLE inside(member TEXT, container TEXT);
        CREATE TABLE holds(role TEXT, permission TEXT);
    """
    _INDEXES = """
        CREATE UNIQUE INDEX binding_key ON binding(resource, member, role);
        CREATE INDEX inside_key ON inside(member, container);
        CREATE UNIQUE INDEX holds_key ON holds(role, permission);
        ANALYZE;
    """
    _QUERY = """
        WITH RECURSIVE who(name) AS (
          SELECT ?1 UNION SELECT 'allUsers' UNION SELECT 'allAuthenticatedUsers' WHERE ?1 <> 'anonymous'
          UNION SELECT container FROM who JOIN inside ON inside.member = who.name)
        SELECT 1 FROM binding JOIN who ON who.name = binding.member JOIN holds ON holds.role = binding.role
        WHERE binding.resource IN (?3, ?4, ?5) AND holds.permission = ?2 LIMIT 1
    """

    def load(self, world: World) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.executescript(self._TABLES)
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO binding VALUES (?, ?, ?)", triples(world))
        self._db.executemany("INSERT INTO inside VALUES (?, ?)", ((m, g) for g, ms in world.groups.items() for m in ms))
        self._db.executemany("INSERT INTO holds VALUES (?, ?)", ((r, p) for r, ps in world.roles.items() for p in ps))
        self._db.execute("COMMIT")
        self._db.executescript(self._INDEXES)

    def check(self, principal: str, permission: str, resource: str) -> bool:
        places = (chain(resource) + [""] * 3)[:3]
        return self._db.execute(self._QUERY, (principal, permission, *places)).fetchone() is not None

    def grant(self, resource: str, role: str, member: str) -> None:
        self._db.execute("INSERT INTO binding VALUES (?, ?, ?)", (resource, role, member))

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._db.execute("DELETE FROM binding WHERE resource = ? AND role = ? AND member = ?", (resource, role, member))


class Casbin(Engine):
    """PyCasbin's fast enforcer, keyed by resource; it is asked once for each ancestor."""

    name = "PyCasbin, fast enforcer"

    _MODEL = """
        [request_definition]
        r = sub, obj, act
        [policy_definition]
        p = sub, obj, role
        [role_definition]
        g = _, _
        [policy_effect]
        e = some(where (p.eft == allow))
        [matchers]
        m = r.obj == p.obj && g(r.sub, p.sub) && holds(p.role, r.act)
    """

    def load(self, world: World) -> None:
        import logging

        import casbin  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from casbin.model import FastModel  # type: ignore[import-not-found, import-untyped, unused-ignore]

        logging.disable(logging.INFO)
        model = FastModel([1, 1])  # Named twice: with one key its store of policies cannot be iterated.
        model.load_model_from_text("\n".join(line.strip() for line in self._MODEL.splitlines()))
        self._enforcer = casbin.FastEnforcer(model, cache_key_order=[1, 1])
        self._enforcer.enable_auto_build_role_links(False)
        self._enforcer.enable_auto_save(False)
        self._enforcer.add_function("holds", lambda role, permission: permission in world.roles[role])
        # Appended as a storage adapter may: add_policies looks every rule up in the list first.
        for resource, role, member in triples(world):
            self._enforcer.model["p"]["p"].policy.append([member, resource, role])
        people = {p for p, _, _ in world.questions} | {user for _, user in world.changes}
        for inner, outer in self._edges(world, people):
            self._enforcer.model["g"]["g"].policy.append([inner, outer])
        self._enforcer.build_role_links()

    def _edges(self, world: World, people: set[str]) -> Iterator[tuple[str, str]]:
        yield from ((member, group) for group, members in world.groups.items() for member in members)
        yield from ((person, "allUsers" if person == ANONYMOUS else "allAuthenticatedUsers") for person in people)
        yield "allAuthenticatedUsers", "allUsers"

    def check(self, principal: str, permission: str, resource: str) -> bool:
        return any(self._enforcer.enforce(principal, place, permission) for place in chain(resource))

    def grant(self, resource: str, role: str, member: str) -> None:
        self._enforcer.add_policy(member, resource, role)

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._enforcer.remove_policy(member, resource, role)


class Cedar(Engine):
    """Cedar by cedarpy: one policy for each role, bindings as attributes, handed over in slices of one request.

    The host works out the slice (the principal with its groups, the resource with its ancestors), so Cedar only joins.
    """

    name = "Cedar (cedarpy), sliced"

    def load(self, world: World) -> None:
        import cedarpy  # type: ignore[import-not-found, import-untyped, unused-ignore]

        self._cedar, self._world = cedarpy, world
        self._attribute = {role: f"r{i}" for i, role in enumerate(world.roles)}
        self._policies = cedarpy.PolicySet.from_str("\n".join(self._permits()))
        self._base = cedarpy.Entities.from_json_str(json.dumps(list(self._actions())))
        self._around: dict[str, list[str]] = {}
        for group, members in world.groups.items():
            for member in members:
                self._around.setdefault(member, []).append(group)
        self._principals: dict[str, str] = {}
        self._given: dict[str, dict[str, list[str]]] = {}
        for resource, role, member in triples(world):
            self._given.setdefault(resource, {}).setdefault(role, []).append(member)
        self._resources = {resource: self._entity(resource) for resource in self._given}

    def _permits(self) -> Iterator[str]:
        for role, attribute in self._attribute.items():
            for path in ("resource", "resource.up", "resource.up.up"):
                has = "resource has " + f"{path}.{attribute}".removeprefix("resource.")
                when = f"{has} && principal in {path}.{attribute}"
                yield f"permit(principal, action in Action::{json.dumps(role)}, resource) when {{ {when} }};"

    def _actions(self) -> Iterator[dict[str, Any]]:
        permissions = sorted({p for ps in self._world.roles.values() for p in ps})
        yield from ({"uid": uid("Action", role), "attrs": {}, "parents": []} for role in self._world.roles)
        for permission in permissions:
            held_by = [uid("Action", role) for role, ps in self._world.roles.items() if permission in ps]
            yield {"uid": uid("Action", permission), "attrs": {}, "parents": held_by}

    def _entity(self, resource: str) -> str:
        attrs: dict[str, Any] = {
            self._attribute[role]: [{"__entity": uid("Member", member)} for member in members]
            for role, members in self._given.get(resource, {}).items()
        }
        for parent in chain(resource)[1:2]:
            attrs["up"] = {"__entity": uid("Resource", parent)}
        return json.dumps({"uid": uid("Resource", resource), "attrs": attrs, "parents": []})

    def _principal(self, principal: str) -> str:
        names = [principal, "allUsers", *(["allAuthenticatedUsers"] if principal != ANONYMOUS else [])]
        for name in names:
            names += [group for group in self._around.get(name, ()) if group not in names]
        parents = [uid("Member", name) for name in names[1:]]
        return json.dumps({"uid": uid("Member", principal), "attrs": {}, "parents": parents})

    def check(self, principal: str, permission: str, resource: str) -> bool:
        if principal not in self._principals:
            self._principals[principal] = self._principal(principal)
        places = (self._resources.get(place) or self._entity(place) for place in chain(resource))
        entities = self._base.with_added_json_str(f"[{','.join((self._principals[principal], *places))}]")
        request = {
            "principal": uid("Member", principal),
            "action": uid("Action", permission),
            "resource": uid("Resource", resource),
            "context": {},
        }
        return bool(self._cedar.is_authorized(request, self._policies, entities).allowed)

    def grant(self, resource: str, role: str, member: str) -> None:
        self._given[resource].setdefault(role, []).append(member)
        self._resources[resource] = self._entity(resource)

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._given[resource][role].remove(member)
        self._resources[resource] = self._entity(resource)


def uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def triples(world: World) -> Iterator[tuple[str, str, str]]:
    for resource, policy in world.policies.items():
        for binding in policy.bindings:
            for member in binding.members:
                yield resource, binding.role, member


#: By the package that each needs; the standard library is always there.
ENGINES: dict[str, tuple[Callable[[], Engine], str]] = {
    engine.name: (engine, package)
    for engine, package in (
        (LookUp, ""),
        (Index, ""),
        (Naive, ""),
        (Sqlite, ""),
        (Casbin, "casbin"),
        (Cedar, "cedarpy"),
    )
}
