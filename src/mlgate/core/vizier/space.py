"""The parameter space of a study: a tree of parameters, read from `StudyConfig.parameters` as it is on the wire.

A parameter may have children, which exist only while it holds one of certain values. A point of the space (an
`Assignment`) holds the active parameters and no others. Two children of one parent may share a name if no value of the
parent activates both; all other names are unique in the tree (StudyConfig.ParameterSpec in the `ml` v1 document).

Every number has a *position* between 0 and 1 along its scale, the same distance being the same importance:

    linear       low + p (high - low)
    log          low (high / low)^p                     steps near `low` are the small ones
    reverse log  low + high - low (high / low)^(1 - p)  steps near `high` are the small ones
    even         the next of the values                 of DISCRETE ones, where the study names no scale: whoever lists
                                                        0.001, 0.01, 0.1 has spaced them as they matter
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlgate.core.errors import InvalidArgument
from mlgate.core.wire import INT64_MAX, INT64_MIN

Json = Mapping[str, Any]
Value = float | int | str
Assignment = dict[str, Value]

DOUBLE, INTEGER, CATEGORICAL, DISCRETE = "DOUBLE", "INTEGER", "CATEGORICAL", "DISCRETE"
LINEAR, LOG, REVERSE_LOG = "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"
EVEN = "EVEN"  # not on the wire

MAX_DISCRETE_VALUES = 1000
MAX_PARAMETERS = 1000

_SPEC_OF = {
    DOUBLE: "doubleValueSpec",
    INTEGER: "integerValueSpec",
    CATEGORICAL: "categoricalValueSpec",
    DISCRETE: "discreteValueSpec",
}
_MATCH_OF = {INTEGER: "parentIntValues", CATEGORICAL: "parentCategoricalValues", DISCRETE: "parentDiscreteValues"}
_WIRE_VALUE_OF = {DOUBLE: "floatValue", DISCRETE: "floatValue", INTEGER: "intValue", CATEGORICAL: "stringValue"}


def refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field, message)])


@dataclass(frozen=True)
class Parameter:
    """A node of the tree. `low` and `high` bound the numbers; `values` lists what CATEGORICAL and DISCRETE may be."""

    index: int
    name: str
    kind: str
    scale: str
    low: float
    high: float
    values: tuple[Value, ...] = ()
    parent: int | None = None
    when: frozenset[Value] = frozenset()

    @property
    def is_finite(self) -> bool:
        return self.kind != DOUBLE or self.low == self.high

    @property
    def count(self) -> int:
        """How many values there are; only for finite ones."""
        if self.values:
            return len(self.values)
        return 1 if self.kind == DOUBLE else int(self.high) - int(self.low) + 1

    def every_value(self) -> Sequence[Value]:
        """All values in their order; only for finite ones. An INTEGER answers with a range, however long."""
        if self.values:
            return self.values
        return (self.low,) if self.kind == DOUBLE else range(int(self.low), int(self.high) + 1)

    def contains(self, value: Value) -> bool:
        if self.values:
            return value in self.values
        return not isinstance(value, str) and self.low <= value <= self.high

    def position(self, value: float) -> float:
        """Where a number lies along the scale, between 0 and 1."""
        if self.high == self.low:
            return 0.5
        if self.scale == EVEN:
            return self.values.index(value) / (len(self.values) - 1)
        if self.scale == LOG:
            return math.log(value / self.low) / math.log(self.high / self.low)
        if self.scale == REVERSE_LOG:
            return 1 - math.log((self.low + self.high - value) / self.low) / math.log(self.high / self.low)
        span = self.high / 2 - self.low / 2
        return (value / 2 - self.low / 2) / span

    def value_at(self, position: float) -> float | int:
        """The feasible number nearest to a position."""
        low, high, p = self.low, self.high, min(max(position, 0.0), 1.0)
        if self.scale == EVEN:
            return float(self.values[round(p * (len(self.values) - 1))])
        if self.scale == LOG:
            value = low * math.exp(p * math.log(high / low))
        elif self.scale == REVERSE_LOG:
            value = low + high - low * math.exp((1 - p) * math.log(high / low))
        else:
            value = low * (1 - p) + high * p
        if self.kind == DISCRETE:
            return self._nearest(value)
        if self.kind == INTEGER:
            return min(max(round(value), int(low)), int(high))
        return float(min(max(value, low), high))

    def _nearest(self, value: float) -> float:
        numbers = [float(v) for v in self.values]
        at = bisect_left(numbers, value)
        return min(numbers[max(at - 1, 0) : at + 1], key=lambda number: abs(number - value))


class Space:
    """The parameters of a study, parents before children, in the order in which the config names them."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self._children: dict[int | None, list[Parameter]] = {}
        for parameter in self.parameters:
            self._children.setdefault(parameter.parent, []).append(parameter)

    @classmethod
    def parse(cls, specs: Sequence[Json] | None, field: str = "studyConfig.parameters") -> Space:
        """Raises InvalidArgument, with the field at fault, for a space that the `ml` v1 document does not allow."""
        if not specs:
            raise refuse(field, f"{field} is required: a study needs a parameter to vary.")
        return cls(_Reader().read(specs, field))

    @cached_property
    def is_conditional(self) -> bool:
        return any(parameter.parent is not None for parameter in self.parameters)

    @cached_property
    def size(self) -> int | None:
        """How many points there are; None if there is no end to them."""
        if not all(parameter.is_finite for parameter in self.parameters):
            return None
        return self._size_below(None, None)

    def children(self, parent: Parameter | None, value: Value | None) -> list[Parameter]:
        """The parameters that exist because `parent` holds `value` (or because they are at the top)."""
        if parent is None:
            return self._children.get(None, [])
        return [child for child in self._children.get(parent.index, ()) if value in child.when]

    def active(self, assignment: Mapping[str, Value]) -> Iterator[tuple[Parameter, Value]]:
        """Each active parameter with its value, parents first. Raises KeyError if one is missing."""
        pending = list(reversed(self.children(None, None)))
        while pending:
            parameter = pending.pop()
            value = assignment[parameter.name]
            yield parameter, value
            pending.extend(reversed(self.children(parameter, value)))

    def points(self) -> Iterator[Assignment]:
        """Every point of a finite space: the last active parameter runs fastest, as the digits of a number do."""
        digits: list[tuple[Parameter, int, list[Parameter]]] = []  # each with what is still to be set behind it
        behind = self.children(None, None)
        while True:
            while behind:
                parameter, rest = behind[0], behind[1:]
                digits.append((parameter, 0, rest))
                behind = self.children(parameter, parameter.every_value()[0]) + rest
            yield {parameter.name: parameter.every_value()[at] for parameter, at, _ in digits}
            while digits and digits[-1][1] + 1 == digits[-1][0].count:
                digits.pop()
            if not digits:
                return
            parameter, at, rest = digits.pop()
            digits.append((parameter, at + 1, rest))
            behind = self.children(parameter, parameter.every_value()[at + 1]) + rest

    def _size_below(self, parent: Parameter | None, value: Value | None) -> int:
        return math.prod(self._size_of(parameter) for parameter in self.children(parent, value))

    def _size_of(self, parameter: Parameter) -> int:
        telling = frozenset().union(*(child.when for child in self._children.get(parameter.index, ())))
        return parameter.count - len(telling) + sum(self._size_below(parameter, value) for value in telling)

    # ------------------------------------------------------------------------------------------------ trial parameters

    def read(self, parameters: Sequence[Json] | None, field: str = "trial.parameters") -> Assignment:
        """The point that a trial's `parameters` name: exactly the active ones, each with a feasible value.

        Raises InvalidArgument.
        """
        given: dict[str, tuple[int, Json]] = {}
        for i, item in enumerate(parameters or ()):
            name = item.get("parameter") or ""
            if name in given:
                raise refuse(f"{field}[{i}].parameter", f'The parameter "{name[:100]}" is given twice.')
            given[name] = (i, item)
        assignment: Assignment = {}
        pending = list(reversed(self.children(None, None)))
        while pending:
            parameter = pending.pop()
            if parameter.name not in given:
                raise refuse(field, f'The parameter "{parameter.name[:100]}" is missing.')
            i, item = given.pop(parameter.name)
            value = _trial_value(parameter, item, f"{field}[{i}]")
            assignment[parameter.name] = value
            pending.extend(reversed(self.children(parameter, value)))
        for name, (i, _) in given.items():
            message = f'"{name[:100]}" is no parameter of this study that is active beside the other values.'
            raise refuse(f"{field}[{i}].parameter", message)
        return assignment

    def write(self, assignment: Mapping[str, Value]) -> list[dict[str, Any]]:
        """A trial's `parameters` in wire form."""
        written: list[dict[str, Any]] = []
        for parameter, value in self.active(assignment):
            shown = str(value) if parameter.kind == INTEGER else value
            written.append({"parameter": parameter.name, _WIRE_VALUE_OF[parameter.kind]: shown})
        return written


def key(assignment: Mapping[str, Value]) -> frozenset[tuple[str, Value]]:
    """What makes two assignments the same point."""
    return frozenset(assignment.items())


def parse_integer(value: object) -> int:
    """An int64 as JSON carries it, a number or a string. Raises ValueError or OverflowError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or len(str(value)) > 30:
        raise ValueError("it is no whole number")
    number = int(value)
    if not INT64_MIN <= number <= INT64_MAX or (isinstance(value, float) and number != value):
        raise ValueError("it is no whole number of 64 bits")
    return number


def _trial_value(parameter: Parameter, item: Json, field: str) -> Value:
    wire = _WIRE_VALUE_OF[parameter.kind]
    given = [name for name in ("floatValue", "intValue", "stringValue") if item.get(name) is not None]
    if given != [wire]:
        what = " and ".join(given) or "nothing"
        raise refuse(field, f'"{parameter.name[:100]}" is {parameter.kind}: it takes {wire}, and {what} is given.')
    raw = item[wire]
    value: Value | None = None
    if parameter.kind == CATEGORICAL:
        value = str(raw)
    elif parameter.kind == INTEGER:
        try:
            value = parse_integer(raw)
        except (ValueError, OverflowError):
            raise refuse(f"{field}.{wire}", f'"{str(raw)[:40]}" is no whole number.') from None
    elif isinstance(raw, (int, float)):
        value = float(raw)
        if parameter.kind == DISCRETE and parameter._nearest(value) != value:
            near = parameter._nearest(value)
            value = near if math.isclose(near, value, rel_tol=1e-9) else value
    if value is None or not parameter.contains(value):
        raise refuse(f"{field}.{wire}", f'"{str(raw)[:100]}" is not feasible: {_range(parameter)}.')
    return value


def _range(parameter: Parameter) -> str:
    if not parameter.values:
        return f'"{parameter.name[:100]}" lies between {parameter.low:g} and {parameter.high:g}'
    shown = ", ".join(str(value)[:50] for value in parameter.values[:10])
    return f'"{parameter.name[:100]}" is one of {shown}{", ..." if len(parameter.values) > 10 else ""}'


class _Reader:
    """Reads the tree depth first and keeps the names met."""

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []
        self.owner: dict[str, int | None] = {}  # name -> the parent below which it was met

    def read(self, specs: Sequence[Json], field: str, parent: Parameter | None = None) -> list[Parameter]:
        for i, spec in enumerate(specs):
            self._one(spec, f"{field}[{i}]", parent)
        return self.parameters

    def _one(self, spec: Json, field: str, parent: Parameter | None) -> None:
        if len(self.parameters) == MAX_PARAMETERS:
            raise refuse(field, f"A study has at most {MAX_PARAMETERS} parameters.")
        kind = spec.get("type")
        if kind not in _SPEC_OF:
            raise refuse(f"{field}.type", f"{field}.type is required: one of {', '.join(_SPEC_OF)}.")
        when = _matching(spec, field, parent)
        name = self._name(spec, field, parent, when)
        for other, wire in _SPEC_OF.items():
            if other != kind and spec.get(wire) is not None:
                raise refuse(f"{field}.{wire}", f'"{name[:100]}" is {kind}: it takes {_SPEC_OF[kind]} only.')
        low, high, values = _domain(kind, spec.get(_SPEC_OF[kind]) or {}, f"{field}.{_SPEC_OF[kind]}")
        scale = _scale(kind, spec.get("scaleType"), low, f"{field}.scaleType")
        parameter = Parameter(
            len(self.parameters), name, kind, scale, low, high, values, None if parent is None else parent.index, when
        )
        self.parameters.append(parameter)
        children = spec.get("childParameterSpecs") or ()
        if children and kind == DOUBLE:
            message = f'"{name[:100]}" is DOUBLE and cannot have children: they need a value to match.'
            raise refuse(f"{field}.childParameterSpecs", message)
        self.read(children, f"{field}.childParameterSpecs", parameter)

    def _name(self, spec: Json, field: str, parent: Parameter | None, when: frozenset[Value]) -> str:
        name = spec.get("parameter")
        if not name:
            raise refuse(f"{field}.parameter", f"{field}.parameter is required: the name of the parameter.")
        above = None if parent is None else parent.index
        if name in self.owner and (self.owner[name] != above or parent is None):
            raise refuse(f"{field}.parameter", f'The name "{name[:100]}" is taken by another parameter of this study.')
        for sibling in self.parameters:
            if sibling.name == name and sibling.when & when:
                value = sorted(sibling.when & when, key=str)[0]
                clash = f'both are active when the parent is "{str(value)[:50]}"'
                message = f'Two children are named "{name[:100]}", and {clash}.'
                raise refuse(f"{field}.parameter", message)
        self.owner[name] = above
        return str(name)


def _matching(spec: Json, field: str, parent: Parameter | None) -> frozenset[Value]:
    given = [wire for wire in _MATCH_OF.values() if spec.get(wire) is not None]
    if parent is None:
        if given:
            raise refuse(f"{field}.{given[0]}", f"{given[0]} is for children; this parameter is at the top.")
        return frozenset()
    wire = _MATCH_OF[parent.kind]
    if given != [wire]:
        raise refuse(f"{field}.{wire}", f'A child of "{parent.name[:100]}" ({parent.kind}) takes {wire} only.')
    values = (spec[wire] or {}).get("values") or ()
    if not values:
        raise refuse(f"{field}.{wire}.values", f"{wire}.values is required: when is this child active?")
    read: set[Value] = set()
    for i, raw in enumerate(values):
        try:
            value = parse_integer(raw) if parent.kind == INTEGER else raw
        except (ValueError, OverflowError):
            raise refuse(f"{field}.{wire}.values[{i}]", f'"{str(raw)[:40]}" is no whole number.') from None
        if not parent.contains(value):
            message = f'"{str(raw)[:50]}" is no value of the parent: {_range(parent)}.'
            raise refuse(f"{field}.{wire}.values[{i}]", message)
        read.add(float(value) if parent.kind == DISCRETE else value)
    return frozenset(read)


def _domain(kind: str, spec: Json, field: str) -> tuple[float, float, tuple[Value, ...]]:
    if kind in (CATEGORICAL, DISCRETE):
        values = spec.get("values") or ()
        if not values:
            raise refuse(f"{field}.values", f"{field}.values is required: the values to choose from.")
        return _discrete(values, field) if kind == DISCRETE else _categorical(values, field)
    low, high = (_bound(kind, spec, name, field) for name in ("minValue", "maxValue"))
    if low > high:
        raise refuse(f"{field}.minValue", f"minValue {low:g} is above maxValue {high:g}.")
    return low, high, ()


def _bound(kind: str, spec: Json, name: str, field: str) -> float:
    raw = spec.get(name)
    if raw is None:
        raise refuse(f"{field}.{name}", f"{field}.{name} is required.")
    try:
        value = parse_integer(raw) if kind == INTEGER else float(raw)
    except (TypeError, ValueError, OverflowError):
        raise refuse(
            f"{field}.{name}", f'"{str(raw)[:40]}" is no {"whole " if kind == INTEGER else ""}number.'
        ) from None
    if not math.isfinite(value):
        raise refuse(f"{field}.{name}", f"{name} is finite; {raw} is given.")
    return value


def _categorical(values: Sequence[str], field: str) -> tuple[float, float, tuple[Value, ...]]:
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise refuse(f"{field}.values", f'The value "{twice[:100]}" is given twice.')
    return 0.0, float(len(values) - 1), tuple(values)


def _discrete(values: Sequence[float], field: str) -> tuple[float, float, tuple[Value, ...]]:
    if len(values) > MAX_DISCRETE_VALUES:
        message = f"{len(values)} values are given; at most {MAX_DISCRETE_VALUES} are allowed."
        raise refuse(f"{field}.values", message)
    numbers = tuple(float(value) for value in values)
    for i, number in enumerate(numbers):
        if not math.isfinite(number):
            raise refuse(f"{field}.values[{i}]", f"Values are finite; {number} is given.")
        if i and number <= numbers[i - 1]:
            message = f"Values are strictly increasing; {number:g} follows {numbers[i - 1]:g}."
            raise refuse(f"{field}.values[{i}]", message)
    return numbers[0], numbers[-1], numbers


def _scale(kind: str, raw: str | None, low: float, field: str) -> str:
    given = raw if raw and raw != "SCALE_TYPE_UNSPECIFIED" else None
    if given and kind == CATEGORICAL:
        raise refuse(field, "A CATEGORICAL parameter has no scale: leave scaleType unset.")
    if given not in (None, LINEAR, LOG, REVERSE_LOG):
        raise refuse(field, f'"{str(given)[:50]}" is no scale: one of {LINEAR}, {LOG}, {REVERSE_LOG}.')
    if given in (LOG, REVERSE_LOG) and low <= 0:
        raise refuse(field, f"{given} needs a strictly positive space; its lowest value is {low:g}.")
    return given or (EVEN if kind == DISCRETE else LINEAR)
