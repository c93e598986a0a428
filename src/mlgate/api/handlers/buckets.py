"""Buckets: insert, get, list, patch, update, delete, and their policies.

A bucket is the record `buckets/B` in its project, and the fact that tells every process which project that is. Its
body holds the fields that a client may set, as they are shown; what the server knows (metageneration, times) is hidden.

Access is by policy only. Fields that would change what happens to objects (versioning, lifecycle, retention, customer
keys, access control lists) are refused by name: a bucket that silently ignored them would lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from mlgate.api import audit, policies
from mlgate.api.call import Call, Response
from mlgate.api.messages.message import decode, encode
from mlgate.api.messages.policies import Policy, SetIamPolicyRequest
from mlgate.api.messages.storage import Bucket, BucketPolicy, ProjectServiceAccount, TestBucketPermissionsResponse
from mlgate.api.storage import check_access_lists, json_body, max_results, refuse_fields, without_nulls
from mlgate.core.errors import Aborted, AlreadyExists, Unimplemented
from mlgate.core.iam import roles
from mlgate.core.labels import check_labels
from mlgate.core.names import bucket_name, check_id, id_of, project_id_of
from mlgate.core.storage import (
    before,
    check_conditions,
    check_header,
    check_storage_class,
    check_text,
    etag,
    merged,
    refuse,
)
from mlgate.core.wire import format_timestamp, page_token, parse_page_token
from mlgate.ports import Record, Transaction
from mlgate.stored_objects import bucket_of

_KEPT = (
    "cors", "customPlacementConfig", "iamConfiguration", "labels", "location", "rpo", "storageClass", "website",
)  # fmt: skip
_MULTI_REGIONS = ("US", "EU", "ASIA")


def insert_bucket(call: Call, body: Bucket) -> dict[str, Any]:
    """A bucket in the project; its name is unique on the whole server. Raises AlreadyExists."""
    call.record(call.resource, "project")
    bucket_id = check_id("bucket", body.name or "", "name")
    check_access_lists(call)
    check_bucket(body)
    record = Record(
        name=bucket_name(bucket_id),
        kind="bucket",
        parent=call.resource,
        uid=call.services.ids.uid(),
        body=_kept(encode(body)),
        created=call.now,
        hidden={"metageneration": 1, "updated": format_timestamp(call.now), "generation": 0},
    )
    try:
        call.tx.insert(record)
    except AlreadyExists:
        raise AlreadyExists(f'The bucket name "{bucket_id}" is not available; choose another.') from None
    call.tx.set_fact("bucket", bucket_id, project_id_of(call.resource))
    return _shown(call, record)


def get_bucket(call: Call) -> dict[str, Any] | Response:
    record = bucket_of(call.tx, call.params["bucket"])
    refuse_fields({name: call.query.get(name) for name in ("softDeleted", "generation")})
    if call.query.get("ifMetagenerationNotMatch") == record.hidden["metageneration"]:
        return Response(status=304)
    _check_metageneration(call, record)
    return _shown(call, record)


def list_buckets(call: Call) -> dict[str, Any]:
    call.record(call.resource, "project")
    refuse_fields({"softDeleted": call.query.get("softDeleted")})
    size = max_results(call)
    prefix = bucket_name(call.query.get("prefix", ""))
    mark = (call.principal, call.method.id, call.resource, prefix)
    token = call.query.get("pageToken", "")
    after = parse_page_token(token, *mark) if token else before(prefix)
    check_text(prefix, "prefix")
    check_text(after, "pageToken")
    found = call.tx.children(call.resource, "bucket", after=after, limit=size + 1)
    found = [record for record in found if record.name.startswith(prefix)]
    answer: dict[str, Any] = {"kind": "storage#buckets"}
    if found:
        answer["items"] = [_shown(call, record) for record in found[:size]]
    if len(found) > size:
        answer["nextPageToken"] = page_token(found[size - 1].name, *mark)
    return answer


async def patch_bucket(call: Call) -> dict[str, Any]:
    """Change some fields; null removes one, in `labels` too."""
    patch = await json_body(call, Bucket)
    return await call.on_thread(lambda tx: _change(call, tx, lambda old: merged(old, patch)), write=True)


async def update_bucket(call: Call) -> dict[str, Any]:
    """Replace all fields that can be set, but for the location, which stays what it was."""
    given = without_nulls(await json_body(call, Bucket))
    return await call.on_thread(
        lambda tx: _change(call, tx, lambda old: {"location": old.get("location"), **given}), write=True
    )


def _change(call: Call, tx: Transaction, change: Any) -> dict[str, Any]:
    call.tx = tx
    call.because = audit.deciding_grant(call)
    record = bucket_of(tx, call.params["bucket"])
    _check_metageneration(call, record)
    check_access_lists(call)
    new = decode(Bucket, without_nulls(change(record.body)))
    check_bucket(new)
    if (new.location or "US").upper() != record.body.get("location", "US"):
        raise refuse("location", "The location of a bucket cannot be changed.")
    record.body = _kept(encode(new))
    record.hidden["metageneration"] += 1
    record.hidden["updated"] = format_timestamp(call.now)
    tx.update(record)
    tx.audit(audit.entry(call, "OK"))
    return _shown(call, record)


def delete_bucket(call: Call) -> Response:
    """Delete an empty bucket, with its policy and its unfinished uploads. Raises Aborted while it holds objects."""
    record = bucket_of(call.tx, call.params["bucket"])
    _check_metageneration(call, record)
    bucket_id = id_of(record.name)
    if call.tx.list_objects(bucket_id, limit=1):
        raise Aborted("The bucket you tried to delete is not empty.")
    for upload in call.tx.children(record.name, "upload"):
        call.tx.delete(upload.name)
    call.tx.delete(record.name)
    call.tx.set_fact("bucket", bucket_id, None)
    call.tx.set_policy(record.name, None)
    return Response(status=204)


# --------------------------------------------------------------------------------------------------------- policies


def get_bucket_policy(call: Call) -> BucketPolicy:
    version = int(call.query.get("optionsRequestedPolicyVersion", 0))
    return _shown_policy(call, policies.get_policy(call, call.resource, roles.BUCKET, version))


def set_bucket_policy(call: Call, body: BucketPolicy) -> BucketPolicy:
    """The body is the policy itself, not a request that holds one."""
    wanted = Policy(bindings=body.bindings, etag=body.etag, version=body.version)
    request = SetIamPolicyRequest(policy=wanted)
    return _shown_policy(call, policies.set_policy(call, call.resource, roles.BUCKET, request))


def test_bucket_permissions(call: Call) -> TestBucketPermissionsResponse:
    """Which of the permissions the caller holds; they come as a repeated parameter. A bucket that does not exist
    answers none, after the same work."""
    asked = list(dict.fromkeys(value for name, value in call.request.query if name == "permissions"))
    if not asked:
        raise refuse("permissions", "permissions is required.")
    policies.check_asked(asked)
    name = bucket_name(call.params["bucket"])
    held = [permission for permission in asked if call.may(permission, name)]
    record = call.tx.get(name.replace("\x00", ""))
    if record is None or record.kind != "bucket":
        held = []
    return TestBucketPermissionsResponse(kind="storage#testIamPermissionsResponse", permissions=held)


def get_project_account(call: Call) -> ProjectServiceAccount:
    """The account that reads model files from the project's buckets."""
    call.record(call.resource, "project")
    agent = call.services.snapshot.projects[project_id_of(call.resource)].agent
    return ProjectServiceAccount(kind="storage#serviceAccount", email_address=agent)


def _shown_policy(call: Call, policy: Policy) -> BucketPolicy:
    return BucketPolicy(
        kind="storage#policy",
        resource_id=f"projects/_/buckets/{call.params['bucket']}",
        version=policy.version or 1,
        etag=policy.etag,
        bindings=policy.bindings,
    )


# ----------------------------------------------------------------------------------------------- rules and showing


def _on(setting: Any) -> bool:
    return bool(setting and setting.enabled)


def check_bucket(body: Bucket) -> None:
    """Raises Unimplemented by name for what would change the meaning of the bucket, InvalidArgument for the rest."""
    iam = body.iam_configuration
    soft = body.soft_delete_policy
    refuse_fields(
        {
            "acl": body.acl,
            "autoclass.enabled": _on(body.autoclass),
            "billing.requesterPays": body.billing and body.billing.requester_pays,
            "defaultEventBasedHold": body.default_event_based_hold,
            "defaultObjectAcl": body.default_object_acl,
            "encryption": body.encryption and encode(body.encryption),
            "hierarchicalNamespace.enabled": _on(body.hierarchical_namespace),
            "iamConfiguration.publicAccessPrevention=enforced": iam and iam.public_access_prevention == "enforced",
            "ipFilter": body.ip_filter and body.ip_filter.mode != "Disabled",
            "lifecycle.rule": body.lifecycle and body.lifecycle.rule,
            "logging": body.logging and encode(body.logging),
            "objectRetention": body.object_retention and encode(body.object_retention),
            "retentionPolicy": body.retention_policy and encode(body.retention_policy),
            "softDeletePolicy": soft and soft.retention_duration_seconds,
            "versioning.enabled": _on(body.versioning),
        }
    )
    uniform = (iam and iam.uniform_bucket_level_access) or (iam and iam.bucket_policy_only)
    if uniform and uniform.enabled is False:
        raise Unimplemented("Access control lists are not implemented: uniformBucketLevelAccess cannot be disabled.")
    check_labels(body.labels, "labels")
    check_storage_class(body.storage_class)
    check_header(body.location, "location")


def _check_metageneration(call: Call, record: Record) -> None:
    check_conditions(call.query, 0, record.hidden["metageneration"])


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = {field: body[field] for field in _KEPT if field in body}
    kept["location"] = str(kept.get("location", "US")).upper()
    kept.setdefault("storageClass", "STANDARD")
    return kept


def _shown(call: Call, record: Record) -> dict[str, Any]:
    bucket_id = id_of(record.name)
    project = call.services.snapshot.projects.get(project_id_of(record.parent))
    metageneration = record.hidden["metageneration"]
    iam = record.body.get("iamConfiguration", {})
    return {
        **record.body,
        "kind": "storage#bucket",
        "id": bucket_id,
        "name": bucket_id,
        "selfLink": f"{call.request.base_url}/storage/v1/b/{quote(bucket_id, safe='')}",
        "projectNumber": project.number if project else "0",
        "metageneration": str(metageneration),
        "etag": etag(0, metageneration),
        "locationType": "multi-region" if record.body["location"] in _MULTI_REGIONS else "region",
        "timeCreated": format_timestamp(record.created),
        "updated": record.hidden["updated"],
        "iamConfiguration": {
            "publicAccessPrevention": "inherited",
            **iam,
            "uniformBucketLevelAccess": {"enabled": True},
            "bucketPolicyOnly": {"enabled": True},
        },
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
    }
