"""`make bench`: measure, and write docs/benchmarks.md. The tables name the machine and carry each figure's peer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.serving.contestants import BY_NAME, CELLS, IN_PROCESS, MLGATE, NOOP
from bench.serving.measure import Bench
from bench.serving.page import Results, figures, ratios

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

_INTRO = """# Benchmarks

Written by `make bench`. Read the ratios first: each compares two things that ran in the same run on the same machine.
The absolute figures are for orientation; a shared machine moves them by a factor of two, CPU time per request least.
"""


def main() -> None:
    print("decisions ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "authz.json"
        sizes = ["--sizes", sys.argv[1]] if len(sys.argv) > 1 else []
        command = [sys.executable, "-m", "bench.authz", *sizes, "--json", str(out)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        decisions = done.stdout.strip()
    print("predictions ...", file=sys.stderr)
    bench, contestants = Bench.here(seconds=2), [BY_NAME[name] for name in (MLGATE, NOOP, IN_PROCESS)]
    cells = [cell for cell in CELLS if cell.instances == 1]
    results = Results(bench.run(contestants, cells, rounds=1, say=lambda line: print("  " + line, file=sys.stderr)))
    print("console ...", file=sys.stderr)
    console = subprocess.run([sys.executable, "-m", "bench.console"], check=True, stdout=subprocess.PIPE, text=True)
    sections = [
        _INTRO,
        f"Measured on {datetime.now(UTC):%Y-%m-%d}.\n",
        decisions,
        "\n## Predictions\n",
        f"One core for the server and its model processes, another for the load ({bench.loader.name}). How other"
        " servers do beside it is in [benchmarks-serving.md](benchmarks-serving.md).\n",
        *(line.replace("##", "###") for line in (*ratios(results), *figures(results))),
        "",
        console.stdout.rstrip(),
    ]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(sections) + "\n")
    print(json.dumps({"written": str(PAGE.name)}))


if __name__ == "__main__":
    main()
