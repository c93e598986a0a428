"""What a condition costs: decisions that only a condition settles, less the same decisions without one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from bench.authz.measure import Result, rate, table
from bench.authz.workload import DAY, NOW, PREDICT, ROLES
from mlgate.core.iam.conditions import MODIFIED_GRANTS, until
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.policy import Binding, Condition, Policy

MODELS, ROUNDS = 10_000, 7
ROLE, SET = "roles/ml.modelOwner", "ml.models.setIamPolicy"
#: An expression for each model, true of it; `{n}` makes it another for each.
KINDS: dict[str, tuple[str, Callable[[str, int], str]]] = {
    "expiry": (PREDICT, lambda model, n: until(datetime.fromtimestamp(NOW + DAY, UTC))),
    "expiry, another for each model": (PREDICT, lambda model, n: until(datetime.fromtimestamp(NOW + DAY + n, UTC))),
    "name prefix": (PREDICT, lambda model, n: 'resource.name.startsWith("projects/p/models/")'),
    "name prefix, another for each model": (PREDICT, lambda model, n: f'resource.name.startsWith("{model}")'),
    "type": (PREDICT, lambda model, n: 'resource.type == "ml.googleapis.com/Model"'),
    "time of day in a zone": (
        PREDICT,
        lambda model, n: (
            'request.time.getHours("Europe/Berlin") >= 9 && request.time.getHours("Europe/Berlin") < 17'
            ' && request.time.getDayOfWeek("Europe/Berlin") < 6'
        ),
    ),
    "roles that may be given": (
        SET,
        lambda model, n: f'api.getAttribute("{MODIFIED_GRANTS}", []).hasOnly(["roles/ml.modelUser", "roles/viewer"])',
    ),
}
COLUMNS = (
    "condition", "repeated, µs more", "uncached, µs more", "first time, µs more", "repeated/s", "without/s", "wrong",
)  # fmt: skip


def measured() -> list[Result]:
    return [{"kind": kind, **_measured(*KINDS[kind])} for kind in KINDS]


def _measured(permission: str, expression: Callable[[str, int], str]) -> Result:
    models = [f"projects/p/models/m{n}" for n in range(MODELS)]
    asked = [(f"user:u{n % 100}@x.org", permission, model, NOW, ("roles/viewer",)) for n, model in enumerate(models)]
    taken: dict[bool, dict[str, float]] = {}
    wrong = 0
    for is_conditional in (False, True):
        index = AccessIndex(ROLES)
        for n, model in enumerate(models):
            condition = Condition(expression(model, n), "limit") if is_conditional else None
            index.set_policy(model, Policy((Binding(ROLE, (f"user:u{n % 100}@x.org",), condition),)))

        def uncached(index: AccessIndex = index) -> float:
            index.set_parent("projects/none", None)
            return rate(index.is_allowed, asked)

        rates = {
            "first": rate(index.is_allowed, asked),
            "uncached": statistics.median(uncached() for _ in range(ROUNDS)),
            "repeated": statistics.median(rate(index.is_allowed, asked) for _ in range(ROUNDS)),
        }
        taken[is_conditional] = {name: 1e6 / per_second for name, per_second in rates.items()}
        wrong += sum(not index.is_allowed(*question) for question in asked)
    more = {f"{name}_us": round(taken[True][name] - taken[False][name], 2) for name in taken[True]}
    per_second = {"per_s": 1e6 / taken[True]["repeated"], "without_per_s": 1e6 / taken[False]["repeated"]}
    return {**more, **per_second, "wrong": wrong}


def report(results: Sequence[Result]) -> list[str]:
    rows = (
        (r["kind"], r["repeated_us"], r["uncached_us"], r["first_us"], f"{r['per_s']:,.0f}",
         f"{r['without_per_s']:,.0f}", r["wrong"])
        for r in results
    )  # fmt: skip
    return [
        f"{MODELS:,} models, each given to somebody under a condition that is true. Where the condition is another for "
        "each model there are more of them than are kept compiled.",
        "",
        *table(COLUMNS, rows),
        "",
    ]
