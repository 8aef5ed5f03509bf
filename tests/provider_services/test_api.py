"""REST of providers: the same acts as on the pages, and nothing secret comes out."""

import pytest
from django.test import Client

from keys.models import KeyProvider, ProviderFinding
from keys.services.providers import comparison
from tests.api.conftest import bearer, make_person, token_of
from tests.provider_services.conftest import intent_of, work
from tests.provider_services.stand_in import SECRET
from tests.provider_services.test_comparison import stranger

JSON = "application/json"


@pytest.fixture
def api(db, settings) -> Client:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return bearer(token_of(make_person("olga", "security_officer")))


def test_registered_changed_tested_and_switched(there, tree, sealing, api):
    body = {"kind": "stand_in", "alias": "far", "title": "Far", "values": {"place": "there", "password": SECRET}}
    made = api.post("/api/v1/providers", body, content_type=JSON)
    assert (made.status_code, made["Location"]) == (201, "/api/v1/providers/far")
    assert made.json()["has_sealed_settings"]
    assert SECRET not in made.content.decode() + api.get("/api/v1/providers").content.decode()
    wrong = api.post("/api/v1/providers", body | {"alias": "near", "values": {"colour": "red"}}, content_type=JSON)
    assert wrong.status_code == 422
    assert {"colour", "place"} <= wrong.json()["errors"].keys()
    tested = api.post("/api/v1/providers/far/test")
    assert tested.status_code == 200
    assert tested.json()["budget"] == 100
    there.down = True
    down = api.post("/api/v1/providers/far/test")
    assert (down.status_code, down.json()["code"]) == (503, "provider_unavailable")
    there.down = False
    health = api.get("/api/v1/providers/far/health").json()
    assert health["circuit"] == "closed"
    assert health["failures"] == 1
    assert health["complaints"][0]["code"] == "provider_unavailable"
    changed = api.put(
        "/api/v1/providers/far", {"title": "F", "values": {"place": "there"}, "calls_per_second": 9}, content_type=JSON
    )
    assert changed.json()["calls_per_second"] == 9
    for act, state in (("disable", "disabled"), ("enable", "enabled")):
        assert api.post(f"/api/v1/providers/far/{act}", {"reason": "r"}, content_type=JSON).json()["state"] == state
    again = api.post("/api/v1/providers/far/enable", {"reason": "r"}, content_type=JSON)
    assert again.status_code == 409
    assert {"kind": "stand_in", "title": "Stand-in", "missing": ""} in api.get("/api/v1/providers/kinds").json()


def test_the_work_of_a_key_can_be_followed(far, there, tree, api):
    there.refuses = True
    body = {
        "ring": str(tree.ring.pk), "name": "there", "title": "There", "kind": "kek", "parent": str(tree.master.pk), "provider": "far",
    }  # fmt: skip
    key = api.post("/api/v1/keys", body, content_type=JSON).json()
    assert key["current"] is None
    (row,) = api.get(f"/api/v1/provider-work?key={key['id']}").json()["results"]
    assert (row["state"], row["provider"], row["act"]) == ("queued", "far", "create")
    from keys.models import Key

    made = Key.objects.get(pk=key["id"])
    work(made)
    assert api.get(f"/api/v1/provider-work/{row['id']}").json()["state"] == "failed"
    there.refuses = False
    assert api.post(f"/api/v1/provider-work/{row['id']}/retry").json()["state"] == "queued"
    work(made)
    assert api.get(f"/api/v1/keys/{key['id']}").json()["current"]["status"] == "active"
    assert api.post(f"/api/v1/provider-work/{intent_of(made).pk}/retry").status_code == 409


def test_differences(far, there, tree, api):
    assert api.post("/api/v1/providers/far/compare").status_code == 202
    stranger(there)
    stranger(there, name="stand-in/second")
    comparison.compare(far.pk)
    first, second = api.get("/api/v1/providers/far/differences").json()["results"]
    at = "/api/v1/providers/far/differences"
    assert api.post(f"{at}/{first['id']}/ignore", {"reason": "theirs"}, content_type=JSON).json()["state"] == "ignored"
    assert api.post(f"{at}/{first['id']}/mend").status_code == 409
    body = {
        "ring": str(tree.ring.pk),
        "name": "taken-in",
        "title": "Taken in",
        "kind": "kek",
        "parent": str(tree.master.pk),
    }
    adopted = api.post(f"{at}/{second['id']}/adopt", body, content_type=JSON)
    assert adopted.status_code == 201
    assert adopted.json()["current"]["status"] == "active"
    assert api.post(f"{at}/999999/ignore", {"reason": "r"}, content_type=JSON).status_code == 404
    other = KeyProvider.objects.create(alias="other", kind="stand_in", title="Other", created_by="test")
    elsewhere = ProviderFinding.objects.create(provider=other, kind="unknown_key", opaque="x", detail="x")
    assert api.post(f"{at}/{elsewhere.pk}/ignore", {"reason": "r"}, content_type=JSON).status_code == 404
