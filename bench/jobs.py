"""`python -m bench.jobs [ROWS ...]`: what jobs cost; `--write` makes docs/benchmarks-jobs.md, from 10k to 10M rows.

The overhead of a training job is the time from its `jobs.create` to the first line of its program, which says when that
is, on a server that waits for it. Beside it is what the bare interpreter takes to the same line, and the same with a
Python started to start it, since a keeper stands between. Batch prediction is in bench/batch.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from bench import batch
from tests.harness import Server
from tests.http.people import Api
from tests.jobs.programs import Lab

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-jobs.md"
JOBS = 10
SIZES = [10_000, 100_000, 1_000_000, 10_000_000]
_SAYS = "import time; print('began', time.time(), flush=True)"

_INTRO = """# What jobs cost

Written by `python -m bench.jobs --write`, on a machine with {cores} cores, {date}. Read the figures beside each other:
those of one table are of the same run, and a shared machine moves all of them.
"""
_OVERHEAD = """## From create to the first line

Seconds from the call of `jobs.create` to the first line of the program, of {jobs} training jobs one after the other,
with the environment there and nothing else to do: queue, packages, keeper, sandbox and interpreter.
"""
_BATCH = """## Batch prediction

An XGBoost model of 200 trees and 30 features, newline JSON and CSV, one core. `by hand` is a loop of orjson, or of
pandas in chunks, around the same Booster, as one would write it: it does not look for bad rows, and cannot go on after
a crash. The best of several rounds (of one, where rows are more than a million), in turns on the same core.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=SIZES)
    parser.add_argument("--parts", default="overhead,batch", help="what to measure; the page keeps its other part")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} too")
    chosen = parser.parse_args()
    parts = chosen.parts.split(",")
    made = {"overhead": _overhead(), "batch": chain([_BATCH], batch.table(chosen.rows))}
    kept = dict(zip(made, PAGE.read_text().split("\n## ")[1:], strict=True)) if PAGE.exists() else {}
    lines = [_INTRO.format(cores=os.cpu_count(), date=f"{datetime.now(UTC):%Y-%m-%d}")]
    for name, found in made.items():
        if name in parts:
            for line in found:
                print(line, flush=True)
                lines.append(line)
        elif name in kept:
            lines.append("## " + kept[name].rstrip("\n"))
        lines.append("")
    if chosen.write:
        PAGE.write_text("\n".join(lines).rstrip("\n") + "\n")


def _overhead() -> Iterator[str]:
    yield _OVERHEAD.format(jobs=JOBS)
    yield "| what | median | slowest |"
    yield "|---|--:|--:|"
    start = [sys.executable, "-c", _SAYS]
    twice = [sys.executable, "-c", f"import subprocess; subprocess.run({start})"]
    ways = {"a job": _jobs(), "the interpreter, by an interpreter": _alone(twice), "the interpreter": _alone(start)}
    for name, seconds in ways.items():
        yield f"| {name} | {statistics.median(seconds):.3f} | {max(seconds):.3f} |"


def _jobs() -> list[float]:
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(Path(scratch) / "data", settings={"MLGATE_RUNNER_SLOTS": "1"})
        try:
            with Api(server.initialize().start()) as api:
                lab = Lab(api, "jobs-bench").make()
                lab.run(_SAYS)  # what is done once only: the package's upload, the sandbox's trial, files in memory
                return [_job(lab) for _ in range(JOBS)]
        finally:
            server.close()


def _job(lab: Lab) -> float:
    began = time.time()
    job_id = lab.submit(_SAYS)
    lab.wait(job_id)
    (said,) = [line for line in lab.lines(job_id) if line.startswith("began")]
    return float(said.split()[1]) - began


def _alone(command: list[str]) -> list[float]:
    found = []
    for _ in range(JOBS):
        began = time.time()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(float(said.split()[1]) - began)
    return found


if __name__ == "__main__":
    main()
