"""`mlgate iam policies`: deny policies of projects, folders and the organization, in gcloud's words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import typer

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.verbs import Limit, verb, words
from mlgate.core.names import attachment_point, policies_name

group = words("Deny policies: what nobody may do whatever roles say, but for exceptions.")

PolicyId = Annotated[str, typer.Argument(metavar="POLICY_ID", help="The policy's id at its attachment point.")]
AttachmentPoint = Annotated[
    str,
    typer.Option(
        metavar="RESOURCE",
        help="Where it stands: cloudresourcemanager.googleapis.com/projects/P, or projects/P, folders/NUMBER, "
        "organizations/NUMBER.",
    ),
]
Kind = Annotated[str, typer.Option(help="The kind of policy: denypolicies.")]
PolicyFile = Annotated[Path, typer.Option(help="The policy as JSON or YAML; - reads standard input.", metavar="FILE")]
Etag = Annotated[str | None, typer.Option(help="Only if the policy is still the one that has this etag.")]

_P = "iam.policies"
_DENY = "denypolicies"
_HOST = "cloudresourcemanager.googleapis.com/"
_FIELDS = (
    "rules", "etag", "displayName", "annotations", "name", "uid", "kind", "createTime", "updateTime", "deleteTime",
)  # fmt: skip


@verb(group)
def create(
    client: Client,
    policy: PolicyId,
    attachment_point: AttachmentPoint,
    policy_file: PolicyFile,
    kind: Kind = _DENY,
) -> Any:
    """Attach a deny policy. It counts for everything below from the moment this returns."""
    path = {"parent": _policies(attachment_point, kind)}
    made = client.call(f"{_P}.createPolicy", _read(policy_file), {"policyId": policy}, **path)
    output.note(f"Created deny policy [{policy}].")
    return _policy(made)


@verb(group)
def update(
    client: Client,
    policy: PolicyId,
    attachment_point: AttachmentPoint,
    policy_file: PolicyFile,
    kind: Kind = _DENY,
    etag: Etag = None,
) -> Any:
    """Replace a deny policy by the one in a file. Refused when the file's etag is not the current one."""
    given = {"etag": etag} if etag else {}
    made = client.call(f"{_P}.update", _read(policy_file) | given, name=_name(policy, attachment_point, kind))
    output.note(f"Updated deny policy [{policy}].")
    return _policy(made)


@verb(group)
def get(client: Client, policy: PolicyId, attachment_point: AttachmentPoint, kind: Kind = _DENY) -> Any:
    """Show a deny policy."""
    return client.call(f"{_P}.get", name=_name(policy, attachment_point, kind))


@verb(group, name="list", columns=("name.basename()", "displayName", "updateTime"))
def list_policies(client: Client, attachment_point: AttachmentPoint, kind: Kind = _DENY, limit: Limit = None) -> Any:
    """List the deny policies of one place: not those above it."""
    return client.listed(f"{_P}.listPolicies", "policies", None, limit, parent=_policies(attachment_point, kind))


@verb(group)
def delete(
    client: Client,
    policy: PolicyId,
    attachment_point: AttachmentPoint,
    kind: Kind = _DENY,
    etag: Etag = None,
) -> None:
    """Take a deny policy away: from now on roles alone decide what it denied."""
    client.call(f"{_P}.delete", None, {"etag": etag}, name=_name(policy, attachment_point, kind))
    output.note(f"Deleted deny policy [{policy}].")


def _read(file: Path) -> dict[str, Any]:
    from mlgate.cli.policy_file import read_policy

    return read_policy(file, _FIELDS)


def _policy(operation: dict[str, Any]) -> dict[str, Any]:
    """What a change made; the server's operations of deny policies are done when they are answered."""
    return {k: v for k, v in operation["response"].items() if k != "@type"}


def _name(policy: str, place: str, kind: str) -> str:
    if not policy or "/" in policy:
        raise Failure("INVALID_ARGUMENT", f'"{policy}" is no id of a policy: it stands alone, as in "no-deletes".')
    return f"{_policies(place, kind)}/{policy}"


def _policies(place: str, kind: str) -> str:
    """`policies/ENCODED/denypolicies`."""
    if kind != _DENY:
        raise Failure("INVALID_ARGUMENT", f'"{kind}" is no kind of policy: there are {_DENY}.')
    found = attachment_point(_HOST + unquote(place).removeprefix("//").removeprefix(_HOST))
    if not found:
        raise Failure(
            "INVALID_ARGUMENT",
            f'"{place}" is no attachment point: write projects/PROJECT, folders/NUMBER or organizations/NUMBER.',
        )
    return f"{policies_name(found)}/{kind}"
