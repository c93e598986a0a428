"""The world in which an attacker is let loose: other people's things, one of every kind.

    organizations/1            denied to all but Carol: versions.predict, objects.delete
    ├── folder F               denied to all: trials.delete
    │   └── project alpha      models m (with version v) and other, a job, an operation, a bucket, a custom role that
    │                          Carol has; accounts: editor-account (Editor of alpha), owner-account (Owner of alpha)
    ├── folder G               empty
    ├── project beta           denied to all: jobs.cancel; a model, a bucket
    ├── group crew             Owner of beta
    └── group board            Storage Admin of beta's bucket; crew is in it

What was: Mallory was once Owner of alpha and of model m. A group and an account that are gone are named, as deleted, by
the policies of alpha and beta. Beta's policy also names an account of a project that nobody has created yet.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlgate.app import admin
from mlgate.core.iam.policy import EMPTY, Binding, Policy, condition_from_plain
from mlgate.core.names import ORGANIZATION, parent_of
from mlgate.ports import Author, Record
from mlgate.settings import Settings
from tests.escalation.office import Office, scratch

OWNER, CAROL, MALLORY = "user:ada@example.com", "user:carol@example.com", "user:mallory@example.com"
ALPHA, BETA = "projects/alpha-project", "projects/beta-project"
MODEL, OTHER, FAR_MODEL = f"{ALPHA}/models/m", f"{ALPHA}/models/other", f"{BETA}/models/n"
VERSION, JOB, OPERATION = f"{MODEL}/versions/v", f"{ALPHA}/jobs/j", f"{ALPHA}/operations/o"
BUCKET, FAR_BUCKET = "buckets/alpha-bucket", "buckets/beta-bucket"
CUSTOM_ROLE = f"{ALPHA}/roles/caller"
CUSTOM_PERMISSIONS = ("ml.models.predict", "logging.logs.list")
CREW, BOARD = "crew@example.com", "board@example.com"
#: Addresses that rights wait for, or once belonged to.
GONE_GROUP, GONE_ACCOUNT = "gone@example.com", "gone-account"
LATER_PROJECT, LATER_ACCOUNT = "later-project", "later-account"
#: The permissions of `ml` that deny policies take away, by the place where each stands.
DENIED = {"organization": ("ml.versions.predict", "storage.objects.delete"), "F": ("ml.trials.delete",),
          "beta": ("ml.jobs.cancel",)}  # fmt: skip

LABELS = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}


def account_name(account_id: str) -> str:
    return f"{ALPHA}/serviceAccounts/{account_email(account_id)}"


def account_email(account_id: str, project: str = ALPHA) -> str:
    return f"{account_id}@{project.rpartition('/')[2]}.iam.gserviceaccount.com"


EDITOR_ACCOUNT, OWNER_ACCOUNT = account_name("editor-account"), account_name("owner-account")


@dataclass(frozen=True)
class World:
    """A built world: where it is kept, and the names that the server chose."""

    kept: Path
    catalogue: str
    folder: str
    other_folder: str
    crew: str
    board: str

    @property
    def parents(self) -> dict[str, str]:
        """Every place, with the one that it is in."""
        here = {ORGANIZATION: "", self.folder: ORGANIZATION, self.other_folder: ORGANIZATION, ALPHA: self.folder,
                BETA: ORGANIZATION, self.crew: ORGANIZATION, self.board: ORGANIZATION, BUCKET: ALPHA,
                FAR_BUCKET: BETA}  # fmt: skip
        inside = (MODEL, OTHER, FAR_MODEL, VERSION, JOB, OPERATION, EDITOR_ACCOUNT, OWNER_ACCOUNT)
        return here | {name: parent_of(name) or "" for name in inside}

    def below(self, top: str) -> set[str]:
        """The place and all that is in it."""
        parents = self.parents
        found = {top}
        while more := {place for place, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    @contextmanager
    def opened(self) -> Iterator[Office]:
        """A server on a copy of the world."""
        with scratch() as directory:
            shutil.copytree(self.kept, directory / "data")
            office = Office(directory / "data", self.catalogue)
            try:
                yield office
            finally:
                office.close()


def build(data_dir: Path, catalogue: str) -> World:
    admin.initialize(Settings(data_dir=str(data_dir)), OWNER, ALPHA.partition("/")[2])
    office = Office(data_dir, catalogue)
    try:
        return _furnished(office, data_dir, catalogue)
    finally:
        office.close()


def _furnished(office: Office, data_dir: Path, catalogue: str) -> World:
    ada = office.sign_in(OWNER)

    def post(path: str, body: Any, **query: str) -> Any:
        return office.done(ada, "POST", path, body, **query)

    governing = ("resourcemanager.folderAdmin", "resourcemanager.organizationAdmin", "resourcemanager.projectCreator",
                 "cloudidentity.groupsAdmin", "iam.denyAdmin")  # fmt: skip
    bindings = [{"role": f"roles/{role}", "members": [OWNER]} for role in governing]
    post("v1/organizations/1:setIamPolicy", {"policy": {"bindings": bindings}})
    folder, other = (
        post("v3/folders", {"displayName": f"Folder {name}", "parent": ORGANIZATION})["response"]["name"]
        for name in "FG"
    )
    post(f"v3/{ALPHA}:move", {"destinationParent": folder})
    post("v1/projects", {"projectId": BETA.partition("/")[2]})
    post(f"v1/{ALPHA}/models", {"name": "m"})
    post(f"v1/{ALPHA}/models", {"name": "other"})
    post(f"v1/{BETA}/models", {"name": "n"})
    for bucket, project in ((BUCKET, ALPHA), (FAR_BUCKET, BETA)):
        post("storage/v1/b", {"name": bucket.partition("/")[2]}, project=project.partition("/")[2])
    for account in ("editor-account", "owner-account", GONE_ACCOUNT):
        post(f"v1/{ALPHA}/serviceAccounts", {"accountId": account})
    crew, board = (_group(office, ada, address) for address in (CREW, BOARD))
    gone = _group(office, ada, GONE_GROUP)
    post(f"v1/{board}/memberships", {"preferredMemberKey": {"id": CREW}, "roles": [{"name": "MEMBER"}]})
    post(f"v1/{ALPHA}/roles", {"roleId": "caller", "role": {"includedPermissions": CUSTOM_PERMISSIONS, "stage": "GA"}})

    _bind(office, ada, f"v1/{ALPHA}/models/m", {"roles/ml.modelOwner": [OWNER, MALLORY]})
    _bind(office, ada, f"v1/{ALPHA}/models/m", {"roles/ml.modelOwner": [OWNER, CAROL]})
    _bind(office, ada, f"v1/{ALPHA}", {"roles/owner": [OWNER, MALLORY]})
    accounts = {n: f"serviceAccount:{account_email(n)}" for n in ("editor-account", "owner-account", GONE_ACCOUNT)}
    alpha = {"roles/owner": [OWNER, accounts["owner-account"], f"group:{GONE_GROUP}"],
             "roles/editor": [accounts["editor-account"]], CUSTOM_ROLE: [CAROL]}  # fmt: skip
    _bind(office, ada, f"v1/{ALPHA}", alpha)
    later = f"serviceAccount:{account_email(LATER_ACCOUNT, LATER_PROJECT)}"
    _bind(office, ada, f"v1/{BETA}", {"roles/owner": [OWNER, f"group:{CREW}", accounts[GONE_ACCOUNT], later]})
    office.done(ada, "PUT", f"storage/v1/b/{FAR_BUCKET.partition('/')[2]}/iam", {"bindings": [
        {"role": "roles/storage.admin", "members": [f"group:{BOARD}"]}]})  # fmt: skip
    for place, top in (("organization", ORGANIZATION), ("F", folder), ("beta", BETA)):
        _deny(office, ada, top, DENIED[place])
    office.done(ada, "DELETE", f"v1/{account_name(GONE_ACCOUNT)}")
    office.done(ada, "DELETE", f"v1/{gone}")
    with office.services.store.write() as tx:
        # The account is gone for good, as it is after thirty days; jobs and versions need no more than names here.
        tx.author = Author(OWNER, datetime.now(UTC))
        for record in tx.find("deletedServiceAccount"):
            tx.delete(record.name)
        body = {"name": VERSION, "state": "READY", "deploymentUri": "gs://alpha-bucket/m"}
        tx.insert(Record(VERSION, "version", MODEL, "77", body, datetime.now(UTC)))
    return World(data_dir, catalogue, folder, other, crew, board)


def _group(office: Office, bearer: str, address: str) -> str:
    body = {"groupKey": {"id": address}, "parent": ORGANIZATION, "labels": LABELS}
    return str(office.done(bearer, "POST", "v1/groups", body)["response"]["name"])


def _bind(office: Office, bearer: str, path: str, bindings: Mapping[str, list[str]]) -> None:
    policy = {"bindings": [{"role": role, "members": members} for role, members in bindings.items()]}
    office.done(bearer, "POST", f"{path}:setIamPolicy", {"policy": policy})


def _deny(office: Office, bearer: str, place: str, permissions: tuple[str, ...]) -> None:
    names = [f"{p.partition('.')[0]}.googleapis.com/{p.partition('.')[2]}" for p in permissions]
    rule = {"deniedPrincipals": ["principalSet://goog/public:all"], "deniedPermissions": names,
            "exceptionPrincipals": ["principal://goog/subject/carol@example.com"]}  # fmt: skip
    attached = quote(f"cloudresourcemanager.googleapis.com/{place}", safe="")
    office.done(
        bearer, "POST", f"v2/policies/{attached}/denypolicies", {"rules": [{"denyRule": rule}]}, policyId="guard"
    )


def give(office: Office, role: str, place: str, condition: Mapping[str, str] | None = None) -> None:
    """Bind the role to Mallory on the place, as somebody with the right to do so would have."""
    with office.services.store.write() as tx:
        tx.author = Author(OWNER, datetime.now(UTC))
        policy: Policy = tx.policy(place) or EMPTY
        binding = Binding(role, (MALLORY,), condition_from_plain(condition))
        tx.set_policy(place, replace(policy, bindings=(*policy.bindings, binding), version=3))
