"""Mixed requests over many versions while models are killed, evicted and batched: is every answer the right one?

Twenty versions of ten models, of three kinds, each with answers of its own: an answer of another version is a wrong
number. Requests to the linear ones also carry a number of their own, which the answer must hold: an answer to another
caller is wrong too. One request in a hundred is one that a model must refuse. The requests go to some of the versions
at a time, and the window moves on, so that the others become idle or are evicted; every so often a model process is
killed. A request may then fail with 503, a full queue is 429, a late answer 504; nothing else may happen, and nothing
may hang.

`python -m bench.serving.mixed` runs it alone; MLGATE_MIXED_REQUESTS says how many requests (a million otherwise).
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.authz.measure import table
from bench.serving.load import Connection, request
from bench.serving.mlgate import Mlgate, model_pids, predict_path

REQUESTS = 1_000_000
VARIABLE = "MLGATE_MIXED_REQUESTS"
VERSIONS, AT_ONCE = 20, 8
CONNECTIONS = 48
MEMORY = 3 << 29
"""Of all model processes together: enough for those that are asked at a time, and not for twenty."""
IDLE_SECONDS = 2.0
HANGS = 120.0
"""Seconds after which a request counts as hanging; the server's own limit is half of it."""
LOOK_SECONDS = 0.5
EXAMPLES = 10
REFUSALS = {429, 503, 504}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A request's body and what must come of it: predictions, or None for one that the model must refuse.

    `tolerance` is relative: 0 where predictions are whole numbers, and one caller's differ from another's by 1.
    """

    body: bytes
    predictions: list[float] | None
    tolerance: float

    def is_right(self, status: int, body: bytes) -> bool:
        try:
            answer = json.loads(body)
        except ValueError:
            return False
        if self.predictions is None:
            return status == 400 and list(answer) == ["error"] and "(Error code: " in str(answer["error"])
        if status != 200 or list(answer) != ["predictions"] or len(answer["predictions"]) != len(self.predictions):
            return False
        return all(self._is_close(*pair) for pair in zip(answer["predictions"], self.predictions, strict=True))

    def _is_close(self, given: Any, right: float) -> bool:
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        return is_number and math.isclose(given, right, rel_tol=self.tolerance)


@dataclass(frozen=True)
class Version:
    """One deployed version: its files, and how a request to it is made of a number that no other request has."""

    name: str
    framework: str
    file: str
    content: bytes
    ask: Callable[[random.Random, int], Asked]


@dataclass
class Outcome:
    """What happened. `wrong` are answers of status 200 that are not the right ones, `unexpected` are statuses that
    must not be; `started` counts the model processes that were seen, `ended` those that were seen to go."""

    requests: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    unexpected: int = 0
    examples: list[str] = field(default_factory=list)
    hung: int = 0
    lost: int = 0
    killed: int = 0
    started: int = 0
    ended: int = 0

    def is_good(self) -> bool:
        return not (self.wrong or self.unexpected or self.hung or self.lost)

    def complain(self, status: int, line: str) -> None:
        if status == 200:
            self.wrong += 1
        else:
            self.unexpected += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(line)


# Versions


def versions(count: int = VERSIONS) -> list[Version]:
    """Of three kinds in turn, no two with the same answers."""
    makers = (_linear, _forest, _xgboost)
    return [makers[number % len(makers)](f"mixed{number // 2}/v{number}", number) for number in range(count)]


def _linear(name: str, number: int) -> Version:
    """Whole numbers, so that a prediction is exact: the request's own number, and the version's."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    model = LinearRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array([1.0, 2.0**26]), float(number) * 2.0**36, 2

    def ask(dice: random.Random, unique: int) -> Asked:
        rows = [[unique, place] for place in range(dice.choice((1, 1, 1, 2, 8)))]
        right = [row[0] + row[1] * 2.0**26 + number * 2.0**36 for row in rows]
        return _asked(dice, rows, right, tolerance=0)

    return Version(name, "SCIKIT_LEARN", "model.joblib", _pickled(model), ask)


def _forest(name: str, number: int) -> Version:
    from sklearn.ensemble import RandomForestRegressor

    rows, values = _training(number)
    model = RandomForestRegressor(10, random_state=number, n_jobs=1).fit(rows, values)
    ask = _from_table(rows.tolist(), model.predict(rows).tolist())
    return Version(name, "SCIKIT_LEARN", "model.joblib", _pickled(model), ask)


def _xgboost(name: str, number: int) -> Version:
    import xgboost

    rows, values = _training(number)
    matrix = xgboost.DMatrix(rows, values)
    booster = xgboost.train({"max_depth": 4, "seed": number, "nthread": 1}, matrix, num_boost_round=20)
    ask = _from_table(rows.tolist(), booster.predict(matrix).astype(float).tolist())
    return Version(name, "XGBOOST", "model.bst", bytes(booster.save_raw("ubj")), ask)


def _training(number: int) -> tuple[Any, Any]:
    import numpy as np

    random_numbers = np.random.default_rng(number)
    rows = random_numbers.normal(size=(400, 6)).round(4)
    return rows, rows @ random_numbers.normal(size=6) + number * 100


def _from_table(rows: list[list[float]], right: list[float]) -> Callable[[random.Random, int], Asked]:
    def ask(dice: random.Random, unique: int) -> Asked:
        places = dice.choices(range(len(rows)), k=dice.choice((1, 1, 1, 2, 8)))
        return _asked(dice, [rows[place] for place in places], [right[place] for place in places], tolerance=1e-6)

    return ask


def _asked(dice: random.Random, rows: list[list[Any]], right: list[float], tolerance: float) -> Asked:
    if dice.random() < 0.01:
        return Asked(_body([*rows, ["no number"] * len(rows[0])]), None, tolerance)
    return Asked(_body(rows), right, tolerance)


def _body(rows: list[list[Any]]) -> bytes:
    return json.dumps({"instances": rows}).encode()


def _pickled(model: Any) -> bytes:
    import joblib

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


# The run


class _Plan:
    """Which version the next request goes to, and when a model is to be killed."""

    def __init__(self, deployed: Sequence[Version], server: Mlgate, requests: int, seed: int) -> None:
        self.outcome = Outcome()
        self.deployed = deployed
        self.requests = requests
        self.dice = random.Random(seed)
        self.url = urlsplit(server.url)
        self.headers = {"Authorization": f"Bearer {server.bearer}"}
        self._per_window = max(requests // 100, 500)

    def next(self) -> tuple[Version, Asked, bytes] | None:
        if self.outcome.requests == self.requests:
            return None
        self.outcome.requests += 1
        unique = self.outcome.requests
        first = unique // self._per_window
        version = self.deployed[(first + self.dice.randrange(AT_ONCE)) % len(self.deployed)]
        asked = version.ask(self.dice, unique)
        return version, asked, request(self.url, predict_path(version.name), self.headers, asked.body)


class _Caller:
    """What one connection asks (see load.Asker): one request at a time, each with its own expected answer."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waits: tuple[Version, Asked, bytes] | None = None

    def next(self) -> bytes | None:
        self._waits = self.plan.next()
        return self._waits[2] if self._waits else None

    def answered(self, status: int, body: bytes, seconds: float) -> None:
        assert self._waits
        version, asked, _ = self._waits
        outcome = self.plan.outcome
        outcome.statuses[status] += 1
        if status in REFUSALS:
            outcome.refusals[f"{status} {json.loads(body)['error']['message'][:120]}"] += 1
        if status not in REFUSALS and not asked.is_right(status, body):
            right = f"right: {asked.predictions or 'an error'}"
            outcome.complain(status, f"{version.name}: {asked.body[:100]!r} -> {status} {body[:300]!r}; {right[:100]}")

    def closed(self, is_waiting: bool) -> None:
        if is_waiting:
            self.plan.outcome.lost += 1
        self.ended.set_result(is_waiting)


async def _drive(plan: _Plan, server: Mlgate, kills: int, say: Say) -> None:
    watch = asyncio.ensure_future(_watch(plan, server, kills, say))
    calls = [asyncio.ensure_future(_connection(plan)) for _ in range(CONNECTIONS)]
    try:
        await asyncio.gather(*calls)
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


async def _connection(plan: _Plan) -> None:
    """Ask until there is nothing left to ask; a connection that ends before is counted and replaced."""
    loop = asyncio.get_running_loop()
    while plan.outcome.requests < plan.requests:
        caller = _Caller(plan)
        _, connection = await loop.create_connection(partial(Connection, caller), plan.url.hostname, plan.url.port)
        while not caller.ended.done():
            await asyncio.wait([caller.ended], timeout=LOOK_SECONDS)
            if connection.began and time.perf_counter() - connection.began > HANGS:
                plan.outcome.hung += 1
                connection.abort()
                await caller.ended


async def _watch(plan: _Plan, server: Mlgate, kills: int, say: Say) -> None:
    """Count model processes as they come and go, kill one now and then, and tell how far the run is."""
    outcome, seen, alive, told = plan.outcome, set[int](), set[int](), 0
    while True:
        now = set(await asyncio.to_thread(server.model_pids))
        seen |= now
        outcome.ended += len(alive - now)
        alive = now
        outcome.started = len(seen)
        if now and outcome.killed < kills * outcome.requests / plan.requests:
            victim = plan.dice.choice(sorted(now))
            if model_pids([victim]):  # it may have ended by itself, and its number is another's
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    outcome.killed += 1
        if outcome.requests * 20 // plan.requests > told:
            told = outcome.requests * 20 // plan.requests
            found = f"{outcome.wrong} wrong, {outcome.unexpected} unexpected"
            say(f"  {outcome.requests:,} requests: {found}; {outcome.killed} models killed")
        await asyncio.sleep(LOOK_SECONDS)


def run(folder: Path, requests: int = 0, kills: int = 0, seed: int = 7, say: Say = lambda _: None) -> Outcome:
    """Deploy the versions into a server in `folder`, ask, and compare. `kills` models are killed on the way."""
    import uvloop

    requests = requests or int(os.environ.get(VARIABLE, REQUESTS))
    settings = {"models_memory": MEMORY, "idle_seconds": IDLE_SECONDS, "model_spares": 1}
    with Mlgate(folder, settings) as server:
        deployed = versions()
        operations = []
        for number, version in enumerate(deployed):
            address = server.upload(version.name.replace("/", "-"), {version.file: version.content})
            fields = {"autoScaling": {"minNodes": 0}} if number % 4 else {"manualScaling": {"nodes": 1}}
            operations.append(server.begin(version.name, address, version.framework, fields))
        server.finish(operations)
        plan = _Plan(deployed, server, requests, seed)
        began = time.monotonic()
        uvloop.run(_drive(plan, server, kills or 5 + requests // 10_000, say))
        plan.outcome.seconds = time.monotonic() - began
        return plan.outcome


# Reporting


def report(record: dict[str, Any]) -> list[str]:
    """The section of the page."""
    if "why" in record:
        return ["## Wrong answers", "", f"Not measured: {record['why'][:500]}"]
    statuses = {int(status): count for status, count in record["statuses"].items()}
    failures = ", ".join(f"{statuses.get(status, 0):,} × {status}" for status in (429, 503, 504))
    rows = [
        ("requests, each answer compared", f"{record['requests']:,} in {record['seconds']:,.0f} s"),
        ("answered with predictions (200)", f"{statuses.get(200, 0):,}"),
        ("refused by the model, as it must (400)", f"{statuses.get(400, 0):,}"),
        ("queue full, model gone, too late", failures),
        *((f"— {reason}", f"{count:,}") for reason, count in record["refusals"].items()),
        ("wrong answers, or to the wrong caller", f"{record['wrong']:,}"),
        ("any other failure", f"{record['unexpected']:,}"),
        ("requests that hung, connections that were lost", f"{record['hung']}, {record['lost']}"),
        ("model processes killed with kill -9", record["killed"]),
        ("model processes seen, and seen to end", f"{record['started']}, {record['ended']}"),
    ]
    holds = "**no**" if any(record[what] for what in ("wrong", "unexpected", "hung", "lost")) else "yes"
    lines = ["## Wrong answers", "", *table(("20 versions, restarts and evictions going on", ""), rows), ""]
    lines += [f"No wrong answer, none to the wrong caller, no other failure, none that hangs: {holds}.", ""]
    return [*lines, *(f"- {line}" for line in record["examples"])]


def record_of(outcome: Outcome) -> dict[str, Any]:
    """For a line of JSON."""
    counted = {"statuses": {str(status): count for status, count in outcome.statuses.items()}}
    plain = replace(outcome, statuses=Counter(), refusals=Counter())  # asdict counts the pairs of a Counter
    return {**asdict(plain), **counted, "refusals": dict(outcome.refusals)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder) / "data", say=lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(report(record_of(outcome))))
    if not outcome.is_good():
        sys.exit("There were wrong answers.")


if __name__ == "__main__":
    main()
