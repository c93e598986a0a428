"""Access reviews: everybody who may predict on a model, each with the path of the grant and its end.

Each review is worked out from nothing, as a call of the API does: from a server's SQLite database, read in a
transaction of its own, and from a world in memory. The peers only name the callers. Those that can only be asked about
one caller are asked about some, and the time for all is worked out from that.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.authz.engines import Engine, Index
from bench.authz.measure import Result, best_of_three, spread, table
from bench.authz.peers import PEERS, Asking, Sqlite
from bench.authz.workload import NOW, PREDICT, World
from mlgate.adapters.db import schema
from mlgate.adapters.db.migrate import migrate
from mlgate.adapters.db.store import SqlStore, engine_for, sqlite_url
from mlgate.api.world import StoredWorld
from mlgate.core.iam import deny
from mlgate.core.iam.policy import to_plain
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS
from mlgate.core.iam.review import Review
from mlgate.core.names import id_of

TYPICAL, ASKED_OF_PEERS = 200, 200
STORED, PURE = "mlgate, from its database", "mlgate, in memory"
ASKED_ABOUT_EACH = {
    f"{engine.name}, asked about each user": engine for engine in (Index, *PEERS) if engine is not Sqlite
}
CONTESTANTS = {
    STORED: "",
    PURE: "",
    Sqlite.name: Sqlite.package,
    **{name: engine.package for name, engine in ASKED_ABOUT_EACH.items()},
}

#: From a model to those who may predict on it.
Reviewed = Callable[[str], set[str]]

COLUMNS = ("contestant", "model", "mlgate's database ÷ it", "p50 ms", "p99 ms", "longest ms", "callers", "wrong")


def measured(name: str, world: World) -> list[Result]:
    """A model taken at random, and the one with most callers by far."""
    rng = random.Random("reviews")
    models = [model for some in world.models.values() for model in some]
    most = max(models, key=lambda model: _size(world, model))
    with tempfile.TemporaryDirectory() as folder:
        reviewed, share = _contestant(name, world, Path(folder))
        kinds = {"typical": rng.sample(models, min(TYPICAL, len(models))), "most shared": [most] * 20}
        if name in ASKED_ABOUT_EACH:
            kinds = {"typical": kinds["typical"][:3]}
        return [_measured(reviewed, share, world, kind, asked) for kind, asked in kinds.items()]


def _size(world: World, model: str) -> int:
    policy = world.policy(model)
    return sum(len(binding.members) for binding in policy.bindings) if policy else 0


def _measured(reviewed: Reviewed, share: float, world: World, kind: str, models: list[str]) -> Result:
    times = [t / 1e3 / share for t in best_of_three(reviewed, [(model,) for model in models])]
    p50, p99, longest = spread(times, 2)
    found = {model: reviewed(model) for model in dict.fromkeys(models)}
    sizes = sorted(map(len, found.values()))
    wrong = sum(_is_wrong(world, model, callers, share) for model, callers in list(found.items())[:5])
    return {
        "model": kind, "p50_ms": p50, "p99_ms": p99, "longest_ms": longest, "wrong": wrong,
        "callers": sizes[len(sizes) // 2],
    }  # fmt: skip


def _is_wrong(world: World, model: str, callers: set[str], share: float) -> bool:
    """Whether the answer is another than what decisions say of some callers, half of them found."""
    people = _some(world.users, 150 / len(world.users)) if share == 1 else _some(world.users, share)
    if not callers.isdisjoint((ALL_USERS, ALL_AUTHENTICATED_USERS)):
        people = []  # Then strangers are callers too, whom no answer names.
    asked = [*sorted(c for c in callers if c.startswith("user:"))[:150], *people]
    return any(world.may(person, PREDICT, model) is not (person in callers) for person in asked)


def _some(users: list[str], share: float) -> list[str]:
    return random.Random("some").sample(users, min(len(users), round(len(users) * share)))


def _contestant(name: str, world: World, folder: Path) -> tuple[Reviewed, float]:
    """A function from a model to its callers, ready to be called, and the share of the users that it looks at."""
    if name == STORED:
        return _from_database(world, folder), 1
    if name == PURE:
        return lambda model: _callers(Review(world, NOW), model), 1
    if name == Sqlite.name:
        database = Sqlite()
        database.load(world)
        return lambda model: database.who_can(PREDICT, model, NOW), 1
    engine = ASKED_ABOUT_EACH[name]()
    engine.load(world)
    share = min(1.0, ASKED_OF_PEERS / len(world.users)) if isinstance(engine, Asking) else 1
    return _by_asking(engine, _some(world.users, share)), share


def _callers(review: Review, model: str) -> set[str]:
    return {entry.principal for entry in review.who_can([PREDICT], model) if entry.allowed}


def _by_asking(engine: Engine, users: list[str]) -> Reviewed:
    def callers(model: str) -> set[str]:
        engine.forget()
        return {user for user in users if engine.check(user, PREDICT, model, NOW)}

    return callers


def _from_database(world: World, folder: Path) -> Reviewed:
    url = sqlite_url(folder)
    migrate(url)
    with engine_for(url).begin() as connection:
        for rows in _batches(_facts(world)):
            connection.execute(sa.insert(schema.facts), rows)
        connection.execute(sa.update(schema.revision).values(n=1))
    store = SqlStore(url)

    def callers(model: str) -> set[str]:
        with store.read() as tx:
            return _callers(Review(StoredWorld(tx, world.roles), NOW), model)

    return callers


def _facts(world: World) -> Iterator[dict[str, Any]]:
    """The rows that a server would have written."""
    kinds: dict[str, Iterable[tuple[str, Any]]] = {
        "policy": ((resource, to_plain(policy)) for resource, policy in world.policies.items()),
        "group": world.groups.items(),
        "deny": ((place, deny.to_plain(policies)) for place, policies in world.deny.items()),
        "project": ((id_of(name), _project(world, name)) for name in world.models),
    }
    for kind, facts in kinds.items():
        for key, value in facts:
            yield {"kind": kind, "key": key, "value": json.dumps(value), "revision": 1}


def _project(world: World, name: str) -> Mapping[str, Any]:
    return {"number": "1", "parent": world.parents.get(name), "active": True, "agent": ""}


def _batches(rows: Iterator[dict[str, Any]], size: int = 5_000) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def report(results: Sequence[Result]) -> list[str]:
    lines = []
    for size, kind in dict.fromkeys((r["size"], r["kind"]) for r in results):
        here = [r for r in results if (r["size"], r["kind"]) == (size, kind)]
        ours = {r["model"]: r["p50_ms"] for r in here if r["engine"] == STORED}
        rows = [
            (r["engine"], r["why"], *[""] * (len(COLUMNS) - 2))
            if "why" in r
            else (
                r["engine"], r["model"], f"{r['p50_ms'] / ours[r['model']]:.3g}", r["p50_ms"], r["p99_ms"],
                r["longest_ms"], f"{r['callers']:,}" if r["engine"] not in ASKED_ABOUT_EACH else "", r["wrong"],
            )
            for r in here
        ]  # fmt: skip
        lines += [f"### {size} bindings, {kind} world", "", *table(COLUMNS, rows), ""]
    return lines
