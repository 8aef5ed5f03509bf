"""The table of data-plane operations: the one list that parsing, answering, routes, tests and the schema follow."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from keys.crypto.envelope import Envelope
from keys.crypto.secret import SecretBytes
from keys.dataplane import bodies
from keys.dataplane.bodies import Field
from keys.services import operations as ops
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import PortalError

type Results = Sequence[Any | PortalError]


@dataclass(frozen=True, slots=True)
class DataOperation:
    """One endpoint: what an item holds, what holds for the whole request, who may, how it is done and shown.

    `run` gets the actor, the key, the items as `make` built them, and the options by name; it returns a result or an
    error for each item, in their order. `answer` describes what `show` writes.
    """

    path: str
    action: str
    permission: Permission
    summary: str
    item: tuple[Field, ...]
    options: tuple[Field, ...]
    make: Callable[[dict[str, Any]], Any]
    run: Callable[..., Results]
    show: Callable[[Any], dict[str, Any]]
    answer: tuple[Field, ...]

    @property
    def single(self) -> tuple[Field, ...]:
        """The members of a request for one item."""
        return self.item + self.options

    @property
    def secret(self) -> bool:
        """Whether an answer holds what is kept nowhere: plaintext, or a data key in the clear."""
        return PLAINTEXT in self.answer


def _as_is(value: Any) -> Any:
    return value


_BASE64 = {"type": "string", "format": "byte"}
_TEXT = {"type": "string", "pattern": r"^vault:v[1-9][0-9]{0,9}:[A-Za-z0-9+/]+={0,2}$", "example": "vault:v1:aGVsbG8="}
_CONTEXT = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "Bound to the ciphertext; give the same names and texts in the same order to open it.",
}
_NUMBER = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_ENVELOPE = {
    "type": "object",
    "description": "wrapped_dek, nonce, ciphertext, encryption_context, algorithm, kms_key_id.",
}

PLAINTEXT = Field("plaintext", bodies.octets, _BASE64)
CIPHERTEXT = Field("ciphertext", bodies.text, _TEXT)
MESSAGE = Field("message", bodies.octets, _BASE64)
SIGNATURE = Field("signature", bodies.text, _TEXT)
MAC = Field("mac", bodies.text, _TEXT)
WRAPPED = Field("wrapped_dek", bodies.octets, _BASE64)
KMS_KEY_ID = Field("kms_key_id", bodies.name, {"type": "string", "maxLength": bodies.MAX_TEXT})
ENVELOPE = Field("envelope", bodies.mapping, _ENVELOPE)
CONTEXT = Field("context", bodies.context, _CONTEXT, required=False)
VERSION = Field(
    "version", bodies.version, _NUMBER | {"description": "Must be the active version."}, required=False
)  # fmt: skip
ALGORITHM = Field(
    "algorithm", bodies.name, {"type": "string", "default": "AES-256-GCM"}, required=False, default="AES-256-GCM"
)
JOSE = Field(
    "jose",
    bodies.flag,
    {"type": "boolean", "default": False, "description": "ECDSA signatures as r | s (RFC 7518, 3.4), not DER."},
    required=False,
    default=False,
)
KEY_VERSION = Field("key_version", _as_is, _NUMBER)
VALID = Field("valid", _as_is, {"type": "boolean"})


def _base64(value: bytes | SecretBytes) -> str:
    if isinstance(value, SecretBytes):
        with value:
            return b64encode(value.reveal()).decode()
    return b64encode(value).decode()


def _plaintext(item: dict[str, Any]) -> ops.PlaintextItem:
    return ops.PlaintextItem(item["plaintext"], item["context"])


def _ciphertext(item: dict[str, Any]) -> ops.CiphertextItem:
    return ops.CiphertextItem(item["ciphertext"], item["context"])


def _show_encrypted(result: ops.Encrypted) -> dict[str, Any]:
    return {"ciphertext": result.ciphertext, "key_version": result.key_version}


def _show_opened(result: ops.Decrypted | ops.Opened) -> dict[str, Any]:
    return {"plaintext": _base64(result.plaintext), "key_version": result.key_version}


def _show_data_key(result: ops.GeneratedDataKey) -> dict[str, Any]:
    return {
        "plaintext": _base64(result.plaintext),
        "wrapped_dek": _base64(result.wrapped),
        "kms_key_id": result.kms_key_id,
        "algorithm": result.algorithm,
        "key_version": result.key_version,
    }


def _show_envelope(result: Envelope) -> dict[str, Any]:
    return {"envelope": result.to_dict()}


def _show_verified(result: ops.Verified) -> dict[str, Any]:
    return {"valid": result.valid, "key_version": result.key_version}


def _generate(actor: Actor, key: UUID, items: list[Any], algorithm: str) -> Results:
    return ops.generate_data_keys(actor, key, items, algorithm)


_TABLE = (
    DataOperation(
        "encrypt", "key.encrypt", Permission.KEY_ENCRYPT, "Encrypt under the active version",
        (PLAINTEXT, CONTEXT), (VERSION,), _plaintext, ops.encrypt_many, _show_encrypted, (CIPHERTEXT, KEY_VERSION),
    ),
    DataOperation(
        "decrypt", "key.decrypt", Permission.KEY_DECRYPT, "Decrypt with the version that the text names",
        (CIPHERTEXT, CONTEXT), (), _ciphertext, ops.decrypt_many, _show_opened, (PLAINTEXT, KEY_VERSION),
    ),
    DataOperation(
        "rewrap", "key.rewrap", Permission.KEY_REWRAP, "Move to the active version without showing the plaintext",
        (CIPHERTEXT, CONTEXT), (), _ciphertext, ops.rewrap_many, _show_encrypted, (CIPHERTEXT, KEY_VERSION),
    ),
    DataOperation(
        "generate-data-key", "key.generate_data_key", Permission.KEY_GENERATE, "Make a data key and wrap it",
        (CONTEXT,), (ALGORITHM,), lambda item: item["context"], _generate, _show_data_key,
        (PLAINTEXT, WRAPPED, KMS_KEY_ID, ALGORITHM, KEY_VERSION),
    ),
    DataOperation(
        "unwrap-data-key", "key.decrypt", Permission.KEY_DECRYPT, "Unwrap a data key that this key wrapped",
        (WRAPPED, KMS_KEY_ID, CONTEXT), (),
        lambda item: ops.WrappedItem(item["kms_key_id"], item["wrapped_dek"], item["context"]),
        ops.unwrap_data_keys, _show_opened, (PLAINTEXT, KEY_VERSION),
    ),
    DataOperation(
        "envelope/encrypt", "key.encrypt", Permission.KEY_ENCRYPT, "Encrypt under a new data key wrapped beside the data",
        (PLAINTEXT, CONTEXT), (ALGORITHM,), _plaintext, ops.envelope_encrypt_many, _show_envelope, (ENVELOPE,),
    ),
    DataOperation(
        "envelope/decrypt", "key.decrypt", Permission.KEY_DECRYPT, "Open an envelope whose data key this key wrapped",
        (ENVELOPE,), (), lambda item: item["envelope"], ops.envelope_decrypt_many, _show_opened, (PLAINTEXT, KEY_VERSION),
    ),
    DataOperation(
        "sign", "key.sign", Permission.KEY_SIGN, "Sign a message with the active version",
        (MESSAGE,), (VERSION, JOSE), lambda item: item["message"], ops.sign_many,
        lambda result: {"signature": result.signature, "key_version": result.key_version}, (SIGNATURE, KEY_VERSION),
    ),
    DataOperation(
        "verify", "key.verify", Permission.KEY_VERIFY, "Check a signature with the version it names",
        (MESSAGE, SIGNATURE), (JOSE,), lambda item: (item["message"], item["signature"]), ops.verify_many,
        _show_verified, (VALID, KEY_VERSION),
    ),
    DataOperation(
        "mac", "key.mac", Permission.KEY_MAC, "Authenticate a message with the active version",
        (MESSAGE,), (VERSION,), lambda item: item["message"], ops.mac_many,
        lambda result: {"mac": result.signature, "key_version": result.key_version}, (MAC, KEY_VERSION),
    ),
    DataOperation(
        "verify-mac", "key.verify_mac", Permission.KEY_VERIFY, "Check an authentication code with the version it names",
        (MESSAGE, MAC), (), lambda item: (item["message"], item["mac"]), ops.verify_mac_many,
        _show_verified, (VALID, KEY_VERSION),
    ),
)  # fmt: skip

OPERATIONS: dict[str, DataOperation] = {operation.path: operation for operation in _TABLE}
