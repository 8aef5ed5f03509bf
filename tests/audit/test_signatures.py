"""The verifier's own arithmetic against Project Wycheproof, and against the library that signs."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from keyvault_portal.audit.evidence.signatures import ed25519_verify, jwk_verify, p256_verify, rsa_verify, unbase64

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/wycheproof_signatures.json").read_text())["sections"]


def cases(section):
    return [pytest.param(case, id=str(case["tcId"])) for case in VECTORS[section]["tests"]]


@pytest.mark.parametrize("case", cases("ECDSA-P256-SHA256"))
def test_p256(case):
    point = bytes.fromhex(case["publicKeyDer"])[-64:]
    x, y = int.from_bytes(point[:32], "big"), int.from_bytes(point[32:], "big")
    message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
    assert p256_verify(x, y, message, signature) is (case["result"] == "valid")


@pytest.mark.parametrize("case", cases("Ed25519"))
def test_ed25519(case):
    public = bytes.fromhex(case["publicKeyDer"])[-32:]
    assert ed25519_verify(public, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])) is (case["result"] == "valid")


def test_points_off_the_curve_and_numbers_out_of_range_are_refused():
    assert not p256_verify(1, 1, b"", bytes.fromhex("3006020101020101"))
    assert not p256_verify(2**256, 0, b"", bytes.fromhex("3006020101020101"))


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


def test_rsa(rsa_key):
    numbers = rsa_key.public_key().public_numbers()
    good = rsa_key.sign(b"act", padding.PKCS1v15(), hashes.SHA256())
    assert rsa_verify(numbers.n, numbers.e, b"act", good)
    assert not rsa_verify(numbers.n, numbers.e, b"acts", good)
    for wrong in (
        good[:-1],
        bytes([good[0] ^ 1]) + good[1:],
        b"\0" + good,
        rsa_key.sign(b"act", padding.PKCS1v15(), hashes.SHA512()),
        rsa_key.sign(b"act", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
    ):
        assert not rsa_verify(numbers.n, numbers.e, b"act", wrong)
    assert not rsa_verify(3 * 2**1000, 3, b"act", bytes(126))  # a short modulus


@pytest.mark.parametrize(
    "jwk",
    [{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}, {"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "oct"}],
)
def test_other_kinds_of_keys_verify_nothing(jwk):
    assert not jwk_verify(jwk, b"", b"")


def test_base64_of_either_alphabet():
    assert unbase64("-_8") == unbase64("+/8=") == b"\xfb\xff"
    with pytest.raises(ValueError, match=r"."):
        unbase64("a b")
