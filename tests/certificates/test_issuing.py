"""How a certificate becomes durable: with its grant and its record at once, or after a grant that was written first."""

from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection

from certificates import signing
from certificates.models import Authority, Certificate, IssuanceGrant
from certificates.services import grants, issuing, offices, revoking, rows, signers, status
from certificates.signing import WrongSignature
from certificates.states import GrantState, Reason
from keyvault_portal import jobs
from keyvault_portal.arrays import TEXT, pack
from keyvault_portal.audit import ledger
from keyvault_portal.audit.commands import verification_settings
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.audit.verification import verify
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.certificates.conftest import order, outcomes, with_responder


@pytest.fixture
def elsewhere(monkeypatch):
    """The authorities' keys count as keys of a provider: their signatures may be out before we know of them."""
    keys_elsewhere(monkeypatch)


def keys_elsewhere(monkeypatch):
    for module in (issuing, grants):
        monkeypatch.setattr(module, "signs_here", lambda version: False)


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
    monkeypatch.setattr(grants, "signer", lambda version: None)
    with pytest.raises(Exception):  # noqa: B017, PT011  no signature: the grant is lost, and its serial number with it
        issue_many(pki, "a.example.org")
    monkeypatch.undo()
    if where == "elsewhere":
        keys_elsewhere(monkeypatch)
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


def test_a_key_kept_here_needs_one_durable_statement(at_once, monkeypatch):
    sent, real = [], ledger.append_after
    monkeypatch.setattr(
        ledger, "append_after", lambda *rest: sent.append(connection.connection.autocommit) or real(*rest)
    )
    monkeypatch.setattr(ledger, "append_locked", lambda *rest: pytest.fail("not under the lock"))
    monkeypatch.setattr(rows, "run", lambda *rest: pytest.fail("nothing is asked before"))
    monkeypatch.setattr(issuing.audit, "atomic", lambda **rest: pytest.fail("no transaction"))
    row = at_once()
    assert sent == [True]
    monkeypatch.undo()
    stored = Certificate.objects.get(pk=row.pk)
    assert (stored.grant.state, bytes(stored.der)) == ("done", row.der)
    assert outcomes()[-2:] == ["success", "success"]
    assert verify(verification_settings(every_signature=True)).finding is None


def test_another_who_appended_in_between_costs_time_only(at_once, monkeypatch):
    hope = ledger._hope
    monkeypatch.setattr(ledger, "_hope", ledger.Hope())
    at_once("c.example.org")
    monkeypatch.setattr(ledger, "_hope", hope)
    monkeypatch.setattr(rows, "run", lambda *rest: pytest.fail("nothing is asked before"))
    assert at_once().grant.state == "done"
    assert verify(verification_settings(every_signature=True)).finding is None


def test_an_authority_that_another_process_stopped_issues_nothing(at_once):
    Authority.objects.filter(pk=at_once.authority.pk).update(state="retired")
    before = outcomes()
    with pytest.raises(WrongState, match="issues nothing"):
        at_once()
    assert outcomes() == [*before, "refused"]
    assert Certificate.objects.filter(authority=at_once.authority, profile="server").count() == 1
    Authority.objects.filter(pk=at_once.authority.pk).update(state="active", max_days=10)
    row = at_once()
    assert (row.not_after - row.not_before).days < 10
    Authority.objects.filter(pk=at_once.authority.pk).update(state="retired")
    with pytest.raises(WrongState):  # nor does one whose stop is known
        at_once()
    Authority.objects.filter(pk=at_once.authority.pk).update(state="active")
    assert at_once().pk


def test_a_key_that_was_revoked_as_compromised_is_refused_by_the_statement_itself(at_once, tree):
    wanted = order("b.example.org")
    revoking.revoke_certificate(
        actor=tree.officer, certificate_id=at_once(wanted=wanted).pk, reason=Reason.KEY_COMPROMISE.value
    )
    at_once()  # the authority is known again
    before = outcomes()
    with pytest.raises(ValidationFailed, match="compromised"):
        at_once(wanted=wanted)
    assert outcomes() == [*before, "refused"]


def test_what_is_refused_is_recorded_once(at_once, auditor):
    before = outcomes()
    with pytest.raises(ValidationFailed, match="outside"):
        at_once("b.example.com")
    with pytest.raises(PermissionRefused):
        at_once(actor=auditor)
    assert outcomes() == [*before, "refused", "refused"]


def test_what_may_have_been_written_is_not_tried_again(at_once, monkeypatch):
    tried = []

    def away(*rest):
        tried.append(rest)
        raise AuditUnavailable

    monkeypatch.setattr(ledger, "append_after", away)
    with pytest.raises(AuditUnavailable):
        at_once()
    assert len(tried) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_key_that_does_not_fit_its_authority_issues_nothing(at_once, monkeypatch, known):
    grants._trusted.clear()
    if not known:
        offices._offices.clear()
    stranger = ec.generate_private_key(ec.SECP256R1())
    monkeypatch.setattr(grants, "signer", lambda _: lambda message: stranger.sign(message, ec.ECDSA(hashes.SHA256())))
    with pytest.raises(WrongSignature):
        at_once()
    assert Certificate.objects.filter(authority=at_once.authority, profile="server").count() == 1
    assert IssuanceGrant.objects.filter(authority=at_once.authority, state="lost").count() == 1


def test_a_signature_of_a_key_kept_here_is_checked_once_a_minute_and_every_one_of_a_provider(pki, monkeypatch):
    checked, real = [], signing.verify
    monkeypatch.setattr(signing, "verify", lambda *rest: checked.append(rest) or real(*rest))
    grants._trusted.clear()
    issue_many(pki, "a.example.org", "b.example.org")
    issue_many(pki, "c.example.org")
    assert len(checked) == 1
    keys_elsewhere(monkeypatch)
    issue_many(pki, "d.example.org", "e.example.org")
    assert len(checked) == 3


def test_no_plan_reads_all_certificates_to_find_a_compromised_key(pki):
    """Whatever the server believes of the table's size: its index is the only way that its words allow."""
    digest = ["0" * 64]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    explain = "EXPLAIN " + offices.LOOK_UP
    plan = "\n".join(line for (line,) in rows.run(explain, [pack(digest, TEXT), pki.servers.pk]).fetchall())
    assert "pki_certificate_compromised" in plan
    assert "Seq Scan on certificates_certificate" not in plan


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
