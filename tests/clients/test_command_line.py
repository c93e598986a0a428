"""The command line against a real server: sharing as the guide tells it, formats, errors, signing in."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlgate.cli import bindings, policies, waiting
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from tests.command_line import CommandLine
from tests.harness import PROJECT, Server

BOB = "user:bob@example.com"
OWNER_ROLE, USER_ROLE = "roles/ml.modelOwner", "roles/ml.modelUser"
#: iam.json as the sharing guide shows it, trailing comma included; the etag is replaced before use.
GUIDE_FILE = """{
  "bindings": [
    {
      "role": "roles/ml.modelOwner",
      "members": [
        "user:ada@example.com",
        "user:user2@gmail.com",
        "serviceAccount:my-other-app@appspot.gserviceaccount.com"
      ]
    }
  ],
  "etag": "ETAG",
}
"""


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path / "config")


@pytest.fixture
def person(server: Server, tmp_path: Path) -> Callable[[str], CommandLine]:
    return lambda principal: CommandLine(server, tmp_path / principal.replace(":", "_"), principal)


@pytest.fixture
def model(ada: CommandLine, request: pytest.FixtureRequest) -> str:
    """A model of the test's own."""
    name = f"m_{os.getpid()}_{abs(hash(request.node.name)) % 10**8}"
    ada.ok("models", "create", name)
    return name


# ------------------------------------------------------------------------------------- sharing, as the guide tells it


def test_the_policy_is_yaml_with_members_before_role_and_the_etag_last(ada: CommandLine, model: str) -> None:
    answer = ada.ok("models", "get-iam-policy", model)
    etag = answer.yaml["etag"]
    assert answer.stdout == (
        f"bindings:\n- members:\n  - user:ada@example.com\n  role: roles/ml.modelOwner\netag: {etag}\n"
    )


def test_the_policy_as_json_is_what_the_api_returns(ada: CommandLine, model: str) -> None:
    answer = ada.ok("models", "get-iam-policy", model, "--format", "json")
    name = f"projects/{PROJECT}/models/{model}"
    with ada.server.http() as http:
        assert answer.json == http.get(f"/v1/{name}:getIamPolicy").json()


def test_the_guides_policy_file_with_its_trailing_comma_is_accepted(
    ada: CommandLine, model: str, tmp_path: Path
) -> None:
    file = tmp_path / "iam.json"
    etag = ada.ok("models", "get-iam-policy", model, "--format", "json").json["etag"]
    file.write_text(GUIDE_FILE.replace("ETAG", etag))
    answer = ada.ok("models", "set-iam-policy", model, str(file))
    assert answer.yaml["bindings"][0]["members"] == [
        "user:ada@example.com", "user:user2@gmail.com", "serviceAccount:my-other-app@appspot.gserviceaccount.com",
    ]  # fmt: skip
    assert answer.yaml["etag"] != etag
    assert "Updated IAM policy" in answer.stderr


def test_a_policy_that_was_printed_can_be_set_again_from_standard_input(ada: CommandLine, model: str) -> None:
    printed = ada.ok("models", "get-iam-policy", model).stdout
    assert ada.ok("models", "set-iam-policy", model, "-", input=printed).yaml["bindings"] == [
        {"members": ["user:ada@example.com"], "role": OWNER_ROLE}
    ]


def test_a_stale_etag_is_refused_and_not_retried(ada: CommandLine, model: str, tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(ada.ok("models", "get-iam-policy", model).stdout)
    ada.ok("models", "add-iam-policy-binding", model, "--member", BOB, "--role", USER_ROLE)
    assert "(mlgate.models.set-iam-policy) ABORTED: " in ada.fails("models", "set-iam-policy", model, str(file))


def test_members_keep_their_order_and_new_ones_are_appended(ada: CommandLine, model: str) -> None:
    binding = (model, "--member=group:team@example.com", f"--role={USER_ROLE}")
    assert "Group team@example.com does not exist" in ada.fails("models", "add-iam-policy-binding", *binding)
    ada.ok("identity", "groups", "create", "team@example.com")
    for member in (BOB, "group:team@example.com", "user:aaron@example.com"):
        answer = ada.ok("models", "add-iam-policy-binding", model, f"--member={member}", f"--role={USER_ROLE}")
    assert answer.yaml["bindings"][1]["members"] == [BOB, "group:team@example.com", "user:aaron@example.com"]
    again = ada.ok("models", "add-iam-policy-binding", model, "--member", BOB, "--role", USER_ROLE)
    assert again.yaml["bindings"] == answer.yaml["bindings"]


def test_removing_the_last_member_removes_the_binding(ada: CommandLine, model: str) -> None:
    ada.ok("models", "add-iam-policy-binding", model, "--member", BOB, "--role", USER_ROLE)
    answer = ada.ok("models", "remove-iam-policy-binding", model, f"--member={BOB}", f"--role={USER_ROLE}")
    assert [binding["role"] for binding in answer.yaml["bindings"]] == [OWNER_ROLE]


def test_removing_a_binding_that_does_not_exist_is_an_error(ada: CommandLine, model: str) -> None:
    said = ada.fails("models", "remove-iam-policy-binding", model, f"--member={BOB}", f"--role={USER_ROLE}")
    assert said.startswith("ERROR: (mlgate.models.remove-iam-policy-binding) NOT_FOUND: ")


def test_access_begins_with_the_binding_and_ends_with_it(
    ada: CommandLine, model: str, person: Callable[[str], CommandLine]
) -> None:
    bob = person(BOB)
    denied = "ERROR: (mlgate.models.describe) PERMISSION_DENIED: Permission 'ml.models.get' denied"
    name = f"projects/{PROJECT}/models/{model}"
    assert bob.fails("models", "describe", model).startswith(denied)
    ada.ok("models", "add-iam-policy-binding", model, "--member", BOB, "--role", USER_ROLE)
    assert bob.ok("models", "describe", name).yaml["name"] == name
    assert "PERMISSION_DENIED" in bob.fails("models", "get-iam-policy", model)
    ada.ok("models", "remove-iam-policy-binding", model, "--member", BOB, "--role", USER_ROLE)
    assert bob.fails("models", "describe", model).startswith(denied)


def test_project_and_account_policies_have_the_same_words(ada: CommandLine) -> None:
    ada.ok("iam", "service-accounts", "create", "policy-robot")
    email = f"policy-robot@{PROJECT}.iam.gserviceaccount.com"
    for words, role in (
        (("projects", PROJECT), "roles/ml.viewer"),
        (("iam", "service-accounts", email), "roles/iam.serviceAccountUser"),
    ):
        group, name = words[:-1], words[-1]
        binding = (name, "--member", "user:carol@example.com", "--role", role)
        ada.ok(*group, "add-iam-policy-binding", *binding)
        held = [b["role"] for b in ada.ok(*group, "get-iam-policy", name).yaml["bindings"]]
        assert role in held
        ada.ok(*group, "remove-iam-policy-binding", *binding)
        kept = ada.ok(*group, "get-iam-policy", name, "--format=json").json
        assert role not in [b["role"] for b in kept.get("bindings", [])]


def test_concurrent_add_bindings_lose_none(ada: CommandLine, model: str) -> None:
    members = [f"user:member{i}@example.com" for i in range(10)]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(10) as threads:
        for name, value in ada.environment.items():
            patch.setenv(name, value)

        def add(member: str) -> None:
            client = Client()
            policies.change(client, _models(), model, lambda p: bindings.with_member(p, USER_ROLE, member))
            client.close()

        list(threads.map(add, members))
    binding = ada.ok("models", "get-iam-policy", model).yaml["bindings"][1]
    assert sorted(binding["members"]) == sorted(members)


def _models() -> policies.Kind:
    return policies.Kind(
        "model",
        lambda client, m: client.call("ml.projects.models.getIamPolicy", resource=f"projects/{PROJECT}/models/{m}"),
        lambda client, m, policy: client.call(
            "ml.projects.models.setIamPolicy", {"policy": policy}, resource=f"projects/{PROJECT}/models/{m}"
        ),
    )


def test_a_change_gives_up_after_many_conflicts_and_at_once_on_another_error() -> None:
    calls: list[str] = []

    def write(status: str) -> Callable[[Any, str, Any], Any]:
        def refuse(client: Any, name: str, policy: Any) -> Any:
            calls.append(status)
            raise Failure(status, "no")

        return refuse

    for status, expected in (("ABORTED", 20), ("PERMISSION_DENIED", 1)):
        calls.clear()
        kind = policies.Kind("model", lambda client, name: {}, write(status))
        with pytest.raises(Failure):
            policies.change(Client(), kind, "m", lambda policy: policy, sleep=lambda seconds: None)
        assert len(calls) == expected


def test_a_conditional_binding_is_left_alone() -> None:
    condition = {"expression": "request.time < timestamp('2030-01-01T00:00:00Z')"}
    policy = {"etag": "AAE=", "bindings": [{"role": USER_ROLE, "members": [BOB], "condition": condition}]}
    added = bindings.with_member(policy, USER_ROLE, BOB)
    assert [binding.get("condition") for binding in added["bindings"]] == [condition, None]
    assert added["version"] == 3
    with pytest.raises(Failure):
        bindings.without_member(policy, USER_ROLE, BOB)


def test_a_grant_that_expires_says_what_is_left_and_ends(
    ada: CommandLine, model: str, person: Callable[[str], CommandLine]
) -> None:
    bob = person(BOB)
    grant = (model, "--member", BOB, "--role", USER_ROLE)
    ada.ok("models", "add-iam-policy-binding", *grant, "--expires", "7d")
    shown = ada.ok("models", "get-iam-policy", model)
    assert f"{USER_ROLE} for {BOB}: for another 6d23h" in shown.stderr
    assert "request.time < timestamp(" in shown.stdout
    bob.ok("models", "describe", model)
    said = ada.fails("models", "remove-iam-policy-binding", *grant)
    assert "There is one with the condition" in said
    ada.ok("models", "remove-iam-policy-binding", *grant, "--all")
    ada.ok("models", "add-iam-policy-binding", *grant, "--expires", "2020-01-01T00:00:00Z")
    assert "it ended" in ada.ok("models", "get-iam-policy", model).stderr
    assert "PERMISSION_DENIED" in bob.fails("models", "describe", model)


def test_a_condition_is_named_to_be_added_and_removed(
    ada: CommandLine, model: str, person: Callable[[str], CommandLine]
) -> None:
    bob = person(BOB)
    condition = 'expression=resource.type == "ml.googleapis.com/Model" || false,title=The model, and not its versions'
    grant = (model, "--member", BOB, "--role", USER_ROLE, "--condition", condition)
    ada.ok("models", "add-iam-policy-binding", *grant)
    [binding] = [b for b in ada.ok("models", "get-iam-policy", model).yaml["bindings"] if "condition" in b]
    assert binding["condition"]["title"] == "The model, and not its versions"
    bob.ok("models", "describe", model)
    assert "PERMISSION_DENIED" in bob.fails("versions", "describe", "v1", "--model", model)
    ada.ok("models", "remove-iam-policy-binding", *grant)
    assert "PERMISSION_DENIED" in bob.fails("models", "describe", model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--condition", "title=x"), "is no condition"),
        (("--condition", "true"), "is no condition"),
        (("--condition", "expression=true,title=x", "--expires", "7d"), "use one"),
        (("--expires", "tomorrow"), "is no end"),
        (("--condition", "expression=resource.nam,title=x"), "resource.nam"),
    ],
)
def test_a_condition_that_is_none_is_refused(ada: CommandLine, model: str, options: list[str], said: str) -> None:
    grant = (model, "--member", BOB, "--role", USER_ROLE)
    assert said in ada.fails("models", "add-iam-policy-binding", *grant, *options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bindings: [\n", "neither JSON nor YAML"),
        ("- 1\n", "holds no policy"),
        ("etag: a\netag: b\n", "occurs twice"),
        ("bindings:\n- &x {role: r}\n- *x\n", "aliases"),
        ("policy: {}\n", "no field of a policy"),
        ("a: !!python/object/apply:os.getcwd []\n", "neither JSON nor YAML"),
        ("etag: 12345678\n", "in quotes"),
        ("[" * 50_000, "neither JSON nor YAML"),
        ("#" * (1 << 20) + "\n\n", "too large"),
    ],
)
def test_a_policy_file_that_could_mean_anything_else_is_refused(
    ada: CommandLine, model: str, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "policy"
    file.write_text(text)
    assert said in ada.fails("models", "set-iam-policy", model, str(file))


# ------------------------------------------------------------------------------------------------ formats and errors


def test_lists_are_tables_and_can_be_yaml_json_or_values(ada: CommandLine, model: str) -> None:
    name = f"projects/{PROJECT}/models/{model}"
    table = ada.ok("models", "list").stdout.splitlines()
    assert table[0].split() == ["NAME", "DEFAULT_VERSION_NAME"]
    assert model in [line.split()[0] for line in table[1:]]
    assert name in [item["name"] for item in ada.ok("models", "list", "--format", "json").json]
    assert name in ada.ok("models", "list", "--format=value(name)").stdout.splitlines()
    assert f"name: {name}\n" in ada.ok("models", "list", "--format", "yaml").stdout
    assert len(ada.ok("models", "list", "--limit", "1", "--format", "json").json) == 1


def test_an_unknown_format_is_refused_before_anything_is_done(ada: CommandLine) -> None:
    assert "is no format" in ada.fails("models", "create", "never_made", "--format", "xml")
    assert "NOT_FOUND" in ada.fails("models", "describe", "never_made")


def test_text_of_others_cannot_move_the_cursor(ada: CommandLine) -> None:
    ada.ok("models", "create", "coloured", "--description", "\x1b[2Jgone")
    for format in ("yaml", "json", "table(name,description)", "value(description)"):
        assert "\x1b" not in ada.ok("models", "describe", "coloured", "--format", format).stdout


def test_errors_name_the_command_the_code_and_the_fields(ada: CommandLine, model: str) -> None:
    said = ada.fails("models", "create", model).splitlines()
    assert said[0].startswith("ERROR: (mlgate.models.create) ALREADY_EXISTS: ")
    assert said[1] == "- model.name: A model with the same name already exists."
    assert "is no model" in ada.fails("models", "describe", "a/b")


def test_a_server_that_is_not_there_is_told_in_one_line(ada: CommandLine) -> None:
    ada.environment["MLGATE_SERVER"] = "http://127.0.0.1:9"
    said = ada.fails("models", "list")
    assert said.startswith("ERROR: (mlgate.models.list) UNAVAILABLE: http://127.0.0.1:9 does not answer")
    ada.environment["MLGATE_SERVER"] = "ftp://nowhere"
    assert "is no address" in ada.fails("models", "list")


def test_models_are_described_updated_and_deleted(ada: CommandLine, model: str) -> None:
    ada.ok("models", "update", model, "--description", "for screening", "--update-labels", "team=a,stage=")
    shown = ada.ok("models", "describe", model).yaml
    assert (shown["description"], shown["labels"]) == ("for screening", {"team": "a", "stage": ""})
    ada.ok("models", "delete", model)
    assert "NOT_FOUND" in ada.fails("models", "describe", model)
    names = ada.ok("operations", "list", "--format", "value(name)").stdout.splitlines()
    described = ada.ok("operations", "describe", names[0]).yaml
    assert described["done"] is True
    ada.ok("operations", "wait", names[0].rpartition("/")[2])


def test_projects_are_created_deleted_and_restored(ada: CommandLine) -> None:
    ada.ok("projects", "create", "second-project", "--name", "Second", "--labels", "team=b")
    assert ada.ok("projects", "describe", "second-project").yaml["name"] == "Second"
    ada.ok("projects", "delete", "second-project")
    ada.ok("projects", "undelete", "second-project")
    listed = ada.ok("projects", "list", "--format=value(projectId,lifecycleState)").stdout
    assert "second-project\tACTIVE\n" in listed
    assert ada.ok("models", "list", "--project", "second-project").stdout == ""
    assert ada.ok("--project", "second-project", "models", "list", "--format", "json").json == []


def test_roles_and_permissions_are_shown(ada: CommandLine) -> None:
    held = ada.ok("iam", "roles", "describe", "roles/ml.modelUser").yaml["includedPermissions"]
    assert "ml.models.predict" in held
    assert "roles/ml.admin" in ada.ok("iam", "roles", "list").stdout
    model = f"//ml.googleapis.com/projects/{PROJECT}/models/x"
    grantable = ada.ok("iam", "list-grantable-roles", model, "--format=value(name)").stdout.split()
    assert grantable == ["roles/ml.modelOwner", "roles/ml.modelUser"]
    assert "ml.models.predict" in ada.ok("iam", "list-testable-permissions", model).stdout


# --------------------------------------------------------------------------------------------- configuration, sign-in


def test_an_option_comes_before_the_environment_and_that_before_what_is_saved(ada: CommandLine) -> None:
    bare = ada.without("MLGATE_SERVER", "MLGATE_PROJECT", "MLGATE_TOKEN")
    assert "mlgate config set server" in bare.fails("projects", "list")
    bare.ok("config", "set", "server", ada.server.url)
    assert "mlgate auth login" in bare.fails("projects", "list")
    bare.ok("auth", "login", "--token", "-", input=ada.server.token() + "\n")
    assert "mlgate config set project" in bare.fails("models", "list")
    bare.ok("config", "set", "project", "no-such-project")
    assert "projects/no-such-project" in bare.fails("models", "list")
    bare.environment["MLGATE_PROJECT"] = "other-project"
    assert "projects/other-project" in bare.fails("models", "list")
    bare.ok("models", "list", "--project", PROJECT)
    rows = {row["property"]: row["from"] for row in bare.ok("config", "list", "--format", "json").json}
    assert rows == {"server": "config", "project": "MLGATE_PROJECT"}
    bare.environment["MLGATE_TOKEN"] = "mlgate_wrong"
    assert "UNAUTHENTICATED" in bare.fails("projects", "list")
    bare.ok("config", "unset", "project")
    assert "is no property" in bare.fails("config", "get", "colour")


def test_what_is_saved_is_for_its_owner_alone(ada: CommandLine) -> None:
    bare = ada.without("MLGATE_TOKEN")
    bare.ok("config", "set", "project", PROJECT)
    bare.ok("auth", "login", "--token", "-", input=ada.server.token())
    files = list((ada.home / "mlgate").iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert sorted(file.name for file in files) == ["config.json", "credentials.json"]
    assert bare.ok("auth", "print-access-token").stdout.strip() == ada.server.token()
    bare.ok("auth", "revoke")
    assert "UNAUTHENTICATED" in bare.fails("auth", "print-access-token")


def test_a_token_is_not_taken_from_the_command_line(ada: CommandLine) -> None:
    said = ada.fails("auth", "login", "--token", "mlgate_secret")
    assert "--token -" in said
    assert "mlgate_secret" not in said


def test_a_key_signs_in_and_its_token_is_bought_anew_when_it_ends(ada: CommandLine, tmp_path: Path) -> None:
    ada.ok("iam", "service-accounts", "create", "key-robot")
    email, file = f"key-robot@{PROJECT}.iam.gserviceaccount.com", tmp_path / "key.json"
    ada.ok("iam", "service-accounts", "keys", "create", str(file), "--iam-account", email)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "cannot be created" in ada.fails(
        "iam", "service-accounts", "keys", "create", str(file), "--iam-account", email
    )
    ada.ok("projects", "add-iam-policy-binding", PROJECT, f"--member=serviceAccount:{email}", "--role=roles/ml.viewer")
    robot = ada.without("MLGATE_TOKEN")
    assert email in robot.ok("auth", "login", "--key-file", str(file)).stderr
    first = robot.ok("auth", "print-access-token").stdout
    assert robot.ok("auth", "print-access-token").stdout == first
    robot.ok("models", "list")
    saved = ada.home / "mlgate" / "credentials.json"
    saved.write_text(json.dumps({**json.loads(saved.read_text()), "expires": 0}))
    assert robot.ok("auth", "print-access-token").stdout != first
    assert robot.ok("auth", "list").yaml == {"account": email, "source": "saved key"}
    key_id = json.loads(file.read_text())["private_key_id"]
    listed = ada.ok("iam", "service-accounts", "keys", "list", "--iam-account", email).stdout
    assert key_id in listed
    ada.ok("iam", "service-accounts", "keys", "delete", key_id, "--iam-account", email)
    assert "Invalid grant" in robot.fails("auth", "login", "--key-file", str(file))


def test_what_is_no_key_file_is_refused(ada: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text('{"type": "authorized_user"}')
    assert "is no service-account key" in ada.fails("auth", "login", "--key-file", str(file))


def test_log_http_shows_requests_and_no_secret(ada: CommandLine, tmp_path: Path) -> None:
    ada.ok("iam", "service-accounts", "create", "log-robot")
    email, file = f"log-robot@{PROJECT}.iam.gserviceaccount.com", tmp_path / "key.json"
    made = ada.ok("--log-http", "iam", "service-accounts", "keys", "create", str(file), "--iam-account", email)
    robot = ada.without("MLGATE_TOKEN")
    login = robot.ok("auth", "login", "--key-file", str(file), "--log-http")
    token = robot.ok("auth", "print-access-token").stdout.strip()
    log = made.stderr + login.stderr + ada.run("models", "list", "--log-http").stderr
    assert f"GET {ada.server.url}/v1/projects/{PROJECT}/models" in log
    assert '"models"' in log
    for secret in (ada.server.token(), token, "PRIVATE KEY", "eyJ", json.loads(file.read_text())["private_key"][40:80]):
        assert secret not in log


# ----------------------------------------------------------------------------------------------------------- the tool


def test_waiting_outlasts_a_server_that_is_away_for_a_while() -> None:
    class Away(Client):
        calls = 0

        def call(self, method_id: str, /, body: Any = None, query: Any = None, **path: str) -> dict[str, Any]:
            self.calls += 1
            if self.calls < 4:
                raise Failure("UNAVAILABLE", "restarting")
            return {"name": path["name"], "done": True, "response": {"@type": "t", "name": "made"}}

    operation = {"name": "projects/p/operations/o"}
    assert waiting.result(Away(), operation, "Waiting", sleep=lambda seconds: None) == {"name": "made"}


def test_help_loads_neither_the_server_nor_an_http_client() -> None:
    script = (
        "import sys; from mlgate.cli.main import program; "
        "heavy = {'httpx', 'rich', 'yaml', 'sqlalchemy', 'uvicorn', 'msgspec', 'mlgate.app', 'mlgate.api.method'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_client_commands_do_not_load_the_server(ada: CommandLine) -> None:
    script = (
        "import sys; from mlgate.cli.main import program\n"
        "try: program(['models', 'list'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'mlgate.app', 'sqlalchemy', 'uvicorn', 'starlette'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **ada.environment},
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_words_are_completed_in_every_shell(shell: str) -> None:
    environment = {
        **os.environ, "_MLGATE_COMPLETE": f"complete_{shell}", "COMP_WORDS": "mlgate models get", "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": "mlgate models get", "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "mlgate.cli.main"], capture_output=True, text=True, env=environment, check=False
    )
    assert "get-iam-policy" in done.stdout, done.stderr


def _said(who: CommandLine, *words: str) -> Any:
    return who.ok(*words, "--format", "json").json


def test_a_custom_role_is_made_changed_deleted_and_restored(ada: CommandLine) -> None:
    def listed() -> list[str]:
        return [role["name"] for role in _said(ada, "iam", "roles", "list", "--custom")]

    others = listed()  # of the tests before, on the same server
    made = _said(ada, "iam", "roles", "create", "predictOnly", "--permissions", "ml.models.predict", "--title", "P")
    assert made["name"].endswith("/roles/predictOnly")
    changed = _said(ada, "iam", "roles", "update", "predictOnly", "--permissions", "ml.models.predict,ml.models.get")
    assert changed["includedPermissions"] == ["ml.models.predict", "ml.models.get"]
    assert _said(ada, "iam", "roles", "describe", made["name"])["title"] == "P"
    assert sorted(listed()) == sorted([*others, made["name"]])
    assert _said(ada, "iam", "roles", "delete", "predictOnly")["deleted"] is True
    assert "deleted" not in _said(ada, "iam", "roles", "undelete", "predictOnly")
