"""The figures of a policy: each bound itself is accepted, what lies beyond it is refused by name."""

import pytest

from keys.hierarchy import KeyKind
from keys.services import policies
from keys.services.policies import PolicyValues
from keyvault_portal.errors import ValidationFailed

BOUNDS = {
    "cryptoperiod_days": (1, 36_500), "grace_days": (7, 3650), "minimum_grace_days": (7, 3650), "use_share_due": (1, 95),
    "publish_before_use_hours": (0, 8760), "token_lifetime_hours": (0, 8760),
}  # fmt: skip


def refused(**values: object) -> set[str]:
    try:
        policies.check(policies.changed(PolicyValues(), values), kind=KeyKind.DEK)
    except ValidationFailed as error:
        return set(error.errors)
    return set()


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_accepted_and_what_lies_beyond_is_not(name):
    least, most = BOUNDS[name]
    room = (
        {"minimum_grace_days": 7}
        if name == "grace_days"
        else {"grace_days": 3650}
        if name == "minimum_grace_days"
        else {}
    )
    assert [refused(**room | {name: value}) for value in (least, most)] == [set(), set()]
    assert [refused(**room | {name: value}) for value in (least - 1, most + 1)] == [{name}, {name}]


@pytest.mark.parametrize(("threshold", "fits"), [(0, False), (1, True), (50, True), (51, False), (True, False)])
def test_a_group_agrees_by_one_to_fifty(threshold, fits):
    groups = [{"role": "security_officer", "threshold": threshold}]
    assert refused(destroy_groups=groups) == (set() if fits else {"destroy_groups"})
