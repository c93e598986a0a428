"""`make bench`: measure, and write docs/benchmarks.md. The tables name the machine and carry each figure's peer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench import predict

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
    rows = predict.run(progress=lambda line: print("  " + line, file=sys.stderr))
    sections = [
        _INTRO,
        f"Measured on {datetime.now(UTC):%Y-%m-%d}.\n",
        decisions,
        "\n## Predictions\n",
        "One core for the server and its model process, another for the load. `÷ no-op` is mlgate's rate over that of "
        "a handler that answers a constant on the same HTTP server; `÷ in process` over that of the same model called "
        "in a plain loop, without HTTP, sign-in or isolation.\n",
        predict.table(rows),
    ]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(sections) + "\n")
    print(json.dumps({"written": str(PAGE.name)}))


if __name__ == "__main__":
    main()
