"""Who is calling: every credential that must not work, at the API and at the token endpoint (T-01; forged identity in
incidents.md), and a canary: no secret is found in a log, an answer or the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, tokens

P = "/v1/projects/token-project"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE = "https://oauth2.googleapis.com/token"

pytestmark = pytest.mark.xdist_group("tokens")


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        made.new_project("token-project")
        made.done(OWNER, "POST", f"{P}/models", {"name": "m"})
        yield made


@pytest.fixture(scope="module")
def key(api: Api) -> dict[str, str]:
    return new_key(api, "caller-one")


@pytest.fixture(scope="module")
def other_key(api: Api) -> dict[str, str]:
    return new_key(api, "caller-two")


def new_key(api: Api, account_id: str, project: str = P) -> dict[str, str]:
    """A service account with Model User on `m`, and its key file."""
    email = api.done(OWNER, "POST", f"{project}/serviceAccounts", {"accountId": account_id})["email"]
    policy = api.done(OWNER, "GET", f"{project}/models/m:getIamPolicy")
    policy["bindings"].append({"role": "roles/ml.modelUser", "members": [f"serviceAccount:{email}"]})
    api.done(OWNER, "POST", f"{project}/models/m:setIamPolicy", {"policy": policy})
    made = api.done(OWNER, "POST", f"{project}/serviceAccounts/{email}/keys")
    found: dict[str, str] = json.loads(base64.b64decode(made["privateKeyData"]))
    return found


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def assertion(key: dict[str, str], header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A signed assertion as google-auth makes it, with changes; a claim of None is left out."""
    now = int(time.time())
    said = {"iss": key["client_email"], "aud": GOOGLE, "iat": now, "exp": now + 3600, "scope": "x", **claims}
    top = {"typ": "JWT", "alg": "RS256", "kid": key["private_key_id"], **(header or {})}
    text = ".".join(part({k: v for k, v in each.items() if v is not None}) for each in (top, said))
    return f"{text}.{part(signed(key['private_key'], text))}"


def signed(pem: str, text: str) -> bytes:
    private = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())


def public_pem(key: dict[str, str]) -> bytes:
    private = serialization.load_pem_private_key(key["private_key"].encode(), None)
    kind, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(kind, form)


def grant(api: Api, given: str, grant_type: str = GRANT) -> httpx.Response:
    return api.client.post("/token", data={"grant_type": grant_type, "assertion": given})


def granted(api: Api, given: str) -> str:
    response = grant(api, given)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["token_type"] == "Bearer"
    assert response.json()["expires_in"] > 0
    return str(response.json()["access_token"])


def whoami(api: Api, bearer: str) -> int:
    return api.client.get(f"{P}/models/m", headers={"Authorization": f"Bearer {bearer}"}).status_code


# At the API


def test_a_key_gives_a_token_that_works(api: Api, key: dict[str, str]) -> None:
    for audience in (GOOGLE, f"{api.server.url}/token"):
        assert whoami(api, granted(api, assertion(key, aud=audience))) == 200
    assert key["token_uri"] == f"{api.server.url}/token"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "bearer", "Basic YTpi", "Bearer x", "Bearer mlgate_", "Bearer mlgate_" + "x" * 43, "Token abc",
     "Bearer " + "x" * 10_000, "Bearer null", "Bearer undefined", "Digest x", "Negotiate x", "Bearer a b",
     "Bearer,x", "\xff",
     "Bearer \xe9", "Bearer mlgate_\xe9", "{}", "Bearer ' OR 1=1 --"],
)  # fmt: skip
def test_garbage_is_401(api: Api, header: str) -> None:
    response = api.client.get(f"{P}/models/m", headers={"Authorization": header.encode("latin-1")})
    assert (response.status_code, error_of(response)["status"]) == (401, "UNAUTHENTICATED")
    assert "www-authenticate" in response.headers
    assert len(header) < 8 or header not in response.text


def test_identity_headers_say_nothing(api: Api) -> None:
    for name in (
        "X-Goog-Authenticated-User-Email",
        "X-Forwarded-User",
        "X-Remote-User",
        "X-Goog-User-Project",
        "Cookie",
    ):
        assert api.client.get(f"{P}/models/m", headers={name: OWNER}).status_code == 401


def test_tokens_are_compared_whole(api: Api) -> None:
    bearer = tokens(api.server, [OWNER])[OWNER]
    assert whoami(api, bearer) == 200
    for wrong in (bearer[:-1], bearer + "A", bearer.upper(), bearer.removeprefix("mlgate_"), f"{bearer},{bearer}"):
        assert whoami(api, wrong) == 401


def test_an_expired_token_is_401(api: Api) -> None:
    assert whoami(api, tokens(api.server, [OWNER], seconds=-1)[OWNER]) == 401


def test_a_signed_assertion_is_no_access_token(api: Api, key: dict[str, str]) -> None:
    assert whoami(api, assertion(key)) == 401
    assert whoami(api, assertion(key, aud=api.server.url + "/")) == 401


def test_tokens_and_keys_of_a_disabled_account_stop_at_once(api: Api) -> None:
    key = new_key(api, "comes-and-goes")
    path, bearer = f"{P}/serviceAccounts/{key['client_email']}", granted(api, assertion(key))
    for _ in range(2):
        assert whoami(api, bearer) == 200
        api.done(OWNER, "POST", f"{path}:disable")
        assert whoami(api, bearer) == 401
        assert grant(api, assertion(key)).json()["error"] == "invalid_grant"
        api.done(OWNER, "POST", f"{path}:enable")
    key_path = f"{path}/keys/{key['private_key_id']}"
    api.done(OWNER, "POST", f"{key_path}:disable")
    assert grant(api, assertion(key)).status_code == 400
    api.done(OWNER, "POST", f"{key_path}:enable")
    assert grant(api, assertion(key)).status_code == 200
    api.done(OWNER, "DELETE", key_path)
    assert grant(api, assertion(key)).status_code == 400
    api.done(OWNER, "DELETE", path)
    assert whoami(api, bearer) == 401


# At the token endpoint


def none(key: dict[str, str], **_: Any) -> str:
    head, claims, _ = assertion(key, {"alg": "none"}).split(".")
    return f"{head}.{claims}."


def with_public_key_as_secret(key: dict[str, str]) -> str:
    head, claims, _ = assertion(key, {"alg": "HS256"}).split(".")
    mac = hmac.new(public_pem(key), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    return f"{head}.{claims}.{part(mac)}"


def with_a_strange_key(key: dict[str, str]) -> str:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = private.private_bytes(kind, form, serialization.NoEncryption()).decode()
    return assertion({**key, "private_key": pem})


def changed_after_signing(key: dict[str, str]) -> str:
    head, claims, signature = assertion(key).split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return f"{head}.{part({**said, 'scope': 'more'})}.{signature}"


def from_now(**seconds: int) -> dict[str, int]:
    return {claim: int(time.time()) + delta for claim, delta in seconds.items()}


FORGED: dict[str, Callable[[dict[str, str]], str]] = {
    "alg none": none,
    "alg None, kept signature": lambda k: assertion(k, {"alg": "None"}),
    "HS256 with the public key": with_public_key_as_secret,
    "RS512": lambda k: assertion(k, {"alg": "RS512"}),
    "alg missing": lambda k: assertion(k, {"alg": None}),
    "alg a list": lambda k: assertion(k, {"alg": ["RS256"]}),
    "another key": with_a_strange_key,
    "changed after signing": changed_after_signing,
    "no signature": lambda k: assertion(k).rpartition(".")[0],
    "signature cut": lambda k: assertion(k)[:-10],
    "kid missing": lambda k: assertion(k, {"kid": None}),
    "kid unknown": lambda k: assertion(k, {"kid": "0" * 40}),
    "kid a path": lambda k: assertion(k, {"kid": f"../../{k['client_email']}/keys/{k['private_key_id']}"}),
    "kid an object": lambda k: assertion(k, {"kid": {"a": 1}}),
    "jwk in the header": lambda k: assertion({**k, "private_key_id": "x"}, {"jwk": {"kty": "oct", "k": "AA"}}),
    "crit": lambda k: assertion(k, {"crit": ["exp"]}),
    "aud of another": lambda k: assertion(k, aud="https://example.com/token"),
    "aud missing": lambda k: assertion(k, aud=None),
    "aud a list": lambda k: assertion(k, aud=[GOOGLE]),
    "aud an object": lambda k: assertion(k, aud={"a": 1}),
    "expired": lambda k: assertion(k, **from_now(iat=-7200, exp=-3600)),
    "from the future": lambda k: assertion(k, **from_now(iat=3600, exp=7200)),
    "too long": lambda k: assertion(k, **from_now(iat=0, exp=86400)),
    "exp missing": lambda k: assertion(k, exp=None),
    "iat missing": lambda k: assertion(k, iat=None),
    "exp text": lambda k: assertion(k, exp="9999999999"),
    "exp infinite": lambda k: assertion(k, exp=float("inf")),
    "exp not a number": lambda k: assertion(k, exp=float("nan")),
    "exp huge": lambda k: assertion(k, exp=10**400),
    "iss missing": lambda k: assertion(k, iss=None),
    "iss a list": lambda k: assertion(k, iss=[k["client_email"]]),
    "iss unknown": lambda k: assertion(k, iss="nobody@token-project.iam.gserviceaccount.com"),
    "for a user": lambda k: assertion(k, sub="ada@example.com"),
    "for an ID token": lambda k: assertion(k, target_audience="https://example.com"),
    "empty": lambda _: "",
    "one part": lambda _: "abc",
    "bad base64": lambda _: "!.!.!",
    "not objects": lambda _: f"{part([1])}.{part([2])}.x",
    "nested": lambda _: f"{part(b'[' * 30_000)}.{part({})}.x",
    "not UTF-8": lambda _: f"{part(bytes([255]))}.{part({})}.x",
    "huge number": lambda _: f"{part(b'{' + b'9' * 5000)}.{part({})}.x",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_forged_assertions_are_refused(api: Api, key: dict[str, str], forge: Callable[[dict[str, str]], str]) -> None:
    forged = forge(key)
    response = grant(api, forged)
    assert response.status_code == 400
    assert response.json()["error"] in ("invalid_grant", "invalid_request", "unauthorized_client")
    assert not forged or len(forged) < 10 or forged not in response.text


def test_the_key_of_one_account_does_not_speak_for_another(
    api: Api, key: dict[str, str], other_key: dict[str, str]
) -> None:
    for mixed in (
        {**key, "client_email": other_key["client_email"]},
        {**key, "private_key_id": other_key["private_key_id"]},
        {**key, "client_email": other_key["client_email"], "private_key_id": other_key["private_key_id"]},
    ):
        assert grant(api, assertion(mixed)).json()["error"] == "invalid_grant"


def test_an_assertion_for_another_server_is_not_taken_under_its_name(api: Api, key: dict[str, str]) -> None:
    """api.md rule 12: the Host header decides nothing."""
    for scheme in ("http", "https"):
        said = {"grant_type": GRANT, "assertion": assertion(key, aud=f"{scheme}://other.example.com/token")}
        assert api.client.post("/token", data=said, headers={"Host": "other.example.com"}).status_code == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"grant_type=", b"grant_type=password&username=a&password=b", b"{}", b"\xff", b"&" * 1000, b"a=1&" * 100,
     b"grant_type=" + GRANT.encode(), b"grant_type=" + GRANT.encode() + b"&assertion=%FF", b"grant_type=%FF"],
)  # fmt: skip
def test_other_grants_are_refused_in_oauths_form(api: Api, body: bytes) -> None:
    response = api.client.post("/token", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status_code == 400
    assert set(response.json()) == {"error", "error_description"}


def test_a_large_assertion_is_refused(api: Api) -> None:
    assert grant(api, "x" * 100_000).status_code in (400, 413)


# The canary


def test_no_secret_is_found_in_logs_answers_or_the_database(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"MLGATE_LOG_LEVEL": "debug"})
    with Api(server) as api:
        api.new_project("token-project")
        api.done(OWNER, "POST", f"{P}/models", {"name": "m"})
        key = new_key(api, "canary-one")
        said = assertion(key)
        bearer = granted(api, said)
        body_of_key = "".join(key["private_key"].splitlines()[1:-1])
        secrets = {"bearer": bearer, "owner's bearer": api.bearers[OWNER], "assertion": said, "key": body_of_key[:200]}
        answers = provoke(api, [bearer, api.bearers[OWNER], said, key["private_key"]])
    server.stop()
    found = [f"{name} in an answer" for name, secret in secrets.items() for answer in answers if secret in answer]
    for name, secret in secrets.items():
        found += [f"{name} in {path}" for path in files_with(server.data_dir, secret)]
    assert not found
    assert "token-project" in server.log()


def provoke(api: Api, secrets: list[str]) -> list[str]:
    """Calls that fail with a secret in every place where a client may put one by mistake; their answers."""
    answers = []
    for secret in secrets:
        header = secret.replace("\n", " ").strip()
        for who in ("", OWNER, "user:eve@example.com"):
            answers += [
                api(who, "GET", f"{P}/models/m", params={"access_token": secret, "key": secret}).text,
                api(who, "GET", f"{P}/models/none", headers={"X-Goog-Api-Key": header, "Cookie": header}).text,
                api(who, "DELETE", f"{P}/models/none").text,
                api(who, "PUT", f"{P}/models/m").text,
            ]
        for form in ("Basic {}", "Bearer {}x", "bearer  {}", "Token {}"):
            given = {"Authorization": form.format(header)}
            answers.append(api.client.get(f"{P}/models/none", headers=given).text)
            answers.append(api.client.post(f"{P}/models", content=b"{", headers=given).text)
        answers.append(api.client.post("/token", data={"grant_type": GRANT, "assertion": secret + "x"}).text)
        answers.append(api.client.post("/token", data={"grant_type": secret, "assertion": "x"}).text)
    return answers


def files_with(root: Path, secret: str) -> list[Path]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return [path for path in files if secret.encode() in path.read_bytes()]
