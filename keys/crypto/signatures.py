"""Digital signatures: RSA-PSS, ECDSA, EdDSA and ML-DSA behind `sign` and `verify`."""

from typing import Any

from cryptography.exceptions import InvalidSignature as BackendInvalid
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm

from keys.crypto.errors import InvalidSignature
from keys.crypto.keyforms import PublicKeyScheme


class SignatureScheme(PublicKeyScheme):
    """A scheme that signs whole messages; `_arguments` is what the library wants after the message."""

    def _arguments(self) -> tuple[Any, ...]:
        return ()

    def sign(self, private: Any, message: bytes) -> bytes:
        """Return the signature."""
        return bytes(private.sign(message, *self._arguments()))

    def verify(self, public: Any, message: bytes, signature: bytes) -> None:
        """Return quietly when the signature is good; raises InvalidSignature otherwise."""
        try:
            public.verify(signature, message, *self._arguments())
        except (BackendInvalid, ValueError):
            raise InvalidSignature from None


class RsaPss(SignatureScheme):
    """RSASSA-PSS with SHA-256, MGF1 over SHA-256 and a salt as long as the digest (RFC 7518, 3.5)."""

    def __init__(self, bits: int) -> None:
        super().__init__(rsa.RSAPrivateKey, rsa.RSAPublicKey, bits)
        self._bits = bits
        self._how = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=padding.PSS.DIGEST_LENGTH), SHA256()

    def new_key(self) -> Any:
        return rsa.generate_private_key(public_exponent=65537, key_size=self._bits)

    def parameter_of(self, key: Any) -> object:
        return key.key_size

    def _arguments(self) -> tuple[Any, ...]:
        return self._how


class Ecdsa(SignatureScheme):
    """ECDSA with DER signatures (RFC 3279, 2.2.3); `jwk.jose_signature` gives the fixed-length form."""

    def __init__(self, curve: type[ec.EllipticCurve], digest: type[HashAlgorithm]) -> None:
        super().__init__(ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey, curve.name)
        self._curve = curve
        self._how = (ec.ECDSA(digest()),)

    def new_key(self) -> Any:
        return ec.generate_private_key(self._curve())

    def parameter_of(self, key: Any) -> object:
        return key.curve.name

    def _arguments(self) -> tuple[Any, ...]:
        return self._how


RSA_2048_PSS = RsaPss(2048)
RSA_3072_PSS = RsaPss(3072)
RSA_4096_PSS = RsaPss(4096)
ECDSA_P256 = Ecdsa(ec.SECP256R1, SHA256)
ECDSA_P384 = Ecdsa(ec.SECP384R1, SHA384)
ED25519 = SignatureScheme(ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)
ED448 = SignatureScheme(ed448.Ed448PrivateKey, ed448.Ed448PublicKey)
ML_DSA_44 = SignatureScheme(mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey)
ML_DSA_65 = SignatureScheme(mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey)
ML_DSA_87 = SignatureScheme(mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey)
