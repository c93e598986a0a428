"""The people of the story: each has a token, and runs `mlgate` with it in the environment."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from demo.place import MLGATE, PROJECT, Place, clean_environment
from demo.transcript import Transcript

#: Looks at a command's output and says what is wrong with it, or "".
Check = Callable[[str], str]


def anything(_: str) -> str:
    return ""


@dataclass
class Person:
    name: str
    place: Place
    transcript: Transcript
    token: str = ""

    def runs(self, *words: str, check: Check = anything, verdict: str = "done", show: bool = True) -> str:
        """A command that must succeed, with the answer that `check` accepts."""
        self.transcript.command(self.name, ["mlgate", *words])
        done, seconds = self._run(words)
        wrong = done.stderr.strip() if done.returncode else check(done.stdout)
        shown = wrong or (done.stdout if show else "")
        self.transcript.expect(not wrong, shown, "failed" if wrong else verdict, "it to succeed", seconds)
        return done.stdout

    def is_refused(self, *words: str, verdict: str) -> None:
        """A command that must be denied."""
        self.transcript.command(self.name, ["mlgate", *words])
        done, seconds = self._run(words)
        denied = done.returncode == 1 and "PERMISSION_DENIED" in done.stderr
        shown = done.stderr or done.stdout
        self.transcript.expect(denied, shown, verdict if denied else "not denied", "403 PERMISSION_DENIED", seconds)

    def calls(self, path: str, body: Any, status: int, verdict: str) -> None:
        """A call over HTTP, as any program makes it, that must answer this status."""
        shown = f"curl -H 'Authorization: Bearer '$MLGATE_TOKEN --json @body.json $MLGATE_SERVER/{path}"
        self.transcript.command(self.name, shown)
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.place.url, headers=headers, trust_env=False, timeout=60) as client:
            client.get("/healthz")  # the connection, so that the time below is the call's own
            started = time.monotonic()
            answer = client.post(f"/{path}", json=body)
            seconds = time.monotonic() - started
        text = answer.text if answer.is_success else json.loads(answer.text)["error"]["message"]
        told = f"{answer.status_code} {verdict}"
        self.transcript.expect(answer.status_code == status, text, told, f"status {status}", seconds)

    def _run(self, words: tuple[str, ...]) -> tuple[subprocess.CompletedProcess[str], float]:
        home = self.place.root / "homes" / self.name
        environment = {
            **clean_environment(),
            "MLGATE_SERVER": self.place.url,
            "MLGATE_PROJECT": PROJECT,
            "XDG_CONFIG_HOME": str(home),
            **({"MLGATE_TOKEN": self.token} if self.token else {}),
        }
        started = time.monotonic()
        done = subprocess.run(
            [*MLGATE, *words], env=environment, cwd=self.place.root, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        return done, time.monotonic() - started
