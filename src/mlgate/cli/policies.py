"""get-iam-policy, set-iam-policy, add- and remove-iam-policy-binding, and the history of policies, for every kind of
resource that has a policy.

Adding and removing are a read-modify-write: the policy is read, changed, and written with the etag that was read. When
somebody else was faster the server refuses (409 ABORTED), and the whole cycle is done again after a random wait, so
that concurrent changes all arrive.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.bindings import WITH_CONDITIONS, Policy, condition_of, endings, with_member, without_member
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.verbs import Limit, verb

_ATTEMPTS, _FIRST_WAIT, _LONGEST_WAIT = 20, 0.05, 2.0
_CHANGES_SHOWN = 3
_H = "mlgate.iamPolicyRevisions"

Member = Annotated[str, typer.Option(help="user:EMAIL, group:EMAIL, serviceAccount:EMAIL, ...")]
Role = Annotated[str, typer.Option(help="The role, such as roles/ml.modelUser.")]
Condition = Annotated[str, typer.Option(help="When it holds: expression=EXPRESSION,title=TITLE[,description=TEXT].")]
Expires = Annotated[str, typer.Option(help="When it ends: 7d, 12h or a time such as 2030-01-31T12:00:00Z.")]
Everywhere = Annotated[bool, typer.Option("--all", help="Under every condition, and without one.")]


@dataclass(frozen=True)
class Kind:
    """A kind of resource: its word, how its policy is read and written, and what it is called in full, given the name
    that a person typed."""

    word: str
    read: Callable[[Client, str], Policy]
    write: Callable[[Client, str, Policy], Policy]
    full_name: Callable[[Client, str], str] = lambda client, name: name


def wrapped(policy: Policy) -> dict[str, Any]:
    """The body of setIamPolicy. The mask says more than the default only when the file does."""
    if "auditConfigs" in policy:
        return {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
    return {"policy": policy}


def add_policy_verbs(group: typer.Typer, kind: Kind) -> None:
    """Give a group of words the commands of policies."""
    resource = Annotated[str, typer.Argument(metavar=kind.word.upper().replace(" ", "_"), help=f"The {kind.word}.")]

    def get_iam_policy(client: Client, name: resource) -> Policy:
        policy = kind.read(client, name)
        for line in endings(policy):
            output.note(line)
        return policy

    def set_iam_policy(
        client: Client,
        name: resource,
        file: Annotated[
            Path, typer.Argument(metavar="FILE", help="The policy as JSON or YAML; - reads standard input.")
        ],
    ) -> Policy:
        from mlgate.cli.policy_file import read_policy

        policy = kind.write(client, name, read_policy(file))
        output.note(f"Updated IAM policy for {kind.word} [{name}].")
        return policy

    def add_iam_policy_binding(
        client: Client, name: resource, member: Member, role: Role, condition: Condition = "", expires: Expires = ""
    ) -> Policy:
        given = condition_of(condition, expires)
        policy = change(client, kind, name, lambda read: with_member(read, role, member, given))
        output.note(f"Updated IAM policy for {kind.word} [{name}].")
        return policy

    def remove_iam_policy_binding(
        client: Client, name: resource, member: Member, role: Role, condition: Condition = "", all: Everywhere = False
    ) -> Policy:
        given = condition_of(condition, "")
        policy = change(client, kind, name, lambda read: without_member(read, role, member, given, everywhere=all))
        output.note(f"Updated IAM policy for {kind.word} [{name}].")
        return policy

    get_iam_policy.__doc__ = f"Print the policy of a {kind.word}."
    set_iam_policy.__doc__ = f"Replace the policy of a {kind.word} by the one in a file, and print it."
    add_iam_policy_binding.__doc__ = f"Give a member a role on a {kind.word}, and print the policy."
    remove_iam_policy_binding.__doc__ = f"Take a role on a {kind.word} from a member, and print the policy."
    for command in (get_iam_policy, set_iam_policy, add_iam_policy_binding, remove_iam_policy_binding):
        command.__annotations__["name"] = resource
        verb(group)(command)
    _add_history_verbs(group, kind, resource)


def _add_history_verbs(group: typer.Typer, kind: Kind, resource: Any) -> None:
    def revision_of(client: Client, name: str, revision: int) -> dict[str, Any]:
        return client.call(f"{_H}.get", resource=kind.full_name(client, name), revision=str(revision))

    def list_iam_policy_revisions(client: Client, name: str, limit: Limit = None) -> list[dict[str, Any]]:
        path = {"resource": kind.full_name(client, name)}
        found = client.listed(f"{_H}.list", "policyRevisions", {"pageSize": 100}, limit, **path)
        return [{**revision, "changes": summary(revision)} for revision in found]

    def describe_iam_policy_revision(
        client: Client, name: str, revision: Annotated[int, typer.Argument(help="Its number.", min=1)]
    ) -> dict[str, Any]:
        return revision_of(client, name, revision)

    def restore_iam_policy(
        client: Client, name: str, revision: Annotated[int, typer.Option(help="Its number.", min=1)]
    ) -> Policy:
        old = revision_of(client, name, revision)
        policy = kind.write(client, name, restored(old["policy"], kind.read(client, name)))
        output.note(f"Restored revision {revision} of the IAM policy for {kind.word} [{name}].")
        return policy

    list_iam_policy_revisions.__doc__ = f"List who changed the policy of a {kind.word}, when and what, newest first."
    describe_iam_policy_revision.__doc__ = f"Show the policy of a {kind.word} after one change, and the change."
    restore_iam_policy.__doc__ = f"Set the policy of a {kind.word} to what it was at a revision, and print it."
    for command, columns in (
        (list_iam_policy_revisions, ("revisionId", "createTime", "principal", "changes")),
        (describe_iam_policy_revision, ()),
        (restore_iam_policy, ()),
    ):
        command.__annotations__["name"] = resource
        verb(group, columns=columns)(command)


# ---------------------------------------------------------------------------------------------------------- changes


def change(
    client: Client,
    kind: Kind,
    name: str,
    changed: Callable[[Policy], Policy],
    sleep: Callable[[float], None] = time.sleep,
) -> Policy:
    """Read, change and write a policy; again from the start when it changed in between."""
    for attempt in range(_ATTEMPTS):
        policy = changed(kind.read(client, name))
        try:
            return kind.write(client, name, policy)
        except Failure as failure:
            if failure.status != "ABORTED" or attempt == _ATTEMPTS - 1:
                raise
        sleep(random.uniform(0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)))
    raise AssertionError("unreachable")


def restored(old: Policy, current: Policy) -> Policy:
    """The old policy, to be written over the current one: all of it, but only while nobody else changes it."""
    nothing_audited: Policy = {"auditConfigs": []} if "auditConfigs" in current else {}
    return {**nothing_audited, **old, "etag": current["etag"], "version": WITH_CONDITIONS}


def summary(revision: dict[str, Any]) -> str:
    """What a revision changed, in a line: +ROLE MEMBER, -ROLE MEMBER; the rest of a long one is counted."""
    lines = [
        f"{_sign(delta)}{delta['role']} {delta['member']}"
        + (f" if {delta['condition'].get('title') or delta['condition']['expression']}" if "condition" in delta else "")
        for delta in revision.get("bindingDeltas", ())
    ] + [
        f"{_sign(delta)}log {delta['service']} {delta['logType']}"
        + (f" except {delta['exemptedMember']}" if "exemptedMember" in delta else "")
        for delta in revision.get("auditConfigDeltas", ())
    ]
    rest = [f"and {len(lines) - _CHANGES_SHOWN} more"] if len(lines) > _CHANGES_SHOWN else []
    return ", ".join(lines[:_CHANGES_SHOWN] + rest)


def _sign(delta: dict[str, str]) -> str:
    return "+" if delta["action"] == "ADD" else "-"
