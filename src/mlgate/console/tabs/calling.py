"""How to ask a model or a version: here, and from outside."""

from __future__ import annotations

import json

from nicegui import ui

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.visit import Visit

_EXAMPLE = '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'


def try_it(visit: Visit, name: str) -> None:
    """A box for instances, and what the model says to them."""
    with parts.card("Try a prediction"):
        box = ui.textarea("Request (JSON)", value=_EXAMPLE).props("outlined autogrow input-class=code-text")
        answer = ui.element("div")

        async def send() -> None:
            answer.clear()
            try:
                told = await visit.api.predict(name, box.value or "")
            except Failure as failure:
                if failure.http_status == 401:
                    raise
                with answer:
                    ui.label(failure.message).classes("error").props('role="alert"')
                return
            with answer:
                parts.code(_pretty(told), "Answer")

        with ui.row().classes("actions"):
            parts.button("Predict", visit.act(send), icon="play_arrow", kind="unelevated")


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2)[:200_000]
    except ValueError:
        return text[:200_000]


def code_to_call(visit: Visit, project: str, model: str, version: str) -> None:
    """How to call it from outside, to be copied."""
    name = f"projects/{project}/models/{model}" + (f"/versions/{version}" if version else "")
    parts.hint("$TOKEN is your access token: mlgate auth print-access-token prints it.")
    for title, text in (
        ("curl", _CURL.format(url=visit.api_url, name=name, body=_EXAMPLE)),
        ("Python", _PYTHON.format(url=visit.api_url, name=name)),
        ("Command line", _CLI.format(url=visit.api_url, project=project, model=model,
                                     version=f" --version {version}" if version else "")),
    ):  # fmt: skip
        with parts.card(title):
            parts.code(text, title)


_CURL = """curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
  -d '{body}' \\
  {url}/v1/{name}:predict"""
_PYTHON = """import os

from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

ml = build(
    "ml", "v1", credentials=Credentials(os.environ["TOKEN"]), client_options={{"api_endpoint": "{url}"}}
)
answer = ml.projects().predict(name="{name}", body={{"instances": [[5.1, 3.5, 1.4, 0.2]]}}).execute()
print(answer["predictions"])"""
_CLI = """export MLGATE_SERVER={url} MLGATE_PROJECT={project}
echo '[5.1, 3.5, 1.4, 0.2]' | mlgate predict --model {model}{version} --json-instances -"""
