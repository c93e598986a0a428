"""What a job may ask its gateway for, and what the gateway answers by itself.

The job's account decides what the job may do; this list keeps the job to what jobs are for: objects and buckets, and
the models, jobs, studies and operations of the `ml` API. Policies are read-only from inside a job, and nothing here
mints a token: those ways up would outlive the job.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

from mlgate.adapters.runners.wire import Malformed

#: What a job holds where a token is asked for. The gateway puts the true one in; this one opens nothing anywhere.
PLACEHOLDER = "mlgate-job"
PLACEHOLDER_SECONDS = 3600
SCOPES = "https://www.googleapis.com/auth/cloud-platform"

_REGIONS = (
    "us-central1", "us-east1", "us-east4", "us-west1", "northamerica-northeast1", "europe-west1", "europe-west2",
    "europe-west3", "europe-west4", "asia-northeast1", "asia-northeast3", "asia-southeast1", "australia-southeast1",
)  # fmt: skip
#: Hosts that clients have compiled in and that mean this server.
NAMES = (
    "storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com", "accounts.google.com",
    "ml.googleapis.com", *(f"{region}-ml.googleapis.com" for region in _REGIONS),
    "metadata.google.internal", "metadata",
)  # fmt: skip
METADATA_ADDRESS = "169.254.169.254"

_TOKEN_PATHS = frozenset({"/token", "/oauth2/v4/token", "/oauth2/v3/token", "/o/oauth2/token"})
_STORAGE = re.compile(r"/(?:(?:resumable/)?upload/|download/)?storage/v1/(?:b(?:/.*)?|projects/[^/]+/serviceAccount)")
_ID = r"[A-Za-z0-9_.~-]+"
_ML = re.compile(
    rf"/v1/projects/{_ID}(?::(?:predict|explain|getConfig)"
    rf"|/(?:models|jobs|operations|locations)(?:/{_ID}){{0,6}}(?::(?!setIamPolicy)[A-Za-z]+)?)"
)
_DESCRIPTIONS = re.compile(r"/\$discovery/rest|/discovery/v1/apis(?:/[a-z0-9]+){2}/rest")
_BATCH = re.compile(r"/batch(?:/(?:storage|ml)/v1)?")
_CREDENTIALS = frozenset({"access_token", "oauth_token", "key"})
_PLAIN = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
#: `storage.googleapis.com/BUCKET/OBJECT`, the address that TensorFlow reads from.
_PLAIN_OBJECT = re.compile(r"/([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/(.+)")


def is_allowed(method: str, path: str) -> bool:
    """Whether a request may go on to the server. Raises Malformed for a path that could be read in two ways."""
    segments = _segments(path)
    if method not in _METHODS:
        return False
    if _STORAGE.fullmatch(path):
        is_policy = segments[:3] == ["storage", "v1", "b"] and segments[4:5] in (["iam"], ["acl"], ["defaultObjectAcl"])
        return method in ("GET", "HEAD") or not is_policy
    if _DESCRIPTIONS.fullmatch(path):
        return method == "GET"
    return _ML.fullmatch(path) is not None


def _segments(path: str) -> list[str]:
    if not _PLAIN.fullmatch(path):
        raise Malformed("The path holds a character that must be encoded.")
    segments = [unquote(segment) for segment in path.split("/")[1:]]
    if any(segment in (".", "..") for segment in segments):
        raise Malformed("The path has a segment that is '.' or '..'.")
    return segments


def is_batch(method: str, path: str) -> bool:
    return method == "POST" and _BATCH.fullmatch(path) is not None


def plain_object(host: str, method: str, path: str) -> tuple[str, str] | None:
    """The bucket and object (encoded) of an address without an API in it; None for others. Raises Malformed."""
    _segments(path)
    if host != "storage.googleapis.com" or method not in ("GET", "HEAD") or _STORAGE.fullmatch(path):
        return None
    found = _PLAIN_OBJECT.fullmatch(path)
    return (found[1], found[2].replace("/", "%2F")) if found else None


def without_credentials(query: str) -> str:
    """A query without what stands for somebody; the rest as it was written."""
    return "&".join(pair for pair in query.split("&") if unquote(pair.partition("=")[0]) not in _CREDENTIALS)


def own_answer(method: str, path: str, query: str, flavor: str, account: str, project: str) -> str | bytes | None:
    """What the gateway says itself, in place of the metadata server and of the token endpoints: text, JSON (bytes), or
    None when the question is for the server."""
    if method == "POST" and path in _TOKEN_PATHS:
        return _token()
    if method not in ("GET", "HEAD"):
        return None
    if path == "/":
        return "computeMetadata/\n"
    if not path.startswith("/computeMetadata/") or flavor != "Google":
        return None
    answers = _metadata(account, project)
    wanted = path.removeprefix("/computeMetadata/v1").rstrip("/")
    for name in ("default", account):
        prefix = f"/instance/service-accounts/{name}"
        if wanted == prefix and "recursive=true" in query:
            return json.dumps({"aliases": ["default"], "email": account, "scopes": [SCOPES]}).encode()
        if wanted.startswith(prefix):
            wanted = "/instance/service-accounts/default" + wanted.removeprefix(prefix)
            break
    return answers.get(wanted)


def _metadata(account: str, project: str) -> dict[str, str | bytes]:
    """The metadata server's answers by path."""
    own = "/instance/service-accounts/default"
    return {
        "": "instance/\nproject/\n",
        "/project/project-id": project,
        "/instance/service-accounts": f"default/\n{account}/\n",
        own: "aliases\nemail\nscopes\ntoken\n",
        f"{own}/email": account,
        f"{own}/scopes": SCOPES + "\n",
        f"{own}/aliases": "default\n",
        f"{own}/token": _token(),
        "/universe/universe-domain": "googleapis.com",
        "/universe/universe_domain": "googleapis.com",
    }


def _token() -> bytes:
    return json.dumps(
        {"access_token": PLACEHOLDER, "expires_in": PLACEHOLDER_SECONDS, "token_type": "Bearer", "scope": SCOPES}
    ).encode()
