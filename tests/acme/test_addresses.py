"""IP addresses as identifiers (RFC 8738): ordered, proved where they are, certified; never by DNS and never unasked."""

from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.acme.services import serving
from keys.crypto.jwk import b64url
from keyvault_portal.errors import ValidationFailed
from tests.acme.conftest import World
from tests.certificates.requests import csr

HERE = "127.0.0.1"


@pytest.fixture
def addressed(world: World) -> World:
    """The authority may certify loopback, and the server leaves it to the authority."""
    authority = world.authority
    authority.names |= {"ip": ["127.0.0.0/8", "10.0.0.0/8"]}
    authority.save(update_fields=["names"])
    world.server.refresh_from_db()
    return world


def ordered(client, *names, **more):
    identifiers = [{"type": "dns" if name[-1].isalpha() else "ip", "value": name} for name in names]
    return client.post("new-order", {"identifiers": identifiers} | more)


def request(*names):
    made = csr(
        "", tuple(x509.IPAddress(ip_address(name)) if name[-1].isdigit() else x509.DNSName(name) for name in names)
    )
    return x509.load_pem_x509_csr(made).public_bytes(Encoding.DER)


def test_an_address_is_proved_by_http_and_certified(addressed: World):
    client = addressed.client()
    order = ordered(client, HERE)
    assert order.status_code == 201, order.content
    assert order.json()["identifiers"] == [{"type": "ip", "value": HERE}]
    found = client.post(order.json()["authorizations"][0]).json()
    assert found["identifier"] == {"type": "ip", "value": HERE}
    assert sorted(item["type"] for item in found["challenges"]) == ["http-01", "tls-alpn-01"]  # RFC 8738, 7
    challenge = client.challenge(order, "http-01")
    path = f"/.well-known/acme-challenge/{challenge['token']}"
    addressed.web.pages[path] = client.authorization_of(challenge["token"]).encode()
    client.post(challenge["url"], {})
    assert client.post(order["Location"]).json()["status"] == "ready"
    assert not [asked for asked in addressed.zone.asked if HERE in asked[0]]  # neither an address nor CAA is looked up
    assert client.finalize(order, request=request("127.0.0.2")).json()["type"].endswith("badCSR")
    assert client.finalize(order, request=request("127.0.0.1.example.org")).json()["type"].endswith("badCSR")
    assert client.finalize(order, request=request(HERE)).status_code == 200
    done = client.post(order["Location"]).json()
    leaf = x509.load_pem_x509_certificate(client.post(done["certificate"]).content)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.IPAddress(ip_address(HERE))]
    raw = b64url(leaf.public_bytes(Encoding.DER))
    assert client.post("revoke-cert", {"certificate": raw}).status_code == 200


def test_an_address_and_a_name_together(addressed: World):
    client = addressed.client()
    order = ordered(client, "a.example.org", HERE)
    for number in range(2):
        url = order.json()["authorizations"][number]
        value = client.post(url).json()["identifier"]["value"]
        addressed.zone[("a.example.org", "A")] = [HERE]
        challenge = client.challenge(order, "http-01", number)
        path = f"/.well-known/acme-challenge/{challenge['token']}"
        addressed.web.pages[path] = client.authorization_of(challenge["token"]).encode()
        client.post(challenge["url"], {})
        assert client.post(url).json()["status"] == "valid", value
    assert client.finalize(order, request=request("a.example.org", HERE)).status_code == 200
    assert client.post(order["Location"]).json()["status"] == "valid"


@pytest.mark.parametrize(
    ("identifier", "kind"),
    [
        ({"type": "ip", "value": "192.0.2.1"}, "rejectedIdentifier"), ({"type": "ip", "value": "example.org"}, "malformed"),
        ({"type": "dns", "value": HERE}, "malformed"), ({"type": "ip", "value": "127.0.0.01"}, "malformed"),
        ({"type": "ip", "value": "127.0.0.0/8"}, "malformed"), ({"type": "ip", "value": "2001:DB8::0001"}, "malformed"),
        ({"type": "ip", "value": "::1"}, "rejectedIdentifier"), ({"type": "email", "value": "a@example.org"}, "unsupportedIdentifier"),
    ],
)  # fmt: skip
def test_what_is_no_address_of_ours(addressed: World, identifier, kind):
    answer = addressed.client().post("new-order", {"identifiers": [identifier]})
    assert answer.json()["type"].endswith(":" + kind), answer.content


def test_addresses_are_served_only_where_rules_name_them(world: World, addressed: World):
    client = world.client()
    assert ordered(client, HERE).status_code == 201
    world.rules(names=["example.org"])
    assert ordered(client, HERE).json()["type"].endswith("rejectedIdentifier")
    world.rules(names=["example.org", "127.0.0.0/16"])
    assert world.server.name_rules.ip == ("127.0.0.0/16",)
    assert serving.Rules.of(world.server).names == ["example.org", "127.0.0.0/16"]
    assert (ordered(client, HERE).status_code, ordered(client, "127.1.0.1").status_code) == (201, 400)
    world.rules(names=["127.0.0.0/16"])  # then nothing else
    assert (ordered(client, HERE).status_code, ordered(client, "127.1.0.1").status_code) == (201, 400)
    assert ordered(client, "a.example.org").json()["type"].endswith("rejectedIdentifier")
    world.rules(challenges=["dns-01"])
    assert "dns-01" in ordered(client, HERE).json()["detail"]
    with pytest.raises(ValidationFailed) as refused:
        world.rules(names=["192.0.2.0/24"])
    assert "outside" in refused.value.errors["names"][0]
    with pytest.raises(ValidationFailed):
        world.rules(names=["0.0.0.0/0"])


def test_without_a_rule_for_addresses_there_are_none(world: World):
    assert ordered(world.client(), HERE).json()["type"].endswith("rejectedIdentifier")
