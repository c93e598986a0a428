"""`mlgate storage buckets`: where files are kept, and who may read them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.names import bucket_id
from mlgate.cli.policies import Kind, add_policy_verbs
from mlgate.cli.verbs import Limit, verb, words
from mlgate.core.names import bucket_name

group = words("Buckets: create, list, delete, share.")

Bucket = Annotated[str, typer.Argument(metavar="gs://BUCKET", help="The bucket.")]

_B = "storage.buckets"


@verb(group)
def create(
    client: Client,
    bucket: Bucket,
    location: Annotated[str | None, typer.Option(help="Kept as a label of the bucket; all bytes are here.")] = None,
) -> Any:
    """Create a bucket."""
    body = {"name": bucket_id(bucket), **({"location": location} if location else {})}
    client.call(f"{_B}.insert", body, {"project": client.project})
    output.note(f"Created gs://{bucket_id(bucket)}/")


@verb(group, name="list", columns=("name", "location", "timeCreated"))
def list_buckets(client: Client, limit: Limit = None) -> Any:
    """List the buckets of a project."""
    return client.listed(f"{_B}.list", "items", {"project": client.project}, limit)


@verb(group)
def describe(client: Client, bucket: Bucket) -> Any:
    """Show a bucket's settings."""
    return client.call(f"{_B}.get", bucket=bucket_id(bucket))


@verb(group)
def delete(client: Client, bucket: Bucket) -> Any:
    """Delete an empty bucket."""
    client.call(f"{_B}.delete", bucket=bucket_id(bucket))
    output.note(f"Deleted gs://{bucket_id(bucket)}/")


add_policy_verbs(
    group,
    Kind(
        "bucket",
        lambda client, bucket: client.call(
            f"{_B}.getIamPolicy", query={"optionsRequestedPolicyVersion": 3}, bucket=bucket_id(bucket)
        ),
        lambda client, bucket, policy: client.call(f"{_B}.setIamPolicy", policy, bucket=bucket_id(bucket)),
        lambda client, bucket: bucket_name(bucket_id(bucket)),
    ),
)
