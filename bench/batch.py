"""`python -m bench.batch [ROWS ...]`: batch prediction beside a script that a person would write, on one core each.

An XGBoost model of 200 trees and 30 features; newline JSON and CSV. Both are processes of their own that read one file
and write another: `mlgate` is what a job runs (adapters/runtimes/batch.py), without its sandbox; `by hand` is a loop of
orjson, or of pandas in chunks, around the same Booster. They take turns on the same core; the best of several rounds
counts, so that what else the machine does matters less. Time is processor time from the first row to the last, as each
tells it; memory is that of the whole process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy
import xgboost

PROCESS = Path(__file__).parent.parent / "src" / "mlgate" / "adapters" / "runtimes" / "process.py"
FEATURES, TREES = 30, 200
#: A file of more rows than MANY is read once each way.
ROUNDS, MANY = 3, 1_000_000
#: So many different rows; a larger file repeats them.
DIFFERENT = 100_000
BY_HAND = {
    "JSON": """
import time, sys, numpy, orjson, xgboost
booster = xgboost.Booster(model_file=sys.argv[1]); booster.set_param({"nthread": 1})
began = time.process_time()
def predict(rows, out):
    out.writelines(b"%s\\n" % orjson.dumps(value) for value in booster.inplace_predict(numpy.array(rows)).tolist())
with open(sys.argv[2], "rb") as file, open(sys.argv[3], "wb") as out:
    rows = []
    for line in file:
        rows.append(orjson.loads(line))
        if len(rows) == 4096:
            predict(rows, out)
            rows = []
    if rows:
        predict(rows, out)
print(time.process_time() - began, "s of processor time")
""",
    "CSV": """
import time, sys, pandas, xgboost
booster = xgboost.Booster(model_file=sys.argv[1]); booster.set_param({"nthread": 1})
began = time.process_time()
with open(sys.argv[3], "w") as out:
    for chunk in pandas.read_csv(sys.argv[2], header=None, chunksize=4096):
        out.writelines(f"{value}\\n" for value in booster.inplace_predict(chunk.to_numpy()).tolist())
print(time.process_time() - began, "s of processor time")
""",
}


class Run(NamedTuple):
    cpu: float
    seconds: float
    memory: int


def main() -> None:
    for line in table([int(word) for word in sys.argv[1:]] or [50_000]):
        print(line, flush=True)


def table(sizes: Sequence[int]) -> Iterator[str]:
    """The figures as lines of Markdown, each as soon as it is there."""
    yield "| format | rows | way | rows per CPU s | CPU s | seconds in all | peak MB |"
    yield "|---|--:|---|--:|--:|--:|--:|"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _make_model(root / "model.ubj")
        for kind in BY_HAND:
            for size in sizes:
                path = _input(root, kind, size)
                for way, run in _in_turns(root, kind, path, ROUNDS if size <= MANY else 1).items():
                    told = f"{size / run.cpu:,.0f} | {run.cpu:.2f} | {run.seconds:.1f} | {run.memory >> 20}"
                    yield f"| {kind} | {size:,} | {way} | {told} |"
                path.unlink()


def _make_model(path: Path) -> None:
    random = numpy.random.default_rng(1)
    rows = random.standard_normal((5000, FEATURES))
    labels = (rows[:, :5].sum(axis=1) > 0).astype(int)
    xgboost.XGBClassifier(n_estimators=TREES, max_depth=6).fit(rows, labels).get_booster().save_model(path)


def _input(root: Path, kind: str, size: int) -> Path:
    path, random = root / f"{kind}-{size}", numpy.random.default_rng(2)
    rows = random.standard_normal((min(size, DIFFERENT), FEATURES)).round(5).tolist()
    lines = [(json.dumps(row) if kind == "JSON" else ",".join(map(str, row))) + "\n" for row in rows]
    with path.open("w") as file:
        for start in range(0, size, len(lines)):
            file.writelines(lines[: size - start])
    return path


def _in_turns(root: Path, kind: str, path: Path, rounds: int) -> dict[str, Run]:
    """The best run of each way; both must give the same."""
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, found in runs.items():
            found.append(_run(root, way, kind, path))
        numbers = [numpy.loadtxt(root / way / "results") for way in WAYS]
        assert numpy.allclose(*numbers), "the ways do not agree"
    return {way: Run(*(min(values) for values in zip(*found, strict=True))) for way, found in runs.items()}


def _by_hand(root: Path, kind: str, path: Path, place: Path) -> list[str]:
    return ["-c", BY_HAND[kind], str(root / "model.ubj"), str(path), str(place / "results")]


def _mlgate(root: Path, kind: str, path: Path, place: Path) -> list[str]:
    files = place / "files"
    (files / "model").mkdir(parents=True, exist_ok=True)
    (files / "input").mkdir(exist_ok=True)
    for source, target in ((root / "model.ubj", files / "model" / "model.bst"), (path, files / "input" / "0")):
        target.unlink(missing_ok=True)
        os.link(source, target)
    plan = {
        "framework": "XGBOOST", "options": {}, "format": kind, "output": "JSON", "batch": 0, "fields": {},
        "shards": [[0, [["0", 0, path.stat().st_size, path.name]]]],
    }  # fmt: skip
    return ["-I", "-B", str(PROCESS), json.dumps(plan), "batch"]


WAYS = {"by hand": _by_hand, "mlgate": _mlgate}


def _run(root: Path, way: str, kind: str, path: Path) -> Run:
    place = root / way
    work = place / "work"
    work.mkdir(parents=True, exist_ok=True)
    arguments = WAYS[way](root, kind, path, place)
    core = sorted(os.sched_getaffinity(0))[-1]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = ["taskset", "-c", str(core), sys.executable, *arguments]
    began = time.monotonic()
    with (place / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=work, env={**os.environ, **threads}, stdout=said)
        memory = 0
        while process.poll() is None:
            memory = max(memory, _peak(process.pid))
            time.sleep(0.01)
    seconds = time.monotonic() - began
    assert process.returncode == 0, f"{way} ended with {process.returncode}"
    if way == "mlgate":
        (work / "results-00000").replace(place / "results")
    cpu = re.findall(r"([0-9.e-]+) s of processor time", (place / "said").read_text())[-1]
    return Run(float(cpu), seconds, memory)


def _peak(pid: int) -> int:
    """The most memory that a process has had. What wait4 tells counts its parent's, from before its exec."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) << 10 if found else 0
    return 0


if __name__ == "__main__":
    main()
