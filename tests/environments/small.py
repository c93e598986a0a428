"""An environment that is built in a second or two. `python -m tests.environments.small ROOT` builds it, as a process
that a test may kill."""

from __future__ import annotations

import sys
from pathlib import Path

from mlgate.adapters.environments.builder import Builder
from mlgate.core.runtimes import Runtime

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SMALL = Runtime("small", "0.1", PYTHON, ("SCIKIT_LEARN",), {"joblib": "1.2.0", "six": "1.17.0"})
LOCKS = Path(__file__).parent / "locks"


def builder(root: Path, wheelhouse: str = "") -> Builder:
    return Builder(root, wheelhouse=wheelhouse, locks=LOCKS)


if __name__ == "__main__":
    builder(Path(sys.argv[1])).build(SMALL, lambda line: print(line, flush=True))
