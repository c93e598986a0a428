"""What exact revocation costs, on both databases: `python -m tests.concurrency.cost`.

allows     a decision from memory as it is
revision   the look at the store's number that precedes each decision
decide     both: what a call pays each time
fold       the same after a policy was written: the new facts are read
GET        a whole call over HTTP, for comparison: it looks three times, and once in its transaction
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlgate.app.places import open_store
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.iam.roles import DOCUMENTED, permissions_by_role
from mlgate.settings import Settings
from mlgate.snapshot import Snapshot
from tests.concurrency.fleet import LAYOUTS, Fleet, P, fleet
from tests.harness import OWNER, PROJECT

MODEL, PERMISSION = f"projects/{PROJECT}/models/m", "ml.models.get"
TIMES = 2000


def median_us(work: Callable[[], object], times: int = TIMES) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def costs(processes: Fleet) -> dict[str, float]:
    """The medians in microseconds, beside a running server that nobody else uses."""
    server = processes.first
    processes.done("POST", f"{P}/models", {"name": "m"})
    (line,) = processes.lines_to(processes.processes()[0], 1)
    store = open_store(Settings(data_dir=str(server.data_dir), database_url=server.database_url))
    snapshot = Snapshot(store, permissions_by_role(DOCUMENTED))
    snapshot.refresh()

    def fold() -> float:
        with store.write() as tx:
            tx.set_policy(MODEL, Policy((Binding("roles/ml.modelOwner", (OWNER,)),)))
        return median_us(lambda: snapshot.decide(OWNER, PERMISSION, MODEL), 1)

    try:
        return {
            "allows": median_us(lambda: snapshot.allows(OWNER, PERMISSION, MODEL)),
            "revision": median_us(store.revision),
            "decide": median_us(lambda: snapshot.decide(OWNER, PERMISSION, MODEL)),
            "fold": statistics.median(fold() for _ in range(TIMES // 20)),
            "GET": median_us(lambda: line.ask(processes.bearer(), "GET", f"{P}/models/m"), TIMES // 4),
        }
    finally:
        store.close()


def main() -> None:
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as directory, fleet(layout, Path(directory)) as processes:
            found = costs(processes)
        figures = ", ".join(f"{name} {value:.1f} µs" for name, value in found.items())
        print(f"{layout} ({'+'.join(map(str, LAYOUTS[layout]))} processes): {figures}", flush=True)


if __name__ == "__main__":
    main()
