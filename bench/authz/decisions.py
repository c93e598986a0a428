"""Decisions: every engine, the same questions.

new         the first time a question is asked, of an index that was just loaded
uncached    remembered answers dropped before the round, as by any change
repeated    the same questions again
visible     CPU time from a change to the first right answer: a grant, and the longest of all grants and revocations
bytes       resident memory that loading added, for each binding; the texts themselves belong to the policies
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench.authz import measure
from bench.authz.engines import Engine, Index, LookUp
from bench.authz.measure import Result, affordable, best_of_three, rate, resident, spread, table
from bench.authz.workload import NOW, PREDICT, World

ROUNDS = 5
ROLE = "roles/ml.modelUser"


def measured(engine: Engine, world: World) -> Result:
    gc.collect()
    gc.freeze()
    before, start = resident(), time.process_time()
    engine.load(world)
    load = time.process_time() - start
    after = resident()
    asked = [(*question, NOW) for question in world.questions]
    questions = asked[: affordable(engine.check, asked)]

    def uncached() -> float:
        engine.forget()
        return rate(engine.check, questions)

    result: Result = {
        "bindings": world.bindings,
        "load_s": round(load, 3),
        "bytes_per_binding": round((after - before) / world.bindings, 1),
        "new_per_s": rate(engine.check, questions),
        "asked": len(questions),
        "wrong": sum(engine.check(*q) is not world.questions[q[:3]] for q in questions),
        "uncached_per_s": statistics.median(uncached() for _ in range(ROUNDS)),
        "repeated_per_s": statistics.median(rate(engine.check, questions) for _ in range(ROUNDS)),
    }
    result["p50_us"], result["p99_us"], _ = spread(best_of_three(engine.check, questions, engine.forget))
    result["collect_ms"] = round(measure.collection() * 1e3, 1)
    if hasattr(engine, "grant"):
        result |= changes(engine, world)
    return result


def changes(engine: Any, world: World) -> Result:
    """Give each change, ask, take it back, ask again; the answers must follow at once."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    wrong = 0
    end = time.perf_counter() + measure.ASKED_AT_MOST_S
    for model, user in world.changes:
        for step, expected in ((engine.grant, True), (engine.revoke, False)):
            start = time.process_time()
            step(model, ROLE, user)
            answer = engine.check(user, PREDICT, model, NOW)
            taken[expected].append(time.process_time() - start)
            wrong += answer is not expected
        if time.perf_counter() > end:
            break
    return {
        "visible_us": round(statistics.median(taken[True]) * 1e6, 1),
        "visible_max_us": round(max(taken[True] + taken[False]) * 1e6, 1),
        "change_wrong": wrong,
    }


COLUMNS = (
    "engine", "mlgate ÷ it, uncached", "uncached ÷ look-up", "repeated ÷ look-up", "uncached/s", "repeated/s", "new/s",
    "p50 µs", "p99 µs", "visible µs", "longest µs", "load s", "bytes", "collect ms", "asked", "wrong",
)  # fmt: skip


def report(results: Sequence[Result]) -> list[str]:
    """A table for each world, and what growth costs."""
    lines = []
    for size, kind in dict.fromkeys((r["size"], r["kind"]) for r in results):
        here = {r["engine"]: r for r in results if (r["size"], r["kind"]) == (size, kind)}
        limit, ours = here[LookUp.name]["repeated_per_s"], here[Index.name]["uncached_per_s"]
        head = f"### {here[LookUp.name]['bindings']:,} bindings, {kind} world"
        rows = [(name, *_cells(result, limit, ours)) for name, result in here.items()]
        lines += [head, "", *table(COLUMNS, rows), ""]
    return lines + _growth(results)


def _cells(result: Result, limit: float, ours: float) -> list[str]:
    if "why" in result:
        return [result["why"]] + [""] * (len(COLUMNS) - 2)
    return [
        f"{ours / result['uncached_per_s']:.3g}",
        f"{result['uncached_per_s'] / limit:.3g}",
        f"{result['repeated_per_s'] / limit:.3g}",
        *(f"{result[key]:,.0f}" for key in ("uncached_per_s", "repeated_per_s", "new_per_s")),
        *(str(result.get(key, "")) for key in ("p50_us", "p99_us", "visible_us", "visible_max_us", "load_s")),
        *(str(result[key]) for key in ("bytes_per_binding", "collect_ms", "asked")),
        str(result["wrong"] + result.get("change_wrong", 0)),
    ]


def _growth(results: Sequence[Result]) -> list[str]:
    """What each engine's uncached answer costs at the last size, in terms of the first."""
    lines = []
    for kind, engine in dict.fromkeys((r["kind"], r["engine"]) for r in results):
        here = [r for r in results if (r["kind"], r["engine"]) == (kind, engine) and "bindings" in r]
        if len(here) > 1:
            few, many = here[0], here[-1]
            lines.append(
                f"- {engine}, {kind} world: {few['bindings']:,} to {many['bindings']:,} bindings, an uncached answer "
                f"takes {few['uncached_per_s'] / many['uncached_per_s']:.3g} times as long."
            )
    return [*lines, ""]
