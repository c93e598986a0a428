"""Made `tables.json` once: cross-validated errors of scikit-learn models over grids of their parameters.

`python -m bench.vizier.make_tables` makes it again; other versions of scikit-learn give slightly other numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
RATES, LEAVES, ROUNDS, PENALTIES = [-3, -2.25, -1.5, -1, -0.5, 0], [1, 2, 3, 5], [0, 1, 2, 3, 4], [-4, -1, 0, 1, 2]
COSTS, GAMMAS = np.linspace(-3, 3, 9), np.linspace(-6, 0, 9)


def boosting(rate: float, leaves: float, penalty: float) -> list[float]:
    """Log loss on breast-cancer after 10, 20, 40, 80 and 160 rounds."""
    x, y = load_breast_cancer(return_X_y=True)
    model = HistGradientBoostingClassifier(
        learning_rate=10**rate, max_leaf_nodes=2**leaves, l2_regularization=10**penalty,
        max_iter=160, early_stopping=False, random_state=0,
    )  # fmt: skip
    losses = []
    for train, test in FOLDS.split(x, y):
        model.fit(x[train], y[train])
        stages = list(model.staged_predict_proba(x[test]))
        losses.append([log_loss(y[test], np.clip(stages[10 * 2**i - 1], 1e-6, 1 - 1e-6)) for i in ROUNDS])
    means: list[float] = np.mean(losses, axis=0).tolist()
    return means


def support_vectors(**options: Any) -> float:
    """Error on the first 700 digits."""
    x, y = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), SVC(**options))
    return float(1 - cross_val_score(model, x[:700], y[:700], cv=FOLDS).mean())


def main() -> None:
    run = Parallel(n_jobs=2)
    rows = run(delayed(boosting)(a, b, d) for a in RATES for b in LEAVES for d in PENALTIES)
    losses = np.array(rows).reshape(len(RATES), len(LEAVES), len(PENALTIES), len(ROUNDS)).transpose(0, 1, 3, 2)

    def surface(**options: Any) -> list[list[float]]:
        cells = run(delayed(support_vectors)(C=10**c, gamma=10**g, **options) for c in COSTS for g in GAMMAS)
        table: list[list[float]] = np.array(cells).reshape(9, 9).tolist()
        return table

    tables = {
        "gbt": {"axes": [RATES, LEAVES, ROUNDS, PENALTIES], "err": np.round(losses, 6).tolist()},
        "svm": {
            "C": COSTS.tolist(),
            "gamma": GAMMAS.tolist(),
            "rbf": surface(kernel="rbf"),
            "linear": run(delayed(support_vectors)(C=10**c, kernel="linear") for c in COSTS),
            "poly": {str(degree): surface(kernel="poly", degree=degree, coef0=1.0) for degree in (2, 3, 4)},
        },
    }
    (Path(__file__).parent / "tables.json").write_text(json.dumps(tables))


if __name__ == "__main__":
    main()
