"""Revocation at the CA outside (RFC 8555, 7.6): by the account, by the certificate's key, when it refuses, when it is away."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates.models import AcmeSource, CaRevocation, Certificate, ManagedCertificate, RenewalOrder
from certificates.renewal import revoking, schedule
from keys.services import lifecycle
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.execution import execute
from keyvault_portal.approvals.models import ApprovalRequest, Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ApprovalRequired, NotFound, PermissionRefused, ValidationFailed, WrongState
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.renewal.conftest import ask, carry, make_hook, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.needs_pebble]
NEVER = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "Not yours."}
PROBLEM = {"Content-Type": "application/problem+json", "Replay-Nonce": "AAAAAAAAAAAAAAAAAAAAAA"}


@pytest.fixture
def managed(home, pebble, dns):
    row = ask(home, make_source(home, pebble), make_hook(home, dns))
    carry(row)
    row.refresh_from_db()
    return row


def wish_of(row: ManagedCertificate) -> CaRevocation:
    return CaRevocation.objects.get(certificate=row.certificate)


def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(AuditEvent.objects.get(action="certificate.revoked_at_ca").leaf)["details"]
    return found


def again(wish: CaRevocation) -> CaRevocation:
    CaRevocation.objects.update(next_try_at=timezone.now())
    found = revoking.carry(wish.pk)
    assert found is not None
    return found


def test_the_ca_revokes_in_the_name_of_the_account(home, pebble, managed):
    row = managed.certificate
    revoking.revoke(actor=home.officer, certificate_id=row.pk, reason="superseded", note="Moved.")
    row.refresh_from_db()
    assert (row.state, pebble.status(row.serial)["Status"]) == ("valid", "Valid")
    with pytest.raises(WrongState):
        revoking.revoke(actor=home.officer, certificate_id=row.pk, reason="superseded")
    assert revoking.carry(wish_of(managed).pk).state == "done"
    assert revoking.carry(wish_of(managed).pk) is None
    row.refresh_from_db()
    told = pebble.status(row.serial)
    assert (told["Status"], told["Reason"]) == ("Revoked", 4)
    assert (row.state, row.reason, row.revoked_by, row.crl_entry) == ("revoked", "superseded", home.officer.label, None)
    assert recorded()["signed_with"] == "account"
    # What serves it wants another one at once.
    schedule.tick()
    assert RenewalOrder.objects.get(managed=managed, finished_at=None).because == "The present one is revoked."
    with pytest.raises(WrongState):
        revoking.revoke(actor=home.officer, certificate_id=row.pk, reason="superseded")


def test_a_compromised_key_says_so_itself_and_is_never_certified_again(home, pebble, managed):
    row, version = managed.certificate, managed.certificate.renewal_order.version
    lifecycle.mark_compromised(
        actor=home.officer, version_id=version.pk, reason_code="key_compromise", occurred_at=timezone.now(), note="Found on a disk."
    )  # fmt: skip
    revoking.tick()
    revoking.tick()
    wish = wish_of(managed)
    assert (wish.reason, wish.requested_by) == ("key_compromise", "certificate revocation")
    assert revoking.carry(wish.pk).state == "done"
    assert pebble.status(row.serial)["Reason"] == 1
    assert recorded()["signed_with"] == "key"
    ManagedCertificate.objects.update(new_key=False)
    order = schedule.begin_due(managed.pk)
    assert order.version_id != version.pk
    assert carry(managed).state == "issued"


@pytest.mark.parametrize("by", ["key", "owner"])
def test_a_mass_revocation_reaches_what_came_from_a_ca_outside(home, pebble, managed, by):
    row, owner = managed.certificate, make_person("Olivia", Role.AUDITOR)
    Certificate.objects.filter(pk=row.pk).update(owner=owner)
    value = row.spki_sha256.upper() if by == "key" else str(owner.pk)
    order = {"actor": home.officer, "by": by, "value": value, "reason": "key_compromise", "note": "Lost."}
    for elsewhere in ({"ring_id": uuid4()}, {"ring_id": None, "value": "0" * 64 if by == "key" else str(uuid4())}):
        with pytest.raises(NotFound):
            revoking.revoke_many(**order | elsewhere)
    done = revoking.revoke_many(**order, ring_id=home.ring.pk)
    assert (done.revoked, done.asked_at_ca, done.left) == (0, 1, 0)
    wish = wish_of(managed)
    assert (wish.state, wish.reason, wish.requested_by) == ("queued", "key_compromise", home.officer.label)
    leaf = json.loads(AuditEvent.objects.filter(action="certificate.revoke_many").latest("seq").leaf)
    assert (leaf["details"]["count"], leaf["details"]["at_ca"]) == (0, 1)
    with pytest.raises(NotFound):  # it is under way
        revoking.revoke_many(**order, ring_id=home.ring.pk)
    assert revoking.carry(wish.pk).state == "done"
    assert pebble.status(row.serial)["Status"] == "Revoked"
    with pytest.raises(NotFound):
        revoking.revoke_many(**order, ring_id=home.ring.pk)


def test_the_page_of_a_mass_revocation_says_what_it_reaches_and_what_it_leaves(home, managed):
    row = managed.certificate
    twin = Certificate.objects.get(pk=row.pk)
    twin.pk, twin.serial, twin.fingerprint, twin.source = uuid4(), "abc", "ef" * 32, Certificate.Source.UPLOADED
    twin.save(force_insert=True)
    client = sign_in(make_person("olga", Role.SECURITY_OFFICER))
    form = {"by": "key", "key": row.spki_sha256, "reason": "superseded", "note": "Moved."}
    page = client.post("/certificates/revoke-many/", form | {"count": "1"}).text
    for said in ("by the CA outside it came from", "of an issuer that the portal has no account with stays"):
        before = page.partition(said)[0].rpartition("<strong>")[2]
        assert before.startswith("1<"), said
    answer = client.post("/certificates/revoke-many/", form, follow=True)
    assert "1 more is being revoked by the CA it came from. Left to their own issuers: 1." in answer.text
    assert wish_of(managed).state == "queued"
    twin.refresh_from_db()
    assert twin.state == "valid"


def test_an_agreed_mass_revocation_says_and_reaches_the_same(home, managed):
    asks, agrees = (make_person(name, Role.SECURITY_OFFICER) for name in ("Asta", "Bo"))
    with pytest.raises(ApprovalRequired) as waiting:
        revoking.revoke_many(
            actor=actor_for_person(asks, second_factor=True), by="key", value=managed.certificate.spki_sha256, ring_id=None, reason="superseded", note="Moved.",
        )  # fmt: skip
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    assert request.consequences == [
        f"0 certificates with the key {managed.certificate.spki_sha256} end for good: superseded.", "1 that came from CAs outside are revoked there.",
    ]  # fmt: skip
    assert not CaRevocation.objects.exists()
    approvals.approve(
        actor=actor_for_person(agrees, second_factor=True), request_id=request.pk, act_hash=request.act_hash
    )
    assert execute(request.pk) == "executed"
    assert wish_of(managed).state == "queued"


def test_a_key_that_others_reported_as_lost_is_replaced_although_it_is_kept_at_renewals(home, managed):
    ManagedCertificate.objects.update(new_key=False)
    revoking.revoke(actor=home.officer, certificate_id=managed.certificate_id, reason="key_compromise")
    assert revoking.carry(wish_of(managed).pk).state == "done"
    assert schedule.begin_due(managed.pk).version.key_version == 2


def test_an_account_that_the_ca_does_not_know_any_more_is_no_hindrance(home, pebble, managed):
    AcmeSource.objects.update(account_url=pebble.door.directory.replace("/dir", "/my-account/nobody"))
    revoking.revoke(actor=home.officer, certificate_id=managed.certificate_id, reason="unspecified")
    assert revoking.carry(wish_of(managed).pk).state == "done"
    assert pebble.status(managed.certificate.serial)["Status"] == "Revoked"
    assert recorded()["signed_with"] == "key"


def test_one_that_is_revoked_already_is_revoked(home, pebble, managed):
    revoking.revoke(actor=home.officer, certificate_id=managed.certificate_id, reason="unspecified")
    known = {"type": "urn:ietf:params:acme:error:alreadyRevoked", "detail": "Already."}
    pebble.door.answers.append(("/revoke", 400, PROBLEM, known))
    assert revoking.carry(wish_of(managed).pk).state == "done"


def test_a_ca_that_is_away_is_asked_again_and_people_are_told(home, pebble, managed):
    make_person("olga", "security_officer")
    revoking.revoke(actor=home.officer, certificate_id=managed.certificate_id, reason="unspecified")
    pebble.door.shut = True
    wish = wish_of(managed)
    for tries in range(1, 4):
        wish = again(wish)
        assert (wish.state, wish.attempts, wish.next_try_at > timezone.now()) == ("queued", tries, True)
    assert Notice.objects.filter(text__startswith="The CA did not revoke").count() == 1
    assert revoking.carry(wish.pk) is None  # not before its time
    pebble.door.shut = False
    assert again(wish).state == "done"


def test_a_ca_that_refuses_both_ends_the_wish_and_may_be_asked_again(home, pebble, managed):
    make_person("olga", "security_officer")
    row = managed.certificate
    revoking.revoke(actor=home.officer, certificate_id=row.pk, reason="key_compromise")
    pebble.door.answers += [("/revoke", 403, PROBLEM, NEVER)] * 2
    wish = revoking.carry(wish_of(managed).pk)
    assert (wish.state, wish.last_error) == ("failed", "Not yours.")
    row.refresh_from_db()
    assert row.state == "valid"
    assert Notice.objects.filter(text__startswith="The CA did not revoke").count() == 1
    revoking.revoke(actor=home.officer, certificate_id=row.pk, reason="key_compromise")
    assert revoking.carry(wish.pk).state == "done"


def test_who_may_and_what_is_no_reason(home, managed, auditor):
    with pytest.raises(PermissionRefused):
        revoking.revoke(actor=auditor, certificate_id=managed.certificate_id, reason="unspecified")
    for reason in ("certificate_hold", "ca_compromise", "whim"):
        with pytest.raises(ValidationFailed):
            revoking.revoke(actor=home.officer, certificate_id=managed.certificate_id, reason=reason)
    with pytest.raises(ValidationFailed):
        revoking.revoke(
            actor=home.officer,
            certificate_id=managed.certificate_id,
            reason="unspecified",
            invalid_since=timezone.now() + timedelta(days=1),
        )
    above = managed.certificate.issued_under  # obtained along with it, not ordered
    with pytest.raises(WrongState):
        revoking.revoke(actor=home.officer, certificate_id=above.pk, reason="unspecified")
    assert not CaRevocation.objects.exists()


def test_the_database_knows_whose_list_a_revocation_is_on(managed):
    with pytest.raises(IntegrityError), transaction.atomic():
        Certificate.objects.filter(pk=managed.certificate_id).update(
            state="revoked", reason="unspecified", revoked_at=timezone.now(), crl_entry=b"0"
        )


def test_by_page_and_by_rest(home, pebble, managed, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    person = make_person("olga", "security_officer")
    browser, page = sign_in(person), f"/certificates/{managed.certificate_id}/"
    assert "Revoke…" in browser.get(page).content.decode()
    form = browser.get(page + "revoke/").content.decode()
    assert "The CA that issued it is asked now" in form
    assert "certificate_hold" not in form
    assert browser.post(page + "revoke/", {"reason": "unspecified"}).status_code == 302
    shown = browser.get(page).content.decode()
    assert "The CA is asked to revoke it" in shown
    assert "Revoke…" not in shown
    client, url = bearer(token_of(person)), f"/api/v1/certificates/{managed.certificate_id}"
    assert client.get(url).json()["ca_revocation"]["state"] == "queued"
    pebble.door.answers += [("/revoke", 403, PROBLEM, NEVER)] * 2
    revoking.carry(wish_of(managed).pk)
    assert "The CA did not revoke it" in browser.get(page).content.decode()
    asked = client.post(url + "/revoke", {"reason": "superseded"}, "application/json")
    assert (asked.status_code, asked.json()["state"], asked.json()["ca_revocation"]["state"]) == (
        200,
        "valid",
        "queued",
    )
    revoking.carry(wish_of(managed).pk)
    assert client.get(url).json()["state"] == "revoked"
    assert "Revoked by the CA that issued it." in browser.get(page).content.decode()
