"""What each predefined role may reach, written by hand: what it holds where it is bound, and the ways that lead further
on purpose. A way is a line of WAYS with its reason; a role without a line in LEADS reaches what it holds and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mlgate.core.iam.permissions import ALL, ORGANIZATION_ONLY
from mlgate.core.iam.roles import GOOGLE, permissions_by_role
from mlgate.core.names import ORGANIZATION
from tests.escalation.world import (
    ALPHA,
    BETA,
    BUCKET,
    CUSTOM_PERMISSIONS,
    CUSTOM_ROLE,
    DENIED,
    EDITOR_ACCOUNT,
    FAR_BUCKET,
    FAR_MODEL,
    MODEL,
    OTHER,
    OWNER_ACCOUNT,
    World,
)

Held = set[tuple[str, str]]
Way = Callable[[World, set[str]], Held]

MODELS = {MODEL: ALPHA, OTHER: ALPHA, FAR_MODEL: BETA}
BUCKETS = {BUCKET: ALPHA, FAR_BUCKET: BETA}


def pairs(permissions: Iterable[str], places: Iterable[str]) -> Held:
    places = list(places)
    return {(permission, place) for permission in permissions for place in places}


def _roles(world: World, *names: str) -> set[str]:
    held = permissions_by_role(world.catalogue)
    return {permission for name in names for permission in held[name]}


# ---------------------------------------------------------------------------------------------------------------- ways

#: What can be given to oneself on a project: a custom role of the project holds all but what guards projects; Project
#: Mover brings the right to move, which is worth nothing without the same right on the folder above.
ON_A_PROJECT = {p for p in ALL if p not in ORGANIZATION_ONLY} | {"resourcemanager.projects.move"}
#: And on a folder. Who denies, and who governs groups, is decided in the organization alone.
ON_A_FOLDER = {
    *ON_A_PROJECT, *(p for p in ALL if p.startswith("resourcemanager.folders.")),
    "resourcemanager.organizations.get", "resourcemanager.projects.create",
}  # fmt: skip


def all_of_its_projects(world: World, places: set[str]) -> Held:
    """Whoever sets the policy of a project can give themselves every role in it (R-013)."""
    return {held for project in places & {ALPHA, BETA} for held in pairs(ON_A_PROJECT, world.below(project))}


def all_of_its_folders(world: World, places: set[str]) -> Held:
    """Whoever sets the policy of a folder can give themselves every role of folders, on all below."""
    folders = places & {world.folder, world.other_folder}
    return {held for folder in folders for held in pairs(ON_A_FOLDER, world.below(folder))}


def moving_between_folders(world: World, places: set[str]) -> Held:
    """Whoever governs all folders may move a project from one to another (with Project Creator, which they can give
    themselves there): out of the reach of a deny policy that stands on a folder, and into the reach of that role."""
    if not {world.folder, world.other_folder} <= places:
        return set()
    return pairs(DENIED["F"], world.below(ALPHA)) | pairs(["resourcemanager.projects.create"], world.below(BETA))


def everything(world: World, places: set[str]) -> Held:
    """Whoever sets the policy of the organization can give themselves everything, deny policies included."""
    return pairs(ALL, world.parents) if ORGANIZATION in places else set()


def any_permission_in_projects(world: World, places: set[str]) -> Held:
    """A custom role of the organization can hold every permission, and be bound in a project: an Owner of the
    organization makes one, and binds it in projects, whose policies Owners set. There they then undo deny policies
    too. Those of folders and of the organization stay: Owner does not set the policies of these."""
    if ORGANIZATION not in places:
        return set()
    held = {pair for project in (ALPHA, BETA) for pair in pairs(ALL, world.below(project))}
    return held - denied(world, {"organization", "F"})


def sharing_models(world: World, places: set[str]) -> Held:
    """Whoever sets the policy of a model may share it, with themselves too: what the roles of models hold, and custom
    roles of the project."""
    models = {model: project for model, project in MODELS.items() if model in places}
    held = _roles(world, "roles/ml.modelOwner", "roles/ml.modelUser")
    return {
        pair
        for model, project in models.items()
        for pair in pairs(held | _custom(project), world.below(model))
    }  # fmt: skip


def sharing_buckets(world: World, places: set[str]) -> Held:
    """Whoever sets the policy of a bucket can give themselves the roles of Storage there."""
    buckets = {bucket: project for bucket, project in BUCKETS.items() if bucket in places}
    held = _roles(world, "roles/storage.admin")
    return {pair for bucket, project in buckets.items() for pair in pairs(held | _custom(project), [bucket])}


def _custom(project: str) -> set[str]:
    return set(CUSTOM_PERMISSIONS) if CUSTOM_ROLE.startswith(f"{project}/") else set()


def acting_as_accounts(world: World, places: set[str]) -> Held:
    """Whoever makes keys of a service account acts as it, and so reaches what it reaches."""
    rights = {EDITOR_ACCOUNT: "roles/editor", OWNER_ACCOUNT: "roles/owner"}
    return {held for account in places & rights.keys() for held in reach(world, rights[account], ALPHA)}


def governing_accounts(world: World, places: set[str]) -> Held:
    """Whoever sets the policy of a service account can give themselves the right to make its keys."""
    accounts = places & {EDITOR_ACCOUNT, OWNER_ACCOUNT}
    held = {
        "roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin", "roles/iam.serviceAccountTokenCreator",
        "roles/iam.serviceAccountUser",
    }  # fmt: skip
    return pairs(_roles(world, *held) | set(CUSTOM_PERMISSIONS), accounts) | acting_as_accounts(world, accounts)


def joining_groups(world: World, places: set[str]) -> Held:
    """Whoever adds members to a group can join it, and has its rights and those of the groups around it."""
    found: Held = set()
    if world.crew in places:
        found |= reach(world, "roles/owner", BETA)
    if places & {world.crew, world.board}:
        found |= reach(world, "roles/storage.admin", FAR_BUCKET)
    return found


def owning_groups(world: World, places: set[str]) -> Held:
    """Whoever changes memberships can become the owner of a group."""
    groups = places & {world.crew, world.board}
    return pairs(_roles(world, "roles/cloudidentity.groupOwner"), groups) | joining_groups(world, places)


#: Which ways each role opens. Roles that are not here open none.
LEADS: Mapping[str, tuple[Way, ...]] = {
    "roles/owner": (all_of_its_projects, any_permission_in_projects),
    "roles/editor": (sharing_models,),
    "roles/ml.admin": (sharing_models,),
    "roles/ml.modelOwner": (sharing_models,),
    "roles/storage.admin": (sharing_buckets,),
    "roles/iam.serviceAccountKeyAdmin": (acting_as_accounts,),
    "roles/iam.serviceAccountAdmin": (governing_accounts,),
    "roles/resourcemanager.projectIamAdmin": (all_of_its_projects,),
    "roles/resourcemanager.folderAdmin": (all_of_its_folders, all_of_its_projects, moving_between_folders),
    "roles/resourcemanager.organizationAdmin": (everything,),
    "roles/cloudidentity.groupsAdmin": (owning_groups,),
    "roles/cloudidentity.groupOwner": (owning_groups,),
    "roles/cloudidentity.groupManager": (joining_groups,),
}

#: Where the other catalogue differs: there an Editor does not set policies.
LEADS_IN_GOOGLES: Mapping[str, tuple[Way, ...]] = {"roles/editor": ()}


#: The ways that undo deny policies, and say themselves which.
UNDOING = (everything, any_permission_in_projects, moving_between_folders)


def denied(world: World, deniers: Iterable[str]) -> Held:
    """What these deny policies take away from everybody."""
    tops = {"organization": ORGANIZATION, "F": world.folder, "beta": BETA}
    return {held for denier in deniers for held in pairs(DENIED[denier], world.below(tops[denier]))}


def reach(world: World, role: str, place: str) -> Held:
    """All that somebody with this role on this place may come to hold."""
    places = world.below(place)
    leads = {**LEADS, **(LEADS_IN_GOOGLES if world.catalogue == GOOGLE else {})}.get(role, ())
    free: Held = set()
    bound: Held = pairs(permissions_by_role(world.catalogue)[role], places)
    for way in leads:
        if way in UNDOING:
            free |= way(world, places)
        else:
            bound |= way(world, places)
    return free | (bound - denied(world, DENIED))


# ----------------------------------------------------------------------------------------------------------- scenarios


@dataclass(frozen=True)
class Scenario:
    """One role on one place; `kind` is what the place is."""

    role: str
    kind: str

    @property
    def id(self) -> str:
        return f"{self.role.removeprefix('roles/')}-on-{self.kind}"

    def place(self, world: World) -> str:
        return {
            "organization": ORGANIZATION, "folder": world.folder, "project": ALPHA, "model": MODEL, "bucket": BUCKET,
            "serviceAccount": EDITOR_ACCOUNT, "group": world.crew, "job": f"{ALPHA}/jobs/j",
        }[self.kind]  # fmt: skip
