"""Providers' seals and the machines on the pages and in the API."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from keys.models import KeyholderSight, RootSeal
from keys.seal_tasks import seal_work
from keys.services import keyholders, seals
from tests.api.conftest import sign_in
from tests.keyholder.conftest import forget
from tests.keyholder.sealing import eventually

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
    refused = officer.post("/keys/seals/provider/", {"provider-name": "Far", "provider-key": "nothing"})
    assert (refused.status_code, b"Select a valid choice" in refused.content) == (422, True)
    assert auditor.post("/keys/seals/provider/", {"provider-name": "Far", "provider-key": key.pk}).status_code == 403
    made = officer.post("/keys/seals/provider/", {"provider-name": "Far", "provider-key": key.pk}, follow=True)
    assert "Being made" in made.content.decode()
    seal = RootSeal.objects.get(kind="provider")
    seal_work(str(seal.pk))
    page = auditor.get("/keys/seals/").content.decode()
    assert "Opens the portal" in page
    assert f"{key} version 1" in page
    eventually(lambda: bool(keyholders.seen()))  # a keyholder says of itself that it is there
    assert keyholders.machine() in auditor.get("/keys/seals/").content.decode()
    tried = officer.post(f"/keys/seals/{seal.pk}/check/", follow=True).content.decode()
    assert "A worker tries" in tried
    assert officer.post(f"/keys/seals/{seal.pk}/retire/").status_code == 302
    assert "Retired" in officer.get("/keys/seals/").content.decode()


def test_the_seals_in_the_api(organisation, lay, portal):
    ground = lay("aws_kms")
    portal(ground)
    ground.register(organisation)
    key = ground.master(organisation)
    officer = sign_in(organisation.people["ada"])
    made = officer.post("/api/v1/seals", {"name": "Far", "key": str(key.pk)}, content_type="application/json")
    assert (made.status_code, made.json()["state"]) == (201, "preparing")
    where = made["Location"]
    seal_work(made.json()["id"])
    shown = officer.get(where).json()
    assert (shown["state"], shown["key_version"], shown["provider"]) == ("in_use", 1, ground.alias)
    assert not {"wrapped", "handle", "check_value"} & set(shown)
    assert officer.post(f"{where}/check").status_code == 202
    assert officer.post(f"{where}/retire").json()["state"] == "retired"
    assert officer.post(f"{where}/retire").status_code == 404
    eventually(lambda: officer.get("/api/v1/seals/keyholders").json())
    assert officer.get("/api/v1/seals/keyholders").json()[0]["machine"] == keyholders.machine()


def test_the_page_of_a_sealed_portal_names_its_machine(organisation, keyholder):
    seals.register_shares(actor=organisation.actor("ada"), name="Custodians", threshold=2, count=3)
    keyholders.say(Path("/elsewhere"), sealed=True)
    seals.seal_now(actor=organisation.actor("ada"), reason="Drill.")
    eventually(lambda: [one.state for one in keyholders.seen()] == ["sealed", "sealed"])
    forget()
    told = Client().get("/sealed/").content.decode()
    assert f"This is the machine <strong>{keyholders.machine()}</strong>" in told
    assert "0 of 2 machines are open" in told
    assert "this one" not in told, "the others' names are for officers"
    assert "this one" in sign_in(organisation.people["ada"]).get("/sealed/").content.decode()
