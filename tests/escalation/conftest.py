"""The worlds, built once, and silence: thousands of denials are no news here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import pytest
import structlog

from mlgate.api.handlers import folders
from mlgate.core.iam.roles import CATALOGUES
from tests.escalation.office import scratch
from tests.escalation.world import World, build


@pytest.fixture(scope="module", autouse=True)
def silence() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module", autouse=True)
def rising_numbers() -> Iterator[None]:
    """Folders are numbered as they are made, so that the order of a search is the same each time."""
    numbers = count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "secrets", SimpleNamespace(randbelow=lambda limit: next(numbers)))
        yield


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, World]]:
    with scratch() as directory:
        yield {catalogue: build(directory / catalogue, catalogue) for catalogue in CATALOGUES}
