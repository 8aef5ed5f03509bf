"""One certificate is revoked, by whom it is and by whom it is not, and what stands in the record of it."""

import pytest

from certificates.services import revoking
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import PermissionRefused, WrongState


def test_the_owner_may_revoke_and_a_stranger_may_not(pki, auditor):
    person = Person.objects.create_person(email="own@example.org", name="Own")
    row = pki.issue("dns:www.example.org", owner_id=person.pk)
    with pytest.raises(PermissionRefused):
        revoking.revoke_certificate(actor=auditor, certificate_id=row.pk, reason="superseded")
    revoking.revoke_certificate(actor=actor_for_person(person), certificate_id=row.pk, reason="superseded")
    with pytest.raises(WrongState):
        revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="superseded")
    with pytest.raises(WrongState):
        revoking.release_certificate(actor=pki.officer, certificate_id=row.pk)
    event = AuditEvent.objects.filter(action="certificate.revoke", outcome="success").get()
    assert (event.target_id, event.ring_id) == (str(row.pk), row.ring_id)
    assert b"superseded" in bytes(event.leaf)


def test_a_hold_that_is_taken_back_stands_in_the_record(pki):
    row = pki.issue("dns:www.example.org")
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="certificate_hold")
    revoking.release_certificate(actor=pki.officer, certificate_id=row.pk, note="Found in a drawer.")
    event = AuditEvent.objects.get(action="certificate.release")
    assert (event.target_id, event.ring_id, event.outcome) == (str(row.pk), row.ring_id, "success")
    assert b"Found in a drawer." in bytes(event.leaf)
