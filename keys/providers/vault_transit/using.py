"""Versions of transit keys in use: encryption with associated data, signatures and authentication codes."""

import base64
import hashlib
import hmac
from typing import Any

from keys.crypto import keymaterial
from keys.providers.base import OperationUnsupported, portal_errors
from keys.providers.publichalf import verifies
from keys.providers.vault_transit.connection import Connection
from keys.providers.vault_transit.errors import NO_SUCH_TYPE
from keys.providers.vault_transit.specs import Spec, Version


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class SymmetricCipher:
    """Encryption in the engine; the payload is nonce | ciphertext | tag, without the engine's prefix."""

    __slots__ = ("_connection", "_version")

    def __init__(self, connection: Connection, version: Version) -> None:
        self._connection, self._version = connection, version

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        answer = self._connection.call(
            "post",
            f"encrypt/{self._version.name}",
            plaintext=b64(plaintext),
            associated_data=b64(aad),
            key_version=self._version.number,
            type=NO_SUCH_TYPE,
        )
        return self._version.payload(answer["ciphertext"])

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        answer = self._connection.call(
            "post",
            f"decrypt/{self._version.name}",
            decrypting=True,
            ciphertext=self._version.text(payload),
            associated_data=b64(aad),
        )
        return base64.b64decode(answer["plaintext"])


class PublicKeyCipher:
    """RSA-OAEP: encryption with the public key here, decryption with the private one in the engine."""

    __slots__ = ("_connection", "_public", "_version")

    def __init__(self, connection: Connection, version: Version, spec: Spec, public_key: bytes) -> None:
        self._connection, self._version = connection, version
        with portal_errors():
            self._public = keymaterial.prepare(spec.algorithm, public_key)

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        _refuse_label(aad)
        with portal_errors():
            return keymaterial.encrypt(self._public.algorithm, self._public, plaintext)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        _refuse_label(aad)
        answer = self._connection.call(
            "post", f"decrypt/{self._version.name}", decrypting=True, ciphertext=self._version.text(payload)
        )
        return base64.b64decode(answer["plaintext"])


def _refuse_label(aad: bytes) -> None:
    if aad:
        raise OperationUnsupported("The transit engine binds no context to RSA encryption.")


class RemoteSigner:
    """Signing in the engine, over a digest made here where the scheme has one; verification here."""

    __slots__ = ("_connection", "_options", "_public", "_spec", "_version")

    def __init__(self, connection: Connection, version: Version, spec: Spec, public_key: bytes) -> None:
        self._connection, self._version, self._spec = connection, version, spec
        self._options: dict[str, Any] = {"key_version": version.number}
        if spec.digest:
            self._options |= {"prehashed": True, "hash_algorithm": spec.hash_name}
        if spec.key_type.startswith("rsa"):
            self._options |= {"signature_algorithm": "pss", "salt_length": "hash"}
        with portal_errors():
            self._public = keymaterial.prepare(spec.algorithm, public_key)

    def sign(self, message: bytes) -> bytes:
        given = hashlib.new(self._spec.digest, message).digest() if self._spec.digest else message
        answer = self._connection.call("post", f"sign/{self._version.name}", input=b64(given), **self._options)
        return self._version.payload(answer["signature"])

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verifies(self._spec.algorithm, self._public, message, signature)


class RemoteMac:
    """Authentication codes by the engine; a code is checked by making it again there and comparing here in constant time."""

    __slots__ = ("_connection", "_spec", "_version")

    def __init__(self, connection: Connection, version: Version, spec: Spec) -> None:
        self._connection, self._version, self._spec = connection, version, spec

    def mac(self, message: bytes) -> bytes:
        answer = self._connection.call(
            "post",
            f"hmac/{self._version.name}",
            input=b64(message),
            key_version=self._version.number,
            algorithm=self._spec.hash_name,
        )
        return self._version.payload(answer["hmac"])

    def verify_mac(self, message: bytes, code: bytes) -> bool:
        return hmac.compare_digest(self.mac(message), code)
