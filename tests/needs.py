"""What the tests need beyond pip: found, or installed where that is possible, or named in one line. Nothing is skipped.

`python -m tests.needs` is run by `make test` before the suite.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

#: Program -> the Debian package that has it.
PROGRAMS = {"bwrap": "bubblewrap", "chromium": "chromium"}


def main() -> int:
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-q"], check=False, **quiet)
        packages = [PROGRAMS[program] for program in missing]
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "install", "-y", "-q", *packages], check=False, env=environ, **quiet)
    still = [program for program in PROGRAMS if not shutil.which(program)]
    if still:
        names = " ".join(PROGRAMS[program] for program in still)
        print(
            f"The tests need {', '.join(still)}: install it, on Debian with: apt-get install {names}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
