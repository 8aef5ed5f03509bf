"""Key derivation: HKDF (RFC 5869) and one-HMAC keys per message (NIST SP 800-108 in one block)."""

from hashlib import sha512

from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from keys.crypto.errors import LimitExceeded

_HASHES: dict[str, type[HashAlgorithm]] = {"sha256": SHA256, "sha384": SHA384, "sha512": SHA512}
_MESSAGE_LABEL = b"message key and commitment"
_BLOCK = 128  # bytes, of SHA-512
_IPAD, _OPAD = bytes(value ^ 0x36 for value in range(256)), bytes(value ^ 0x5C for value in range(256))


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


class MessageKeys:
    """The keys of messages under one 32-byte root: HMAC-SHA-512 whose key schedule is done once (RFC 2104, 4).

    One HMAC gives both halves, so a ciphertext carrying the second half opens under one key only: an AEAD such as GCM
    does not commit to its key by itself.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, root: bytes) -> None:
        """Bind the root; raises ValueError when it is longer than a block of the hash."""
        if len(root) > _BLOCK:
            raise ValueError("a longer root would have to be hashed first")
        padded = root.ljust(_BLOCK, b"\0")
        self._inner = sha512(padded.translate(_IPAD) + _MESSAGE_LABEL)
        self._outer = sha512(padded.translate(_OPAD))

    def derive(self, salt: bytes) -> tuple[bytes, bytes]:
        """Return (key, commitment), 32 bytes each, of the message with this random 32-byte salt."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(salt)
        outer.update(inner.digest())
        block = outer.digest()
        return block[:32], block[32:]
