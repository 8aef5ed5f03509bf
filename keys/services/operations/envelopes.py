"""Data keys wrapped beside the data: generate, unwrap, and whole envelopes in the JSON form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from keys.crypto.algorithms import Operation, require
from keys.crypto.envelope import Envelope, open_envelope, open_with, seal_envelope, seal_with
from keys.crypto.errors import MalformedEnvelope
from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import KeyVersion
from keys.providers.base import KeyUnusable, OperationUnsupported, ProviderFault, portal_errors
from keys.providers.registry import provider
from keys.services import data_key_cache, key_views, materials
from keys.services.key_views import KeyRef, KeyView
from keys.services.operations.texts import PlaintextItem
from keys.services.operations.values import associated_data, authorize_use, each, only
from keys.services.usage import used
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import DecryptRefused, NotFound, PortalError, ValidationFailed


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
    return only(generate_data_keys(actor, key_ref, [context], algorithm))


def generate_data_keys(
    actor: Actor, key_ref: KeyRef, contexts: Sequence[Mapping[str, str] | None], algorithm: str = "AES-256-GCM"
) -> list[GeneratedDataKey | PortalError]:
    """As `generate_data_key`, one for each of up to 1,000 contexts."""
    found = _open_kek(actor, key_views.view(key_ref), Permission.KEY_GENERATE)
    return each(contexts, lambda context: _generate(actor, found, _context(context), algorithm))


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


@dataclass(frozen=True, slots=True)
class WrappedItem:
    """A wrapped data key and the context it was wrapped with."""

    kms_key_id: str
    wrapped: bytes
    context: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a wrapped data key or an envelope held, which no repr shows, and what it was opened from."""

    plaintext: SecretBytes | bytes = field(repr=False)
    key_version: int
    evidence: bytes


def unwrap_data_key(
    actor: Actor, kms_key_id: str, wrapped: bytes, context: Mapping[str, str] | None = None
) -> SecretBytes:
    """The data key that `generate_data_key` wrapped, given the same context.

    Raises NotFound, PermissionRefused, WrongState, ValidationFailed (context), DecryptRefused for all else.
    """
    found, number = key_views.view_by_arn(kms_key_id)
    _open_kek(actor, found, Permission.KEY_DECRYPT)
    return _unwrap(actor, found.processing(number), wrapped, _context(context))


def unwrap_data_keys(actor: Actor, key_ref: KeyRef, items: Sequence[WrappedItem]) -> list[Opened | PortalError]:
    """As `unwrap_data_key`, for up to 1,000 keys that versions of one key wrapped."""
    found = _open_kek(actor, key_views.view(key_ref), Permission.KEY_DECRYPT)

    def work(item: WrappedItem) -> Opened:
        version = _version_of(found, item.kms_key_id)
        secret = _unwrap(actor, version, item.wrapped, _context(item.context))
        return Opened(secret, version.key_version, item.wrapped)

    return each(items, work)


def _unwrap(actor: Actor, version: KeyVersion, wrapped: bytes, context: dict[str, str]) -> SecretBytes:
    try:
        secret = materials.unwrap_under(version, wrapped, context=context)
    except KeyUnusable:
        used(version, actor)  # its provider stopped it before us: somebody needs it all the same
        raise
    used(version, actor)
    return secret


def _version_of(found: KeyView, kms_key_id: str) -> KeyVersion:
    """The version of this key that an envelope names, if it may still process it."""
    try:
        named, number = key_views.view_by_arn(kms_key_id)
    except NotFound:
        named = None
    if named is None or named.key.pk != found.key.pk:
        raise ValidationFailed(errors={"kms_key_id": ["This names no version of the key you asked."]})
    return found.processing(number)


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
    return only(envelope_encrypt_many(actor, key_ref, [PlaintextItem(plaintext, context)], algorithm))


def envelope_encrypt_many(
    actor: Actor, key_ref: KeyRef, items: Sequence[PlaintextItem], algorithm: str = "AES-256-GCM"
) -> list[Envelope | PortalError]:
    """As `envelope_encrypt`, for up to 1,000 items; each has a data key of its own, or one of those kept for its context."""
    found = _open_kek(actor, key_views.view(key_ref), Permission.KEY_ENCRYPT)

    def work(item: PlaintextItem) -> Envelope:
        bound = _context(item.context)
        version = found.protecting()
        if data_key_cache.serves(version, algorithm):
            with portal_errors():
                require(algorithm, Operation.ENCRYPT, new_key=True)
                cipher, wrapped = data_key_cache.sealing(version, bound, len(item.plaintext), algorithm)
                used(version, actor)
                return seal_with(cipher, item.plaintext, bound, version.kms_key_arn, wrapped)
        made = _generate(actor, found, bound, algorithm)
        with portal_errors(), made.plaintext as data_key:
            return seal_envelope(item.plaintext, bound, made.kms_key_id, data_key, made.wrapped, algorithm)

    return each(items, work)


def envelope_decrypt(actor: Actor, source: Envelope | str | bytes | Mapping[str, Any]) -> bytes:
    """Open an envelope whose data key one of our versions wrapped.

    Raises ValidationFailed (not an envelope), NotFound (its kms_key_id), PermissionRefused, WrongState, and
    DecryptRefused, the same whatever else is wrong.
    """
    envelope = _envelope(source)
    found, number = key_views.view_by_arn(envelope.kms_key_id)
    _open_kek(actor, found, Permission.KEY_DECRYPT)
    return _open(actor, found.processing(number), envelope)


def envelope_decrypt_many(
    actor: Actor, key_ref: KeyRef, sources: Sequence[Mapping[str, Any]]
) -> list[Opened | PortalError]:
    """As `envelope_decrypt`, for up to 1,000 envelopes whose data keys versions of one key wrapped."""
    found = _open_kek(actor, key_views.view(key_ref), Permission.KEY_DECRYPT)

    def work(source: Mapping[str, Any]) -> Opened:
        envelope = _envelope(source)
        version = _version_of(found, envelope.kms_key_id)
        return Opened(_open(actor, version, envelope), version.key_version, envelope.ciphertext)

    return each(sources, work)


def _envelope(source: Envelope | str | bytes | Mapping[str, Any]) -> Envelope:
    try:
        return source if isinstance(source, Envelope) else Envelope.from_json(source)
    except MalformedEnvelope as error:
        raise ValidationFailed("This is not an envelope.", errors={"envelope": [str(error)]}) from None


def _open(actor: Actor, version: KeyVersion, envelope: Envelope) -> bytes:
    if data_key_cache.serves(version, envelope.algorithm):
        return _open_kept(actor, version, envelope)
    data_key = _unwrap(actor, version, envelope.wrapped_dek, _context(envelope.encryption_context))
    with portal_errors(), data_key:
        return open_envelope(envelope, data_key)


def _open_kept(actor: Actor, version: KeyVersion, envelope: Envelope) -> bytes:
    context = _context(envelope.encryption_context)
    try:
        with portal_errors():
            cipher = data_key_cache.opening(version, envelope.wrapped_dek, context, envelope.algorithm)
    except KeyUnusable:
        used(version, actor)  # its provider stopped it before us: somebody needs it all the same
        raise
    except ProviderFault:
        raise DecryptRefused from None  # a key of another length
    used(version, actor)
    with portal_errors():
        return open_with(cipher, envelope)


def _open_kek(actor: Actor, found: KeyView, permission: Permission) -> KeyView:
    authorize_use(actor, permission, found)
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
