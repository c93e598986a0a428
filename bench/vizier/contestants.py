"""Who takes part. A contestant is made for a problem and a seed:

    ask(count) -> [(key, point), ...]     tell(key, outcome or None)     load(history)

`load` puts finished trials into a fresh contestant, as a server does that keeps nothing but its database. Libraries are
imported when a contestant is made, so each may live in an environment of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from scipy.stats import qmc

from bench.vizier.problems import History, Outcome, Point
from mlgate.core.vizier import space as spaces
from mlgate.core.vizier.encoding import Encoding
from mlgate.core.vizier.space import CATEGORICAL, DISCRETE, LOG, REVERSE_LOG, Parameter
from mlgate.core.vizier.study import COMPLETED, Measurement, StudyConfig, Trial


class Contestant(Protocol):
    def ask(self, count: int) -> list[tuple[Any, Point]]: ...
    def tell(self, key: Any, outcome: Outcome) -> None: ...
    def load(self, history: History) -> None: ...


class Sampling:
    """Points that owe nothing to the outcomes: random, or a scrambled Sobol sequence."""

    def __init__(self, config: dict[str, Any], seed: int, sobol: bool) -> None:
        self.encoding = Encoding(StudyConfig.parse(config).space)
        width = len(self.encoding.space.parameters)
        rng = np.random.default_rng(seed)
        self.draw = qmc.Sobol(width, rng=rng).random if sobol else lambda count: rng.random((count, width))

    def ask(self, count: int) -> list[tuple[Any, Point]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = self.encoding.sample(self.draw(count))
        return [(None, self.encoding.decode(row)) for row in rows]

    def tell(self, key: Any, outcome: Outcome) -> None: ...
    def load(self, history: History) -> None: ...


class Ours:
    """The optimizer of this project, called as the server calls it: with nothing but the stored trials."""

    def __init__(self, config: dict[str, Any], seed: int) -> None:
        self.config, self.seed = StudyConfig.parse(config), seed
        self.trials: dict[int, Trial] = {}

    def ask(self, count: int) -> list[tuple[Any, Point]]:
        from mlgate.core.vizier import suggest

        points = suggest(self.config, list(self.trials.values()), count, self.seed)
        first = len(self.trials) + 1
        for at, point in enumerate(points, first):
            self.trials[at] = Trial(at, point)
        return list(enumerate(points, first))

    def tell(self, key: Any, outcome: Outcome) -> None:
        self.trials[key] = _completed(key, self.trials[key].parameters, outcome)

    def load(self, history: History) -> None:
        for point, outcome in history:
            at = len(self.trials) + 1
            self.trials[at] = _completed(at, dict(point), outcome)


def _completed(at: int, point: spaces.Assignment, outcome: Outcome) -> Trial:
    final = None if outcome is None else Measurement(0, 0.0, outcome)
    return Trial(at, point, COMPLETED, final=final, infeasible=outcome is None)


class Optuna:
    """Optuna's samplers. An infeasible trial is told as failed, which is Optuna's word for it."""

    def __init__(self, config: dict[str, Any], seed: int, sampler: str) -> None:
        import optuna

        warnings.filterwarnings("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna, study = optuna, StudyConfig.parse(config)
        self.space, self.metrics = study.space, study.metrics
        samplers = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        }
        self.study = optuna.create_study(sampler=samplers[sampler](), directions=["minimize"] * len(self.metrics))

    def ask(self, count: int) -> list[tuple[Any, Point]]:
        asked: list[tuple[Any, Point]] = []
        for _ in range(count):
            trial, point = self.study.ask(), {}
            pending = list(reversed(self.space.children(None, None)))
            while pending:
                parameter = pending.pop()
                value = self._from(parameter, trial._suggest(self._name(parameter), self._distribution(parameter)))
                point[parameter.name] = value
                pending.extend(reversed(self.space.children(parameter, value)))
            asked.append((trial, point))
        return asked

    def tell(self, key: Any, outcome: Outcome) -> None:
        if outcome is None:
            self.study.tell(key, state=self.optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(key, self._losses(outcome))

    def load(self, history: History) -> None:
        state = self.optuna.trial.TrialState
        trials = []
        for point, outcome in history:
            active = list(self.space.active(dict(point)))
            trials.append(
                self.optuna.trial.create_trial(
                    state=state.COMPLETE if outcome else state.FAIL,
                    values=self._losses(outcome) if outcome else None,
                    params={self._name(parameter): self._to(parameter, value) for parameter, value in active},
                    distributions={self._name(parameter): self._distribution(parameter) for parameter, _ in active},
                )
            )
        self.study.add_trials(trials)

    def _losses(self, outcome: dict[str, float]) -> list[float]:
        return [metric.sign * outcome[metric.name] for metric in self.metrics]

    def _name(self, parameter: Parameter) -> str:
        """Children that share a name may have different ranges, which Optuna refuses under one name."""
        twins = [p for p in self.space.parameters if p.name == parameter.name]
        return parameter.name if len(twins) == 1 else f"{parameter.name}#{parameter.index}"

    def _distribution(self, parameter: Parameter) -> Any:
        distributions = self.optuna.distributions
        if parameter.kind == CATEGORICAL:
            return distributions.CategoricalDistribution(list(parameter.values))
        if parameter.kind == DISCRETE:
            return distributions.IntDistribution(0, len(parameter.values) - 1)
        log = parameter.scale in (LOG, REVERSE_LOG)
        kind = distributions.IntDistribution if parameter.kind == spaces.INTEGER else distributions.FloatDistribution
        return kind(parameter.low, parameter.high, log=log)

    def _from(self, parameter: Parameter, value: Any) -> Any:
        if parameter.kind == DISCRETE:
            return parameter.values[value]
        return parameter.low + parameter.high - value if parameter.scale == REVERSE_LOG else value

    def _to(self, parameter: Parameter, value: Any) -> Any:
        if parameter.kind == DISCRETE:
            return parameter.values.index(value)
        return self._from(parameter, value)


CONTESTANTS: dict[str, Callable[[dict[str, Any], int], Contestant]] = {
    "random": lambda config, seed: Sampling(config, seed, sobol=False),
    "sobol": lambda config, seed: Sampling(config, seed, sobol=True),
    "optuna-tpe": lambda config, seed: Optuna(config, seed, "tpe"),
    "optuna-gp": lambda config, seed: Optuna(config, seed, "gp"),
    "mlgate": Ours,
}
