"""The rules of the wire, one line a case: what clients may send, and what each fault answers (api.md 1 and 2).

Nothing here may end in a 5xx but 501, whatever is sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mlgate.core.wire import page_token
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of

ADA, BOB = OWNER, "user:bob@example.com"
P = "/v1/projects/wire-project"
M = f"{P}/models/m"

pytestmark = pytest.mark.xdist_group("wire")


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        made.sign_in([ADA, BOB])
        made.new_project("wire-project")
        made.done(ADA, "POST", f"{P}/models", {"name": "m", "description": "first", "labels": {"team": "blue"}})
        yield made


def violations(response: httpx.Response) -> list[dict[str, str]]:
    details = error_of(response).get("details", [])
    return [v for d in details if d["@type"].endswith("google.rpc.BadRequest") for v in d["fieldViolations"]]


def refused(response: httpx.Response, status: str = "INVALID_ARGUMENT", code: int = 400) -> str:
    error = error_of(response)
    assert (response.status_code, error["status"]) == (code, status), response.text
    return str(error["message"])


class _Untidy(HTTPConnection):
    def _encode_request(self, request: str) -> bytes:
        return request.encode("latin-1")


def send_raw(api: Api, http: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
    """A request whose path no client library tidies up: the status."""
    return raw(api, http, target, body, headers)[0]


def raw(
    api: Api, http: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    connection = _Untidy(urlsplit(api.server.url).netloc, timeout=60)
    try:
        given = {"Authorization": f"Bearer {api.bearers[ADA]}", **(headers or {})}
        connection.putrequest(http, target, skip_host="Host" in given, skip_accept_encoding=True)
        for name, value in {**given, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data.startswith(b"{") else {}
    finally:
        connection.close()


# Etags, names, types (rules 2 and 3)


def test_etags_are_padded_base64_and_change_with_every_write(api: Api) -> None:
    api.done(ADA, "POST", f"{P}/models", {"name": "etags"})
    path, seen = f"{P}/models/etags", set()
    for n in range(3):
        api.done(ADA, "PATCH", path, {"description": str(n)}, params={"updateMask": "description"})
        etag = api.done(ADA, "GET", path)["etag"]
        assert base64.b64encode(base64.b64decode(etag, validate=True)).decode() == etag
        seen.add(etag)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "respell",
    [
        pytest.param(lambda e: e, id="as it was"),
        pytest.param(lambda e: e.rstrip("="), id="without padding"),
        pytest.param(lambda e: base64.urlsafe_b64encode(base64.b64decode(e)).decode(), id="for URLs"),
    ],
)
def test_an_etag_is_compared_by_its_bytes(api: Api, respell: Any) -> None:
    for _ in range(8):  # until + or / turned up in one
        policy = api.done(ADA, "GET", f"{M}:getIamPolicy")
        policy["etag"] = respell(policy["etag"])
        api.done(ADA, "POST", f"{M}:setIamPolicy", {"policy": policy})


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"online_prediction_logging": True}, {"onlinePredictionLogging": True}),
        ({"onlinePredictionLogging": "true"}, {"onlinePredictionLogging": True}),
        ({"onlinePredictionLogging": None, "description": None}, {}),
        ({"regions": ["us-central1"]}, {"regions": ["us-central1"]}),
        ({"description": "ünï \U0001f600"}, {"description": "ünï \U0001f600"}),
        ({"labels": {"équipe": "bleu", "k": ""}}, {"labels": {"équipe": "bleu", "k": ""}}),
    ],
)
def test_input_is_read_as_the_proto3_mapping_says(api: Api, body: dict[str, Any], shown: dict[str, Any]) -> None:
    made = api.done(ADA, "POST", f"{P}/models", {"name": f"read_{abs(hash(str(body)))}", **body})
    assert {k: v for k, v in made.items() if k in shown} == shown
    assert "onlinePredictionLogging" not in made or shown.get("onlinePredictionLogging")
    assert "online_prediction_logging" not in made


def test_enums_are_accepted_by_number_and_int64_as_string_or_number(api: Api) -> None:
    for number in ("5", 5):
        given = {"uri": "gs://some-bucket/x", "batchSize": number, "dataFormat": 1, "region": "us-central1",
                 "inputPaths": ["gs://some-bucket/*"], "outputPath": "gs://some-bucket/out"}  # fmt: skip
        body = {"jobId": f"j_{type(number).__name__}", "predictionInput": given}
        made = api.done(ADA, "POST", f"{P}/jobs", body)["predictionInput"]
        assert (made["batchSize"], made["dataFormat"]) == ("5", "JSON")
    for wrong in ({"batchSize": "five"}, {"batchSize": 2**63}, {"batchSize": 1.5}, {"dataFormat": 99}, {"uri": 7}):
        refused(api(ADA, "POST", f"{P}/jobs", {"jobId": "j", "predictionInput": wrong}))


@pytest.mark.parametrize("duration", ["3600s", "0.5s", {"seconds": 2}, {"seconds": "2", "nanos": 5}])
def test_durations_are_read_liberally(api: Api, duration: Any) -> None:
    body = {"jobId": "j", "trainingInput": {"scaleTier": "PREMIUM_1", "scheduling": {"maxRunningTime": duration}}}
    assert api(ADA, "POST", f"{P}/jobs", body).status_code == 501  # the body was read, and the tier not found


@pytest.mark.parametrize(
    "duration", ["1h", 5, "", {"seconds": "x"}, {"seconds": 1e400}, {"seconds": []}, [], "9" * 50 + "s"]
)
def test_other_durations_are_refused(api: Api, duration: Any) -> None:
    body = json.dumps({"jobId": "j", "trainingInput": {"scheduling": {"maxRunningTime": duration}}})
    assert send_raw(api, "POST", f"{P}/jobs", body.replace("Infinity", "1e400").encode()) == 400


def test_unknown_fields_are_named_all_at_once(api: Api) -> None:
    response = api(ADA, "POST", f"{P}/models", {"name": "x", "colour": 1, "defaultVersion": {"shape": 2}})
    message = refused(response)
    assert [v["field"] for v in violations(response)] == ["colour", "defaultVersion.shape"]
    assert "colour" in message
    assert "shape" in message


def test_a_post_without_body_and_content_type_is_a_call_without_fields(api: Api) -> None:
    assert api(ADA, "POST", f"{P}:getIamPolicy").status_code == 200
    assert send_raw(api, "POST", f"{P}:getIamPolicy") == 200
    assert send_raw(api, "POST", f"{P}:getIamPolicy", b"null") == 400
    assert api.done(ADA, "POST", f"{M}:testIamPermissions") == {}


def test_empty_lists_are_left_out(api: Api) -> None:
    api.new_project("wire-empty-project")
    for kind in ("models", "operations", "serviceAccounts"):
        assert api.done(ADA, "GET", f"/v1/projects/wire-empty-project/{kind}") == {}
    assert api.done(ADA, "GET", f"{M}/versions") == {}


# Errors (rules 7 and 8)


def test_errors_have_googles_form(api: Api) -> None:
    denied = api(BOB, "GET", M)
    assert denied.json()["error"] == {
        "code": 403,
        "message": "Permission 'ml.models.get' denied on resource 'projects/wire-project/models/m' "
        "(or it may not exist) for 'user:bob@example.com'.",
        "status": "PERMISSION_DENIED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "mlgate",
                "metadata": {
                    "permission": "ml.models.get",
                    "resource": "projects/wire-project/models/m",
                    "principal": "user:bob@example.com",
                },
            }
        ],
    }
    assert refused(api(ADA, "GET", f"{P}/models/none"), "NOT_FOUND", 404)


def test_a_model_of_the_same_name_is_409_with_exactly_one_violation(api: Api) -> None:
    response = api(ADA, "POST", f"{P}/models", {"name": "m"})
    refused(response, "ALREADY_EXISTS", 409)
    assert [d["@type"] for d in error_of(response)["details"]] == ["type.googleapis.com/google.rpc.BadRequest"]
    assert violations(response) == [
        {"field": "model.name", "description": "A model with the same name already exists."}
    ]


# Query parameters (rule 15)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("alt=json", 200), ("$alt=json", 200), ("prettyPrint=false", 200), ("pretty_print=false", 200),
        ("key=abc", 200), ("quotaUser=me", 200), ("quota_user=me", 200), ("$.xgafv=2", 200), ("fields=name", 200),
        ("uploadType=media", 200), ("alt=proto", 501), ("alt=media", 501), ("callback=f", 501),
        ("nope=1", 400), ("=1", 400), ("%FF=1", 400), ("pageSize=1", 400), ("prettyPrint=maybe", 400),
        ("fields=name(", 400), ("fields=name)", 400), ("fields=" + "a(" * 100, 400), ("fields=" + "a" * 5000, 400),
        ("fields=" + "a/" * 1000, 400), ("&&&", 200), ("fields=", 200), ("fields=*", 200),
    ],
)  # fmt: skip
def test_system_parameters_are_taken_and_others_refused(api: Api, query: str, status: int) -> None:
    assert send_raw(api, "GET", f"{M}?{query}") == status


def test_fields_select_a_part_of_the_answer(api: Api) -> None:
    models = api.done(ADA, "GET", f"{P}/models", params={"fields": "models(name,labels/team),nextPageToken"})["models"]
    assert {"name": M.removeprefix("/v1/"), "labels": {"team": "blue"}} in models
    assert all(set(model) <= {"name", "labels"} for model in models)
    assert api.done(ADA, "GET", M, params={"fields": "no,such"}) == {}


def test_pretty_print_is_on_unless_turned_off(api: Api) -> None:
    assert "\n" in api(ADA, "GET", M).text
    assert "\n" not in api(ADA, "GET", M, params={"prettyPrint": "false"}).text


def test_a_region_in_the_host_reaches_the_same_server(api: Api) -> None:
    for host in ("us-central1-ml.example.net", "ml.googleapis.com", "", "[::1]:99", "a b"):
        assert send_raw(api, "GET", M, headers={"Host": host}) in (200, 400)
    assert api(ADA, "GET", M, headers={"Host": "europe-west4-ml.example.net"}).status_code == 200
    assert api(BOB, "GET", M, headers={"Host": "europe-west4-ml.example.net"}).status_code == 403


def test_a_token_in_the_query_is_refused_unless_configured(api: Api) -> None:
    for name in ("access_token", "oauth_token"):
        response = api("", "GET", M, params={name: api.bearers[ADA]})
        assert refused(response, "UNAUTHENTICATED", 401)
        assert api.bearers[ADA] not in response.text


# Lists (2.2)


def test_pages_follow_each_other_and_end(api: Api) -> None:
    path = api.new_project("wire-pages-project") + "/models"
    for n in range(5):
        api.done(ADA, "POST", path, {"name": f"m{n}"})
    seen, token = [], ""
    while True:
        page = api.done(ADA, "GET", path, params={"pageSize": 2, **({"pageToken": token} if token else {})})
        seen += [model["name"].rpartition("/")[2] for model in page["models"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert seen == [f"m{n}" for n in range(5)]
    first = api.done(ADA, "GET", path, params={"pageSize": 2})["nextPageToken"]
    api.bind(path.rpartition("/")[0], {"roles/ml.viewer": [BOB]})
    assert api(ADA, "GET", path, params={"pageToken": first}).status_code == 200
    for who, query in (
        (BOB, {"pageToken": first}),
        (ADA, {"pageToken": first, "filter": "name:m*"}),
        (ADA, {"pageToken": "x"}),
        (ADA, {"pageToken": "é"}),
        (ADA, {"pageToken": base64.b64encode(b"[1,2]").decode()}),
        (ADA, {"pageToken": base64.b64encode(b"[" * 100_000).decode()[:50_000]}),
        (ADA, {"pageToken": base64.b64encode(b"\xff\xfe").decode()}),
        (ADA, {"pageToken": base64.b64encode(b"{}").decode()}),
    ):
        refused(api(who, "GET", path, params=query))
    refused(api(ADA, "GET", f"{P}/models", params={"pageToken": first}))


@pytest.mark.parametrize("after", ["x", "-5", "", "9" * 5000, "\ud800", "\x00", "é"])
def test_page_tokens_that_somebody_made_up_break_nothing(api: Api, after: str) -> None:
    for method, path, *query in (
        ("iam.roles.list", "/v1/roles", ""),
        ("ml.projects.models.list", f"{P}/models", "projects/wire-project", ""),
        ("cloudresourcemanager.projects.list", "/v1/projects", "organizations/1", ""),
    ):
        response = api(ADA, "GET", path, params={"pageToken": page_token(after, ADA, method, *query)})
        assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize(
    ("size", "status"),
    [("0", 200), ("100", 200), ("1000000", 200), ("9" * 30, 200), ("-1", 400), ("x", 400), ("1.5", 400), ("", 400)],
)
def test_page_sizes(api: Api, size: str, status: int) -> None:
    for path in (f"{P}/models", "/v1/projects", "/v1/roles", f"{P}/serviceAccounts", f"{P}/operations"):
        assert api(ADA, "GET", path, params={"pageSize": size}).status_code == status, path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("labels.team:blue", True), ("labels.team=red", False), ("labels.team:*", True), ("NOT labels.team:red", True),
        ("-labels.team:red", True), ("name:m AND labels.team:b*", False), ("labels.team:bl* OR name:zzz", True),
        ("(labels.team:red OR labels.team:blue) AND description:first", True), ('description="first"', True),
        ("description!=first", False), ("online_prediction_logging:false", True), ("  ", True), ("labels:team", True),
    ],
)  # fmt: skip
def test_filters_select(api: Api, text: str, found: bool) -> None:
    page = api.done(ADA, "GET", f"{P}/models", params={"filter": text, "pageSize": 100})
    assert (M.removeprefix("/v1/") in [model["name"] for model in page.get("models", [])]) is found


@pytest.mark.parametrize(
    "text",
    ["colour:red", "name", "name:", ":m", "name:m AND", "(name:m", "name:m)", "AND", "NOT", '"', "name=(m)", "a" * 3000,
     "(" * 500 + "name:m" + ")" * 500, "NOT " * 400 + "name:m", "-" * 1900 + "name:m", "name:m OR OR name:n", "\\"],
)  # fmt: skip
def test_filters_that_cannot_be_read_are_refused(api: Api, text: str) -> None:
    response = api(ADA, "GET", f"{P}/models", params={"filter": text})
    assert refused(response).startswith("Invalid filter")
    assert violations(response)[0]["field"] == "filter"


# Masks and etags (2.3)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("updateMask=description", 200), ("update_mask=description", 200), ("updateMask=labels", 200),
        ("updateMask=description,labels", 200), ("updateMask=onlinePredictionLogging", 200),
        ("updateMask=online_prediction_logging", 200), ("updateMask=%20description%20", 200),
        ("", 400), ("updateMask=", 400), ("updateMask=,", 400), ("updateMask=name", 400), ("updateMask=nope", 400),
        ("updateMask=description.x", 400), ("updateMask=*", 400), ("updateMask=default_version.name", 404),
        ("updateMask=defaultVersion.name", 404), ("updateMask=" + "a" * 5000, 400),
    ],
)  # fmt: skip
def test_update_masks(api: Api, query: str, status: int) -> None:
    body = {"description": "d", "labels": {"a": "b"}, "defaultVersion": {"name": "none"}}
    api(ADA, "POST", f"{P}/models", {"name": "masked"})
    assert send_raw(api, "PATCH", f"{P}/models/masked?{query}", json.dumps(body).encode()) == status


def test_a_patch_changes_what_the_mask_names_and_nothing_else(api: Api) -> None:
    path = f"{P}/models/patched"
    api.done(ADA, "POST", f"{P}/models", {"name": "patched", "description": "old", "labels": {"a": "b"}})
    body = {"description": "new", "labels": {"c": "d"}}
    operation = api.done(ADA, "PATCH", path, body, params={"updateMask": "description"})
    assert operation["done"] is True
    assert operation["metadata"]["operationType"] == "UPDATE_MODEL"
    assert operation["metadata"]["@type"] == "type.googleapis.com/google.cloud.ml.v1.OperationMetadata"
    assert operation["response"]["@type"] == "type.googleapis.com/google.cloud.ml.v1.Model"
    model = api.done(ADA, "GET", path)
    assert (model["description"], model["labels"]) == ("new", {"a": "b"})
    api.done(ADA, "PATCH", path, {}, params={"updateMask": "labels"})
    assert "labels" not in api.done(ADA, "GET", path)


def test_a_stale_etag_of_a_model_is_409_aborted(api: Api) -> None:
    path, mask = f"{P}/models/stale", {"updateMask": "description"}
    stale = api.done(ADA, "POST", f"{P}/models", {"name": "stale"})["etag"]
    api.done(ADA, "PATCH", path, {"description": "1", "etag": stale}, params=mask)
    refused(api(ADA, "PATCH", path, {"description": "2", "etag": stale}, params=mask), "ABORTED", 409)
    refused(api(ADA, "PATCH", path, {"description": "2", "etag": "!"}, params=mask))
    api.done(ADA, "PATCH", path, {"description": "3"}, params=mask)


# Names and labels (2.1)


@pytest.mark.parametrize(
    "name",
    ["", "1m", "_m", "m-n", "m.n", "m n", "m/n", "m" * 129, "é", "m\n", "..", "m:predict", "m%2fn",
    "projects/p/models/m",
     "mＭ", "m\u0000", "m\ud800", None, 5, [], {}],
)  # fmt: skip
def test_malformed_model_names_are_refused(api: Api, name: Any) -> None:
    body = json.dumps({"name": name}).encode()
    status, answer = raw(api, "POST", f"{P}/models", body)
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("name", ["m" * 128, "A", "a_1", "Z9"])
def test_well_formed_model_names_are_taken(api: Api, name: str) -> None:
    assert api.done(ADA, "POST", f"{P}/models", {"name": name})["name"] == f"projects/wire-project/models/{name}"
    assert api.done(ADA, "GET", f"{P}/models/{name}")["regions"] == ["us-central1"]


@pytest.mark.parametrize(
    "labels",
    [{"A": "x"}, {"1a": "x"}, {"": "x"}, {"a": "X"}, {"a": "x y"}, {"a" * 64: "x"}, {"a": "x" * 64}, {"a.b": "x"},
     {"a": 5}, {"a": None}, {f"k{n}": "v" for n in range(65)}, ["a"], "a", {"a": {"b": "c"}}],
)  # fmt: skip
def test_malformed_labels_are_refused(api: Api, labels: Any) -> None:
    refused(api(ADA, "POST", f"{P}/models", {"name": "labelled", "labels": labels}))


def test_labels_at_their_limits_are_taken(api: Api) -> None:
    most = {f"k{n}" + "é" * (63 - len(f"k{n}")): "v" * 63 for n in range(64)}
    assert api.done(ADA, "POST", f"{P}/models", {"name": "full_labels", "labels": most})["labels"] == most


@pytest.mark.parametrize("regions", [["a", "b"], ["us-central1", "us-east1"], ["mars"], [""], ["us-central1\n"], "us"])
def test_malformed_regions_are_refused(api: Api, regions: Any) -> None:
    refused(api(ADA, "POST", f"{P}/models", {"name": "regional", "regions": regions}))


@pytest.mark.parametrize(
    "project_id", ["", "short", "x" * 31, "Upper-case", "9digits", "hyphen-end-", "under_score", "a.b.c.d", None, 7]
)
def test_malformed_project_ids_are_refused(api: Api, project_id: Any) -> None:
    refused(api(ADA, "POST", "/v1/projects", {"projectId": project_id}))


@pytest.mark.parametrize("account_id", ["", "short", "x" * 31, "Upper-case", "9digits", "hyphen-end-", "a_b_c_d", None])
def test_malformed_service_account_ids_are_refused(api: Api, account_id: Any) -> None:
    refused(api(ADA, "POST", f"{P}/serviceAccounts", {"accountId": account_id}))


@pytest.mark.parametrize(
    "uri",
    ["", "bucket/x", "http://b/x", "file:///etc/passwd", "gs://", "gs:///x", "gs://b/x", "gs://Bucket/x",
    "gs://some-bucket/../x",
     "gs://some-bucket/a//b", "gs://some-bucket/a/./b", "gs://some-bucket/%2e%2e/x", "gs://some-bucket/a%2fb",
     "gs://some-bucket/a#b", "gs://some-bucket/a?b", "gs://some-bucket/a\\b", "gs://some-bucket/a\nb",
     "gs://user@some-bucket/x", "gs://127.0.0.1/x", "gs://169.254.169.254/x", "GS://some-bucket/x",
     " gs://some-bucket/x"],
)  # fmt: skip
def test_addresses_of_model_files_are_read_strictly(api: Api, uri: str) -> None:
    body = {"name": "v", "deploymentUri": uri, "runtimeVersion": "2.11", "pythonVersion": "3.7"}
    refused(api(ADA, "POST", f"{M}/versions", body))


# Routing


@pytest.mark.parametrize(
    ("http", "target", "status"),
    [
        ("GET", M, 200), ("GET", f"/{M}", 200), ("GET", f"{P}/models/%6d", 200), ("GET", f"{M}/", 404),
        ("GET", "/v1/projects/wire-project//models/m", 404), ("GET", "/v1//projects/wire-project/models/m", 404),
        ("GET", f"{P}/models%2Fm", 404), ("GET", f"{P}/models/m%2Fversions%2Fv", 400),
        ("GET", f"{P}/models/..%2F..", 400), ("GET", f"{P}/models/..", 400), ("GET", f"{P}/models/%2e%2e", 400),
        ("GET", f"{P}/models/m%00", 400), ("GET", f"{P}/models/m%0a", 400), ("GET", f"{P}/models/%FF", 400),
        ("GET", f"{P}/models/%", 404), ("GET", f"{P}/models/%zz", 404),
        ("GET", f"{P}/models/\xc3\xa9", 400), ("GET", f"{P}/models/\xff", 400), ("GET", f"{P}/models/%C3%A9", 404),
        ("POST", f"{M}%3ApredictX", 404), ("GET", f"{M}%3AgetIamPolicy", 400), ("POST", f"{M}%3Apredict", 404),
        ("GET", f"{M}:getIamPolicy", 200), ("POST", f"{M}:getIamPolicy", 404), ("GET", f"{P}:getIamPolicy", 404),
        ("POST", f"{P}:getIamPolicy", 200), ("GET", f"{M}:predict", 404), ("POST", f"{P}:predict", 404),
        ("POST", f"{M}/versions/v:setIamPolicy", 404), ("POST", f"{M}:setDefault", 404), ("POST", f"{M}:undelete", 404),
        ("PUT", M, 404), ("HEAD", M, 404), ("OPTIONS", M, 404), ("TRACE", M, 404), ("POST", f"{M}:", 404),
        ("POST", f"{M}:a:b", 404), ("POST", f"{M}:predict:predict", 400), ("GET", f"{P}/models/m;x=1", 404),
        ("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v2/projects", 404), ("GET", "/V1/projects", 404),
        ("GET", "/v1/projects/-/models", 403), ("GET", "/v1/projects/000/models", 403),
        ("GET", "/v1/projects/wire-project/../wire-project/models/m", 404), ("GET", "/.git/config", 404),
        ("GET", f"{P}/models/{'m' * 5000}", 400), ("GET", "/healthz", 200), ("POST", "/healthz", 404),
        ("GET", "/healthz/", 404), ("GET", "/healthz:x", 404), ("GET", "/v1/roles/ml.viewer", 200),
        ("GET", "/v1/roles/none", 404), ("GET", f"{P}/studies", 404), ("GET", f"{P}/locations/us-central1", 200),
        ("GET", f"{P}/locations/nowhere", 404), ("GET", f"{P}/operations/%20", 404),
    ],
)  # fmt: skip
def test_paths_lead_where_they_say_or_nowhere(api: Api, http: str, target: str, status: int) -> None:
    assert send_raw(api, http, target) == status


def test_a_project_may_be_named_by_its_number(api: Api) -> None:
    number = api.done(ADA, "GET", P)["projectNumber"]
    model = api.done(ADA, "GET", f"/v1/projects/{number}/models/m")
    assert model["name"] == "projects/wire-project/models/m"
    assert api.done(ADA, "GET", f"/v1/projects/{number}")["projectId"] == "wire-project"
    assert api(BOB, "GET", f"/v1/projects/{number}/models/m").status_code == 403
    assert api.done(ADA, "POST", f"/v1/projects/{number}:getIamPolicy")["bindings"]
    policy = api.done(ADA, "GET", f"/v1/projects/{number}/models/m:getIamPolicy")
    api.done(ADA, "POST", f"/v1/projects/{number}/models/m:setIamPolicy", {"policy": policy})
    assert api.done(ADA, "GET", f"/v1/projects/{number}/models", params={"pageSize": 1})["models"]


def test_a_service_account_may_be_named_without_its_project(api: Api) -> None:
    made = api.done(ADA, "POST", f"{P}/serviceAccounts", {"accountId": "dashed-one"})
    for project, account in (("-", made["email"]), ("-", made["uniqueId"]), ("wire-project", made["email"].upper())):
        assert api.done(ADA, "GET", f"/v1/projects/{project}/serviceAccounts/{account}")["name"] == made["name"]
    assert api(BOB, "GET", f"/v1/projects/-/serviceAccounts/{made['email']}").status_code == 403
    assert api(BOB, "GET", "/v1/projects/-/serviceAccounts/no@wire-project.iam.gserviceaccount.com").status_code == 403


# Bodies that are not what they should be


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400), (b"[" * 100_000 + b"]" * 100_000, 400), (b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        400),
        (b'{"labels":' * 50_000, 400), (b'{"name": ' + b"9" * 10_000 + b"}", 400), (b'{"name": 1e999}', 400),
        (b'{"name": NaN}', 400), (b'{"name": -Infinity}', 400), (b'{"name": "a", "name": ""}', 400),
        (b'{"name": "\xff"}', 400), (b'{"name": "\\ud800"}', 400), (b'{"name": "\\u0000"}', 400), (b"\xff\xfe", 400),
        (b'\xef\xbb\xbf{"name": "bom"}', 400), (b'{"name": "a"} x', 400), (b'{"name": "a",}', 400), (b"{", 400),
        (b"null", 400), (b"[]", 400), (b'"x"', 400), (b"5", 400), (b"true", 400), (b"name=x", 400), (b"\x00", 400),
        (b"{" + b" " * 9_000_000 + b"}", 413), (b'{"description": "' + b"x" * 9_000_000, 413),
        (b'{"' + b"a" * 100_000 + b'": 1}', 400), (b'{"labels": {"a": "' + b"x" * 1_000_000 + b'"}}', 400),
        (b'{"regions": [' + b'"x",' * 100_000 + b'"x"]}', 400),
        (b'{"regions": [' + b"5," * 100_000 + b"5]}", 400),
        (b'{"defaultVersion": {"autoScaling": {"metrics": [{"target": 1e308}, {"name": 7}]}}}', 400),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else str(value),
)  # fmt: skip
def test_broken_bodies_are_refused(api: Api, body: bytes, status: int) -> None:
    code, answer = raw(api, "POST", f"{P}/models", body)
    assert code == status
    assert answer["error"]["status"] == "INVALID_ARGUMENT"
    assert len(json.dumps(answer)) < 100_000


def test_broken_bodies_of_predictions_and_policies_are_refused(api: Api) -> None:
    for path in (f"{M}:setIamPolicy", f"{P}:setIamPolicy", f"{M}:testIamPermissions", f"{M}/versions"):
        for body in (b"[" * 60_000, b'{"policy":' * 6_000, b"\xff", b'{"policy": {"bindings": [[]]}}', b"{"):
            assert send_raw(api, "POST", path, body) == 400, path


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1e400", "-1e400", '"1e400x"', "[]", '"0x1"'])
def test_numbers_that_no_double_holds_are_refused(api: Api, number: str) -> None:
    spec = f'{{"hyperparameters": {{"params": [{{"maxValue": {number}}}]}}}}'
    wait = f'{{"scheduling": {{"maxWaitTime": {{"seconds": 1, "nanos": {number}}}}}}}'
    for training in (spec, wait):
        assert send_raw(api, "POST", f"{P}/jobs", f'{{"jobId": "j", "trainingInput": {training}}}'.encode()) == 400


def test_a_get_takes_no_body(api: Api) -> None:
    assert send_raw(api, "GET", M, b'{"x": 1}') == 400
    assert send_raw(api, "GET", M, b"{}") == 200


def test_a_body_in_pieces_has_the_same_limit(api: Api) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"name": "pieces"'
        for _ in range(90):
            yield b" " * 100_000
        yield b"}"

    headers = {"Authorization": f"Bearer {api.bearers[ADA]}"}
    response = api.client.post(f"{P}/models", content=pieces(), headers=headers)
    assert response.status_code == 413
    small = api.client.post(f"{P}/models", content=iter([b'{"name": ', b'"small_pieces"}']), headers=headers)
    assert small.status_code == 200


# Policies


def set_policy(api: Api, policy: Any, path: str = M, **more: Any) -> httpx.Response:
    return api(ADA, "POST", f"{path}:setIamPolicy", {"policy": policy, **more})


@pytest.mark.parametrize(
    "member",
    ["", "user:", "bob", "bob@example.com", "USER:bob@example.com", "User:bob@example.com", "user:bob", "user:bob@",
     "user:@example.com", "user:bob@example", "user:bob@example.com ", " user:bob@example.com", "user:b b@example.com",
     "user:bob@example..com", "user:bob@-example.com", "users:bob@example.com", "allusers", "ALLUSERS", "anonymous",
     "projectOwner:wire-project", "projectEditor:x", "principal://iam.googleapis.com/x", "deleted:user:bob@example.com",
     "deleted:user:bob@example.com?uid=", "user:bob@example.com?uid=1", "domain:", "domain:bob@example.com", "group:",
     "serviceAccount:x", "user:" + "b" * 400 + "@example.com", "user:bob@exa\nmple.com", "user:bob@éxample.com", "*",
     "user:*",
     "user:bob@example.com,user:eve@example.com", "serviceAccount:nobody-here@wire-project.iam.gserviceaccount.com"],
)  # fmt: skip
def test_malformed_members_are_refused(api: Api, member: str) -> None:
    response = set_policy(api, {"bindings": [{"role": "roles/ml.modelUser", "members": [ADA, member]}]})
    refused(response)
    assert violations(response)[0]["field"] == "policy.bindings[0].members[1]"


@pytest.mark.parametrize(
    "role",
    ["", "ml.modelUser", "roles/", "roles/ml.modeluser", "roles/ml.nope", "roles/owner", "roles/ml.admin",
    "roles/ml.viewer",
     "roles/ml.jobOwner", "roles/ml.operationOwner", "roles/ml.modelUser ", "projects/wire-project/roles/none",
     "projects/other/roles/x", "organizations/1/roles/none", "roles/ml.modelUser_withcond_abc", "x" * 5000, None],
)  # fmt: skip
def test_roles_that_cannot_be_bound_on_a_model_are_refused(api: Api, role: Any) -> None:
    """T-15, C-23."""
    response = set_policy(api, {"bindings": [{"role": role, "members": [ADA]}]})
    refused(response)
    assert violations(response)[0]["field"] == "policy.bindings[0].role"


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (None, 400), ({}, 200), ({"bindings": []}, 200), ({"bindings": None}, 200), ({"version": 1}, 200),
        ({"version": 3}, 200),
        ({"version": 2}, 400), ({"version": -1}, 400), ({"version": "x"}, 400), ({"etag": "!!"}, 400), ({"etag": ""},
        200),
        ({"bindings": {}}, 400), ({"bindings": [{}]}, 400), ({"bindings": [{"role": "roles/ml.modelUser"}]}, 400),
        ({"bindings": [{"role": "roles/ml.modelUser", "members": []}]}, 400),
        ({"bindings": [{"role": "roles/ml.modelUser", "members": "x"}]}, 400),
        ({"bindings": [{"role": "roles/ml.modelUser", "members": [None]}]}, 400),
        ({"bindings": [{"role": "roles/ml.modelUser", "members": [ADA], "condition": {"expression": "true"}}]}, 400),
        ({"auditConfigs": [{"service": "allServices"}]}, 200), ({"nope": 1}, 400),
        ({"bindings": [{"role": "roles/ml.modelUser", "members": [f"user:u{n}@x.org" for n in range(1501)]}]}, 400),
        ({"bindings": [{"role": "roles/ml.modelUser", "members": [f"user:u{n}@x.org" for n in range(1500)]}]}, 200),
        ({"bindings": [{"role": "roles/ml.modelUser", "members": [f"group:g{n}@x.org" for n in range(251)]}]}, 400),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_policies_are_checked_when_they_are_set(api: Api, policy: Any, status: int) -> None:
    api(ADA, "POST", f"{P}/models", {"name": "checked"})
    response = set_policy(api, policy, f"{P}/models/checked")
    assert response.status_code == status, response.text


def test_a_stale_etag_of_a_policy_is_409_and_none_overwrites(api: Api) -> None:
    """T-15."""
    path = f"{P}/models/contended"
    api.done(ADA, "POST", f"{P}/models", {"name": "contended"})
    before = api.done(ADA, "GET", f"{path}:getIamPolicy")
    api.done(ADA, "POST", f"{path}:setIamPolicy", {"policy": before})
    assert "concurrent policy changes" in refused(set_policy(api, before, path), "ABORTED", 409)
    assert set_policy(api, {"bindings": before["bindings"]}, path).status_code == 200


def test_members_are_kept_in_order_and_bindings_of_a_role_are_one(api: Api) -> None:
    path = f"{P}/models/merged"
    api.done(ADA, "POST", f"{P}/models", {"name": "merged"})
    user, owner = "roles/ml.modelUser", "roles/ml.modelOwner"
    given = [
        {"role": user, "members": ["user:z@x.org", "user:A@X.org"]},
        {"role": owner, "members": [ADA]},
        {"role": user, "members": ["user:b@x.org", "user:z@x.org"]},
    ]
    stored = set_policy(api, {"bindings": given}, path).json()
    assert stored["bindings"] == [
        {"role": user, "members": ["user:z@x.org", "user:a@x.org", "user:b@x.org"]},
        {"role": owner, "members": [ADA]},
    ]
    assert stored == api.done(ADA, "GET", f"{path}:getIamPolicy")


@pytest.mark.parametrize(
    ("mask", "status"),
    [
        ("bindings,etag", 200),
        ("bindings", 200),
        ("auditConfigs,audit_configs", 200),
        ("etag", 200),
        ("nope", 400),
        ("*", 400),
    ],
)
def test_masks_of_policies(api: Api, mask: str, status: int) -> None:
    assert set_policy(api, {"bindings": []}, f"{P}/models/checked_mask", updateMask=mask).status_code in (404, status)
    api(ADA, "POST", f"{P}/models", {"name": "checked_mask"})
    assert set_policy(api, {"bindings": []}, f"{P}/models/checked_mask", update_mask=mask).status_code == status


def test_a_project_keeps_an_owner_and_is_not_for_everybody(api: Api) -> None:
    path = api.new_project("wire-owned-project")
    for bindings in (
        [],
        [{"role": "roles/ml.viewer", "members": [BOB]}],
        [{"role": "roles/owner", "members": ["domain:x.org"]}],
    ):
        refused(set_policy(api, {"bindings": bindings}, path), "FAILED_PRECONDITION")
    for anybody in ("allUsers", "allAuthenticatedUsers"):
        refused(set_policy(api, {"bindings": [{"role": "roles/owner", "members": [ADA, anybody]}]}, path))
    assert set_policy(api, {"bindings": [{"role": "roles/owner", "members": [ADA]}]}, path).status_code == 200


@pytest.mark.parametrize("version", ["0", "1", "3"])
def test_policy_versions_may_be_asked_for(api: Api, version: str) -> None:
    for query in ("options.requestedPolicyVersion", "options.requested_policy_version"):
        assert send_raw(api, "GET", f"{M}:getIamPolicy?{query}={version}") == 200
    assert send_raw(api, "GET", f"{M}:getIamPolicy?options.requestedPolicyVersion=2") == 400


def test_permissions_are_tested_without_telling_what_exists(api: Api) -> None:
    """T-16."""
    asked = {"permissions": ["ml.models.get", "ml.models.get", "ml.models.fly", "storage.objects.get", ""]}
    assert api.done(ADA, "POST", f"{M}:testIamPermissions", asked)["permissions"][0] == "ml.models.get"
    assert api.done(ADA, "POST", f"{P}/models/none:testIamPermissions", asked) == {}
    assert api.done(BOB, "POST", f"{M}:testIamPermissions", asked) == {}
    assert api.done(BOB, "POST", "/v1/projects/no-such-project:testIamPermissions", asked) == {}
    for wildcard in ("ml.models.*", "*", "ml.*"):
        refused(api(ADA, "POST", f"{M}:testIamPermissions", {"permissions": [wildcard]}))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("//ml.googleapis.com/projects/wire-project/models/m", 200), ("//x/projects/wire-project", 200),
        ("//cloudresourcemanager.googleapis.com/projects/wire-project", 200), ("projects/wire-project", 400),
        ("//x/projects/wire-project/models/m/versions/v", 400), ("", 400), ("//x/", 400), ("//x/a/b", 400), ("//", 400),
    ],
)  # fmt: skip
def test_grantable_roles_and_testable_permissions(api: Api, name: str, status: int) -> None:
    for path in ("/v1/roles:queryGrantableRoles", "/v1/permissions:queryTestablePermissions"):
        body = {"fullResourceName": name, "pageSize": 2}
        response = api(ADA, "POST", path, body)
        assert response.status_code == status
        if status == 200 and "nextPageToken" in response.json():
            again = api(ADA, "POST", path, {**body, "pageToken": response.json()["nextPageToken"]})
            assert again.status_code == 200
            refused(api(BOB, "POST", path, {**body, "pageToken": response.json()["nextPageToken"]}))
            refused(api(ADA, "POST", path, {**body, "pageSize": -1}))


def test_the_roles_that_fit_a_model_are_offered(api: Api) -> None:
    body = {"fullResourceName": "//ml.googleapis.com/projects/wire-project/models/m"}
    offered = [role["name"] for role in api.done(ADA, "POST", "/v1/roles:queryGrantableRoles", body)["roles"]]
    assert offered == ["roles/ml.modelOwner", "roles/ml.modelUser"]


# Batch (rule 14)


def test_a_batch_answers_each_call_as_if_it_came_alone(api: Api) -> None:
    calls = [
        ("1", "GET " + M), ("2", "GET /v1/projects/wire-project/models/none"), ("3", "GET /v1/nope"), ("4",
        "POST /batch"),
        ("5", "nonsense"), ("6", "GET " + M + "?%FF=1"), ("7", "GET " + M + "?" + "&".join(["a=1"] * 2000)),
        ("8", "GET /v1/projects/wire-project/models/%FF"),
    ]  # fmt: skip
    for chosen in (calls[:3], *[[call] for call in calls[3:]]):
        parts = [
            f"--b\r\nContent-Type: application/http\r\nContent-ID: <{i}>\r\n\r\n{line} HTTP/1.1\r\n\r\n\r\n"
            for i, line in chosen
        ]
        headers = {"Content-Type": "multipart/mixed; boundary=b"}
        status, _ = raw(api, "POST", "/batch", ("".join(parts) + "--b--").encode(), headers)
        assert status in (200, 400), chosen
    for kind in ("application/json", "multipart/mixed", "multipart/mixed; boundary="):
        assert send_raw(api, "POST", "/batch", b"--b\r\n\r\nx\r\n--b--", {"Content-Type": kind}) == 400


def test_a_batch_carries_ids_and_statuses(api: Api) -> None:
    head = "--b\r\nContent-Type: application/http\r\n"
    body = f"{head}Content-ID: <one>\r\n\r\nGET {M}\r\n\r\n{head}\r\nGET {P}/models/none\r\n\r\n--b--"
    headers = {"Authorization": f"Bearer {api.bearers[ADA]}", "Content-Type": 'multipart/mixed; boundary="b"'}
    text = api.client.post("/batch/ml/v1", content=body, headers=headers).text
    assert "Content-ID: <response-one>" in text
    assert "HTTP/1.1 200 OK" in text
    assert "HTTP/1.1 404 Not Found" in text
    alone = api.client.post("/batch", content=body, headers={"Content-Type": "multipart/mixed; boundary=b"})
    assert alone.status_code == 401
