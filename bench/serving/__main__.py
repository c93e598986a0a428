"""`make bench-serving`: prediction beside its peers, into docs/benchmarks-serving.md.

What is measured goes to `--results`, a line for each measurement; the page is drawn from it. A part that is measured
again replaces what the results had of it: with `--only` or `--cells`, all of the part, not those alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench.authz.measure import machine
from bench.serving import cold, mixed, models
from bench.serving.contestants import BY_NAME, CELLS, CONTESTANTS, Cell
from bench.serving.environments import HOME, ROOT
from bench.serving.measure import LOAD_CORE, SERVER_CORE, Bench, Record, append, complain, read
from bench.serving.page import page

PAGE = ROOT / "docs" / "benchmarks-serving.md"


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    options = arguments()
    if not options.draw:
        for part in options.parts.split(","):
            keep(options.results, part)
            for record in PARTS[part](options):
                append(options.results, {"part": part, **record})
    options.page.write_text(drawn(read(options.results)))
    print(f"written: {options.page}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--only", help=f"contestants, with ; between them: {'; '.join(BY_NAME)}", metavar="NAMES")
    parser.add_argument("--cells", help="model:instances:connections, for example xgb:1:64,iris:1:8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement; wrk takes whole ones")
    parser.add_argument("--versions", type=int, default=cold.MANY, help="of the part cold: how many at once")
    parser.add_argument("--results", type=Path, default=HOME / "results.jsonl")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--draw", action="store_true", help="measure nothing; draw the page from the results")
    return parser.parse_args()


def keep(results: Path, part: str) -> None:
    """Forget what is known of a part."""
    kept = [record for record in read(results) if record["part"] != part]
    results.unlink(missing_ok=True)
    for record in kept:
        append(results, record)


# Parts


def peers(options: argparse.Namespace) -> Iterator[Record]:
    names = options.only.split(";") if options.only else [c.name for c in CONTESTANTS if not c.is_heavy]
    chosen = [BY_NAME[name.strip()] for name in names]
    cells = [_cell(text) for text in options.cells.split(",")] if options.cells else CELLS
    bench = Bench.here(options.seconds)
    yield {"about": _about(bench, options)}
    yield from bench.run(chosen, cells, options.rounds, complain)
    yield {"load": os.getloadavg()[0]}


def _cell(text: str) -> Cell:
    model, instances, connections = text.split(":")
    return Cell(model, int(instances), int(connections))


def _about(bench: Bench, options: argparse.Namespace) -> str:
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {machine()}: servers on core {SERVER_CORE}, load on core"
        f" {LOAD_CORE} by {bench.loader.name}; rounds: {options.rounds}, each measurement {options.seconds:g} s after"
        f" 1 s of warm-up; load average of the machine before {os.getloadavg()[0]:.1f}"
    )


def idle(options: argparse.Namespace) -> Iterator[Record]:
    data = models.prepare(HOME / "models")
    yield from cold.run(data, _fresh("cold"), versions=options.versions, say=complain)


def answers(options: argparse.Namespace) -> Iterator[Record]:
    complain("mixed requests")
    try:
        yield mixed.record_of(mixed.run(_fresh("mixed"), say=complain))
    except (RuntimeError, OSError) as error:
        yield {"why": str(error)}


def _fresh(name: str) -> Path:
    shutil.rmtree(HOME / "work" / name, ignore_errors=True)
    (HOME / "work" / name).mkdir(parents=True)
    return HOME / "work" / name


PARTS: Mapping[str, Callable[[argparse.Namespace], Iterator[Record]]] = {
    "peers": peers,
    "cold": idle,
    "mixed": answers,
}


def drawn(records: list[Record]) -> str:
    """The page, of what there is."""
    of = {part: [record for record in records if record["part"] == part] for part in PARTS}
    about = "".join(record["about"] for record in of["peers"] if "about" in record)
    about += "".join(f", after {record['load']:.1f}." for record in of["peers"] if "load" in record)
    more = []
    if of["cold"]:
        more.append("\n".join(cold.report(of["cold"])))
    more += ["\n".join(mixed.report(record)) for record in of["mixed"]]
    measured = [record for record in of["peers"] if "contestant" in record]
    return page(measured, about, more)


if __name__ == "__main__":
    main()
