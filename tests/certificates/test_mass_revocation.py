"""What those who agree to a mass revocation read: whose certificates, or with which key."""

import pytest

from certificates.approval_operations import RevokeMany
from keyvault_portal.accounts.models import Person


@pytest.mark.parametrize("by", ["owner", "key"])
def test_who_agrees_reads_whose_certificates_end(pki, by):
    person = Person.objects.create_person(email="asta@example.org", name="Asta")
    row = pki.issue("dns:www.example.org", owner_id=person.pk)
    value = str(person.pk) if by == "owner" else row.spki_sha256
    act = RevokeMany().build_act({"by": by, "value": value, "ring_id": None, "reason": "superseded", "note": "A test."})
    whose = "of Asta <asta@example.org>" if by == "owner" else f"with the key {row.spki_sha256}"
    assert act.target_label == f"certificates {whose}"
    assert act.consequences == [f"1 certificate {whose} ends for good: superseded."]
