"""How many processes a version is to have, from what is seen of it; whose memory to take when there is too little."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlgate.ports import Scaling

#: One more when as many wait for each process, and processes compute this much of the time, for so long.
CROWD, BUSY, UP_SECONDS = 16.0, 0.7, 2.0
#: One less when the processes have computed little for so long.
CALM, DOWN_SECONDS = 0.3, 60.0
#: Who was asked within so long is in use: callers report every second.
IN_USE = 2.0


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
    """What a version holds of the memory, in bytes; how long it has not been asked, and how long it has run (0 for one
    that is starting: somebody waits for it)."""

    uid: str
    memory: int
    idle: float
    age: float
    low: int


def to_evict(holdings: Iterable[Holding], needed: int, budget: int, least_idle: float) -> list[str] | None:
    """The versions to end so that `needed` more bytes fit in the budget, of those that nobody has asked for so long:
    who was not asked for longest first, and of those who are asked all the time who has run for longest, so that all
    have a turn. None when that is not enough. Versions that are never to be without a process stay."""
    kept = list(holdings)
    total, ended = sum(h.memory for h in kept), []
    for holding in sorted(kept, key=lambda h: (h.idle if h.idle >= IN_USE else 0.0, h.age), reverse=True):
        if total + needed <= budget:
            break
        if not holding.low and holding.age and holding.idle >= least_idle:
            ended.append(holding.uid)
            total -= holding.memory
    return ended if total + needed <= budget else None
