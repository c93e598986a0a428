"""`mlgate iam troubleshoot`: why somebody may, or may not, as a person reads it.

    No: bob@example.com does not have ml.models.predict on //ml.googleapis.com/projects/p/models/iris.

    //ml.googleapis.com/projects/p/models/iris
      ✗ roles/ml.modelUser does not grant it
          ✓ the role holds the permission
          ✗ members: user:eve@example.com

A tick says that the line is true of this question, a cross that it is not, a question mark that it cannot be told, or
not to you.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from mlgate.cli import names
from mlgate.cli.client import Client
from mlgate.cli.verbs import verb, words
from mlgate.core.iam.conditions import expiry
from mlgate.core.names import bucket_name, full_name, id_of

_MEMBERS_SHOWN = 3

Resource = Annotated[
    str,
    typer.Argument(metavar="RESOURCE", help="A model's id, gs://BUCKET, a name such as projects/P, or a full name."),
]
Permission = Annotated[str, typer.Option(help="Such as ml.models.predict.")]
Principal = Annotated[str, typer.Option(help="The address of a person or of a service account.")]

Part = Mapping[str, Any]


def troubleshoot(client: Client, resource: Resource, permission: Permission, principal: Principal) -> Any:
    """Explain why somebody may, or may not: every binding and deny rule that counts, part by part."""
    question = {"fullResourceName": _full(client, resource), "permission": permission, "principal": principal}
    return client.call("policytroubleshooter.iam.troubleshoot", {"accessTuple": question})


def _full(client: Client, text: str) -> str:
    if text.startswith("//"):
        return text
    if text.startswith("gs://"):
        return full_name(bucket_name(names.bucket_id(text)))
    return full_name(text if "/" in text else names.model_name(client, text))


# ------------------------------------------------------------------------------------------------------------- told


def told(answer: Part) -> str:
    """The answer in lines for a person."""
    return "\n".join(_lines(answer))


group = words("Why somebody may, or may not, in the words of Google's tool.")


@verb(group, told=told)
def iam(client: Client, resource: Resource, permission: Permission, principal_email: Principal) -> Any:
    """Explain why somebody may, or may not: the same as mlgate iam troubleshoot."""
    return troubleshoot(client, resource, permission, principal_email)


def _lines(answer: Part) -> Iterator[str]:
    asked = answer["accessTuple"]
    allow, deny = answer["allowPolicyExplanation"], answer["denyPolicyExplanation"]
    yield _summary(answer["overallAccessState"], allow, deny).format(
        f"{asked['permission']} on {asked['fullResourceName']}", who=asked["principal"]
    )
    for policy in allow.get("explainedPolicies", ()):
        yield from ("", *_policy(policy, asked["principal"]))
    for place in deny.get("explainedResources", ()):
        yield from ("", *_deny_resource(place, asked["principal"]))


def _summary(state: str, allow: Part, deny: Part) -> str:
    match state:
        case "CAN_ACCESS":
            return "Yes: {who} has {0}."
        case "CANNOT_ACCESS" if deny["denyAccessState"].endswith("_DENIED") and not _is_no(deny["denyAccessState"]):
            return "No: {who} does not have {0}: a deny policy denies it."
        case "CANNOT_ACCESS" if _is_no(allow["allowAccessState"]):
            return "No: {who} does not have {0}: no binding grants it."
        case "CANNOT_ACCESS":
            return "No: {who} does not have {0}."
        case "UNKNOWN_CONDITIONAL":
            return "It depends: which roles {who} gives or takes decides about {0}."
        case _:
            return "Unknown: you may not see all that decides whether {who} has {0}."


def _is_no(state: str) -> bool:
    return "_NOT_" in state


def _mark(state: str) -> str:
    """Of a state of any kind."""
    return "?" if "_UNKNOWN_" in state else "✗" if _is_no(state) else "✓"


def _policy(policy: Part, who: str) -> Iterator[str]:
    if "fullResourceName" not in policy:
        yield "? there may be policies that you may not read"
        return
    yield policy["fullResourceName"]
    bindings = policy.get("bindingExplanations", ())
    if not bindings:
        yield "  no bindings"
    for binding in bindings:
        mark = _mark(binding["allowAccessState"])
        yield f"  {mark} {binding['role']} {_WORDS[mark]} grant it".replace(" does grant", " grants")
        mark = _mark(binding["rolePermission"])
        yield f"      {mark} the role {_HOLDS[mark]} the permission"
        yield from _members(binding["memberships"], who, "members")
        yield from _condition(binding)


_WORDS = {"✓": "does", "✗": "does not", "?": "may"}
_HOLDS = {"✓": "holds", "✗": "does not hold", "?": "may hold"}


def _members(memberships: Mapping[str, Part], who: str, what: str) -> Iterator[str]:
    """The members that contain the principal, with the groups between; else those that may; else some that do not."""
    by_mark: dict[str, list[str]] = {"✓": [], "?": [], "✗": []}
    for member, part in memberships.items():
        path = part.get("groupPath", [])
        by_mark[_mark(part["membership"])].append(" → ".join((*path, who)) if path else member)
    for mark, found in by_mark.items():
        if found:
            more = f", and {len(found) - _MEMBERS_SHOWN} more" if len(found) > _MEMBERS_SHOWN else ""
            yield f"      {mark} {what}: {', '.join(found[:_MEMBERS_SHOWN])}{more}"
            if mark == "✓":
                return


def _condition(part: Part) -> Iterator[str]:
    condition, explained = part.get("condition"), part.get("conditionExplanation", {})
    if condition is None:
        return
    mark = {True: "✓", False: "✗"}.get(explained.get("value"), "?")
    end = expiry(condition["expression"])
    until = f" (until {_moment(end)})" if end is not None else ""
    yield f'      {mark} condition "{condition["title"]}": {condition["expression"]}{until}'
    for error in explained.get("errors", ()):
        yield f"          {error['message']}"


def _moment(end: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _deny_resource(place: Part, who: str) -> Iterator[str]:
    if "fullResourceName" not in place:
        yield "? there may be deny policies that you may not read"
        return
    for policy in place["explainedPolicies"]:
        shown = policy["policy"]
        name = id_of(shown.get("name", "")) or shown["displayName"]
        yield f"{place['fullResourceName']}, deny policy {name}"
        for rule in policy["ruleExplanations"]:
            yield from _rule(rule, who)


def _rule(rule: Part, who: str) -> Iterator[str]:
    mark = _mark(rule["denyAccessState"])
    yield f"  {mark} {', '.join(rule['deniedPermissions'])}: the rule {_WORDS[mark]} deny it".replace(
        " does deny", " denies"
    )
    for field, what in (("combinedDeniedPermission", "is about"), ("combinedExceptionPermission", "excepts")):
        state = rule[field]["permissionMatchingState"]
        if field == "combinedDeniedPermission" or not _is_no(state):
            yield f"      {_mark(state)} the rule {what} the permission"
    yield from _members(rule["deniedPrincipals"], who, "denied")
    yield from _members(rule.get("exceptionPrincipals", {}), who, "excepted")
    yield from _condition(rule)
