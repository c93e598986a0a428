"""How model and job code is confined: probed once at start, and told to every child in plain form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from mlgate.adapters.hosts.sandbox import NONE, OFF, Sandbox, probe
from mlgate.settings import Settings

log = structlog.get_logger("mlgate")


def confinement(settings: Settings) -> Sandbox:
    """How model code will be confined, probed once at start."""
    sandbox = probe(settings.sandbox)
    if sandbox.mode in (OFF, NONE):
        log.warning("model code is not confined", mode=sandbox.mode, reason=sandbox.reason)
    else:
        log.info("model code is confined", mode=sandbox.mode)
    return sandbox


def sandbox_of(confined: Mapping[str, Any]) -> Sandbox:
    """What `confinement` found, from its plain form."""
    return Sandbox(confined["mode"], confined["reason"], tuple(confined["bubblewrap"]))
