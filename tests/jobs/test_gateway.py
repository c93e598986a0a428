"""Code of a job, unchanged, on the buckets and models of a real server: what the environment says is enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mlgate
from mlgate.adapters.hosts.sandbox import LOOPBACK, NONE, Sandbox, probe
from tests.harness import Server
from tests.jobs.confined import ACCOUNT, ConfinedJob

PUBLIC = "https://ml.example.com:8443"


@pytest.fixture(scope="module", params=["bubblewrap", "landlock", "loopback"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each way of confinement that this machine has."""
    found = probe(request.param, for_jobs=True)
    if found.mode == NONE:
        pytest.fail(found.reason)
    return found


@pytest.fixture(scope="module")
def bucket(server: Server, sandbox: Sandbox, worker_id: str) -> str:
    name = f"job-storage-{sandbox.mode}-{worker_id}"
    made = server.http().post("/storage/v1/b", params={"project": server.project}, json={"name": name})
    assert made.status_code == 200, made.text
    return name


@pytest.fixture(scope="module")
def job(server: Server, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfinedJob]:
    folder = tmp_path_factory.mktemp("job") / "folder"
    with ConfinedJob(sandbox, folder, server.url, server.token(), public_url=PUBLIC) as made:
        yield made


GOOGLE_CLOUD_STORAGE = """
import os, sys
from google.cloud import storage
client = storage.Client()
assert client.project == "demo-project", client.project
bucket = client.bucket(sys.argv[1])
bucket.blob("google/small.txt").upload_from_string("hello")
assert bucket.blob("google/small.txt").download_as_bytes() == b"hello"
large = os.urandom(9 << 20)
blob = bucket.blob("google/large", chunk_size=4 << 20)  # in a session, in three parts
blob.upload_from_string(large)
blob = bucket.get_blob("google/large")
assert blob.download_as_bytes() == large
assert blob.download_as_bytes(start=5, end=9) == large[5:10]
open("large", "wb").write(large)
bucket.blob("google/file").upload_from_filename("large")
bucket.blob("google/file").download_to_filename("again")
assert open("again", "rb").read() == large
names = [b.name for b in client.list_blobs(bucket, prefix="google/")]
assert names == ["google/file", "google/large", "google/small.txt"]
with client.batch():
    bucket.blob("google/file").delete()
    bucket.blob("google/large").delete()
assert [b.name for b in bucket.list_blobs(prefix="google/")] == ["google/small.txt"]
bucket.rename_blob(bucket.blob("google/small.txt"), "google/renamed ö%/.txt")
assert bucket.blob("google/renamed ö%/.txt").exists()
assert not bucket.blob("google/small.txt").exists()
"""


def test_google_cloud_storage_works_unchanged(job: ConfinedJob, bucket: str) -> None:
    job.run(GOOGLE_CLOUD_STORAGE, bucket)


GCSFS = """
import os, sys
import fsspec, gcsfs
data = os.urandom(9 << 20)
files = gcsfs.GCSFileSystem()
place = sys.argv[1] + "/gcsfs"
with files.open(place + "/data", "wb") as file:
    file.write(data)
assert files.cat(place + "/data") == data
assert files.cat_file(place + "/data", start=3, end=9) == data[3:9]
assert files.ls(place) == [place + "/data"]
with fsspec.open("gs://" + place + "/table.csv", "w") as file:
    file.write("a,b\\n1,2\\n")
with fsspec.open("gs://" + place + "/table.csv") as file:
    assert file.read() == b"a,b\\n1,2\\n"
files.rm(place, recursive=True)
assert not files.exists(place + "/data")
"""


def test_gcsfs_works_unchanged(job: ConfinedJob, bucket: str) -> None:
    job.run(GCSFS, bucket)


PANDAS = """
import sys
import pandas
place = "gs://" + sys.argv[1] + "/frame.csv"
pandas.DataFrame({"a": range(1000)}).to_csv(place, index=False)
assert pandas.read_csv(place)["a"].sum() == 499500
"""


def test_pandas_reads_and_writes_buckets(job: ConfinedJob, bucket: str) -> None:
    job.run(PANDAS, bucket)


DEFAULT_CREDENTIALS = """
import sys
import google.auth, google.auth.transport.requests, googleapiclient.discovery
credentials, project = google.auth.default()
credentials.refresh(google.auth.transport.requests.Request())
print(project, credentials.service_account_email, credentials.token)
name = sys.argv[1]
with googleapiclient.discovery.build("ml", "v1") as ml:
    models = ml.projects().models()
    models.create(parent="projects/demo-project", body={"name": name}).execute()
    assert name in str(models.list(parent="projects/demo-project").execute())
    models.delete(name="projects/demo-project/models/" + name).execute()
with googleapiclient.discovery.build("storage", "v1") as storage:
    assert storage.objects().list(bucket=sys.argv[2]).execute()["kind"] == "storage#objects"
"""


def test_default_credentials_and_the_api_client_work_unchanged(job: ConfinedJob, bucket: str) -> None:
    if job.sandbox.mode == LOOPBACK:
        pytest.skip("httplib2 goes by proxies only where PySocks is: decision 012")
    told = job.run(DEFAULT_CREDENTIALS, f"by_job_{job.sandbox.mode}", bucket)
    assert told.split() == ["demo-project", ACCOUNT, "mlgate-job"]


COMPILED_IN = """
import sys, urllib.request
import requests
bucket, public = sys.argv[1:]
api = "https://www.googleapis.com/"
place = f"{api}upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=tls/x%20y"
begun = requests.post(place, json={})
assert begun.headers["Location"].startswith(api), begun.headers
data = bytes(range(256)) * 5000
assert requests.put(begun.headers["Location"], data=iter([data[:9], data[9:]])).status_code == 200
part = requests.get(f"https://storage.googleapis.com/{bucket}/tls/x%20y", headers={"Range": "bytes=0-9"})
assert (part.status_code, part.content) == (206, data[:10])
found = requests.get(f"https://storage.googleapis.com/storage/v1/b/{bucket}/o/tls%2Fx%20y").json()
assert requests.get(found["mediaLink"]).content == data, found["mediaLink"]
assert urllib.request.urlopen(f"{public}/storage/v1/b/{bucket}/o/tls%2Fx%20y?alt=media").read() == data
assert requests.get("http://metadata.google.internal/computeMetadata/v1/project/project-id",
                    headers={"Metadata-Flavor": "Google"}).text == "demo-project"
try:
    requests.get("https://storage.googleapis.com/", verify=__import__("certifi").where())
except requests.exceptions.SSLError:
    print("only by the job's own authority")
"""


def test_hosts_that_are_compiled_in_answer_over_tls(job: ConfinedJob, bucket: str) -> None:
    assert "only by the job's own authority" in job.run(COMPILED_IN, bucket, PUBLIC)


def test_our_own_command_line_copies(job: ConfinedJob, bucket: str, server: Server) -> None:
    source = str(Path(mlgate.__file__).parents[1])
    (job.work / "given").write_bytes(b"x" * 100_000)
    cli = ["-m", "mlgate.cli.main", "storage"]
    job.call([*cli, "cp", "given", f"gs://{bucket}/cli/"], [source], PYTHONPATH=source)
    assert "cli/given" in job.call([*cli, "ls", f"gs://{bucket}/cli/"], [source], PYTHONPATH=source)
    job.call([*cli, "cp", f"gs://{bucket}/cli/given", "back"], [source], PYTHONPATH=source)
    assert (job.work / "back").read_bytes() == b"x" * 100_000


def test_what_a_job_wrote_is_there_for_others(job: ConfinedJob, bucket: str, server: Server) -> None:
    code = """
import sys
from google.cloud import storage
storage.Client().bucket(sys.argv[1]).blob("o").upload_from_string(b"y" * 99)
"""
    job.run(code, bucket)
    with server.http() as http:
        assert http.get(f"/storage/v1/b/{bucket}/o/o", params={"alt": "media"}).content == b"y" * 99


def test_an_account_without_rights_is_told_so(server: Server, sandbox: Sandbox, bucket: str, tmp_path: Path) -> None:
    code = """
import sys
from google.cloud import storage
from google.api_core.exceptions import Forbidden
try:
    list(storage.Client().list_blobs(sys.argv[1]))
except Forbidden as error:
    print(error.message)
"""
    stranger = server.token("user:nobody@example.com")
    with ConfinedJob(sandbox, tmp_path / "job", server.url, stranger) as poor:
        assert "storage.objects.list" in poor.run(code, bucket)
