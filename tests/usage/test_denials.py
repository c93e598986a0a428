"""Denied writes on their way to the audit log: all of them, few transactions, and a flood costs detail only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from mlgate.api import denials
from mlgate.api.denials import Denials


class Audit:
    """A store that keeps entries only; a transaction at a time."""

    def __init__(self, fails: int = 0) -> None:
        self.transactions: list[list[Any]] = []
        self.fails = fails

    @contextmanager
    def write(self) -> Iterator[Any]:
        if self.fails:
            self.fails -= 1
            raise OSError("no room")
        self.transactions.append([])
        yield SimpleNamespace(audit=self.transactions[-1].append)

    def entries(self) -> list[Any]:
        return [entry for transaction in self.transactions for entry in transaction]


def test_many_are_stored_together(monkeypatch: Any) -> None:
    monkeypatch.setattr(denials, "PAUSE_SECONDS", 3600)
    store: Any = Audit()
    line = Denials(store)
    for number in range(500):
        line.add(number)  # type: ignore[arg-type]
    line.close()
    assert store.entries() == list(range(500))
    assert len([t for t in store.transactions if t]) == 1


def test_of_a_flood_the_first_are_stored(monkeypatch: Any) -> None:
    monkeypatch.setattr(denials, "PAUSE_SECONDS", 3600)
    store: Any = Audit()
    line = Denials(store)
    for number in range(denials.CAPACITY + 100):
        line.add(number)  # type: ignore[arg-type]
    line.close()
    assert store.entries() == list(range(denials.CAPACITY))


def test_nothing_denied_is_nothing_stored() -> None:
    store: Any = Audit()
    Denials(store).close()
    assert store.transactions == []
