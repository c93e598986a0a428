"""Training jobs on a real server: packages are installed, run confined, logged, cancelled and limited."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mlgate.core.wire import page_token
from tests.harness import Server
from tests.http.people import Api, error_of, writing
from tests.jobs.programs import Lab, sdist


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    server = Server(tmp_path_factory.mktemp("jobs") / "data", settings={"MLGATE_RUNNER_SLOTS": "4"})
    with Api(server.initialize().start()) as api:
        yield Lab(api, "jobs-lab").make()
    server.close()


HELLO = """
import json, os, sys
print("arguments", json.dumps(sys.argv[1:]))
print("name", __name__)
print("told", json.dumps({name: os.environ[name] for name in ("CLOUD_ML_JOB_ID", "TF_CONFIG", "CLOUD_ML_JOB")}))
print("to the other", file=sys.stderr)
"""


def test_a_job_runs_and_says_what_it_did(lab: Lab) -> None:
    job = lab.run(HELLO, "--epochs", "3", jobDir=f"gs://{lab.bucket}/out")
    assert job["state"] == "SUCCEEDED", lab.log(job["jobId"])
    assert job["createTime"] < job["startTime"] < job["endTime"]
    assert job["trainingInput"]["args"] == ["--epochs", "3"]
    lines = lab.lines(job["jobId"])
    assert f'arguments ["--epochs", "3", "--job-dir", "gs://{lab.bucket}/out"]' in lines
    assert "name __main__" in lines
    told = json.loads(next(line for line in lines if line.startswith("told ")).removeprefix("told "))
    assert told["CLOUD_ML_JOB_ID"] == job["jobId"]
    assert json.loads(told["TF_CONFIG"])["task"] == {"type": "chief", "index": 0}
    assert json.loads(told["CLOUD_ML_JOB"])["trainingInput"] == job["trainingInput"]


# how jobs end


def test_a_program_that_fails_fails_the_job_and_its_last_words_are_told(lab: Lab) -> None:
    job = lab.run("import sys\nprint('all is well')\nraise RuntimeError('no data today')")
    assert job["state"] == "FAILED"
    assert "The replica master-replica-0 exited with a non-zero status of 1." in job["errorMessage"]
    assert "RuntimeError: no data today" in job["errorMessage"]
    assert "all is well" not in job["errorMessage"]
    assert {"startTime", "endTime"} <= job.keys()
    error = lab.entries(job["jobId"], "severity>=ERROR", 'textPayload:"RuntimeError*"')
    assert [entry["textPayload"] for entry in error] == ["RuntimeError: no data today"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was killed (signal 9)"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by signal 11"),
        ("import sys; sys.exit(7)", "exited with a non-zero status of 7"),
        ("x = bytearray(50 << 30)", "MemoryError"),
        (sdist({"other.py": ""}), "No module named trainer.task"),
        (sdist({"task.py": "print(1)"}, name="another"), "No module named 'trainer'"),
        (b"this is no archive", "the package trainer-0.1.tar.gz cannot be unpacked"),
    ],
    ids=["killed", "crashed", "exit code", "memory", "no module", "no package", "no archive"],
)
def test_how_it_failed_is_said(lab: Lab, program: str | bytes, said: str) -> None:
    job = lab.run(program)
    assert (job["state"], said in job["errorMessage"]) == ("FAILED", True), job["errorMessage"]


def test_a_package_that_is_not_there_fails_the_job_before_it_runs(lab: Lab) -> None:
    missing = f"gs://{lab.bucket}/packages/none-0.1.tar.gz"
    job = lab.run("", packageUris=[missing])
    assert (job["state"], job["errorMessage"]) == ("FAILED", f"The package {missing} of packageUris does not exist.")
    assert "startTime" not in job


def test_a_bucket_that_the_service_agent_may_not_read_fails_the_job(lab: Lab) -> None:
    elsewhere = Lab(lab.api, "jobs-elsewhere").make()
    job = lab.run("", packageUris=[elsewhere.package("print(1)")])
    assert job["state"] == "FAILED"
    assert "lacks storage.objects.list on bucket jobs-elsewhere-files" in job["errorMessage"]


FAMILY = """
import os, signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["polite", "stubborn"])
def test_cancel_reaches_a_running_program_and_its_children(lab: Lab, how: str) -> None:
    job_id = lab.submit(FAMILY, how)
    lab.until_line(job_id, "up")
    assert lab.get(job_id)["state"] == "RUNNING"
    assert lab.api.done(lab.owner, "POST", f"{lab.path}/jobs/{job_id}:cancel", {}) == {}
    assert lab.get(job_id)["state"] in ("CANCELLING", "CANCELLED")
    job = lab.wait(job_id)
    assert (job["state"], job["errorMessage"]) == ("CANCELLED", f"The job was cancelled by {lab.owner}.")
    assert error_of(lab.api(lab.owner, "POST", f"{lab.path}/jobs/{job_id}:cancel", {}))["code"] == 400
    assert not processes_of(lab, job_id)


def processes_of(lab: Lab, job_id: str) -> list[str]:
    """Command lines of this machine's processes that name the job's folder."""
    with writing(lab.api.server) as tx:
        uid = tx.get(f"projects/{lab.project_id}/jobs/{job_id}").uid
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            text = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [text] if f"/jobs/{uid}" in text else []
    return found


def test_a_job_that_runs_too_long_is_cancelled(lab: Lab) -> None:
    job = lab.run("import time; time.sleep(600)", scheduling={"maxRunningTime": "1s"})
    assert (job["state"], job["errorMessage"]) == ("CANCELLED", "The job ran longer than its maxRunningTime.")


def test_a_program_that_ends_well_leaves_no_child_behind(lab: Lab) -> None:
    job = lab.run("import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)")
    assert job["state"] == "SUCCEEDED"
    assert not processes_of(lab, job["jobId"])


# logs


def test_every_line_is_logged_once_in_order_with_its_stream(lab: Lab) -> None:
    program = """
import sys
for n in range(3000):
    print("line", n, file=sys.stderr if n % 3 == 0 else sys.stdout)
sys.stdout.write("x" * 40000 + "\\n" + "no end of line")
"""
    job_id = lab.run(program)["jobId"]
    entries = lab.entries(job_id, 'resource.labels.task_name="master-replica-0"')
    lines = [entry for entry in entries if entry["textPayload"].startswith("line ")]
    assert sorted(int(entry["textPayload"].split()[1]) for entry in lines) == list(range(3000))
    for severity, rest in (("ERROR", (0,)), ("INFO", (1, 2))):
        mine = [int(e["textPayload"].split()[1]) for e in lines if e["severity"] == severity]
        assert mine == [n for n in range(3000) if n % 3 in rest]
    texts = [entry["textPayload"] for entry in entries]
    assert sum(text.count("x") for text in texts if set(text) == {"x"}) == 40000
    assert "no end of line" in texts
    places = [(entry["timestamp"], entry["insertId"]) for entry in entries]
    assert len(set(places)) == len(places)


def test_the_service_says_what_becomes_of_the_job(lab: Lab) -> None:
    job_id = lab.run("")["jobId"]
    said = lab.lines(job_id, "service")
    assert said[0] == f"Job {job_id} is queued."
    assert [line for line in said if line.startswith("Job ")][1:] == [
        "Job is preparing.",
        "Job is running.",
        "Job completed successfully.",
    ]


def test_an_unmodified_logging_client_streams_a_log_as_old_clients_do(lab: Lab) -> None:
    """The filters are those of `gcloud ai-platform jobs stream-logs`: by time and insertId from below, and by time."""
    job_id = lab.run("for n in range(300): print(n)")["jobId"]
    entries = lab.api.server.api("logging", version="v2").entries()
    base = f'resource.type="ml_job" AND resource.labels.job_id="{job_id}"'
    seen: list[dict[str, Any]] = []
    bound = 'timestamp>="1970-01-01T01:00:00.000000000Z"'
    while True:
        body = {
            "resourceNames": [f"projects/{lab.project_id}"], "orderBy": "timestamp asc", "pageSize": 37,
            "filter": f'{base} AND {bound} AND timestamp<"2100-01-01T00:00:00.000000+00:00"',
        }  # fmt: skip
        found = entries.list(body=body).execute().get("entries", [])
        if not found:
            break
        seen += found
        time, insert_id = found[-1]["timestamp"], found[-1]["insertId"]
        bound = f'((timestamp="{time}" AND insertId>"{insert_id}") OR timestamp>"{time}")'
    assert [e["textPayload"] for e in seen if e["textPayload"].isdigit()] == [str(n) for n in range(300)]
    assert seen[0]["resource"] == {
        "type": "ml_job",
        "labels": {"job_id": job_id, "project_id": lab.project_id, "task_name": "service"},
    }
    newest = entries.list(body={**body, "filter": base, "orderBy": "timestamp desc"}).execute()["entries"]
    assert newest == seen[::-1][: len(newest)]


def test_a_log_needs_the_right_to_read_that_job(lab: Lab) -> None:
    job_id = lab.run("print('secret')")["jobId"]
    friend, stranger = "user:friend@example.com", "user:stranger@example.com"
    bound = {"roles/ml.jobOwner": [lab.owner, friend]}
    assert lab.api.bind(f"{lab.path}/jobs/{job_id}", bound, by=lab.owner).is_success
    body = {"resourceNames": [f"projects/{lab.project_id}"], "filter": f'resource.labels.job_id="{job_id}"'}
    assert lab.api(stranger, "POST", "/v2/entries:list", body).status_code == 403
    assert lab.api.done(friend, "POST", "/v2/entries:list", body)["entries"]
    everything = {"resourceNames": [f"projects/{lab.project_id}"], "filter": 'resource.type="ml_job"'}
    assert lab.api.done(stranger, "POST", "/v2/entries:list", everything) == {}
    found = lab.api.done(friend, "POST", "/v2/entries:list", everything)["entries"]
    assert {entry["resource"]["labels"]["job_id"] for entry in found} == {job_id}


def test_requirements_that_are_not_met_are_said(lab: Lab) -> None:
    program = sdist({"task.py": "import numpy"}, requires="numpy==1.14\nno-such-thing>=2\nscikit-learn>=0.20\n")
    job = lab.run(program)
    assert job["state"] == "SUCCEEDED"
    said = lab.log(job["jobId"])
    assert "trainer asks for numpy==1.14; the runtime has " in said
    assert "trainer asks for no-such-thing>=2, which the runtime does not have and nothing installs." in said
    assert "scikit-learn" not in said.replace("scikit-learn 1", "")


# what a job can see


PRISON = """
import os, pathlib, socket
for name in ("mlgate.db", "lock"):
    for place in pathlib.Path(os.getcwd()).parents:
        assert not (place / name).exists(), place / name
secrets = [name for name, value in os.environ.items() if "mlgate_" in value]
print("tokens", secrets)
for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
    try:
        text = open(f"/proc/{pid}/environ", "rb").read() + open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        continue
    assert b"mlgate_" not in text, pid
try:
    siblings = os.listdir(os.path.join(os.getcwd(), "..", ".."))
except OSError as error:
    siblings = [str(error)]
print("siblings", len(siblings))
try:
    socket.create_connection(("127.0.0.1", PORT), 2)
    print("connected")
except OSError:
    print("no connection")
"""


def test_a_job_sees_no_token_no_server_and_no_other_job(lab: Lab) -> None:
    other = lab.submit("import time; print('up', flush=True); time.sleep(20)")
    lab.until_line(other, "up")
    job = lab.run(PRISON.replace("PORT", str(lab.api.server.port())))
    assert job["state"] == "SUCCEEDED", lab.log(job["jobId"])
    lines = lab.lines(job["jobId"])
    assert "tokens []" in lines
    assert "siblings 1" in lines
    assert "no connection" in lines
    lab.api.done(lab.owner, "POST", f"{lab.path}/jobs/{other}:cancel", {})


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("../../escape.py", tarfile.REGTYPE, "outside of its folder"),
        ("/etc/escape.py", tarfile.REGTYPE, "outside of its folder"),
        ("trainer-0.1/link", tarfile.SYMTYPE, "a link or a device"),
        ("trainer-0.1/link", tarfile.LNKTYPE, "a link or a device"),
        ("trainer-0.1/pipe", tarfile.FIFOTYPE, "a link or a device"),
    ],
    ids=["dots", "absolute", "symlink", "hard link", "pipe"],
)
def test_an_archive_that_reaches_out_is_refused(lab: Lab, name: str, kind: bytes, said: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    job = lab.run(buffer.getvalue())
    assert (job["state"], said in job["errorMessage"]) == ("FAILED", True), job["errorMessage"]


def test_an_archive_that_unpacks_to_a_bomb_is_refused(lab: Lab) -> None:
    job = lab.run(sdist({"task.py": "", "zeros": "\0" * (300 << 20)}))
    assert job["state"] == "FAILED"
    assert "bytes when unpacked" in job["errorMessage"]


def test_a_metrics_file_that_is_a_link_is_not_read(lab: Lab) -> None:
    program = "import os; os.symlink('/etc/passwd', os.environ['CLOUD_ML_HP_METRIC_FILE'])"
    assert lab.run(program)["state"] == "SUCCEEDED"


# clusters


CLUSTER = """
import json, os, socket, sys, time
config = json.loads(os.environ["TF_CONFIG"])
task, cluster = config["task"], config["cluster"]
print("i am", task["type"], task["index"], flush=True)
host, _, port = cluster[task["type"]][task["index"]].partition(":")
if task["type"] == "chief":
    for kind in ("worker", "ps"):
        for address in cluster[kind]:
            there, _, number = address.partition(":")
            for _ in range(300):
                try:
                    print("heard", socket.create_connection((there, int(number)), 5).recv(100).decode(), flush=True)
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                sys.exit("nobody at " + address)
else:
    server = socket.create_server((host, int(port)))
    connection, _ = server.accept()
    connection.sendall(f"{task['type']} {task['index']}".encode())
    connection.close()
    if len(sys.argv) > 1 and task["type"] == "worker" and task["index"] == 1:
        sys.exit(4)
    time.sleep(600)
"""
MACHINES = {
    "scaleTier": "CUSTOM", "masterType": "n1-standard-4", "workerType": "n1-standard-4", "workerCount": "2",
    "parameterServerType": "n1-standard-4", "parameterServerCount": "1",
}  # fmt: skip


def test_the_processes_of_a_cluster_find_each_other_and_end_with_the_master(lab: Lab) -> None:
    job = lab.run(CLUSTER, **MACHINES)
    assert job["state"] == "SUCCEEDED", lab.log(job["jobId"])
    heard = [line for line in lab.lines(job["jobId"]) if line.startswith("heard")]
    assert heard == ["heard worker 0", "heard worker 1", "heard ps 0"]
    assert lab.lines(job["jobId"], "worker-replica-1")[-1] == "i am worker 1"
    assert lab.lines(job["jobId"], "ps-replica-0")[-1] == "i am ps 0"
    assert not processes_of(lab, job["jobId"])


def test_a_worker_that_fails_fails_the_job(lab: Lab) -> None:
    program = CLUSTER.replace('for kind in ("worker", "ps")', 'for kind in ("worker",)') + "\ntime.sleep(600)\n"
    job = lab.run(program, "fail", **MACHINES)
    assert job["state"] == "FAILED"
    assert "The replica worker-replica-1 exited with a non-zero status of 4." in job["errorMessage"]


def test_a_job_reads_and_writes_its_buckets_as_its_own_account(lab: Lab) -> None:
    """With google-cloud-storage, unchanged; the service agent first, then an account of the job's own."""
    program = """
import sys
from google.cloud import storage
bucket = storage.Client().bucket(sys.argv[1])
print("read", bucket.blob("notes/in.txt").download_as_bytes().decode())
bucket.blob("notes/out.txt").upload_from_string("written")
"""
    lab.upload("notes/in.txt", b"something")
    job = lab.run(program, lab.bucket)
    assert job["state"] == "FAILED"
    assert "storage.objects.create" in lab.log(job["jobId"])
    assert "read something" in lab.lines(job["jobId"])
    account = lab.api.done(lab.owner, "POST", f"{lab.path}/serviceAccounts", {"accountId": "trainer"})["email"]
    policy = f"/storage/v1/b/{lab.bucket}/iam"
    bindings = lab.api.done(lab.owner, "GET", policy).get("bindings", [])
    bindings.append({"role": "roles/storage.objectAdmin", "members": [f"serviceAccount:{account}"]})
    lab.api.done(lab.owner, "PUT", policy, {"bindings": bindings})
    job = lab.run(program, lab.bucket, serviceAccount=account)
    assert job["state"] == "SUCCEEDED", lab.log(job["jobId"])
    assert lab.api(lab.owner, "GET", f"/storage/v1/b/{lab.bucket}/o/notes%2Fout.txt?alt=media").text == "written"


def test_a_page_token_of_ones_own_making_is_refused(lab: Lab) -> None:
    project = f"projects/{lab.project_id}"
    body = {"resourceNames": [project], "filter": "", "pageSize": 1}
    for after in ("x", "1 2", "", " "):
        mark = (lab.owner, "logging.entries.list", "", "timestamp asc", project)
        response = lab.api(lab.owner, "POST", "/v2/entries:list", {**body, "pageToken": page_token(after, *mark)})
        assert error_of(response)["code"] == 400
    for wrong in ({"orderBy": "severity"}, {"resourceNames": ["folders/1"]}, {"resourceNames": []}, {"pageSize": -1}):
        assert error_of(lab.api(lab.owner, "POST", "/v2/entries:list", {**body, **wrong}))["code"] == 400
    for wrong in ("colour:red", 'timestamp>="yesterday"', "((", "severity"):
        assert error_of(lab.api(lab.owner, "POST", "/v2/entries:list", {**body, "filter": wrong}))["code"] == 400
