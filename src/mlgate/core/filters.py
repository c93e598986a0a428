"""List filters: the part of AIP-160 that the API's lists take (api.md 2.2).

    expression = term (OR term)*          AND binds tighter than OR, and may be left out between terms
    factor     = NOT factor | "-" factor | "(" expression ")" | field op value
    op         = ":" "=" "!=" "<" ">" "<=" ">="

`:` is has: equal, or prefix when the value ends in `*`, or set when it is just `*`. Fields are those of the listed
resource in camelCase or snake_case, dotted (`labels.team`). An unknown field is an error, so a misspelt filter never
answers everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

from mlgate.core.errors import InvalidArgument
from mlgate.core.wire import camel, parse_timestamp

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r'\s*(?:(<=|>=|!=|[:=<>()])|"((?:[^"\\]|\\.)*)"|(-?[^\s:=<>!()"]+))')
_MAX_LENGTH, _MAX_DEPTH = 2000, 50


@dataclass(frozen=True, slots=True)
class Bounds:
    """By the dotted name of a field: the value that it must have, and the one that it must not be below."""

    equal: Mapping[str, str] = field(default_factory=dict)
    least: Mapping[str, str] = field(default_factory=dict)

    def both(self, other: Bounds) -> Bounds:
        least = {k: max((v, other.least.get(k, v)), key=_rank) for k, v in self.least.items()}
        return Bounds({**other.equal, **self.equal}, {**other.least, **least})

    def either(self, other: Bounds) -> Bounds:
        equal = {k: v for k, v in self.equal.items() if other.equal.get(k) == v}
        shared = self.least.keys() & other.least.keys()
        return Bounds(equal, {k: min((self.least[k], other.least[k]), key=_rank) for k in shared})


class _Part(NamedTuple):
    """A part of a filter: the test that it is, and what it says of all that passes it."""

    test: Predicate
    bounds: Bounds = Bounds()


def parse(text: str, fields: Collection[str]) -> Predicate:
    """A predicate over resources in JSON form. `fields` are the first segments that may be named. Raises
    InvalidArgument."""
    return _parsed(text, fields).test if text.strip() else lambda _: True


def _parsed(text: str, fields: Collection[str]) -> _Part:
    if len(text) > _MAX_LENGTH:
        raise _fault(f"it is longer than {_MAX_LENGTH} characters")
    parser = _Parser(_tokens(text), fields)
    whole = parser.expression(0)
    if parser.at < len(parser.tokens):
        raise _fault(f'"{parser.tokens[parser.at][1][:50]}" is not expected there')
    return whole


def bounds(text: str, fields: Collection[str]) -> Bounds:
    """What holds of everything that the filter lets through, so that the rest need not be looked at. Raises
    InvalidArgument."""
    return _parsed(text, fields).bounds if text.strip() else Bounds()


def _fault(why: str) -> InvalidArgument:
    message = f"Invalid filter: {why}. Write, for example, labels.team:blue AND NOT description:draft*."
    return InvalidArgument(message, fields=[("filter", message)])


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if not match:
            raise _fault(f'"{text[at : at + 30]}" cannot be read')
        operator, quoted, word = match.groups()
        if operator:
            tokens.append(("op", operator))
        elif quoted is not None:
            tokens.append(("text", re.sub(r"\\(.)", r"\1", quoted)))
        else:
            tokens.append(("word", word))
        at = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], fields: Collection[str]) -> None:
        self.tokens = tokens
        self.fields = fields
        self.at = 0

    def _peek(self, *words: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at][1] in words and self.tokens[self.at][0] != "text"

    def _next(self, wanted: str) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise _fault(f"{wanted} is missing at its end")
        self.at += 1
        return self.tokens[self.at - 1]

    def expression(self, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            raise _fault("it is nested too deeply")
        options = [self._conjunction(depth)]
        while self._peek("OR"):
            self.at += 1
            options.append(self._conjunction(depth))
        if len(options) == 1:
            return options[0]
        tests = [option.test for option in options]
        return _Part(lambda item: any(test(item) for test in tests), reduce(Bounds.either, (o.bounds for o in options)))

    def _conjunction(self, depth: int) -> _Part:
        parts = [self._factor(depth)]
        while self.at < len(self.tokens) and not self._peek("OR", ")"):
            if self._peek("AND"):
                self.at += 1
            parts.append(self._factor(depth))
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        return _Part(lambda item: all(test(item) for test in tests), reduce(Bounds.both, (p.bounds for p in parts)))

    def _factor(self, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            raise _fault("it is nested too deeply")
        if self._peek("NOT"):
            self.at += 1
            return _negated(self._factor(depth + 1))
        if self._peek("("):
            self.at += 1
            inner = self.expression(depth + 1)
            if self._next('")"')[1] != ")":
                raise _fault('")" is missing')
            return inner
        return self._restriction(depth)

    def _restriction(self, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            raise _fault("it is nested too deeply")
        kind, name = self._next("a field")
        if kind == "word" and name.startswith("-") and len(name) > 1:
            self.tokens[self.at - 1] = (kind, name[1:])
            self.at -= 1
            return _negated(self._restriction(depth + 1))
        if kind != "word":
            raise _fault(f'a field is expected where "{name[:50]}" stands')
        head, labels, rest = name.partition("labels.") if re.match(r"(\w+\.)?labels\.", name) else (name, "", "")
        path = [camel(part) for part in (head + labels).split(".") if part] + ([rest] if labels else [])
        if path[0] not in self.fields:
            raise _fault(f'"{name[:80]}" is no field; the fields are {", ".join(sorted(self.fields))}')
        operator = self._next("an operator")
        if operator[0] != "op" or operator[1] in "()":
            raise _fault(f'an operator is expected after "{name[:80]}"')
        if operator[1] == "=" and self._peek("="):
            self.at += 1
        kind, value = self._next("a value")
        if kind == "op":
            raise _fault(f'a value is expected after "{name[:80]} {operator[1]}"')
        told = {} if value.endswith("*") else {".".join(path): value}
        bounds = Bounds(told if operator[1] == "=" else {}, told if operator[1] in ("=", ">", ">=") else {})
        return _Part(_comparison(path, operator[1], value), bounds)


def _negated(part: _Part) -> _Part:
    test = part.test
    return _Part(lambda item: not test(item))


def _comparison(path: list[str], operator: str, value: str) -> Predicate:
    def matches(item: Mapping[str, Any]) -> bool:
        found: Any = item
        for part in path:
            if not isinstance(found, Mapping):
                return operator == "!="
            found = found.get(part)
        return _compare(found, operator, value)

    return matches


def _compare(found: Any, operator: str, value: str) -> bool:
    if isinstance(found, Mapping):
        return operator == ":" and (value == "*" or value in found)
    if isinstance(found, list):
        return any(_compare(item, operator, value) for item in found)
    if operator == ":" and value == "*":
        return found is not None
    text = {True: "true", False: "false", None: ""}.get(found, str(found)) if not isinstance(found, str) else found
    if found is None and value == "false":
        text = "false"
    if operator in (":", "="):
        return text.startswith(value[:-1]) if value.endswith("*") else text == value
    if operator == "!=":
        return not _compare(found, "=", value)
    left, right = _ordered(text, value)
    return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[operator])


def _rank(value: str) -> tuple[int, Any]:
    """For one field's values: in the order of moments where they are some, else of text."""
    try:
        return 1, parse_timestamp(value).timestamp()
    except ValueError:
        return 0, value


def _ordered(text: str, value: str) -> tuple[Any, Any]:
    """Both as numbers, else both as moments, else both as severities of a log, else as text."""
    for read in (float, lambda t: parse_timestamp(t).timestamp(), SEVERITIES.index):
        try:
            return read(text), read(value)
        except ValueError:
            continue
    return text, value
