"""Work under one version of a Cloud KMS key; every byte sent or received is covered by a checksum that both sides check."""

from typing import Any

from keys.providers.base import ProviderFault
from keys.providers.gcp_kms.connection import Connection, arrived, crc32c, intact
from keys.providers.publichalf import digest, encrypt_to, no_context, verifies
from keyvault_portal.errors import DecryptRefused, TooLarge

# In front of every ciphertext of ours. Cloud KMS's own ciphertexts begin with 0x0A (google.com's wire format).
MARK = b"KV1"


def answered_by(version: str, name: str) -> None:
    """Raise ProviderFault unless the answer names the version asked for (the project may be told by its number)."""
    if name.partition("/locations/")[2] != version.partition("/locations/")[2]:
        raise ProviderFault("The key service answered with another key than was asked for.")


class SymmetricCipher:
    """AES-256-GCM inside Cloud KMS, under exactly one version.

    Cloud KMS decrypts by key and picks the version itself, so the pin is put into the additional authenticated data:
    the version's name, a zero byte, the caller's context. A ciphertext without our mark was made by an application
    that calls Cloud KMS by itself; it is opened with the caller's context alone.
    """

    def __init__(self, connection: Connection, version: str, limit: int) -> None:
        self._connection, self._version, self._limit = connection, version, limit
        self._key = version.rpartition("/cryptoKeyVersions/")[0]
        self._pin = version.encode() + b"\0"

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        bound = self._pin + aad
        if len(plaintext) > self._limit or len(bound) > self._limit:
            raise TooLarge(f"Cloud KMS encrypts {self._limit} bytes at most; encrypt a data key instead.")
        request = {
            "name": self._version,
            "plaintext": plaintext,
            "plaintext_crc32c": crc32c(plaintext),
            "additional_authenticated_data": bound,
            "additional_authenticated_data_crc32c": crc32c(bound),
        }
        answer = self._connection.call("encrypt", request)
        arrived(answer.verified_plaintext_crc32c, answer.verified_additional_authenticated_data_crc32c)
        answered_by(self._version, answer.name)
        return MARK + intact(answer.ciphertext, answer.ciphertext_crc32c)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        ours = payload.startswith(MARK)
        ciphertext, bound = (payload[len(MARK) :], self._pin + aad) if ours else (payload, aad)
        if not ciphertext:
            raise DecryptRefused
        request = {
            "name": self._key,
            "ciphertext": ciphertext,
            "ciphertext_crc32c": crc32c(ciphertext),
            "additional_authenticated_data": bound,
            "additional_authenticated_data_crc32c": crc32c(bound),
        }
        answer = self._connection.call("decrypt", request, opening=True)
        return intact(answer.plaintext, answer.plaintext_crc32c)


class PublicKeyCipher:
    """RSA-OAEP: encrypted here to the public half, decrypted by Cloud KMS; it takes no context."""

    def __init__(self, connection: Connection, version: str, algorithm: str, public_key: bytes) -> None:
        self._connection, self._version = connection, version
        self._algorithm, self._public_key = algorithm, public_key

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        return encrypt_to(self._algorithm, self._public_key, plaintext, aad)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        no_context(self._algorithm, aad)
        request = {"name": self._version, "ciphertext": payload, "ciphertext_crc32c": crc32c(payload)}
        answer = self._connection.call("asymmetric_decrypt", request, opening=True)
        arrived(answer.verified_ciphertext_crc32c)
        return intact(answer.plaintext, answer.plaintext_crc32c)


class VersionSigner:
    """Signatures by Cloud KMS over a digest made here (Ed25519: over the message), verified here."""

    def __init__(self, connection: Connection, version: str, algorithm: str, public_key: bytes) -> None:
        self._connection, self._version = connection, version
        self._algorithm, self._public_key = algorithm, public_key

    def sign(self, message: bytes) -> bytes:
        """Raises ProviderFault when the answer is no signature of this key: a wrong key is found out at once."""
        answer = self._connection.call("asymmetric_sign", {"name": self._version, **self._subject(message)})
        arrived(answer.verified_data_crc32c if self._whole else answer.verified_digest_crc32c)
        answered_by(self._version, answer.name)
        signature = intact(answer.signature, answer.signature_crc32c)
        if not self.verify(message, signature):
            raise ProviderFault("The key service signed with another key than was asked for.")
        return signature

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verifies(self._algorithm, self._public_key, message, signature)

    @property
    def _whole(self) -> bool:
        return self._algorithm == "Ed25519"

    def _subject(self, message: bytes) -> dict[str, Any]:
        if self._whole:
            return {"data": message, "data_crc32c": crc32c(message)}
        value = digest(self._algorithm, message)
        return {"digest": {self._algorithm.rpartition("-")[2].lower(): value}, "digest_crc32c": crc32c(value)}


class VersionMac:
    """HMAC made and checked by Cloud KMS; the key never leaves it."""

    def __init__(self, connection: Connection, version: str, limit: int) -> None:
        self._connection, self._version, self._limit = connection, version, limit

    def mac(self, message: bytes) -> bytes:
        answer = self._connection.call("mac_sign", {"name": self._version, **self._subject(message)})
        arrived(answer.verified_data_crc32c)
        answered_by(self._version, answer.name)
        return intact(answer.mac, answer.mac_crc32c)

    def verify_mac(self, message: bytes, code: bytes) -> bool:
        request = {"name": self._version, "mac": code, "mac_crc32c": crc32c(code), **self._subject(message)}
        answer = self._connection.call("mac_verify", request)
        arrived(answer.verified_data_crc32c, answer.verified_mac_crc32c)
        answered_by(self._version, answer.name)
        if answer.success != answer.verified_success_integrity:
            raise ProviderFault("The key service's answer was damaged on its way.")
        return bool(answer.success)

    def _subject(self, message: bytes) -> dict[str, Any]:
        if len(message) > self._limit:
            raise TooLarge(f"Cloud KMS authenticates {self._limit} bytes at most.")
        return {"data": message, "data_crc32c": crc32c(message)}
