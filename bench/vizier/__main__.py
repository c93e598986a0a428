"""`python -m bench.vizier`: how good the optimizer is, beside its peers; `--write` makes the page.

The peers need `pip install optuna torch`, in this environment or in another one that also has numpy and scipy
(`PYTHONPATH=.:src OTHER/bin/python -m bench.vizier`). Runs of the regret part are kept in `--results` and not repeated:
delete the file after a change.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.vizier import problems, regret, stopping, timing
from bench.vizier.contestants import CONTESTANTS

PAGE = Path(__file__).parent.parent.parent / "docs" / "benchmarks-vizier.md"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
REFERENCES = ("optuna-tpe", "optuna-gp")
SIZES = (10, 20, 50, 100, 200, 500, 1000)

_INTRO = """# Benchmarks of the optimizer

Written by `python -m bench.vizier --write`. Every figure stands beside its peers of the same run. `mlgate` is called as
the server calls it: with the stored trials and nothing else. CPU seconds, one thread.
"""

_REGRET = """## Regret after 40 trials

Median of log10 of the regret, lower is better; for zdt1 the share of the hypervolume that is missing. The 12 core
problems were at hand while the optimizer was built (with other seeds), the 6 held out were not, but for one: the way
batches are made was last changed with hpo-gbt-b5 in sight (with other seeds).
"""

_RANK = "Rank: 1 is best, mean over the problems. P: how often a run beats one of Optuna's, ties count half."

_BATCHES = """## Batches of five, {} seeds

Trials asked for five at a time, with more seeds: few tell close ones apart badly. All of these problems were at hand
when the way batches are made was last changed, with other seeds.
"""

_INFEASIBLE = "## Infeasible suggestions on infeasible-4, mean of 40\n"

_TIME = """## One suggestion, rebuilt from n stored trials

Fresh process state, ellipsoid-8, medians of CPU time, imports not counted.
"""

_STOPPING = """## Stopping rules on real learning curves

120 curves of 5 checkpoints, 20 shuffles of 40 trials.
"""


def main() -> None:
    _one_thread()
    parser = argparse.ArgumentParser(prog="python -m bench.vizier", description=__doc__)
    parser.add_argument("--parts", default="regret,time,stopping")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--problems", default=",".join(problems.ALL))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--results", type=Path, default=Path(tempfile.gettempdir()) / "mlgate-bench-vizier.jsonl")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} too")
    chosen = parser.parse_args()
    names = chosen.contestants.split(",")
    if any(name.startswith("optuna") for name in names) and not importlib.util.find_spec("optuna"):
        sys.exit("optuna is not installed: pip install optuna torch, or name other --contestants.")
    lines = [_INTRO, f"Measured on {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}.\n"]
    parts = chosen.parts.split(",")
    if "regret" in parts:
        seeds = range(chosen.seeds)
        asked = chosen.problems.split(",")
        regret.run(names, [n for n in asked if n in (*problems.CORE, *problems.HELD_OUT)], seeds, chosen.results)
        lines += [_REGRET, *regret_tables(chosen.results, names, seeds), ""]
        batches = [name for name in asked if name in problems.IN_BATCHES]
        if batches:
            seeds = range(2 * chosen.seeds)
            regret.run(names, batches, seeds, chosen.results)
            lines += [
                _BATCHES.format(len(seeds)),
                *regret_table("Batches", batches, names, _runs(chosen.results, names, seeds)),
                "",
            ]
    if "time" in parts:
        times = timing.measure([name for name in names if name not in ("random", "sobol")], SIZES)
        lines += [_TIME, *timing.table(times), ""]
    if "stopping" in parts:
        lines += [_STOPPING, *stopping.table(), ""]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if chosen.write:
        PAGE.write_text(text)


def _one_thread() -> None:
    """CPU seconds compare only if everybody has one thread; the libraries read this when they are loaded."""
    if any(os.environ.get(name) != "1" for name in _THREADS):
        environment = os.environ | dict.fromkeys(_THREADS, "1")
        os.execve(sys.executable, [sys.executable, "-m", "bench.vizier", *sys.argv[1:]], environment)


_Runs = dict[tuple[str, str], dict[int, regret.Record]]


def _runs(results: Path, names: Sequence[str], seeds: Sequence[int]) -> _Runs:
    runs: _Runs = {}
    for record in regret.read(results):
        if record["seed"] in seeds and record["contestant"] in names:
            runs.setdefault((record["problem"], record["contestant"]), {})[record["seed"]] = record
    return runs


def regret_tables(results: Path, names: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    runs = _runs(results, names, seeds)
    for title, group in (("Core", problems.CORE), ("Held out", problems.HELD_OUT)):
        met = [problem for problem in group if all((problem, name) in runs for name in names)]
        if met:
            yield from regret_table(title, met, names, runs)
            yield ""
    yield _RANK + "\n"
    if all(("infeasible-4", name) in runs for name in names):
        shares = [np.mean([r["infeasible"] for r in runs["infeasible-4", name].values()]) / 40 for name in names]
        yield _INFEASIBLE
        yield "| " + " | ".join(names) + " |"
        yield "|" + "---|" * len(names)
        yield "| " + " | ".join(f"{share:.0%}" for share in shares) + " |"


def regret_table(title: str, met: Sequence[str], names: Sequence[str], runs: _Runs) -> Iterator[str]:
    medians = {(p, name): float(np.median(_logs(runs[p, name]))) for p in met for name in names}
    yield f"| {title} | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for problem in met:
        best = min(medians[problem, name] for name in names)
        cells = (f"{medians[problem, name]:.2f}" for name in names)
        shown = (f"**{cell}**" if float(cell) <= round(best, 2) else cell for cell in cells)
        yield f"| {problem} | " + " | ".join(shown) + " |"
    ranks = np.array([_ranks([medians[problem, name] for name in names]) for problem in met]).mean(axis=0)
    yield "| mean rank | " + " | ".join(f"{rank:.2f}" for rank in ranks) + " |"
    for reference in REFERENCES:
        if reference in names:
            wins = [np.mean([_wins(runs[p, name], runs[p, reference]) for p in met]) for name in names]
            yield f"| P(beats {reference}) | " + " | ".join(f"{win:.2f}" for win in wins) + " |"
    cpu = [np.median([r["cpu"] for p in met for r in runs[p, name].values()]) for name in names]
    yield "| CPU per round, later half | " + " | ".join(f"{1000 * seconds:.0f} ms" for seconds in cpu) + " |"


def _logs(rows: dict[int, regret.Record]) -> list[float]:
    return [float(np.log10(row["regret"])) for row in rows.values()]


def _ranks(values: Sequence[float]) -> list[float]:
    """1 for the lowest; who is equal shares the mean."""
    return [
        1
        + sum(other < value - 1e-9 for other in values)
        + (sum(abs(other - value) <= 1e-9 for other in values) - 1) / 2
        for value in values
    ]


def _wins(rows: dict[int, regret.Record], reference: dict[int, regret.Record]) -> float:
    pairs = [(one, other) for one in _logs(rows) for other in _logs(reference)]
    return float(np.mean([(one < other - 1e-9) + 0.5 * (abs(one - other) <= 1e-9) for one, other in pairs]))


if __name__ == "__main__":
    main()
