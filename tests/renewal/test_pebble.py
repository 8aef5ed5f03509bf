"""Against Let's Encrypt's own test CA: obtain, renew with a new key, what it suggests, what it refuses, and when it is away."""

import json
import subprocess
from datetime import timedelta
from hashlib import sha256

import josepy
import pytest
from cryptography import x509
from django.utils import timezone

from certificates.models import AcmeSource, Certificate, ChallengeAnswer, ManagedCertificate, RenewalOrder
from certificates.renewal import client, managing, ordering, schedule, sources, storing
from certificates.renewal.frame import back_off
from certificates.services.reading import chain_of, pem
from keys.crypto.secret import SecretBytes
from keys.hosts import HostRefused
from keys.models import KeyVersion, SealedValue
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, ValidationFailed, WrongState
from tests.renewal.conftest import ask, carry, make_hook, make_source
from tests.renewal.pebble import EAB_KEY, EAB_KID, running

pytestmark = [pytest.mark.django_db, pytest.mark.needs_pebble]


def test_a_certificate_is_obtained_and_renewed_with_a_new_key(home, pebble, dns, tmp_path):
    source = make_source(home, pebble)
    assert (source.state, source.last_error) == ("ready", "")
    row = ask(home, source, make_hook(home, dns), "dns:www.example.org", "dns:*.shop.example.org")
    first = carry(row)
    row.refresh_from_db()
    assert (first.state, row.failures, row.shown_state) == ("issued", 0, "valid")
    certificate = row.certificate
    assert certificate.names == ["dns:www.example.org", "dns:*.shop.example.org"]
    assert certificate.spki_sha256 == sha256(bytes(first.version.public_key)).hexdigest()
    assert (certificate.source, certificate.key_origin) == ("acme", "hierarchy")
    assert len(chain_of(certificate)) >= 1
    # A second worker that brings the same certificate later changes nothing.
    planned = row.renew_at
    assert storing.store(first, pem(certificate, *chain_of(certificate))) == certificate
    row.refresh_from_db()
    assert row.renew_at == planned
    assert AuditEvent.objects.filter(action="certificate.obtained", outcome="success").count() == 1
    (tmp_path / "root.pem").write_bytes(pebble.root())
    (tmp_path / "chain.pem").write_text(pem(*chain_of(certificate)))
    (tmp_path / "leaf.pem").write_text(pem(certificate))
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "chain.pem", tmp_path / "leaf.pem"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    # What the CA looked for is taken away again, and the first version of the key was good enough.
    assert not ChallengeAnswer.objects.exists()
    assert {event["action"] for event, _, _ in dns.calls} == {"present", "cleanup"}
    assert first.version.key_version == 1

    ManagedCertificate.objects.update(renew_at=timezone.now())
    assert schedule.begin_due(row.pk).because == "Two thirds of its life are over."
    second = carry(row)
    row.refresh_from_db()
    assert (second.state, second.version.key_version, second.version.status) == ("issued", 2, "active")
    assert KeyVersion.objects.get(pk=first.version_id).status == "decrypt_only"
    assert (row.certificate.renews_id, row.certificate.spki_sha256 != certificate.spki_sha256) == (certificate.pk, True)
    assert AuditEvent.objects.filter(action="certificate.obtained").count() == 2
    assert AuditEvent.objects.filter(action="certificate.obtain", target_id=str(row.pk)).count() == 1


def test_it_is_renewed_in_the_last_twentyfourth_before_two_thirds_of_its_life(home, pebble, dns):
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    carry(row)
    row.refresh_from_db()
    life = row.certificate.not_after - row.certificate.not_before
    end = row.certificate.not_before + life * 2 / 3
    assert end - life / 24 <= row.renew_at <= end
    schedule.tick()
    assert row.orders.count() == 1
    ManagedCertificate.objects.update(renew_at=timezone.now())
    schedule.tick()
    schedule.tick()
    assert row.orders.count() == 2
    assert row.orders.filter(finished_at=None).get().because == "Two thirds of its life are over."


def test_the_ca_says_when_and_is_told_what_is_replaced(home, pebble, dns):
    start = timezone.now() + timedelta(days=20)
    pebble.door.window = (start, start + timedelta(hours=2))
    source = make_source(home, pebble)
    row = ask(home, source, make_hook(home, dns))
    carry(row)
    row.refresh_from_db()
    assert source.offers_renewal_info
    assert row.ask_window_at is not None
    schedule.ask_window(row.pk)
    row.refresh_from_db()
    assert start <= row.renew_at <= start + timedelta(hours=2)
    assert (row.renew_because, row.explanation_url) == ("The CA suggests it (RFC 9773).", "https://ca.example/why")
    assert timedelta(hours=5) < row.ask_window_at - timezone.now() <= timedelta(hours=6)
    # An incident: the window is over, so the renewal is due at once; but no suggestion moves it beyond its end.
    pebble.door.window = (timezone.now() - timedelta(hours=2), timezone.now() - timedelta(hours=1))
    schedule.ask_window(row.pk)
    assert schedule.begin_due(row.pk)
    carry(row)
    identifier = client.renewal_identifier(schedule.parse(row.certificate))
    assert any(
        identifier.encode() in josepy.b64decode(json.loads(body)["payload"])
        for body in pebble.door.bodies
        if b'"payload"' in body
    )
    pebble.door.window = (timezone.now() + timedelta(days=1000), timezone.now() + timedelta(days=1001))
    late = schedule.ask_window(row.pk)
    assert late.renew_at < late.certificate.not_after
    assert AuditEvent.objects.filter(action="certificate.renewal_window", outcome="success").count() == 3
    # Of one that has ended nobody is asked (RFC 9773, 4.3).
    Certificate.objects.filter(pk=late.certificate_id).update(not_after=timezone.now())
    pebble.door.seen.clear()
    assert schedule.ask_window(row.pk) is None
    assert pebble.door.seen == []


def test_an_answer_that_does_not_come_changes_nothing(home, pebble, dns):
    pebble.door.window = (timezone.now() + timedelta(days=20), timezone.now() + timedelta(days=21))
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    carry(row)
    row.refresh_from_db()
    planned = row.renew_at
    pebble.door.shut = True
    found = schedule.ask_window(row.pk)
    assert found.renew_at == planned
    assert found.ask_window_at > timezone.now() + timedelta(hours=5)


def test_an_external_account(home, tmp_path, settings):
    with running(tmp_path, binding=True) as bound:
        refused = make_source(home, bound, name="unbound")
        assert refused.state == "failed"
        assert "external" in refused.last_error.lower()
        made = make_source(home, bound, name="bound", eab_kid=EAB_KID, eab_key=SecretBytes(EAB_KEY.encode()))
        assert (made.state, made.eab_key) == ("ready", None)
        assert not SealedValue.objects.filter(purpose="ACME external account binding").exists()
        tried = sources.look_at_ca(
            actor=home.officer, ring=home.ring, directory=bound.door.directory, ca_bundle=bound.bundle
        )
        assert tried.wants_binding
        # A worker that died after the CA had answered does it again: the key has one account.
        AcmeSource.objects.filter(pk=made.pk).update(state="registering", account_url="")
        again = sources.complete_registration(made.pk)
        assert (again.state, again.account_url) == ("ready", made.account_url)


def test_a_name_that_is_not_proved(home, pebble, receiver):
    """The hook says that it wrote the record, and did not."""
    person = Person.objects.create_person(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=person, role="security_officer", ring=home.ring, created_by="test")
    row = ask(home, make_source(home, pebble), make_hook(home, receiver))
    order = carry(row)
    row.refresh_from_db()
    assert order.state == "failed"
    assert "www.example.org could not be proved" in order.error
    told = [(event["action"], event["name"], event["value"]) for event, _, _ in receiver.calls]
    assert told == [(act, "_acme-challenge.www.example.org", told[0][2]) for act in ("present", "cleanup")]
    assert (row.failures, row.certificate, row.shown_state) == (1, None, "failed")
    assert row.renew_at - timezone.now() > timedelta(minutes=14)
    assert not ChallengeAnswer.objects.exists()
    assert KeyVersion.objects.filter(key=row.key).count() == 1
    schedule.tick()
    assert row.orders.count() == 1
    assert AuditEvent.objects.filter(action="certificate.renewal_order", outcome="failed").count() == 1
    notice = Notice.objects.get(person_id=person.pk)
    assert (notice.text, notice.path) == ("The renewal of www.example.org fails", f"/certificates/renewals/{row.pk}/")
    ManagedCertificate.objects.update(renew_at=timezone.now())
    schedule.begin_due(row.pk)
    assert carry(row).state == "failed"
    assert Notice.objects.count() == 1  # once a day is enough
    row.refresh_from_db()
    assert row.failures == 2


def test_a_ca_that_is_away_is_asked_again_and_the_order_goes_on(home, pebble, dns):
    source, hook = make_source(home, pebble), make_hook(home, dns)
    row = ask(home, source, hook)
    pebble.door.shut = True
    order = ordering.carry_on(row.orders.get().pk)
    assert (order.state, order.attempts, order.order_url) == ("preparing", 1, "")
    assert order.next_try_at > timezone.now() + timedelta(seconds=30)
    assert order.error == "The CA does not answer."
    assert ordering.carry_on(order.pk) is None  # not before its time
    pebble.door.shut = False
    request = bytes(order.csr)
    order = carry(row)
    assert (order.state, bytes(order.csr)) == ("issued", request)


def test_a_limit_of_the_ca_is_kept_to(home, pebble, dns):
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "Too many certificates for example.org."}
    headers = {"Retry-After": "7200", "Content-Type": "application/problem+json"}
    pebble.door.answers.append(("/order-plz", 429, headers, problem))
    order = ordering.carry_on(row.orders.get().pk)
    assert order.error == "Too many certificates for example.org."
    assert timedelta(minutes=119) < order.next_try_at - timezone.now() <= timedelta(minutes=121)
    assert carry(row).state == "issued"


def test_a_worker_that_died_anywhere_is_followed_by_another(home, pebble, dns, monkeypatch):
    """After every single answer of the CA the worker is killed; the next one begins where it was."""
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    order_id = row.orders.get().pk
    real, died = ordering._step, []

    class Killed(BaseException):
        pass

    def step(order, ca):
        done = real(order, ca)
        if not done and len(died) < 6:
            died.append(order.state)
            raise Killed
        return done

    monkeypatch.setattr(ordering, "_step", step)
    for _ in range(30):
        try:
            RenewalOrder.objects.filter(pk=order_id).update(next_try_at=timezone.now())
            if ordering.carry_on(order_id).finished_at:
                break
        except Killed:
            continue
    row.refresh_from_db()
    assert len(died) >= 2
    assert row.certificate is not None
    asked = sum(path == "/order-plz" for _, path in pebble.door.seen)
    assert asked - pebble.door.refused.count("/order-plz") <= 2
    assert RenewalOrder.objects.count() == 1


def test_only_one_worker_at_a_time(home, pebble, dns):
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    order = row.orders.get()
    RenewalOrder.objects.update(claimed_until=timezone.now() + timedelta(minutes=1))
    assert ordering.carry_on(order.pk) is None
    with pytest.raises(Conflict):
        managing.renew_now(actor=home.officer, managed_id=row.pk, reason="Twice.")


def test_a_rotated_key_gets_its_certificate_at_once(home, pebble, dns):
    from keys.services import lifecycle

    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    carry(row)
    version = lifecycle.introduce_version(actor=home.officer, key_id=row.key_id, activate=True)
    schedule.tick()
    order = row.orders.get(finished_at=None)
    assert (order.because, order.version_id) == ("Its key was rotated.", version.pk)
    assert carry(row).state == "issued"
    schedule.tick()
    assert row.orders.count() == 2


def test_the_same_key_may_be_kept(home, pebble, dns):
    row = ask(home, make_source(home, pebble), make_hook(home, dns), new_key=False)
    carry(row)
    managing.renew_now(actor=home.officer, managed_id=row.pk, reason="A new chain.")
    assert carry(row).version.key_version == 1


def test_what_the_ca_sent_is_not_what_was_asked_for(home, pebble, dns, monkeypatch):
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    carry(row)
    row.refresh_from_db()
    other = pem(row.certificate)
    managing.renew_now(actor=home.officer, managed_id=row.pk, reason="Again.")
    monkeypatch.setattr(client.AcmeCa, "download", lambda self, order: other)
    order = carry(row)
    assert (order.state, order.error) == ("failed", "The CA certified another key than ours.")
    row.refresh_from_db()
    assert row.certificate is not None
    assert KeyVersion.objects.get(key=row.key, key_version=2).status == "pre_active"  # kept for the next try
    monkeypatch.undo()
    ManagedCertificate.objects.update(renew_at=timezone.now())
    schedule.begin_due(row.pk)
    order = carry(row)
    assert (order.state, order.version.key_version) == ("issued", 2)


def test_stopped_is_stopped(home, pebble, dns):
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    carry(row)
    managing.stop_renewal(actor=home.officer, managed_id=row.pk, reason="It goes.")
    ManagedCertificate.objects.update(renew_at=timezone.now())
    schedule.tick()
    assert row.orders.count() == 1
    with pytest.raises(WrongState):
        managing.stop_renewal(actor=home.officer, managed_id=row.pk, reason="Twice.")
    managing.resume_renewal(actor=home.officer, managed_id=row.pk, reason="It stays.")
    schedule.tick()
    assert row.orders.count() == 2


def test_a_source_in_use_is_not_retired(home, pebble, dns):
    source = make_source(home, pebble)
    row = ask(home, source, make_hook(home, dns))
    with pytest.raises(Conflict):
        sources.retire_source(actor=home.officer, source_id=source.pk, reason="Gone.")
    managing.stop_renewal(actor=home.officer, managed_id=row.pk, reason="It goes.")
    assert sources.retire_source(actor=home.officer, source_id=source.pk, reason="Gone.").state == "retired"
    with pytest.raises(WrongState):
        sources.retry_source(actor=home.officer, source_id=source.pk)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agree_to_terms": False}, "agree_to_terms"), ({"name": "Bad Name"}, "name"), ({"contacts": ["nobody"]}, "contacts"),
        ({"eab_kid": "kid"}, "eab_kid"), ({"eab_kid": "kid", "eab_key": SecretBytes(b"!")}, "eab_key"),
        ({"directory": "http://127.0.0.1/dir"}, "directory"), ({"ca_bundle": "no"}, "ca_bundle"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be(home, pebble, change, field):
    with pytest.raises(ValidationFailed) as refused:
        make_source(home, pebble, **change)
    assert field in refused.value.errors


def test_addresses_that_are_not_allowed(home, pebble, settings):
    settings.ACME_ALLOWED_HOSTS = ["10.0.0.0/8"]
    with pytest.raises(HostRefused):
        make_source(home, pebble)
    settings.ACME_ALLOWED_HOSTS = ["127.0.0.0/8"]
    source = make_source(home, pebble)
    # The CA's own answer names another host: no connection goes there either.
    AcmeSource.objects.filter(pk=source.pk).update(state="registering", account_url="")
    evil = dict.fromkeys(("newNonce", "newAccount", "newOrder"), "https://169.254.169.254/x")
    pebble.door.answers.append(("/dir", 200, {"Content-Type": "application/json"}, evil))
    assert sources.complete_registration(source.pk).state == "failed"
    assert "never connects to" in AcmeSource.objects.get().last_error


def test_a_tls_certificate_nobody_trusts(home, pebble):
    assert (made := make_source(home, pebble, ca_bundle="")).state == "failed"
    assert "not trusted" in made.last_error


def test_what_is_no_directory(home, pebble):
    pebble.door.answers.append(("/dir", 200, {"Content-Type": "application/json"}, {"hello": "world"}))
    assert make_source(home, pebble).last_error.startswith("There is no ACME directory")
    pebble.door.answers.append(("/dir", 302, {"Location": "https://127.0.0.1:1/dir"}, {}))
    assert make_source(home, pebble, name="second").state == "failed"
    pebble.door.answers.append(("/dir", 200, {"Content-Type": "application/json"}, {"x": "y" * 2_000_000}))
    assert make_source(home, pebble, name="third").state in {"failed", "registering"}


def test_waiting_doubles_up_to_a_day():
    waits = [back_off(number) for number in range(1, 30)]
    assert timedelta(seconds=47) < waits[0] < timedelta(seconds=73)
    assert waits[4] > timedelta(minutes=12)
    assert max(waits) <= timedelta(hours=29)
    assert back_off(1, least=timedelta(hours=3)) >= timedelta(hours=3)


def test_the_identifier_of_rfc_9773():
    """The example of RFC 9773, 4.1 (its certificate's AKI and serial number)."""

    class Example:
        serial_number = 0x8765_4321

        class extensions:
            @staticmethod
            def get_extension_for_class(kind):
                class Found:
                    value = x509.AuthorityKeyIdentifier(
                        bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"), None, None
                    )

                return Found

    assert client.renewal_identifier(Example()) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert Certificate.objects.count() == 0
