"""Batch predictions in a project that has models for them: XGBoost files in a bucket, deployed or not."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from typing import Any

import joblib
import numpy
import xgboost

from tests.http.deployed import deploy, share
from tests.jobs.programs import Lab, sdist

FEATURES = 4


class BatchLab(Lab):
    """Jobs by `predict`; their outputs as rows."""

    def put_models(self) -> None:
        """One model in the bucket, `trained` its Booster, and model `m` with version `v1` that serves it."""
        number = self.api.done(self.owner, "GET", self.path)["projectNumber"]
        agent = f"serviceAccount:service-{number}@cloud-ml.google.com.iam.gserviceaccount.com"
        share(self.api, f"/storage/v1/b/{self.bucket}", "roles/storage.objectAdmin", agent)
        random = numpy.random.default_rng(3)
        rows = random.standard_normal((200, FEATURES))
        labels = (rows[:, 0] > rows[:, 1]).astype(int)
        self.trained = xgboost.XGBClassifier(n_estimators=4, max_depth=3).fit(rows, labels).get_booster()
        self.upload("model/model.bst", bytes(self.trained.save_raw("ubj")))
        self.api.done(self.owner, "POST", f"{self.path}/models", {"name": "m"})
        made = deploy(self.api, f"{self.path}/models/m", "v1", self.model_uri)
        assert "error" not in made, made

    @property
    def model_uri(self) -> str:
        return f"gs://{self.bucket}/model"

    def deploy_custom(self, model: str, program: str, name: str) -> str:
        """A version with a class of its own; its full name."""
        self.upload(f"{model}-files/model.bst", bytes(self.trained.save_raw("ubj")))
        package = self.upload(f"{model}-code/own-0.1.tar.gz", sdist({"code.py": program}, name="own"))
        self.api.done(self.owner, "POST", f"{self.path}/models", {"name": model})
        made = deploy(
            self.api, f"{self.path}/models/{model}", "v1", f"gs://{self.bucket}/{model}-files",
            packageUris=[package], predictionClass=f"own.code.{name}",
        )  # fmt: skip
        assert "error" not in made, made
        return f"projects/{self.project_id}/models/{model}/versions/v1"

    def deploy_sklearn(self, model: str, trained: Any) -> str:
        buffer = io.BytesIO()
        joblib.dump(trained, buffer)
        self.upload(f"{model}-files/model.joblib", buffer.getvalue())
        self.api.done(self.owner, "POST", f"{self.path}/models", {"name": model})
        made = deploy(self.api, f"{self.path}/models/{model}", "v1", f"gs://{self.bucket}/{model}-files")
        assert "error" not in made, made
        return f"projects/{self.project_id}/models/{model}/versions/v1"

    def begin(self, paths: Sequence[str] | str, **given: Any) -> str:
        """The id of a new job that writes to a folder of its own name."""
        self._count += 1
        job_id = f"batch_{self._count}"
        if not given.keys() & {"modelName", "versionName", "uri"}:
            given["versionName"] = f"projects/{self.project_id}/models/m/versions/v1"
        body = {
            "inputPaths": [paths] if isinstance(paths, str) else list(paths), "dataFormat": "JSON",
            "outputPath": f"gs://{self.bucket}/out/{job_id}", "region": "us-central1", **given,
        }  # fmt: skip
        self.api.done(self.owner, "POST", f"{self.path}/jobs", {"jobId": job_id, "predictionInput": body})
        return job_id

    def predict(self, paths: Sequence[str] | str, **given: Any) -> dict[str, Any]:
        """The job at its end."""
        return self.wait(self.begin(paths, **given), seconds=300)

    def outputs(self, job_id: str) -> dict[str, str]:
        """The files that a job wrote, by their names."""
        prefix = f"out/{job_id}/"
        found = self.api.done(self.owner, "GET", f"/storage/v1/b/{self.bucket}/o?prefix={prefix}").get("items", [])
        return {each["name"].removeprefix(prefix): self.download(each["name"]).decode() for each in found}

    def download(self, name: str) -> bytes:
        path = f"/storage/v1/b/{self.bucket}/o/{name.replace('/', '%2F')}?alt=media"
        response = self.api(self.owner, "GET", path)
        assert response.status_code == 200, response.text
        return bytes(response.content)

    def results(self, job_id: str) -> list[Any]:
        """All predictions, in the order of the files."""
        return [json.loads(line) for line in self._lines(job_id, "results")]

    def errors(self, job_id: str) -> list[Any]:
        return [json.loads(line) for line in self._lines(job_id, "errors_stats")]

    def _lines(self, job_id: str, kind: str) -> list[str]:
        files = {name: text for name, text in self.outputs(job_id).items() if f".{kind}-" in name}
        counts = {int(name[-5:]) for name in files}
        assert counts == {len(files)}, files.keys()
        assert all(re.fullmatch(rf"prediction\.{kind}-\d{{5}}-of-\d{{5}}", name) for name in files)
        return [line for name in sorted(files) for line in files[name].splitlines()]

    def expected(self, rows: Any) -> list[float]:
        found: list[float] = self.trained.inplace_predict(numpy.asarray(rows, dtype=float)).tolist()
        return found


def rows_of(count: int, seed: int = 5) -> list[list[float]]:
    made: list[list[float]] = numpy.random.default_rng(seed).standard_normal((count, FEATURES)).round(4).tolist()
    return made


def json_lines(rows: Sequence[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode()


def counts(job: dict[str, Any]) -> tuple[str, int, int]:
    told = job["predictionOutput"]
    return job["state"], int(told["predictionCount"]), int(told["errorCount"])
