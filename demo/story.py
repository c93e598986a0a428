"""The story: Ada deploys a model, shares it with Bob and with a service, and takes Bob's access back; Eve stays out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from demo.people import Person
from demo.place import OWNER, PROJECT, Place
from demo.transcript import Transcript, Unexpected

MODEL, BUCKET = "breast_cancer", "ada-models"
BOB, EVE = "user:bob@example.com", "user:eve@example.com"
ROBOT = f"screening@{PROJECT}.iam.gserviceaccount.com"
USER = "roles/ml.modelUser"
PREDICT = ("predict", "--model", MODEL, "--json-instances", "instances.json", "--format", "value(predictions)")


def tell(place: Place, transcript: Transcript) -> None:
    """The whole story. Raises Unexpected at the first step that does not go as it must."""
    started = time.monotonic()
    place.initialize()
    place.serve()
    transcript.chapter("Ada trains a model, and a server starts")
    expected = train(place.root, transcript)  # while the server starts
    ada, bob, eve = (
        Person(name, place, transcript, place.token(principal))
        for name, principal in (("Ada", OWNER), ("Bob", BOB), ("Eve", EVE))
    )
    place.ready()
    _say_started(place, transcript, time.monotonic() - started)
    instances = {"instances": [json.loads(line) for line in (place.root / "instances.json").read_text().splitlines()]}

    def right(output: str) -> str:
        answered = json.loads(output)
        return "" if answered == expected else f"predicted {answered}; the fitted pipeline says {expected}"

    deploy(ada, right)
    transcript.chapter("Nobody else may use it")
    eve.is_refused(*PREDICT, verdict="403: Eve has no role on it")
    bob.is_refused(*PREDICT, verdict="403: neither has Bob, yet")

    transcript.chapter("Ada shares it with Bob")
    ada.runs(*_binding("add", BOB), check=_has(BOB), verdict="Bob may read the model and predict with it")
    bob.runs(*PREDICT, check=right, verdict="200: Bob gets the predictions of Ada's own pipeline")

    share_with_service(ada, place, transcript, right)

    transcript.chapter("Ada takes Bob's access back")
    ada.runs(*_binding("remove", BOB), check=_has_not(BOB), verdict="Bob is out")
    path = f"v1/projects/{PROJECT}/models/{MODEL}:predict"
    bob.calls(path, instances, 403, "on his very next call")
    ada.calls(path, instances, 200, "and Ada goes on")
    eve.is_refused("models", "get-iam-policy", MODEL, verdict="403: a stranger cannot even see who has access")


def train(root: Path, transcript: Transcript) -> list[int]:
    """Fit a pipeline on real data and save it; what it predicts for the instances that the story sends."""
    started = time.monotonic()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a small fit: more threads would only wait for each other
    import joblib
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data, target = load_breast_cancer(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(data, target, random_state=0)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(train_x, train_y)
    accuracy = pipeline.score(test_x, test_y)
    (root / "model").mkdir()
    joblib.dump(pipeline, root / "model" / "model.joblib")
    instances = test_x[:4]
    (root / "instances.json").write_text("".join(json.dumps(row) + "\n" for row in instances.tolist()))
    transcript.command("Ada", ["python", "train.py"])
    text = (
        f"StandardScaler + LogisticRegression on {len(train_x)} patients, {accuracy:.1%} right on {len(test_x)} others"
    )
    transcript.expect(accuracy > 0.9, text, "wrote model/model.joblib", "90 %", time.monotonic() - started)
    return [int(label) for label in pipeline.predict(instances)]


def deploy(ada: Person, right: Any) -> None:
    ada.transcript.chapter("Ada deploys it")
    ada.runs("storage", "buckets", "create", f"gs://{BUCKET}", verdict="a bucket")
    ada.runs("storage", "cp", "-r", "model", f"gs://{BUCKET}/{MODEL}/v1", verdict="the file is up")
    ada.runs("models", "create", MODEL, "--description", "Benign or malignant?", verdict="a model, owned by Ada")
    origin = f"gs://{BUCKET}/{MODEL}/v1"
    ada.runs(
        "versions", "create", "v1", "--model", MODEL, "--origin", origin, "--framework", "scikit-learn",
        check=lambda output: "" if "state: READY" in output else output, verdict="deployed: loaded once, and READY",
    )  # fmt: skip
    ada.runs(*PREDICT, check=right, verdict="200: the same numbers as the fitted pipeline")


def share_with_service(ada: Person, place: Place, transcript: Transcript, right: Any) -> None:
    transcript.chapter("Ada shares it with a service, which has a key file")
    account = ("iam", "service-accounts")
    ada.runs(*account, "create", ROBOT.partition("@")[0], verdict="an account for a program", show=False)
    ada.runs(*account, "keys", "create", "key.json", "--iam-account", ROBOT, verdict="key.json, for its owner alone")
    member = f"serviceAccount:{ROBOT}"
    ada.runs(*_binding("add", member), check=_has(member), verdict="the service may predict")
    robot = Person("robot", place, transcript)
    robot.runs("auth", "login", "--key-file", "key.json", verdict="signed a JWT, got a token for an hour")
    robot.runs(*PREDICT, check=right, verdict="200: the service gets them too")


def _binding(verb: str, member: str) -> tuple[str, ...]:
    return ("models", f"{verb}-iam-policy-binding", MODEL, "--member", member, "--role", USER)


def _has(member: str) -> Any:
    return lambda output: "" if f"- {member}\n" in output else f"{member} is not in the policy:\n{output}"


def _has_not(member: str) -> Any:
    return lambda output: f"{member} is still in the policy:\n{output}" if member in output else ""


def _say_started(place: Place, transcript: Transcript, seconds: float) -> None:
    transcript.command("admin", "mlgate admin init --owner user:ada@example.com --project demo-project && mlgate serve")
    confined = f"model code is confined by {place.sandbox}"
    if place.sandbox in ("none", "off"):
        if place.sandbox == "none":
            place.restart_without_sandbox()
        confined = "model code runs UNCONFINED: this machine offers no sandbox, and the demo's model is its own"
    transcript.expect(bool(place.url), confined, f"serving on {place.url}", "a server", seconds)


__all__ = ["Unexpected", "tell"]
