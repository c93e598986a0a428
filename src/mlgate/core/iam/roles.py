"""The role table: every predefined role, what it holds, and on which kinds of resource it may be bound.

Two catalogues: `documented`, the union of the service's documents with the gaps filled, and `google`, the sets that the
deployed service really returned. A row gives the documented set; `google` overrides it where the two differ. The
neighbours' roles are the same in both.

Three rules are kept here rather than in code that checks: basic Editor holds the `ml` permissions of ml.admin exactly
(R-010) and neither mints keys nor acts as an account; ml.viewer never predicts (R-012); Owner holds everything (R-013).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlgate.core.iam.permissions import ALL, ML, ORGANIZATION_ONLY, expand

DOCUMENTED, GOOGLE = "documented", "google"
CATALOGUES = (DOCUMENTED, GOOGLE)

#: Kinds of resource that have a policy of their own.
PROJECT, MODEL, JOB, OPERATION = "project", "model", "job", "operation"
SERVICE_ACCOUNT, BUCKET, GROUP = "serviceAccount", "bucket", "group"
FOLDER, ORGANIZATION = "folder", "organization"
#: Kinds that contain projects or what is in them: most roles may be bound there.
CONTAINERS = (PROJECT, FOLDER, ORGANIZATION)


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions. `on` lists the kinds of resource whose policies may name it."""

    name: str
    title: str
    description: str
    permissions: tuple[str, ...]
    on: tuple[str, ...] = CONTAINERS
    google: tuple[str, ...] | None = None
    catalogues: tuple[str, ...] = CATALOGUES

    def holds(self, catalogue: str) -> tuple[str, ...]:
        return self.google if catalogue == GOOGLE and self.google is not None else self.permissions


def _without(permissions: tuple[str, ...], *dropped: str) -> tuple[str, ...]:
    return tuple(p for p in permissions if p not in dropped)


_READ = expand(
    "resourcemanager.projects get; ml.projects getConfig; ml.locations get list; ml.jobs get list; "
    "ml.operations get list; ml.models get list; ml.versions get list; ml.studies get list; ml.trials get list"
)
_PREDICT = expand("ml.models predict; ml.versions predict")
_STUDY_POLICIES = expand("ml.studies getIamPolicy setIamPolicy")
_ADMIN = _without(ML, "ml.operations.delete", *_STUDY_POLICIES)
_DEVELOPER = (
    *_READ,
    *_PREDICT,
    *expand(
        "ml.jobs create getIamPolicy; ml.models create getIamPolicy; "
        "ml.studies create delete; ml.trials create delete update"
    ),
)
_MODEL_OWNER = expand(
    "ml.models delete get getIamPolicy predict setIamPolicy update; ml.versions create delete get list predict update"
)
_SET_POLICIES = expand("ml.jobs setIamPolicy; ml.models setIamPolicy; ml.studies setIamPolicy")

_STORAGE_READ = expand("storage.buckets get list; storage.objects get list")
_STORAGE_WRITE = expand("storage.buckets create delete update; storage.objects create delete update")
_NEIGHBOURS_READ = (*_STORAGE_READ, *expand("iam.roles get list; iam.serviceAccounts get list"))
_NEIGHBOURS_EDIT = (
    *_NEIGHBOURS_READ,
    *_STORAGE_WRITE,
    *expand(
        "storage.buckets getIamPolicy; iam.serviceAccounts create delete disable enable getIamPolicy update undelete; "
        "iam.serviceAccountKeys get list; resourcemanager.projects getIamPolicy; logging.logEntries list; "
        "logging.logs list"
    ),
)
_OWNER = tuple(p for p in ALL if p not in ORGANIZATION_ONLY)

ROLES: tuple[Role, ...] = (
    # Basic roles, common to all services.
    Role(
        "roles/owner", "Owner", "Full control of the project and all in it, policies included.", _OWNER,
        google=_without(_OWNER, "ml.operations.delete"),
    ),
    Role(
        "roles/editor", "Editor", "All that ML Engine Admin may do, and edit the project's other resources.",
        (*_ADMIN, *_NEIGHBOURS_EDIT),
        google=(*_without(_ADMIN, *_SET_POLICIES), "ml.studies.getIamPolicy", *_NEIGHBOURS_EDIT),
    ),
    Role(
        "roles/viewer", "Viewer", "Read everything in the project, and send online predictions.",
        (*_READ, *_PREDICT, *_NEIGHBOURS_READ),
        google=(*_READ, *_PREDICT, "ml.jobs.getIamPolicy", "ml.models.getIamPolicy", "ml.studies.getIamPolicy",
                *_NEIGHBOURS_READ),
    ),
    # The seven of the documents.
    Role(
        "roles/ml.admin", "ML Engine Admin", "Full control of jobs, operations, models, versions, studies and trials.",
        _ADMIN, google=(*_ADMIN, *_STUDY_POLICIES),
    ),
    Role(
        "roles/ml.developer", "ML Engine Developer", "Create jobs, models and studies, and send online predictions.",
        _DEVELOPER, google=(*_DEVELOPER, *_STUDY_POLICIES),
    ),
    Role(
        "roles/ml.viewer", "ML Engine Viewer", "Read-only access to the service's resources.",
        _READ, google=(*_READ, "ml.studies.getIamPolicy"),
    ),
    Role(
        "roles/ml.modelOwner", "ML Engine Model Owner", "Full access to one model and its versions.",
        _MODEL_OWNER, on=(MODEL, *CONTAINERS), google=(*_MODEL_OWNER, *expand("ml.models create list")),
    ),
    Role(
        "roles/ml.modelUser", "ML Engine Model User", "Read one model and its versions, and use them for prediction.",
        expand("ml.models get predict; ml.versions get list predict"), on=(MODEL, *CONTAINERS),
    ),
    Role(
        "roles/ml.jobOwner", "ML Engine Job Owner", "Full access to one job.",
        expand("ml.jobs cancel get getIamPolicy setIamPolicy update"), on=(JOB, *CONTAINERS),
        google=expand("ml.jobs cancel create get getIamPolicy list setIamPolicy update"),
    ),
    Role(
        "roles/ml.operationOwner", "ML Engine Operation Owner", "Get and cancel one operation; set by the server.",
        expand("ml.operations cancel get"), google=expand("ml.operations cancel get list"),
    ),
    Role(
        "roles/ml.editor", "ML Engine Editor", "ML Engine Admin without the right to change policies.",
        (), google=(*_without(_ADMIN, *_SET_POLICIES), "ml.studies.getIamPolicy"), catalogues=(GOOGLE,),
    ),
    Role(
        "roles/ml.serviceAgent", "ML Engine Service Agent",
        "What the service's own account may do in a project: read model files (R-090).",
        expand("storage.buckets get list; storage.objects get list"), on=(*CONTAINERS, BUCKET),
    ),
    # The neighbours, under their Google names.
    Role(
        "roles/storage.objectViewer", "Storage Object Viewer", "Read and list objects.",
        expand("storage.objects get list"), on=(BUCKET, *CONTAINERS),
    ),
    Role(
        "roles/storage.objectCreator", "Storage Object Creator", "Create objects, without reading or replacing them.",
        expand("storage.objects create"), on=(BUCKET, *CONTAINERS),
    ),
    Role(
        "roles/storage.objectUser", "Storage Object User", "Create, read, update and delete objects.",
        expand("storage.objects create delete get list update"), on=(BUCKET, *CONTAINERS),
    ),
    Role(
        "roles/storage.objectAdmin", "Storage Object Admin", "Full control of objects.",
        expand("storage.objects create delete get list update"), on=(BUCKET, *CONTAINERS),
    ),
    Role(
        "roles/storage.admin", "Storage Admin", "Full control of buckets and objects.",
        tuple(p for p in ALL if p.startswith("storage.")), on=(BUCKET, *CONTAINERS),
    ),
    Role(
        "roles/iam.serviceAccountUser", "Service Account User", "Act as a service account.",
        expand("iam.serviceAccounts actAs get list; resourcemanager.projects get"),
        on=(SERVICE_ACCOUNT, *CONTAINERS),
    ),
    Role(
        "roles/iam.serviceAccountTokenCreator", "Service Account Token Creator",
        "Make tokens and signatures for a service account.",
        expand("iam.serviceAccounts get getAccessToken getOpenIdToken list signBlob signJwt"),
        on=(SERVICE_ACCOUNT, *CONTAINERS),
    ),
    Role(
        "roles/iam.serviceAccountKeyAdmin", "Service Account Key Admin", "Create and manage keys of service accounts.",
        (*expand("iam.serviceAccountKeys create delete disable enable get list"),
         *expand("iam.serviceAccounts get list; resourcemanager.projects get")),
        on=(SERVICE_ACCOUNT, *CONTAINERS),
    ),
    Role(
        "roles/iam.serviceAccountAdmin", "Service Account Admin", "Create and manage service accounts.",
        expand("iam.serviceAccounts create delete disable enable get getIamPolicy list setIamPolicy undelete update; "
               "resourcemanager.projects get"),
        on=(SERVICE_ACCOUNT, *CONTAINERS),
    ),
    Role(
        "roles/resourcemanager.projectIamAdmin", "Project IAM Admin", "Read and set the policy of a project.",
        expand("resourcemanager.projects get getIamPolicy setIamPolicy"),
    ),
    Role(
        "roles/resourcemanager.projectCreator", "Project Creator", "Create projects in the organization.",
        expand("resourcemanager.organizations get; resourcemanager.projects create"), on=(FOLDER, ORGANIZATION),
    ),
    Role(
        "roles/resourcemanager.organizationAdmin", "Organization Administrator",
        "Read and set the policy of the organization and of every folder and project in it.",
        expand("resourcemanager.organizations get getIamPolicy setIamPolicy; "
               "resourcemanager.folders get getIamPolicy list setIamPolicy; "
               "resourcemanager.projects get getIamPolicy list setIamPolicy"),
        on=(ORGANIZATION,),
    ),
    Role(
        "roles/resourcemanager.folderAdmin", "Folder Admin", "Manage folders, and move folders and projects.",
        expand("resourcemanager.folders create delete get getIamPolicy list move setIamPolicy undelete update; "
               "resourcemanager.organizations get; resourcemanager.projects get getIamPolicy list move setIamPolicy"),
        on=(FOLDER, ORGANIZATION),
    ),
    Role(
        "roles/resourcemanager.folderViewer", "Folder Viewer", "See folders and the projects in them.",
        expand("resourcemanager.folders get list; resourcemanager.projects get list"), on=(FOLDER, ORGANIZATION),
    ),
    Role(
        "roles/resourcemanager.projectMover", "Project Mover", "Move projects between folders.",
        expand("resourcemanager.projects get move update"), on=(PROJECT, FOLDER, ORGANIZATION),
    ),
    Role(
        "roles/iam.denyAdmin", "Deny Admin", "Manage deny policies, which no other role can undo.",
        expand("iam.denypolicies create delete get list update"), on=(ORGANIZATION,),
    ),
    Role(
        "roles/iam.denyReviewer", "Deny Reviewer", "Read deny policies.",
        expand("iam.denypolicies get list"), on=(ORGANIZATION,),
    ),
    Role(
        "roles/cloudidentity.groupsAdmin", "Groups Admin", "Create groups, and manage all groups and their members.",
        expand("cloudidentity.groups create delete get list update; "
               "cloudidentity.memberships create delete get list update"), on=(ORGANIZATION,),
    ),
    Role(
        "roles/cloudidentity.groupsViewer", "Groups Viewer", "See all groups and their members.",
        expand("cloudidentity.groups get list; cloudidentity.memberships get list"), on=(ORGANIZATION,),
    ),
    Role(
        "roles/cloudidentity.groupOwner", "Group Owner", "Manage one group; set by the server for its owners.",
        expand("cloudidentity.groups delete get update; cloudidentity.memberships create delete get list update"),
        on=(GROUP,),
    ),
    Role(
        "roles/cloudidentity.groupManager", "Group Manager",
        "Add and remove members of one group; set by the server for its managers.",
        expand("cloudidentity.groups get; cloudidentity.memberships create delete get list"), on=(GROUP,),
    ),
    Role(
        "roles/cloudasset.viewer", "Access Reviewer", "Ask who has access to what.",
        expand("cloudasset.assets analyzeIamPolicy"),
    ),
    Role(
        "roles/iam.roleAdmin", "Role Administrator", "Manage the custom roles of a project.",
        expand("iam.roles create delete get list undelete update; resourcemanager.projects get getIamPolicy"),
    ),
    Role(
        "roles/iam.roleViewer", "Role Viewer", "Read the custom roles of a project.",
        expand("iam.roles get list; resourcemanager.projects get getIamPolicy"),
    ),
    Role(
        "roles/logging.viewer", "Logs Viewer", "Read logs.",
        expand("logging.logEntries list; logging.logs list; resourcemanager.projects get"),
    ),
)  # fmt: skip


def catalogue(name: str) -> Mapping[str, Role]:
    """The roles of one catalogue by name, in table order."""
    return {role.name: role for role in ROLES if name in role.catalogues}


def permissions_by_role(name: str) -> Mapping[str, frozenset[str]]:
    """What each role of one catalogue holds; the form that decisions read."""
    return {role.name: frozenset(role.holds(name)) for role in catalogue(name).values()}
