"""The golden tables of the requirements (sections 4, 6 and 7), read from the text files beside this one.

`permissions.txt` says what each role holds, `methods.txt` what each method requires and where that is checked; both are
written by hand from the requirements and reviewed like code. `outcomes.*.txt` is what follows from them for a role on
the project (7.1); it is compared with what follows from the rows of `src`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
CATALOGUES = ("documented", "google")
_HELD_IN = {"y": CATALOGUES, "d": ("documented",), "g": ("google",), "-": ()}

#: The role that the creator of each kind of resource gets on it (requirements, 2.4).
OWNER_ROLES = {"model": "roles/ml.modelOwner", "job": "roles/ml.jobOwner", "operation": "roles/ml.operationOwner"}


@dataclass(frozen=True)
class Row:
    """One line of `methods.txt`: a method, and after a colon which form of its call."""

    id: str
    http: str
    path: str
    requires: str
    on: str

    @property
    def method_id(self) -> str:
        return "ml." + self.id.partition(":")[0]

    @property
    def kind(self) -> str:
        """The kind of resource that the URL names."""
        return self.on.partition("+")[0]

    def allowed(self, held: Mapping[str, Collection[str]]) -> bool:
        """Whether what is held on each kind of resource is enough: `a+b|c` on `x+y` is a on x, and b or c on y."""
        if self.requires == "none":
            return True
        wanted = zip(self.requires.split("+"), self.on.split("+"), strict=True)
        return all(any(p in held[kind] for p in either.split("|")) for either, kind in wanted)


def _lines(name: str) -> list[list[str]]:
    text = (HERE / name).read_text()
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


@cache
def roles(catalogue: str) -> dict[str, frozenset[str]]:
    """What each role of the catalogue holds. A role that holds nothing there does not exist there."""
    (_, *names), *rows = _lines("permissions.txt")
    table = {
        f"roles/{name}": frozenset(p for p, *marks in rows if catalogue in _HELD_IN[marks[n]])
        for n, name in enumerate(names)
    }
    return {name: held for name, held in table.items() if held}


@cache
def permissions() -> tuple[str, ...]:
    return tuple(permission for permission, *_ in _lines("permissions.txt")[1:])


@cache
def methods() -> tuple[Row, ...]:
    return tuple(Row(*line) for line in _lines("methods.txt"))


def table(cells: list[list[str]]) -> str:
    """Cells as aligned text."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(rows) + "\n"
