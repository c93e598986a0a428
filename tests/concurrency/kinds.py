"""The ways in which access is taken away. Each gives somebody the right to read one model and takes it again; from the
answer to the taking on, nobody in any process may be let in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tests.concurrency.fleet import Fleet, Line, P
from tests.harness import OWNER, PROJECT

LABELS = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}
#: How long a membership lasts that ends by itself.
SHORT = 1.5


class Kind:
    """Somebody (`who`), what they ask for, and how they get and lose the right to it. Writes go over `line`, or over
    the fleet's own connection."""

    refused = 403
    #: Seconds that what was given lasts by itself; None for ever.
    lasts: float | None = None

    def __init__(self, fleet: Fleet, name: str = "") -> None:
        self.fleet = fleet
        self.line: Line | None = None
        self.name = name or type(self).__name__.lower()
        self.who = f"user:{self.name}@example.com"
        self.model = f"{P}/models/{self.name}"
        self.prepare()

    def done(self, method: str, path: str, body: Any = None) -> Any:
        return self.fleet.done(method, path, body, line=self.line)

    def prepare(self) -> None:
        self.done("POST", f"{P}/models", {"name": self.name})

    def give(self) -> None: ...

    def take(self) -> None: ...

    def share(self, member: str = "", role: str = "roles/ml.modelUser", path: str = "") -> None:
        """The policy of the model (or of another path): its owner's, and the role for the member, if any."""
        owner = "roles/owner" if path else "roles/ml.modelOwner"
        bindings = [{"role": owner, "members": [OWNER]}] + ([{"role": role, "members": [member]}] if member else [])
        self.done("POST", f"{path or self.model}:setIamPolicy", {"policy": {"bindings": bindings}})

    def group(self, name: str) -> str:
        """The path of a new group."""
        body = {"groupKey": {"id": f"{name}@example.com"}, "parent": "organizations/1", "labels": LABELS}
        return "/v1/" + str(self.done("POST", "/v1/groups", body)["response"]["name"])


class Binding(Kind):
    """A binding of the model's own policy."""

    def give(self) -> None:
        self.share(self.who)

    def take(self) -> None:
        self.share()


class Inherited(Kind):
    """A binding of the project."""

    def prepare(self) -> None:
        super().prepare()
        self.share()

    def give(self) -> None:
        self.share(self.who, path=P)

    def take(self) -> None:
        self.share(path=P)


class Membership(Kind):
    def prepare(self) -> None:
        super().prepare()
        self.members = self.group("team") + "/memberships"
        self.share("group:team@example.com")

    def give(self) -> None:
        body = {"preferredMemberKey": {"id": self.who.partition(":")[2]}, "roles": [{"name": "MEMBER"}]}
        self.membership = "/v1/" + self.done("POST", self.members, body)["response"]["name"]

    def take(self) -> None:
        self.done("DELETE", self.membership)


class Nested(Kind):
    """A group that is taken out of another, with whom it holds."""

    def prepare(self) -> None:
        super().prepare()
        self.outer = self.group("outer") + "/memberships"
        inner = self.group("inner") + "/memberships"
        member = {"preferredMemberKey": {"id": self.who.partition(":")[2]}, "roles": [{"name": "MEMBER"}]}
        self.done("POST", inner, member)
        self.share("group:outer@example.com")

    def give(self) -> None:
        body = {"preferredMemberKey": {"id": "inner@example.com"}, "roles": [{"name": "MEMBER"}]}
        self.membership = "/v1/" + self.done("POST", self.outer, body)["response"]["name"]

    def take(self) -> None:
        self.done("DELETE", self.membership)


class Expiry(Kind):
    """A membership that ends by itself: nothing is written."""

    lasts = SHORT

    def prepare(self) -> None:
        super().prepare()
        self.members = self.group("guests") + "/memberships"
        self.share("group:guests@example.com")

    def give(self) -> None:
        self.end = datetime.now(UTC) + timedelta(seconds=SHORT)
        role = {"name": "MEMBER", "expiryDetail": {"expireTime": self.end.isoformat().replace("+00:00", "Z")}}
        self.done("POST", self.members, {"preferredMemberKey": {"id": self.who.partition(":")[2]}, "roles": [role]})

    def take(self) -> None:
        time.sleep(max(0.0, (self.end - datetime.now(UTC)).total_seconds()))  # the end itself is what is waited for


class RoleEdit(Kind):
    """A custom role that no longer holds the permission."""

    def prepare(self) -> None:
        super().prepare()
        role = {"includedPermissions": ["ml.models.list"], "stage": "GA"}
        self.role = self.done("POST", f"{P}/roles", {"roleId": self.name, "role": role})["name"]
        self.share(self.who, role=self.role)

    def give(self) -> None:
        self.hold("ml.models.get")

    def take(self) -> None:
        self.hold("ml.models.list")

    def hold(self, permission: str) -> None:
        body = {"includedPermissions": [permission]}
        self.done("PATCH", f"/v1/{self.role}?updateMask=includedPermissions", body)


class RoleDelete(Kind):
    """A custom role that is deleted."""

    def prepare(self) -> None:
        super().prepare()
        role = {"includedPermissions": ["ml.models.get"], "stage": "GA"}
        self.role = self.done("POST", f"{P}/roles", {"roleId": self.name, "role": role})["name"]
        self.share(self.who, role=self.role)
        self.take()

    def give(self) -> None:
        self.done("POST", f"/v1/{self.role}:undelete", {})

    def take(self) -> None:
        self.done("DELETE", f"/v1/{self.role}")


class Deny(Kind):
    """A deny policy that is attached to the project."""

    def prepare(self) -> None:
        super().prepare()
        self.share(self.who)
        place = quote(f"cloudresourcemanager.googleapis.com/projects/{PROJECT}", safe="")
        self.policies = f"/v2/policies/{place}/denypolicies"
        self.take()

    def give(self) -> None:
        self.done("DELETE", f"{self.policies}/no-reading")

    def take(self) -> None:
        rule = {"deniedPrincipals": [f"principal://goog/subject/{self.who.partition(':')[2]}"],
                "deniedPermissions": ["ml.googleapis.com/models.get"]}  # fmt: skip
        self.done("POST", f"{self.policies}?policyId=no-reading", {"rules": [{"denyRule": rule}]})


class Account(Kind):
    """A service account that is disabled: its token is refused."""

    refused = 401

    def prepare(self) -> None:
        super().prepare()
        account = self.done("POST", f"{P}/serviceAccounts", {"accountId": "some-robot"})
        self.who, self.path = f"serviceAccount:{account['email']}", f"/v1/{account['name']}"
        self.share(self.who)
        self.fleet.bearer(self.who)
        self.take()

    def give(self) -> None:
        self.done("POST", f"{self.path}:enable", {})

    def take(self) -> None:
        self.done("POST", f"{self.path}:disable", {})


class Move(Kind):
    """A project that is moved out of the folder where the right is held."""

    def prepare(self) -> None:
        body = {"displayName": "Readers", "parent": "organizations/1"}
        self.folder = self.done("POST", "/v3/folders", body)["response"]["name"]
        policy = {"bindings": [{"role": "roles/ml.viewer", "members": [self.who]}]}
        self.done("POST", f"/v3/{self.folder}:setIamPolicy", {"policy": policy})
        self.done("POST", "/v1/projects", {"projectId": "moved-project"})
        self.done("POST", "/v1/projects/moved-project/models", {"name": "m"})
        self.model = "/v1/projects/moved-project/models/m"

    def give(self) -> None:
        self.done("POST", "/v3/projects/moved-project:move", {"destinationParent": self.folder})

    def take(self) -> None:
        self.done("POST", "/v3/projects/moved-project:move", {"destinationParent": "organizations/1"})


KINDS: tuple[Callable[[Fleet], Kind], ...] = (
    Binding, Inherited, Membership, Nested, Expiry, RoleEdit, RoleDelete, Deny, Account, Move,
)  # fmt: skip
