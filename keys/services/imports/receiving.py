"""What arrives wrapped, and the worker's step that opens, checks and brings it to its provider."""

import hashlib
import hmac
import secrets
from uuid import UUID

from django.utils import timezone

from keys.crypto import components, transport
from keys.crypto.errors import CryptoError
from keys.crypto.secret import SecretBytes
from keys.models import KeyImport, KeyVersion
from keys.services import materials, seal_watch, sealing, versions
from keys.services.acts import target_of
from keys.services.exports.wrapping import export_context
from keys.services.imports import frame
from keys.services.imports.bringing import bring, material_words, normal_value, require_fit
from keys.services.providers import intents
from keys.states import ImportState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import (
    Conflict,
    DecryptRefused,
    PortalError,
    ProviderUnavailable,
    TooLarge,
    ValidationFailed,
    WrongState,
)
from keyvault_portal.jobs import enqueue_on_commit

MOST_BYTES = 16 * 1024  # the longest key of the table is under 5 kilobytes of PKCS#8
Method = KeyImport.Method


def receive_upload(*, actor: Actor, import_id: UUID, nonce: str, wrapped: bytes, check_value: str) -> KeyImport:
    """Take wrapped material; a worker opens it, compares size and check value, and brings the key to its provider.

    `nonce` is the one the import shows, good for one upload. Raises PermissionRefused, NotFound, WrongState, ImportExpired,
    Conflict (an older nonce, or the same bytes again), TooLarge, ValidationFailed.
    """
    with frame.act_on_import(actor, Permission.KEY_IMPORT, "key.upload", import_id) as (row, act):
        frame.require_open(row)
        if row.method == Method.COMPONENTS:
            raise WrongState("This import takes components, one from each custodian.", state=row.state)
        if len(wrapped) > MOST_BYTES:
            raise TooLarge(f"A wrapped key has at most {MOST_BYTES} bytes.")
        if not wrapped:
            raise ValidationFailed(
                "Nothing was uploaded.", errors={"upload": ["Choose the file with the wrapped key."]}
            )
        expected = normal_value(check_value)
        if row.check_value and row.check_value != expected:
            raise ValidationFailed(
                "Another check value was announced when the import was opened.", errors={"check_value": ["Differs."]}
            )
        digest = hashlib.sha256(wrapped).hexdigest()
        if digest in row.seen or KeyImport.objects.filter(seen__contains=[digest]).exists():
            raise Conflict("These very bytes were uploaded before.", hint="Wrap the key again for this import.")
        if not hmac.compare_digest(row.nonce.encode(), nonce.encode()):
            raise Conflict(
                "This upload belongs to an earlier page.", hint="Reload the import's page and send the file from there."
            )
        row.upload, row.check_value, row.seen = wrapped, expected, [*row.seen, digest]
        row.nonce, row.received_at, row.last_error = "", timezone.now(), ""
        frame.move(row, ImportState.RECEIVED)
        act.record({"import": str(row.pk), "sha256": digest, "bytes": len(wrapped), "check_value": expected})
        send(row.pk)
    return row


def send(import_id: UUID) -> None:
    """Let a worker go on with an import after commit."""
    from keys.transfer_tasks import import_work

    enqueue_on_commit(import_work, str(import_id))


def finish_import(import_id: UUID) -> None:
    """The worker's step; safe to repeat. What does not fit is erased, and a wrapped key may be sent again.

    Material for a provider is sealed again, and the work written down for it carries it there; only what came back under a
    key that lives at a provider is opened there, before the transaction. Raises Sealed, ProviderUnavailable: later again.
    """
    rows = KeyImport.objects.select_related("from_export__version")
    arrived = rows.filter(pk=import_id, state=ImportState.RECEIVED.value).first()
    if arrived is None:
        return
    key_id = arrived.key_id
    seal_watch.require_open()
    try:
        back = _came_back(arrived)
        with audit.atomic(actor=_actor(), action="key.import") as act:
            key = versions.locked_key(key_id)
            act.about(target=target_of(key), ring_id=key.ring_id)
            row = frame.locked(import_id, key)
            if row.state != ImportState.RECEIVED.value:
                return
            if row.method == Method.PROVIDER:
                # Only the provider can open it, so nobody here compares its check value.
                value, sent = row.check_value, SecretBytes(bytes(row.upload or b""))
                version = bring(_actor(), key, sent, activate=row.activate, offer=row.offer)
            else:
                with back or _material(row) as material:
                    value = require_fit(key.algorithm, material, row.check_value)
                    version = bring(_actor(), key, material, activate=row.activate)
            row.version = version
            frame.move(row, ImportState.HANDED if intents.is_remote(key) else ImportState.DONE)
            act.record(
                {"import": str(row.pk), "method": row.method, "version": version.key_version, "check_value": value,
                 "opened_by": row.opened_by, "entered_by": [c.person_label for c in row.components.order_by("number")]}
            )  # fmt: skip
    except ProviderUnavailable:
        raise
    except PortalError as error:
        _refuse(import_id, key_id, error)
    materials.forget()


def _came_back(row: KeyImport) -> SecretBytes | None:
    """What was given out under another key of the hierarchy, opened with that; None for what comes in any other way."""
    export = row.from_export
    if export is None:
        return None
    assert export.wrapping_version_id is not None  # by the constraint on exports under a key
    wrapper = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=export.wrapping_version_id)
    try:
        return materials.unwrap_under(wrapper, bytes(row.upload or b""), context=export_context(export))
    except DecryptRefused:
        raise ValidationFailed(
            "What was uploaded is not the key that was given out.",
            errors={"upload": [f"It does not open with {wrapper}."]},
            hint="Send the very file that the export gave out.",
        ) from None


def _material(row: KeyImport) -> SecretBytes:
    """The material in the clear, for as long as this step takes; raises DecryptRefused, ValidationFailed, WrongState."""
    if row.method == Method.COMPONENTS:
        parts = [sealing.open_value(part.sealed) for part in row.components.order_by("number") if part.sealed]
        try:
            with material_words():
                return components.combine(parts)
        finally:
            for part in parts:
                part.wipe()
    assert row.sealed_private is not None
    with sealing.open_value(row.sealed_private) as private:
        try:
            return transport.unwrap_from(private, transport.Method(row.method), bytes(row.upload or b""))
        except CryptoError:
            raise ValidationFailed(
                "What was uploaded is not a key wrapped for this import.",
                errors={"upload": ["It does not open with this import's wrapping key."]},
                hint="Follow the commands on the page, with the wrapping key of this very import.",
            ) from None


def _refuse(import_id: UUID, key_id: UUID, error: PortalError) -> None:
    """Say what is wrong; a wrapped key may come again under a new nonce, components are erased and begin anew."""
    with audit.atomic(actor=_actor(), action="key.import") as act:
        key = versions.locked_key(key_id)
        row = frame.locked(import_id, key)
        if row.state != ImportState.RECEIVED.value:
            return
        row.last_error = " ".join([error.detail, *_field_words(error), error.hint]).strip()
        if row.method == Method.COMPONENTS or not isinstance(error, ValidationFailed):
            if row.method == Method.COMPONENTS:
                row.last_error += (
                    " Every component fits its own value, so one of them belongs to another key. All were erased."
                )
            frame.move(row, ImportState.FAILED)
        else:
            row.upload, row.check_value, row.received_at, row.nonce = None, "", None, secrets.token_hex(16)
            frame.move(row, ImportState.OPEN)
        act.record(
            {"import": str(row.pk), "code": error.code, "detail": row.last_error}, target=target_of(key),
            ring_id=key.ring_id, outcome="failed",
        )  # fmt: skip


def _field_words(error: PortalError) -> list[str]:
    return [word for words in getattr(error, "errors", {}).values() for word in words]


def _actor() -> Actor:
    return system_actor("import work", Permission.KEY_IMPORT, Permission.KEY_ROTATE)
