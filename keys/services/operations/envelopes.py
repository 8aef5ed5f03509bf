"""Data keys wrapped beside the data: generate, unwrap, and whole envelopes in the JSON form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from keys.crypto.algorithms import Operation, require
from keys.crypto.envelope import Envelope, open_envelope, seal_envelope
from keys.crypto.errors import MalformedEnvelope
from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import KeyVersion
from keys.providers.base import OperationUnsupported, portal_errors
from keys.providers.registry import provider
from keys.services import key_views, materials
from keys.services.key_views import KeyRef, KeyView
from keys.services.operations.values import associated_data
from keys.services.usage import used
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed


@dataclass(frozen=True, slots=True)
class GeneratedDataKey:
    """A data key in the clear, for the caller to use and forget, and wrapped, to store beside the data."""

    plaintext: SecretBytes = field(repr=False)
    wrapped: bytes
    kms_key_id: str
    key_id: UUID
    key_version: int
    algorithm: str

    @property
    def evidence(self) -> bytes:
        return self.wrapped


def generate_data_key(
    actor: Actor, key_ref: KeyRef, context: Mapping[str, str] | None = None, algorithm: str = "AES-256-GCM"
) -> GeneratedDataKey:
    """Make a data key under the active version of a key encryption key, bound to `context`.

    Raises NotFound, PermissionRefused, OperationUnsupported, WrongState, LimitExceeded, ValidationFailed.
    """
    found = _open_kek(actor, key_views.view(key_ref), Permission.KEY_GENERATE)
    return _generate(actor, found, _context(context), algorithm)


def _generate(actor: Actor, found: KeyView, context: dict[str, str], algorithm: str) -> GeneratedDataKey:
    version = found.protecting()
    with portal_errors():
        row = require(algorithm, Operation.ENCRYPT, new_key=True)
    material = provider("local").generate(row.name).material
    if material is None or not row.symmetric:
        raise OperationUnsupported(f"{row.name} is not for data keys.")
    wrapped = materials.wrap_under(version, material, context=context)
    used(version, actor)
    return GeneratedDataKey(material, wrapped, version.kms_key_arn, version.key_id, version.key_version, row.name)


def unwrap_data_key(
    actor: Actor, kms_key_id: str, wrapped: bytes, context: Mapping[str, str] | None = None
) -> SecretBytes:
    """The data key that `generate_data_key` wrapped, given the same context.

    Raises NotFound, PermissionRefused, WrongState, ValidationFailed (context), DecryptRefused for all else.
    """
    return _unwrap(actor, kms_key_id, wrapped, _context(context))


def _unwrap(actor: Actor, kms_key_id: str, wrapped: bytes, context: dict[str, str]) -> SecretBytes:
    found, number = key_views.view_by_arn(kms_key_id)
    _open_kek(actor, found, Permission.KEY_DECRYPT)
    version: KeyVersion = found.processing(number)
    secret = materials.unwrap_under(version, wrapped, context=context)
    used(version, actor)
    return secret


def envelope_encrypt(
    actor: Actor,
    key_ref: KeyRef,
    plaintext: bytes,
    context: Mapping[str, str] | None = None,
    algorithm: str = "AES-256-GCM",
) -> Envelope:
    """Encrypt under a new data key and return the whole envelope; its `to_dict` is the JSON object.

    Raises as `generate_data_key` does, and TooLarge.
    """
    found = _open_kek(actor, key_views.view(key_ref), Permission.KEY_ENCRYPT)
    bound = _context(context)
    made = _generate(actor, found, bound, algorithm)
    with portal_errors(), made.plaintext as data_key:
        return seal_envelope(plaintext, bound, made.kms_key_id, data_key, made.wrapped, algorithm)


def envelope_decrypt(actor: Actor, source: Envelope | str | bytes | Mapping[str, Any]) -> bytes:
    """Open an envelope whose data key one of our versions wrapped.

    Raises ValidationFailed (not an envelope), NotFound (its kms_key_id), PermissionRefused, WrongState, and
    DecryptRefused, the same whatever else is wrong.
    """
    try:
        envelope = source if isinstance(source, Envelope) else Envelope.from_json(source)
    except MalformedEnvelope as error:
        raise ValidationFailed("This is not an envelope.", errors={"envelope": [str(error)]}) from None
    data_key = _unwrap(actor, envelope.kms_key_id, envelope.wrapped_dek, _context(envelope.encryption_context))
    with portal_errors(), data_key:
        return open_envelope(envelope, data_key)


def _open_kek(actor: Actor, found: KeyView, permission: Permission) -> KeyView:
    authorize(actor, permission, ring_id=found.key.ring_id, target=f"key {found.label}")
    if found.key.kind != KeyKind.KEK.value:
        raise OperationUnsupported(f"{found.label} is not a key encryption key.", hint="Name a key of kind kek.")
    return found


def _context(context: Mapping[str, str] | None) -> dict[str, str]:
    """The context as a plain dict; refuses those the portal's own keys are wrapped under."""
    associated_data(context)
    values = dict(context or {})
    if frozenset(values) in materials.RESERVED_CONTEXTS:
        raise ValidationFailed("This context is reserved.", errors={"context": ["Add a name of your own to it."]})
    return values
