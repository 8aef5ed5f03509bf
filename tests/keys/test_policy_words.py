"""Those who agree to a weaker policy read sentences, not the words of the program."""

import re
from typing import Any

import pytest

from keys.services.policies import PolicyValues, changed
from keys.services.policy_words import weakening

OFFICER, CUSTODIAN = "security_officer", "custodian"
STRICT = PolicyValues(
    cryptoperiod_days=90, auto_rotate=True, rotate_roles=[OFFICER], destroy_roles=[OFFICER], allowed_algorithms=["AES-256-GCM"],
    rotate_groups=[{"role": OFFICER, "threshold": 2}], grace_days=30, minimum_grace_days=14, use_share_due=50,
    destroy_groups=[{"role": OFFICER, "threshold": 2, "signed": True}, {"role": CUSTODIAN, "threshold": 1}],
)  # fmt: skip


@pytest.mark.parametrize(("name", "value", "sentence"), [
    ("rotate_groups", [], "Must agree to a rotation: no agreement instead of 2 security officers."),
    ("destroy_groups", [{"role": OFFICER, "threshold": 1}], "Must agree to a destruction: 1 security officer instead of 2 security officers, signing and 1 custodian."),
    ("destroy_roles", [OFFICER, "operator"], "May ask for destruction: security officer or operator instead of security officer."),
    ("rotate_roles", [], "May ask for a rotation: any role with the permission instead of security officer."),
    ("allowed_algorithms", [], "Allowed algorithms: whatever the kind of key allows instead of AES-256-GCM."),
    ("cryptoperiod_days", None, "Cryptoperiod: without an end instead of 90 days."),
    ("auto_rotate", False, "Rotates by itself when the cryptoperiod ends: no instead of yes."),
    ("grace_days", 14, "Grace period before destruction: 14 days instead of 30 days."),
    ("minimum_grace_days", 7, "Shortest grace period allowed: 7 days instead of 14 days."),
    ("use_share_due", 90, "Rotation is due at this share of the safe number of uses: 90 per cent instead of 50 per cent."),
    ("initiator_may_enter", True, "Whoever opens an import by components may enter one of them: yes instead of no."),
])  # fmt: skip
def test_each_field_has_its_sentence(name: str, value: Any, sentence: str) -> None:
    assert weakening(STRICT, changed(STRICT, {name: value})) == [sentence]
    assert not re.search(r"[\[\]{}'_]", sentence)


def test_what_does_not_weaken_is_not_said() -> None:
    assert weakening(STRICT, changed(STRICT, {"grace_days": 60})) == []
