"""get-iam-policy, set-iam-policy, add- and remove-iam-policy-binding, for every kind of resource that has a policy.

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
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.verbs import verb

Policy = dict[str, Any]

_ATTEMPTS, _FIRST_WAIT, _LONGEST_WAIT = 20, 0.05, 2.0
_WITH_CONDITIONS = 3

Member = Annotated[str, typer.Option(help="user:EMAIL, group:EMAIL, serviceAccount:EMAIL, ...")]
Role = Annotated[str, typer.Option(help="The role, such as roles/ml.modelUser.")]


@dataclass(frozen=True)
class Kind:
    """A kind of resource: its word, and how its policy is read and written, given the name that a person typed."""

    word: str
    read: Callable[[Client, str], Policy]
    write: Callable[[Client, str, Policy], Policy]


def wrapped(policy: Policy) -> dict[str, Any]:
    """The body of setIamPolicy. The mask says more than the default only when the file does."""
    if "auditConfigs" in policy:
        return {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
    return {"policy": policy}


def add_policy_verbs(group: typer.Typer, kind: Kind) -> None:
    """Give a group of words the four commands."""
    resource = Annotated[str, typer.Argument(metavar=kind.word.upper().replace(" ", "_"), help=f"The {kind.word}.")]

    def get_iam_policy(client: Client, name: resource) -> Policy:
        return kind.read(client, name)

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

    def add_iam_policy_binding(client: Client, name: resource, member: Member, role: Role) -> Policy:
        policy = change(client, kind, name, lambda read: with_member(read, role, member))
        output.note(f"Updated IAM policy for {kind.word} [{name}].")
        return policy

    def remove_iam_policy_binding(client: Client, name: resource, member: Member, role: Role) -> Policy:
        policy = change(client, kind, name, lambda read: without_member(read, role, member))
        output.note(f"Updated IAM policy for {kind.word} [{name}].")
        return policy

    get_iam_policy.__doc__ = f"Print the policy of a {kind.word}."
    set_iam_policy.__doc__ = f"Replace the policy of a {kind.word} by the one in a file, and print it."
    add_iam_policy_binding.__doc__ = f"Give a member a role on a {kind.word}, and print the policy."
    remove_iam_policy_binding.__doc__ = f"Take a role on a {kind.word} from a member, and print the policy."
    for command in (get_iam_policy, set_iam_policy, add_iam_policy_binding, remove_iam_policy_binding):
        command.__annotations__["name"] = resource
        verb(group)(command)


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


def with_member(policy: Policy, role: str, member: str) -> Policy:
    """The policy with the member at the end of the role's unconditional binding, which is made when there is none."""
    bindings = [{**b, "members": list(b.get("members", ()))} for b in policy.get("bindings", ())]
    found = next((b for b in bindings if b["role"] == role and not b.get("condition")), None)
    if found is None:
        bindings.append({"role": role, "members": [member]})
    elif member not in found["members"]:
        found["members"].append(member)
    return _replaced(policy, bindings)


def without_member(policy: Policy, role: str, member: str) -> Policy:
    """The policy without the member in the role's unconditional binding; an empty binding goes. Raises Failure when
    there is nothing to remove."""
    bindings, found = [], False
    for binding in policy.get("bindings", ()):
        members = list(binding.get("members", ()))
        if binding["role"] == role and not binding.get("condition") and member in members:
            members, found = [m for m in members if m != member], True
        if members:
            bindings.append({**binding, "members": members})
    if not found:
        raise Failure("NOT_FOUND", f"Policy binding with the member {member} and the role {role} not found.")
    return _replaced(policy, bindings)


def _replaced(policy: Policy, bindings: list[dict[str, Any]]) -> Policy:
    conditional = any(b.get("condition") for b in bindings)
    kept = {k: v for k, v in policy.items() if k not in ("bindings", "auditConfigs")}
    return {**kept, "bindings": bindings, **({"version": _WITH_CONDITIONS} if conditional else {})}
