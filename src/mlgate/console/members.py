"""Who has which role, from several policies at once; what a person typed for members. Pure: values in, values out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mlgate.core.errors import InvalidArgument
from mlgate.core.iam.conditions import expiry, until
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, SERVICE_ACCOUNT_SUFFIX, parse_member
from mlgate.core.names import id_of

Policy = dict[str, Any]
Condition = dict[str, str]

_KINDS = {"projects": "Project", "folders": "Folder", "organizations": "Organization"}
ICONS = {"user": "person", "serviceAccount": "smart_toy", "group": "group", "domain": "domain", "deleted": "person_off"}


@dataclass
class Grant:
    """One member's role under one condition: the selected resources that give it, and the places above that do."""

    role: str
    member: str
    condition: Condition | None
    selected: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)
    #: Not confirmed by the server yet.
    pending: bool = False

    @property
    def key(self) -> str:
        return key_of(self.role, self.member, self.condition)

    @property
    def ends(self) -> float | None:
        return expiry(self.condition["expression"]) if self.condition else None

    @property
    def icon(self) -> str:
        return ICONS.get(self.member.partition(":")[0], "public")


def key_of(role: str, member: str, condition: Condition | None) -> str:
    return json.dumps([role, member, condition and sorted(condition.items())])


def grants(policies: Mapping[str, Policy], selected: Sequence[str]) -> list[Grant]:
    """Every grant of the policies, by role and member; those of several resources as one."""
    found: dict[str, Grant] = {}
    for name, policy in policies.items():
        for binding in policy.get("bindings", ()):
            for member in binding.get("members", ()):
                grant = Grant(binding["role"], member, binding.get("condition"))
                grant = found.setdefault(grant.key, grant)
                (grant.selected if name in selected else grant.above).append(name)
    return sorted(found.values(), key=lambda grant: (grant.role, grant.member, grant.key))


def place(name: str) -> str:
    """A project, a folder or the organization, in words."""
    return f"{_KINDS.get(name.partition('/')[0], 'Resource')} {id_of(name)}"


def shown(member: str) -> str:
    """A member without its kind, which its picture tells."""
    special = {ALL_USERS: "Everybody, signed in or not", ALL_AUTHENTICATED_USERS: "Everybody who is signed in"}
    return special.get(member) or member.partition(":")[2] or member


def typed(text: str) -> list[str]:
    """The members that a person typed: several, with or without their kind. Raises InvalidArgument."""
    members = []
    for word in re.split(r"[\s,;]+", text.strip()):
        if word and ":" not in word and "@" in word:
            word = f"{'serviceAccount' if word.lower().endswith(SERVICE_ACCOUNT_SUFFIX) else 'user'}:{word}"
        if word:
            members.append(parse_member(word))
    if not members:
        raise InvalidArgument("Type whom to add, such as bob@example.com or group:team@example.com.")
    return list(dict.fromkeys(members))


def ending(day: str) -> Condition | None:
    """The condition of an end date: the grant holds through that day, in UTC. Raises InvalidArgument."""
    if not day.strip():
        return None
    try:
        end = datetime.strptime(day.strip(), "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidArgument(f'"{day[:40]}" is no day: write it as 2030-01-31.') from None
    if end <= datetime.now(UTC):
        raise InvalidArgument(f"{day} is over; choose a later day.")
    return {"expression": until(end), "title": f"expires {end:%Y-%m-%d %H:%M} UTC"}


def role_title(role: str, titles: Mapping[str, str]) -> str:
    return titles.get(role) or role
