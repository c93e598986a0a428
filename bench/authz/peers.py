"""What else could decide: a recursive query on SQLite, PyCasbin, Cedar. Each in the way that suits it best.

What an engine cannot say, its host does; the docstrings tell which part that is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from bench.authz.engines import Engine
from bench.authz.workload import ANONYMOUS, NOW, Limit, World
from mlgate.core.iam.deny import DenyRule
from mlgate.core.iam.policy import Condition
from mlgate.core.names import type_of


class Sqlite(Engine):
    """What one would write by hand: tables, indexes, and a recursive query. Does the whole rule."""

    name = "SQLite, recursive query"

    _TABLES = """
        CREATE TABLE binding(resource TEXT, role TEXT, member TEXT, ends REAL, prefix TEXT, type TEXT);
        CREATE TABLE inside(member TEXT, container TEXT, ends REAL);
        CREATE TABLE holds(role TEXT, permission TEXT);
        CREATE TABLE model(name TEXT, project TEXT);
        CREATE TABLE rule(id INTEGER, place TEXT, permission TEXT, ends REAL, prefix TEXT, type TEXT);
        CREATE TABLE about(rule INTEGER, member TEXT, excepted INTEGER);
    """
    _INDEXES = """
        CREATE INDEX binding_by_resource ON binding(resource, member, role);
        CREATE INDEX binding_by_member ON binding(member, resource);
        CREATE INDEX inside_key ON inside(member, container);
        CREATE INDEX inside_by_container ON inside(container);
        CREATE UNIQUE INDEX holds_key ON holds(role, permission);
        CREATE INDEX model_key ON model(project, name);
        CREATE INDEX rule_key ON rule(permission, place);
        CREATE INDEX about_key ON about(rule, member);
        PRAGMA automatic_index = OFF;
    """  # And no ANALYZE: with statistics SQLite builds a Bloom filter of the whole table for each query.
    _WHO = """
        WITH RECURSIVE who(name) AS (
          SELECT :who UNION SELECT 'allUsers' UNION SELECT 'allAuthenticatedUsers' WHERE :who <> 'anonymous'
          UNION SELECT container FROM who JOIN inside ON inside.member = who.name
            WHERE inside.ends IS NULL OR inside.ends > :at)
    """
    _MEETS = """(ends IS NULL OR ends > :at) AND (prefix IS NULL OR substr({name}, 1, length(prefix)) = prefix)
        AND (type IS NULL OR type = {type})"""
    _GRANTED = """EXISTS (
        SELECT 1 FROM who CROSS JOIN binding INDEXED BY binding_by_resource ON binding.member = who.name
        JOIN holds ON holds.role = binding.role
        WHERE binding.resource IN (:r0, :r1, :r2, :r3) AND holds.permission = :permission AND {meets})"""
    _DENIED = """EXISTS (
        SELECT 1 FROM rule WHERE place IN (:r0, :r1, :r2, :r3) AND permission = :permission AND {meets}
        AND EXISTS (SELECT 1 FROM about JOIN who ON name = member WHERE rule = rule.id AND NOT excepted)
        AND NOT EXISTS (SELECT 1 FROM about JOIN who ON name = member WHERE rule = rule.id AND excepted))"""

    _CALLERS = """
        WITH RECURSIVE given(name) AS (
          SELECT member FROM binding INDEXED BY binding_by_resource JOIN holds ON holds.role = binding.role
            WHERE resource IN (:r0, :r1, :r2, :r3) AND permission = :permission AND {meets}
          UNION SELECT member FROM given JOIN inside ON inside.container = given.name
            WHERE inside.ends IS NULL OR inside.ends > :at)
        SELECT name FROM given WHERE name NOT LIKE 'group:%'
    """

    def load(self, world: World) -> None:
        self._world = world
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.executescript(self._TABLES)
        self._db.execute("BEGIN")
        self._insert("binding", 6, ((r, role, m, *columns(world, c)) for r, role, m, c in grants(world)))
        self._insert("inside", 3, ((m, g, end) for g, ms in world.groups.items() for m, end in ms.items()))
        self._insert("holds", 2, ((r, p) for r, ps in world.roles.items() for p in ps))
        self._insert("model", 2, ((model, project) for project, models in world.models.items() for model in models))
        permissions = sorted({p for ps in world.roles.values() for p in ps})
        for n, (place, rule) in enumerate(rules(world)):
            limit = columns(world, rule.condition)
            self._insert("rule", 6, ((n, place, p, *limit) for p in permissions if rule.denies(p)))
            self._insert("about", 3, ((n, m, 0) for m in rule.principals))
            self._insert("about", 3, ((n, m, 1) for m in rule.exception_principals))
        self._db.execute("COMMIT")
        self._db.executescript(self._INDEXES)
        one = self._MEETS.format(name=":r0", type=":type")
        self._query = f"{self._WHO} SELECT {self._GRANTED.format(meets=one)}"
        if world.deny:
            self._query += f" AND NOT {self._DENIED.format(meets=one)}"
        self._listing = self._listing_query()

    def _listing_query(self) -> str:
        """Those given by name and, where the project or what is above gives it, all; then what denies."""
        each = self._MEETS.format(name="model.name", type="'ml.googleapis.com/Model'")
        given = f"""
            FROM who CROSS JOIN binding ON binding.member = who.name JOIN holds ON holds.role = binding.role
            JOIN model ON {{model}} WHERE {{place}} AND holds.permission = :permission AND {each}"""
        below = given.format(model="model.name = binding.resource", place="model.project = :r0")
        above = given.format(model="model.project = :r0", place="binding.resource IN (:r0, :r1)")
        query = f"{self._WHO} SELECT model.name {below} UNION SELECT model.name {above}"
        if self._world.deny:
            denied = self._DENIED.replace(", :r2, :r3", "").format(meets=each)
            query += f" EXCEPT SELECT model.name FROM model WHERE project = :r0 AND {denied}"
        return f"{query} ORDER BY 1"

    def _insert(self, table: str, width: int, rows: Iterator[tuple[object, ...]]) -> None:
        self._db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)

    def _asked(self, principal: str, permission: str, resource: str, at: float) -> dict[str, object]:
        places = dict(zip(("r0", "r1", "r2", "r3"), [*self._world.chain(resource), "", "", ""], strict=False))
        return {"who": principal, "permission": permission, "at": at, "type": type_of(resource), **places}

    def check(self, principal: str, permission: str, resource: str, at: float) -> bool:
        row = self._db.execute(self._query, self._asked(principal, permission, resource, at)).fetchone()
        return bool(row[0])

    def models(self, principal: str, permission: str, project: str, at: float) -> list[str]:
        return [name for (name,) in self._db.execute(self._listing, self._asked(principal, permission, project, at))]

    def who_can(self, permission: str, resource: str, at: float) -> set[str]:
        """All whom a binding leads to, groups and everybody included, less those whom a rule denies."""
        query = self._CALLERS.format(meets=self._MEETS.format(name=":r0", type=":type"))
        found = {name for (name,) in self._db.execute(query, self._asked("", permission, resource, at))}
        if not self._world.deny:
            return found
        return {name for name in found if self.check(name, permission, resource, at)}

    def grant(self, resource: str, role: str, member: str) -> None:
        self._db.execute("INSERT INTO binding VALUES (?, ?, ?, NULL, NULL, NULL)", (resource, role, member))

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._db.execute("DELETE FROM binding WHERE resource = ? AND role = ? AND member = ?", (resource, role, member))


class Asking(Engine):
    """One that lists by asking about each."""

    _world: World

    def models(self, principal: str, permission: str, project: str, at: float) -> list[str]:
        return sorted(m for m in self._world.models[project] if self.check(principal, permission, m, at))


class Casbin(Asking):
    """PyCasbin's fast enforcer, keyed by resource. The host asks it once for each ancestor, leaves out memberships that
    have ended, and does deny rules, whose exceptions Casbin's effects cannot say, with Casbin's groups."""

    name = "PyCasbin, fast enforcer"
    package = "casbin"

    _MODEL = """
        [request_definition]
        r = sub, obj, act, name, at
        [policy_definition]
        p = sub, obj, role, limit
        [role_definition]
        g = _, _
        [policy_effect]
        e = some(where (p.eft == allow))
        [matchers]
        m = r.obj == p.obj && g(r.sub, p.sub) && holds(p.role, r.act) && meets(p.limit, r.name, r.at)
    """

    def load(self, world: World) -> None:
        import logging

        import casbin  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from casbin.model import FastModel  # type: ignore[import-not-found, import-untyped, unused-ignore]

        logging.disable(logging.INFO)
        self._world = world
        model = FastModel([1, 1])  # Named twice: with one key its store of policies cannot be iterated.
        model.load_model_from_text("\n".join(line.strip() for line in self._MODEL.splitlines()))
        self._enforcer = casbin.FastEnforcer(model, cache_key_order=[1, 1])
        self._enforcer.enable_auto_build_role_links(False)
        self._enforcer.enable_auto_save(False)
        self._enforcer.add_function("holds", lambda role, permission: permission in world.roles[role])
        self._enforcer.add_function("meets", self._meets)
        # Appended as a storage adapter may: add_policies looks every rule up in the list first.
        for resource, role, member, condition in grants(world):
            limit = condition.expression if condition else ""
            self._enforcer.model["p"]["p"].policy.append([member, resource, role, limit])
        people = {p for p, _, _ in world.questions} | {u for _, u in world.changes} | {u for u, _ in world.listings}
        for inner, outer in self._edges(world, people):
            self._enforcer.model["g"]["g"].policy.append([inner, outer])
        self._enforcer.build_role_links()

    def _edges(self, world: World, people: set[str]) -> Iterator[tuple[str, str]]:
        yield from ((member, group) for group in world.groups for member in current(world, group))
        yield from ((person, "allUsers" if person == ANONYMOUS else "allAuthenticatedUsers") for person in people)
        yield "allAuthenticatedUsers", "allUsers"

    def _meets(self, expression: str, resource: str, at: float) -> bool:
        return not expression or meets(self._world.limits[expression], resource, at)

    def _denied(self, principal: str, permission: str, resource: str, at: float) -> bool:
        inside = self._enforcer.get_role_manager().has_link
        return any(
            rule.denies(permission)
            and (rule.condition is None or self._meets(rule.condition.expression, resource, at))
            and any(inside(principal, member) for member in rule.principals)
            and not any(inside(principal, member) for member in rule.exception_principals)
            for _, rule in rules(self._world)
        )

    def check(self, principal: str, permission: str, resource: str, at: float) -> bool:
        if self._denied(principal, permission, resource, at):
            return False
        asked = self._enforcer.enforce
        return any(asked(principal, place, permission, resource, at) for place in self._world.chain(resource))

    def grant(self, resource: str, role: str, member: str) -> None:
        self._enforcer.add_policy(member, resource, role, "")

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._enforcer.remove_policy(member, resource, role, "")


class Cedar(Asking):
    """Cedar by cedarpy: one policy for each role, bindings as attributes, handed over in slices of one request.

    The host works out the slice: the principal with its groups, the resource with its ancestors, and a policy for each
    conditional binding on these, parsed once for each resource. Cedar joins, meets conditions, and forbids.
    """

    name = "Cedar (cedarpy), sliced"
    package = "cedarpy"

    def load(self, world: World) -> None:
        import cedarpy  # type: ignore[import-not-found, import-untyped, unused-ignore]

        self._cedar, self._world = cedarpy, world
        self._attribute = {role: f"r{i}" for i, role in enumerate(world.roles)}
        self._permissions = sorted({p for ps in world.roles.values() for p in ps})
        self._text = "\n".join([*self._permits(), *self._forbids()])
        self._policies = {(): cedarpy.PolicySet.from_str(self._text)}
        self._base = cedarpy.Entities.from_json_str(json.dumps(list(self._actions())))
        self._around: dict[str, list[str]] = {}
        for group in world.groups:
            for member in current(world, group):
                self._around.setdefault(member, []).append(group)
        self._principals: dict[str, str] = {}
        self._given: dict[str, dict[str, list[str]]] = {}
        self._limited: dict[str, list[str]] = {}
        for resource, role, member, condition in grants(world):
            if condition is None:
                self._given.setdefault(resource, {}).setdefault(role, []).append(member)
            else:
                head = f"permit(principal in {euid('Member', member)}, action in {euid('Action', role)}, resource)"
                self._limited.setdefault(resource, []).append(f"{head} when {{ {self._when(condition)} }};")
        self._resources = {resource: self._entity(resource) for resource in self._given}

    def _permits(self) -> Iterator[str]:
        paths = ("resource", "resource.up", "resource.up.up", "resource.up.up.up")
        for role, attribute in self._attribute.items():
            for path in paths[: 4 if self._world.parents else 3]:
                has = "resource has " + f"{path}.{attribute}".removeprefix("resource.")
                when = f"{has} && principal in {path}.{attribute}"
                yield f"permit(principal, action in {euid('Action', role)}, resource) when {{ {when} }};"

    def _forbids(self) -> Iterator[str]:
        """Every place with deny rules is above everything here."""
        for _, rule in rules(self._world):
            actions = ", ".join(euid("Action", p) for p in self._permissions if rule.denies(p))
            when = " || ".join(f"principal in {euid('Member', m)}" for m in rule.principals)
            limit = self._when(rule.condition) if rule.condition else "true"
            unless = " || ".join(f"principal in {euid('Member', m)}" for m in rule.exception_principals) or "false"
            head = f"forbid(principal, action in [{actions}], resource)"
            yield f"{head} when {{ ({when}) && {limit} }} unless {{ {unless} }};"

    def _when(self, condition: Condition) -> str:
        limit = self._world.limits[condition.expression]
        if limit.end is not None:
            return f"context.at < {int(limit.end)}"
        if limit.prefix:
            return f'context.name like "{limit.prefix}*"'
        return f"context.type == {json.dumps(limit.type)}"

    def _actions(self) -> Iterator[dict[str, Any]]:
        yield from ({"uid": uid("Action", role), "attrs": {}, "parents": []} for role in self._world.roles)
        for permission in self._permissions:
            held_by = [uid("Action", role) for role, ps in self._world.roles.items() if permission in ps]
            yield {"uid": uid("Action", permission), "attrs": {}, "parents": held_by}

    def _entity(self, resource: str) -> str:
        attrs: dict[str, Any] = {
            self._attribute[role]: [{"__entity": uid("Member", member)} for member in members]
            for role, members in self._given.get(resource, {}).items()
        }
        for parent in self._world.chain(resource)[1:2]:
            attrs["up"] = {"__entity": uid("Resource", parent)}
        return json.dumps({"uid": uid("Resource", resource), "attrs": attrs, "parents": []})

    def _principal(self, principal: str) -> str:
        names = [principal, "allUsers", *(["allAuthenticatedUsers"] if principal != ANONYMOUS else [])]
        for name in names:
            names += [group for group in self._around.get(name, ()) if group not in names]
        parents = [uid("Member", name) for name in names[1:]]
        return json.dumps({"uid": uid("Member", principal), "attrs": {}, "parents": parents})

    def _policies_for(self, places: list[str]) -> Any:
        limited = tuple(place for place in places if place in self._limited)
        if limited not in self._policies:
            more = (text for place in limited for text in self._limited[place])
            self._policies[limited] = self._cedar.PolicySet.from_str("\n".join((self._text, *more)))
        return self._policies[limited]

    def check(self, principal: str, permission: str, resource: str, at: float) -> bool:
        if principal not in self._principals:
            self._principals[principal] = self._principal(principal)
        places = self._world.chain(resource)
        entities = ",".join((self._principals[principal], *(self._resources.get(p) or self._entity(p) for p in places)))
        request = {
            "principal": uid("Member", principal),
            "action": uid("Action", permission),
            "resource": uid("Resource", resource),
            "context": {"at": int(at), "name": resource, "type": type_of(resource)},
        }
        known = self._base.with_added_json_str(f"[{entities}]")
        return bool(self._cedar.is_authorized(request, self._policies_for(places), known).allowed)

    def grant(self, resource: str, role: str, member: str) -> None:
        self._given.setdefault(resource, {}).setdefault(role, []).append(member)
        self._resources[resource] = self._entity(resource)

    def revoke(self, resource: str, role: str, member: str) -> None:
        self._given[resource][role].remove(member)
        self._resources[resource] = self._entity(resource)


def uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def euid(kind: str, name: str) -> str:
    return f"{kind}::{json.dumps(name)}"


def grants(world: World) -> Iterator[tuple[str, str, str, Condition | None]]:
    for resource, policy in world.policies.items():
        for binding in policy.bindings:
            for member in binding.members:
                yield resource, binding.role, member, binding.condition


def rules(world: World) -> Iterator[tuple[str, DenyRule]]:
    return ((place, rule) for place, policies in world.deny.items() for policy in policies for rule in policy.rules)


def current(world: World, group: str) -> Iterator[str]:
    """The members whose membership has not ended."""
    return (member for member, end in world.groups[group].items() if end is None or end > NOW)


def columns(world: World, condition: Condition | None) -> tuple[object, ...]:
    limit = world.limits[condition.expression] if condition else Limit()
    return limit.end, limit.prefix or None, limit.type or None


def meets(limit: Limit, resource: str, at: float) -> bool:
    if limit.end is not None:
        return at < limit.end
    return resource.startswith(limit.prefix) if limit.prefix else type_of(resource) == limit.type


PEERS: tuple[type[Engine], ...] = (Sqlite, Casbin, Cedar)
