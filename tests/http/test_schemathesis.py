"""Every operation of our own OpenAPI document with generated input: whatever comes, no 5xx but 501.

Twice: with the owner's token, on names that exist and on generated ones, and without a token, where nothing but the
open routes may answer with anything but 401 (or 404 and 400 for a path that is none). The examples are the same in
every run; `MLGATE_FUZZ_EXAMPLES` makes more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from mlgate.api import discovery
from mlgate.api.method import Public
from mlgate.api.methods import registry
from tests.harness import OWNER, Server
from tests.http.people import Api

EXAMPLES = int(os.environ.get("MLGATE_FUZZ_EXAMPLES", "8"))
SCHEMA = schemathesis.openapi.from_dict(discovery.openapi(registry()))
OPERATIONS = {o.definition.raw["operationId"]: o for o in (r.ok() for r in SCHEMA.get_all_operations())}
OPEN = {f"{row.id}." for row in registry().rows if isinstance(row.requires, Public)}
#: Names that exist, so that generated input gets behind the look-up; the last stands for a generated one.
KNOWN = {
    "project": ["fuzz-project", None],
    "projectId": ["fuzz-project", None],
    "model": ["m", None],
    "location": ["us-central1", None],
    "role": ["ml.viewer", None],
    "b": ["fuzz-bucket", None],
    "o": ["file.txt", None],
    "organization": ["1", None],
}

pytestmark = pytest.mark.xdist_group("schemathesis")


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        made.new_project("fuzz-project")
        made.done(OWNER, "POST", "/v1/projects/fuzz-project/models", {"name": "m"})
        group = made.done(OWNER, "POST", "/v1/groups", {"groupKey": {"id": "fuzz@example.com"}})
        KNOWN["group"] = [group["response"]["name"].partition("/")[2], None]
        yield made


def generated(operation: Any) -> st.SearchStrategy[Any]:
    """Input that fits the description and, where it says enough to be contradicted, input that does not."""
    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not (operation.body or operation.query):
        return fitting
    return fitting | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)


@pytest.mark.parametrize("operation_id", OPERATIONS)
@pytest.mark.parametrize("who", [OWNER, ""], ids=["owner", "nobody"])
def test_generated_input_never_breaks_the_server(api: Api, operation_id: str, who: str) -> None:
    operation = OPERATIONS[operation_id]
    is_open = operation_id.rpartition(".")[0] + "." in OPEN
    if who and operation_id.startswith("mlgate.session.end."):
        who = "user:leaver@example.com"  # it ends the token that it is called with
        api.sign_in([who])

    @settings(
        max_examples=EXAMPLES if who else 2, derandomize=True, deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=generated(operation), data=st.data())
    def check(case: Any, data: st.DataObject) -> None:
        for name in () if ".delete." in operation_id else case.path_parameters:
            known = data.draw(st.sampled_from(KNOWN.get(name, [None])))
            if known is not None:
                case.path_parameters[name] = known
        headers = {"Authorization": f"Bearer {api.bearers[who]}"} if who else {}
        response = case.call(base_url=api.server.url, headers=headers)
        seen = f"{response.status_code} {response.request.method} {response.request.url}: {response.text[:300]}"
        assert response.status_code < 500 or response.status_code == 501, seen
        if not who and not is_open:
            assert response.status_code in (400, 401, 404), seen

    check()
