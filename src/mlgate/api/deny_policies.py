"""Stored deny policies, and what every process must know of them.

A record keeps the rules as v2 writes them, in canonical form. The fact of a place holds all its rules as decisions read
them, and is written in the transaction that changes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgate.api.messages import iam_v2
from mlgate.api.messages.message import decode
from mlgate.core.iam.deny import DenyPolicy, DenyRule, matches, to_plain
from mlgate.core.iam.permissions import ALL
from mlgate.core.iam.policy import condition_from_plain
from mlgate.core.iam.v2 import UNDENIABLE, member_of, pattern_of, principal_of
from mlgate.core.names import id_of, join, policies_name
from mlgate.core.wire import encode_base64, format_timestamp
from mlgate.ports import Record, Transaction

KIND = "denyPolicy"
_DENIED, _EXCEPTIONS = "deniedPrincipals", "exceptionPrincipals"
_UNDENIABLE = tuple(permission for permission in ALL if matches(UNDENIABLE, permission))


def tell(tx: Transaction, place: str) -> None:
    """Tell every process of the deny policies of a place; decisions follow them from the commit on."""
    policies = [
        DenyPolicy(id_of(record.name), tuple(_rule(rule["denyRule"]) for rule in record.body["rules"]))
        for record in tx.children(place, KIND)
    ]
    tx.set_fact("deny", place, to_plain(policies) or None)


def _rule(plain: Mapping[str, Any]) -> DenyRule:
    """The rule as decisions read it; a wildcard leaves out what nobody may be denied."""
    permissions = tuple(map(pattern_of, plain["deniedPermissions"]))
    excepted = tuple(map(pattern_of, plain.get("exceptionPermissions", ())))
    if any(matches(pattern, permission) for pattern in permissions for permission in _UNDENIABLE):
        excepted = (*excepted, UNDENIABLE)
    return DenyRule(
        tuple(map(member_of, plain[_DENIED])),
        permissions,
        tuple(map(member_of, plain.get(_EXCEPTIONS, ()))),
        excepted,
        condition_from_plain(plain.get("denialCondition")),
    )


def rename_member(tx: Transaction, before: str, after: str, *, was_nobody: bool = False) -> None:
    """Write another member in the place of one, in every deny rule that names it. With `was_nobody` only among the
    exceptions: an address that was denied before anybody had it stays denied."""
    sides = {_EXCEPTIONS: "exception_principals"} | ({} if was_nobody else {_DENIED: "principals"})
    old, new = principal_of(before), principal_of(after)
    for place, policies in tx.facts("deny").items():
        rules = [rule for policy in policies for rule in policy["rules"]]
        if not any(before in rule[side] for rule in rules for side in sides.values()):
            continue
        for record in tx.children(place, KIND):
            body = {**record.body, "rules": [_renamed(rule, old, new, sides) for rule in record.body["rules"]]}
            if body != record.body:
                record.body = body
                tx.update(record)
        tell(tx, place)


def _renamed(rule: Mapping[str, Any], old: str, new: str, sides: Mapping[str, str]) -> dict[str, Any]:
    deny = rule["denyRule"]
    changed = {side: [new if p == old else p for p in deny[side]] for side in sides if side in deny}
    return {**rule, "denyRule": {**deny, **changed}}


def size(records: list[Record]) -> tuple[int, int]:
    """How many rules some policies have, and how many principals these name, each time counted."""
    rules = [rule["denyRule"] for record in records for rule in record.body["rules"]]
    return len(rules), sum(len(rule[_DENIED]) + len(rule.get(_EXCEPTIONS, ())) for rule in rules)


def on_wire(place: Record, record: Record, *, full: bool = True) -> iam_v2.DenyPolicy:
    """The policy on the wire; its name holds the number of a project, whichever way the caller wrote it."""
    number = place.uid if place.kind == "project" else id_of(place.name)
    policies = policies_name(join("", place.name.partition("/")[0], number))
    plain = {
        **record.body,
        "name": join(policies, "denypolicies", id_of(record.name)),
        "uid": record.uid,
        "kind": "DenyPolicy",
        "etag": encode_base64(record.etag),
        "createTime": format_timestamp(record.created),
        "updateTime": record.hidden["updateTime"],
    }
    return decode(iam_v2.DenyPolicy, plain if full else {k: v for k, v in plain.items() if k != "rules"})
