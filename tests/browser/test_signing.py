"""Passkeys of a real browser: an officer signs an act with one, a guest comes back to a seat with another."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.sync_api import BrowserContext, Page, expect

from ceremonies.models import Participant
from ceremonies.services import invitations, plans
from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.approvals import signatures, signing_keys
from keyvault_portal.approvals.models import ApprovalRequest, Decision
from keyvault_portal.errors import ApprovalRequired
from tests.api.conftest import make_person
from tests.browser import driving
from tests.browser.test_entrance import _database_beside_playwright, confirm_access, set_up, window
from tests.room.cast import plan

__all__ = ["_database_beside_playwright", "window"]
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True,
    "automaticPresenceSimulation": True,
}  # fmt: skip


def page_with_passkeys(context: BrowserContext) -> Page:
    page = context.new_page()
    devtools: Any = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return page


def test_an_officer_signs_the_act_with_a_passkey(window: Callable[[], BrowserContext], settings: Any) -> None:
    settings.APPROVALS_SIGNED = ["*"]
    page = page_with_passkeys(window())
    set_up(page, accounts.create_setup_link())
    page.goto("/account/2fa/webauthn/add/")
    confirm_access(page)
    page.locator("[name=name]").fill("Laptop")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(lambda url: "/webauthn/add/" not in url, wait_until="load")
    olga = actor_for_person(make_person("olga", "security_officer"), second_factor=True)
    line = (
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    with pytest.raises(ApprovalRequired) as asked:
        signing_keys.ask_for_key(actor=olga, name="Safe", public_key=line.decode())
    request = ApprovalRequest.objects.get(pk=asked.value.request_id)
    with driving.complaints(page) as complaints:
        page.goto(f"/approvals/{request.pk}/")
        expect(page.get_by_text("Signed agreement only")).to_be_visible()
        assert driving.axe(page) == []
        page.get_by_label("I have read the act").check()
        expect(page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
        page.get_by_role("button", name="Sign and approve").click()
        expect(page.get_by_text("Your agreement is counted.")).to_be_visible()
        expect(page.get_by_text("Signed with a passkey")).to_be_visible()
    assert complaints == []
    found = Decision.objects.get(request=request)
    assert signatures.fits(found.signature, bytes(request.act))
    assert not signatures.fits(found.signature, bytes(request.act) + b" ")


@pytest.mark.django_db(transaction=True)
def test_a_guest_comes_back_with_a_passkey(window: Callable[[], BrowserContext]) -> None:
    officer = actor_for_person(make_person("olga", "security_officer"), second_factor=True)
    made = plan(officer)
    seat = plans.add_person(actor=officer, ceremony_id=made.pk, role="holder", email="guus@example.org", name="Guus")
    invitation = invitations.invite_guest(actor=officer, ceremony_id=made.pk, participant_id=seat.pk)
    context = window()
    page = page_with_passkeys(context)
    with driving.complaints(page) as complaints:
        page.goto(invitation.link)
        page.get_by_label("Your code").fill(invitation.code)
        page.get_by_role("button", name="Take it and make a passkey").click()
        expect(page.get_by_text("You are Guus, holder 1.")).to_be_visible()
        page.goto("about:blank")  # the room would notice and leave by itself
        context.clear_cookies()
        page.goto(invitation.link)
        assert driving.axe(page) == []
        page.get_by_role("button", name="Come back with my passkey").click()
        expect(page.get_by_text("You are Guus, holder 1.")).to_be_visible()
    assert complaints == []
    assert Participant.objects.get(pk=seat.pk).passkey["count"] > 0
