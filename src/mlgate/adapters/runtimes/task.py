"""What starts a job's own code: `python -I process.py <plan as JSON> task`, inside the sandbox.

It unpacks the packages (`packages.py`: nothing of an archive runs before it is imported), says which of their declared
requirements the environment does not meet, and becomes `python -m MODULE ARGUMENTS`. Where a job is several processes,
it starts them all, each with an output of its own, and stays: the first one that fails, or the master's end, ends them.

The plan: {"packages": FOLDER, "processes": [{"task", "module", "arguments", "environment", "output", "errors"}],
"ended": FD}; output and errors are inherited descriptors (the first process has this one's own), and so is `ended`, on
which the one that decided is named.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

from . import packages
from .contract import Failed

#: Modules that every job finds, unless its packages bring them.
PROVIDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "provided")
#: Exit code for packages that cannot be used; the reason is on the error output.
UNUSABLE = 78
GRACE_SECONDS = 5.0
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?")


def main(start: str) -> None:
    plan = json.loads(start)
    os.environ["PYTHONPATH"] = os.pathsep.join([*_install(plan["packages"]), PROVIDED])
    processes = plan["processes"]
    if len(processes) == 1:
        only = processes[0]
        os.environ.update(only["environment"])
        sys.stdout.flush()
        os.execv(sys.executable, _command(only))
    os._exit(_run_all(processes, plan["ended"]))


def _install(folder: str) -> list[str]:
    """The folders to import from. Ends the process when a package cannot be used."""
    before = len(sys.path)
    try:
        packages.install(folder)
    except Failed as error:
        print(error.text, file=sys.stderr, flush=True)
        os._exit(UNUSABLE)
    paths = sys.path[: len(sys.path) - before]
    try:
        for line in _unmet(paths):
            print(line, flush=True)
    except Exception as error:  # noqa: BLE001 - what a stranger's metadata says is not worth a failure
        print(f"The packages' requirements cannot be read: {error!r}", flush=True)
    return paths


# ------------------------------------------------------------------------------------------------------ requirements


def _unmet(paths: list[str]) -> list[str]:
    """A line for each requirement of the packages that the environment does not meet: nothing is fetched."""
    from importlib import metadata

    said = []
    own = {_plain(name) for path in paths for name, _ in _declared(path)}
    for path in paths:
        for name, requirements in _declared(path):
            for requirement in requirements:
                match = _REQUIREMENT.match(requirement)
                if match is None or "extra" in requirement.partition(";")[2]:
                    continue
                if _plain(match.group(1)) in own | {"cloudml-hypertune"}:
                    continue
                wanted = match.group(1) + match.group(2).strip()
                try:
                    has = metadata.version(match.group(1))
                except metadata.PackageNotFoundError:
                    said.append(f"{name} asks for {wanted}, which the runtime does not have and nothing installs.")
                    continue
                if not _meets(has, match.group(2)):
                    said.append(f"{name} asks for {wanted}; the runtime has {has}, which is used.")
    return list(dict.fromkeys(said))


def _declared(path: str) -> list[tuple[str, list[str]]]:
    """(name, requirements) of each package in a folder, as its metadata says."""
    found = []
    places = [path, os.path.dirname(path)] if os.path.basename(path) == "src" else [path]
    for place in places:
        for name in sorted(os.listdir(place)):
            folder = os.path.join(place, name)
            if name.endswith(".dist-info"):
                found.append((name.partition("-")[0], _from_headers(os.path.join(folder, "METADATA"))))
            elif name.endswith(".egg-info") and os.path.isdir(folder):
                found.append((name[: -len(".egg-info")], _from_list(os.path.join(folder, "requires.txt"))))
            elif name == "PKG-INFO" and not any(each.endswith(".egg-info") for each in os.listdir(place)):
                found.append((os.path.basename(os.path.dirname(folder)), _from_headers(folder)))
    return found


def _from_headers(path: str) -> list[str]:
    prefix = "Requires-Dist:"
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(1 << 20).partition("\n\n")[0]
    return [line[len(prefix) :].strip() for line in head.splitlines() if line.startswith(prefix)]


def _from_list(path: str) -> list[str]:
    """Lines up to the first section of an extra."""
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file.read(1 << 20).splitlines()]
    end = next((n for n, line in enumerate(lines) if line.startswith("[")), len(lines))
    return [line for line in lines[:end] if line]


def _meets(has: str, wanted: str) -> bool:
    """Whether a version is within `>=1.2,<2`; what is not understood counts as met."""
    for part in wanted.split(","):
        match = re.match(r"\s*(==|>=|<=|>|<|!=|~=)\s*([0-9][0-9.]*)(\.\*)?\s*$", part)
        if match is None:
            continue
        operator, version = match.group(1), _numbers(match.group(2))
        mine = _numbers(has)
        same = mine[: len(version)] == version if match.group(3) else _padded(mine) == _padded(version)
        fits = {
            "==": same,
            "!=": not same,
            ">=": mine >= version,
            "<=": _padded(mine) <= _padded(version),
            ">": _padded(mine) > _padded(version),
            "<": mine < version,
            "~=": mine >= version and mine[: len(version) - 1] == version[:-1],
        }
        if not fits[operator]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in match.group(0).split(".")) if match else ()


def _padded(version: tuple[int, ...]) -> tuple[int, ...]:
    return version + (0,) * (8 - len(version))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --------------------------------------------------------------------------------------------------------- processes


def _command(process: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", process["module"], *process["arguments"]]


def _run_all(processes: list[dict[str, Any]], ended: int) -> int:
    """The exit code of the master, or of the first other process that failed; its task is written to `ended`."""
    running = {}
    for process in processes:
        child = subprocess.Popen(
            _command(process),
            env={**os.environ, **process["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=process["output"],
            stderr=process["errors"],
        )
        running[process["task"]] = child
        for fd in {process["output"], process["errors"]} - {1, 2}:
            os.close(fd)
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))  # the keeper ends everybody by itself
    master = processes[0]["task"]
    while True:
        for task, child in list(running.items()):
            code = child.poll()
            if code is None:
                continue
            del running[task]
            if task == master or code:
                os.write(ended, task.encode())
                os.close(ended)
                _end(list(running.values()))
                return code if code >= 0 else 128 - code
        time.sleep(0.05)


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    until = time.monotonic() + GRACE_SECONDS
    for child in children:
        try:
            child.wait(max(0.01, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
