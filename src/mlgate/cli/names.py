"""From what a person types to a resource name: `iris` is `projects/P/models/iris`; a whole name stays as it is."""

from __future__ import annotations

from collections.abc import Callable

from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.core.iam.principals import SERVICE_ACCOUNT_SUFFIX
from mlgate.core.names import join

_SINGULAR = {"studies": "study"}


def project_name(project_id: str) -> str:
    return join("", "projects", _one_segment("project", project_id.removeprefix("projects/")))


def model_name(client: Client, model: str) -> str:
    return _below(lambda: project_name(client.project), "models", model)


def version_name(client: Client, version: str, model: str) -> str:
    return _below(lambda: model_name(client, model), "versions", version)


def location_name(client: Client, location: str) -> str:
    return _below(lambda: project_name(client.project), "locations", location)


def study_name(client: Client, study: str, location: str) -> str:
    return _below(lambda: location_name(client, location), "studies", study)


def trial_name(client: Client, trial: str, study: str, location: str) -> str:
    return _below(lambda: study_name(client, study, location), "trials", trial)


def job_name(client: Client, job: str) -> str:
    return _below(lambda: project_name(client.project), "jobs", job)


def operation_name(client: Client, operation: str) -> str:
    return _below(lambda: project_name(client.project), "operations", operation)


def account_name(email: str) -> str:
    """A service account by its address alone, which says its project."""
    if "@" not in email and "/" not in email and not email.isdigit():
        raise Failure("INVALID_ARGUMENT", f'"{email}" is no address: write {email}@PROJECT{SERVICE_ACCOUNT_SUFFIX}.')
    return _below(lambda: "projects/-", "serviceAccounts", email)


def key_name(account: str, key: str) -> str:
    return _below(lambda: account_name(account), "keys", key)


def role_name(role: str) -> str:
    return role if "/" in role else join("", "roles", role)


def bucket_id(bucket: str) -> str:
    """`b` of `gs://b` or `b`."""
    return _one_segment("bucket", bucket.removeprefix("gs://").rstrip("/"))


def _below(parent: Callable[[], str], collection: str, text: str) -> str:
    if text.startswith("projects/"):
        return text
    return join(parent(), collection, _one_segment(_SINGULAR.get(collection, collection.removesuffix("s")), text))


def _one_segment(kind: str, text: str) -> str:
    if not text or "/" in text:
        raise Failure("INVALID_ARGUMENT", f'"{text}" is no {kind}: give its id or its whole name.')
    return text
