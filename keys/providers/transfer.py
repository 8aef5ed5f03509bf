"""How material travels into a foreign HSM: RSA-AES key wrap (PKCS#11 v3.0, 6.1.29, CKM_RSA_AES_KEY_WRAP)."""

import secrets

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from keys.crypto.secret import SecretBytes


def rsa_aes_wrap(receiver: rsa.RSAPublicKey, material: SecretBytes, digest: hashes.HashAlgorithm) -> bytes:
    """A fresh AES-256 key under RSA-OAEP (`digest` for label and MGF1), then the material under that key (RFC 5649)."""
    passing = secrets.token_bytes(32)
    oaep = padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)
    return receiver.encrypt(passing, oaep) + aes_key_wrap_with_padding(passing, material.reveal())
