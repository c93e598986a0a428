"""Listings: the models of one project on which a caller may predict. Remembered answers are dropped before each.

typical        a user, seven in ten times in the project where the user is at home
whole project  those of them to whom the project gives the permission, so that the answer is all its models
largest        a user in the project with most models
named most     the user whom policies name most, in the project with most models
named by all   a service account that every single model names, in the project with most models
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.authz.engines import Index, loaded
from bench.authz.measure import ASKED_AT_MOST_S, Result, best_of_three, spread, table
from bench.authz.peers import Asking
from bench.authz.workload import NOW, PREDICT, World

ROBOT = "serviceAccount:robot@p0.iam.gserviceaccount.com"
COLUMNS = ("engine", "caller", "mlgate ÷ it", "p50 ms", "p99 ms", "longest ms", "models found", "asked", "wrong")

Listing = tuple[str, str]


def measured(engine: Any, world: World) -> list[Result]:
    """Every kind of caller; for engines that ask about each model, the typical one."""
    engine.load(world)
    typical = list(world.listings)
    kinds = {"typical": typical}
    if not isinstance(engine, Asking):
        kinds["whole project"] = [(u, p) for u, p in typical if len(world.listings[u, p]) == len(world.models[p]) > 0]
        kinds |= _heavy(world)
    found = [_measured(engine, world, kind, asked) for kind, asked in kinds.items() if asked]
    if not isinstance(engine, Asking):
        for models in world.models.values():
            for model in models:
                engine.grant(model, "roles/ml.modelUser", ROBOT)
        found.append(_measured(engine, world, "named by all", [(ROBOT, _largest(world))] * 20))
    return found


def _largest(world: World) -> str:
    return max(world.models, key=lambda project: len(world.models[project]))


def _heavy(world: World) -> dict[str, list[Listing]]:
    index, project = loaded(world), _largest(world)
    most = max(world.users, key=lambda user: sum(1 for _ in index.named(user, NOW)))
    users = random.Random("largest").sample(world.users, 40)
    return {"largest": [(user, project) for user in users], "named most": [(most, project)] * 20}


def _measured(engine: Any, world: World, kind: str, asked: list[Listing]) -> Result:
    questions = [(user, PREDICT, project, NOW) for user, project in asked]
    questions = questions[: _affordable(engine.models, questions)]
    times = [t / 1e3 for t in best_of_three(_forgetting(engine), questions)]
    right = {q: world.listings.get((q[0], q[2])) for q in dict.fromkeys(questions)}
    wrong = sum(engine.models(*q) != _right(world, q, models) for q, models in right.items())
    found = sorted(len(engine.models(*question)) for question in right)
    p50, p99, longest = spread(times, 3)
    return {
        "caller": kind, "p50_ms": p50, "p99_ms": p99, "longest_ms": longest, "asked": len(questions), "wrong": wrong,
        "found": found[len(found) // 2],
    }  # fmt: skip


def _forgetting(engine: Any) -> Callable[..., list[str]]:
    """A listing of which nothing is remembered; to forget takes less than a microsecond."""

    def models(*question: Any) -> list[str]:
        engine.forget()
        found: list[str] = engine.models(*question)
        return found

    return models


def _right(world: World, question: tuple[Any, ...], known: list[str] | None) -> list[str]:
    user, permission, project, _ = question
    if known is None and user != ROBOT:
        known = sorted(m for m in world.models[project] if world.may(user, permission, m))
    return sorted(world.models[project]) if known is None else known


def _affordable(models: Callable[..., list[str]], questions: Sequence[tuple[Any, ...]]) -> int:
    start = time.process_time()
    for n, question in enumerate(questions, start=1):
        models(*question)
        if time.process_time() - start > ASKED_AT_MOST_S:
            return n
    return len(questions)


def report(results: Sequence[Result]) -> list[str]:
    lines = []
    for size, kind in dict.fromkeys((r["size"], r["kind"]) for r in results):
        here = [r for r in results if (r["size"], r["kind"]) == (size, kind)]
        ours = {r["caller"]: r["p50_ms"] for r in here if r["engine"] == Index.name}
        rows = [
            (r["engine"], r["why"], *[""] * (len(COLUMNS) - 2))
            if "why" in r
            else (
                r["engine"], r["caller"], f"{r['p50_ms'] / ours[r['caller']]:.3g}", r["p50_ms"], r["p99_ms"],
                r["longest_ms"], f"{r['found']:,}", r["asked"], r["wrong"],
            )
            for r in here
        ]  # fmt: skip
        lines += [f"### {size} bindings, {kind} world", "", *table(COLUMNS, rows), ""]
    return lines
