"""What has ended, or never came into service: pages say so instead of offering a form that fails, and nobody is asked to agree."""

import pytest
from django.test import Client
from django.utils import timezone

from certificates.models import AcmeServer, Authority, Rollover
from certificates.services import authorities, bringing, revoking
from keys.crypto.secret import SecretBytes
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, WrongState
from tests.api.conftest import make_person, sign_in
from tests.certificates.conftest import plan, refreshed
from tests.certificates.test_acts import elsewhere, officer_named

ISSUES = ("issue", "issue-key", "issue-for-key", "cross-sign")


@pytest.fixture
def browser(pki) -> Client:
    """An officer who is alone, so that nobody else has to agree."""
    return sign_in(make_person("olga", "security_officer"))


@pytest.fixture
def page(browser):
    """The status of a page, and its text."""

    def get(address, **posted):
        answer = browser.post(address, posted) if posted else browser.get(address)
        return answer.status_code, answer.text

    return get


def retire(pki) -> None:
    authorities.retire_authority(actor=pki.officer, authority_id=pki.servers.pk, reason="Rest.")


def rollover(pki, state: str) -> Rollover:
    now = timezone.now()
    times = {"cancelled_at": now} if state == "cancelled" else {"trust_both_at": now, "issue_b_at": now}
    return Rollover.objects.create(ring=pki.servers.ring, old=pki.servers, new=pki.clients, state=state, **times)


@pytest.mark.parametrize(("act", "state"), [("retire", "retired"), ("revoke", "revoked")])
def test_the_acts_of_an_authority_that_has_ended_say_so(pki, page, act, state):
    place = f"/certificates/authorities/{pki.servers.pk}"
    certificate = f"/certificates/{pki.issue('dns:www.example.org').pk}"
    acts = [f"{place}/{name}/" for name in (*ISSUES, "retire", "revoke")]
    renewals = [f"{certificate}/renew/", f"{certificate}/renew-key/"]
    assert {page(address)[0] for address in [*acts, *renewals]} == {200}
    assert "Renew with a new key" in page(certificate + "/")[1]
    assert page(f"{place}/{act}/", reason="A test.")[0] == 302
    still = {f"{place}/revoke/"} if state == "retired" else set()
    for address in {*acts, *renewals} - still:
        status, text = page(address)
        assert (status, "<form" in text.partition("<main")[2]) == (409, False), address
    assert f"is {state}: it issues nothing" in page(f"{place}/issue/")[1]
    assert f"is {state}" in page(f"{place}/cross-sign/", certificate="x")[1]
    assert page(f"{place}/resume/")[0] == (200 if state == "retired" else 409)
    assert {page(address)[0] for address in still} <= {200}
    assert "Renew" not in page(certificate + "/")[1].partition("<main")[2].partition("<h2")[0]
    status, text = page(f"{certificate}/revoke/")
    assert (status, "revoked already" in text) == ((409, True) if state == "revoked" else (200, False))
    assert page(f"{place}/")[0] == 200


def test_the_rules_of_an_acme_server_end_with_its_authority(pki, page):
    AcmeServer.objects.create(authority=pki.servers, profiles=["server"], created_by="A test")
    place = f"/certificates/acme/{pki.servers.pk}/"
    assert page(place + "rules/")[0] == 200
    assert "Change the rules" in page(place)[1]
    retire(pki)
    assert page(place + "rules/")[0] == 409
    assert "Change the rules" not in page(place)[1]


def test_a_certificate_is_renewed_by_who_took_the_place_of_its_issuer(pki, page):
    certificate = f"/certificates/{pki.issue('dns:www.example.org').pk}/"
    retire(pki)
    assert page(certificate + "renew/")[0] == 409
    rollover(pki, "issue_b")
    assert page(certificate + "renew/")[0] == 200
    assert "Renew with a new key" in page(certificate)[1]


def test_a_rollover_that_is_over_offers_no_step(pki, page):
    place = f"/certificates/rollovers/{rollover(pki, 'cancelled').pk}"
    assert page(f"{place}/")[0] == 200
    assert page(f"{place}/step/issue_b/")[0] == 409


def test_what_is_not_renewed_here_says_so(pki, page):
    status, text = page(f"/certificates/{pki.servers.certificate_id}/renew/")
    assert (status, "It is not renewed here." in text) == (409, True)


def test_nobody_is_asked_to_agree_to_the_end_of_what_has_ended(pki):
    revoking.revoke_authority(actor=pki.officer, authority_id=pki.servers.pk, note="Copied.")
    asks, *_ = officer_named("Asta"), officer_named("Bo"), officer_named("Cy")
    with pytest.raises(WrongState):
        revoking.revoke_authority(actor=asks, authority_id=pki.servers.pk, note="Again.")
    assert not ApprovalRequest.objects.exists()


def test_an_imported_authority_comes_into_service_by_agreement_alone(tree):
    """Neither resumed, nor retired and then resumed, by one officer while it waits for the others."""
    key_pem, certificate = elsewhere()
    key = bringing.import_key(
        actor=tree.officer, ring=tree.ring, name="old", title="Old", parent=tree.kek, pem=SecretBytes(key_pem)
    )
    asks, *_ = officer_named("Asta"), officer_named("Bo"), officer_named("Cy")
    with pytest.raises(ApprovalRequired):
        bringing.import_authority(actor=asks, plan=plan(tree, "old-ca", key), certificate=certificate, reason="Ours.")
    row = Authority.objects.get()
    assert row.certificate_id is not None
    for act in (authorities.resume_authority, authorities.retire_authority, authorities.resume_authority):
        with pytest.raises(WrongState, match="not come into service"):
            act(actor=asks, authority_id=row.pk, reason="Impatience.")
    assert refreshed(row).state == "pending"
