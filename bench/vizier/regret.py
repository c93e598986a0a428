"""Regret: every contestant on every problem with every seed, a line of JSON for each run; no run is made twice."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.vizier import problems
from bench.vizier.contestants import CONTESTANTS

Record = dict[str, Any]


def read(results: Path) -> Iterator[Record]:
    if results.exists():
        yield from map(json.loads, results.read_text().splitlines())


def run(contestants: Sequence[str], names: Sequence[str], seeds: Sequence[int], results: Path) -> None:
    have = {(r["contestant"], r["problem"], r["seed"]) for r in read(results)}
    for seed in seeds:
        for name in names:
            for contestant in contestants:
                if (contestant, name, seed) not in have:
                    record = one(contestant, name, seed)
                    with results.open("a") as out:
                        out.write(json.dumps(record) + "\n")
                    print(f"{contestant} {name} {seed}: {record['regret']:.4g}, {record['cpu']:.3f} s", file=sys.stderr)


def one(contestant: str, name: str, seed: int) -> Record:
    problem = problems.ALL[name]
    player, noise = CONTESTANTS[contestant](problem.config, seed), np.random.default_rng(1000 + seed)
    history: list[tuple[problems.Point, problems.Outcome]] = []
    rounds = []
    while len(history) < problems.TRIALS:
        start = time.process_time()
        asked = player.ask(min(problem.batch, problems.TRIALS - len(history)))
        rounds.append(time.process_time() - start)
        for key, point in asked:
            outcome = problem.evaluate(point, noise)
            history.append((point, outcome))
            start = time.process_time()
            player.tell(key, outcome)
            rounds[-1] += time.process_time() - start
    points = {json.dumps(point, sort_keys=True) for point, _ in history}
    return {
        "contestant": contestant,
        "problem": name,
        "seed": seed,
        "regret": problem.score(history),
        "cpu": float(np.median(rounds[len(rounds) // 2 :])),
        "infeasible": sum(outcome is None for _, outcome in history),
        "repeats": len(history) - len(points),
    }
