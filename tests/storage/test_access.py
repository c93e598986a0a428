"""Who may do what: every row with a stranger's token, and the rights that a call needs beside its row's."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from mlgate.api.method import Authenticated, Method
from mlgate.api.methods.storage import ROWS
from tests.harness import Server
from tests.storage.clients import media, path_of, start, upload

READER, WRITER = "user:reader@example.com", "user:writer@example.com"


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def give(http: httpx.Client, bucket: str, **members: str) -> None:
    """Bind `roles/storage.ROLE` on the bucket to each member, and nothing else."""
    policy = http.get(f"/storage/v1/b/{bucket}/iam").json()
    policy["bindings"] = [{"role": f"roles/storage.{role}", "members": [member]} for role, member in members.items()]
    answer = http.put(f"/storage/v1/b/{bucket}/iam", json=policy)
    assert answer.status_code == 200, answer.text


def address(row: Method, server: Server, bucket: str) -> str:
    values = {
        "bucket": bucket, "sourceBucket": bucket, "destinationBucket": bucket, "projectId": server.project,
        "object": "secret", "sourceObject": "secret", "destinationObject": "copy", "entity": "allUsers",
        "notification": "1",
    }  # fmt: skip
    return "/" + row.template.fill({v.name: values[v.name] for v in row.template.variables}, lambda name: name)


def key(row: Method) -> str:
    return f"{row.http} {row.path}"


@pytest.mark.parametrize("row", ROWS, ids=key)
def test_a_stranger_gets_nothing_from_any_method_and_learns_nothing(
    server: Server, http: httpx.Client, bucket: str, row: Method
) -> None:
    upload(http, bucket, "secret", b"secret")
    params = {"project": server.project} if "project" in row.query else {}
    body = b"{}" if row.http in ("POST", "PUT", "PATCH") else b""
    with server.http("user:stranger@example.com") as stranger, server.http(None) as nobody:
        there = stranger.request(row.http, address(row, server, bucket), params=params, content=body)
        missing = stranger.request(row.http, address(row, server, "no-such-bucket"), params=params, content=body)
        assert nobody.request(row.http, address(row, server, bucket), params=params, content=body).status_code == 401
    if isinstance(row.requires, Authenticated):
        assert (there.status_code, there.text) == (missing.status_code, missing.text)
        return
    assert there.status_code == 403, there.text
    assert missing.status_code == 403
    assert there.text.replace(bucket, "no-such-bucket") == missing.text
    assert b"secret" not in there.content


def test_a_bucket_of_another_project_is_out_of_reach_for_an_owner(
    server: Server, http: httpx.Client, bucket: str
) -> None:
    upload(http, bucket, "secret", b"secret")
    with server.http("user:neighbour@example.com") as neighbour:
        for path in (f"/storage/v1/b/{bucket}", f"/storage/v1/b/{bucket}/o", path_of(bucket, "secret")):
            assert neighbour.get(path).status_code == 403


def test_a_creator_may_add_objects_and_neither_read_replace_nor_delete(
    server: Server, http: httpx.Client, bucket: str
) -> None:
    give(http, bucket, objectCreator=WRITER)
    with server.http(WRITER) as writer:
        assert upload(writer, bucket, "new", b"1").status_code == 200
        again = upload(writer, bucket, "new", b"2")
        assert again.status_code == 403
        assert "storage.objects.delete" in again.json()["error"]["message"]
        opened = writer.post(f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=new")
        assert opened.status_code == 403
        url = start(writer, bucket, "later")
        upload(http, bucket, "later", b"owner's")
        assert writer.put(url, content=b"writer's").status_code == 403
        assert media(writer, bucket, "new").status_code == 403
        assert writer.delete(path_of(bucket, "new")).status_code == 403
        assert writer.patch(path_of(bucket, "new"), json={}).status_code == 403
        assert writer.get(f"/storage/v1/b/{bucket}/o").status_code == 403
        assert (
            writer.post(path_of(bucket, "copy", "/compose"), json={"sourceObjects": [{"name": "new"}]}).status_code
            == 403
        )
        assert writer.post(path_of(bucket, "new", f"/rewriteTo/b/{bucket}/o/copy")).status_code == 403
        assert writer.post(path_of(bucket, "new", "/moveTo/o/moved")).status_code == 403
    assert (media(http, bucket, "new").content, media(http, bucket, "later").content) == (b"1", b"owner's")


def test_copying_needs_reading_there_and_creating_here(server: Server, http: httpx.Client, bucket: str) -> None:
    other = f"{bucket}-from"
    assert http.post(f"/storage/v1/b?project={server.project}", json={"name": other}).status_code == 200
    upload(http, other, "a", b"1")
    url = path_of(other, "a", f"/rewriteTo/b/{bucket}/o/a")
    with server.http(WRITER) as writer:
        give(http, bucket, objectCreator=WRITER)
        denied = writer.post(url)
        assert denied.status_code == 403
        assert f"buckets/{other}" in denied.json()["error"]["message"]
        give(http, other, objectViewer=WRITER)
        assert writer.post(url).status_code == 200
        give(http, bucket, objectViewer=WRITER)
        assert writer.post(url).status_code == 403


def test_a_reader_may_read_and_list_and_nothing_else(server: Server, http: httpx.Client, bucket: str) -> None:
    give(http, bucket, objectViewer=READER)
    upload(http, bucket, "a", b"1")
    with server.http(READER) as reader:
        assert media(reader, bucket, "a").content == b"1"
        assert reader.get(f"/storage/v1/b/{bucket}/o").status_code == 200
        assert upload(reader, bucket, "b", b"1").status_code == 403
        assert reader.delete(path_of(bucket, "a")).status_code == 403
        assert reader.get(f"/storage/v1/b/{bucket}").status_code == 403
        assert reader.put(f"/storage/v1/b/{bucket}/iam", json={"bindings": []}).status_code == 403


def test_a_bucket_made_again_under_an_old_name_has_none_of_its_grants(
    server: Server, http: httpx.Client, bucket: str
) -> None:
    give(http, bucket, objectAdmin=WRITER)
    assert http.delete(f"/storage/v1/b/{bucket}").status_code == 204
    with server.http(WRITER) as writer:
        assert upload(writer, bucket, "a", b"1").status_code == 403
        assert http.post(f"/storage/v1/b?project={server.project}", json={"name": bucket}).status_code == 200
        assert upload(writer, bucket, "a", b"1").status_code == 403


def test_permissions_are_tested_one_by_one_and_wildcards_refused(
    server: Server, http: httpx.Client, bucket: str
) -> None:
    give(http, bucket, objectViewer=READER)
    url = f"/storage/v1/b/{bucket}/iam/testPermissions"
    asked = {"permissions": ["storage.objects.get", "storage.objects.delete", "storage.objects.get", "no.such.thing"]}
    with server.http(READER) as reader:
        assert reader.get(url, params=asked).json()["permissions"] == ["storage.objects.get"]
        assert "permissions" not in reader.get(url.replace(bucket, "no-such-bucket"), params=asked).json()
        assert reader.get(url, params={"permissions": "storage.*"}).status_code == 400
        assert reader.get(url).status_code == 400


def test_a_policy_has_storages_own_form(server: Server, http: httpx.Client, bucket: str) -> None:
    give(http, bucket, objectViewer=READER)
    policy = http.get(f"/storage/v1/b/{bucket}/iam", params={"optionsRequestedPolicyVersion": 3}).json()
    assert policy.pop("etag")
    assert policy == {
        "kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket}", "version": 1,
        "bindings": [{"role": "roles/storage.objectViewer", "members": [READER]}],
    }  # fmt: skip
    url = f"/storage/v1/b/{bucket}/iam"
    assert http.get(url, params={"optionsRequestedPolicyVersion": 2}).status_code == 400
    for role in ("roles/ml.modelUser", "roles/owner", "roles/none", "projects/p/roles/x"):
        assert http.put(url, json={"bindings": [{"role": role, "members": [READER]}]}).status_code == 400, role
    assert http.put(url, json={"bindings": [{"role": "roles/storage.admin", "members": ["ada"]}]}).status_code == 400
    assert http.put(url, json={"bindings": [], "etag": "AAAA"}).status_code == 409


@pytest.mark.parametrize("name", ["ab", "A-bucket", "goog-x", "1.2.3.4", "a_b-", "-ab", "a/b", "a..b", "x" * 64, ""])
def test_a_bucket_name_that_storage_forbids_is_refused(server: Server, http: httpx.Client, name: str) -> None:
    assert http.post(f"/storage/v1/b?project={server.project}", json={"name": name}).status_code == 400


@pytest.mark.parametrize("bucket_id", ["%2E%2E", "a%2Fb", "%00", "a%0Ab", "%F0%9F%98%80", "b%2Fo%2Fx", "a:b"])
def test_an_odd_bucket_in_the_path_is_denied_like_any_other(http: httpx.Client, bucket_id: str) -> None:
    assert http.get(f"/storage/v1/b/{bucket_id}/o").status_code in (400, 403, 404)
    upload = http.post(f"/upload/storage/v1/b/{bucket_id}/o?uploadType=media&name=a", content=b"x")
    assert upload.status_code in (400, 404)


def test_an_absent_bucket_is_not_found_for_who_may_create_buckets_and_denied_for_others(
    server: Server, http: httpx.Client
) -> None:
    assert http.get("/storage/v1/b/never-made/o").status_code == 404
    assert server.http("user:stranger@example.com").get("/storage/v1/b/never-made/o").status_code == 403


def test_what_is_shared_with_all_users_needs_no_token(server: Server, http: httpx.Client) -> None:
    http.post("/storage/v1/b", params={"project": server.project}, json={"name": "open-to-all"}).raise_for_status()
    where = {"uploadType": "media", "name": "a"}
    http.post("/upload/storage/v1/b/open-to-all/o", params=where, content=b"hello").raise_for_status()
    anonymous = server.http(None)
    assert anonymous.get("/storage/v1/b/open-to-all/o/a?alt=media").status_code == 401
    binding = {"role": "roles/storage.objectViewer", "members": ["allUsers"]}
    http.put("/storage/v1/b/open-to-all/iam", json={"bindings": [binding]}).raise_for_status()
    assert anonymous.get("/storage/v1/b/open-to-all/o/a?alt=media").content == b"hello"
    assert anonymous.delete("/storage/v1/b/open-to-all/o/a").status_code == 401


@pytest.mark.parametrize(
    ("params", "status"), [({"prefix": "\x00"}, 400), ({"maxResults": -1}, 400), ({"pageToken": "x"}, 400)]
)
def test_a_list_of_buckets_answers_odd_parameters(
    server: Server, http: httpx.Client, params: dict[str, str], status: int
) -> None:
    assert http.get("/storage/v1/b", params={"project": server.project, **params}).status_code == status


def test_no_bucket_is_made_without_a_project(http: httpx.Client) -> None:
    assert http.post("/storage/v1/b", json={"name": "without-project"}).status_code == 403
    assert http.post("/storage/v1/b?project=no-such-project", json={"name": "without-project"}).status_code == 403


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_multipart_boundary_may_stand_in_quotes_of_either_kind(
    server: Server, http: httpx.Client, bucket: str, quote: str
) -> None:
    body = b'--==9==\r\nContent-Type: application/json\r\n\r\n{"name": "q"}\r\n--==9==\r\n\r\nhello\r\n--==9==--'
    headers = {"Content-Type": f"multipart/related; boundary={quote}==9=={quote}"}
    answer = http.post(f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert http.get(f"/storage/v1/b/{bucket}/o/q?alt=media").content == b"hello"
