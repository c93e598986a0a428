"""Changes of a policy, as plain JSON: a member into a binding, a member out of it, with or without a condition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from mlgate.cli import moments
from mlgate.cli.failure import Failure
from mlgate.core.iam.conditions import expiry, until
from mlgate.core.wire import parse_timestamp

Policy = dict[str, Any]
Condition = dict[str, str]

#: The version of a policy that may have conditions.
WITH_CONDITIONS = 3
_FIELD = re.compile(r"(?:^|,)\s*(expression|title|description)=")


def with_member(policy: Policy, role: str, member: str, condition: Condition | None = None) -> Policy:
    """The policy with the member at the end of the role's binding with this condition, made when there is none."""
    bindings = [{**b, "members": list(b.get("members", ()))} for b in policy.get("bindings", ())]
    found = next((b for b in bindings if b["role"] == role and _same(b.get("condition"), condition)), None)
    if found is None:
        bindings.append({"role": role, "members": [member], **({"condition": condition} if condition else {})})
    elif member not in found["members"]:
        found["members"].append(member)
    return _replaced(policy, bindings)


def without_member(
    policy: Policy, role: str, member: str, condition: Condition | None = None, *, everywhere: bool = False
) -> Policy:
    """The policy without the member in the role's binding with this condition, or in all of the role's bindings; an
    empty binding goes. Raises Failure when there is nothing to remove, and tells what there is."""
    bindings, found, others = [], False, []
    for binding in policy.get("bindings", ()):
        members = list(binding.get("members", ()))
        if binding["role"] == role and member in members:
            if everywhere or _same(binding.get("condition"), condition):
                members, found = [m for m in members if m != member], True
            else:
                others.append(binding.get("condition"))
        if members:
            bindings.append({**binding, "members": members})
    if not found:
        message = f"Policy binding with the member {member}, the role {role} and {_told(condition)} not found."
        if others:
            there = "; ".join(_told(other) for other in others)
            message += f" There is one with {there}: name it by --condition, or remove all by --all."
        raise Failure("NOT_FOUND", message)
    return _replaced(policy, bindings)


def condition_of(text: str, ends: str) -> Condition | None:
    """The condition of --condition "expression=...,title=...", and of --expires. Raises Failure."""
    if text and ends:
        raise Failure("INVALID_ARGUMENT", "--condition and --expires are two ways to say a condition: use one.")
    if ends:
        end = parse_timestamp(moments.end(ends))
        return {"expression": until(end), "title": f"expires {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"}
    if not text or text == "None":
        return None
    marks = list(_FIELD.finditer(text))
    stops = [*(mark.start() for mark in marks[1:]), len(text)]
    found = {mark.group(1): text[mark.end() : stop].strip() for mark, stop in zip(marks, stops, strict=False)}
    if not marks or marks[0].start() or not found.get("expression") or not found.get("title"):
        raise Failure("INVALID_ARGUMENT", f'"{text}" is no condition: write expression=EXPRESSION,title=TITLE.')
    return found


def endings(policy: Policy, now: datetime | None = None) -> Iterator[str]:
    """A line for each binding that ends by itself: who has what for how long."""
    at = now or datetime.now(UTC)
    for binding in policy.get("bindings", ()):
        end = expiry((binding.get("condition") or {}).get("expression", ""))
        if end is not None:
            left = timedelta(seconds=int(end - at.timestamp()))
            says = f"for another {_span(left)}" if left > timedelta() else f"no more: it ended {_span(-left)} ago"
            yield f"{binding['role']} for {', '.join(binding.get('members', ()))}: {says}"


def _span(span: timedelta) -> str:
    days, hours, minutes = span.days, span.seconds // 3600, span.seconds % 3600 // 60
    if days:
        return f"{days}d{hours}h" if hours else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    return f"{minutes}m" if minutes else f"{span.seconds}s"


def _same(one: Condition | None, other: Condition | None) -> bool:
    fields = ("expression", "title", "description")
    return [(one or {}).get(f, "") for f in fields] == [(other or {}).get(f, "") for f in fields]


def _told(condition: Condition | None) -> str:
    return f'the condition "{condition.get("title", "")}" ({condition["expression"]})' if condition else "no condition"


def _replaced(policy: Policy, bindings: list[dict[str, Any]]) -> Policy:
    kept = {k: v for k, v in policy.items() if k not in ("bindings", "auditConfigs")}
    return {**kept, "bindings": bindings, "version": WITH_CONDITIONS}
