"""`mlgate iam service-accounts`: accounts for programs, their keys, and who may act as them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.names import account_name, key_name, project_name
from mlgate.cli.policies import Kind, add_policy_verbs, wrapped
from mlgate.cli.verbs import Limit, verb, words

group = words("Service accounts: create, disable, share, keys.")
keys = words("Keys by which a program signs in as a service account.")
group.add_typer(keys, name="keys")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's address.")]
IamAccount = Annotated[str, typer.Option(help="The account's address.", metavar="EMAIL")]

_S = "iam.projects.serviceAccounts"


@verb(group)
def create(
    client: Client,
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT_ID", help="The part of its address before the @.")],
    display_name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> Any:
    """Create a service account."""
    texts = {"displayName": display_name, "description": description}
    body = {"accountId": account_id, "serviceAccount": {k: v for k, v in texts.items() if v is not None}}
    made = client.call(f"{_S}.create", body, name=project_name(client.project))
    output.note(f"Created service account [{made['email']}].")
    return made


@verb(group, name="list", columns=("email", "displayName", "disabled"))
def list_accounts(client: Client, limit: Limit = None) -> Any:
    """List the service accounts of a project."""
    return client.listed(f"{_S}.list", "accounts", {}, limit, name=project_name(client.project))


@verb(group)
def describe(client: Client, email: Email) -> Any:
    """Show a service account."""
    return client.call(f"{_S}.get", name=account_name(email))


@verb(group)
def delete(client: Client, email: Email) -> Any:
    """Delete a service account and its keys."""
    client.call(f"{_S}.delete", name=account_name(email))
    output.note(f"Deleted service account [{email}].")


@verb(group)
def disable(client: Client, email: Email) -> Any:
    """Refuse the account's tokens and keys from now on."""
    client.call(f"{_S}.disable", {}, name=account_name(email))
    output.note(f"Disabled service account [{email}].")


@verb(group)
def enable(client: Client, email: Email) -> Any:
    """Accept a disabled account again."""
    client.call(f"{_S}.enable", {}, name=account_name(email))
    output.note(f"Enabled service account [{email}].")


add_policy_verbs(
    group,
    Kind(
        "service account",
        lambda client, email: client.call(
            f"{_S}.getIamPolicy", query={"options.requestedPolicyVersion": 3}, resource=account_name(email)
        ),
        lambda client, email, policy: client.call(f"{_S}.setIamPolicy", wrapped(policy), resource=account_name(email)),
        lambda client, email: account_name(email),
    ),
)


# ------------------------------------------------------------------------------------------------------------- keys


@verb(keys, name="create")
def create_key(
    client: Client,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the key; must not exist.")],
    iam_account: IamAccount,
) -> Any:
    """Create a key and write it to a file that only you can read. The server keeps no copy of it."""
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{file} cannot be created: {error.strerror}.") from None
    try:
        made = client.call(f"{_S}.keys.create", {}, name=account_name(iam_account))
        with os.fdopen(number, "wb") as target:
            target.write(base64.b64decode(made["privateKeyData"]))
    except BaseException:
        file.unlink()
        raise
    key_id = json.loads(file.read_bytes())["private_key_id"]
    output.note(f"Created key [{key_id}] of [{iam_account}] as [{file}].")


@verb(keys, name="list", columns=("name.basename()", "validAfterTime", "validBeforeTime", "keyType"))
def list_keys(client: Client, iam_account: IamAccount) -> Any:
    """List the keys of a service account."""
    return client.call(f"{_S}.keys.list", name=account_name(iam_account)).get("keys", [])


@verb(keys, name="delete")
def delete_key(
    client: Client,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id.")],
    iam_account: IamAccount,
) -> Any:
    """Delete a key. Whoever has its file can no longer sign in with it."""
    client.call(f"{_S}.keys.delete", name=key_name(iam_account, key_id))
    output.note(f"Deleted key [{key_id}].")
