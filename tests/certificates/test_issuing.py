"""How a certificate becomes durable: with its grant and its record at once, or after a grant that was written first."""

from hashlib import sha256

import pytest
from cryptography import x509
from django.db import connection

from certificates.models import Certificate, IssuanceGrant
from certificates.services import grants, issuing, rows, signers, status
from certificates.states import GrantState
from keyvault_portal import jobs
from keyvault_portal.audit import ledger
from keyvault_portal.audit.commands import verification_settings
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.audit.verification import verify
from keyvault_portal.errors import Conflict, ValidationFailed
from tests.certificates.conftest import csr, with_responder


@pytest.fixture
def elsewhere(monkeypatch):
    """The authorities' keys count as keys of a provider: their signatures may be out before we know of them."""
    monkeypatch.setattr(issuing, "signs_here", lambda version: False)


def order(name):
    return issuing.order_from_csr(csr(names=(x509.DNSName(name),)), profile="server")


def issue_many(pki, *names):
    return issuing.issue_certificates(
        actor=pki.officer, authority_id=pki.servers.pk, orders=[order(name) for name in names]
    )


def grants_of(pki):
    return list(IssuanceGrant.objects.filter(authority=pki.servers).order_by("created_at"))


def watched(monkeypatch, pki, watch):
    """Call `watch` whenever the authority's key is about to sign."""
    real = grants.signer

    def signer(version):
        sign = real(version)

        def watching(message):
            watch()
            return sign(message)

        return watching

    monkeypatch.setattr(grants, "signer", signer)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_batch_has_a_row_a_grant_and_an_event_each(pki, where, request):
    if where == "elsewhere":
        request.getfixturevalue("elsewhere")
    made = issue_many(pki, "a.example.org", "b.example.org", "c.example.org")
    assert [row.names for row in made] == [["dns:a.example.org"], ["dns:b.example.org"], ["dns:c.example.org"]]
    for row in made:
        stored = Certificate.objects.get(pk=row.pk)
        for field in Certificate._meta.concrete_fields:
            found, wanted = getattr(row, field.attname), getattr(stored, field.attname)
            assert (bytes(found) if field.attname == "der" else found) == (
                bytes(wanted) if field.attname == "der" else wanted
            ), field.attname
        leaf = x509.load_der_x509_certificate(bytes(stored.der))
        grant = stored.grant
        assert (grant.state, grant.serial) == (GrantState.DONE.value, stored.serial)
        assert grant.tbs_sha256 == sha256(leaf.tbs_certificate_bytes).hexdigest()
        assert grant.spent_at is not None
        assert (
            AuditEvent.objects.filter(action="certificate.issue", target_id=str(row.pk), outcome="success").count() == 1
        )


def test_of_a_batch_with_one_bad_order_nothing_is_signed(pki, monkeypatch):
    watched(monkeypatch, pki, lambda: pytest.fail("nothing may be signed"))
    with pytest.raises(ValidationFailed):
        issue_many(pki, "a.example.org", "b.example.com")
    assert not Certificate.objects.filter(authority=pki.servers).exists()


def test_what_a_provider_signs_was_granted_before(pki, elsewhere, monkeypatch):
    seen = []
    watched(monkeypatch, pki, lambda: seen.append([(row.state, row.certificate_id) for row in grants_of(pki)]))
    issue_many(pki, "a.example.org")
    assert seen == [[("spent", None)]]
    assert [row.state for row in grants_of(pki)] == ["done"]


def test_a_signature_that_comes_after_its_grant_was_given_up_is_not_stored(pki, elsewhere, monkeypatch):
    def give_up():
        IssuanceGrant.objects.filter(authority=pki.servers).update(state="lost", error="abandoned")

    watched(monkeypatch, pki, give_up)
    with pytest.raises(Conflict, match="too late"):
        issue_many(pki, "a.example.org")
    assert [row.state for row in grants_of(pki)] == ["lost"]
    assert not Certificate.objects.filter(authority=pki.servers).exists()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_serial_number_that_was_granted_before_is_refused(pki, where, request, monkeypatch):
    if where == "elsewhere":
        request.getfixturevalue("elsewhere")
    monkeypatch.setattr(issuing, "new_serial", lambda: 2**150 + 7)
    monkeypatch.setattr(grants, "signer", lambda version: lambda message: b"")
    with pytest.raises(Exception):  # noqa: B017, PT011  no signature: the grant is lost, and its serial number with it
        issue_many(pki, "a.example.org")
    monkeypatch.undo()
    if where == "elsewhere":
        monkeypatch.setattr(issuing, "signs_here", lambda version: False)
    monkeypatch.setattr(issuing, "new_serial", lambda: 2**150 + 7)
    with pytest.raises(Conflict, match="used before"):
        issue_many(pki, "b.example.org")
    assert [row.state for row in grants_of(pki)] == ["lost"]
    assert not Certificate.objects.filter(authority=pki.servers).exists()


def test_what_cannot_be_recorded_is_not_issued(pki, monkeypatch):
    def away(*rest):
        raise AuditUnavailable

    monkeypatch.setattr(ledger, "append", away)
    with pytest.raises(AuditUnavailable):
        issue_many(pki, "a.example.org")
    assert grants_of(pki) == []
    assert not Certificate.objects.filter(authority=pki.servers).exists()


@pytest.mark.django_db(transaction=True)
def test_a_key_kept_here_needs_one_durable_statement(tree, monkeypatch):
    from tests.certificates.conftest import SERVERS, make_authority

    root = make_authority(tree, "root", profiles=["server"], names=SERVERS)
    monkeypatch.setattr(ledger, "_hope", ledger.Hope())

    def issue(name):
        return issuing.issue_certificate(actor=tree.officer, authority_id=root.pk, order=order(name))

    issue("a.example.org")
    sent, real = [], ledger.append_after
    monkeypatch.setattr(
        ledger, "append_after", lambda *rest: sent.append(connection.connection.autocommit) or real(*rest)
    )
    monkeypatch.setattr(ledger, "append_locked", lambda *rest: pytest.fail("not under the lock"))
    row = issue("b.example.org")
    assert sent == [True]
    monkeypatch.undo()
    assert Certificate.objects.get(pk=row.pk).grant.state == "done"
    assert verify(verification_settings(every_signature=True)).finding is None


def test_the_owner_is_kept_and_known(pki):
    from keyvault_portal.accounts.models import Person

    person = Person.objects.create_person(email="own@example.org", name="Own")
    row = pki.issue("dns:a.example.org", owner_id=person.pk)
    assert (row.owner, row.authority, row.ring_id) == (person, pki.servers, pki.servers.ring_id)
    assert Certificate.objects.get(pk=row.pk).owner_id == person.pk


def test_every_column_is_written_by_name():
    """A column that is added later has its model's default in rows that do not name it."""
    [whole] = rows.complete(Certificate, [{"serial": "ab", "nothing of the sort": 1}])
    assert list(whole) == [field.column for field in Certificate._meta.concrete_fields]
    assert (whole["source"], whole["weaknesses"], whole["crl_entry"], whole["reason"]) == ("issued", [], None, "")
    [first, second] = rows.complete(Certificate, [{}, {}])
    assert first["id"] != second["id"]
    assert first["weaknesses"] is not second["weaknesses"]


def test_answers_for_what_was_issued_just_now(pki):
    with_responder(pki.servers)
    row = pki.issue("dns:a.example.org")
    other = pki.issue("dns:b.example.org")
    assert status.presign_new() >= 2
    assert row.answers.count() == other.answers.count() > 0
    assert status.presign_new() == 0


def test_one_message_serves_all_who_commit_in_the_meantime(monkeypatch):
    sent, clock = [], [100.0]

    class Task:
        name = "certificates.presign_new"

        def apply_async(self, countdown):
            sent.append(countdown)
            if len(sent) == 3:
                raise ConnectionError

    monkeypatch.setattr(jobs, "monotonic", lambda: clock[0])
    monkeypatch.setattr(jobs, "_sent", {})
    for moment in (100.0, 100.5, 100.99, 101.0):
        clock[0] = moment
        jobs._send(Task(), 1.0)
    assert sent == [1.0, 1.0]
    clock[0] = 102.0
    with pytest.raises(ConnectionError):
        jobs._send(Task(), 1.0)
    jobs._send(Task(), 1.0)  # the broker did not take it: the next one tries again
    assert len(sent) == 4


def test_the_portal_s_own_keys_sign_in_this_process(pki):
    assert signers.signs_here(pki.servers.key_version)
    pki.servers.key_version.provider = "hsm"
    assert not signers.signs_here(pki.servers.key_version)
