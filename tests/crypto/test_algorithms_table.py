"""The table: unique stable codes, an implementation exercised for every row, standing enforced."""

import dataclasses

import pytest

from keys.crypto import keymaterial as km
from keys.crypto.algorithms import ALGORITHMS, BY_CODE, Kind, Operation, Standing, lookup, require
from keys.crypto.errors import CryptoError, DecryptFailed, InvalidKey, InvalidSignature, UnsupportedAlgorithm
from keys.crypto.secret import SecretBytes

CODES = {
    "AES-256-GCM": 0x01, "ChaCha20-Poly1305": 0x02, "XChaCha20-Poly1305": 0x03, "AES-256-GCM-SIV": 0x04,
    "AES-256-CBC-HMAC-SHA256": 0x05, "AES-256-KW": 0x08, "AES-256-KWP": 0x09, "RSA-2048-OAEP-SHA256": 0x10,
    "RSA-3072-OAEP-SHA256": 0x11, "RSA-4096-OAEP-SHA256": 0x12, "RSA-2048-PSS-SHA256": 0x13,
    "RSA-3072-PSS-SHA256": 0x14, "RSA-4096-PSS-SHA256": 0x15, "ECDSA-P256-SHA256": 0x20, "ECDSA-P384-SHA384": 0x21,
    "Ed25519": 0x22, "Ed448": 0x23, "ML-DSA-44": 0x28, "ML-DSA-65": 0x29, "ML-DSA-87": 0x2A,
    "X25519-HKDF-SHA256": 0x30, "ML-KEM-768": 0x38, "ML-KEM-1024": 0x39,
    "HPKE-X25519-HKDF-SHA256-AES-256-GCM": 0x40, "HPKE-MLKEM768-X25519-HKDF-SHA256-AES-256-GCM": 0x41,
    "HMAC-SHA256": 0x50, "HMAC-SHA512": 0x51,
}  # fmt: skip


def test_codes_never_move():
    assert {name: row.code for name, row in ALGORITHMS.items()} == CODES
    assert len(BY_CODE) == len(ALGORITHMS)


def _flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def _encrypt(name, private, public):
    sealed = km.encrypt(name, public, b"message", b"context")
    assert km.decrypt(name, private, sealed, b"context") == b"message"
    for blob, context in ((_flipped(sealed), b"context"), (sealed, b"other"), (sealed[:-1], b"context"), (b"", b"")):
        with pytest.raises(DecryptFailed, match=r"^decryption failed$"):
            km.decrypt(name, private, blob, context)


def _wrap(name, private, public):
    wrapped = km.wrap(name, public, SecretBytes(bytes(range(32))))
    assert km.unwrap(name, private, wrapped) == bytes(range(32))
    with pytest.raises(DecryptFailed):
        km.unwrap(name, private, _flipped(wrapped))


def _sign(name, private, public):
    signature = km.sign(name, private, b"message")
    km.verify(name, public, b"message", signature)
    with pytest.raises(InvalidSignature):
        km.verify(name, public, b"other", signature)


def _mac(name, private, public):
    tag = km.mac(name, private, b"message")
    km.verify_mac(name, private, b"message", tag)
    with pytest.raises(InvalidSignature):
        km.verify_mac(name, private, b"message", _flipped(tag))


def _encapsulate(name, private, public):
    secret, ciphertext = km.encapsulate(name, public)
    assert km.decapsulate(name, private, ciphertext) == secret
    assert km.decapsulate(name, private, _flipped(ciphertext)) != secret


def _derive(name, private, public):
    other = km.generate(name)
    assert km.derive(name, private, other.public, b"i") == km.derive(name, other.private, public, b"i")
    assert km.derive(name, private, other.public, b"i") != km.derive(name, private, other.public, b"j")


EXERCISES = {Operation.ENCRYPT: _encrypt, Operation.WRAP: _wrap, Operation.SIGN: _sign, Operation.MAC: _mac,
             Operation.ENCAPSULATE: _encapsulate, Operation.DERIVE: _derive}  # fmt: skip


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_row_works(name):
    row = ALGORITHMS[name]
    material = km.generate(name)
    assert (material.public is None) == row.symmetric
    public = material.private if material.public is None else material.public
    done = [
        EXERCISES[operation](name, material.private, public) for operation in row.operations if operation in EXERCISES
    ]
    assert done
    for operation in set(Operation) - row.operations:
        with pytest.raises(UnsupportedAlgorithm):
            require(name, operation)


def test_private_work_needs_the_private_key():
    material = km.generate("Ed25519")
    with pytest.raises(InvalidKey):
        km.sign("Ed25519", material.public, b"")
    with pytest.raises(InvalidKey):
        km.prepare("Ed448", material.private)
    with pytest.raises(InvalidKey):
        km.prepare("RSA-3072-PSS-SHA256", km.generate("RSA-2048-PSS-SHA256").private)
    with pytest.raises(InvalidKey):
        km.mac("HMAC-SHA512", km.prepare("HMAC-SHA256", SecretBytes(bytes(32))), b"")
    with pytest.raises(InvalidKey):
        km.encrypt("AES-256-GCM", SecretBytes(bytes(31)), b"")
    with pytest.raises(InvalidKey):
        km.prepare("Ed25519", SecretBytes(b"not DER"))


@pytest.mark.parametrize("name", ["AES-256-GCM", "RSA-2048-PSS-SHA256", "HMAC-SHA256", "ML-KEM-768"])
def test_legacy_protects_nothing_new_and_forbidden_does_nothing(name):
    legacy = dataclasses.replace(lookup(name), standing=Standing.LEGACY)
    protecting = {Operation.ENCRYPT, Operation.WRAP, Operation.SIGN, Operation.MAC, Operation.ENCAPSULATE}
    for operation in legacy.operations:
        assert legacy.allows(operation) == (operation not in protecting)
    with pytest.raises(UnsupportedAlgorithm):
        km.generate(legacy)
    forbidden = dataclasses.replace(legacy, standing=Standing.FORBIDDEN)
    assert not any(forbidden.allows(operation) for operation in Operation)


def test_legacy_still_opens_what_exists():
    row = lookup("AES-256-GCM")
    material = km.generate(row)
    sealed = km.encrypt(row, material.private, b"old")
    legacy = dataclasses.replace(row, standing=Standing.LEGACY)
    assert km.decrypt(legacy, material.private, sealed) == b"old"
    with pytest.raises(UnsupportedAlgorithm):
        km.encrypt(legacy, material.private, b"new")


def test_use_limits_and_horizons():
    assert ALGORITHMS["AES-256-GCM"].use_limit == 2**32
    assert all(row.use_limit for row in ALGORITHMS.values() if row.kind is Kind.AEAD)
    assert {name for name, row in ALGORITHMS.items() if row.acceptable_until} == {
        "RSA-2048-OAEP-SHA256", "RSA-2048-PSS-SHA256"}  # fmt: skip
    with pytest.raises(CryptoError):
        lookup("ROT-13")
