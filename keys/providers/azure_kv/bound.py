"""Work under one version of a key in a vault."""

from azure.keyvault.keys.crypto import EncryptionAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from keys.providers.azure_kv.connection import Connection
from keys.providers.azure_kv.keyforms import ROWS
from keys.providers.base import ProviderFault
from keys.providers.publichalf import digest, encrypt_to, no_context, verifies
from keyvault_portal.errors import DecryptRefused

NONCE, TAG = 12, 16


class GcmCipher:
    """AES-256-GCM inside a Managed HSM, which draws the nonce; the context is its additional authenticated data."""

    def __init__(self, connection: Connection, opaque: str) -> None:
        self._connection, self._opaque = connection, opaque

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        sealed = self._connection.work(
            self._opaque,
            lambda client: client.encrypt(EncryptionAlgorithm.a256_gcm, plaintext, additional_authenticated_data=aad),
        )
        if len(sealed.iv or b"") != NONCE or len(sealed.tag or b"") != TAG:
            raise ProviderFault("The vault's answer has no nonce or no tag.")
        return bytes(sealed.iv + (sealed.ciphertext or b"") + sealed.tag)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        if len(payload) < NONCE + TAG:
            raise DecryptRefused
        nonce, ciphertext, tag = payload[:NONCE], payload[NONCE:-TAG], payload[-TAG:]
        opened = self._connection.work(
            self._opaque,
            lambda client: client.decrypt(
                EncryptionAlgorithm.a256_gcm,
                ciphertext,
                iv=nonce,
                authentication_tag=tag,
                additional_authenticated_data=aad,
            ),
            opening=True,
        )
        return bytes(opened.plaintext or b"")


class OaepCipher:
    """RSA-OAEP: encrypted here to the public half, decrypted by the vault; it takes no context."""

    def __init__(self, connection: Connection, opaque: str, algorithm: str, public_key: bytes) -> None:
        self._connection, self._opaque = connection, opaque
        self._algorithm, self._public_key = algorithm, public_key

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        return encrypt_to(self._algorithm, self._public_key, plaintext, aad)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        no_context(self._algorithm, aad)
        opened = self._connection.work(
            self._opaque, lambda client: client.decrypt(EncryptionAlgorithm.rsa_oaep_256, payload), opening=True
        )
        return bytes(opened.plaintext or b"")


class VaultSigner:
    """Signatures by the vault over a digest made here, verified here."""

    def __init__(self, connection: Connection, opaque: str, algorithm: str, public_key: bytes) -> None:
        self._connection, self._opaque = connection, opaque
        self._algorithm, self._public_key = algorithm, public_key

    def sign(self, message: bytes) -> bytes:
        """Raises ProviderFault when the answer is no signature of this key: a wrong key is found out at once."""
        row, value = ROWS[self._algorithm], digest(self._algorithm, message)
        answer = self._connection.work(self._opaque, lambda client: client.sign(SignatureAlgorithm(row.jose), value))
        signature = bytes(answer.signature or b"")
        if row.kind == "EC":  # the vault answers with r | s (RFC 7518, 3.4)
            half = len(signature) // 2
            signature = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
        if not self.verify(message, signature):
            raise ProviderFault("The vault signed with another key than was asked for.")
        return signature

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verifies(self._algorithm, self._public_key, message, signature)
