"""Measure the engines and print a table: `python -m bench.authz --sizes small,medium,large --json OUT`.

Each engine and size runs alone in a new process. Rates are per second of CPU time of one core, the median of several
rounds, so that other work on the machine weighs little; latencies are wall-clock, for each question the best of three.
The ratio to one dict look-up of the same questions, in the same run, is what compares between machines.

    new         the first time a question is asked, of an index that was just loaded
    uncached    remembered answers dropped before the round, as by any change
    repeated    the same questions again
    visible     from a change to the first right answer: a grant, and the longest of all grants and revocations
    bytes       resident memory that loading added, for each binding; the texts themselves belong to the policies
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.authz.engines import ENGINES, Engine, LookUp, Naive
from bench.authz.workload import SIZES, Question, World, make_world

ROUNDS = 5
ASKED_AT_MOST_S = 4.0
PREDICT, ROLE = "ml.models.predict", "roles/ml.modelUser"

Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.authz", description="Compare the speed of decisions.")
    parser.add_argument("--sizes", default="small,medium,large", help=f"some of {','.join(SIZES)}")
    parser.add_argument("--engines", default=",".join(ENGINES), help="names, separated by commas and no space")
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "WORLD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, path = options.one
        print(json.dumps(measured(ENGINES[name][0](), pickle.loads(Path(path).read_bytes()))))
        return
    results = [
        result
        for size in options.sizes.split(",")
        for result in run_size(size, [LookUp.name, *chosen(options.engines)])
    ]
    print(report(results))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
    if any(result.get("wrong") or result.get("change_wrong") for result in results):
        sys.exit("An engine gave wrong answers.")


def chosen(names: str) -> list[str]:
    """The engines named; a name may itself hold commas, so it is looked for in the text."""
    return [name for name in ENGINES if name in names and name != LookUp.name]


# Measuring


def run_size(size: str, names: Sequence[str]) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world"
        path.write_bytes(pickle.dumps(make_world(size)))
        return [{"size": size, "engine": name, **run_one(name, path)} for name in names]


def run_one(name: str, world: Path) -> Result:
    package = ENGINES[name][1]
    if package and not importlib.util.find_spec(package):
        return {"missing": package}
    command = [sys.executable, "-m", "bench.authz", "--one", name, str(world)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def measured(engine: Engine, world: World) -> Result:
    gc.collect()
    gc.freeze()
    before, start = resident(), time.process_time()
    engine.load(world)
    load = time.process_time() - start
    after = resident()
    questions = list(world.questions)[: affordable(engine, list(world.questions))]
    result: Result = {
        "bindings": world.bindings,
        "load_s": round(load, 3),
        "bytes_per_binding": round((after - before) / world.bindings, 1),
        "new_per_s": rate(engine, questions),
        "wrong": sum(engine.check(*q) is not world.questions[q] for q in questions),
        "uncached_per_s": statistics.median(uncached_round(engine, questions) for _ in range(ROUNDS)),
        "repeated_per_s": statistics.median(rate(engine, questions) for _ in range(ROUNDS)),
    }
    latencies = sorted(map(min, zip(*(timed_round(engine, questions) for _ in range(3)), strict=True)))
    result["p50_us"] = round(statistics.median(latencies) / 1e3, 2)
    result["p99_us"] = round(latencies[len(latencies) * 99 // 100] / 1e3, 2)
    result["collect_ms"] = round(collection() * 1e3, 1)
    if not isinstance(engine, LookUp | Naive):
        result |= changes(engine, world)
    return result


def affordable(engine: Engine, questions: list[Question]) -> int:
    """How many of the questions fit the time, by a sample that is not used: slow engines are asked fewer."""
    sample = questions[-20:]
    start = time.perf_counter()
    for question in sample:
        engine.check(*question)
    each = (time.perf_counter() - start) / len(sample)
    return max(20, min(len(questions) - len(sample), int(ASKED_AT_MOST_S / each)))


def rate(engine: Engine, questions: Sequence[Question]) -> float:
    check = engine.check
    start = time.process_time()
    for principal, permission, resource in questions:
        check(principal, permission, resource)
    return len(questions) / (time.process_time() - start)


def uncached_round(engine: Engine, questions: Sequence[Question]) -> float:
    engine.forget()
    return rate(engine, questions)


def timed_round(engine: Engine, questions: Sequence[Question]) -> list[int]:
    engine.forget()
    check, now, taken = engine.check, time.perf_counter_ns, []
    for principal, permission, resource in questions:
        start = now()
        check(principal, permission, resource)
        taken.append(now() - start)
    return taken


def changes(engine: Engine, world: World) -> Result:
    """Give each change, ask, take it back, ask again; the answers must follow at once."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    wrong = 0
    end = time.perf_counter() + ASKED_AT_MOST_S
    for model, user in world.changes:
        steps: tuple[tuple[Callable[[str, str, str], None], bool], ...] = ((engine.grant, True), (engine.revoke, False))
        for step, expected in steps:
            start = time.perf_counter()
            step(model, ROLE, user)
            answer = engine.check(user, PREDICT, model)
            taken[expected].append(time.perf_counter() - start)
            wrong += answer is not expected
        if time.perf_counter() > end:
            break
    return {
        "visible_us": round(statistics.median(taken[True]) * 1e6, 1),
        "visible_max_us": round(max(taken[True] + taken[False]) * 1e6, 1),
        "change_wrong": wrong,
    }


def collection() -> float:
    """How long a full collection of cyclic garbage takes with the engine loaded, the world left out."""
    start = time.process_time()
    gc.collect()
    return time.process_time() - start


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Reporting

COLUMNS = (
    "engine",
    "uncached ÷ look-up",
    "repeated ÷ look-up",
    "uncached/s",
    "repeated/s",
    "new/s",
    "p50 µs",
    "p99 µs",
    "visible µs",
    "longest µs",
    "load s",
    "bytes",
    "collect ms",
    "wrong",
)


def report(results: Sequence[Result]) -> str:
    lines = [machine(), ""]
    for size in dict.fromkeys(result["size"] for result in results):
        of_size = [result for result in results if result["size"] == size]
        limit = of_size[0]["repeated_per_s"]
        lines += [f"### {size}: {of_size[0]['bindings']:,} bindings", "", row(COLUMNS), row(["---"] * len(COLUMNS))]
        lines += [row([result["engine"], *cells(result, limit)]) for result in of_size] + [""]
    return "\n".join(lines + growth(results))


def cells(result: Result, limit: float) -> list[str]:
    if "missing" in result:
        return [f"not installed (`{result['missing']}`)"] + [""] * (len(COLUMNS) - 2)
    if "failed" in result:
        return [f"failed: {result['failed']}"] + [""] * (len(COLUMNS) - 2)
    shown = [
        f"{result['uncached_per_s'] / limit:.3g}",
        f"{result['repeated_per_s'] / limit:.3g}",
        *(f"{result[key]:,.0f}" for key in ("uncached_per_s", "repeated_per_s", "new_per_s")),
        *(str(result.get(key, "")) for key in ("p50_us", "p99_us", "visible_us", "visible_max_us", "load_s")),
        *(str(result[key]) for key in ("bytes_per_binding", "collect_ms")),
    ]
    return [*shown, str(result["wrong"] + result.get("change_wrong", 0))]


def growth(results: Sequence[Result]) -> list[str]:
    """What each engine's uncached answer costs at the last size, in terms of the first."""
    by_engine: dict[str, list[Result]] = {}
    for result in results:
        if "bindings" in result:
            by_engine.setdefault(result["engine"], []).append(result)
    return [
        f"- {name}: {few['bindings']:,} to {many['bindings']:,} bindings, an uncached answer takes "
        f"{few['uncached_per_s'] / many['uncached_per_s']:.3g} times as long."
        for name, (few, *_, many) in ((n, rs) for n, rs in by_engine.items() if len(rs) > 1)
    ]


def row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")), "unknown CPU"
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


if __name__ == "__main__":
    main()
