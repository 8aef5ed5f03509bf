"""A key under an escrow key that exists in memory only, and its way back; what ceremonies stand on.

Nothing here asks for agreement and no page leads here: the ceremony that holds the escrow key is the agreement.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from keys.crypto import keycheck, transport
from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import Key, KeyExport, KeyVersion
from keys.providers.base import portal_errors
from keys.services import creation, materials
from keys.services.acts import act_on_key, target_of
from keys.services.exports import giving
from keys.services.imports.bringing import bring, normal_value, require_fit, require_importer
from keys.states import ExportState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError, ValidationFailed


@dataclass(frozen=True, slots=True)
class EscrowedKey:
    """A key version outside: `wrapped` opens with the escrow key alone (AES-256-KWP, RFC 5649) and is a secret's equal to it."""

    export_id: UUID
    key_id: UUID
    key_version: int
    algorithm: str
    check_value: str
    public_key: bytes | None
    wrapped: bytes


def wrap_for_escrow(*, actor: Actor, key_id: UUID, escrow_key: SecretBytes, reason: str) -> EscrowedKey:
    """The version in use of a master key (or of an exportable key), wrapped under `escrow_key` of 32 bytes.

    It counts as given out from the moment this is asked. Call it outside a transaction: a provider may be called.
    Raises PermissionRefused, NotFound, ValidationFailed (escrow key, reason), Conflict (never to be given out),
    OperationUnsupported (its provider gives no key out), WrongState, ProviderUnavailable.
    """
    if len(escrow_key) != transport.KEK_BYTES:
        raise ValidationFailed("An escrow key has 32 bytes.")
    if not reason.strip():
        raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
    with act_on_key(actor, Permission.KEY_EXPORT, "key.escrow", key_id) as (key, act):
        version = materials.active_version(key)
        giving.require_may_leave(version, even_if_not_exportable=key.kind == KeyKind.MASTER.value)
        row = giving.note(version, actor, method=KeyExport.Method.ESCROW, recipient="Escrow", reason=reason.strip())
        act.record({"export": str(row.pk), "version": version.key_version, "reason": row.reason})
    try:
        wrapped = giving.wrapped_by_provider(version, escrow_key)
        with portal_errors():
            material = transport.unwrap_under(escrow_key, wrapped)
        with material, portal_errors():
            value = keycheck.check_value(key.algorithm, material).hex().upper()
    except PortalError as error:
        with audit.atomic(actor=actor, action="key.escrow", target=target_of(key), ring_id=key.ring_id) as act:
            giving.move(row, ExportState.FAILED)
            row.last_error = error.detail
            row.save(update_fields=["state", "finished_at", "last_error"])
            act.record({"export": str(row.pk), "code": error.code, "detail": error.detail}, outcome="failed")
        raise
    giving.move(row, ExportState.ERASED)
    row.check_value = value
    row.save(update_fields=["state", "finished_at", "check_value"])
    return EscrowedKey(row.pk, key.pk, version.key_version, key.algorithm, value, giving.public_half(version), wrapped)


def import_wrapped(
    *,
    actor: Actor,
    wrapped: bytes,
    escrow_key: SecretBytes,
    check_value: str,
    ring: KeyRing,
    algorithm: str,
    provider: str = "local",
    **description: Any,
) -> Key:
    """A new key at `provider`, of what `wrap_for_escrow` gave; `description` is what else `create_key` takes.

    Raises PermissionRefused, ValidationFailed (another key than announced), DecryptRefused, and as `create_key` does.
    """
    with audit.atomic(
        actor=actor, action="key.import", target=("key", "", str(description.get("name", ""))), ring_id=ring.pk
    ) as act:
        authorize(actor, Permission.KEY_IMPORT, ring_id=ring.pk, target=f"ring {ring.name}")
        with _opened(wrapped, escrow_key) as material:
            value = require_fit(algorithm, material, normal_value(check_value))
            key = creation.create_key(
                actor=actor, ring=ring, algorithm=algorithm, provider=provider, material=material, **description
            )
        act.record({"provider": provider, "check_value": value, "from": "escrow"}, target=target_of(key))
    return key


def import_wrapped_version(
    *, actor: Actor, key_id: UUID, wrapped: bytes, escrow_key: SecretBytes, check_value: str, activate: bool = False
) -> KeyVersion:
    """The next version of a key that is there, at the key's provider; raises as `import_wrapped`, NotFound."""
    with act_on_key(actor, Permission.KEY_IMPORT, "key.import", key_id) as (key, act):
        require_importer(key)
        with _opened(wrapped, escrow_key) as material:
            value = require_fit(key.algorithm, material, normal_value(check_value))
            version = bring(actor, key, material, activate=activate)
        act.record({"version": version.key_version, "check_value": value, "from": "escrow"})
    return version


def _opened(wrapped: bytes, escrow_key: SecretBytes) -> SecretBytes:
    with portal_errors():
        return transport.unwrap_under(escrow_key, wrapped)
