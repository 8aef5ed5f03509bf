"""Key check values: three bytes that tell two people that they hold the same key, and tell nobody the key.

AES lengths: AES-CMAC (NIST SP 800-38B) over one block of zeros, leftmost three bytes, as ANSI X9.24-1 and PCI PIN have it for
AES (not the older "encrypt zeros", which is for TDEA). Other symmetric keys: HMAC-SHA-256 over the same block. Key pairs: SHA-256 of the
public key in its stored form (SubjectPublicKeyInfo where there is one). Three bytes catch a slip (one in 16.7 million), not a forger.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from keys.crypto import keymaterial
from keys.crypto.algorithms import Algorithm, resolve
from keys.crypto.secret import SecretBytes

SIZE = 3
AES_BYTES = 32  # every AES key of the table
_BLOCK = bytes(16)
_CMAC, _HMAC, _PUBLIC = "AES-CMAC", "HMAC-SHA-256", "SHA-256 of the public key"


def check_method(algorithm: str | Algorithm) -> str:
    """How the check value of a key of this algorithm is computed, in words; raises UnsupportedAlgorithm."""
    row = resolve(algorithm)
    if not row.symmetric:
        return _PUBLIC
    return _CMAC if row.name.startswith("AES-") and row.key_bytes == AES_BYTES else _HMAC


def check_value(algorithm: str | Algorithm, material: SecretBytes) -> bytes:
    """The three bytes for a whole key; raises InvalidKey when the material does not fit, UnsupportedAlgorithm."""
    row = resolve(algorithm)
    public = keymaterial.public_half(row, material)
    return hashlib.sha256(public).digest()[:SIZE] if public is not None else check_bytes(row, material)


def check_bytes(algorithm: str | Algorithm, material: SecretBytes) -> bytes:
    """The three bytes for a component of a symmetric key, which has the key's length and method."""
    if check_method(algorithm) == _CMAC:
        code = CMAC(AES(material.reveal()))
        code.update(_BLOCK)
        return code.finalize()[:SIZE]
    return hmac.digest(material.reveal(), _BLOCK, "sha256")[:SIZE]
