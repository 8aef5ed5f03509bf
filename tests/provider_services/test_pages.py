"""The pages: a provider is registered, tested, compared and switched by a person with a browser, without a script."""

import re

import pytest
from django.test import Client

from keys.models import Key, KeyProvider, ProviderFinding
from keys.services import overview
from keys.services.providers import comparison
from keys.services.ratelimit import shared_memory
from tests.api.conftest import make_person, sign_in
from tests.provider_services.conftest import intent_of, work
from tests.provider_services.stand_in import SECRET
from tests.provider_services.test_comparison import stranger


@pytest.fixture
def olga(db, settings) -> Client:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return sign_in(make_person("olga", "security_officer"))


@pytest.fixture
def aino(olga) -> Client:
    return sign_in(make_person("aino", "auditor"))


def text(response) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_the_kind_comes_first_and_its_form_follows(there, tree, olga, sealing):
    listed = olga.get("/keys/providers/new/")
    assert "Stand-in" in text(listed)
    form = olga.get("/keys/providers/new/stand_in/").content.decode()
    assert 'name="place"' in form
    assert 'type="password" name="password"' in form
    assert '<option value="strict">' in form
    assert olga.get("/keys/providers/new/nonsense/").status_code == 404
    refused = olga.post("/keys/providers/new/stand_in/", {"alias": "far", "title": "Far", "mode": "calm"})
    assert refused.status_code == 422
    values = {
        "alias": "far",
        "title": "Far",
        "place": "there",
        "mode": "calm",
        "password": SECRET,
        "calls_per_second": "7",
    }
    done = olga.post("/keys/providers/new/stand_in/", values)
    assert (done.status_code, done["Location"]) == (302, "/keys/providers/far/")
    row = KeyProvider.objects.get()
    assert (row.calls_per_second, row.settings) == (7, {"place": "there", "mode": "calm"})
    for page in ("", "edit/"):
        shown = olga.get(f"/keys/providers/far/{page}")
        assert shown.status_code == 200
        assert SECRET not in shown.content.decode()
    assert "sealed, never shown" in text(olga.get("/keys/providers/far/"))


def test_tested_with_a_button(far, there, olga, aino):
    said = text(olga.post("/keys/providers/far/test/", follow=True))
    assert "It answered in" in said
    assert "Reachable" in said
    there.refuses = True
    said = text(olga.post("/keys/providers/far/test/", follow=True))
    assert "does not know us" in said
    assert "Unreachable" in said
    assert "provider_credentials_refused" in said
    assert aino.post("/keys/providers/far/test/").status_code == 403
    assert "Test" not in text(aino.get("/keys/providers/far/")).replace("Last test", "").replace(
        "last test", ""
    ).replace("provider.test", "")
    assert "The far one" in text(aino.get("/keys/providers/"))


def test_what_it_can_and_cannot_do_in_words(far, olga):
    said = text(olga.get("/keys/providers/far/"))
    assert "Encrypts data" in said
    assert "Wraps no keys" in said


def test_changed_and_switched(far, there, olga):
    assert (
        olga.post("/keys/providers/far/edit/", {"title": "Farther", "place": "there", "mode": "strict"}).status_code
        == 302
    )
    assert KeyProvider.objects.get().title == "Farther"
    assert olga.post("/keys/providers/far/disable/", {}).status_code == 422
    assert "cannot be used" in text(olga.get("/keys/providers/far/disable/"))
    assert olga.post("/keys/providers/far/disable/", {"reason": "maintenance"}).status_code == 302
    assert "Disabled" in text(olga.get("/keys/providers/far/"))
    assert olga.post("/keys/providers/far/enable/", {"reason": "over"}).status_code == 302


def test_a_key_is_made_there_and_its_page_follows_the_work(far, there, olga, tree):
    values = {
        "ring": str(tree.ring.pk), "name": "there", "title": "There", "kind": "kek", "algorithm": "AES-256-GCM",
        "parent": str(tree.master.pk), "provider": "far",
    }  # fmt: skip
    there.refuses = True
    made = olga.post("/keys/new/", values)
    assert made.status_code == 302
    key = Key.objects.get(name="there")
    assert "Queued" in text(olga.get(made["Location"]))
    work(key)
    said = text(olga.get(made["Location"]))
    assert "Failed" in said
    assert "does not know us" in said
    assert "There" in text(olga.get("/keys/providers/far/"))
    there.refuses = False
    assert olga.post(f"/keys/provider-work/{intent_of(key).pk}/retry/").status_code == 302
    work(key)
    assert "Done" in text(olga.get(made["Location"]))
    there.down = True
    values["name"] = "later"
    olga.post("/keys/new/", values)
    key = Key.objects.get(name="later")
    work(key)
    assert "Waiting for provider" in text(olga.get(f"/keys/{key.pk}/"))


def test_differences_are_decided(far, there, olga, tree, remote_key):
    key = remote_key()
    work(key)
    stranger(there)
    stranger(there, name="stand-in/second")
    from keys.providers.base import RemoteState

    there.keys[key.versions.get().handle].state = RemoteState.DISABLED
    comparison.compare(far.pk)
    said = text(olga.get("/keys/providers/far/"))
    for words in ("Key unknown to the portal", "State differs", "Put it right", "Adopt", "Ignore"):
        assert words in said
    unknown, second = ProviderFinding.objects.filter(kind="unknown_key").order_by("pk")
    drift = ProviderFinding.objects.get(kind="state_drift")
    at = "/keys/providers/far/differences/"
    assert olga.post(f"{at}{drift.pk}/mend/").status_code == 302
    assert work(key, "enable").state == "done"
    assert unknown.detail in text(olga.get(f"{at}{unknown.pk}/ignore/"))
    assert olga.post(f"{at}{unknown.pk}/ignore/", {"reason": "the web shop's"}).status_code == 302
    assert "the web shop&#x27;s" in olga.get("/keys/providers/far/").content.decode()
    values = {
        "ring": str(tree.ring.pk),
        "name": "taken-in",
        "title": "Taken in",
        "kind": "kek",
        "parent": str(tree.master.pk),
    }
    assert olga.get(f"{at}{second.pk}/adopt/").status_code == 200
    assert olga.post(f"{at}{second.pk}/adopt/", values | {"kind": "master"}).status_code == 422
    assert olga.post(f"{at}{second.pk}/adopt/", values).status_code == 302
    assert Key.objects.get(name="taken-in").current.status == "active"
    assert olga.get(f"{at}999999/ignore/").status_code == 404


def test_the_dashboard_says_what_is_wrong(far, there, officer, remote_key):
    there.refuses = True
    work(remote_key())
    KeyProvider.objects.update(last_error="nobody there")
    ProviderFinding.objects.create(provider=far, kind="unknown_key", opaque="x", detail="x")
    titles = " ".join(finding.title for finding in overview.attention(officer))
    for words in ("does not answer", "1 difference between", "Create the key"):
        assert words in titles


def test_a_list_of_many_asks_no_more_queries(far, olga, django_assert_max_num_queries):
    KeyProvider.objects.bulk_create(
        [KeyProvider(alias=f"far-{n}", kind="stand_in", title=f"Far {n}", created_by="test") for n in range(30)]
    )
    with django_assert_max_num_queries(12):
        assert olga.get("/keys/providers/").status_code == 200


def test_the_page_lives_without_valkey(far, olga, monkeypatch):
    from redis import Redis

    from keys.services.providers import breaker, figures

    nowhere = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    for module in (breaker, figures):
        monkeypatch.setattr(module, "shared_memory", lambda: nowhere)
    assert shared_memory().ping()
    assert olga.get("/keys/providers/far/").status_code == 200
