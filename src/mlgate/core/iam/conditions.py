"""Conditions: CEL expressions that must be true for a binding to grant, or for a deny rule to deny.

What an expression may read (Google IAM's attributes, the resource ones extended to the resources of this server):

    request.time                                     the moment of the decision
    resource.name, resource.type, resource.service   what the call is about
    api.getAttribute("iam.googleapis.com/modifiedGrantsByRole", [])
                                                     in a change of a policy, the roles that it gives or takes

and beside CEL's own functions `date`, `extract` on strings and `hasOnly` on lists. Types are checked when a condition
is set, so that `check` refuses what could never be true; what fails only when it is evaluated, such as a time zone that
does not exist, is neither true nor false, and who asks decides what that means: a binding does not grant, a deny rule
denies.

The library is the reference implementation. It evaluates an expression in a few microseconds and compiles one in a few
hundred, so compiled ones are kept. Two forms are recognized and never compiled: those that only bound the time, which
`--expires` writes by the thousand, and those that only name the roles that may be given, for which the library would
have to call back.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple

from mlgate.core.errors import InvalidArgument
from mlgate.core.iam.policy import Condition
from mlgate.core.names import relative_name, service_of, type_of

MODIFIED_GRANTS = "iam.googleapis.com/modifiedGrantsByRole"
MAX_OPERATORS = 12
MAX_EXPRESSION, MAX_TITLE, MAX_DESCRIPTION = 4096, 100, 256
REMEMBERED_PROGRAMS = 1 << 14

_STRINGS = re.compile(r"""r?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_OPERATORS = re.compile(r"&&|\|\||!(?!=)")
_WORDS = re.compile(r"\w+")
_MACROS = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(")
_TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"
_EXPIRY = re.compile(rf"""\s*request\.time\s*<\s*timestamp\(\s*(["'])({_TIMESTAMP})\1\s*\)\s*""", re.ASCII)
_PLAIN = r"""(?:"[^"\\]*"|'[^'\\]*')"""
_DELEGATION = re.compile(
    rf"""\s*api\.getAttribute\(\s*(["']){MODIFIED_GRANTS}\1\s*,\s*\[\s*\]\s*\)"""
    rf"""\.hasOnly\(\s*\[\s*((?:{_PLAIN}\s*(?:,\s*{_PLAIN}\s*)*)?)\]\s*\)\s*"""
)
_compiling = threading.Lock()


def holds(expression: str, resource: str, at: float, modified_roles: Collection[str] = ()) -> bool | None:
    """Whether the expression is true of a call on `resource` at the time `at` (seconds since 1970); None when it fails.

    `modified_roles` are the roles that the call gives or takes, if it changes a policy.
    """
    return _program(expression).holds(resource, at, modified_roles)


def reads_call(expression: str) -> bool:
    """Whether the expression may read more than the resource: when the call is made, or what it changes."""
    return not _program(expression).reads.isdisjoint(("request.time", "api"))


def expiry(expression: str) -> float | None:
    """The end, in seconds since 1970, of an expression that says `request.time < timestamp("...")` and nothing else."""
    match = _EXPIRY.fullmatch(expression)
    if not match:
        return None
    try:
        end = datetime.fromisoformat(match.group(2))
    except ValueError:
        return None
    return end.timestamp() if end.tzinfo is not None else None


def until(end: datetime) -> str:
    """The expression that is true before `end`."""
    return f'request.time < timestamp("{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")'


def check(condition: Condition, field: str) -> None:
    """Raises InvalidArgument, naming `field`, when a condition may not be set: no title, too long or with too many
    logical operators, not CEL, not boolean, or about something that conditions cannot read."""

    def refuse(part: str, why: str) -> InvalidArgument:
        message = f"The condition {condition.title[:100]!r} is invalid: {why}."
        return InvalidArgument(message, fields=[(f"{field}.{part}", message)])

    expression = condition.expression
    if not condition.title.strip():
        raise refuse("title", "it needs a title that says what it is for")
    if len(condition.title) > MAX_TITLE or len(condition.description) > MAX_DESCRIPTION:
        raise refuse("title", f"title and description have at most {MAX_TITLE} and {MAX_DESCRIPTION} characters")
    if not expression.strip():
        raise refuse("expression", "it has no expression")
    if len(expression) > MAX_EXPRESSION:
        raise refuse("expression", f"the expression has {len(expression)} characters; {MAX_EXPRESSION} are allowed")
    bare = _STRINGS.sub('""', expression)
    if len(_OPERATORS.findall(bare)) > MAX_OPERATORS:
        raise refuse("expression", f"it has more than {MAX_OPERATORS} logical operators")
    if macro := _MACROS.search(bare):
        raise refuse("expression", f"{macro.group(1)}() is not available in conditions")
    try:
        with _compiling:
            kind = _environment().compile(expression).return_type().name()
    except RuntimeError as error:
        raise refuse("expression", _reason(str(error))) from None
    if kind != "BOOL":
        raise refuse("expression", f"it is {kind} where a condition must be BOOL: true or false")


def _reason(text: str) -> str:
    """The compiler's message without its codes and its picture of the place."""
    first = text.strip().splitlines()[0] if text.strip() else "it cannot be compiled"
    return first.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").replace("<input>:", "at ")[:300]


# ----------------------------------------------------------------------------------------------------------- library


Holds = Callable[[str, float, Collection[str]], bool | None]

#: How each attribute is read of a call; an expression is given those that it names.
_ATTRIBUTES: dict[str, Callable[[str, float, Collection[str]], Any]] = {
    "request.time": lambda resource, at, modified_roles: datetime.fromtimestamp(at, UTC),
    "resource.name": lambda resource, at, modified_roles: relative_name(resource),
    "resource.type": lambda resource, at, modified_roles: type_of(resource),
    "resource.service": lambda resource, at, modified_roles: service_of(resource),
    "api": lambda resource, at, modified_roles: {MODIFIED_GRANTS: list(modified_roles)},
}


class Program(NamedTuple):
    """An expression, ready to be asked, and the attributes that it reads."""

    holds: Holds
    reads: frozenset[str]


@lru_cache(REMEMBERED_PROGRAMS)
def _program(expression: str) -> Program:
    """What to ask. An expression that does not compile, of which `check` lets none in, never says anything."""
    end = expiry(expression)
    if end is not None:
        return Program(lambda resource, at, modified_roles: at < end, frozenset(("request.time",)))
    if match := _DELEGATION.fullmatch(expression):
        allowed = frozenset(text[1:-1] for text in re.findall(_PLAIN, match.group(2)))
        return Program(lambda resource, at, modified_roles: allowed.issuperset(modified_roles), frozenset(("api",)))
    return _compiled(expression)


def _compiled(expression: str) -> Program:
    try:
        with _compiling:
            program = _environment().compile(expression)
    except RuntimeError:
        return Program(lambda resource, at, modified_roles: None, frozenset())
    # By the last word: blanks may stand around a dot.
    words = set(_WORDS.findall(expression))
    read = {name: how for name, how in _ATTRIBUTES.items() if name.rpartition(".")[2] in words}

    def evaluate(resource: str, at: float, modified_roles: Collection[str]) -> bool | None:
        try:
            value = program.eval(data={name: how(resource, at, modified_roles) for name, how in read.items()}).value()
        except RuntimeError:
            return None
        return value if isinstance(value, bool) else None

    return Program(evaluate, frozenset(read))


@cache
def _environment() -> Any:
    from cel_expr_python import cel  # here, so that a process that meets no condition does not load it

    t = cel.Type
    strings, attributes = t.List(t.STRING), t.Map(t.STRING, t.List(t.STRING))

    def function(name: str, parameters: list[Any], returns: Any, does: Any, member: bool = True) -> Any:
        overload = cel.Overload(f"{name}_iam", return_type=returns, parameters=parameters, is_member=member, impl=does)
        return cel.FunctionDecl(name, [overload])

    return cel.NewEnv(
        variables={
            "request.time": t.TIMESTAMP,
            "resource.name": t.STRING,
            "resource.type": t.STRING,
            "resource.service": t.STRING,
            "api": attributes,
        },
        functions=[
            function("extract", [t.STRING, t.STRING], t.STRING, _extract),
            function("date", [t.STRING], t.TIMESTAMP, _date, member=False),
            # LIST, not a list of strings: the type of the empty list in a call is not known to be that
            function("getAttribute", [attributes, t.STRING, t.LIST], strings, _get_attribute),
            function("hasOnly", [strings, t.LIST], t.BOOL, _has_only),
        ],
    )


def _extract(text: str, template: str) -> str:
    """The part of the text where the template has a name in braces; "" where it does not fit (IAM's `extract`)."""
    before, _, rest = template.partition("{")
    _, closed, after = rest.partition("}")
    if not closed:
        raise ValueError("extract needs a template such as models/{model}/")
    start = text.find(before)
    if start < 0:
        return ""
    start += len(before)
    end = text.find(after, start) if after else len(text)
    return "" if end < 0 else text[start:end]


def _date(text: str) -> datetime:
    if len(text) != len("2026-01-31"):
        raise ValueError("date needs a day such as 2026-01-31")
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _get_attribute(attributes: Mapping[str, list[str]], key: str, default: list[str]) -> list[str]:
    return list(attributes.get(key, default))


def _has_only(given: Collection[str], allowed: Collection[str]) -> bool:
    return set(given) <= set(allowed)
