"""Published vectors, valid and invalid, for signatures, RSA-OAEP, X25519, ML-KEM, ML-DSA and HPKE."""

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.bindings._rust import openssl as rust
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from keys.crypto import keymaterial as km
from keys.crypto.agreement import _LABEL
from keys.crypto.errors import CryptoError, DecryptFailed, InvalidKey, InvalidSignature
from keys.crypto.kdf import hkdf
from keys.crypto.keyforms import pkcs8, spki
from keys.crypto.secret import SecretBytes

VECTORS = Path(__file__).parent.parent / "vectors"
ML_DSA = {
    "ML-DSA-44": mldsa.MLDSA44PrivateKey,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey,
}
ML_KEM = {"ML-KEM-768": mlkem.MLKEM768PrivateKey, "ML-KEM-1024": mlkem.MLKEM1024PrivateKey}


def load(name):
    return json.loads((VECTORS / name).read_text())


def cases(name):
    return [(alg, case) for alg, section in load(name)["sections"].items() for case in section["tests"]]


def raw(case, *names):
    return [bytes.fromhex(case[name]) for name in names]


@pytest.mark.parametrize(("algorithm", "case"), cases("wycheproof_signatures.json") + cases("wycheproof_mldsa.json"))
def test_wycheproof_signatures(algorithm, case):
    msg, sig = raw(case, "msg", "sig")
    public = bytes.fromhex(case["publicKeyDer"]) if case.get("publicKeyDer") else b""
    if case["result"] == "valid":
        km.verify(algorithm, public, msg, sig)
        with pytest.raises(InvalidSignature):
            km.verify(algorithm, public, msg + b"x", sig)
    else:
        with pytest.raises((InvalidSignature, InvalidKey)):
            km.verify(algorithm, public, msg, sig)


def test_rfc_8032_signatures_are_reproduced():
    for case in load("rfc8032.json")["tests"]:
        seed, public, msg, sig = raw(case, "seed", "public", "msg", "sig")
        key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        assert key.public_key().public_bytes_raw() == public
        assert km.sign("Ed25519", SecretBytes(pkcs8(key)), msg) == sig


@pytest.mark.parametrize(("algorithm", "case"), cases("wycheproof_rsa_oaep.json"))
def test_wycheproof_rsa_oaep(algorithm, case):
    msg, ct, label = raw(case, "msg", "ct", "label")
    private = SecretBytes(bytes.fromhex(case["privateKeyPkcs8"]))
    if case["result"] == "valid":
        assert km.decrypt(algorithm, private, ct, label) == msg
    else:
        with pytest.raises(DecryptFailed, match=r"^decryption failed$"):
            km.decrypt(algorithm, private, ct, label)


@pytest.mark.parametrize(("algorithm", "case"), cases("wycheproof_x25519.json"))
def test_wycheproof_x25519(algorithm, case):
    public, private, shared = raw(case, "public", "private", "shared")
    key, peer = x25519.X25519PrivateKey.from_private_bytes(private), x25519.X25519PublicKey.from_public_bytes(public)
    material = SecretBytes(pkcs8(key))
    if any(shared):
        low, high = sorted((key.public_key().public_bytes_raw(), peer.public_bytes_raw()))
        expected = hkdf(b"", shared, _LABEL + low + high + b"info", 32)
        assert km.derive(algorithm, material, spki(peer), b"info") == expected
    else:
        with pytest.raises(InvalidKey):
            km.derive(algorithm, material, spki(peer), b"info")


@pytest.mark.parametrize(("algorithm", "case"), cases("wycheproof_mlkem.json"))
def test_wycheproof_mlkem(algorithm, case):
    seed, ciphertext = raw(case, "seed", "c")
    try:
        material = SecretBytes(pkcs8(ML_KEM[algorithm].from_seed_bytes(seed)))
    except ValueError:
        assert case["result"] == "invalid"
        return
    if case["result"] == "valid":
        assert km.decapsulate(algorithm, material, ciphertext) == bytes.fromhex(case["K"])
    else:
        with pytest.raises(DecryptFailed):
            km.decapsulate(algorithm, material, ciphertext)


@pytest.mark.parametrize("algorithm", sorted(ML_KEM))
def test_fips_203_known_answers(algorithm):
    for case in load("fips203_kat.json")["sections"][algorithm]:
        d, z, good, shared, bad, rejected = raw(case, "d", "z", "ct", "ss", "ct_n", "ss_n")
        key = ML_KEM[algorithm].from_seed_bytes(d + z)
        assert hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest() == case["pk_sha256"]
        material = km.prepare(algorithm, SecretBytes(pkcs8(key)))
        assert km.decapsulate(algorithm, material, good) == shared
        assert km.decapsulate(algorithm, material, bad) == rejected


@pytest.mark.parametrize("algorithm", sorted(ML_DSA))
def test_fips_204_known_answers(algorithm):
    for case in load("fips204_kat.json")["sections"][algorithm]:
        xi, msg, signed, context = raw(case, "xi", "msg", "sm", "ctx")
        key = km.prepare(algorithm, SecretBytes(pkcs8(ML_DSA[algorithm].from_seed_bytes(xi))))
        assert hashlib.sha256(key.public.public_bytes_raw()).hexdigest() == case["pk_sha256"]
        signature = signed[: len(signed) - len(msg)]
        key.public.verify(signature, msg, context)
        with pytest.raises(InvalidSignature):
            km.verify(algorithm, key, msg, signature)


def test_rfc_9180_base_mode():
    case = load("hpke.json")["x25519"]
    info, private, public, enc, aad, ct, pt = raw(case, "info", "skRm", "pkRm", "enc", "aad", "ct", "pt")
    name = "HPKE-X25519-HKDF-SHA256-AES-256-GCM"
    key = km.prepare(name, SecretBytes(pkcs8(x25519.X25519PrivateKey.from_private_bytes(private))))
    assert key.public.public_bytes_raw() == public
    # The vector has an aad; the one-shot API of ours keeps it empty, so the same suite is asked directly.
    suite = key.algorithm.implementation._suite
    assert rust.hpke._decrypt_with_aad(suite, enc + ct, key.private, info, aad) == pt
    with pytest.raises(DecryptFailed):
        km.decrypt(name, key, enc + ct, info)


def test_hybrid_hpke_key_form_opens_the_draft_vector():
    case = load("hpke.json")["hybrid"]
    info, seed, public, enc, aad, ct, pt = raw(case, "info", "skRm", "pkRm", "enc", "aad", "ct", "pt")
    parts = hashlib.shake_256(seed).digest(96)
    name = "HPKE-MLKEM768-X25519-HKDF-SHA256-AES-256-GCM"
    key = km.prepare(name, SecretBytes(parts))
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    assert rust.hpke._decrypt_with_aad(suite, enc + ct, key.private, info, aad) == pt
    sealed = km.encrypt(name, public, b"to the draft's public key", b"info")
    assert km.decrypt(name, key, sealed, b"info") == b"to the draft's public key"


def test_a_broken_public_key_is_an_error_of_ours():
    for broken in (b"", b"\x30\x00", bytes(91)):
        with pytest.raises(CryptoError):
            km.verify("ECDSA-P256-SHA256", broken, b"", b"")
