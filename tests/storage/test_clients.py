"""Unmodified clients: google-cloud-storage, google-api-python-client and gcsfs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.api_core.exceptions as errors
import googleapiclient.discovery
import pytest
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2.credentials import Credentials
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

from tests.harness import Server
from tests.storage.clients import BreakingProxy, google_client

BIG = random.Random(1).randbytes(20 << 20)


# --------------------------------------------------------------------------------------------- google-cloud-storage


def test_a_bucket_is_created_found_listed_changed_and_deleted(google: storage.Client, worker_id: str) -> None:
    name = f"life-{worker_id}"
    made = google.create_bucket(name, location="EU")
    assert (made.location, made.location_type, made.storage_class) == ("EU", "multi-region", "STANDARD")
    assert made.iam_configuration.uniform_bucket_level_access_enabled
    assert google.lookup_bucket(name) is not None
    assert name in {found.name for found in google.list_buckets()}
    assert [found.name for found in google.list_buckets(prefix="life-")] == [name]
    made.labels = {"team": "red", "cost": "low"}
    made.patch()
    made.labels = {"team": "blue"}
    made.update()
    made.reload()
    assert made.labels == {"team": "blue"}
    assert made.metageneration == 3
    made.delete()
    assert google.lookup_bucket(name) is None
    assert not google.bucket(name).exists()


def test_a_bucket_name_is_taken_only_once_on_the_whole_server(google: storage.Client, bucket: str) -> None:
    with pytest.raises(errors.Conflict):
        google.create_bucket(bucket)


def test_a_bucket_with_objects_is_not_deleted_unless_forced(google: storage.Client, bucket: str) -> None:
    where = google.bucket(bucket)
    where.blob("a").upload_from_string("1")
    with pytest.raises(errors.Conflict):
        where.delete()
    where.delete(force=True)


def test_buckets_are_listed_in_pages(google: storage.Client, worker_id: str) -> None:
    names = [f"paged-{worker_id}-{n}" for n in range(5)]
    for name in names:
        google.create_bucket(name)
    found = google.list_buckets(prefix=f"paged-{worker_id}", page_size=2)
    assert [[b.name for b in page] for page in found.pages] == [names[:2], names[2:4], names[4:]]


def test_an_object_comes_back_as_it_was_sent(google: storage.Client, bucket: str) -> None:
    blob = google.bucket(bucket).blob("dir/ü ?#%:+x.txt")
    blob.metadata = {"a": "1", "ключ": "значение"}
    blob.cache_control = "no-cache"
    blob.upload_from_string("hello", content_type="text/plain; charset=utf-8")
    assert blob.download_as_bytes() == b"hello"
    again = google.bucket(bucket).get_blob(blob.name)
    assert again is not None
    assert (again.size, again.content_type, again.cache_control) == (5, "text/plain; charset=utf-8", "no-cache")
    assert again.metadata == {"a": "1", "ключ": "значение"}
    assert again.md5_hash == base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    assert again.generation == blob.generation
    assert again.time_created is not None
    assert again.etag == blob.etag


def test_an_object_named_like_a_project_by_number_keeps_its_name(google: storage.Client, bucket: str) -> None:
    number = google.get_bucket(bucket).project_number
    name = f"projects/{number}/models/x"
    google.bucket(bucket).blob(name).upload_from_string("x")
    assert google.bucket(bucket).blob(name).download_as_bytes() == b"x"
    assert [b.name for b in google.list_blobs(bucket)] == [name]


def test_an_empty_object_can_be_stored_and_read_in_every_way(google: storage.Client, bucket: str) -> None:
    where = google.bucket(bucket)
    where.blob("a").upload_from_string("")
    where.blob("b", chunk_size=256 << 10).upload_from_file(io.BytesIO(b""))
    for name in ("a", "b"):
        assert where.blob(name).download_as_bytes() == b""
        assert where.blob(name, chunk_size=256 << 10).download_as_bytes() == b""


def test_twenty_megabytes_go_up_in_chunks_and_come_back_in_chunks(google: storage.Client, bucket: str) -> None:
    blob = google.bucket(bucket).blob("big", chunk_size=4 << 20)
    blob.upload_from_file(io.BytesIO(BIG), checksum="md5")
    assert blob.size == len(BIG)
    assert google.bucket(bucket).blob("big").download_as_bytes(checksum="md5") == BIG
    assert blob.download_as_bytes(start=5, end=9) == BIG[5:10]
    out = io.BytesIO()
    google.bucket(bucket).blob("big", chunk_size=1 << 20).download_to_file(out)
    assert out.getvalue() == BIG


def test_a_stream_of_unknown_length_can_be_written(google: storage.Client, bucket: str) -> None:
    with google.bucket(bucket).blob("stream").open("wb", chunk_size=256 << 10) as file:
        for at in range(0, 2 << 20, 100_000):
            file.write(BIG[at : at + 100_000])
    with google.bucket(bucket).blob("stream").open("rb", chunk_size=256 << 10) as file:
        assert file.read() == BIG[: file.tell()]


def test_an_upload_goes_on_after_the_connection_broke_in_the_middle(server: Server, bucket: str) -> None:
    proxy = BreakingProxy(server, cut_after=3 << 20, times=2)
    client = google_client(server, url=proxy.url)
    blob = client.bucket(bucket).blob("broken", chunk_size=8 << 20)
    blob.upload_from_file(io.BytesIO(BIG), retry=DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.1))
    client.close()
    proxy.close()
    assert proxy.cuts_left == 0
    direct = google_client(server)
    assert direct.bucket(bucket).blob("broken").download_as_bytes() == BIG
    direct.close()


def test_preconditions_hold_for_uploads_deletes_and_reads(google: storage.Client, bucket: str) -> None:
    blob = google.bucket(bucket).blob("x")
    blob.upload_from_string("1", if_generation_match=0)
    first = blob.generation
    with pytest.raises(errors.PreconditionFailed):
        google.bucket(bucket).blob("x").upload_from_string("2", if_generation_match=0)
    with pytest.raises(errors.PreconditionFailed):
        google.bucket(bucket).blob("x", chunk_size=256 << 10).upload_from_file(io.BytesIO(BIG), if_generation_match=0)
    blob.upload_from_string("2", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(errors.NotFound):
        google.bucket(bucket).blob("x", generation=first).reload()
    with pytest.raises(errors.PreconditionFailed):
        blob.delete(if_generation_match=first)
    with pytest.raises(errors.PreconditionFailed):
        blob.reload(if_metageneration_match=7)
    with pytest.raises(errors.NotModified):
        blob.reload(if_generation_not_match=blob.generation)
    with pytest.raises(errors.NotModified):
        blob.reload(if_etag_not_match=blob.etag)
    blob.reload(if_etag_match=blob.etag)
    blob.delete(if_generation_match=blob.generation)
    assert not blob.exists()
    blob.upload_from_string("3", if_generation_match=0)
    assert blob.generation > first


def test_metadata_is_patched_and_updated(google: storage.Client, bucket: str) -> None:
    blob = google.bucket(bucket).blob("x")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string("1", content_type="text/plain")
    blob.content_type = "text/css"
    blob.metadata = {"a": None, "c": "3"}
    blob.patch()
    assert blob.metadata == {"b": "2", "c": "3"}
    assert (blob.content_type, blob.metageneration) == ("text/css", 2)
    blob.metadata = {"only": "this"}
    blob.update(if_metageneration_match=2)
    blob.reload()
    assert (blob.metadata, blob.content_type, blob.metageneration) == ({"only": "this"}, "text/css", 3)


def test_objects_are_copied_renamed_rewritten_moved_and_composed(google: storage.Client, bucket: str) -> None:
    where = google.bucket(bucket)
    source = where.blob("a")
    source.content_language = "de"
    source.upload_from_string("one", content_type="text/plain")
    assert where.copy_blob(source, where, "b").download_as_bytes() == b"one"
    assert where.rename_blob(source, "c").content_language == "de"
    assert not source.exists()
    token, done, total = where.blob("d").rewrite(where.get_blob("c"))
    assert (token, done, total) == (None, 3, 3)
    assert where.get_blob("d").content_type == "text/plain"
    moved = where.move_blob(where.blob("d"), "e")
    assert (moved.name, where.blob("d").exists()) == ("e", False)
    whole = where.blob("whole")
    whole.compose([where.blob("b"), where.blob("c"), where.blob("e")])
    assert (whole.download_as_bytes(), whole.component_count) == (b"oneoneone", 3)
    cold = where.get_blob("whole")
    cold.update_storage_class("COLDLINE")
    assert where.get_blob("whole").storage_class == "COLDLINE"


def test_a_batch_deletes_several_objects(google: storage.Client, bucket: str) -> None:
    where = google.bucket(bucket)
    for name in ("a", "b/c", "d"):
        where.blob(name).upload_from_string("x")
    with google.batch():
        for name in ("a", "b/c"):
            where.delete_blob(name)
    assert [b.name for b in google.list_blobs(bucket)] == ["d"]


def test_a_bucket_policy_gives_and_takes_access(
    google: storage.Client, bucket: str, google_as: Callable[[str], storage.Client]
) -> None:
    other = google_as("user:guest@example.com")
    google.bucket(bucket).blob("x").upload_from_string("1")
    with pytest.raises(errors.Forbidden):
        other.bucket(bucket).blob("x").download_as_bytes()
    policy = google.bucket(bucket).get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:guest@example.com"}})
    google.bucket(bucket).set_iam_policy(policy)
    assert other.bucket(bucket).blob("x").download_as_bytes() == b"1"
    assert other.bucket(bucket).test_iam_permissions(
        ["storage.objects.get", "storage.objects.create", "storage.objects.list"]
    ) == ["storage.objects.get", "storage.objects.list"]
    with pytest.raises(errors.Conflict):
        google.bucket(bucket).set_iam_policy(policy)  # its etag is old by now
    policy = google.bucket(bucket).get_iam_policy()
    del policy["roles/storage.objectViewer"]
    google.bucket(bucket).set_iam_policy(policy)
    with pytest.raises(errors.Forbidden):
        other.bucket(bucket).blob("x").download_as_bytes()


def test_what_is_not_there_is_refused_by_name(google: storage.Client, bucket: str) -> None:
    where = google.bucket(bucket)
    blob = where.blob("x")
    blob.upload_from_string("1")
    with pytest.raises(errors.MethodNotImplemented, match="objectAccessControls"):
        blob.acl.reload()
    with pytest.raises(errors.BadRequest, match="predefinedAcl"):
        blob.upload_from_string("1", predefined_acl="publicRead")
    with pytest.raises(errors.MethodNotImplemented, match="x-goog-encryption"):
        where.blob("y", encryption_key=b"k" * 32).upload_from_string("1")
    with pytest.raises(errors.MethodNotImplemented, match="matchGlob"):
        list(google.list_blobs(bucket, match_glob="*.x"))
    for field, change in {
        "versioning": {"versioning": {"enabled": True}},
        "lifecycle": {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]}},
        "retentionPolicy": {"retentionPolicy": {"retentionPeriod": "10"}},
    }.items():
        with pytest.raises(errors.MethodNotImplemented, match=field):
            google._patch_resource(f"/b/{bucket}", change)


def test_the_projects_service_agent_is_told(google: storage.Client) -> None:
    assert google.get_service_account_email().startswith("service-")


# ------------------------------------------------------------------------------------------ google-api-python-client


def api_client(server: Server) -> Any:
    """The client's own document with our address as its root: `api_endpoint` alone does not move media uploads, which
    the library sends to the document's root, whatever the endpoint."""
    where = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "storage.v1.json"
    document = {**json.loads(where.read_text()), "rootUrl": server.url + "/", "baseUrl": server.url + "/storage/v1/"}
    return googleapiclient.discovery.build_from_document(document, credentials=Credentials(server.token()))


def test_the_api_client_uploads_in_all_ways_and_downloads(server: Server, bucket: str) -> None:
    with api_client(server) as api:
        for name, resumable in (("small", False), ("large", True)):
            sent = MediaIoBaseUpload(io.BytesIO(BIG), "application/x", chunksize=5 << 20, resumable=resumable)
            made = api.objects().insert(bucket=bucket, body={"name": name}, media_body=sent).execute()
            assert (made["size"], made["contentType"]) == (str(len(BIG)), "application/x")
            out = io.BytesIO()
            fetch = MediaIoBaseDownload(out, api.objects().get_media(bucket=bucket, object=name), chunksize=7 << 20)
            while not fetch.next_chunk()[1]:
                pass
            assert out.getvalue() == BIG
        empty = api.objects().insert(bucket=bucket, body={"name": "none"}).execute()
        assert empty["size"] == "0"
        request, found = api.objects().list(bucket=bucket, maxResults=1), []
        while request is not None:
            answer = request.execute()
            found += [item["name"] for item in answer["items"]]
            request = api.objects().list_next(request, answer)
        assert found == ["large", "none", "small"]
        assert api.buckets().testIamPermissions(
            bucket=bucket, permissions=["storage.buckets.get", "storage.buckets.fly"]
        ).execute() == {"kind": "storage#testIamPermissionsResponse", "permissions": ["storage.buckets.get"]}
        listed = api.objects().list(bucket=bucket, fields="items(name,size),nextPageToken").execute()
        assert listed["items"][1] == {"name": "none", "size": "0"}


# ------------------------------------------------------------------------------------------------------------ gcsfs

_GCSFS = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import gcsfs
url, token, project, bucket = sys.argv[1:5]
import google.oauth2.credentials
fs = gcsfs.GCSFileSystem(
    project=project, token=google.oauth2.credentials.Credentials(token), endpoint_url=url, cache_timeout=0
)
out = {}
fs.mkdir(bucket + "-gcsfs")
out["buckets"] = [bucket + "-gcsfs" in b for b in fs.ls("")].count(True)
root = bucket + "-gcsfs"
big = os.urandom(12 << 20)
with fs.open(f"{root}/deep/er/big", "wb", block_size=5 << 20) as file:
    file.write(big)
out["big"] = fs.cat(f"{root}/deep/er/big") == big
with fs.open(f"{root}/deep/er/big", "rb", block_size=1 << 20) as file:
    file.seek(7 << 20)
    out["seek"] = file.read(1000) == big[7 << 20 : (7 << 20) + 1000]
fs.pipe({f"{root}/deep/{n}.txt": b"data\\r" for n in range(5)})
out["pipe"] = fs.cat(f"{root}/deep/3.txt").decode()
fs.pipe_file(f"{root}/deep/large", big, chunksize=5 << 20)
out["pipe_large"] = fs.cat(f"{root}/deep/large") == big
out["ls"] = sorted(fs.ls(f"{root}/deep"))
out["glob"] = sorted(fs.glob(f"{root}/**/*.txt"))
out["find"] = len(fs.find(root))
out["size"] = fs.info(f"{root}/deep/er/big")["size"]
out["dir"] = fs.isdir(f"{root}/deep")
fs.cp(f"{root}/deep/1.txt", f"{root}/copy.txt")
fs.mv(f"{root}/copy.txt", f"{root}/moved.txt")
out["moved"] = [fs.exists(f"{root}/copy.txt"), fs.exists(f"{root}/moved.txt")]
fs.merge(f"{root}/merged", [f"{root}/deep/1.txt", f"{root}/deep/2.txt"])
out["merged"] = fs.cat(f"{root}/merged").decode()
fs.setxattrs(f"{root}/merged", content_type="text/x", a="b")
out["xattr"] = fs.getxattr(f"{root}/merged", "a")
try:
    fs.pipe_file(f"{root}/merged", b"x", mode="create")
except FileExistsError:
    out["create"] = "exists"
file = fs.open(f"{root}/discarded", "wb", block_size=5 << 20, autocommit=False)
file.write(big)
file.flush(force=True)
file.discard()
out["discarded"] = fs.exists(f"{root}/discarded")
fs.rm(f"{root}/deep", recursive=True)
out["left"] = sorted(fs.find(root))
fs.rm(root, recursive=True)
print(json.dumps(out))
"""


def test_gcsfs_works(server: Server, bucket: str) -> None:
    """In a process of its own: what it is told by the environment, it reads when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", _GCSFS, server.url, server.token(), server.project, bucket],
        env={**os.environ, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    root = f"{bucket}-gcsfs"
    out: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert out == {
        "buckets": 1,
        "big": True,
        "seek": True,
        "pipe": "data\r",
        "pipe_large": True,
        "ls": [*(f"{root}/deep/{n}.txt" for n in range(5)), f"{root}/deep/er", f"{root}/deep/large"],
        "glob": [f"{root}/deep/{n}.txt" for n in range(5)],
        "find": 7,
        "size": 12 << 20,
        "dir": True,
        "moved": [False, True],
        "merged": "data\rdata\r",
        "xattr": "b",
        "create": "exists",
        "discarded": False,
        "left": [f"{root}/merged", f"{root}/moved.txt"],
    }


def test_a_token_that_nobody_issued_is_unauthenticated(server: Server, bucket: str) -> None:
    client = google_client(server, Credentials("mlgate_nobody"))
    with pytest.raises((errors.Unauthorized, Exception), match=r"401|refresh"):
        client.get_bucket(bucket, retry=None)
    client.close()
