"""Requests that must not be believed, and what belongs to others."""

import base64
import json
from contextlib import suppress
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.cache import cache
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.acme import jose, nonces
from certificates.acme.errors import AcmeError
from certificates.acme.states import ACCOUNT_MOVES, AUTHORIZATION_MOVES, CHALLENGE_MOVES, ORDER_MOVES
from certificates.models import AcmeAccount, AcmeOrder
from keys.crypto.jwk import b64url
from tests.acme.conftest import Acme, Signer, World, jws, mac
from tests.acme.test_protocol import kind


def test_a_nonce_is_good_once(world: World):
    client = world.client()
    nonce = client.nonce()
    assert client.post(client.kid, nonce=nonce).status_code == 200
    refused = client.post(client.kid, nonce=nonce)
    assert kind(refused) == ("badNonce", 400)
    assert client.post(client.kid, nonce=refused["Replay-Nonce"]).status_code == 200
    forged = bytearray(base64.urlsafe_b64decode(nonce))  # 33 bytes, so there is no padding
    forged[-1] ^= 1
    for wrong in (b64url(b"x" * 33), b64url(b"short"), b64url(bytes(forged))):
        assert kind(client.post(client.kid, nonce=wrong)) == ("badNonce", 400)
    assert kind(client.post(client.kid, nonce="not base64!")) == ("malformed", 400)
    kept = client.nonce()
    with patch.object(nonces.time, "time", lambda: 10**10):
        assert kind(client.post(client.kid, nonce=kept)) == ("badNonce", 400)
    # A forged request takes nobody's nonce away.
    nonce = client.nonce()
    assert kind(client.post(client.kid, nonce=nonce, signer=Signer())) == ("malformed", 400)
    assert client.post(client.kid, nonce=nonce).status_code == 200
    # When the memory of used nonces is lost, every older nonce is worth nothing.
    kept = client.nonce()
    cache.clear()
    assert kind(client.post(client.kid, nonce=kept)) == ("badNonce", 400)


def asked(client, sign=None, **header):
    """What an order is told whose protected header has other members than it should, or another signature."""
    values = {"alg": "ES256", "kid": client.kid, "url": client.url("new-order"), "nonce": client.nonce()} | header
    values = {name: value for name, value in values.items() if value is not None}
    payload = {"identifiers": [{"type": "dns", "value": "a.example.org"}]}
    told = kind(client.send("new-order", json.dumps(jws(values, payload, sign or client.signer.sign))))
    assert AcmeOrder.objects.count() == 0
    return told


def test_no_algorithm_but_the_keys_own_is_believed_and_none_least_of_all(world: World):
    client = world.client()
    public = client.signer.private.public_key()
    spki = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert asked(client, alg="none", sign=lambda _: b"") == ("badSignatureAlgorithm", 400)
    assert asked(client, alg="HS256", sign=mac(spki)) == ("badSignatureAlgorithm", 400)  # the public key as a secret
    for name in ("RS512", "PS256", "ES512", "ES256K", None, 7, ["ES256"]):
        assert asked(client, alg=name) == ("badSignatureAlgorithm", 400), name
    assert asked(client, alg="ES384") == ("badSignatureAlgorithm", 400)  # on the list, but not this key's


def test_a_wrong_kid_is_nobodys_account(world: World):
    client = world.client()
    for wrong in (
        "x",
        client.kid + "x",
        client.kid[:-36] + str(world.authority.pk),
        client.kid.upper(),
        7,
        client.kid + "/",
    ):
        assert asked(client, kid=wrong) == ("accountDoesNotExist", 400), wrong
    # Another account's address with one's own key.
    assert asked(client, kid=world.client().kid) == ("malformed", 400)


def test_headers_that_are_not_believed(world: World):
    client, stranger = world.client(), Signer()
    assert asked(client, sign=stranger.sign) == ("malformed", 400)
    assert asked(client, sign=lambda _: b"\0" * 64) == ("malformed", 400)
    assert asked(client, sign=lambda message: client.signer.sign(message) + b"\0") == ("malformed", 400)
    assert asked(client, url=client.url("new-account")) == ("unauthorized", 403)
    assert asked(client, url=None) == ("unauthorized", 403)
    assert asked(client, nonce=None) == ("malformed", 400)
    assert asked(client, jwk=client.signer.jwk) == ("malformed", 400)  # both
    assert asked(client, kid=None) == ("malformed", 400)  # neither
    assert asked(client, kid=None, jwk=client.signer.jwk) == ("malformed", 400)  # this one wants an account
    assert asked(client, crit=["exp"]) == ("malformed", 400)
    assert asked(client, b64=False) == ("malformed", 400)
    assert kind(client.post("new-account", {}, jwk=False)) == ("malformed", 400)  # this one wants a key
    assert AcmeOrder.objects.count() == 0


def test_bodies_that_are_not_read(world: World):
    client = world.client()
    right = jws(
        {"alg": "ES256", "kid": client.kid, "url": client.kid, "nonce": client.nonce()}, b"", client.signer.sign
    )
    what = client.kid
    assert kind(client.send(what, json.dumps(right), "application/json")) == ("malformed", 415)
    assert kind(client.send(what, "x" * 70_000)) == ("malformed", 413)
    for wrong in (
        "", "[]", "nothing", "[" * 50_000, json.dumps(right | {"header": {}}), json.dumps({**right, "payload": 1}),
        json.dumps({**right, "signature": right["signature"] + "="}), json.dumps({**right, "protected": "e30"}),
        '{"protected":"","protected":"","payload":"","signature":""}', json.dumps({"payload": "", "signatures": [right]}), "\xff\0",
    ):  # fmt: skip
        answer = client.send(what, wrong)
        assert kind(answer)[0] in {"malformed", "badSignatureAlgorithm"}, wrong[:60]
        assert answer["Replay-Nonce"]
    assert client.send(what, json.dumps(right)).status_code == 200
    assert client.http.get(client.kid.removeprefix("http://localhost:8000")).status_code == 405


def test_keys_that_are_not_taken(world: World):
    client = world.client(registered=False)
    good = Signer("RS256").jwk
    p, q = (rsa.generate_private_key(65537, 2048).private_numbers().p for _ in "pq")
    weak = {"kty": "RSA", "e": "AQAB", "n": b64url((p >> 600).to_bytes(128) if p else b"")}
    wrong = {
        "private": client.signer.jwk | {"d": "AAAA"}, "a secret": {"kty": "oct", "k": "AAAA"}, "weak": weak,
        "exponent 3": good | {"e": "Aw"}, "a leading zero": good | {"n": b64url(b"\0" + (p * q).to_bytes(256))},
        "off the curve": client.signer.jwk | {"x": client.signer.jwk["y"]}, "another curve": client.signer.jwk | {"crv": "P-521"},
        "X25519": {"kty": "OKP", "crv": "X25519", "x": "A" * 43}, "no string": client.signer.jwk | {"x": 7}, "nothing": {}, "a list": [],
    }  # fmt: skip
    for why, jwk in wrong.items():
        values = {"alg": "ES256", "jwk": jwk, "url": client.url("new-account"), "nonce": client.nonce()}
        assert kind(client.send("new-account", json.dumps(jws(values, {}, client.signer.sign)))) == (
            "badPublicKey",
            400,
        ), why
    assert not AcmeAccount.objects.exists()


def test_what_belongs_to_another_account_does_not_exist(world: World):
    mine, other = world.client(), world.client()
    row = world.issue(mine, "a.example.org")
    order = mine.order("b.example.org")
    challenge = mine.challenge(order, "dns-01")
    authorization = order.json()["authorizations"][0]
    resources = [
        (order["Location"], b""), (order.json()["finalize"], {"csr": b64url(mine.csr("b.example.org"))}), (authorization, b""),
        (authorization, {"status": "deactivated"}), (challenge["url"], b""), (challenge["url"], {}),
        (f"certificate/{row.certificate_id}", b""),
    ]  # fmt: skip
    for what, payload in resources:
        assert kind(other.post(what, payload)) == ("malformed", 404), what
    for what, payload in ((mine.kid, b""), (mine.kid, {"status": "deactivated"}), (mine.kid + "/orders", b"")):
        assert kind(other.post(what, payload)) == ("unauthorized", 403), what
    # POST-as-GET only.
    for what in (order["Location"], mine.kid + "/orders", f"certificate/{row.certificate_id}"):
        assert kind(mine.post(what, {})) == ("malformed", 400), what
    assert mine.post(order["Location"]).json()["status"] == "pending"


def test_another_server_s_account_is_none_here(world: World):
    from certificates.acme.services import serving
    from tests.certificates.conftest import make_authority

    second = make_authority(
        world.tree, "second", world.root, profiles=["server"], names={"dns": ["example.org"]}, path_length=0
    )
    rules = serving.Rules(profiles=["server"], external_account_required=False)
    serving.save_server(actor=world.tree.officer, authority_id=second.pk, rules=rules)
    client = world.client()
    order = client.order("a.example.org")
    there = Acme(world.capture, name="second", signer=client.signer, kid=client.kid)
    assert kind(there.post("new-order", {})) == ("accountDoesNotExist", 400)
    there.kid = client.kid.replace("/servers/", "/second/")
    assert kind(there.post("new-order", {})) == ("accountDoesNotExist", 400)
    there.kid = ""
    there.register()
    assert there.kid != client.kid
    assert kind(there.post(f"order/{order['Location'][-36:]}")) == ("malformed", 404)


_KEY = Signer("ES256", ec.derive_private_key(7, ec.SECP256R1()))
_PUBLIC = jose.public_key(_KEY.jwk)
_RIGHT = json.dumps(jws({"alg": "ES256", "jwk": _KEY.jwk, "url": "u", "nonce": "n"}, {"a": 1}, _KEY.sign)).encode()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_request_never_verifies(data):
    """Whatever is changed, the reader refuses with one of its errors, or what was signed is still the same."""
    raw = bytearray(_RIGHT)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(AcmeError):
        found = jose.parse(bytes(raw))
        jose.verify(found, jose.public_key(found.header.get("jwk")))
        assert jose.parse(_RIGHT).signed == found.signed


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "protected", "payload", "signature"]), inner, max_size=5),
        max_leaves=8,
    )
)  # fmt: skip
def test_noise_is_refused(value):
    for read in (jose.public_key, lambda found: jose.parse(json.dumps(found).encode())):
        with pytest.raises(AcmeError):
            read(value)


@pytest.mark.parametrize("text", ["QR", "QQ==", "Q", "Q Q", "Q+", "é", None, 7])
def test_bytes_have_one_spelling(text):
    assert jose.decode("QQ", "nonce") == b"A"
    with pytest.raises(AcmeError):
        jose.decode(text, "nonce")


def test_no_state_is_left_once_it_ended():
    for moves in (ACCOUNT_MOVES, ORDER_MOVES, AUTHORIZATION_MOVES, CHALLENGE_MOVES):
        assert set(moves) == set(type(next(iter(moves))))
        ends = {state.value for state, after in moves.items() if not after}
        assert ends <= {"deactivated", "revoked", "valid", "invalid", "expired"}
        assert ends


def test_the_database_keeps_the_states(world: World):
    from django.db import IntegrityError, transaction

    from certificates.models import AcmeAuthorization, AcmeChallenge

    client = world.client()
    client.order("a.example.org")
    for rows, wrong in (
        (AcmeOrder, {"state": "valid"}), (AcmeOrder, {"state": "processing"}), (AcmeOrder, {"state": "nothing"}),
        (AcmeAuthorization, {"state": "valid"}), (AcmeChallenge, {"state": "valid"}), (AcmeChallenge, {"state": "processing"}),
        (AcmeAccount, {"state": "nothing"}),
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.objects.update(**wrong)
