"""Message authentication codes (RFC 2104)."""

import hmac

from keys.crypto.errors import InvalidSignature
from keys.crypto.keyforms import SymmetricScheme


class Hmac(SymmetricScheme):
    """HMAC over one hash, with its whole output as tag."""

    def __init__(self, hash_name: str) -> None:
        self._hash = hash_name

    def mac(self, key: bytes, message: bytes) -> bytes:
        """Return the tag."""
        return hmac.digest(key, message, self._hash)

    def verify_mac(self, key: bytes, message: bytes, tag: bytes) -> None:
        """Compare in constant time; raises InvalidSignature."""
        if not hmac.compare_digest(self.mac(key, message), tag):
            raise InvalidSignature


HMAC_SHA256 = Hmac("sha256")
HMAC_SHA512 = Hmac("sha512")
