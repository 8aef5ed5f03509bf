"""JOSE forms against the RFC examples, and use-limit arithmetic."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from keys.crypto import jwk, keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.budget import Budget, for_collision_bound
from keys.crypto.errors import InvalidSignature, LimitExceeded, UnsupportedAlgorithm
from keys.crypto.keyforms import spki

RFC_7638_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst"
    "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr"
    "n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)


def number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_rfc_7638_thumbprint():
    public = spki(rsa.RSAPublicNumbers(65537, number(RFC_7638_N)).public_key())
    key = jwk.public_jwk("RSA-2048-PSS-SHA256", public, "2011-04-29")
    assert key == {"kty": "RSA", "n": RFC_7638_N, "e": "AQAB", "alg": "PS256", "use": "sig", "kid": "2011-04-29"}
    assert jwk.thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_rfc_8037_a_2_and_a_3():
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    public = spki(ed25519.Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=")))
    key = jwk.public_jwk("Ed25519", public, "k")
    assert key == {"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig", "kid": "k"}
    assert jwk.thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_rfc_7517_a_1_curve_key():
    x, y = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
    public = spki(ec.EllipticCurvePublicNumbers(number(x), number(y), ec.SECP256R1()).public_key())
    key = jwk.public_jwk("ECDSA-P256-SHA256", public, "1")
    assert key == {"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig", "kid": "1"}


@pytest.mark.parametrize("name", [name for name, row in ALGORITHMS.items() if not row.symmetric and "RSA" not in name])
def test_every_public_key_has_a_jwk_or_a_clear_refusal(name):
    public = keymaterial.generate(name).public
    assert len(jwk.fingerprint(public)) == 64
    if ALGORITHMS[name].kind in {Kind.KEM, Kind.HPKE}:
        with pytest.raises(UnsupportedAlgorithm):
            jwk.public_jwk(name, public, "k")
    else:
        key = jwk.public_jwk(name, public, "k")
        assert key["alg"] == ALGORITHMS[name].jose
        assert len(jwk.thumbprint(key)) == 43


def test_symmetric_keys_have_no_public_form():
    with pytest.raises(UnsupportedAlgorithm):
        jwk.public_jwk("HMAC-SHA256", bytes(32), "k")
    with pytest.raises(UnsupportedAlgorithm):
        jwk.thumbprint({"kty": "oct"})


@pytest.mark.parametrize(("name", "size"), [("ECDSA-P256-SHA256", 64), ("ECDSA-P384-SHA384", 96), ("Ed25519", 64)])
def test_jose_signatures(name, size):
    material = keymaterial.generate(name)
    signature = keymaterial.sign(name, material.private, b"m")
    fixed = jwk.jose_signature(name, signature)
    assert len(fixed) == size
    assert jwk.from_jose_signature(name, fixed) == signature
    if name.startswith("ECDSA"):
        with pytest.raises(InvalidSignature):
            jwk.from_jose_signature(name, fixed[:-1])


@given(st.integers(0, 2**40), st.integers(1, 2**32), st.integers(0, 2**33))
def test_budget_never_passes_its_limit(used, limit, wanted):
    budget = Budget(used, limit)
    lease = budget.lease(wanted)
    assert 0 <= lease <= wanted
    if used <= limit:
        assert budget.spend(lease).used <= limit
        assert lease == wanted or budget.spend(lease).remaining == 0
    if used + wanted > limit:
        with pytest.raises(LimitExceeded):
            budget.spend(wanted)


def test_budget_shares_and_projection():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    budget = Budget(25, 100)
    assert budget.share == 0.25
    assert not budget.rotate_soon
    assert Budget(50, 100).rotate_soon
    assert Budget(80, 100).rotate_now
    assert budget.exhausted_at(start, start + timedelta(days=1)) == start + timedelta(days=4)
    assert Budget(100, 100).exhausted_at(start, start + timedelta(days=1)) == start + timedelta(days=1)
    for never in (Budget(0, 100), Budget(5, None), Budget(1, 2**80)):
        assert never.exhausted_at(start, start + timedelta(days=1)) is None
    unlimited = Budget(2**70, None)
    assert (unlimited.share, unlimited.remaining, unlimited.lease(7)) == (0.0, None, 7)
    assert unlimited.spend(1).used == 2**70 + 1
    with pytest.raises(ValueError, match="negative"):
        budget.spend(-1)


def test_collision_bound_gives_the_limits_of_the_table():
    assert for_collision_bound(96) == ALGORITHMS["AES-256-GCM"].use_limit
    assert for_collision_bound(192) == ALGORITHMS["XChaCha20-Poly1305"].use_limit
