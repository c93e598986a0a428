"""What a caller may see of the policies, groups and roles that a decision rests on.

Each is decided by the right to read it by its own method, and by the name alone: whether it exists does not show.
"""

from __future__ import annotations

from mlgate.api.call import Call
from mlgate.api.members import find_group
from mlgate.core.iam import permissions
from mlgate.core.names import ORGANIZATION, collection_of

_PREFIXES = {
    "projects": "resourcemanager.projects",
    "folders": "resourcemanager.folders",
    "organizations": "resourcemanager.organizations",
    "buckets": "storage.buckets",
    "objects": "storage.objects",
    "serviceAccounts": "iam.serviceAccounts",
    "keys": "iam.serviceAccountKeys",
    "roles": "iam.roles",
    "groups": "cloudidentity.groups",
    "memberships": "cloudidentity.memberships",
}
#: Policies that the server writes and no method reads: whoever may read what they were written from may see them.
_POLICY_READERS = {"operations": "resourcemanager.projects.getIamPolicy", "groups": "cloudidentity.memberships.list"}
#: Their names do not tell what they are in.
_PARENT_UNTOLD = ("projects", "folders", "buckets")
_HAVE_DENY_POLICIES = ("projects", "folders", "organizations")


def right(resource: str, verb: str) -> str:
    """The permission for a verb on a resource of this kind, such as ml.models.get; "" where there is none."""
    collection = collection_of(resource)
    permission = f"{_PREFIXES.get(collection, f'ml.{collection}')}.{verb}"
    return permission if permission in permissions.ALL else ""


def policy_reader(resource: str) -> str:
    """The permission to read the policy of a resource; "" for a kind that has none."""
    return right(resource, "getIamPolicy") or _POLICY_READERS.get(collection_of(resource), "")


class CallersSight:
    """The sight of the call's caller."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._found: dict[tuple[str, str], bool] = {}
        self._groups: dict[str, str] = {}

    def policy(self, resource: str) -> bool:
        reader = policy_reader(resource)
        return not reader or self._may(reader, resource)

    def denials(self, resource: str) -> bool:
        return collection_of(resource) not in _HAVE_DENY_POLICIES or self._may("iam.denypolicies.get", resource)

    def parent(self, resource: str) -> bool:
        return collection_of(resource) not in _PARENT_UNTOLD or self._may(right(resource, "get"), resource)

    def role(self, role: str) -> bool:
        return role.startswith("roles/") or self._may("iam.roles.get", role)

    def members(self, group: str) -> bool:
        """Who sees the members sees the group; of an address that no group has, who sees all groups."""
        if group not in self._groups:
            found = find_group(self._call.tx, group)
            self._groups[group] = found.name if found else ORGANIZATION
        return self._may("cloudidentity.memberships.list", self._groups[group])

    def _may(self, permission: str, resource: str) -> bool:
        key = permission, resource
        if key not in self._found:
            self._found[key] = self._call.may(permission, resource)
        return self._found[key]
