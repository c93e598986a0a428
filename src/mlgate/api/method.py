"""The method table's row, and `compile`, which turns all rows into the registry that everything else reads.

A row says what a method is: its HTTP verb and path, the messages it takes and gives, the permission it needs and the
resource on which that is checked, how it is audited, and the function that does it. Router, authorization, audit log,
command line, discovery document, reference docs and test matrix read these rows; nothing else is a method.

Paths are written as Google's API definitions write them: `v1/{parent=projects/*}/models`, the braces naming a parameter
and the pattern of the resource it holds. `requires` has no default: a method without a permission is `Public` or
`Authenticated` and says why. `handler=None` means that the method is not there yet: it answers UNIMPLEMENTED after
authorization.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from mlgate.api.messages.message import Message
from mlgate.core.iam import permissions

Handler = Callable[..., Any]

GET, POST, PUT, PATCH, DELETE = "GET", "POST", "PUT", "PATCH", "DELETE"


@dataclass(frozen=True, slots=True)
class Public:
    """Anybody may call this, signed in or not; `reason` says why that is right."""

    reason: str


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Anybody signed in may call this; `reason` says what protects the answer."""

    reason: str


class Audit(Enum):
    """What kind of access the audit log calls it (Cloud Audit Logs' three, of which ADMIN_WRITE is always stored)."""

    ADMIN_WRITE = "ADMIN_WRITE"
    ADMIN_READ = "ADMIN_READ"
    DATA_READ = "DATA_READ"
    DATA_WRITE = "DATA_WRITE"


class Style(Enum):
    """How a handler runs: READ and WRITE in a transaction on a thread, STREAM on the event loop, unread."""

    READ = "READ"
    WRITE = "WRITE"
    STREAM = "STREAM"


@dataclass(frozen=True, slots=True)
class Need:
    """A further check on a resource that the body names: any one of `permissions` there is enough."""

    permissions: tuple[str, ...]
    resource: str


@dataclass(frozen=True)
class Method:
    id: str
    http: str
    path: str
    requires: str | Public | Authenticated
    handler: Handler | None
    takes: type[Message] | None = None
    gives: type[Message] | None = None
    on: str = ""
    #: Where the body names the resource on which `requires` is checked: what its JSON object gives `on`.
    on_body: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None
    query: Mapping[str, type] = field(default_factory=dict)
    audit: Audit = Audit.ADMIN_READ
    style: Style | None = None
    also: Callable[..., Iterable[Need]] | None = None
    max_body: int = 2 << 20
    summary: str = ""

    @cached_property
    def template(self) -> Template:
        return Template.parse(self.path)

    @cached_property
    def runs(self) -> Style:
        if self.style is not None:
            return self.style
        return Style.WRITE if self.audit in (Audit.ADMIN_WRITE, Audit.DATA_WRITE) else Style.READ

    @property
    def api(self) -> str:
        return self.id.partition(".")[0]

    @property
    def version(self) -> str:
        """`v1` of a path that begins so; "" for another."""
        first = self.template.segments[0]
        return first if re.fullmatch(r"v\d\w*", first) else ""

    def resource(self, parameters: Mapping[str, Any]) -> str:
        """The name of the resource on which `requires` is checked; "" when a parameter is missing: nobody holds
        anything there."""
        if self.on:
            try:
                return self.on.format_map(parameters)
            except KeyError:
                return ""
        return str(parameters[self.template.variables[0].name]) if self.template.variables else ""


# ------------------------------------------------------------------------------------------------------------- paths


@dataclass(frozen=True, slots=True)
class Variable:
    """A path parameter: which segments it covers, and the pattern of the name that it holds."""

    name: str
    start: int
    stop: int
    pattern: str


@dataclass(frozen=True, slots=True)
class Template:
    """A path as segments ("*" matches one), a custom verb (or ""), and its parameters."""

    segments: tuple[str, ...]
    verb: str
    variables: tuple[Variable, ...]

    @staticmethod
    def parse(path: str) -> Template:
        body, verb = path, ""
        if match := re.search(r":([A-Za-z]+)$", path):
            body, verb = path[: match.start()], match.group(1)
        segments: list[str] = []
        variables: list[Variable] = []
        for part in re.findall(r"\{[^}]*\}|[^/{}]+", body):
            if not part.startswith("{"):
                segments.append(part)
                continue
            name, _, pattern = part[1:-1].partition("=")
            inner = (pattern or "*").split("/")
            variables.append(Variable(name, len(segments), len(segments) + len(inner), pattern or "*"))
            segments += inner
        return Template(tuple(segments), verb, tuple(variables))

    def fill(self, parameters: Mapping[str, str], quote: Callable[[str], str]) -> str:
        """The path for these parameters, each segment quoted; KeyError for a missing one."""
        out = list(self.segments)
        for variable in self.variables:
            value = parameters[variable.name]
            names = value.split("/") if "/" in variable.pattern else [value]
            out[variable.start : variable.stop] = [quote(name) for name in names] + [""] * (
                variable.stop - variable.start - len(names)
            )
        return "/".join(out) + (f":{self.verb}" if self.verb else "")


# ---------------------------------------------------------------------------------------------------------- registry


@dataclass(frozen=True, eq=False)
class Registry:
    """All rows, in table order."""

    rows: tuple[Method, ...]

    def get(self, method_id: str) -> list[Method]:
        """The rows of one method; more than one where a method may name two kinds of resource."""
        return [row for row in self.rows if row.id == method_id]


def compile(rows: Iterable[Method]) -> Registry:
    """The registry. Raises ValueError when a row cannot be trusted: an unknown permission, an empty reason, a key that
    another row has, or a resource that the path does not give."""
    table = tuple(rows)
    seen: dict[tuple[str, str, tuple[str, ...]], str] = {}
    for row in table:
        if isinstance(row.requires, str):
            if row.requires not in permissions.ALL:
                raise ValueError(f"{row.id} requires {row.requires!r}, which is not in the permission catalogue")
            if not row.on and not row.template.variables:
                raise ValueError(f"{row.id} requires a permission and names no resource")
        elif not row.requires.reason:
            raise ValueError(f"{row.id} is open and gives no reason")
        key = (row.http, row.template.verb, row.template.segments)
        if key in seen:
            raise ValueError(f"{row.id} and {seen[key]} both answer {row.http} {row.path}")
        seen[key] = row.id
    return Registry(table)
