"""What goes wrong in a command, as a person should read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Failure(Exception):
    """A command that could not do what it was asked: a canonical code, a message, and the fields at fault."""

    def __init__(
        self, status: str, message: str, fields: Sequence[tuple[str, str]] = (), *, http_status: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.fields = tuple(fields)
        self.http_status = http_status

    def told(self, command: str) -> str:
        """`ERROR: (mlgate.models.describe) NOT_FOUND: ...`, and a line for each field that the message leaves out."""
        lines = [f"ERROR: ({command}) {self.status}: {self.message}"]
        lines += [f"- {field}: {what}" for field, what in self.fields if what != self.message]
        return "\n".join(lines)


def from_answer(status_code: int, body: Any) -> Failure:
    """The failure that a server's error answer tells of, whatever its body looks like."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, str):  # OAuth's form, or a model's own {"error": "..."}
        return Failure("INVALID_ARGUMENT", f"{body.get('error_description') or error}", http_status=status_code)
    if not isinstance(error, Mapping):
        return Failure("UNKNOWN", f"The server answered {status_code}: {str(body)[:500]}", http_status=status_code)
    fields = [
        (str(violation.get("field", "")), str(violation.get("description", "")))
        for detail in error.get("details", ())
        for violation in detail.get("fieldViolations", ())
    ]
    return Failure(str(error.get("status", "UNKNOWN")), str(error.get("message", "")), fields, http_status=status_code)
