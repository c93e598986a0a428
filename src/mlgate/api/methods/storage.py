"""The Storage v1 API: one row per method and address. An object's permissions are checked on its bucket.

Uploads have two addresses (`upload`, `resumable/upload`), and a session is one method under three verbs: opened by
POST, fed by PUT (or POST), ended by DELETE. Access control lists and the like are rows without a handler: clients get
UNIMPLEMENTED by name instead of an address that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlgate.api.handlers import buckets, objects, uploads
from mlgate.api.messages.storage import (
    Bucket,
    BucketPolicy,
    Buckets,
    ComposeRequest,
    Object,
    Objects,
    ProjectServiceAccount,
    RewriteResponse,
    TestBucketPermissionsResponse,
)
from mlgate.api.method import DELETE, GET, PATCH, POST, PUT, Audit, Authenticated, Handler, Method, Style

Query = Mapping[str, type]

_B, _O, _U = "storage/v1/b", "storage/v1/b/{bucket}/o", "upload/storage/v1/b/{bucket}/o"
_BUCKET = "buckets/{bucket}"
_DESTINATION = "buckets/{destinationBucket}"
_PROJECT = "projects/{project}"
_WRITE, _READ, _DATA_READ, _DATA_WRITE = Audit.ADMIN_WRITE, Audit.ADMIN_READ, Audit.DATA_READ, Audit.DATA_WRITE
_FILTERED = Authenticated("the answer holds only permissions that the caller has")

_META: Query = {"ifMetagenerationMatch": int, "ifMetagenerationNotMatch": int}
_CONDITIONS: Query = {"ifGenerationMatch": int, "ifGenerationNotMatch": int, **_META}
_SOURCE: Query = {
    "ifSourceGenerationMatch": int, "ifSourceGenerationNotMatch": int,
    "ifSourceMetagenerationMatch": int, "ifSourceMetagenerationNotMatch": int,
}  # fmt: skip
_VIEW: Query = {"projection": str}
_ONE: Query = {"generation": int, **_CONDITIONS, **_VIEW}
_ACL: Query = {"predefinedAcl": str, "predefinedDefaultObjectAcl": str}
_GET_BUCKET: Query = {**_META, **_VIEW, "generation": int, "softDeleted": bool}
_PAGE: Query = {"maxResults": int, "pageToken": str, "prefix": str, "softDeleted": bool, **_VIEW}
_LIST: Query = {
    **_PAGE, "delimiter": str, "startOffset": str, "endOffset": str, "includeTrailingDelimiter": bool, "versions": bool,
    "matchGlob": str, "filter": str, "includeFoldersAsPrefixes": bool,
}  # fmt: skip
_GET: Query = {**_ONE, "softDeleted": bool, "restoreToken": str, "alt": str}
_CHANGE: Query = {**_ONE, "predefinedAcl": str, "overrideUnlockedRetention": bool}
_INSERT: Query = {
    **_CONDITIONS, **_VIEW, "name": str, "contentEncoding": str, "predefinedAcl": str, "kmsKeyName": str,
}  # fmt: skip
_UPLOAD: Query = {**_INSERT, "upload_id": str}
_COPY: Query = {
    **_CONDITIONS, **_SOURCE, **_VIEW, "sourceGeneration": int, "destinationPredefinedAcl": str,
    "destinationKmsKeyName": str,
}  # fmt: skip
_REWRITE: Query = {**_COPY, "rewriteToken": str, "maxBytesRewrittenPerCall": int, "dropContextGroups": str}
_COMPOSE: Query = {
    "ifGenerationMatch": int, "ifMetagenerationMatch": int, "destinationPredefinedAcl": str, "kmsKeyName": str,
    "dropContextGroups": str,
}  # fmt: skip
_PERMISSIONS: Query = {"permissions": str}
_TO = "{sourceBucket}/o/{sourceObject}"


def _uploads(http: str, handler: Handler, summary: str) -> tuple[Method, ...]:
    return tuple(
        Method("storage.objects.insert", http, path, "storage.objects.create", handler, on=_BUCKET, query=_UPLOAD,
               takes=Object if http == POST else None, gives=Object if http != DELETE else None, audit=_DATA_WRITE,
               style=Style.STREAM, summary=summary)
        for path in (_U, f"resumable/{_U}")
    )  # fmt: skip


def _later(method: str, http: str, path: str, requires: str, on: str = _BUCKET, query: Query | None = None) -> Method:
    audit = _READ if http == GET else _WRITE
    return Method(f"storage.{method}", http, f"storage/v1/{path}", requires, None, on=on, query=query or {},
                  audit=audit, summary="Not there: access is by policy, and what is deleted is gone")  # fmt: skip


def _access_control(name: str, path: str, key: str) -> tuple[Method, ...]:
    """The six methods of one kind of access control list."""
    get, change = "storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"
    query: Query = {"generation": int} if name == "objectAccessControls" else {}
    return (
        _later(f"{name}.list", GET, path, get, query={**query, **(_META if name.startswith("default") else {})}),
        _later(f"{name}.insert", POST, path, change, query=query),
        _later(f"{name}.get", GET, f"{path}/{{{key}}}", get, query=query),
        _later(f"{name}.patch", PATCH, f"{path}/{{{key}}}", change, query=query),
        _later(f"{name}.update", PUT, f"{path}/{{{key}}}", change, query=query),
        _later(f"{name}.delete", DELETE, f"{path}/{{{key}}}", change, query=query),
    )


ROWS: tuple[Method, ...] = (
    # ---------------------------------------------------------------------------------------------------- buckets
    Method("storage.buckets.insert", POST, _B, "storage.buckets.create", buckets.insert_bucket, takes=Bucket,
           gives=Bucket, on=_PROJECT, query={**_ACL, **_VIEW, "project": str, "enableObjectRetention": bool},
           audit=_WRITE, summary="Create a bucket in a project"),
    Method("storage.buckets.get", GET, f"{_B}/{{bucket}}", "storage.buckets.get", buckets.get_bucket, gives=Bucket,
           on=_BUCKET, query=_GET_BUCKET, summary="Read a bucket's settings"),
    Method("storage.buckets.list", GET, _B, "storage.buckets.list", buckets.list_buckets, gives=Buckets, on=_PROJECT,
           query={**_PAGE, "project": str, "returnPartialSuccess": bool}, summary="List the buckets of a project"),
    Method("storage.buckets.patch", PATCH, f"{_B}/{{bucket}}", "storage.buckets.update", buckets.patch_bucket,
           takes=Bucket, gives=Bucket, on=_BUCKET, query={**_META, **_ACL, **_VIEW}, audit=_WRITE,
           style=Style.STREAM, summary="Change some of a bucket's settings"),
    Method("storage.buckets.update", PUT, f"{_B}/{{bucket}}", "storage.buckets.update", buckets.update_bucket,
           takes=Bucket, gives=Bucket, on=_BUCKET, query={**_META, **_ACL, **_VIEW}, audit=_WRITE,
           style=Style.STREAM, summary="Replace a bucket's settings"),
    Method("storage.buckets.delete", DELETE, f"{_B}/{{bucket}}", "storage.buckets.delete", buckets.delete_bucket,
           on=_BUCKET, query=_META, audit=_WRITE, summary="Delete an empty bucket"),
    Method("storage.buckets.getIamPolicy", GET, f"{_B}/{{bucket}}/iam", "storage.buckets.getIamPolicy",
           buckets.get_bucket_policy, gives=BucketPolicy, on=_BUCKET, query={"optionsRequestedPolicyVersion": int},
           summary="Read who has which role on a bucket"),
    Method("storage.buckets.setIamPolicy", PUT, f"{_B}/{{bucket}}/iam", "storage.buckets.setIamPolicy",
           buckets.set_bucket_policy, takes=BucketPolicy, gives=BucketPolicy, on=_BUCKET, audit=_WRITE,
           summary="Replace who has which role on a bucket"),
    Method("storage.buckets.testIamPermissions", GET, f"{_B}/{{bucket}}/iam/testPermissions", _FILTERED,
           buckets.test_bucket_permissions, gives=TestBucketPermissionsResponse, query=_PERMISSIONS,
           summary="Which of these permissions the caller has on a bucket"),
    Method("storage.projects.serviceAccount.get", GET, "storage/v1/projects/{projectId}/serviceAccount",
           "resourcemanager.projects.get", buckets.get_project_account, gives=ProjectServiceAccount,
           on="projects/{projectId}",
           summary="The account that reads model files from a project's buckets"),
    # ---------------------------------------------------------------------------------------------------- objects
    Method("storage.objects.insert", POST, _O, "storage.objects.create", uploads.insert_empty_object, takes=Object,
           gives=Object, on=_BUCKET, query=_INSERT, audit=_DATA_WRITE, style=Style.STREAM,
           summary="Create an object without bytes"),
    *_uploads(POST, uploads.insert_object, "Upload an object, or open a session to upload one"),
    *_uploads(PUT, uploads.continue_upload, "Send a chunk of an upload, or ask what has arrived"),
    *_uploads(DELETE, uploads.cancel_upload, "Cancel an upload"),
    Method("storage.objects.get", GET, f"{_O}/{{object}}", "storage.objects.get", objects.get_object, gives=Object,
           on=_BUCKET, query=_GET, audit=_DATA_READ, style=Style.STREAM, summary="Read an object's metadata or bytes"),
    Method("storage.objects.get", GET, f"download/{_O}/{{object}}", "storage.objects.get", objects.download,
           gives=Object, on=_BUCKET, query=_GET, audit=_DATA_READ, style=Style.STREAM, summary="Download an object"),
    Method("storage.objects.list", GET, _O, "storage.objects.list", objects.list_objects, gives=Objects, on=_BUCKET,
           query=_LIST, audit=_DATA_READ, summary="List objects and common prefixes"),
    Method("storage.objects.patch", PATCH, f"{_O}/{{object}}", "storage.objects.update", objects.patch_object,
           takes=Object, gives=Object, on=_BUCKET, query=_CHANGE, audit=_DATA_WRITE, style=Style.STREAM,
           summary="Change some of an object's metadata"),
    Method("storage.objects.update", PUT, f"{_O}/{{object}}", "storage.objects.update", objects.update_object,
           takes=Object, gives=Object, on=_BUCKET, query=_CHANGE, audit=_DATA_WRITE, style=Style.STREAM,
           summary="Replace an object's metadata"),
    Method("storage.objects.delete", DELETE, f"{_O}/{{object}}", "storage.objects.delete", objects.delete_object,
           on=_BUCKET, query={"generation": int, **_CONDITIONS}, audit=_DATA_WRITE, summary="Delete an object"),
    Method("storage.objects.copy", POST, f"{_B}/{_TO}/copyTo/b/{{destinationBucket}}/o/{{destinationObject}}",
           "storage.objects.create", objects.copy_object, takes=Object, gives=Object, on=_DESTINATION, query=_COPY,
           audit=_DATA_WRITE, also=objects.reads_source, summary="Copy an object"),
    Method("storage.objects.rewrite", POST, f"{_B}/{_TO}/rewriteTo/b/{{destinationBucket}}/o/{{destinationObject}}",
           "storage.objects.create", objects.rewrite_object, takes=Object, gives=RewriteResponse, on=_DESTINATION,
           query=_REWRITE, audit=_DATA_WRITE, also=objects.reads_source, summary="Copy an object of any size"),
    Method("storage.objects.move", POST, f"{_O}/{{sourceObject}}/moveTo/o/{{destinationObject}}",
           "storage.objects.create", objects.move_object, gives=Object, on=_BUCKET,
           query={**_CONDITIONS, **_SOURCE, **_VIEW}, audit=_DATA_WRITE, also=objects.reads_and_deletes,
           summary="Give an object another name in its bucket"),
    Method("storage.objects.compose", POST, f"{_B}/{{destinationBucket}}/o/{{destinationObject}}/compose",
           "storage.objects.create", objects.compose_object, takes=ComposeRequest, gives=Object, on=_DESTINATION,
           query=_COMPOSE, audit=_DATA_WRITE, style=Style.STREAM, summary="Make an object of several others"),
    # ------------------------------------------------------------------------------------------------------ later
    *_access_control("bucketAccessControls", "b/{bucket}/acl", "entity"),
    *_access_control("defaultObjectAccessControls", "b/{bucket}/defaultObjectAcl", "entity"),
    *_access_control("objectAccessControls", "b/{bucket}/o/{object}/acl", "entity"),
    _later("objects.getIamPolicy", GET, "b/{bucket}/o/{object}/iam", "storage.buckets.getIamPolicy",
           query={"generation": int}),
    _later("objects.setIamPolicy", PUT, "b/{bucket}/o/{object}/iam", "storage.buckets.setIamPolicy",
           query={"generation": int}),
    _later("objects.testIamPermissions", GET, "b/{bucket}/o/{object}/iam/testPermissions", "storage.objects.get",
           query={"generation": int, **_PERMISSIONS}),
    _later("objects.restore", POST, "b/{bucket}/o/{object}/restore", "storage.objects.create",
           query={**_ONE, "copySourceAcl": bool, "restoreToken": str}),
    _later("objects.viewFullContext", GET, "b/{bucket}/o/{object}/viewFullContext", "storage.objects.get",
           query={"generation": int, "contextKey": str}),
    _later("objects.bulkRestore", POST, "b/{bucket}/o/bulkRestore", "storage.objects.create"),
    _later("buckets.lockRetentionPolicy", POST, "b/{bucket}/lockRetentionPolicy", "storage.buckets.update",
           query={"ifMetagenerationMatch": int}),
    _later("buckets.relocate", POST, "b/{bucket}/relocate", "storage.buckets.update"),
    _later("buckets.restore", POST, "b/{bucket}/restore", "storage.buckets.update",
           query={"generation": int, **_VIEW}),
    _later("buckets.getStorageLayout", GET, "b/{bucket}/storageLayout", "storage.buckets.get", query={"prefix": str}),
    _later("notifications.list", GET, "b/{bucket}/notificationConfigs", "storage.buckets.get"),
    _later("notifications.insert", POST, "b/{bucket}/notificationConfigs", "storage.buckets.update"),
    _later("notifications.get", GET, "b/{bucket}/notificationConfigs/{notification}", "storage.buckets.get"),
    _later("notifications.delete", DELETE, "b/{bucket}/notificationConfigs/{notification}", "storage.buckets.update"),
)  # fmt: skip
