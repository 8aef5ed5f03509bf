"""Notices of an end: at 30, 14, 7 and 1 days, once each."""

from datetime import timedelta

from django.utils import timezone

from certificates.models import Certificate
from certificates.services import expiry
from keyvault_portal.approvals.models import Notice
from tests.certificates.test_acts import officer_named


def test_notices_of_an_end_come_once(pki):
    owner = officer_named("Asta")
    row = pki.issue("dns:www.example.org", owner_id=owner.id)
    for days, told in ((45, 0), (29.5, 1), (20, 1), (13.5, 2), (6.9, 3), (6.5, 3), (0.9, 4), (0.1, 4)):
        Certificate.objects.filter(pk=row.pk).update(not_after=timezone.now() + timedelta(days=days))
        expiry.tick()
        expiry.tick()
        assert row.expiry_notices.count() == told, days
        assert Notice.objects.filter(person_id=owner.id, text__contains=" ends ").count() == told
    Certificate.objects.filter(pk=row.pk).update(not_after=timezone.now() + timedelta(days=20))
    expiry.tick()
    assert row.expiry_notices.count() == 4


def test_what_is_found_late_is_told_once_and_not_for_every_step_it_missed(pki):
    owner = officer_named("Asta")
    row = pki.issue("dns:www.example.org", owner_id=owner.id)
    Certificate.objects.filter(pk=row.pk).update(not_after=timezone.now() + timedelta(days=5))
    assert expiry.tick() == 1
    assert list(row.expiry_notices.values_list("days", flat=True)) == [7]
