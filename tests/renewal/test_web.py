"""The way of a person and of a program through sources, renewals and rollovers, by pages and by REST."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, pkcs12
from django.utils import timezone

from certificates.models import AcmeSource, Authority, ManagedCertificate, RelyingParty, RenewalOrder, Rollover
from certificates.renewal import deploying, ordering, schedule, sources
from keys.models import Key
from keys.services.overview import attention
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.errors import ValidationFailed
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.certificates.conftest import Hierarchy, make_authority, refreshed
from tests.renewal.conftest import SECRET, ask, make_hook, make_source

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture
def roots(home):
    """Made before there is an officer who would have to agree."""
    names = {"dns": ["example.org"]}
    return [
        make_authority(home, f"root-{n}", profiles=["server"], names=names, days=d)
        for n, d in (("a", 3000), ("b", 5000))
    ]


@pytest.fixture
def person(home):
    return make_person("olga", "security_officer")


@pytest.fixture
def browser(person, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return sign_in(person)


def post(client, url, body, status=302):
    answer = client.post(url, body)
    assert answer.status_code == status, answer.content.decode()[:3000]
    return answer


@pytest.mark.needs_pebble
def test_from_a_source_to_a_delivered_certificate(browser, home, pebble, dns, person):
    form = {
        "ring": home.ring.pk, "name": "pebble", "directory": pebble.door.directory, "contacts": "pki@example.org", "ca_bundle": pebble.bundle,
    }  # fmt: skip
    looked = post(browser, "/certificates/sources/new/", form | {"act": "look"}, 200).content.decode()
    assert "The CA answers" in looked
    assert "data:text/plain,Do%20what%20thou%20wilt" in looked
    refused = post(browser, "/certificates/sources/new/", form, 422).content.decode()
    assert "The CA issues only to who agrees to its terms." in refused
    post(browser, "/certificates/sources/new/", form | {"agree_to_terms": "on"})
    source = AcmeSource.objects.get()
    assert "is being registered" in browser.get(f"/certificates/sources/{source.pk}/").content.decode()
    sources.complete_registration(source.pk)
    assert "Obtain a certificate" in browser.get(f"/certificates/sources/{source.pk}/").content.decode()
    post(browser, f"/certificates/sources/{source.pk}/retry/", {})
    hook = make_hook(home, dns)
    key = home.make("www", "transport", "ECDSA-P256-SHA256", home.kek, exportable=True)
    wanted = {"source": source.pk, "key": key.pk, "names": "www.example.org", "challenge": "dns-01", "new_key": "on"}
    assert "needs a hook" in post(browser, "/certificates/renewals/new/", wanted, 422).content.decode()
    made = post(browser, "/certificates/renewals/new/", wanted | {"dns_hook": hook.pk})
    row = ManagedCertificate.objects.get()
    page = f"/certificates/renewals/{row.pk}/"
    assert made["Location"] == page
    assert "renewal-progress" in browser.get(page).content.decode()
    for _ in range(20):
        RenewalOrder.objects.filter(finished_at=None).update(next_try_at=timezone.now())
        if ordering.carry_on(row.orders.get().pk).finished_at:
            break
    assert "It is renewed on" in browser.get(page).content.decode()
    assert "Kept alive" in browser.get(f"/certificates/{refreshed(row).certificate_id}/").content.decode()
    post(
        browser,
        page + "hooks/new/",
        {"kind": "file", "place": str(home.folder / "www"), "with_key": "on", "reason": "nginx"},
    )
    deploying.deliver(row.hooks.get().deliveries.get().pk)
    assert "Delivered" in browser.get(page).content.decode()
    assert (home.folder / "www" / "privkey.pem").exists()
    pebble.door.shut = True
    post(browser, page + "now/", {"reason": "A new chain."})
    pebble.door.shut = False
    assert "A new chain." in browser.get(page).content.decode()
    post(browser, page + "stop/", {"reason": "It goes."})
    assert "Renew it again" in browser.get(page).content.decode()
    post(browser, f"/certificates/hooks/{row.hooks.get().pk}/remove/", {"reason": "It goes."})
    ManagedCertificate.objects.update(failures=2, last_error="The name was not proved.", enabled=True)
    found = attention(actor_for_person(person))
    assert any(item.title == "The renewal of www.example.org fails" and item.page == page for item in found)
    assert "The renewal of www.example.org fails" in browser.get("/").content.decode()


def test_by_rest(home, person, settings, pebble, dns):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    client = bearer(token_of(person))
    ring = str(home.ring.pk)
    body = {"ring": ring, "directory": pebble.door.directory, "ca_bundle": pebble.bundle}
    assert client.post("/api/v1/acme-sources/look", body, JSON).json()["wants_binding"] is False
    made = client.post("/api/v1/acme-sources", body | {"name": "pebble", "agree_to_terms": True}, JSON)
    assert (made.status_code, made.json()["state"]) == (201, "registering")
    assert "account_key" not in made.json()
    sources.complete_registration(AcmeSource.objects.get().pk)
    hooked = client.post(
        "/api/v1/dns-hooks",
        {
            "ring": ring,
            "name": "dns",
            "kind": "webhook",
            "address": dns.url,
            "secret": SECRET.reveal().decode(),
            "wait_seconds": 0,
        },
        JSON,
    )
    assert "secret" not in hooked.json()
    key = home.make("www", "transport", "ECDSA-P256-SHA256", home.kek)
    wanted = {
        "source": made.json()["id"], "key": str(key.pk), "names": [{"kind": "dns", "value": "www.example.org"}], "challenge": "dns-01",
        "dns_hook": hooked.json()["id"],
    }  # fmt: skip
    asked = client.post("/api/v1/renewals", wanted, JSON)
    assert (asked.status_code, asked.json()["state"]) == (201, "waiting")
    url = asked["Location"]
    ordering.carry_on(RenewalOrder.objects.get().pk)
    assert client.get(url + "/orders").json()[0]["key_version"] == 1
    again = client.post("/api/v1/renewals", wanted, JSON)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert client.post(url + "/stop", {"reason": "A test."}, JSON).json()["state"] == "paused"
    assert client.post(url + "/renew", {"reason": ""}, JSON).status_code == 422


def test_a_managed_key_is_not_anybodys(home, pebble, dns):
    source, hook = make_source(home, pebble), make_hook(home, dns)
    authority = make_authority(home, "ca", profiles=["server"], names={"dns": ["example.org"]})
    for key in (authority.key, home.dek):
        with pytest.raises(ValidationFailed) as refused:
            ask(home, source, hook, key=Key.objects.get(pk=key.pk))
        assert "key" in refused.value.errors
    for names in (["ip:10.0.0.1"], ["uri:spiffe://example.org/x"], ["dns:a b"], ["dns:x.example.org"] * 2):
        with pytest.raises(ValidationFailed) as refused:
            ask(
                home,
                source,
                hook,
                *names,
                key=home.make("k" + str(len(Key.objects.all())), "transport", "Ed25519", home.kek),
            )
        assert "names" in refused.value.errors
    with pytest.raises(ValidationFailed):
        ask(home, source, None, "dns:*.example.org", key=home.make("w", "transport", "Ed25519", home.kek))
    assert not ManagedCertificate.objects.exists()
    assert schedule.begin_due(home.ring.pk) is None


def test_a_rollover_by_pages_and_reports_by_rest(roots, browser, home, person):
    old, new = roots
    post(browser, "/certificates/rollovers/new/", {"old": old.pk, "new": new.pk, "reason": "It ends."})
    row = Rollover.objects.get()
    page = f"/certificates/rollovers/{row.pk}/"
    assert "The next step can be taken" in browser.get(page).content.decode()
    post(browser, page + "step/trust_both/", {"reason": "Now."})
    assert "No relying party has reported" in browser.get(page).content.decode()
    assert "force" in browser.get(page + "step/issue_b/").content.decode()
    refused = post(browser, page + "step/issue_b/", {"reason": "Now."}, 422).content.decode()
    assert "nobody knows whom the step would break" in refused
    service = make_person("shop", "service", home.ring, kind="service")
    client = bearer(token_of(service, ["trust.report"], rings=[home.ring]))
    bundle = browser.get(page + "bundle.pem").content.decode()
    assert bundle.count("BEGIN CERTIFICATE") == 2
    report = {
        "ring": str(home.ring.pk),
        "name": "shop",
        "fingerprints": [old.certificate.fingerprint, new.certificate.fingerprint],
    }
    assert client.post("/api/v1/relying-parties", report, JSON).status_code == 200
    assert client.get("/api/v1/relying-parties").status_code == 403
    assert "Trusts A and B" in browser.get(page).content.decode()
    post(browser, page + "step/issue_b/", {"reason": "Now."})
    assert Authority.objects.get(pk=old.pk).state == "retired"
    party = RelyingParty.objects.get()
    assert "shop" in browser.get("/certificates/relying-parties/").content.decode()
    post(browser, f"/certificates/relying-parties/{party.pk}/remove/", {"reason": "Scrapped."})
    assert "Nobody has reported yet" in browser.get("/certificates/relying-parties/").content.decode()
    api = bearer(token_of(person))
    gate = api.get(f"/api/v1/rollovers/{row.pk}/gate").json()
    assert (gate["to"], gate["met"]) == ("trust_b", False)
    answer = api.post(f"/api/v1/rollovers/{row.pk}/step", {"to": "trust_b", "reason": "Now."}, JSON)
    assert (answer.status_code, answer.json()["code"]) == (409, "gate_not_met")


def test_a_ca_key_is_imported_and_a_certificate_renewed_with_a_key_made_here(roots, browser, home, person):
    private = ec.generate_private_key(ec.SECP256R1())
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"old ca")).decode()
    form = {
        "ring": home.ring.pk,
        "name": "old-ca",
        "title": "Old CA",
        "parent": home.kek.pk,
        "private_key": text,
        "password": "wrong",
    }
    assert "does not open it" in post(browser, "/certificates/authorities/import-key/", form, 422).content.decode()
    done = post(browser, "/certificates/authorities/import-key/", form | {"password": "old ca"})
    key = Key.objects.get(name="old-ca")
    assert done["Location"] == f"/certificates/authorities/import/?key={key.pk}"
    client = bearer(token_of(person))
    body = {
        "ring": str(home.ring.pk),
        "name": "older-ca",
        "title": "Older",
        "above": str(home.kek.pk),
        "private_key": text,
        "password": "old ca",
    }
    assert client.post("/api/v1/authorities/import-key", body, JSON).json()["algorithm"] == "ECDSA-P256-SHA256"

    row = Hierarchy(home, roots[0], roots[0], roots[0]).issue("dns:www.example.org")
    wanted = {"algorithm": "ECDSA-P256-SHA256", "form": "pkcs12", "password": "correct horse battery"}
    page = f"/certificates/{row.pk}/renew-key/"
    assert "Make, certify and download" in browser.get(page).content.decode()
    file = post(browser, page, wanted, 200)
    assert file["Cache-Control"] == "no-store"
    _, leaf, _ = pkcs12.load_key_and_certificates(file.content, b"correct horse battery")
    assert f"{leaf.serial_number:x}" in {item.serial for item in row.renewed_by.all()}
    answer = client.post(f"/api/v1/certificates/{row.pk}/renew-key", wanted, JSON)
    assert (answer.status_code, answer["Content-Type"]) == (201, "application/x-pkcs12")
