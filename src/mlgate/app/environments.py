"""The environments that model and job code runs in."""

from __future__ import annotations

from pathlib import Path

import structlog

from mlgate.adapters.environments.builder import Builder
from mlgate.adapters.environments.environments import UvEnvironments
from mlgate.app.places import places
from mlgate.settings import Settings

log = structlog.get_logger("mlgate")


def environments(settings: Settings) -> UvEnvironments:
    root = Path(settings.runtimes_dir).resolve() if settings.runtimes_dir else places(settings).runtimes
    return UvEnvironments(
        Builder(root, wheelhouse=settings.wheelhouse),
        fixed=settings.runtime_python,
        own=settings.own_runtime,
        on_line=lambda name, line: log.info("runtime", environment=name, line=line),
    )
