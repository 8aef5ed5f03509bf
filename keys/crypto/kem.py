"""Key encapsulation: ML-KEM (FIPS 203)."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import mlkem

from keys.crypto.errors import DecryptFailed
from keys.crypto.keyforms import PublicKeyScheme


class KemScheme(PublicKeyScheme):
    """An altered ciphertext of the right length yields another secret, not an error (implicit rejection, 6.3)."""

    def encapsulate(self, public: Any) -> tuple[bytes, bytes]:
        """Return (32-byte shared secret, ciphertext)."""
        secret, ciphertext = public.encapsulate()
        return bytes(secret), bytes(ciphertext)

    def decapsulate(self, private: Any, ciphertext: bytes) -> bytes:
        """Return the shared secret; raises DecryptFailed on a ciphertext of the wrong length."""
        try:
            return bytes(private.decapsulate(ciphertext))
        except ValueError:
            raise DecryptFailed from None


ML_KEM_768 = KemScheme(mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey)
ML_KEM_1024 = KemScheme(mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey)
