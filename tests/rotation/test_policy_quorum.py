"""A policy asks for no agreement that the people there are could not give: nobody could take it back."""

from typing import Any

import pytest

from keys.hierarchy import KeyKind
from keys.models import Key, KeyPolicy
from keys.services import lifecycle, policies, rotation
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, ValidationFailed
from tests.shop import Organisation

OFFICER, CUSTODIAN = Role.SECURITY_OFFICER.value, Role.CUSTODIAN.value


def group(role: str, threshold: int, **more: Any) -> dict[str, Any]:
    return {"role": role, "threshold": threshold, **more}


def change(organisation: Organisation, **changes: Any) -> KeyPolicy:
    key = organisation.keys["pii"]
    return lifecycle.update_policy(actor=organisation.actor("ada"), key_id=key.pk, changes=changes, reason="a test")


def refused(organisation: Organisation, **changes: Any) -> dict[str, list[str]]:
    before = KeyPolicy.objects.get(key=organisation.keys["pii"]).version
    with pytest.raises(ValidationFailed) as caught:
        change(organisation, **changes)
    assert caught.value.code != "quorum_unreachable", "refused when it is set, not when agreement to it is asked for"
    assert KeyPolicy.objects.get(key=organisation.keys["pii"]).version == before
    return caught.value.errors


def alone(organisation: Organisation) -> None:
    """Ada is the only officer from now on."""
    Person.objects.filter(pk__in=[organisation.people[name].pk for name in ("boris", "chen")]).update(is_active=False)


def test_more_officers_than_there_are_besides_oneself_cannot_be_asked_for(organisation: Organisation) -> None:
    for name in ("rotate_groups", "destroy_groups"):
        said = refused(organisation, **{name: [group(OFFICER, 3)]})
        assert said == {name: ["Besides Ada there are 2 × security officer; it would take 1 × security officer more."]}
    assert change(organisation, rotate_groups=[group(OFFICER, 2)]).version == 2
    with pytest.raises(ApprovalRequired):
        rotation.request_rotation(
            actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="it can be asked for"
        )


def test_custodians_count_as_custodians_and_each_person_once(organisation: Organisation) -> None:
    assert refused(organisation, rotate_groups=[group(CUSTODIAN, 1)]) == {
        "rotate_groups": ["Besides Ada there are 0 × custodian; it would take 1 × custodian more."]
    }
    RoleBinding.objects.create(person=organisation.people["boris"], role=Role.CUSTODIAN, created_by="test")
    alone_but_boris = Person.objects.filter(pk=organisation.people["chen"].pk)
    alone_but_boris.update(is_active=False)
    said = refused(organisation, rotate_groups=[group(CUSTODIAN, 1)])
    assert "would take" in said["rotate_groups"][0], "boris cannot be custodian and officer when it is taken back"
    alone_but_boris.update(is_active=True)
    change(organisation, rotate_groups=[group(CUSTODIAN, 1)])
    with pytest.raises(ApprovalRequired):
        change(organisation, rotate_groups=[])


def test_signatures_are_asked_only_of_those_who_can_sign(organisation: Organisation) -> None:
    said = refused(organisation, rotate_groups=[group(OFFICER, 1, signed=True)])
    assert said["rotate_groups"][0].endswith("it would take 1 × security officer more who can sign.")


def test_a_single_officer_makes_keys_and_changes_what_asks_nobody(organisation: Organisation) -> None:
    alone(organisation)
    made = organisation.key("fresh", "dek", "kek")
    assert made.policy.destroy_groups == [group(OFFICER, 1)], "nobody destroys a key alone, not even the only officer"
    changed = change(organisation, grace_days=60, destroy_groups=[group(OFFICER, 1, signed=False)])
    assert changed.grace_days == 60, "what stays is not asked again"
    assert refused(organisation, rotate_groups=[group(OFFICER, 1)]).keys() == {"rotate_groups"}


def test_a_key_is_not_made_with_such_a_policy(organisation: Organisation) -> None:
    default = policies.default_values(KeyKind.DEK)
    with pytest.raises(ValidationFailed) as caught:
        organisation.key(
            "fresh", "dek", "kek", policy=policies.changed(default, {"destroy_groups": [group(OFFICER, 9)]})
        )
    assert caught.value.errors.keys() == {"destroy_groups"}
    assert not Key.objects.filter(name="fresh").exists()
    organisation.key("fresh", "dek", "kek", policy=policies.changed(default, {"destroy_groups": [group(OFFICER, 2)]}))


def test_why_is_asked_in_words_where_others_have_to_agree(organisation: Organisation) -> None:
    key = organisation.keys["pii"]
    with pytest.raises(ValidationFailed) as caught:
        lifecycle.update_policy(
            actor=organisation.actor("ada"), key_id=key.pk, changes={"destroy_groups": []}, reason=" "
        )
    assert caught.value.errors == {"reason": ["Say why: those who have to agree read it."]}


def test_who_agrees_to_a_weaker_policy_reads_sentences(organisation: Organisation) -> None:
    with pytest.raises(ApprovalRequired):
        change(organisation, grace_days=7)
    request = ApprovalRequest.objects.get(operation="key.update_policy")
    assert request.consequences == ["Grace period before destruction: 7 days instead of 30 days."]
