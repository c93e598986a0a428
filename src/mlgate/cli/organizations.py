"""`mlgate organizations`: the one organization, above all folders and projects, and who has roles on it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli.client import Client
from mlgate.cli.places import organization_name
from mlgate.cli.policies import Kind, add_policy_verbs, wrapped
from mlgate.cli.verbs import verb, words

group = words("The organization: give roles on everything.")

OrganizationId = Annotated[str, typer.Argument(metavar="ORGANIZATION", help="The organization's number, which is 1.")]

_O = "cloudresourcemanager.organizations"


@verb(group, name="list", columns=("displayName", "name.basename()"))
def list_organizations(client: Client) -> Any:
    """List the organizations that you may see."""
    return client.call(f"{_O}.search", {}).get("organizations", [])


@verb(group)
def describe(client: Client, organization: OrganizationId) -> Any:
    """Show the organization."""
    return client.call(f"{_O}.get", name=organization_name(organization))


add_policy_verbs(
    group,
    Kind(
        "organization",
        lambda client, organization: client.call(
            f"{_O}.getIamPolicy",
            {"options": {"requestedPolicyVersion": 3}},
            resource=organization_name(organization),
        ),
        lambda client, organization, policy: client.call(
            f"{_O}.setIamPolicy", wrapped(policy), resource=organization_name(organization)
        ),
        lambda client, organization: organization_name(organization),
    ),
)
