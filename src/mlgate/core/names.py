"""Resource names: the only file that splits or joins them.

A name is a path of collections and ids, `projects/p/models/m/versions/v`. `x_id` is one segment, `x_name` the whole
path, `parent` the name one level up. Names reach this file already split on "/" and percent-decoded, segment by
segment, so an id never holds a slash.

Two kinds of place do not show their parent in their name: a project (its organization) and a bucket (its project).
Their parents are data; see `index.py`.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from mlgate.core.errors import InvalidArgument, NotFound

ORGANIZATION = "organizations/1"
#: What Cloud Identity calls the customer behind the organization; groups may be given it as their parent.
CUSTOMER_ID = "C1"
DEFAULT_LOCATION = "us-central1"

_RULES: dict[str, tuple[re.Pattern[str], str]] = {
    "model": (
        re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}"),
        "letters, digits and underscores, starting with a letter, at most 128 characters",
    ),
    "study": (
        re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}"),
        "letters, digits, underscores and hyphens, starting with a letter, at most 128 characters",
    ),
    "project": (
        re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]"),
        "6 to 30 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen",
    ),
    "service account": (
        re.compile(r"(?=.{6,30}$)[a-z](?:[-a-z0-9]*[a-z0-9])"),
        "6 to 30 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen",
    ),
    "bucket": (
        re.compile(r"(?!goog)(?!\d+\.\d+\.\d+\.\d+$)(?=.{3,63}$)[a-z0-9](?:[a-z0-9_-]|\.(?![.-])|-(?!\.))*[a-z0-9]"),
        "3 to 63 lower-case letters, digits, hyphens, underscores and dots, starting and ending with a letter or digit",
    ),
    "role": (re.compile(r"[A-Za-z0-9_.]{3,64}"), "3 to 64 letters, digits, underscores and dots"),
    "deny policy": (
        re.compile(r"(?!.*\.\.)[a-z][a-z0-9.-]{2,62}"),
        "3 to 63 lower-case letters, digits, hyphens and single dots, starting with a letter",
    ),
}
_RULES["version"] = _RULES["job"] = _RULES["model"]


def check_id(kind: str, value: str, field: str) -> str:
    """The id as given, or InvalidArgument that says what would be right (api.md 2.1)."""
    pattern, rule = _RULES[kind]
    if not pattern.fullmatch(value):
        shown = value if len(value) <= 150 else value[:150] + "…"
        message = f'Invalid {kind} id "{shown}": use {rule}.'
        raise InvalidArgument(message, fields=[(field, message)])
    return value


_LOCATION = re.compile(r"[a-z]{2,20}-[a-z]{2,20}\d{1,2}|global")


def check_location(name: str) -> str:
    """The location's name as given: one machine is every region. Raises NotFound for what is no region's name."""
    if not _LOCATION.fullmatch(id_of(name)):
        raise NotFound(f"Location '{id_of(name)[:100]}' was not found: use a region such as {DEFAULT_LOCATION}.")
    return name


def join(parent: str, collection: str, child_id: str) -> str:
    return f"{parent}/{collection}/{child_id}" if parent else f"{collection}/{child_id}"


def parent_of(name: str) -> str | None:
    """The name without its last collection and id; None at the root."""
    head, _, _ = name.rpartition("/")
    parent, slash, _ = head.rpartition("/")
    return parent if slash else None


def id_of(name: str) -> str:
    """The last segment."""
    return name.rpartition("/")[2]


def project_of(name: str) -> str | None:
    """`projects/p` of any name below a project."""
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "projects" and len(parts) >= 2 else None


def project_id_of(name: str) -> str:
    project = project_of(name)
    return id_of(project) if project else ""


def model_of(name: str) -> str:
    """The model of a model or version name: policies of versions are the model's (R-005)."""
    return "/".join(name.split("/")[:4])


def bucket_name(bucket_id: str) -> str:
    return f"buckets/{bucket_id}"


def service_account_email(account_id: str, project_id: str) -> str:
    return f"{account_id}@{project_id}.iam.gserviceaccount.com"


def service_agent_email(project_number: str) -> str:
    """The account that reads model files for a project (api.md 2.1)."""
    return f"service-{project_number}@cloud-ml.google.com.iam.gserviceaccount.com"


# ------------------------------------------------------------------------------------------- types and full names

_SERVICES = {
    "ml": {
        "models": "Model", "versions": "Version", "jobs": "Job", "operations": "Operation", "locations": "Location",
        "studies": "Study", "trials": "Trial",
    },
    "cloudresourcemanager": {"projects": "Project", "folders": "Folder", "organizations": "Organization"},
    "iam": {"serviceAccounts": "ServiceAccount", "keys": "ServiceAccountKey", "roles": "Role"},
    "storage": {"buckets": "Bucket", "objects": "Object"},
    "cloudidentity": {"groups": "Group", "memberships": "Membership"},
}  # fmt: skip
_TYPES = {
    collection: (f"{service}.googleapis.com", f"{service}.googleapis.com/{kind}")
    for service, kinds in _SERVICES.items()
    for collection, kind in kinds.items()
}


def service_of(name: str) -> str:
    """The service that a resource belongs to, such as ml.googleapis.com; "" for what no service has."""
    return _TYPES.get(collection_of(name), ("", ""))[0]


def type_of(name: str) -> str:
    """The type of a resource, such as ml.googleapis.com/Model; "" for what no service has."""
    return _TYPES.get(collection_of(name), ("", ""))[1]


def relative_name(name: str) -> str:
    """The name as Google's services write it: those of buckets start with `projects/_/`."""
    return f"projects/_/{name}" if name.startswith("buckets/") else name


def full_name(name: str) -> str:
    """`//ml.googleapis.com/projects/p/models/m`: the inverse of `from_full_name`."""
    return f"//{service_of(name)}/{relative_name(name)}"


def collection_of(name: str) -> str:
    """The last collection of a name, such as `models`; all behind `objects/` is the name of one object."""
    return (
        "objects" if name.startswith("buckets/") and "/objects/" in name else name.rpartition("/")[0].rpartition("/")[2]
    )


_FULL_NAME = re.compile(r"//[^/]+/(.+)")


def from_full_name(text: str) -> str:
    """`projects/p/...` of `//ml.googleapis.com/projects/p/...`; buckets lose Storage's `projects/_/`."""
    match = _FULL_NAME.fullmatch(text)
    if not match:
        message = (
            f'"{text[:200]}" is no full resource name: write //SERVICE/PATH, such as //ml.googleapis.com/projects/p.'
        )
        raise InvalidArgument(message, fields=[("fullResourceName", message)])
    return match.group(1).removeprefix("projects/_/")


# ----------------------------------------------------------------------------------------------- names of deny policies

#: IAM v2 names a policy by the place to which it is attached: policies/ENCODED_FULL_NAME/denypolicies/ID.
_ATTACHMENT = re.compile(r"cloudresourcemanager\.googleapis\.com/((?:projects|folders|organizations)/[a-z0-9-]{1,30})")


def attachment_point(text: str) -> str:
    """`projects/p` of `cloudresourcemanager.googleapis.com/projects/p`; "" for what no policy is attached to."""
    match = _ATTACHMENT.fullmatch(text)
    return match.group(1) if match else ""


def policies_name(place: str) -> str:
    """`policies/cloudresourcemanager.googleapis.com%2Fprojects%2Fp` of `projects/p`."""
    return join("", "policies", quote(f"cloudresourcemanager.googleapis.com/{place}", safe=""))


def attached_name(place: str, name: str) -> str:
    """`projects/p/denypolicies/d` of `policies/ENCODED/denypolicies/d`, which is attached to `projects/p`."""
    return "/".join((place, *name.split("/")[2:]))


# ------------------------------------------------------------------------------------------------------------- gs://

_GS = re.compile(r"gs://([^/]+)(?:/(.*))?", re.DOTALL)


def parse_gs_uri(uri: str, field: str) -> tuple[str, str]:
    """(bucket, object name or prefix) of a `gs://` address.

    The grammar is strict on purpose: no other scheme, query, fragment, backslash, percent-encoded separator, control
    character, empty segment or dot segment, so nothing that a later layer could read as another place passes
    (incidents.md, path traversal). Raises InvalidArgument.
    """

    def refuse(why: str) -> InvalidArgument:
        message = f'"{uri[:300]}" is no address of a bucket: {why}.'
        return InvalidArgument(message, fields=[(field, message)])

    match = _GS.fullmatch(uri)
    if not match:
        raise refuse("write gs://BUCKET/PATH")
    bucket, path = match.group(1), match.group(2) or ""
    if not _RULES["bucket"][0].fullmatch(bucket):
        raise refuse(f'"{bucket}" cannot be the name of a bucket')
    if any(ord(c) < 32 or ord(c) == 127 for c in path) or any(c in path for c in "\\#?"):
        raise refuse("the path holds a control character, a backslash, # or ?")
    if re.search(r"%(2f|5c|2e|00|23|3f)", path, re.IGNORECASE):
        raise refuse("the path holds a percent-encoded separator")
    segments = path.rstrip("/").split("/") if path.rstrip("/") else []
    if any(s in ("", ".", "..") for s in segments) or path.endswith("//"):
        raise refuse('the path holds an empty, "." or ".." segment')
    return bucket, path
