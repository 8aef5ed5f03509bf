"""Officers let an authority serve ACME, make and revoke keys for accounts, and see what failed; pages and REST alike."""

from dataclasses import replace

import pytest
from django.test import Client
from django.utils import timezone

from certificates.acme.services import serving
from certificates.models import AcmeAccount, AcmeExternalKey, AcmeServer
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import PermissionRefused, ValidationFailed, WrongState
from tests.acme.conftest import World
from tests.api.conftest import bearer, make_person, sign_in, token_of


@pytest.fixture
def page(world: World, settings) -> Client:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return sign_in(make_person("ada", "security_officer"))


@pytest.fixture
def api(page, world: World) -> Client:
    return bearer(
        token_of(
            make_person("tool", "security_officer"),
            ["certificate.view", "authority.manage", "certificate.issue"],
            rings=[],
        )
    )


WRONG = {
    "profiles": (["spiffe"], []), "days": (0, 400), "names": (["example.com"], ["*"], ["a_b"]), "challenges": ([], ["tls-sni-01"]),
    "terms_url": ("nothing", "ftp://example.org/"), "caa_identities": (["*.example.org"], ["a b"]), "order_hours": (0, 169),
    "networks": (["10.0.0.1/8"], ["inside"]), "resolvers": (["ns.example.org"],), "http_port": (0, 70_000), "tls_port": (0,),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_rules_that_cannot_be(world: World, name):
    rules = serving.Rules.of(world.server)
    for value in WRONG[name]:
        with pytest.raises(ValidationFailed) as error:
            serving.save_server(
                actor=world.tree.officer, authority_id=world.authority.pk, rules=replace(rules, **{name: value})
            )
        assert list(error.value.errors) == [name]


def test_who_may_decide(world: World, auditor, sealing_key):
    rules, named = serving.Rules.of(world.server), {"actor": auditor, "authority_id": world.authority.pk}
    with pytest.raises(PermissionRefused):
        serving.save_server(rules=rules, **named)
    with pytest.raises(PermissionRefused):
        serving.switch_server(enabled=False, reason="", **named)
    with pytest.raises(PermissionRefused):
        serving.create_external_key(label="x", **named)
    row, _ = serving.create_external_key(actor=world.tree.officer, authority_id=world.authority.pk, label="Web")
    with pytest.raises(PermissionRefused):
        serving.revoke_external_key(actor=auditor, key_id=row.pk, reason="")
    serving.revoke_external_key(actor=world.tree.officer, key_id=row.pk, reason="Lost.")
    with pytest.raises(WrongState):
        serving.revoke_external_key(actor=world.tree.officer, key_id=row.pk, reason="Lost.")
    account = world.client()
    with pytest.raises(PermissionRefused):
        serving.revoke_account(actor=auditor, account_id=account.kid[-36:], reason="")


def test_an_authority_is_let_to_serve_and_stopped(page, world: World):
    AcmeServer.objects.all().delete()
    url = f"/certificates/acme/{world.authority.pk}/"
    assert b"does not serve ACME" in page.get(url).content
    form = page.get(url + "rules/").content.decode()
    assert 'value="server"' in form
    assert "checked" in form
    values = {
        "profiles": ["server"], "challenges": ["http-01", "dns-01"], "names": "example.org", "networks": "10.0.0.0/8 192.168.0.0/16",
        "resolvers": "10.0.0.53", "external_account_required": "on", "check_caa": "on", "caa_identities": "CA.example.org",
        "order_hours": 12, "http_port": 80, "tls_port": 443,
    }  # fmt: skip
    wrong = page.post(url + "rules/", values | {"networks": "inside"})
    assert (wrong.status_code, b"inside cannot be read" in wrong.content) == (422, True)
    assert page.post(url + "rules/", values)["Location"] == url
    server = AcmeServer.objects.get()
    assert (server.networks, server.caa_identities, server.order_hours) == (
        ["10.0.0.0/8", "192.168.0.0/16"],
        ["ca.example.org"],
        12,
    )
    shown = page.get(url).content.decode()
    assert "http://localhost:8000/acme/servers/directory" in shown
    assert "10.0.0.53" in page.get(url + "rules/").content.decode()
    page.post(url + "stop/", {"reason": "Holidays."})
    assert page.get("/acme/servers/directory").status_code == 404
    assert "It does not serve now" in page.get(url).content.decode()
    page.post(url + "start/", {"reason": "Back."})
    assert page.get("/acme/servers/directory").status_code == 200
    [event] = AuditEvent.objects.filter(action="acme.server.save", outcome="success").order_by("-seq")[:1]
    assert b"10.0.0.0/8" in bytes(event.leaf)


def test_a_key_s_secret_is_shown_once(page, world: World, sealing_key):
    url = f"/certificates/acme/{world.authority.pk}/"
    late = page.post(url + "keys/new/", {"label": "Web team", "expires_at": "2020-01-01T00:00"})
    assert (late.status_code, b"Not in the past" in late.content) == (422, True)
    made = page.post(url + "keys/new/", {"label": "Web team", "once": "on"})
    row = AcmeExternalKey.objects.get()
    assert "no-store" in made["Cache-Control"]
    secret = made.context["secret"]
    assert secret in made.content.decode()
    assert len(secret) == 43
    assert secret not in page.get(url).content.decode()
    assert secret.encode() not in b"".join(map(bytes, AuditEvent.objects.values_list("leaf", flat=True)))
    page.post(f"/certificates/acme/keys/{row.pk}/revoke/", {"reason": "Lost."})
    row.refresh_from_db()
    assert row.shown_state == "revoked"


def test_orders_and_their_failures_are_seen(page, world: World):
    client = world.client(registered=False)
    client.register(contact=["mailto:web@example.org"])
    done = world.issue(client, "a.example.org")
    world.rules(networks=[])
    world.zone[("b.example.org", "A")] = ["127.0.0.1"]
    order = client.order("b.example.org")
    client.post(client.challenge(order, "http-01")["url"], {})
    listed = page.get("/certificates/acme/orders/").content.decode()
    assert "b.example.org: The name b.example.org leads to an address where this server looks for no proof." in listed
    assert (
        "a.example.org" not in page.get("/certificates/acme/orders/?state=invalid").content.decode().split("<tbody>")[1]
    )
    assert (
        "b.example.org" not in page.get("/certificates/acme/orders/?q=a.example").content.decode().split("<tbody>")[1]
    )
    assert "web@example.org" in page.get("/certificates/acme/accounts/?q=web").content.decode()
    exported = b"".join(page.get("/certificates/acme/orders/?export=csv"))
    assert done.certificate.serial.encode() in exported
    shown = page.get(f"/certificates/acme/orders/{order['Location'][-36:]}/").content.decode()
    assert "looks for no proof" in shown
    page.post(f"/certificates/acme/accounts/{done.account_id}/revoke/", {"reason": "Left."})
    assert AcmeAccount.objects.get().state == "revoked"


def test_rest_does_the_same(api, world: World, sealing_key):
    url, authority = "/api/v1/acme-servers", str(world.authority.pk)
    AcmeServer.objects.all().delete()
    send = {"content_type": "application/json"}
    assert api.post(url, {"authority": authority, "profiles": ["client"], "days": 999}, **send).status_code == 422
    made = api.post(url, {"authority": authority, "profiles": ["server"], "networks": ["127.0.0.0/8"]}, **send)
    assert (made.status_code, made.json()["directory"]) == (201, "http://localhost:8000/acme/servers/directory")
    assert made.json()["external_account_required"] is True
    changed = api.patch(f"{url}/{authority}", {"days": 30, "wildcards": True}, **send).json()
    assert (changed["days"], changed["wildcards"], changed["networks"]) == (30, True, ["127.0.0.0/8"])
    key = api.post("/api/v1/acme-external-keys", {"authority": authority, "label": "Web"}, **send)
    assert (key.status_code, len(key.json()["secret"]), key["Cache-Control"]) == (201, 43, "no-store")
    assert "secret" not in api.get(f"/api/v1/acme-external-keys/{key.json()['id']}").json()
    revoked = api.post(f"/api/v1/acme-external-keys/{key.json()['id']}/revoke", {"reason": "Lost."}, **send)
    assert revoked.json()["state"] == "revoked"
    assert (
        api.post(f"{url}/{authority}/switch", {"enabled": False, "reason": "Rest."}, **send).json()["enabled"] is False
    )
    api.post(f"{url}/{authority}/switch", {"enabled": True, "reason": "Work."}, **send)
    api.patch(f"{url}/{authority}", {"external_account_required": False}, **send)
    client = world.client()
    client.order("a.example.org")
    [order] = api.get("/api/v1/acme-orders?state=pending").json()["results"]
    assert {item["kind"] for item in order["authorizations"][0]["challenges"]} == {"http-01", "dns-01", "tls-alpn-01"}
    assert order["created_at"] <= timezone.now().isoformat()
    [account] = api.get("/api/v1/acme-accounts").json()["results"]
    assert (
        api.post(f"/api/v1/acme-accounts/{account['id']}/revoke", {"reason": "Left."}, **send).json()["state"]
        == "revoked"
    )
    assert api.get(f"/api/v1/acme-orders/{order['id']}").json()["failure"] == "The account is revoked."
