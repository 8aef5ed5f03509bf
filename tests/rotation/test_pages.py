"""Pages of keys, versions and stores over a real hierarchy: what they offer in which state, and what a form does."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys.models import DataStore, Key, KeyVersion
from keys.services import census, lifecycle, rotation, store_removal
from keyvault_portal.accounts.models import KeyRing, RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.accounts.services import deactivate_person
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ApprovalRequired
from tests.shop import Organisation


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def test_the_portal_s_own_values_get_a_data_key(organisation: Organisation, browser: Callable[[str], Client]) -> None:
    DataStore.objects.all().delete()
    ada = browser("ada")
    assert "not sealed yet" in text(ada.get("/keys/stores/"))
    assert ada.post("/keys/stores/seal/", {"key": organisation.keys["kek"].pk}).status_code == 422, "no data key"
    done = ada.post("/keys/stores/seal/", {"key": organisation.keys["portal"].pk})
    store = DataStore.objects.get(kind=DataStore.Kind.SEALED_VALUES)
    assert (done.status_code, done["Location"]) == (302, f"/keys/stores/{store.pk}/")
    assert "not sealed yet" not in text(ada.get("/keys/stores/"))
    assert ada.post("/keys/stores/seal/", {"key": organisation.keys["pii"].pk}).status_code == 422, "they have one"
    assert browser("fay").get("/keys/stores/seal/").status_code == 403


def test_a_stopped_deletion_is_confirmed_or_taken_back(
    organisation: Organisation, browser: Callable[[str], Client], active: Any
) -> None:
    key, ada = organisation.keys["pii"], browser("ada")
    old = active(key)
    rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="yearly")
    key.versions.filter(pk=old.pk).update(
        status="pending_deletion", deletion_from="decrypt_only", deletion_due_at=timezone.now(), deletion_halted_at=None
    )
    page = f"/keys/{key.pk}/"
    assert "Delete all the same" not in text(ada.get(page)), "nothing has stopped its clock"
    assert ada.post(page + "versions/1/delete/confirm/", {"reason": "no use"}).status_code == 422
    key.versions.filter(pk=old.pk).update(deletion_halted_at=timezone.now(), deletion_halted_by="Shop back end")
    shown = text(ada.get(page))
    assert "stopped by Shop back end" in shown
    assert "Delete all the same" in shown
    assert ada.post(page + "versions/1/delete/confirm/", {"reason": "that was a test"}).status_code == 302
    old.refresh_from_db()
    assert old.deletion_halted_at is None
    assert old.deletion_due_at > timezone.now()
    assert ada.post(page + "versions/1/keep/", {"reason": "after all"}).status_code == 302
    old.refresh_from_db()
    assert old.status == "decrypt_only"


def test_a_deletion_says_what_is_lost_and_wants_the_loss_accepted(
    organisation: Organisation, browser: Callable[[str], Client], customers: Any
) -> None:
    key, ada = organisation.keys["pii"], browser("ada")
    lifecycle.suspend_version(actor=organisation.actor("ada"), version_id=key.versions.get().pk, reason="incident")
    page = f"/keys/{key.pk}/versions/1/delete/"
    assert "5,000 items in data stores become unreadable." in text(ada.get(page))
    refused = ada.post(page, {"reason": "incident"})
    assert (refused.status_code, ApprovalRequest.objects.count()) == (422, 0)
    asked = ada.post(page, {"reason": "incident", "accept_loss": "on", "grace_days": "14"})
    assert asked["Location"].startswith("/approvals/")
    assert ApprovalRequest.objects.get().params["grace_days"] == 14


def test_acts_that_take_nothing_away_threaten_with_nothing(
    organisation: Organisation, browser: Callable[[str], Client], customers: Any
) -> None:
    key, ada = organisation.keys["pii"], browser("ada")
    for act in ("resume", "activate", "keep", "compromise"):
        assert "become unreadable" not in text(ada.get(f"/keys/{key.pk}/versions/1/{act}/")), act
    assert "become unreadable" in text(ada.get(f"/keys/{key.pk}/versions/1/suspend/"))


def test_a_key_says_what_waits_and_what_is_overdue(
    organisation: Organisation, browser: Callable[[str], Client]
) -> None:
    key, ada = organisation.keys["pii"], organisation.actor("ada")
    two = [{"role": "security_officer", "threshold": 2}]
    lifecycle.update_policy(actor=ada, key_id=key.pk, changes={"rotate_groups": two}, reason="two")
    with pytest.raises(ApprovalRequired):
        rotation.request_rotation(actor=ada, key_id=key.pk, reason="yearly")
    Key.objects.filter(pk=key.pk).update(next_rotation_at=timezone.now())
    shown = text(browser("boris").get(f"/keys/{key.pk}/"))
    for sentence in ("It waits for agreement.", "Its rotation is overdue", "2 security officers"):
        assert sentence in shown
    dashboard = text(browser("boris").get("/"))
    assert "1 rotation overdue" in dashboard
    assert "shop/pii" in dashboard


def test_a_branch_of_the_hierarchy_shows_itself_and_the_way_up(
    organisation: Organisation, browser: Callable[[str], Client]
) -> None:
    ada, keys = browser("ada"), organisation.keys
    organisation.key("other", "master")
    shown = text(ada.get(f"/keys/hierarchy/?root={keys['kek'].pk}"))
    assert "Pii" in shown
    assert "Other" not in shown
    assert f'<a href="?root={keys["root"].pk}">Root</a>' in shown
    assert "Other" in text(ada.get("/keys/hierarchy/"))


def test_a_branch_names_no_key_of_a_ring_one_does_not_see(
    organisation: Organisation, browser: Callable[[str], Client]
) -> None:
    elsewhere = KeyRing.objects.create(name="elsewhere", title="Elsewhere")
    Key.objects.filter(pk=organisation.keys["root"].pk).update(ring=elsewhere, title="Secret root")
    RoleBinding.objects.filter(person=organisation.people["dana"]).update(ring=organisation.ring, role=Role.OPERATOR)
    shown = text(browser("dana").get(f"/keys/hierarchy/?root={organisation.keys['kek'].pk}"))
    assert "Pii" in shown
    assert "Secret root" not in shown


def test_the_rotation_page_says_what_happens_next(
    organisation: Organisation, browser: Callable[[str], Client], customers: Any, celery_eager: None
) -> None:
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    page = f"/keys/rotations/{found.pk}/"
    shown = text(browser("ada").get(page))
    assert "it can be decommissioned" in shown
    assert "Decommission version 1" in shown
    found.refresh_from_db()
    for day in (found.introduced_at, found.re_encrypted_at):
        assert f'<span class="step-note">{day:%-d %b %Y, %H:%M}</span>' in shown, "a time says nothing without its day"
    found.jobs.update(work_seconds=0.1)  # however long it took here
    assert "under 1 s" in text(browser("ada").get(f"/keys/{organisation.keys['pii'].pk}/rotate/"))
    for_dana = text(browser("dana").get(page))
    assert "Decommission version 1" not in for_dana, "she may not destroy"
    assert "Whoever may destroy the key asks for that" in for_dana
    assert "Whoever may destroy the key asks for that" not in shown
    live = text(browser("ada").get(page, headers={"HX-Request": "true"}))
    assert "<html" not in live
    assert "<strong>0</strong> items on version 1 at the last count" in live


@pytest.mark.parametrize(
    ("shown", "anew"), [("re_encrypted.0", False), ("re_encrypting.0", True), ("re_encrypted.1", True)]
)
def test_a_rotation_s_page_that_polls_is_opened_anew_when_what_stands_around_no_longer_fits(
    organisation: Organisation,
    browser: Callable[[str], Client],
    customers: Any,
    celery_eager: None,
    shown: str,
    anew: bool,
) -> None:
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    page = f"/keys/rotations/{found.pk}/"
    answer = browser("dana").get(f"{page}?shown={shown}", headers={"HX-Request": "true"})
    assert answer.get("HX-Redirect") == (page if anew else None)


def test_the_rotation_page_offers_to_begin_again(
    organisation: Organisation, browser: Callable[[str], Client], customers: Any, shop: Any, celery_eager: None
) -> None:
    late, dana = shop.cells()[7][0], browser("dana")
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    page = f"/keys/rotations/{found.pk}/"
    assert "Move them" not in text(dana.get(page)), "nothing is left"
    shop.connection.execute("UPDATE customers SET email = %s WHERE id = 7", [late])
    census.take(customers[0])
    shown = text(dana.get(page))
    assert "The last count found 1 more on version 1" in shown
    assert "Move them" in shown
    assert "Move them" not in text(browser("fay").get(page)), "she only looks"
    assert dana.post(f"{page}retry/").status_code == 302
    assert "it can be decommissioned" in text(dana.get(page))


def test_what_the_target_refuses_is_said_where_people_look(
    organisation: Organisation, browser: Callable[[str], Client], customers: Any, shop: Any, celery_eager: None
) -> None:
    dana, shopped = browser("dana"), shop.connection
    shopped.execute("REVOKE UPDATE ON customers FROM CURRENT_USER")
    shopped.execute("ALTER TABLE customers ADD CONSTRAINT frozen CHECK (id <> 7) NOT VALID")
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    page, why = f"/keys/rotations/{found.pk}/", "permission denied for table customers"
    for shown in (text(dana.get(page)), text(dana.get("/"))):
        assert why in shown
        assert "Grant the right, for row-level security BYPASSRLS, then try again" in shown
    assert "Try again</button>" in text(dana.get(page))
    shopped.execute("GRANT UPDATE ON customers TO CURRENT_USER")
    assert dana.post(f"{page}retry/").status_code == 302
    shown = text(dana.get(page))
    assert "2 items set aside" in shown
    assert "violates check constraint &quot;frozen&quot;" in shown
    assert "Decommission version 1" not in text(browser("ada").get(page))


def test_the_page_of_a_key_offers_a_rotation_where_one_can_be_asked_for(
    organisation: Organisation, browser: Callable[[str], Client], active: Any, settings: Any, celery_eager: None
) -> None:
    organisation.key("tokens", "token_signing", "kek", algorithm="Ed25519")
    ada, offer = browser("ada"), "/keys/{}/rotate/"
    for name in ("pii", "tokens"):
        assert offer.format(organisation.keys[name].pk) in text(ada.get(f"/keys/{organisation.keys[name].pk}/"))
    tokens = text(ada.get(f"/keys/{organisation.keys['tokens'].pk}/"))
    assert "Uses do not wear this key out" in tokens
    assert "None" not in tokens

    version = active(organisation.keys["pii"])
    page = f"/keys/{organisation.keys['pii'].pk}/"
    KeyVersion.objects.filter(pk=version.pk).update(uses_reserved=2**31)
    assert "Rotation due" in text(ada.get(page)), "half of the safe uses are gone"
    lifecycle.suspend_version(actor=organisation.actor("ada"), version_id=version.pk, reason="a doubt")
    assert offer.format(organisation.keys["pii"].pk) not in text(ada.get(page)), "there is no version to rotate from"
    lifecycle.resume_version(actor=organisation.actor("ada"), version_id=version.pk)
    settings.REENCRYPTION_WORKERS = 0
    waiting = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["tokens"].pk, reason="x"
    )
    assert waiting.state == "introducing"
    assert offer.format(organisation.keys["tokens"].pk) not in text(ada.get(f"/keys/{organisation.keys['tokens'].pk}/"))


def test_an_empty_list_says_what_to_do_and_a_filter_that_it_is_too_narrow(
    organisation: Organisation, browser: Callable[[str], Client]
) -> None:
    ada = browser("ada")
    assert "Nothing matches" not in text(ada.get("/approvals/?tab=asked")), "a tab is no filter"
    assert "make one for its service account" in text(ada.get("/tokens/"))
    assert "Widen the filter" in text(ada.get("/keys/?q=nothing"))


def test_pages_say_what_of_theirs_waits_for_agreement(
    organisation: Organisation, browser: Callable[[str], Client], customers: Any, celery_eager: None
) -> None:
    ada, store = organisation.actor("ada"), customers[0]
    found = rotation.request_rotation(actor=ada, key_id=organisation.keys["pii"].pk, reason="yearly")
    boris = organisation.people["boris"]
    pages = (f"/keys/rotations/{found.pk}/", f"/keys/stores/{store.pk}/", f"/people/{boris.pk}/")
    for page in pages:
        assert "It waits for agreement" not in text(browser("ada").get(page))
    with pytest.raises(ApprovalRequired):
        rotation.request_decommission(actor=ada, rotation_id=found.pk, reason="zero")
    with pytest.raises(ApprovalRequired):
        store_removal.deregister_store(actor=ada, store_id=store.pk, reason="closed")
    with pytest.raises(ApprovalRequired):
        deactivate_person(actor=ada, person=boris)
    for page in pages:
        assert text(browser("ada").get(page)).count("It waits for agreement") == 1


def test_a_connection_that_was_not_kept_is_asked_for_again(
    organisation: Organisation, browser: Callable[[str], Client]
) -> None:
    ada, page = browser("ada"), "/keys/stores/new/"
    assert "Type it again" not in text(ada.get(page))
    answer = ada.post(page, {"dsn": "postgresql://shop:s3cret@localhost/shop"})
    assert answer.status_code == 422
    assert "Type it again, it was not kept" in text(answer)
    assert "s3cret" not in text(answer)


def test_the_record_of_a_person_leads_to_its_events(
    organisation: Organisation, browser: Callable[[str], Client]
) -> None:
    person = organisation.people["boris"]
    with pytest.raises(ApprovalRequired):
        deactivate_person(actor=organisation.actor("ada"), person=person)
    seq = AuditEvent.objects.get(action="approval.request", target_id=str(person.pk)).seq
    assert f'<a href="/audit/{seq}">approval.request</a>' in text(browser("ada").get(f"/people/{person.pk}/"))


def test_a_second_click_rotates_no_further(organisation: Organisation, browser: Callable[[str], Client]) -> None:
    """Where nothing has to move the first rotation is over at once, so it does not stand in the way of another."""
    key = organisation.keys["pii"]
    page, window = reverse("keys:rotation-request", args=[key.pk]), browser("ada")
    hidden = re.search(r'name="version_id" value="(\d+)"', window.get(page).content.decode())
    assert hidden, "the page says from which version"
    sent = {"reason": "yearly", "version_id": hidden[1]}
    assert window.post(page, sent).status_code == 302
    again = window.post(page, sent)
    assert again.status_code == 422
    assert "has been rotated meanwhile: version 2 is active." in again.content.decode()
    assert key.versions.count() == 2
