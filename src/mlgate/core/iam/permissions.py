"""The permission catalogue: every permission that a role may hold or a method may require.

One line a resource type, in Google's spelling. The `ml` lines are section 4 of the requirements; the others are what
the neighbouring APIs of this server check. A name that is not here is held by nobody and cannot be put in a role.
"""

from __future__ import annotations

_CATALOGUE = """
ml.projects            getConfig
ml.locations           get list
ml.jobs                cancel create get getIamPolicy list setIamPolicy update
ml.operations          cancel delete get list
ml.models              create delete get getIamPolicy list predict setIamPolicy update
ml.versions            create delete get list predict update
ml.studies             create delete get getIamPolicy list setIamPolicy
ml.trials              create delete get list update
resourcemanager.projects         create delete get getIamPolicy list move setIamPolicy undelete update
resourcemanager.folders          create delete get getIamPolicy list move setIamPolicy undelete update
resourcemanager.organizations    get getIamPolicy setIamPolicy
iam.roles                        create delete get list undelete update
iam.serviceAccounts              actAs create delete disable enable get getAccessToken getIamPolicy getOpenIdToken \
list setIamPolicy signBlob signJwt undelete update
iam.serviceAccountKeys           create delete disable enable get list
iam.denypolicies                 create delete get list update
cloudidentity.groups             create delete get list update
cloudidentity.memberships        create delete get list update
cloudasset.assets                analyzeIamPolicy
storage.buckets                  create delete get getIamPolicy list setIamPolicy update
storage.objects                  create delete get list update
logging.logEntries               create list
logging.logs                     list
"""


def expand(text: str) -> tuple[str, ...]:
    """`ml.jobs get list; ml.models get` as full permission names, in order."""
    names: list[str] = []
    for line in text.replace(";", "\n").splitlines():
        if line.strip():
            resource, *verbs = line.split()
            names += [f"{resource}.{verb}" for verb in verbs]
    return tuple(names)


ALL: tuple[str, ...] = expand(_CATALOGUE)

#: The permissions that the role tables of the requirements speak of; their golden test compares these.
ML: tuple[str, ...] = (*(p for p in ALL if p.startswith("ml.")), "resourcemanager.projects.get")

_ABOVE_PROJECTS = ("resourcemanager.organizations.", "resourcemanager.folders.", "iam.denypolicies.", "cloudidentity.")

#: Never in a project's custom role, nor in Owner: they are about what stands above projects, or guards them
#: (`queryTestablePermissions` omits them).
ORGANIZATION_ONLY: frozenset[str] = frozenset(
    p
    for p in ALL
    if p.startswith(_ABOVE_PROJECTS) or p in ("resourcemanager.projects.create", "resourcemanager.projects.move")
)
