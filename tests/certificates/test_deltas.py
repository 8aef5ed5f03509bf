"""Delta CRLs: what a relying party needs that fetched a full list earlier."""

from datetime import timedelta

import pytest
from django.utils import timezone

from certificates import tasks
from certificates.models import Authority, CertificateList
from certificates.services import crls, revoking
from keyvault_portal.audit.models import AuditEvent
from tests.certificates.conftest import SERVERS, crl_pem, make_authority, pem
from tests.certificates.test_openssl import _issue


@pytest.fixture
def authority(tree):
    root = make_authority(tree, "root")
    made = make_authority(tree, "deltas", root, profiles=["server"], names=SERVERS, delta_crls=True)
    tasks.publish_crl(str(made.pk))
    return made


def revoke(tree, authority, name):
    row = _issue(tree, authority, f"dns:{name}.example.org")
    revoking.revoke_certificate(actor=tree.officer, certificate_id=row.pk, reason="superseded")
    tasks.publish_crl(str(authority.pk))
    return row


def delta_of(authority):
    found = crls.newest(authority, 0, "delta")
    assert found is not None
    return found


def test_who_holds_an_earlier_full_list_learns_of_a_revocation_from_the_delta_alone(tree, authority, openssl):
    held, good = crl_pem(authority), _issue(tree, authority, "dns:good.example.org")
    rows = [revoke(tree, authority, "a"), revoke(tree, authority, "b")]
    assert delta_of(authority).entries == 2
    for row, valid in ((good, True), (rows[0], False), (rows[1], False)):
        found = openssl(
            "verify", "-crl_check", "-extended_crl", "-use_deltas", "-CAfile", pem(authority.parent.certificate), "-untrusted",
            pem(authority.certificate), "-CRLfile", held + crl_pem(authority, kind="delta"), pem(row),
        )  # fmt: skip
        assert (found.returncode == 0) == valid, found.stderr
    assert crls.newest(authority, 0).entries == 2  # who reads no deltas is told as soon


def test_the_list_that_deltas_build_on_stays_until_it_has_run_out(tree, authority, monkeypatch):
    monkeypatch.setattr(crls, "KEEP", 1)
    first = CertificateList.objects.get(authority=authority, kind="full")
    for name in ("a", "b", "c"):
        revoke(tree, authority, name)
    third = crls.newest(authority, 0)
    assert set(CertificateList.objects.filter(authority=authority, kind="full")) == {first, third}
    assert delta_of(authority).base_number == first.number
    CertificateList.objects.filter(pk=first.pk).update(next_update=timezone.now() - timedelta(seconds=1))
    revoke(tree, authority, "d")
    assert not CertificateList.objects.filter(pk=first.pk).exists()
    assert delta_of(authority).base_number == third.number  # the oldest that is left, and good


def test_a_revocation_whose_transaction_was_slow_is_in_the_delta_too(tree, authority, monkeypatch):
    row = revoke(tree, authority, "slow")
    CertificateList.objects.filter(authority=authority).delete()
    type(row).objects.filter(pk=row.pk).update(revoked_at=timezone.now() - timedelta(minutes=2))
    tasks.publish_crl(str(authority.pk))
    assert delta_of(authority).entries == 1


def test_the_schedule_signs_a_delta_with_each_full_list(authority):
    before = delta_of(authority)
    Authority.objects.update(next_crl_at=None)
    Authority.objects.filter(pk=authority.pk).update(next_crl_at=timezone.now())
    assert crls.tick() == 1
    after = delta_of(authority)
    assert after.number > before.number
    assert after.next_update >= crls.newest(authority, 0).next_update


def test_a_delta_whose_number_another_worker_took_is_signed_again(authority, monkeypatch):
    taken, real = delta_of(authority).number, crls._next_number
    numbers = iter([taken])
    monkeypatch.setattr(crls, "_next_number", lambda of: next(numbers, None) or real(of))
    made = crls.publish_delta(authority.pk)
    assert made is not None
    assert made.number == taken + 1
    assert AuditEvent.objects.filter(action="crl.publish", outcome="success", target_id=str(authority.pk)).exists()


def test_there_is_none_without_deltas_or_with_partitions(tree):
    plain = make_authority(tree, "plain")
    tasks.publish_crl(str(plain.pk))
    parts = make_authority(tree, "parts", delta_crls=True, crl_partitions=2)
    tasks.publish_crl(str(parts.pk))
    assert not CertificateList.objects.filter(kind="delta").exists()
