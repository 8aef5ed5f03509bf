"""Providers' seals and the machines on the pages and in the API."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from keys.models import KeyholderSight, RootSeal
from keys.seal_tasks import seal_work
from keys.services import keyholders, seals
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ApprovalRequired, Conflict, PermissionRefused, ValidationFailed
from tests.api.conftest import sign_in
from tests.keyholder.conftest import forget
from tests.keyholder.sealing import agreed, eventually, far_seal, retired, shares_for

pytestmark = pytest.mark.django_db(transaction=True)


def test_machines_that_were_not_heard_of_are_silent(organisation, keyholder, settings):
    keyholders.say(Path("/elsewhere"), sealed=True, detail="Nothing opens it.")
    eventually(lambda: len(keyholders.seen()) == 2)
    here, there = keyholders.seen()
    assert (here.here, here.state, there.here, there.state) == (True, "unsealed", False, "sealed")
    KeyholderSight.objects.filter(socket="/elsewhere").update(seen_at=timezone.now() - timedelta(minutes=5))
    assert keyholders.seen()[1].state == "silent"
    keyholders.leave(Path("/elsewhere"))
    KeyholderSight.objects.update(seen_at=timezone.now() - timedelta(days=2))
    eventually(lambda: [one.here for one in keyholders.seen()] == [True])


def test_the_pages_of_a_providers_seal(organisation, lay, portal):
    ground = lay("aws_kms")
    portal(ground)
    ground.register(organisation)
    key = ground.master(organisation)
    officer, auditor = sign_in(organisation.people["ada"]), sign_in(organisation.people["fay"])
    page = officer.get("/keys/seals/").content.decode()
    assert "There is one way only" in page
    assert f"{key}, at {ground.alias}" in page
    asked = {"provider-name": "Far", "provider-key": key.pk, "provider-reason": "A second way."}
    refused = officer.post("/keys/seals/provider/", asked | {"provider-key": "nothing"})
    assert (refused.status_code, b"Select a valid choice" in refused.content) == (422, True)
    assert auditor.post("/keys/seals/provider/", asked).status_code == 403
    assert "2 other security officers must agree first" in page
    waits = officer.post("/keys/seals/provider/", asked)
    request = ApprovalRequest.objects.get(operation="seal.register_provider")
    assert str(request.pk) in waits["Location"]
    assert not RootSeal.objects.filter(kind="provider").exists(), "one officer alone opens nothing"
    agreed(organisation, lambda: seals.register_provider(
        actor=organisation.actor("ada"), name="Far", key=key, reason="A second way."
    ))  # fmt: skip
    assert "Being made" in officer.get("/keys/seals/").content.decode()
    seal = RootSeal.objects.get(kind="provider")
    seal_work(str(seal.pk))
    page = auditor.get("/keys/seals/").content.decode()
    assert "Opens the portal" in page
    assert f"{key} version 1" in page
    eventually(lambda: bool(keyholders.seen()))  # a keyholder says of itself that it is there
    assert keyholders.machine() in auditor.get("/keys/seals/").content.decode()
    tried = officer.post(f"/keys/seals/{seal.pk}/check/", follow=True).content.decode()
    assert "A worker tries" in tried
    where = f"/keys/seals/{seal.pk}/retire/"
    said = officer.get(where).content.decode()
    assert f"The key at {ground.alias} opens the portal on no machine any more." in said
    assert "one other way opens the portal" in said
    assert officer.post(where, {"reason": ""}).status_code == 422
    assert "/approvals/" in officer.post(where, {"reason": "Not needed."})["Location"]
    seal.refresh_from_db()
    assert seal.state == "in_use", "others must agree first"
    retired(organisation, seal)
    assert "Retired" in officer.get("/keys/seals/").content.decode()


def test_the_seals_in_the_api(organisation, lay, portal):
    ground = lay("aws_kms")
    portal(ground)
    ground.register(organisation)
    key = ground.master(organisation)
    officer = sign_in(organisation.people["ada"])
    asked = {"name": "Far", "key": str(key.pk), "reason": "A second way."}
    waits = officer.post("/api/v1/seals", asked, content_type="application/json")
    assert (waits.status_code, waits.json()["code"]) == (202, "approval_required")
    seal = far_seal(organisation, key)
    where = f"/api/v1/seals/{seal.pk}"
    assert officer.get(where).json()["state"] == "preparing"
    seal_work(str(seal.pk))
    shown = officer.get(where).json()
    assert (shown["state"], shown["key_version"], shown["provider"]) == ("in_use", 1, ground.alias)
    assert not {"wrapped", "handle", "check_value"} & set(shown)
    assert officer.post(f"{where}/check").status_code == 202
    reason = {"reason": "Not needed any more."}
    waits = officer.post(f"{where}/retire", reason, content_type="application/json")
    assert (waits.status_code, waits.json()["code"]) == (202, "approval_required")
    retired(organisation, seal)
    assert officer.get(where).json()["state"] == "retired"
    assert officer.post(f"{where}/retire", reason, content_type="application/json").status_code == 404
    eventually(lambda: officer.get("/api/v1/seals/keyholders").json())
    assert officer.get("/api/v1/seals/keyholders").json()[0]["machine"] == keyholders.machine()


def test_the_page_of_a_sealed_portal_names_its_machine(organisation, keyholder):
    shares_for(organisation)
    keyholders.say(Path("/elsewhere"), sealed=True)
    seals.seal_now(actor=organisation.actor("ada"), reason="Drill.")
    eventually(lambda: [one.state for one in keyholders.seen()] == ["sealed", "sealed"])
    forget()
    told = Client().get("/sealed/").content.decode()
    assert f"This is the machine <strong>{keyholders.machine()}</strong>" in told
    assert "0 of 2 machines are open" in told
    assert "this one" not in told, "the others' names are for officers"
    assert "this one" in sign_in(organisation.people["ada"]).get("/sealed/").content.decode()


def test_a_seal_is_made_for_those_who_agreed_and_for_nobody_else(organisation, keyholder):
    """The requester alone, a single other officer, and a changed world make none; the founder alone has nobody to ask."""
    ada = organisation.actor("ada")
    ask = {"actor": ada, "name": "Custodians", "threshold": 2, "count": 3, "reason": "For the worst day."}
    with pytest.raises(ApprovalRequired) as waiting:
        seals.register_shares(**ask)
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    approvals.approve(actor=organisation.actor("boris"), request_id=request.pk, act_hash=request.act_hash)
    request.refresh_from_db()
    assert (request.state, RootSeal.objects.filter(kind="shares").exists()) == ("pending", False)
    with pytest.raises(ApprovalRequired):
        seals.register_shares(**ask, approval_id=request.pk)  # naming it is not performing it
    made = shares_for(organisation)  # the same act: the request that waits is taken up
    assert (made.seal.approval_id, made.seal.created_by_id, made.seal.state) == (request.pk, ada.id, "in_use")
    with pytest.raises(PermissionRefused):
        seals.make_shares(actor=organisation.actor("boris"), seal_id=made.seal.pk, recipient=bytes(32))
    with pytest.raises(Conflict):
        seals.make_shares(actor=ada, seal_id=made.seal.pk, recipient=bytes(32))
    retired(organisation, made.seal)
    for name in ("boris", "chen"):
        organisation.people[name].bindings.all().delete()
    waiting_for_shares = seals.register_shares(**ask)
    assert waiting_for_shares.state == "preparing"


def test_a_way_to_open_the_portal_is_not_given_up_by_one_officer(organisation, keyholder):
    ada = organisation.actor("ada")
    made = shares_for(organisation)
    with pytest.raises(PermissionRefused):
        seals.retire_seal(actor=organisation.actor("dana"), seal_id=made.seal.pk, reason="r")
    with pytest.raises(ValidationFailed):
        seals.retire_seal(actor=ada, seal_id=made.seal.pk, reason=" ")
    with pytest.raises(ApprovalRequired) as waiting:
        seals.retire_seal(actor=ada, seal_id=made.seal.pk, reason="Not needed any more.")
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    with pytest.raises(ApprovalRequired):
        seals.retire_seal(actor=ada, seal_id=made.seal.pk, reason="Not needed any more.", approval_id=request.pk)
    assert RootSeal.objects.get(pk=made.seal.pk).wrapped is not None
    assert "The 3 shares that custodians hold open nothing any more." in bytes(request.act).decode()
    retired(organisation, made.seal)
    assert RootSeal.objects.get(pk=made.seal.pk).wrapped is None
    event = AuditEvent.objects.get(action="seal.retire", outcome="success")
    assert str(request.pk) in bytes(event.leaf).decode()
    ask = {"actor": ada, "name": "Again", "threshold": 2, "count": 3, "reason": "r"}
    agreed(organisation, lambda: seals.register_shares(**ask))
    fresh = RootSeal.objects.get(kind="shares", retired_at=None)
    assert seals.when_retired(fresh, 1)[0] == "Its shares are never made."
    assert seals.retire_seal(actor=ada, seal_id=fresh.pk, reason="Not after all.").state == "retired", (
        "it opened nothing"
    )
