"""One study over HTTP, in few words, for tests."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from tests.harness import OWNER, PROJECT, Server

LOCATION = f"/v1/projects/{PROJECT}/locations/us-central1"
Json = dict[str, Any]


class Study:
    """A new study of one caller."""

    def __init__(self, server: Server, config: Json, who: str = OWNER) -> None:
        self.server, self.http = server, server.http(who)
        self.id = f"s{uuid.uuid4().hex[:12]}"
        self.path = f"{LOCATION}/studies/{self.id}"
        made = self.http.post(f"{LOCATION}/studies", params={"studyId": self.id}, json={"studyConfig": config})
        assert made.status_code == 200, made.text

    @property
    def state(self) -> str:
        return str(self.http.get(self.path).json()["state"])

    def ask(self, client: str = "c", count: int = 1) -> httpx.Response:
        return self.http.post(f"{self.path}/trials:suggest", json={"clientId": client, "suggestionCount": count})

    def operation(self, client: str = "c", count: int = 1) -> Json:
        """What suggest answers, which must be done."""
        answer = self.ask(client, count)
        assert answer.status_code == 200, answer.text
        operation: Json = answer.json()
        assert operation["done"] is True, operation
        return operation

    def suggest(self, client: str = "c", count: int = 1) -> list[Json]:
        return list(self.operation(client, count)["response"].get("trials", []))

    def call(self, trial: Json | int, verb: str, body: Json | None = None) -> httpx.Response:
        return self.http.post(f"{self.at(trial)}:{verb}", json=body or {})

    def done(self, trial: Json | int, verb: str, body: Json | None = None) -> Json:
        answer = self.call(trial, verb, body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def complete(self, trial: Json | int, value: float) -> Json:
        return self.done(trial, "complete", {"finalMeasurement": measurement(value)})

    def create(self, parameters: Json, **more: Any) -> httpx.Response:
        """A trial of one's own at numbers and texts."""
        return self.http.post(f"{self.path}/trials", json={"parameters": wire(parameters), **more})

    def trials(self) -> list[Json]:
        return list(self.http.get(f"{self.path}/trials").json().get("trials", []))

    def get(self, trial: Json | int) -> Json:
        return dict(self.http.get(self.at(trial)).json())

    def at(self, trial: Json | int) -> str:
        return f"{self.path}/trials/{trial if isinstance(trial, int) else number(trial)}"


def measurement(value: float, step: int | None = None, metric: str = "y", **more: Any) -> Json:
    told = {"metrics": [{"metric": metric, "value": value}], **more}
    return told if step is None else {**told, "stepCount": step}


def wire(parameters: Json) -> list[Json]:
    kinds = {float: "floatValue", int: "intValue", str: "stringValue"}
    return [{"parameter": name, kinds[type(value)]: value} for name, value in parameters.items()]


def number(trial: Json) -> int:
    return int(trial["name"].rpartition("/")[2])


def point(trial: Json) -> Json:
    """The parameters by name, as numbers and texts."""
    found: Json = {}
    for item in trial["parameters"]:
        whole = item.get("intValue")
        found[item["parameter"]] = int(whole) if whole is not None else item.get("floatValue", item.get("stringValue"))
    return found
