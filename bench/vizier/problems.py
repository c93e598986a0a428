"""The problems of the yardstick: 12 that the optimizer was built with, 6 that were kept away from it, and some of both
asked for in batches.

A problem is a StudyConfig in wire form, a function of the active parameters, and a score of what was tried. The score
is the regret of the best trial by what was observed, measured without noise; with two objectives the share of the
reachable hypervolume that is missing.

The functions named as in BBOB are shifted and rotated, one fixed instance for each name and dimension. `hpo-*` are
real: cross-validated errors of scikit-learn models (`make_tables.py`), interpolated.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import RegularGridInterpolator

Point = Mapping[str, Any]
Outcome = dict[str, float] | None
History = Sequence[tuple[Point, Outcome]]
TRIALS = 40


@dataclass(frozen=True)
class Problem:
    """One objective, "y", minimized."""

    name: str
    parameters: list[dict[str, Any]]
    true: Callable[[Point], float]
    optimum: float = 0.0
    noise: float = 0.0
    is_infeasible: Callable[[Point], bool] | None = None
    batch: int = 1
    floor: float = 1e-6

    @property
    def config(self) -> dict[str, Any]:
        return {"parameters": self.parameters, "metrics": [{"metric": "y", "goal": "MINIMIZE"}]}

    def evaluate(self, point: Point, rng: np.random.Generator) -> Outcome:
        if self.is_infeasible and self.is_infeasible(point):
            return None
        return {"y": float(self.true(point)) + (self.noise * rng.standard_normal() if self.noise else 0.0)}

    def score(self, history: History) -> float:
        """The regret of the trial with the best observation; infinite while there is none."""
        observed = [(outcome["y"], point) for point, outcome in history if outcome]
        if not observed:
            return 1e12
        best = min(observed, key=lambda pair: pair[0])[1]
        return max(float(self.true(best)) - self.optimum, self.floor)


@dataclass(frozen=True)
class TwoObjectives:
    """Two objectives, "f1" and "f2", minimized."""

    name: str
    parameters: list[dict[str, Any]]
    true: Callable[[Point], tuple[float, float]]
    reference: tuple[float, float]
    reachable: float
    batch: int = 1

    @property
    def config(self) -> dict[str, Any]:
        metrics = [{"metric": name, "goal": "MINIMIZE"} for name in ("f1", "f2")]
        return {"parameters": self.parameters, "metrics": metrics}

    def evaluate(self, point: Point, rng: np.random.Generator) -> Outcome:
        f1, f2 = self.true(point)
        return {"f1": float(f1), "f2": float(f2)}

    def score(self, history: History) -> float:
        """The share of the hypervolume that is missing."""
        volume, roof = 0.0, self.reference[1]
        for f1, f2 in sorted((o["f1"], o["f2"]) for _, o in history if o):
            if f1 < self.reference[0] and f2 < roof:
                volume += (self.reference[0] - f1) * (roof - f2)
                roof = f2
        return max(1 - volume / self.reachable, 1e-6)


def double(name: str, low: float, high: float, scale: str = "UNIT_LINEAR_SCALE") -> dict[str, Any]:
    return {
        "parameter": name, "type": "DOUBLE", "scaleType": scale,
        "doubleValueSpec": {"minValue": low, "maxValue": high},
    }  # fmt: skip


def integer(name: str, low: int, high: int, scale: str = "UNIT_LINEAR_SCALE") -> dict[str, Any]:
    return {
        "parameter": name, "type": "INTEGER", "scaleType": scale,
        "integerValueSpec": {"minValue": str(low), "maxValue": str(high)},
    }  # fmt: skip


def category(name: str, *values: str) -> dict[str, Any]:
    return {"parameter": name, "type": "CATEGORICAL", "categoricalValueSpec": {"values": list(values)}}


def discrete(name: str, *values: float) -> dict[str, Any]:
    return {"parameter": name, "type": "DISCRETE", "discreteValueSpec": {"values": [float(v) for v in values]}}


def when(spec: dict[str, Any], *values: str | int) -> dict[str, Any]:
    kind = "parentIntValues" if isinstance(values[0], int) else "parentCategoricalValues"
    return {**spec, kind: {"values": [str(value) for value in values]}}


LOG, REVERSE_LOG = "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"


# ------------------------------------------------------------------------------------------------------------ functions


def bbob(kind: str, dimension: int, tag: str = "", **options: Any) -> Problem:
    rng = np.random.default_rng(zlib.crc32(f"{kind}{dimension}".encode()))
    centre = rng.uniform(-3.5, 3.5, dimension)
    rotation = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    ramp = np.arange(dimension) / max(dimension - 1, 1)
    shape = _SHAPES[kind]

    def function(point: Point) -> float:
        x = np.array([point[f"x{i}"] for i in range(dimension)]) - centre
        return float(shape(x, rotation, ramp))

    parameters = [double(f"x{i}", -5.0, 5.0) for i in range(dimension)]
    return Problem(f"{kind}-{dimension}{tag}", parameters, function, **options)


def _rosenbrock(x: Any, rotation: Any, ramp: Any) -> Any:
    z = max(1, math.sqrt(len(x)) / 8) * x + 1
    return (100 * (z[:-1] ** 2 - z[1:]) ** 2 + (z[:-1] - 1) ** 2).sum()


def _bent_cigar(x: Any, rotation: Any, ramp: Any) -> Any:
    z = rotation @ x
    return z[0] ** 2 + 1e4 * (z[1:] ** 2).sum()


def _rastrigin(x: Any, rotation: Any, ramp: Any) -> Any:
    z = 10 ** (ramp / 2) * (rotation @ x)
    return 10 * (len(x) - np.cos(2 * np.pi * z).sum()) + (z**2).sum()


def _schaffers(x: Any, rotation: Any, ramp: Any) -> Any:
    z = 10 ** (ramp / 2) * (rotation @ x)
    s = np.sqrt(z[:-1] ** 2 + z[1:] ** 2)
    return (np.sqrt(s) * (1 + np.sin(50 * s**0.2) ** 2)).mean() ** 2


_SHAPES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sphere": lambda x, rotation, ramp: (x**2).sum(),
    "ellipsoid": lambda x, rotation, ramp: (10 ** (4 * ramp) * (rotation @ x) ** 2).sum(),
    "rosenbrock": _rosenbrock,
    "bent-cigar": _bent_cigar,
    "rastrigin": _rastrigin,
    "schaffers": _schaffers,
}


def mixed() -> Problem:
    """Nine parameters of every kind and scale, nearly additive, as many real spaces are."""
    activation = {"relu": 0.8, "tanh": 1.5, "gelu": 0.0, "elu": 0.4}
    optimizer = {"sgd": (1.2, -1.5), "adam": (0.0, -3.0), "rms": (0.5, -2.5)}

    def function(p: Point) -> float:
        offset, best_rate = optimizer[p["opt"]]
        return float(
            (p["a"] - 1.7) ** 2 / 4
            + (p["b"] + 2.1 - 0.3 * p["a"]) ** 2 / 4
            + (math.log10(p["lr"]) - best_rate) ** 2
            + 0.3 * (math.log(1 - p["mom"] + 1e-3) - math.log(0.05)) ** 2
            + 0.15 * abs(p["depth"] - 7)
            + 0.2 * (math.log2(p["units"]) - 8) ** 2
            + 3 * abs(p["drop"] - 0.2)
            + activation[p["act"]]
            + offset
        )

    parameters = [
        double("a", -5.0, 5.0), double("b", -5.0, 5.0), double("lr", 1e-5, 1.0, LOG),
        double("mom", 0.5, 0.999, REVERSE_LOG), integer("depth", 1, 12), integer("units", 8, 1024, LOG),
        discrete("drop", 0, 0.1, 0.2, 0.3, 0.5), category("act", "relu", "tanh", "gelu", "elu"),
        category("opt", "sgd", "adam", "rms"),
    ]  # fmt: skip
    return Problem("mixed-9", parameters, function)


def conditional() -> Problem:
    """Two levels of children below categorical and integer parents, one child shared by two branches."""

    def function(p: Point) -> float:
        base = (p["sample"] - 0.8) ** 2 * 2
        if p["model"] == "linear":
            return base + 0.9 + 0.1 * (math.log10(p["l2"]) + 2) ** 2
        if p["model"] == "tree":
            return base + 0.25 + 0.02 * (p["max_depth"] - 6) ** 2 + 0.5 * (math.log10(p["eta"]) + 1.2) ** 2
        value = base + 0.2 * (math.log10(p["lr"]) + 3) ** 2 + 0.05 * (math.log10(p["l2"]) + 3) ** 2
        value += {1: 0.4, 2: 0.0, 3: 0.1}[p["layers"]]
        if p["layers"] >= 2:
            value += 0.1 * (math.log2(p["width2"]) - 6) ** 2
        if p["layers"] >= 3:
            value += 0.1 * (math.log2(p["width3"]) - 5) ** 2
        return value

    layers = when(integer("layers", 1, 3), "mlp")
    layers["childParameterSpecs"] = [
        when(integer("width2", 4, 256, LOG), 2, 3), when(integer("width3", 4, 256, LOG), 3),
    ]  # fmt: skip
    model = category("model", "linear", "tree", "mlp")
    model["childParameterSpecs"] = [
        when(double("l2", 1e-6, 10.0, LOG), "linear", "mlp"), when(integer("max_depth", 1, 16), "tree"),
        when(double("eta", 1e-3, 1.0, LOG), "tree"), layers, when(double("lr", 1e-5, 1e-1, LOG), "mlp"),
    ]  # fmt: skip
    return Problem("conditional", [model, double("sample", 0.1, 1.0)], function)


def infeasible() -> Problem:
    """Rosenbrock with about half of the space out of bounds."""
    problem = bbob("rosenbrock", 4)
    return Problem(
        "infeasible-4", problem.parameters, problem.true,
        is_infeasible=lambda p: p["x0"] * p["x1"] < -2 or p["x2"] > 4,
    )  # fmt: skip


def zdt1(dimension: int) -> TwoObjectives:
    def function(point: Point) -> tuple[float, float]:
        x = [point[f"x{i}"] for i in range(dimension)]
        g = 1 + 9 * sum(x[1:]) / (dimension - 1)
        return x[0], g * (1 - math.sqrt(x[0] / g))

    parameters = [double(f"x{i}", 0.0, 1.0) for i in range(dimension)]
    return TwoObjectives(f"zdt1-{dimension}", parameters, function, (1.1, 1.1), 1.1 * 1.1 - 1 / 3)


# ---------------------------------------------------------------------------------------------------- measured surfaces


@cache
def tables() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "tables.json").read_text())
    return loaded


def boosting(batch: int = 1) -> Problem:
    """Log loss of gradient boosting on breast-cancer."""
    table = tables()["gbt"]
    axes = [np.array(axis, float) for axis in table["axes"]]
    surface = RegularGridInterpolator(axes, np.array(table["err"]))
    low, high = [axis[0] for axis in axes], [axis[-1] for axis in axes]

    def function(p: Point) -> float:
        at = [
            math.log10(p["learning_rate"]),
            math.log2(p["max_leaf_nodes"]),
            math.log2(p["max_iter"] / 10),
            math.log10(p["l2"]),
        ]
        return float(surface(np.clip(at, low, high))[0])

    parameters = [
        double("learning_rate", 10 ** low[0], 10 ** high[0], LOG), integer("max_leaf_nodes", 2, 32, LOG),
        integer("max_iter", 10, 160, LOG), double("l2", 10 ** low[3], 10 ** high[3], LOG),
    ]  # fmt: skip
    name = "hpo-gbt" + (f"-b{batch}" if batch > 1 else "")
    return Problem(name, parameters, function, optimum=float(np.min(table["err"])), batch=batch, floor=1e-4)


def support_vectors() -> Problem:
    """Error of a support vector machine on digits; which parameters exist depends on the kernel."""
    table = tables()["svm"]
    costs, gammas = np.array(table["C"], float), np.array(table["gamma"], float)
    linear = RegularGridInterpolator([costs], np.array(table["linear"]))
    curved = {
        name: RegularGridInterpolator([costs, gammas], np.array(values)) for name, values in table["poly"].items()
    }
    curved["rbf"] = RegularGridInterpolator([costs, gammas], np.array(table["rbf"]))

    def function(p: Point) -> float:
        cost = min(max(math.log10(p["C"]), costs[0]), costs[-1])
        if p["kernel"] == "linear":
            return float(linear([cost])[0])
        gamma = min(max(math.log10(p["gamma"]), gammas[0]), gammas[-1])
        return float(curved["rbf" if p["kernel"] == "rbf" else str(p["degree"])]([cost, gamma])[0])

    kernel = category("kernel", "linear", "rbf", "poly")
    kernel["childParameterSpecs"] = [
        when(double("gamma", 1e-6, 1.0, LOG), "rbf", "poly"),
        when(integer("degree", 2, 4), "poly"),
    ]
    optimum = min(np.min(table["rbf"]), np.min(table["linear"]), *(np.min(v) for v in table["poly"].values()))
    return Problem("hpo-svm", [kernel, double("C", 1e-3, 1e3, LOG)], function, optimum=float(optimum), floor=1e-4)


# ------------------------------------------------------------------------------------------------------------- held out


def mixed_with_interactions() -> Problem:
    """Six parameters; what is best for one depends on the others."""

    def function(p: Point) -> float:
        best_rate = {"a": -1.0, "b": -2.0, "c": -3.5}[p["kind"]] - 0.15 * (p["depth"] - 4)
        load = math.log2(p["units"]) + 0.5 * p["depth"]
        return float(
            (math.log10(p["lr"]) - best_rate) ** 2
            + 0.15 * (load - 9) ** 2
            + {"a": 0.5, "b": 0.0, "c": 0.2}[p["kind"]]
            + 2 * abs(p["drop"] - (0.1 if p["depth"] < 6 else 0.3))
            + 0.3 * math.sin(3 * p["shift"]) ** 2
            + 0.1 * (p["shift"] - 1) ** 2
            + 0.04 * (p["depth"] - 4) ** 2
        )

    parameters = [
        double("lr", 1e-5, 1.0, LOG), double("shift", -3.0, 5.0), integer("depth", 1, 10),
        integer("units", 16, 512, LOG), discrete("drop", 0, 0.1, 0.2, 0.3, 0.5), category("kind", "a", "b", "c"),
    ]  # fmt: skip
    return Problem("mixed-6", parameters, function, optimum=0.0)


def branches() -> Problem:
    """Five branches, each with a learning rate of its own name-sake and range."""
    names = ["p", "q", "r", "s", "t"]

    def function(p: Point) -> float:
        b = names.index(p["branch"])
        value = 0.2 * ((b * 2) % 5) + (p["rate"] - 0.2 - 0.1 * b) ** 2 * (1 + b)
        if p["branch"] in ("q", "s"):
            value += 0.05 * (p["depth"] - 3) ** 2
        return float(value + 0.3 * (p["common"] - 0.3) ** 2)

    branch = category("branch", *names)
    branch["childParameterSpecs"] = [when(double("rate", 0.0, 1.0 + i / 4), name) for i, name in enumerate(names)]
    branch["childParameterSpecs"].append(when(integer("depth", 1, 8), "q", "s"))
    return Problem("branches", [branch, double("common", 0.0, 1.0)], function, optimum=0.0)


# "branches" reaches 0 in branch p at rate 0.2, common 0.3. "mixed-6" comes to about 0.01 at kind b, depth 4, lr 1e-2,
# units 128, drop 0.1, shift 1.04; its regret is measured from 0 for everybody.

_CORE: list[Callable[[], Problem | TwoObjectives]] = [
    lambda: bbob("rosenbrock", 4),
    lambda: bbob("schaffers", 4),
    lambda: bbob("ellipsoid", 8),
    lambda: bbob("sphere", 20),
    mixed,
    conditional,
    boosting,
    support_vectors,
    infeasible,
    lambda: bbob("sphere", 4, "-noisy", noise=2.0),
    lambda: bbob("rosenbrock", 4, "-b5", batch=5),
    lambda: zdt1(6),
]
_HELD_OUT: list[Callable[[], Problem | TwoObjectives]] = [
    lambda: bbob("rastrigin", 2),
    lambda: bbob("bent-cigar", 4),
    lambda: bbob("rosenbrock", 8),
    lambda: boosting(batch=5),
    mixed_with_interactions,
    branches,
]

ALL = {problem.name: problem for problem in (make() for make in _CORE + _HELD_OUT)}
CORE, HELD_OUT = list(ALL)[: len(_CORE)], list(ALL)[len(_CORE) :]
for _name in ("schaffers-4", "ellipsoid-8", "mixed-9", "hpo-svm", "sphere-4-noisy", "mixed-6"):
    ALL[f"{_name}-b5"] = replace(ALL[_name], name=f"{_name}-b5", batch=5)  # type: ignore[type-var]
IN_BATCHES = [name for name, problem in ALL.items() if problem.batch > 1]
