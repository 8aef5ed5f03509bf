"""RSA-OAEP encryption (RFC 8017, 7.1)."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from keys.crypto.errors import DecryptFailed, LimitExceeded
from keys.crypto.keyforms import PublicKeyScheme


class RsaOaep(PublicKeyScheme):
    """RSAES-OAEP with SHA-256 for digest and MGF1; associated data goes into the label L, absent when empty."""

    def __init__(self, bits: int) -> None:
        super().__init__(rsa.RSAPrivateKey, rsa.RSAPublicKey, bits)
        self._bits = bits

    def new_key(self) -> Any:
        return rsa.generate_private_key(public_exponent=65537, key_size=self._bits)

    def parameter_of(self, key: Any) -> object:
        return key.key_size

    def encrypt(self, public: Any, plaintext: bytes, aad: bytes) -> bytes:
        """Return the ciphertext; raises LimitExceeded over key bytes - 66."""
        try:
            return bytes(public.encrypt(plaintext, _padding(aad)))
        except ValueError:
            raise LimitExceeded("message too long for RSA-OAEP; wrap a data key instead") from None

    def decrypt(self, private: Any, ciphertext: bytes, aad: bytes) -> bytes:
        """Return the plaintext; raises DecryptFailed."""
        try:
            return bytes(private.decrypt(ciphertext, _padding(aad)))
        except ValueError:
            raise DecryptFailed from None

    wrap = encrypt
    unwrap = decrypt


def _padding(label: bytes) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=label or None)


RSA_2048_OAEP = RsaOaep(2048)
RSA_3072_OAEP = RsaOaep(3072)
RSA_4096_OAEP = RsaOaep(4096)
