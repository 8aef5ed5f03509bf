"""Revocation by whoever may ask for it, renewal information, and orders that replace a certificate."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone

from certificates.acme.services import renewal
from certificates.models import AcmeOrder, Authority, Rollover
from certificates.rollover import steps
from certificates.services import issuing
from keys.crypto.jwk import b64url
from tests.acme.conftest import NAMES, Acme, Signer, World
from tests.acme.test_protocol import kind
from tests.certificates.conftest import make_authority
from tests.certificates.requests import csr
from tests.rollover.test_fleet import report, step


def test_revocation(world: World):
    client, key = world.client(), ec.generate_private_key(ec.SECP256R1())
    first, second = (world.issue(client, f"{name}.example.org", key=key).certificate for name in "ab")
    third = world.issue(client, "c.example.org", "d.example.org", key=key).certificate

    def ask(row, **more):
        return {"certificate": b64url(bytes(row.der))} | more

    stranger = world.client()
    assert kind(stranger.post("revoke-cert", ask(first))) == ("unauthorized", 403)
    assert kind(client.post("revoke-cert", ask(first, reason=6))) == ("badRevocationReason", 400)
    assert kind(client.post("revoke-cert", ask(first, reason=True))) == ("badRevocationReason", 400)
    assert client.post("revoke-cert", ask(first, reason=4)).status_code == 200
    assert kind(client.post("revoke-cert", ask(first))) == ("alreadyRevoked", 400)
    first.refresh_from_db()
    assert (first.state, first.reason) == ("revoked", "superseded")
    # By the key of the certificate, with no account at all.
    holder = Acme(world.capture, signer=Signer("ES256", key))
    assert kind(Acme(world.capture).post("revoke-cert", ask(second), jwk=True)) == ("unauthorized", 403)
    assert holder.post("revoke-cert", ask(second, reason=1), jwk=True).status_code == 200
    second.refresh_from_db()
    assert (second.reason, second.revoked_by) == ("key_compromise", f"holder of the key of certificate {second.serial}")
    # By another account that proved every name lately.
    world.prove(stranger, stranger.order("c.example.org"))
    assert kind(stranger.post("revoke-cert", ask(third))) == ("unauthorized", 403)  # of one name only
    world.prove(stranger, stranger.order("d.example.org"))
    assert stranger.post("revoke-cert", ask(third)).status_code == 200
    # Certificates of others, or of nobody, are all the same.
    foreign = issuing.issue_certificate(
        actor=world.tree.officer, authority_id=world.authority.pk,
        order=issuing.order_from_csr(csr("", (x509.DNSName("e.example.org"),)), profile="server"),
    )  # fmt: skip
    assert kind(client.post("revoke-cert", ask(foreign))) == ("unauthorized", 403)
    assert kind(client.post("revoke-cert", {"certificate": "AAAA"})) == ("unauthorized", 403)


def test_renewal_information_and_replacement(world: World):
    client = world.client()
    row = world.issue(client, "a.example.org").certificate
    name = renewal.identifier(row)
    found = client.http.get(f"/acme/servers/renewal-info/{name}")
    window = found.json()["suggestedWindow"]
    assert int(found["Retry-After"]) > 0
    life = row.not_after - row.not_before
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    assert abs(start - row.not_before - life * 2 / 3) <= timedelta(seconds=1)
    assert abs(end - start - life / 20) <= timedelta(seconds=1)
    assert client.http.get(f"/acme/servers/renewal-info/{name[:-4]}AAAA").status_code == 404
    for wrong in ("nothing", "a.b=", ".", name + "=="):
        assert client.http.get(f"/acme/servers/renewal-info/{wrong}").status_code in {400, 404}
    assert kind(world.client().order("a.example.org", replaces=name)) == ("malformed", 400)
    assert kind(client.order("b.example.org", replaces=name)) == ("malformed", 400)
    # An order that came to nothing replaced nothing.
    given_up = client.order("a.example.org", replaces=name)
    AcmeOrder.objects.filter(pk=given_up["Location"].rsplit("/", 1)[1]).update(state="invalid")
    new = world.issue(client, "a.example.org", replaces=name).certificate
    assert new.renews == row
    assert kind(client.order("a.example.org", replaces=name)) == ("alreadyReplaced", 409)
    client.post("revoke-cert", {"certificate": b64url(bytes(row.der))})
    ended = client.http.get(f"/acme/servers/renewal-info/{name}").json()["suggestedWindow"]
    assert ended["end"] <= timezone.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def test_after_a_rollover_clients_go_on_at_the_same_address_and_the_successor_signs(world: World):
    """RFC 9773 and revocation reach both; an authority that was retired alone issues nothing."""
    tree, client = world.tree, world.client()
    first = world.issue(client, "a.example.org").certificate
    root = Authority.objects.get(name="root")
    after = make_authority(
        tree, "servers-2", root, profiles=["server", "client"], names=NAMES, path_length=0, days=3000
    )
    row = steps.plan_rollover(actor=tree.officer, old_id=world.authority.pk, new_id=after.pk, reason="A stronger key.")
    report(tree, "shop", world.authority, after)
    step(tree, row, "trust_both")
    step(tree, row, "issue_b")
    second = world.issue(client, "a.example.org", replaces=renewal.identifier(first)).certificate
    assert (second.authority_id, second.renews_id) == (after.pk, first.pk)
    for item in (first, second):
        assert client.http.get(f"/acme/servers/renewal-info/{renewal.identifier(item)}").status_code == 200
        assert client.post("revoke-cert", {"certificate": b64url(bytes(item.der))}).status_code == 200
    Rollover.objects.all().delete()
    assert kind(client.order("a.example.org")) == ("serverInternal", 503)
