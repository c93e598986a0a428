"""Principals and the members that name them in a binding.

A principal is who calls: `user:EMAIL` or `serviceAccount:EMAIL`, or ANONYMOUS. A member is who is given a role: a
principal, a group, or one of the two special members. The prefix is case-sensitive and the address is not, so
addresses are kept in lower case (Google IAM: "identifiers are case insensitive").
"""

from __future__ import annotations

import re

from mlgate.core.errors import InvalidArgument

ALL_USERS = "allUsers"
ALL_AUTHENTICATED_USERS = "allAuthenticatedUsers"
#: The caller without credentials. No binding can name it: it is not of the form of a member.
ANONYMOUS = "anonymous"

_ADDRESS = r"[a-z0-9.!#$&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
_EMAIL = re.compile(_ADDRESS)
_DOMAIN = re.compile(_ADDRESS.split("@")[1])
_DELETED = re.compile(rf"({_ADDRESS})\?uid=(\d{{1,30}})")
_KINDS = ("user", "serviceAccount", "group")

SERVICE_ACCOUNT_SUFFIX = ".iam.gserviceaccount.com"


def parse_member(text: str) -> str:
    """The member in its canonical form.

    Raises InvalidArgument when it is none of the forms that a policy may hold.
    """
    if text in (ALL_USERS, ALL_AUTHENTICATED_USERS):
        return text
    kind, colon, value = text.partition(":")
    lower = value.lower()
    if kind in _KINDS and len(value) <= 320 and _EMAIL.fullmatch(lower):
        return f"{kind}:{lower}"
    if kind == "domain" and len(value) <= 253 and _DOMAIN.fullmatch(lower):
        return f"domain:{lower}"
    if kind == "deleted":
        inner, _, address = value.partition(":")
        if inner in _KINDS and _DELETED.fullmatch(address.lower()):
            return f"deleted:{inner}:{address.lower()}"
    shown = text if len(text) <= 200 else text[:200] + "…"
    if not colon or kind not in (*_KINDS, "domain", "deleted"):
        message = (
            f'Invalid member "{shown}": policy members must be of the form "<type>:<value>", the type being user, '
            "serviceAccount, group or domain, or be allUsers or allAuthenticatedUsers."
        )
    else:
        message = (
            f'Invalid member "{shown}": the value of a {kind} member must be an address such as "ada@example.com".'
        )
    raise InvalidArgument(message, fields=[("policy.bindings.members", message)])


def parse_principal(text: str) -> str:
    """The caller named by `user:EMAIL` or `serviceAccount:EMAIL`, canonical; InvalidArgument for anything else."""
    kind, _, value = text.partition(":")
    if kind not in ("user", "serviceAccount") or not _EMAIL.fullmatch(value.lower()):
        meant = f" Did you mean user:{text}?" if _EMAIL.fullmatch(text.lower()) else ""
        raise InvalidArgument(f'"{text[:200]}" cannot sign in: give user:EMAIL or serviceAccount:EMAIL.{meant}')
    return f"{kind}:{value.lower()}"


def email_of(principal: str) -> str:
    return principal.partition(":")[2]
