"""How a key travels between two parties, wrapped for a public key that only the receiver can open.

RSA-OAEP: the key itself under RSAES-OAEP with SHA-256 (RFC 8017, 7.1). RSA-AES-KW: a fresh AES-256 key under OAEP, then the
key under that one by RFC 5649 (PKCS#11 v3.0, 6.1.29, CKM_RSA_AES_KEY_WRAP). HPKE: RFC 9180, base mode, X25519, HKDF-SHA256, AES-256-GCM.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, x25519
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_public_key

from keys.crypto.errors import DecryptFailed, InvalidKey
from keys.crypto.hpke import X25519_SUITE
from keys.crypto.keyforms import KeyMaterial, load_public_key, pkcs8, spki
from keys.crypto.keywrap import unwrap_key, wrap_key
from keys.crypto.secret import SecretBytes

KEK_BYTES = 32
_RSA_BITS = (2048, 3072, 4096, 8192)


class Method(StrEnum):
    """How the key is wrapped for its receiver."""

    RSA_OAEP = "rsa_oaep"
    RSA_AES_KW = "rsa_aes_kw"
    # What Azure's HSMs and older tokens take: as before, with SHA-1 inside OAEP, where it is sound (SP 800-131A rev. 2, 9).
    RSA_AES_KW_SHA1 = "rsa_aes_kw_sha1"
    HPKE_X25519 = "hpke_x25519"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A public key that keys may be wrapped for; `fingerprint` is the SHA-256 of its SPKI in hexadecimal."""

    spki: bytes
    words: str
    fingerprint: str
    methods: frozenset[Method]


def oaep(digest: hashes.HashAlgorithm) -> padding.OAEP:
    """OAEP with one hash for label and mask, and no label."""
    return padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)


def rsa_aes_wrap(receiver: rsa.RSAPublicKey, material: SecretBytes, digest: hashes.HashAlgorithm) -> bytes:
    """A fresh AES-256 key under RSA-OAEP (`digest` for label and MGF1), then the material under that key (RFC 5649)."""
    passing = secrets.token_bytes(KEK_BYTES)
    return receiver.encrypt(passing, oaep(digest)) + aes_key_wrap_with_padding(passing, material.reveal())


def wrap_for_offer(public_key: bytes, method: str, material: SecretBytes) -> bytes:
    """The key wrapped as a provider's offer asks for (`public_key` in SPKI DER); raises InvalidKey for another kind of offer."""
    public = load_public_key(public_key)
    if not isinstance(public, rsa.RSAPublicKey) or method not in _OFFERED:
        raise InvalidKey("a provider's wrapping key is an RSA key")
    digest = _OFFERED[Method(method)]()
    if method == Method.RSA_OAEP:
        return public.encrypt(material.reveal(), oaep(digest))
    return rsa_aes_wrap(public, material, digest)


_OFFERED: dict[Method, Callable[[], hashes.HashAlgorithm]] = {
    Method.RSA_OAEP: hashes.SHA256, Method.RSA_AES_KW: hashes.SHA256, Method.RSA_AES_KW_SHA1: hashes.SHA1,
}  # fmt: skip


def new_receiver(method: Method) -> KeyMaterial:
    """A one-time key pair to receive a key: RSA-4096, or X25519 for HPKE."""
    if method is Method.HPKE_X25519:
        curve = x25519.X25519PrivateKey.generate()
        return KeyMaterial(SecretBytes(pkcs8(curve)), spki(curve.public_key()))
    pair = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    return KeyMaterial(SecretBytes(pkcs8(pair)), spki(pair.public_key()))


def receiver_of(given: bytes) -> Receiver:
    """Read a receiver's public key, PEM or DER; raises InvalidKey unless it is RSA of 2048 bits or more, or X25519."""
    try:
        key: Any = load_pem_public_key(given) if given.lstrip().startswith(b"-----") else load_public_key(given)
    except (ValueError, TypeError):
        raise InvalidKey("not a public key") from None
    der = spki(key)
    print_ = hashlib.sha256(der).hexdigest()
    if isinstance(key, x25519.X25519PublicKey):
        return Receiver(der, "X25519", print_, frozenset({Method.HPKE_X25519}))
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        return Receiver(der, f"RSA-{key.key_size}", print_, frozenset({Method.RSA_AES_KW}))
    raise InvalidKey("keys are wrapped for RSA keys of 2048, 3072, 4096 or 8192 bits and for X25519 keys")


def wrap_for(receiver: Receiver, method: Method, material: SecretBytes) -> bytes:
    """The key wrapped for its receiver; raises InvalidKey if the receiver's key does not take the method."""
    if method not in receiver.methods:
        raise InvalidKey(f"{receiver.words} does not take {method}")
    public = load_public_key(receiver.spki)
    if method is Method.HPKE_X25519:
        return X25519_SUITE.encrypt(public, material.reveal(), b"")
    return rsa_aes_wrap(public, material, hashes.SHA256())


def join_wrapped(receiver: Receiver, kek: SecretBytes, wrapped: bytes) -> bytes:
    """RSA-AES-KW out of a key that somebody else wrapped under `kek` by RFC 5649; the material is never seen here."""
    public = load_public_key(receiver.spki)
    return bytes(public.encrypt(kek.reveal(), oaep(hashes.SHA256()))) + wrapped


def unwrap_from(private: SecretBytes, method: Method, sent: bytes) -> SecretBytes:
    """What was wrapped for the key pair of `private` (PKCS#8); raises DecryptFailed whatever is wrong with it."""
    # A pair of our own, as `new_receiver` made it: its primes need no second proof, which takes longer than all the rest.
    key: Any = load_der_private_key(private.reveal(), None, unsafe_skip_rsa_key_validation=True)
    if method is Method.HPKE_X25519:
        return _not_empty(X25519_SUITE.decrypt(key, sent, b""))
    size = key.key_size // 8
    try:
        first = key.decrypt(sent[:size] if method is Method.RSA_AES_KW else sent, oaep(hashes.SHA256()))
    except ValueError:
        raise DecryptFailed from None
    if method is Method.RSA_OAEP:
        return _not_empty(first)
    if len(first) != KEK_BYTES:
        raise DecryptFailed
    return unwrap_key("AES-256-KWP", first, sent[size:], {})


def wrap_under(kek: SecretBytes, material: SecretBytes) -> bytes:
    """The key under an AES-256 key by RFC 5649."""
    return wrap_key("AES-256-KWP", kek, material, {})


def unwrap_under(kek: SecretBytes, wrapped: bytes) -> SecretBytes:
    """Undo `wrap_under`; raises DecryptFailed, InvalidKey for a wrapping key of another size."""
    return unwrap_key("AES-256-KWP", kek, wrapped, {})


def _not_empty(clear: bytes) -> SecretBytes:
    if not clear:
        raise DecryptFailed
    return SecretBytes(clear)
