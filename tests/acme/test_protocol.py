"""The protocol from account to certificate and back, by a client that signs by itself."""

import base64
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from certificates.acme.services import orders, serving
from certificates.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeOrder, Certificate
from certificates.services import bringing
from keyvault_portal.audit.models import AuditEvent
from tests.acme.conftest import Signer, World, binding, jws
from tests.certificates.requests import csr


def kind(response):
    """The end of an error's URN, with its status."""
    assert response["Content-Type"] == "application/problem+json", response.content
    return response.json()["type"].removeprefix("urn:ietf:params:acme:error:"), response.status_code


def test_the_directory_and_its_nonces(world: World):
    client = world.client(registered=False)
    world.rules(terms_url="https://example.org/terms")
    found = client.http.get("/acme/servers/directory")
    body = found.json()
    assert found["Link"] == '<http://localhost:8000/acme/servers/directory>;rel="index"'
    assert body["meta"] == {
        "externalAccountRequired": False, "caaIdentities": ["ca.example.org"], "termsOfService": "https://example.org/terms",
        "profiles": {"server": "TLS server", "client": "TLS client"},
    }  # fmt: skip
    for name, method, status in (("head", client.http.head, 200), ("get", client.http.get, 204)):
        answer = method(body["newNonce"].removeprefix("http://localhost:8000"))
        assert (answer.status_code, answer["Cache-Control"]) == (status, "no-store"), name
        assert answer["Replay-Nonce"]


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "EdDSA"])
def test_an_account_of_every_algorithm(world: World, algorithm):
    client = world.client(algorithm, registered=False)
    made = client.register(contact=["mailto:ann@example.org"])
    assert made.status_code == 201
    assert made.json() == {
        "status": "valid", "contact": ["mailto:ann@example.org"], "orders": client.kid + "/orders", "termsOfServiceAgreed": True,
    }  # fmt: skip
    assert client.post(client.kid).json()["contact"] == ["mailto:ann@example.org"]
    again = client.post("new-account", {"onlyReturnExisting": True}, jwk=True)
    assert (again.status_code, again["Location"]) == (200, client.kid)


def test_an_account_changes_and_ends(world: World):
    client = world.client()
    assert client.post(client.kid, {"contact": ["mailto:bob@example.org"]}).json()["contact"] == [
        "mailto:bob@example.org"
    ]
    order = client.order("a.example.org")
    assert client.post(client.kid, {"status": "deactivated"}).json()["status"] == "deactivated"
    assert kind(client.post(client.kid)) == ("unauthorized", 403)
    assert kind(client.register()) == ("unauthorized", 403)
    assert AcmeOrder.objects.get(pk=order["Location"][-36:]).state == "invalid"
    assert AuditEvent.objects.filter(action="acme.account.change").count() == 2


def test_an_account_changes_its_key(world: World):
    client, new = world.client(), Signer("EdDSA")
    inner = {"account": client.kid, "oldKey": client.signer.jwk}
    header = {"alg": new.algorithm, "jwk": new.jwk, "url": client.url("key-change")}
    assert client.post("key-change", jws(header, inner, new.sign)).status_code == 200
    assert kind(client.post(client.kid)) == ("badSignatureAlgorithm", 400)
    client.signer = new
    assert client.post(client.kid).status_code == 200
    # A key that has an account already is a conflict that names the account.
    other = world.client()
    inner = {"account": other.kid, "oldKey": other.signer.jwk}
    taken = other.post("key-change", jws(header, inner, new.sign))
    assert (taken.status_code, taken["Location"]) == (409, client.kid)
    # Nobody's account moves without its own key, and to no key that did not sign.
    for wrong in (
        jws(header | {"url": client.url("new-order")}, inner, new.sign),
        jws(header, inner | {"account": client.kid}, new.sign),
        jws(header, inner | {"oldKey": Signer().jwk}, new.sign),
        jws(header | {"nonce": "x"}, inner, new.sign),
        jws(header, inner, Signer("EdDSA").sign),
    ):
        assert kind(other.post("key-change", wrong))[0] == "malformed"


def test_external_accounts(world: World, sealing_key):
    world.rules(external_account_required=True)
    client = world.client(registered=False)
    assert kind(client.register()) == ("externalAccountRequired", 403)
    row, secret = serving.create_external_key(
        actor=world.tree.officer, authority_id=world.authority.pk, label="Web team"
    )
    raw = base64.urlsafe_b64decode(secret.reveal() + b"==")
    assert raw not in bytes(row.secret.ciphertext)
    kid = str(row.pk)
    refused = {
        "another secret": binding(client.signer, kid, b"x" * 32),
        "another key": binding(Signer(), kid, raw),
        "an unknown key": binding(client.signer, str(world.server.authority_id), raw),
        "no uuid": binding(client.signer, "root", raw),
    }
    for why, wrong in refused.items():
        assert kind(client.register(externalAccountBinding=wrong)) == ("unauthorized", 403), why
    assert (
        kind(client.register(externalAccountBinding=binding(client.signer, kid, raw, url="http://x/")))[0]
        == "malformed"
    )
    assert kind(client.register(externalAccountBinding=binding(client.signer, kid, raw, nonce="x")))[0] == "malformed"
    assert (
        kind(client.register(externalAccountBinding=binding(client.signer, kid, raw, alg="none")))[0]
        == "badSignatureAlgorithm"
    )
    assert kind(client.register(externalAccountBinding="x"))[0] == "malformed"
    assert client.register(externalAccountBinding=binding(client.signer, kid, raw)).status_code == 201
    assert AcmeAccount.objects.get().external_key == row
    # Good once.
    other = world.client(registered=False)
    assert kind(other.register(externalAccountBinding=binding(other.signer, kid, raw))) == ("unauthorized", 403)
    # Or until an officer says otherwise.
    many, secret = serving.create_external_key(
        actor=world.tree.officer, authority_id=world.authority.pk, label="Fleet", once=False
    )
    raw = base64.urlsafe_b64decode(secret.reveal() + b"==")
    assert other.register(externalAccountBinding=binding(other.signer, str(many.pk), raw)).status_code == 201
    serving.revoke_external_key(actor=world.tree.officer, key_id=many.pk, reason="The fleet is gone.")
    third = world.client(registered=False)
    assert kind(third.register(externalAccountBinding=binding(third.signer, str(many.pk), raw))) == (
        "unauthorized",
        403,
    )


def test_from_order_to_certificate(world: World):
    client = world.client()
    order = client.order("www.example.org", "Example.org", "*.example.org")
    body = order.json()
    assert (order.status_code, body["status"], body["profile"]) == (201, "pending", "server")
    assert [item["value"] for item in body["identifiers"]] == ["www.example.org", "example.org", "*.example.org"]
    found = [client.post(url).json() for url in body["authorizations"]]
    kinds = {
        (item["identifier"]["value"], item.get("wildcard", False)): {c["type"] for c in item["challenges"]}
        for item in found
    }
    assert kinds[("example.org", True)] == {"dns-01"}
    assert kinds[("www.example.org", False)] == {"dns-01", "http-01", "tls-alpn-01"}
    assert kind(client.finalize(order, "www.example.org")) == ("orderNotReady", 403)
    world.prove(client, order)
    assert client.post(order["Location"]).json()["status"] == "ready"
    key = ec.generate_private_key(ec.SECP256R1())
    asked = client.finalize(order, "example.org", "*.example.org", "www.example.org", key=key)
    assert (asked.json()["status"], asked["Retry-After"]) == ("processing", "2")
    done = client.post(order["Location"]).json()
    assert done["status"] == "valid"
    chain = client.post(done["certificate"])
    assert chain["Content-Type"] == "application/pem-certificate-chain"
    leaf, issuer = x509.load_pem_x509_certificates(chain.content)
    assert leaf.public_key() == key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert names == ["www.example.org", "example.org", "*.example.org"]
    leaf.verify_directly_issued_by(issuer)
    assert client.post(client.kid + "/orders").json() == {"orders": [order["Location"]]}
    row = Certificate.objects.get(serial=f"{leaf.serial_number:x}")
    assert row.requested_by == f"ACME account {client.kid[-36:]} of servers"
    actions = set(AuditEvent.objects.filter(action__startswith="acme.").values_list("action", flat=True))
    assert actions == {
        "acme.server.save", "acme.account.open", "acme.order.make", "acme.challenge.answer", "acme.challenge.look",
        "acme.order.finalize", "acme.order.end",
    }  # fmt: skip


def test_the_profile_decides_and_not_the_request(world: World):
    client = world.client()
    world.rules(days=30)
    assert kind(client.order("a.example.org", profile="spiffe")) == ("invalidProfile", 400)
    row = world.issue(client, "a.example.org", profile="client").certificate
    assert (row.profile, row.subject, (row.not_after - row.not_before).days + 1) == (
        "client",
        "CN=a.example.org,O=Example",
        30,
    )
    order = client.order("b.example.org")
    world.prove(client, order)
    asked = csr(
        "b.example.org", (x509.DNSName("b.example.org"),), extensions=((x509.BasicConstraints(True, None), True),)
    )
    raw = x509.load_pem_x509_csr(asked).public_bytes(Encoding.DER)
    assert kind(client.finalize(order, request=raw)) == ("badCSR", 400)


def test_a_request_must_ask_for_what_was_ordered(world: World):
    client = world.client()
    order = client.order("a.example.org", "b.example.org")
    world.prove(client, order)
    wrong = {
        "a name more": client.csr("a.example.org", "b.example.org", "c.example.org"),
        "a name less": client.csr("a.example.org"),
        "another common name": x509.load_pem_x509_csr(csr("c.example.org", (x509.DNSName("a.example.org"), x509.DNSName("b.example.org")))).public_bytes(Encoding.DER),
        "an address": x509.load_pem_x509_csr(csr("", (x509.DNSName("a.example.org"), x509.DNSName("b.example.org"), x509.RFC822Name("a@example.org")))).public_bytes(Encoding.DER),
        "the key of the account": client.csr("a.example.org", "b.example.org", key=client.signer.private),
        "no request": b"nothing at all",
    }  # fmt: skip
    for why, raw in wrong.items():
        assert kind(client.finalize(order, request=raw)) == ("badCSR", 400), why
        assert client.post(order["Location"]).json()["status"] == "ready", why
    # A common name is a name too, as some clients write it.
    raw = x509.load_pem_x509_csr(csr("b.example.org", (x509.DNSName("a.example.org"),))).public_bytes(Encoding.DER)
    assert client.finalize(order, request=raw).json()["status"] == "processing"
    assert kind(client.finalize(order, request=raw)) == ("orderNotReady", 403)


def test_names_outside_the_rules_are_each_told(world: World):
    client = world.client()
    refused = client.order("a.example.org", "a.example.com", "b.example.net", "a_b.example.org")
    assert kind(refused) == ("rejectedIdentifier", 400)
    assert [item["identifier"]["value"] for item in refused.json()["subproblems"]] == [
        "a.example.com",
        "b.example.net",
        "a_b.example.org",
    ]
    assert kind(client.post("new-order", {"identifiers": [{"type": "email", "value": "a@example.org"}]})) == (
        "unsupportedIdentifier",
        400,
    )
    for wrong in ([], "a", [{"type": "dns"}], [1], [{"type": "dns", "value": "a.example.org"}] * 101):
        assert kind(client.post("new-order", {"identifiers": wrong})) == ("malformed", 400)
    assert kind(client.order("a.example.org", notAfter="2030-01-01T00:00:00Z")) == ("malformed", 400)
    world.rules(names=["sub.example.org"], wildcards=False)
    assert kind(client.order("a.example.org"))[0] == "rejectedIdentifier"
    assert kind(client.order("*.sub.example.org"))[0] == "rejectedIdentifier"
    assert client.order("a.sub.example.org").status_code == 201
    # Rules that change while an order is open bind it too.
    order = client.order("b.sub.example.org")
    world.prove(client, order)
    world.rules(names=["other.example.org"])
    assert kind(client.finalize(order, "b.sub.example.org"))[0] == "rejectedIdentifier"


def test_an_order_expires(world: World):
    client = world.client()
    early, late = client.order("a.example.org"), client.order("b.example.org")
    world.prove(client, late)
    before = timezone.now() - timedelta(seconds=1)
    AcmeOrder.objects.update(expires_at=before)
    AcmeAuthorization.objects.update(expires_at=before)
    assert kind(client.finalize(late, "b.example.org"))[1] == 403
    found = client.post(late["Location"]).json()
    assert (found["status"], found["error"]["detail"]) == ("invalid", "The order expired before it was finished.")
    assert client.post(early.json()["authorizations"][0]).json()["status"] == "expired"
    challenge = AcmeChallenge.objects.filter(state="pending")[0]
    assert kind(client.post(f"challenge/{challenge.pk}", {})) == ("malformed", 400)
    orders.tick()
    assert AcmeOrder.objects.get(pk=early["Location"][-36:]).state == "invalid"
    AcmeOrder.objects.update(expires_at=timezone.now() - orders.KEPT)
    orders.tick()
    assert not AcmeOrder.objects.exists()


def test_a_proof_counts_eight_hours(world: World):
    client = world.client()
    order = client.order("a.example.org")
    world.prove(client, order)
    left = AcmeOrder.objects.get(pk=order["Location"][-36:]).expires_at - timezone.now()
    assert timedelta(hours=7, minutes=59) < left <= timedelta(hours=8)


def test_a_client_gives_a_proof_up(world: World):
    client = world.client()
    order = client.order("a.example.org")
    url = order.json()["authorizations"][0]
    assert kind(client.post(url, {"status": "valid"})) == ("malformed", 400)
    assert client.post(url, {"status": "deactivated"}).json()["status"] == "deactivated"
    assert client.post(order["Location"]).json()["status"] == "invalid"
    assert kind(client.post(url, {"status": "deactivated"})) == ("malformed", 400)


def test_a_signer_that_is_away_ends_the_order(world: World, monkeypatch):
    from certificates.services import grants
    from keyvault_portal.errors import ProviderUnavailable

    def away(_):
        raise ProviderUnavailable("The HSM is away.")

    client = world.client()
    order = client.order("a.example.org")
    world.prove(client, order)
    monkeypatch.setattr(grants, "signs_here", lambda version: False)
    monkeypatch.setattr(grants, "signer", lambda version: away)
    assert client.finalize(order, "a.example.org").json()["status"] == "processing"
    found = client.post(order["Location"]).json()
    assert (found["status"], found["error"]["type"][-14:]) == ("invalid", "serverInternal")


def test_other_issuers_of_the_authority_are_other_chains(world: World):
    from certificates.services.grants import redeem_open
    from certificates.services.reading import pem
    from tests.certificates.conftest import make_authority

    other = make_authority(world.tree, "old-root")
    grant = bringing.cross_sign(
        actor=world.tree.officer, authority_id=other.pk, certificate=pem(world.authority.certificate), days=300, reason="For old clients."
    )  # fmt: skip
    crossed = redeem_open(grant.pk)
    client = world.client()
    row = world.issue(client, "a.example.org")
    url = client.url(f"certificate/{row.certificate_id}")
    usual = client.post(url)
    assert f'<{url}/1>;rel="alternate"' in usual["Link"]
    alternate = client.post(f"{url}/1")
    assert f'<{url}>;rel="alternate"' in alternate["Link"]
    assert x509.load_pem_x509_certificates(alternate.content)[1].serial_number == int(crossed.serial, 16)
    assert client.post(f"{url}/2").status_code == 404


def test_limits_say_when_to_come_again(world: World, monkeypatch):
    from certificates.acme import limits

    client = world.client()
    for name, number in (("order", 1), ("name", 1)):
        monkeypatch.setitem(limits.LIMITS, name, limits.Limit(number, 10**9, "things"))
        what = f"{name}.example.org"
        assert client.order(what).status_code == 201
        refused = client.order(what)
        assert kind(refused) == ("rateLimited", 429)
        assert int(refused["Retry-After"]) > 0
        monkeypatch.undo()
    monkeypatch.setitem(limits.LIMITS, "account", limits.Limit(0, 10**9, "things"))
    assert kind(world.client(registered=False).register()) == ("rateLimited", 429)
    monkeypatch.setitem(limits.LIMITS, "request", limits.Limit(0, 10**9, "things"))
    assert kind(client.http.get("/acme/servers/directory")) == ("rateLimited", 429)


def test_an_officer_ends_it(world: World):
    client = world.client()
    row = world.issue(client, "a.example.org")
    serving.revoke_account(actor=world.tree.officer, account_id=row.account_id, reason="Left the house.")
    assert kind(client.order("b.example.org")) == ("unauthorized", 403)
    serving.switch_server(actor=world.tree.officer, authority_id=world.authority.pk, enabled=False, reason="Holidays.")
    assert client.http.get("/acme/servers/directory").status_code == 404
    assert client.http.get("/acme/root/directory").status_code == 404
    row.certificate.refresh_from_db()
    assert row.certificate.state == "valid"
    assert json.loads(client.http.get("/acme/servers/new-nonce").content)["detail"] == "There is no such ACME server."
