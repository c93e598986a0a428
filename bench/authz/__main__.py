"""Measure decisions, conditions, listings and reviews, and print the tables: `python -m bench.authz --sizes 1k,1M`.

Each contestant and world runs alone in a new process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from bench.authz import conditions, decisions, listings, reviews
from bench.authz.engines import AsWritten, Engine, Index, LookUp
from bench.authz.measure import Result, machine, table
from bench.authz.peers import PEERS
from bench.authz.workload import KINDS, SIZES, World, make_world

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (LookUp, Index, AsWritten, *PEERS)}
#: What is measured of each world, and the package that each contestant needs.
CONTESTS: dict[str, Mapping[str, str]] = {
    "decisions": {name: engine.package for name, engine in ENGINES.items()},
    "listings": {name: engine.package for name, engine in ENGINES.items() if hasattr(engine, "models")},
    "reviews": reviews.CONTESTANTS,
}
REPORTS: dict[str, tuple[str, Any]] = {
    "decisions": ("Decisions", decisions),
    "conditions": ("What a condition costs", conditions),
    "listings": ("Models of a project on which a caller may predict", listings),
    "reviews": ("Who may predict on a model", reviews),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.authz", description="Compare the speed of decisions.")
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"some of {','.join(SIZES)}")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {','.join(KINDS)}")
    parser.add_argument("--contests", default=",".join(REPORTS), help=f"some of {','.join(REPORTS)}")
    parser.add_argument("--only", help="a contestant; the limit and mlgate are always there")
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--one", nargs=3, metavar=("CONTEST", "CONTESTANT", "WORLD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run_here(*options.one)))
        return
    results: dict[str, list[Result]] = {contest: [] for contest in options.contests.split(",")}
    if "conditions" in results:
        results["conditions"] = in_new_process("conditions", "mlgate", "-")
    for size in options.sizes.split(","):
        for kind in options.kinds.split(","):
            for contest, result in run_world(size, kind, list(results), options.only):
                results[contest].append({"size": size, "kind": kind, **result})
    print("\n".join(report(results)))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
    if any(r.get("wrong") or r.get("change_wrong") for some in results.values() for r in some):
        sys.exit("There were wrong answers.")


# Running


def run_world(size: str, kind: str, contests: Sequence[str], only: str | None) -> Iterator[tuple[str, Result]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world"
        path.write_bytes(pickle.dumps(make_world(size, kind)))
        for contest in contests:
            for name, package in CONTESTS.get(contest, {}).items():
                if only is None or only in name or name.startswith((Index.name, LookUp.name)):
                    print(f"  {contest}, {size} {kind}: {name}", file=sys.stderr)
                    for result in run_one(contest, name, package, path):
                        yield contest, {"engine": name, **result}


def run_one(contest: str, name: str, package: str, world: Path) -> list[Result]:
    if package and not importlib.util.find_spec(package):
        return [{"why": f"not installed (`{package}`)"}]
    return in_new_process(contest, name, str(world))


def in_new_process(contest: str, name: str, world: str) -> list[Result]:
    command = [sys.executable, "-m", "bench.authz", "--one", contest, name, world]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [{"why": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}]
    results: list[Result] = json.loads(done.stdout.splitlines()[-1])
    return results


def run_here(contest: str, name: str, path: str) -> list[Result]:
    if contest == "conditions":
        return conditions.measured()
    world: World = pickle.loads(Path(path).read_bytes())
    if contest == "reviews":
        return reviews.measured(name, world)
    if contest == "listings":
        return listings.measured(ENGINES[name](), world)
    return [decisions.measured(ENGINES[name](), world)]


# Reporting


def report(results: Mapping[str, list[Result]]) -> list[str]:
    lines = [machine(), "", *bars(results)]
    for contest, some in results.items():
        title, part = REPORTS[contest]
        lines += [f"## {title}", "", *part.report(some)]
    return lines


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise about the rows of a contest that hold these values: no figure is below `least` or above `most`."""

    says: str
    contest: str
    rows: Mapping[str, str]
    figure: str
    least: float = 0
    most: float = inf

    def row(self, results: Sequence[Result], kind: str) -> tuple[str, ...]:
        found = [r[self.figure] for r in results if self._is_about(r, kind) and self.figure in r]
        worst = min(found, default=0) if self.most == inf else max(found, default=inf)
        bound = f"at least {self.least:,}" if self.most == inf else f"at most {self.most:,}"
        holds = "yes" if found and self.least <= worst <= self.most else "**no**"
        return self.says, kind, bound, f"{worst:,.0f}" if worst >= 1000 else f"{worst:.3g}", holds

    def _is_about(self, result: Result, kind: str) -> bool:
        return result.get("kind") == kind and all(result.get(key) == value for key, value in self.rows.items())


_OURS = {"engine": Index.name}
BARS = (
    Bar("uncached decisions a second", "decisions", _OURS, "uncached_per_s", least=150_000),
    Bar("repeated decisions a second", "decisions", _OURS, "repeated_per_s", least=1_000_000),
    Bar("uncached decision, p99, µs", "decisions", _OURS, "p99_us", most=25),
    Bar("a change is visible, longest, µs", "decisions", _OURS, "visible_max_us", most=1_000),
    Bar("listing, typical caller, median, ms", "listings", {**_OURS, "caller": "typical"}, "p50_ms", most=1),
    Bar("review of a typical model, longest, ms", "reviews", {"engine": reviews.STORED, "model": "typical"},
        "longest_ms", most=50),
    Bar("review of the most shared model, longest, ms", "reviews", {"engine": reviews.STORED, "model": "most shared"},
        "longest_ms", most=50),
)  # fmt: skip


def bars(results: Mapping[str, list[Result]]) -> list[str]:
    """What was promised, at the largest of the sizes, and what a condition costs at most."""
    rows: list[tuple[str, ...]] = []
    for bar in BARS:
        measured = results.get(bar.contest, [])
        largest = [r for r in measured if r["size"] == measured[-1]["size"]]
        rows += [bar.row(largest, kind) for kind in dict.fromkeys(r["kind"] for r in largest)]
    for condition in results.get("conditions", []):
        more = Bar("a condition, µs more", "conditions", {}, "uncached_us", most=10)
        rows.append(more.row([condition], condition["kind"]))
    return [*table(("promised of mlgate", "world", "bound", "measured", "holds"), rows), ""]


if __name__ == "__main__":
    main()
