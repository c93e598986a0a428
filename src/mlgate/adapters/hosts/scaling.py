"""How many processes a version is to have, from what is seen of it; whose memory to take when there is too little."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlgate.ports import Scaling

#: One more when as many wait for each process, and processes compute this much of the time, for so long.
CROWD, BUSY, UP_SECONDS = 16.0, 0.7, 2.0
#: One less when the processes have computed little for so long.
CALM, DOWN_SECONDS = 0.3, 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A version as it is: its processes, how long they have been crowded, calm, and not asked at all, in seconds."""

    processes: int
    crowded: float
    calm: float
    idle: float


def is_crowded(processes: int, waiting: int, busy: float) -> bool:
    """`busy` is the part of the time that processes compute, 1 when all of them always do."""
    return waiting > CROWD * processes and busy > BUSY


def wanted(seen: Seen, scaling: Scaling, idle_seconds: float) -> int:
    """The number of processes. A version without one gets its first by a request, unless it is never to be without."""
    number = seen.processes
    if number and seen.crowded >= UP_SECONDS:
        number += 1
    elif number > 1 and seen.calm >= DOWN_SECONDS:
        number -= 1
    if seen.idle >= idle_seconds:
        number = 0
    return max(scaling.low, min(number, scaling.high))


@dataclass(frozen=True, slots=True)
class Holding:
    """What a version holds of the memory, in bytes, and how long it has not been asked."""

    uid: str
    memory: int
    idle: float
    low: int


def to_evict(holdings: Iterable[Holding], needed: int, budget: int) -> list[str]:
    """The versions to end so that `needed` more bytes fit in the budget: those that nobody has asked for longest.
    Versions that are never to be without a process stay, whatever is needed."""
    kept = sorted(holdings, key=lambda h: h.idle)
    total, ended = sum(h.memory for h in kept), []
    for holding in reversed(kept):
        if total + needed <= budget:
            break
        if not holding.low:
            ended.append(holding.uid)
            total -= holding.memory
    return ended
