"""Fixtures that many tests share. A `server` is one for the whole session of a test process; tests that kill or
reconfigure one make their own with `make_server`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server") / "data").initialize().start()
    yield made
    made.close()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Servers of a test's own, ended with it."""
    made: list[Server] = []

    def make(**options: Any) -> Server:
        one = Server(tmp_path / f"data{len(made)}", **options).initialize().start()
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


#: Folders whose files take long: begun first, they do not keep one worker busy when the other is done.
_LONG = (
    "escalation", "environments", "concurrency", "recovery", "jobs", "console", "usage", "hosts", "http", "storage",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONG)}
    root = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(root).parts[0], len(_LONG)))
