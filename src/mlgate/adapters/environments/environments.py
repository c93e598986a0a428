"""Which environment a version's model runs in: the Environments port.

    MLGATE_RUNTIME_PYTHON        given: that Python, whatever the runtimeVersion
    the server's own Python      where it has what the models need (core/runtimes.py says when), unless switched off
    the catalogue's environment  built if it is not there yet

What was chosen is stored with the version as the name of its directory, "" for the server's own: a data directory that
is moved, or a server whose own Python is upgraded, takes its versions along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from typing import Any

from mlgate.adapters.environments.builder import Builder, interpreter
from mlgate.core import runtimes
from mlgate.core.runtimes import CATALOGUE, OLD_PYTHONS, OLD_VERSIONS, Runtime, headline
from mlgate.ports import Environment

OWN = "server"
_OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@cache
def _installed() -> Mapping[str, str]:
    return {d.name.lower(): d.version for d in distributions() if d.name}


@dataclass(frozen=True)
class UvEnvironments:
    builder: Builder
    #: The Python that everything runs in; "" goes by the runtime version.
    fixed: str = ""
    #: Whether the server's own Python may stand in.
    own: bool = True
    #: Packages of the server's own Python.
    installed: Callable[[], Mapping[str, str]] = _installed
    on_line: Callable[[str, str], None] = lambda name, line: None

    def is_ready(self, runtime_version: str, python_version: str, framework: str) -> bool:
        runtime = runtimes.choose(runtime_version, python_version, framework)
        is_own = self._is_own(runtime, runtime_version, python_version, framework)
        return is_own or self.builder.is_built(runtime)

    def python(self, runtime_version: str, python_version: str, framework: str) -> Environment:
        runtime = runtimes.choose(runtime_version, python_version, framework)
        note = self._note(runtime, runtime_version, python_version, framework)
        if self._is_own(runtime, runtime_version, python_version, framework):
            return Environment(OWN, "", self.interpreter(""), note)
        place = self.builder.build(runtime, lambda line: self.on_line(runtime.name, line))
        return Environment(runtime.name, place.name, self.interpreter(place.name), note)

    def interpreter(self, directory: str) -> str:
        return str(interpreter(self.builder.root / directory)) if directory else self.fixed or sys.executable

    # ------------------------------------------------------------------------------------------------ for people

    def rows(self) -> list[dict[str, Any]]:
        """Every environment of the catalogue."""
        return [self._plain(runtime) for runtime in CATALOGUE]

    def describe(self, runtime_version: str, python_version: str, framework: str) -> dict[str, Any]:
        """Where models of a framework run under a name. Raises InvalidArgument."""
        runtime = runtimes.choose(runtime_version, python_version, framework)
        is_own = self._is_own(runtime, runtime_version, python_version, framework)
        return {
            "framework": framework,
            "runsIn": self.interpreter("") if is_own else runtime.name,
            "note": self._note(runtime, runtime_version, python_version, framework),
            "environment": {
                **self._plain(runtime),
                "packages": runtime.asked_for,
                "lock": str(self.builder.lock_of(runtime)),
                "directory": str(self.builder.root / self.builder.directory(runtime)),
            },
        }

    def notes(self) -> list[str]:
        """What the newest name of the old service stands for, by framework, for all of them."""
        newest = OLD_VERSIONS[-1], OLD_PYTHONS[-1]
        said = {f: self._note(runtimes.choose(*newest, f), *newest, f) for f in runtimes.frameworks()}
        return [f"{framework}: {note}" for framework, note in said.items()]

    def _plain(self, runtime: Runtime) -> dict[str, Any]:
        return {
            "name": runtime.name,
            "runtimeVersion": runtime.runtime_version,
            "pythonVersion": runtime.python_version,
            "frameworks": list(runtime.frameworks),
            "holds": headline(runtime.packages),
            "state": "BUILT" if self.builder.is_built(runtime) else "NOT_BUILT",
        }

    # ---------------------------------------------------------------------------------------------------- choice

    def _is_own(self, runtime: Runtime, runtime_version: str, python_version: str, framework: str) -> bool:
        old = runtimes.is_old(runtime_version, python_version)
        return bool(self.fixed) or (
            self.own and runtimes.can_stand_in(runtime, framework, old, _OWN_PYTHON, self.installed())
        )

    def _note(self, runtime: Runtime, runtime_version: str, python_version: str, framework: str) -> str:
        """What somebody should know who asked for this name; "" when it is what it says."""
        asked = f"runtimeVersion {runtime_version} with pythonVersion {python_version}"
        near = f"runtimeVersion {runtime.runtime_version} with pythonVersion {runtime.python_version}"
        holds = headline(runtime.packages, framework)
        if self.fixed:
            return f"The server runs all models in one Python of its own, also those that ask for {asked}."
        if not runtimes.is_old(runtime_version, python_version):
            return ""
        if self._is_own(runtime, runtime_version, python_version, framework):
            return (
                f"{asked} is the old service's and cannot be had: here it is the server's own Python {_OWN_PYTHON} "
                f"({headline(self.installed(), framework)}). For {holds} choose {near}."
            )
        return f"{asked} is the old service's and cannot be had: here it is {near} ({holds})."
