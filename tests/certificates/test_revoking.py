"""One certificate is revoked, by whom it is and by whom it is not, and what stands in the record of it."""

from uuid import uuid4

import pytest

from certificates.models import Authority
from certificates.services import crls, revoking, status
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import NotFound, PermissionRefused, WrongState
from tests.certificates.conftest import refreshed


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


def test_a_hold_that_is_taken_back_stands_in_the_record(pki, auditor):
    row = pki.issue("dns:www.example.org")
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="certificate_hold")
    with pytest.raises(PermissionRefused):
        revoking.release_certificate(actor=auditor, certificate_id=row.pk, note="Mine.")
    assert refreshed(row).state == "held"
    revoking.release_certificate(actor=pki.officer, certificate_id=row.pk, note="Found in a drawer.")
    event = AuditEvent.objects.get(action="certificate.release", outcome="success")
    assert (event.target_id, event.ring_id, event.outcome) == (str(row.pk), row.ring_id, "success")
    assert b"Found in a drawer." in bytes(event.leaf)


def test_a_revocation_is_in_a_list_at_once(pki, celery_eager, django_capture_on_commit_callbacks):
    row = pki.issue("dns:www.example.org")
    with django_capture_on_commit_callbacks(execute=True):
        revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="superseded")
    newest = crls.newest(pki.servers, 0)
    assert newest is not None
    assert newest.entries == 1


def test_nothing_is_published_for_an_authority_that_is_not_there_or_has_no_certificate(pki):
    with pytest.raises(NotFound):
        crls.publish(uuid4())
    Authority.objects.filter(pk=pki.servers.pk).update(certificate=None, state="pending")
    with pytest.raises(NotFound):
        crls.publish(pki.servers.pk)


def test_an_authority_that_was_revoked_gets_no_responder(pki):
    revoking.revoke_authority(actor=pki.officer, authority_id=pki.servers.pk, note="Its key was copied.")
    assert not status.ensure_responder(pki.servers.pk)
    assert refreshed(pki.servers).responder_key_id is None
