"""How IAM v2 writes principals and permissions, and how this server does everywhere else.

    principal://goog/subject/ada@example.com     user:ada@example.com
    ml.googleapis.com/models.predict             ml.models.predict

The forms are those of Google's reference of deny rules. Kinds of principals that this server does not have (workforce
and workload pools, customers, all accounts of a project) are refused rather than kept: a rule that denies nobody looks
like one that does.
"""

from __future__ import annotations

from mlgate.core.errors import InvalidArgument
from mlgate.core.iam.deny import matches
from mlgate.core.iam.permissions import ALL
from mlgate.core.iam.principals import ALL_USERS, parse_member

PUBLIC = "principalSet://goog/public:all"
_PREFIXES = {
    "user": "principal://goog/subject/",
    "serviceAccount": "principal://iam.googleapis.com/projects/-/serviceAccounts/",
    "group": "principalSet://goog/group/",
}
_DELETED = "deleted:"
_HOSTS = {service: f"{service}.googleapis.com" for service in sorted({p.partition(".")[0] for p in ALL})}
_HOSTS["resourcemanager"] = "cloudresourcemanager.googleapis.com"
_SERVICES = {host: service for service, host in _HOSTS.items()}

#: Whatever deny policies say, they can be read, changed and taken away by whoever has a role for it.
UNDENIABLE = "iam.denypolicies.*"


def parse_principal(text: str, field: str) -> str:
    """The member that a principal names. Raises InvalidArgument for one that this server does not have."""
    try:
        return member_of(text)
    except InvalidArgument:
        message = f'Invalid principal "{text[:200]}": {_meant(text)}'
        raise InvalidArgument(message, fields=[(field, message)]) from None


def member_of(principal: str) -> str:
    """The member that a principal names. Raises InvalidArgument for one that is none."""
    if principal == PUBLIC:
        return ALL_USERS
    text = principal.removeprefix(_DELETED)
    for kind, prefix in _PREFIXES.items():
        if text.startswith(prefix):
            deleted = _DELETED if text != principal else ""
            return parse_member(f"{deleted}{kind}:{text.removeprefix(prefix)}")
    raise InvalidArgument(f'"{principal[:200]}" is no principal.')


def principal_of(member: str) -> str:
    """The inverse. Raises ValueError for a member that v2 has no form for."""
    if member == ALL_USERS:
        return PUBLIC
    kind, _, value = member.removeprefix(_DELETED).partition(":")
    if kind not in _PREFIXES:
        raise ValueError(f"{member} is no principal of IAM v2")
    return f"{_DELETED if member.startswith(_DELETED) else ''}{_PREFIXES[kind]}{value}"


def _meant(text: str) -> str:
    try:
        return f"write {principal_of(parse_member(text))}."
    except (InvalidArgument, ValueError):
        forms = ", ".join(f"{prefix}EMAIL" for prefix in _PREFIXES.values())
        return f"this server has {forms} and {PUBLIC}, and no pools, customers or sets of accounts."


def parse_pattern(text: str, field: str) -> str:
    """`ml.models.*` of `ml.googleapis.com/models.*`. Raises InvalidArgument for what no permission matches."""
    pattern = pattern_of(text)
    if any(matches(pattern, permission) for permission in ALL):
        return pattern
    meant = f" Did you mean {permission_of(text)}?" if text in ALL else ""
    message = (
        f'"{text[:200]}" names no permission: write SERVICE/RESOURCE.VERB, such as ml.googleapis.com/models.predict, '
        f"with * for a whole RESOURCE or VERB.{meant}"
    )
    raise InvalidArgument(message, fields=[(field, message)])


def pattern_of(text: str) -> str:
    """`ml.models.*` of `ml.googleapis.com/models.*`; what begins with no service's address matches nothing."""
    host, _, rest = text.partition("/")
    return f"{_SERVICES.get(host, '')}.{rest}"


def permission_of(pattern: str) -> str:
    """The inverse of `pattern_of`. A `*` for every service, which only the server writes, stays."""
    service, _, rest = pattern.partition(".")
    return f"{_HOSTS.get(service, service)}/{rest}"
