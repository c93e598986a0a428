"""Who may hand out some roles only (a grant under a condition on `modifiedGrantsByRole`) gives and takes those and no
others: by no policy, mask, etag, version or revision of the past."""

from __future__ import annotations

import pytest

from mlgate.core.iam.policy import Policy
from mlgate.core.iam.roles import permissions_by_role
from tests.escalation import table
from tests.escalation.attacker import Attack
from tests.escalation.world import ALPHA, MODEL, World, give

pytestmark = pytest.mark.xdist_group("delegation")

Grants = set[tuple[str, str, object]]


def only(*roles: str) -> dict[str, str]:
    listed = ", ".join(f"'{role}'" for role in roles)
    attribute = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
    return {"title": "some roles only", "expression": f"{attribute}.hasOnly([{listed}])"}


USER, VIEWER = "roles/ml.modelUser", "roles/viewer"
DELEGATIONS = {
    "a model": ("roles/ml.modelOwner", MODEL, (USER,)),
    "all models of a project": ("roles/ml.modelOwner", ALPHA, (USER,)),
    "a project": ("roles/resourcemanager.projectIamAdmin", ALPHA, (USER, VIEWER)),
    "nothing at all": ("roles/resourcemanager.projectIamAdmin", ALPHA, ("roles/no.such",)),
}


@pytest.mark.parametrize("what", DELEGATIONS)
def test_who_may_hand_out_some_roles_hands_out_no_others(worlds: dict[str, World], what: str) -> None:
    role, place, handed = DELEGATIONS[what]
    world = worlds["documented"]
    with world.opened() as office:
        give(office, role, place, only(*handed))
        attack = Attack(world, office, thorough=True)
        watch = Watch(attack, handed)
        attack.after = watch.look
        won = attack.run()
    held = permissions_by_role(world.catalogue)
    reachable = table.pairs({*held[role], *(p for one in handed for p in held.get(one, ()))}, world.below(place))
    assert won == reachable - table.denied(world, table.DENIED)
    assert watch.changed == set(handed) - {"roles/no.such"}, "what may be handed out was not"


class Watch:
    """Looks after every call: each grant of another role is what it was, on every place."""

    def __init__(self, attack: Attack, handed: tuple[str, ...]) -> None:
        self.handed = set(handed)
        self.changed: set[str] = set()
        self._before = {place: grants(attack.policy(place)) for place in attack.world.parents}

    def look(self, attack: Attack) -> None:
        for place, old in self._before.items():
            changed = set() if attack.is_changed(place) else old ^ grants(attack.policy(place))
            self.changed |= {role for role, _, _ in changed}
            assert self.changed <= self.handed, f"{place}: {changed} by {attack.calls[-1]}"


def grants(policy: Policy | None) -> Grants:
    return {(b.role, member, b.condition) for b in (policy.bindings if policy else ()) for member in b.members}
