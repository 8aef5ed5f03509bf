"""What needs no provider at all: the work of a public key, done here because it is as strong and saves a call."""

from cryptography.hazmat.primitives import hashes

from keys.crypto import keymaterial
from keys.crypto.algorithms import Algorithm
from keys.crypto.errors import InvalidSignature
from keys.crypto.keymaterial import Material
from keys.providers.base import OperationUnsupported, portal_errors

_DIGESTS = {"SHA256": hashes.SHA256, "SHA384": hashes.SHA384}


def digest(algorithm: str, message: bytes) -> bytes:
    """The hash that the algorithm's name ends with: clouds sign digests, so that messages stay here."""
    hasher = hashes.Hash(_DIGESTS[algorithm.rpartition("-")[2]]())
    hasher.update(message)
    return hasher.finalize()


def verifies(algorithm: str | Algorithm, public_key: Material, message: bytes, signature: bytes) -> bool:
    """Whether the signature is of this message, checked with the SPKI DER public key or a key prepared from it."""
    with portal_errors():
        try:
            keymaterial.verify(algorithm, public_key, message, signature)
        except InvalidSignature:
            return False
    return True


def encrypt_to(algorithm: str, public_key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """RSA-OAEP to the SPKI DER public key; raises TooLarge, and OperationUnsupported for a context, which clouds cannot check."""
    no_context(algorithm, aad)
    with portal_errors():
        return keymaterial.encrypt(algorithm, public_key, plaintext)


def no_context(algorithm: str, aad: bytes) -> None:
    """Refuse a context rather than drop it; raises OperationUnsupported."""
    if aad:
        raise OperationUnsupported(f"{algorithm} cannot be bound to a context here.")
