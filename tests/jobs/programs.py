"""Packaged training programs, as people upload them, and a project that is ready to run them."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.harness import OWNER
from tests.http.people import Api

RUNTIME = {"runtimeVersion": "2.11", "pythonVersion": "3.7"}
ENDS = ("SUCCEEDED", "FAILED", "CANCELLED")
#: Generous: the machine may be busy.
SECONDS = 120.0


def sdist(files: Mapping[str, str], name: str = "trainer", version: str = "0.1", requires: str = "") -> bytes:
    """A source archive as `setup.py sdist` makes it, of modules by their path."""
    root = f"{name}-{version}"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        "PKG-INFO": head,
        "setup.py": f"from setuptools import setup; setup(name={name!r}, packages=[{name!r}])\n",
        f"{name}.egg-info/PKG-INFO": head,
        f"{name}.egg-info/top_level.txt": f"{name}\n",
        f"{name}.egg-info/requires.txt": requires,
        f"{name}/__init__.py": "",
        **{f"{name}/{path}": text for path, text in files.items()},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in contents.items():
            info = tarfile.TarInfo(f"{root}/{path}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class Lab:
    """A project with a bucket, in which programs are run."""

    api: Api
    project_id: str
    owner: str = OWNER
    _count: int = 0
    _uploaded: dict[bytes, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/v1/projects/{self.project_id}"

    @property
    def bucket(self) -> str:
        return f"{self.project_id}-files"

    def make(self) -> Lab:
        self.api.new_project(self.project_id, self.owner)
        self.api.done(self.owner, "POST", f"/storage/v1/b?project={self.project_id}", {"name": self.bucket})
        return self

    def upload(self, name: str, data: bytes) -> str:
        """An object's gs:// address."""
        query = {"uploadType": "media", "name": name}
        response = self.api.client.post(
            f"/upload/storage/v1/b/{self.bucket}/o", params=query, content=data,
            headers={"Authorization": f"Bearer {self.api.bearers[self.owner]}"},
        )  # fmt: skip
        assert response.status_code == 200, response.text
        return f"gs://{self.bucket}/{name}"

    def package(self, program: str | bytes) -> str:
        """The address of a package whose trainer/task.py is this program."""
        data = program if isinstance(program, bytes) else sdist({"task.py": program})
        if data not in self._uploaded:
            self._uploaded[data] = self.upload(f"packages/{len(self._uploaded)}/trainer-0.1.tar.gz", data)
        return self._uploaded[data]

    def submit(self, program: str | bytes, *args: str, job_id: str = "", **training: Any) -> str:
        """The id of a new job."""
        self._count += 1
        job_id = job_id or f"job_{self._count}"
        given = {
            "scaleTier": "BASIC", "region": "us-central1", "pythonModule": "trainer.task", "args": list(args),
            "packageUris": [self.package(program)], **RUNTIME, **training,
        }  # fmt: skip
        self.api.done(self.owner, "POST", f"{self.path}/jobs", {"jobId": job_id, "trainingInput": given})
        return job_id

    def get(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.api.done(self.owner, "GET", f"{self.path}/jobs/{job_id}")
        return job

    def wait(self, job_id: str, *states: str, seconds: float = SECONDS) -> dict[str, Any]:
        """The job once it is in one of the states, by default one of the ends."""
        until = time.monotonic() + seconds
        while True:
            job = self.get(job_id)
            if job["state"] in (states or ENDS):
                return job
            ended = job["state"] in ENDS
            assert not ended, f"{job_id} is {job['state']}: {job.get('errorMessage')}\n{self.log(job_id)}"
            assert time.monotonic() < until, f"{job_id} is still {job['state']}\n{self.log(job_id)}"
            time.sleep(0.05)

    def run(self, program: str | bytes, *args: str, **training: Any) -> dict[str, Any]:
        return self.wait(self.submit(program, *args, **training))

    def entries(self, job_id: str, *more: str) -> list[dict[str, Any]]:
        """The job's log, all pages."""
        wanted = " AND ".join(['resource.type="ml_job"', f'resource.labels.job_id="{job_id}"', *more])
        asked: dict[str, Any] = {"resourceNames": [f"projects/{self.project_id}"], "filter": wanted, "pageSize": 1000}
        found: list[dict[str, Any]] = []
        while True:
            page = self.api.done(self.owner, "POST", "/v2/entries:list", asked)
            found += page.get("entries", [])
            if not page.get("nextPageToken"):
                return found
            asked["pageToken"] = page["nextPageToken"]

    def lines(self, job_id: str, task: str = "master-replica-0") -> list[str]:
        """What a task printed."""
        entries = self.entries(job_id, f'resource.labels.task_name="{task}"')
        return [entry.get("textPayload", "") for entry in entries]

    def log(self, job_id: str) -> str:
        return "\n".join(
            f"{e['resource']['labels']['task_name']}: {e.get('textPayload')}" for e in self.entries(job_id)
        )

    def until_line(self, job_id: str, text: str, seconds: float = SECONDS) -> None:
        """Wait until a line of the master's holds a text."""
        until = time.monotonic() + seconds
        while not any(text in line for line in self.lines(job_id)):
            is_over = time.monotonic() > until or self.get(job_id)["state"] in ENDS
            assert not is_over, f"no {text!r} in the log of {job_id}:\n{self.log(job_id)}"
            time.sleep(0.05)
