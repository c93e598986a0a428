"""What idle versions cost: the first prediction after scaling to zero, memory of each, and many of them at once.

Everything is seen from outside: over the API, and in /proc.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bench.authz.measure import table
from bench.serving.mlgate import FILES, Mlgate
from bench.serving.models import Answers, body
from bench.serving.processes import memory

TO_ZERO = {"autoScaling": {"minNodes": 0, "maxNodes": 1}}
ALWAYS_ONE = {"manualScaling": {"nodes": 1}}
IDLE_SECONDS = 2.0
WARM_SECONDS = 3.0
ZERO_SECONDS = 60.0
"""How long after it is idle a version may take to give its process up."""
SPARES = (1, 0)
"""Of a version's kind, how many wait. No more than one: see _at_zero."""
MANY, MANY_BYTES = 200, 4 << 30
SERVER_BYTES = 1 << 30
"""What of it is left to the server itself and to what the models' own count leaves out."""
GIVE_UP_BYTES = MANY_BYTES * 3 // 2
"""A server that goes this far has failed, and is stopped before the machine has."""

Record = dict[str, Any]
Say = Callable[[str], None]


def run(data: Path, folder: Path, times: int = 5, versions: int = MANY, say: Say = lambda _: None) -> Iterator[Record]:
    """Records of all three measurements, as they come; one that fails says `why`."""
    for model in FILES:
        for spares in SPARES:
            say(f"cold starts of {model}, warm spares: {spares}")
            server = Mlgate(folder / f"{model}-{spares}", {"model_spares": spares, "idle_seconds": IDLE_SECONDS})
            found = _tried(server, partial(cold_starts, data=data, model=model, times=times))
            yield {"what": "start", "model": model, "spares": spares, **found}
    for model in FILES:
        say(f"memory of idle versions of {model}")
        found = _tried(
            Mlgate(folder / f"{model}-memory", {"model_spares": 0}), partial(memory_of, data=data, model=model)
        )
        yield {"what": "memory", "model": model, **found}
    say(f"{versions} versions")
    settings = {"models_memory": MANY_BYTES - SERVER_BYTES, "idle_seconds": 3600}
    yield {"what": "many", **_tried(Mlgate(folder / "many", settings), partial(many, data=data, versions=versions))}


def _tried(server: Mlgate, measure: Callable[[Mlgate], Record]) -> Record:
    try:
        with server:
            return measure(server)
    except (RuntimeError, OSError, httpx.HTTPError) as error:
        return {"why": f"failed: {error}"[:300]}


def cold_starts(server: Mlgate, data: Path, model: str, times: int) -> Record:
    """Milliseconds of the first prediction after the version scaled to zero, and of the one after that."""
    server.deploy(data, model, fields=TO_ZERO)
    asked, answers = body(data, model, 1).read_bytes(), Answers(data)
    cold: list[float] = []
    warm: list[float] = []
    resting: set[int] = set()
    for number in range(times + 1):
        found = _at_zero(server, resting)
        if found is None:
            return {"why": f"not scaled to zero after {ZERO_SECONDS:g} s"}
        resting = found
        for taken in (cold, warm):
            began = time.perf_counter()
            answer = server.predict(model, asked)
            taken.append((time.perf_counter() - began) * 1e3)
            if not (answer.is_success and answers.agree(model, 1, answer.json())):
                return {"why": f"it answered {answer.status_code} {answer.text[:200]}"}
        if not number:  # whether what rested was a spare, or the version's own process, shows when it ends
            cold.clear()
            warm.clear()
    return {"cold_ms": cold, "warm_ms": warm}


def _at_zero(server: Mlgate, before: set[int]) -> set[int] | None:
    """Wait until nothing but the spare is there, and is warm; the processes that rest. None when it does not happen.

    A spare looks like a process that serves. But what rested `before` the last prediction has served it, and must be
    gone: if it is still there, that version does not scale to zero, or the prediction started a process of its own.
    """
    now, since, until = set(server.model_pids()), time.monotonic(), time.monotonic() + ZERO_SECONDS
    while len(now) != server.spares or now & before or time.monotonic() - since < IDLE_SECONDS + WARM_SECONDS:
        if time.monotonic() > until:
            return None
        time.sleep(0.05)
        was, now = now, set(server.model_pids())
        since = since if now == was else time.monotonic()
    return now


def memory_of(server: Mlgate, data: Path, model: str, versions: int = 8) -> Record:
    """Bytes of each version's process when several of one model are loaded and idle: the mean."""
    before = set(server.model_pids())
    asked = body(data, model, 1).read_bytes()
    for number in range(versions):
        name = f"{model}/v{number}"
        server.deploy(data, model, name, ALWAYS_ONE)
        server.predict(name, asked)
    pids = set(server.model_pids()) - before
    rss, pss = memory(pids)
    count = max(len(pids), 1)
    return {"processes": len(pids), "rss": rss // count, "pss": pss // count}


def many(server: Mlgate, data: Path, versions: int) -> Record:
    """Deploy many versions, then ask each twice; the largest memory of the server with all its processes."""
    framework, file, deployed = FILES["iris"]
    address = server.upload("iris", {deployed: (data / "iris" / file).read_bytes()})
    names = [f"many{number % 10}/v{number}" for number in range(versions)]
    asked, answers = body(data, "iris", 1).read_bytes(), Answers(data)
    largest, most, wrong = 0, 0, 0
    began = time.monotonic()

    def look() -> bool:
        nonlocal largest, most
        largest = max(largest, memory(server.pids())[1])
        most = max(most, len(server.model_pids()))
        return largest <= GIVE_UP_BYTES

    def result(why: str = "") -> Record:
        found = {"versions": versions, "pss": largest, "processes": most, "wrong": wrong, "deployed_s": deployed_s}
        return {**found, "asked_s": time.monotonic() - began, **({"why": why} if why else {})}

    deployed_s = 0.0
    for start in range(0, versions, 10):
        server.finish([server.begin(name, address, framework, TO_ZERO) for name in names[start : start + 10]])
        deployed_s = time.monotonic() - began
        if not look():
            return result(f"stopped after {start + 10} deployments: more than {GIVE_UP_BYTES >> 20:,} MB")
    began = time.monotonic()
    for number, name in enumerate([*names, *names]):
        answer = server.predict(name, asked)
        wrong += not (answer.is_success and answers.agree("iris", 1, answer.json()))
        if number % 10 == 9 and not look():
            return result(f"stopped after {number + 1} predictions: more than {GIVE_UP_BYTES >> 20:,} MB")
    return result()


# Reporting


def report(records: Sequence[Record]) -> list[str]:
    """The section of the page."""
    lines = ["## Idle versions", "", *table(("promise", "bound", "measured", "holds"), _bars(records)), ""]
    starts = [r for r in records if r["what"] == "start"]
    if starts:
        head = ("model", "warm spares", "first prediction after scaling to zero, ms", "longest, ms", "the next one, ms")
        lines += [*table(head, [_start_row(r) for r in starts]), ""]
    kept = [r for r in records if r["what"] == "memory"]
    if kept:
        columns = ("model", "processes looked at", "RSS of each, MB", "PSS of each, MB")
        lines += table(columns, [_memory_row(r) for r in kept])
    return lines


def _start_row(record: Record) -> tuple[str, ...]:
    name, spares = record["model"], str(record["spares"])
    if "why" in record:
        return name, spares, record["why"], "", ""
    cold, warm = record["cold_ms"], record["warm_ms"]
    median, longest, next_one = statistics.median(cold), max(cold), statistics.median(warm)
    return name, spares, f"{median:,.1f}", f"{longest:,.1f}", f"{next_one:,.1f}"


def _memory_row(record: Record) -> tuple[object, ...]:
    if "why" in record:
        return record["model"], record["why"], "", ""
    return record["model"], record["processes"], record["rss"] >> 20, record["pss"] >> 20


def _bars(records: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    for record in records:
        if record["what"] == "start" and record["spares"]:
            says = f"{record['model']}: cold start with a warm spare, longest"
            if "why" in record:
                yield says, "under 1 s", record["why"], "**not shown**"
            else:
                longest = max(record["cold_ms"]) / 1e3
                yield says, "under 1 s", f"{longest:.2f} s", "yes" if longest < 1 else "**no**"
        elif record["what"] == "many":
            yield _many_row(record)


def _many_row(record: Record) -> tuple[str, ...]:
    says, bound = "versions deployed and asked at once, PSS of everything", f"at most {MANY_BYTES >> 20:,} MB"
    if "pss" not in record:
        return says, bound, record["why"], "**not shown**"
    measured = f"{record['pss'] >> 20:,} MB, {record['wrong']} wrong or refused answers"
    measured += f"; {record['why']}" if "why" in record else ""
    holds = record["pss"] <= MANY_BYTES and not record["wrong"] and "why" not in record
    return f"{record['versions']} {says}", bound, measured, "yes" if holds else "**no**"
