"""Key derivation: HKDF (RFC 5869) and one-HMAC keys per message (NIST SP 800-108 in one block)."""

import hmac

from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from keys.crypto.errors import LimitExceeded

_HASHES: dict[str, type[HashAlgorithm]] = {"sha256": SHA256, "sha384": SHA384, "sha512": SHA512}
_MESSAGE_LABEL = b"message key and commitment"


def hkdf_extract(salt: bytes, material: bytes, hash_name: str = "sha256") -> bytes:
    """Return the pseudorandom key (RFC 5869, 2.2)."""
    return HKDF.extract(_HASHES[hash_name](), salt, material)


def hkdf_expand(prk: bytes, info: bytes, length: int, hash_name: str = "sha256") -> bytes:
    """Return `length` bytes (RFC 5869, 2.3); raises LimitExceeded over 255 hash lengths."""
    try:
        return HKDFExpand(_HASHES[hash_name](), length, info).derive(prk)
    except ValueError:
        raise LimitExceeded("HKDF yields at most 255 blocks") from None


def hkdf(salt: bytes, material: bytes, info: bytes, length: int, hash_name: str = "sha256") -> bytes:
    """Extract, then expand; raises LimitExceeded."""
    return hkdf_expand(hkdf_extract(salt, material, hash_name), info, length, hash_name)


def message_key(root: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Return (key, commitment), 32 bytes each, from a 32-byte root and a random 32-byte salt.

    One HMAC-SHA-512 gives both halves, so a ciphertext carrying the second half opens under one key only: an AEAD
    such as GCM does not commit to its key by itself.
    """
    block = hmac.digest(root, _MESSAGE_LABEL + salt, "sha512")
    return block[:32], block[32:]
