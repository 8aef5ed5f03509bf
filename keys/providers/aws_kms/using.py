"""Keys of AWS KMS in use: encryption with its context, signatures and authentication codes."""

import base64
import hashlib
import hmac
import json

from keys.crypto import keymaterial
from keys.providers.aws_kms.connection import Connection, key_id
from keys.providers.aws_kms.specs import Spec
from keys.providers.base import KeyHandle, OperationUnsupported, portal_errors
from keys.providers.publichalf import verifies
from keyvault_portal.errors import DecryptRefused, TooLarge

# Encrypt and GenerateMac take at most so many bytes (AWS KMS API reference); a data key serves what is larger.
MESSAGE_LIMIT = 4096
CONTEXT_LIMIT = 8192
# KMS encrypts no empty text. One byte stands for it, under a context that says so and a mark that no KMS ciphertext starts with.
_EMPTY_MARK, _EMPTY_CONTEXT = b"\x00", {"keyvault-portal:empty": "true"}


def encryption_context(aad: bytes) -> dict[str, str]:
    """The context that binds `aad`: a JSON object of strings as it is, so that other programs' envelopes open here.

    Any other bytes become {"aad": base64}; so does an object that would look the same. Raises TooLarge.
    """
    if not aad:
        return {}
    context = _plain_context(aad)
    if context is None:
        context = {"aad": base64.b64encode(aad).decode()}
    if sum(len(part.encode()) for pair in context.items() for part in pair) > CONTEXT_LIMIT:
        raise TooLarge(f"AWS KMS takes a context of at most {CONTEXT_LIMIT} bytes.")
    return context


def _plain_context(aad: bytes) -> dict[str, str] | None:
    try:
        pairs = json.loads(aad, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, tuple) or not all(name and isinstance(value, str) for name, value in pairs):
        return None
    context = dict(pairs)
    ambiguous = len(context) != len(pairs) or set(context) == {"aad"} or set(_EMPTY_CONTEXT) & set(context)
    return None if ambiguous else context


class SymmetricCipher:
    """Encrypt and Decrypt of one symmetric key; the payload is the ciphertext blob of KMS."""

    __slots__ = ("_connection", "_key")

    def __init__(self, connection: Connection, key: str) -> None:
        self._connection, self._key = connection, key

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        if len(plaintext) > MESSAGE_LIMIT:
            raise TooLarge(f"AWS KMS encrypts at most {MESSAGE_LIMIT} bytes.", hint="Use a data key for more.")
        context, mark = encryption_context(aad), b""
        if not plaintext:
            context, plaintext, mark = {**context, **_EMPTY_CONTEXT}, b"\x00", _EMPTY_MARK
        answer = self._connection.call("encrypt", self._key, Plaintext=plaintext, EncryptionContext=context)
        return mark + bytes(answer["CiphertextBlob"])

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        context, empty = encryption_context(aad), payload.startswith(_EMPTY_MARK)
        if empty:
            context, payload = {**context, **_EMPTY_CONTEXT}, payload[len(_EMPTY_MARK) :]
        answer = self._connection.call(
            "decrypt", self._key, decrypting=True, CiphertextBlob=payload, EncryptionContext=context
        )
        # KMS is told which key to use; an answer from another one is none.
        if key_id(answer["KeyId"]) != key_id(self._key):
            raise DecryptRefused
        return b"" if empty else bytes(answer["Plaintext"])


class PublicKeyCipher:
    """RSA-OAEP: encryption with the public key here, decryption with the private one in KMS."""

    __slots__ = ("_connection", "_key", "_public", "_spec")

    def __init__(self, connection: Connection, key: str, spec: Spec, public_key: bytes) -> None:
        self._connection, self._key, self._spec = connection, key, spec
        with portal_errors():
            self._public = keymaterial.prepare(spec.algorithm, public_key)

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        _refuse_label(aad)
        with portal_errors():
            return keymaterial.encrypt(self._spec.algorithm, self._public, plaintext)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        _refuse_label(aad)
        answer = self._connection.call(
            "decrypt", self._key, decrypting=True, CiphertextBlob=payload, EncryptionAlgorithm=self._spec.mechanism
        )
        return bytes(answer.get("Plaintext", b""))


def _refuse_label(aad: bytes) -> None:
    if aad:
        raise OperationUnsupported("AWS KMS binds no context to RSA encryption.")


class RemoteSigner:
    """Signing in KMS over a digest made here; verification here, with the public key."""

    __slots__ = ("_connection", "_key", "_public", "_spec")

    def __init__(self, connection: Connection, handle: KeyHandle, spec: Spec, public_key: bytes) -> None:
        self._connection, self._key, self._spec = connection, handle.opaque, spec
        with portal_errors():
            self._public = keymaterial.prepare(spec.algorithm, public_key)

    def sign(self, message: bytes) -> bytes:
        answer = self._connection.call(
            "sign",
            self._key,
            Message=hashlib.new(self._spec.digest, message).digest(),
            MessageType="DIGEST",
            SigningAlgorithm=self._spec.mechanism,
        )
        return bytes(answer["Signature"])

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verifies(self._spec.algorithm, self._public, message, signature)


class RemoteMac:
    """GenerateMac of one key; a code is checked by making it again there and comparing here in constant time."""

    __slots__ = ("_connection", "_key", "_spec")

    def __init__(self, connection: Connection, key: str, spec: Spec) -> None:
        self._connection, self._key, self._spec = connection, key, spec

    def mac(self, message: bytes) -> bytes:
        if len(message) > MESSAGE_LIMIT:
            raise TooLarge(f"AWS KMS authenticates at most {MESSAGE_LIMIT} bytes.")
        answer = self._connection.call("generate_mac", self._key, Message=message, MacAlgorithm=self._spec.mechanism)
        return bytes(answer["Mac"])

    def verify_mac(self, message: bytes, code: bytes) -> bool:
        return hmac.compare_digest(self.mac(message), code)
