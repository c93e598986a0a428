"""Deny policies: who may not do what, whatever bindings say (IAM v2).

They stand on projects, folders and the organization, and hold for everything below. A rule denies its permissions to
its principals, but for its exceptions, while its condition is true or cannot be told. Permissions are written with two
dots as everywhere in this server, and `*` stands for one whole part: `ml.models.*`, `ml.*.predict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlgate.core.iam.policy import Condition, condition_from_plain, condition_to_plain
from mlgate.core.iam.principals import ALL_USERS


@dataclass(frozen=True, slots=True)
class DenyRule:
    """Members and permission patterns, and the exceptions to both."""

    principals: tuple[str, ...]
    permissions: tuple[str, ...]
    exception_principals: tuple[str, ...] = ()
    exception_permissions: tuple[str, ...] = ()
    condition: Condition | None = None

    def denies(self, permission: str) -> bool:
        """Whether the rule is about this permission."""
        if any(matches(pattern, permission) for pattern in self.exception_permissions):
            return False
        return any(matches(pattern, permission) for pattern in self.permissions)


@dataclass(frozen=True, slots=True)
class DenyPolicy:
    """The rules of one policy; `name` is its id at the place where it stands."""

    name: str
    rules: tuple[DenyRule, ...]


#: What stands on a project that is being deleted: it can be looked at and restored, nothing else.
BEING_DELETED = DenyPolicy(
    "project-is-being-deleted",
    (DenyRule((ALL_USERS,), ("*.*.*",), exception_permissions=("resourcemanager.projects.*",)),),
)


def matches(pattern: str, permission: str) -> bool:
    """Whether `ml.models.*` is about `ml.models.get`: part by part, a star standing for any one."""
    parts, whole = pattern.split("."), permission.split(".")
    return len(parts) == len(whole) and all(p in ("*", w) for p, w in zip(parts, whole, strict=True))


def to_plain(policies: Sequence[DenyPolicy]) -> list[dict[str, Any]]:
    """The deny policies of one place as plain JSON values, the form in which every process is told of them."""
    return [{"name": policy.name, "rules": [_rule_to_plain(rule) for rule in policy.rules]} for policy in policies]


def from_plain(value: Sequence[Mapping[str, Any]] | None) -> tuple[DenyPolicy, ...]:
    """The inverse of `to_plain`; none for None."""
    return tuple(DenyPolicy(p["name"], tuple(_rule_from_plain(rule) for rule in p["rules"])) for p in value or ())


def _rule_to_plain(rule: DenyRule) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "principals": list(rule.principals),
        "permissions": list(rule.permissions),
        "exception_principals": list(rule.exception_principals),
        "exception_permissions": list(rule.exception_permissions),
    }
    return plain | {"condition": condition_to_plain(rule.condition)} if rule.condition else plain


def _rule_from_plain(value: Mapping[str, Any]) -> DenyRule:
    return DenyRule(
        tuple(value["principals"]),
        tuple(value["permissions"]),
        tuple(value["exception_principals"]),
        tuple(value["exception_permissions"]),
        condition_from_plain(value.get("condition")),
    )
