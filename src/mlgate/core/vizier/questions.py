"""What may be asked of the optimizer, and its answers, as plain JSON: so that another process can do the thinking.

    {"ask": "suggest", "config": {...}, "trials": [...], "count": 2, "study": NAME, "next": 12}   parameters of trials
    {"ask": "stop", "config": {...}, "trials": [...], "trial": 7}                                 true or false
    {"ask": "forecast", "shapes": [...], "remaining": [...], "shape": [...], "best": 0.1}         true or false
    {"ask": "plot", "config": {...}, "trials": [...], "kind": "history", ...}                     what to draw

`config` and `trials` are a study's own messages, the trials with their names. Raises what the core raises, and
ModuleNotFoundError where numpy or scipy are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from mlgate.core.errors import InvalidArgument
from mlgate.core.names import id_of
from mlgate.core.vizier import plots, stopping, suggest
from mlgate.core.vizier.study import StudyConfig, Trial, seed_of

Json = Mapping[str, Any]
_Plot = Callable[[StudyConfig, Sequence[Trial], Json], dict[str, Any]]

PLOTS: Mapping[str, _Plot] = {
    "history": lambda config, trials, _: plots.history(config, trials),
    "parallelCoordinates": lambda config, trials, _: plots.parallel_coordinates(config, trials),
    "slice": lambda config, trials, _: plots.slices(config, trials),
    "paretoFront": lambda config, trials, _: plots.pareto_front(config, trials),
    "importance": lambda config, trials, given: plots.importance(config, trials, given.get("metric", "")),
    "contour": lambda config, trials, given: plots.contour(
        config, trials, given.get("first", ""), given.get("second", ""), given.get("metric", "")
    ),
}


def answer(question: Json) -> Any:
    if question["ask"] == "forecast":
        told = {field.name: question[field.name] for field in fields(stopping.Forecast)}
        return stopping.Forecast(**told).is_hopeless()
    config = StudyConfig.parse(question["config"])
    trials = parsed(config, question["trials"])
    match question["ask"]:
        case "suggest":
            seed = seed_of(question["study"])
            points = suggest(config, trials, question["count"], seed, question["next"])
            return [config.space.write(point) for point in points]
        case "stop":
            return any(stopping.should_stop(config, trials, t) for t in trials if t.id == question["trial"])
        case "plot":
            return plot_of(question["kind"])(config, trials, question)
    raise ValueError(question["ask"])


def parsed(config: StudyConfig, trials: Sequence[Json]) -> list[Trial]:
    return [Trial.parse(config.space, trial, int(id_of(trial["name"]))) for trial in trials]


def plot_of(kind: str) -> _Plot:
    """Raises InvalidArgument."""
    if kind not in PLOTS:
        message = f'kind "{kind[:50]}" is no plot: one of {", ".join(PLOTS)}.'
        raise InvalidArgument(message, fields=[("kind", message)])
    return PLOTS[kind]
