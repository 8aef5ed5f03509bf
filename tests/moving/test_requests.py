"""Asking for a move: who may, what is said before, who agrees, and what is refused."""

import re

import pytest

from keys.models import Key, Move, ProviderIntent
from keys.providers.base import CredentialsRefused
from keys.services import lifecycle, moving, rotation, stores
from keys.services.policies import PolicyValues
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.api.conftest import actor as actor_for
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.keys.conftest import actor_of
from tests.moving.conftest import ALONE, drive, fresh, register, turn

pytestmark = pytest.mark.usefixtures("far", "sealing")


def said(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_what_can_go_where_is_said_before(kek, tree, far, officer, there):
    register(officer, "wrap_only", "narrow")
    offers = {offer.alias: offer for offer in moving.places_for(kek, moving.movable(kek))}
    assert set(offers) == {"far", "narrow"}
    assert offers["far"].with_material
    assert (offers["narrow"].possible, offers["narrow"].with_material) == (True, False)
    kept = tree.make("kept", "kek", "AES-256-GCM", tree.master, policy=ALONE)
    stays = moving.places_for(kept, moving.movable(kept))[0]
    assert (stays.possible, stays.with_material) == (True, False)
    assert "its material stays" in stays.words
    mac = tree.make("codes", "dek", "HMAC-SHA256", tree.kek, policy=ALONE)
    refused = moving.places_for(mac, moving.movable(mac))[0]
    assert (refused.possible, refused.words) == (False, "It does not offer HMAC-SHA256.")
    with pytest.raises(ValidationFailed):
        moving.request_move(actor=officer, key_id=mac.pk, target="far", reason="r")


def test_from_elsewhere_the_material_cannot_go_along(kek, start, officer):
    drive(start(kek))
    Move.objects.update(state="completed", ended_at="2026-01-01T00:00:00Z")
    offer = moving.places_for(kek, moving.movable(kek))[0]
    assert (offer.alias, offer.with_material) == ("local", False)
    assert "never leaves far" in offer.words
    with pytest.raises(ValidationFailed) as refused:
        start(Key.objects.get(pk=kek.pk), "local", with_material=True)
    assert "with_material" in refused.value.errors


def test_the_dry_run_counts_items_calls_at_both_places_and_time(kek, holdings, officer, far):
    held = holdings(kek)
    held.add()
    held.add()
    counted = moving.dry_run(actor=officer, key_id=kek.pk, target="far")
    assert counted.items == 4  # two child keys, two segment keys
    assert counted.source_calls > counted.target_calls > counted.items
    assert counted.seconds > 0
    assert not Move.objects.exists()
    assert "4 wrapped keys of 2 keys" in moving.consequences(kek, kek.current, "far", with_material=False)[0]


@pytest.mark.parametrize("target", ["local", "nowhere"])
def test_a_place_that_is_none_is_refused(kek, start, target):
    with pytest.raises(ValidationFailed):
        start(kek, target)


def test_only_those_whom_the_ring_and_the_policy_let_may_ask(kek, tree, operator, auditor, officer):
    elsewhere = actor_of(Role.SECURITY_OFFICER, "Elsa Elsewhere", tree.master.pk)
    for other in (operator, auditor, elsewhere):
        with pytest.raises(PermissionRefused):
            moving.request_move(actor=other, key_id=kek.pk, target="far", reason="r")
    strict = PolicyValues(cryptoperiod_days=90, destroy_roles=["custodian"])
    key = tree.make("strict", "kek", "AES-256-GCM", tree.master, policy=strict)
    with pytest.raises(PermissionRefused):
        moving.request_move(actor=officer, key_id=key.pk, target="far", reason="r")
    with pytest.raises(ValidationFailed):
        moving.request_move(actor=officer, key_id=kek.pk, target="far", reason=" ")


def test_the_strictest_quorum_of_the_key_agrees_to_the_exact_act(tree, holdings):
    olga, boris = (make_person(name, "security_officer") for name in ("olga", "boris"))
    key = tree.make("guarded", "kek", "AES-256-GCM", tree.master, exportable=True)
    holdings(key).add()
    with pytest.raises(ApprovalRequired) as waiting:
        moving.request_move(actor=actor_for(olga), key_id=key.pk, target="far", reason="to the HSM", with_material=True)
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    assert request.operation == "key.move"
    assert not Move.objects.exists()
    approvals.approve(actor=actor_for(boris), request_id=request.pk, act_hash=request.act_hash)
    approvals_done(request)
    move = Move.objects.get()
    assert (move.with_material, move.approval_id, move.target) == (True, request.pk, "far")


def approvals_done(request):
    from keyvault_portal.approvals import execution

    request.refresh_from_db()
    if request.state == "approved":
        execution.execute(request.pk)
        request.refresh_from_db()
    assert request.state == "executed", request.failure_detail


def test_one_thing_at_a_time(kek, start, officer, holdings):
    holdings(kek).add()
    move = start(kek)
    with pytest.raises(Conflict, match="being moved"):
        start(kek)
    with pytest.raises(Conflict, match="being moved"):
        rotation.request_rotation(actor=officer, key_id=kek.pk, reason="r")
    from django.utils import timezone

    assert (
        rotation.rotate_compromised(
            actor=officer, version_id=move.old_version_id, reason_code="key_compromise", occurred_at=timezone.now()
        )
        is None
    ), "marked at once all the same"
    assert turn(move).state == "failed"
    with pytest.raises(WrongState, match="no active version"):
        moving.movable(Key.objects.get(pk=kek.pk))
    moving.undo_move(actor=officer, move_id=move.pk, reason="r")
    drive(move, "undone")


def test_a_key_does_not_move_to_a_place_whose_credentials_are_sealed_under_it(tree, officer, there, sealing):
    register(officer, alias="locked", password="hunter2")
    portal = stores.sealing_key(officer)
    for key in (portal, tree.kek, tree.master):
        offer = next(o for o in moving.places_for(key, moving.movable(key)) if o.alias == "locked")
        assert not offer.possible
        assert "sealed under this very key" in offer.words


def test_a_version_made_by_a_move_is_made_once_though_its_first_answer_is_lost(kek, start, there, holdings):
    held = holdings(kek)
    held.add()
    move = start(kek)
    there.lose_answer = True
    drive(move)
    assert len(there.keys) == 1
    held.check()


def test_the_making_that_failed_is_tried_again_by_resuming(kek, start, there, officer, monkeypatch):
    move = start(kek)
    there.refuses = True
    failed = drive(move, "failed")
    assert ProviderIntent.objects.get(version=failed.new_version).state == "failed"
    assert CredentialsRefused.title in failed.last_error or "does not know us" in failed.last_error
    there.refuses = False
    moving.resume_move(actor=officer, move_id=move.pk)
    drive(move)


@pytest.fixture
def olga(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return make_person("olga", "security_officer")


def test_the_pages_lead_through_a_move(kek, holdings, olga):
    holdings(kek).add()
    browser = sign_in(olga)
    assert f"/keys/{kek.pk}/move/" in browser.get(f"/keys/{kek.pk}/").content.decode()
    asked = browser.get(f"/keys/{kek.pk}/move/")
    for words in (
        "With its material, or a new key",
        "Calls at local",
        "Calls at far",
        "What will happen",
        "can be undone",
    ):
        assert words in said(asked), words
    assert browser.post(f"/keys/{kek.pk}/move/", {"target": "far", "reason": ""}).status_code == 422
    done = browser.post(f"/keys/{kek.pk}/move/", {"target": "far", "reason": "to the HSM", "with_material": "on"})
    move = Move.objects.get()
    where = f"/keys/moves/{move.pk}/"
    assert (done.status_code, done["Location"]) == (302, where)
    page = said(browser.get(where))
    for phase in ("Make at the new place", "Dual wrap", "Read back and compare", "Switch", "Re-wrap", "Drop the old"):
        assert phase in page
    assert "It moves to another provider" in said(browser.get(f"/keys/{kek.pk}/"))
    assert browser.post(f"{where}pause/").status_code == 302
    assert "It stands still" in said(browser.get(where, headers={"HX-Request": "true"}))
    assert browser.get(f"{where}?shown=re_wrapping", headers={"HX-Request": "true"})["HX-Redirect"] == where
    assert browser.post(f"{where}resume/").status_code == 302
    assert browser.post(f"{where}throttle/", {"rate_limit": "500"}).status_code == 302
    move = drive(move)
    assert "drop it, or undo the move" in said(browser.get(where))
    assert "The grace period is 30 days" in said(browser.get(f"{where}drop/"))
    assert "protects again, at once" in said(browser.get(f"{where}undo/"))
    assert browser.post(f"{where}undo/", {"reason": "not after all"}).status_code == 302
    drive(move, "undone")
    assert "as before" in said(browser.get(where))
    assert "Moving-Kek" in said(browser.get("/keys/moves/?state=undone"))
    assert b"undone" in b"".join(browser.get("/keys/moves/?export=csv"))


def test_the_same_by_rest(kek, holdings, olga):
    holdings(kek).add()
    api = bearer(token_of(olga, ["key.view", "key.move", "key.destroy", "rotation.view", "rotation.control"]))
    offers = api.get(f"/api/v1/keys/{kek.pk}/move-offers").json()["offers"]
    assert [offer["alias"] for offer in offers] == ["far"]
    assert api.get(f"/api/v1/keys/{kek.pk}/move-dry-run?target=far").json()["items"] == 2
    assert api.get(f"/api/v1/keys/{kek.pk}/move-dry-run").status_code == 422
    made = api.post(
        f"/api/v1/keys/{kek.pk}/move", {"target": "far", "reason": "to the HSM"}, content_type="application/json"
    )
    assert made.status_code == 201, made.content
    where = made["Location"]
    move = Move.objects.get()
    assert where == f"/api/v1/moves/{move.pk}"
    assert api.post(f"{where}/pause").json()["state"] == "paused"
    assert api.post(f"{where}/resume").json()["state"] == "making"
    drive(move)
    found = api.get(where).json()
    assert (found["state"], found["jobs"][0]["state"]) == ("re_wrapped", "done")
    reason = {"reason": "r"}
    assert api.post(f"{where}/drop", reason, content_type="application/json").json()["state"] == "dropping"
    assert api.post(f"{where}/keep", reason, content_type="application/json").json()["state"] == "re_wrapped"
    assert api.post(f"{where}/undo", reason, content_type="application/json").json()["state"] == "undoing"
    drive(move, "undone")
    assert api.get("/api/v1/moves?state=undone").json()["results"][0]["id"] == str(move.pk)
    assert fresh(move).state == "undone"
    assert lifecycle.tick_activations() == 0
