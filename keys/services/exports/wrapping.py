"""The worker's step of an export, the collection of what it made, and the clock that erases it here."""

import logging
import secrets
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from keys.crypto import keycheck, transport
from keys.crypto.secret import SecretBytes
from keys.models import KeyExport, KeyVersion
from keys.providers.base import portal_errors
from keys.services import materials, seal_watch, versions
from keys.services.acts import act_on_key, target_of
from keys.services.exports import giving
from keys.services.exports.requesting import send
from keys.services.ratelimit import first_in
from keys.states import ExportState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, PortalError, ProviderUnavailable, Sealed, WrongState

logger = logging.getLogger(__name__)
Method = KeyExport.Method
GIVE_UP_AFTER = timedelta(hours=1)  # of a provider that does not answer
AGAIN_SECONDS = 60
KEPT = timedelta(days=7)
LOST_AFTER = timedelta(seconds=30)


def wrap_export(export_id: UUID) -> None:
    """Wrap what was agreed to give out; safe to repeat, for it changes nothing at the provider. Failures are written down; raises Sealed."""
    seal_watch.require_open()
    rows = KeyExport.objects.select_related("version__key__ring", "version__wrapped_by__key", "wrapping_version__key")
    row = rows.filter(pk=export_id, state=ExportState.QUEUED.value).first()
    if row is None:
        return
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=row.version_id)
    try:
        giving.require_may_leave(version)  # withdrawn meanwhile, suspended, destroyed
        wrapped, value = _wrapped(row, version)
    except PortalError as error:
        _put_off(row, error)
        return
    with audit.atomic(actor=_actor(), action="key.wrap_export") as act:
        key = versions.locked_key(version.key_id)
        act.about(target=target_of(key), ring_id=key.ring_id)
        held = KeyExport.objects.select_for_update(of=("self",)).get(pk=row.pk)
        if held.state != ExportState.QUEUED.value:
            return
        giving.move(held, ExportState.READY)
        held.wrapped, held.check_value, held.last_error = wrapped, value, ""
        held.save(update_fields=["state", "finished_at", "wrapped", "check_value", "last_error"])
        act.record({"export": str(row.pk), "version": version.key_version, "check_value": value, "bytes": len(wrapped)})


def _wrapped(row: KeyExport, version: KeyVersion) -> tuple[bytes, str]:
    """The wrapped key and its check value; the clear is here only between two lines, and not at all for RSA-AES-KW."""
    kek = SecretBytes(secrets.token_bytes(transport.KEK_BYTES))
    under_kek = giving.wrapped_by_provider(version, kek)
    algorithm = version.key.algorithm
    with kek, portal_errors(), transport.unwrap_under(kek, under_kek) as material:
        value = keycheck.check_value(algorithm, material).hex().upper()
        if row.method == Method.KEY:
            assert row.wrapping_version_id is not None
            wrapper = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=row.wrapping_version_id)
            return materials.wrap_under(wrapper, material, context=export_context(row)), value
        receiver = transport.receiver_of(bytes(row.recipient_key or b""))
        if row.method == Method.RSA_AES_KW:
            return transport.join_wrapped(receiver, kek, under_kek), value
        return transport.wrap_for(receiver, transport.Method(row.method), material), value


def export_context(row: KeyExport) -> dict[str, str]:
    """What a key wrapped under another key is bound to; the recipient needs it to open."""
    return {"exported_key": str(row.version.key_id), "exported_version": str(row.version.key_version)}


def _put_off(row: KeyExport, error: PortalError) -> None:
    passing = isinstance(error, (ProviderUnavailable, Sealed))
    with audit.atomic(actor=_actor(), action="key.wrap_export") as act:
        key = versions.locked_key(row.version.key_id)
        held = KeyExport.objects.select_for_update(of=("self",)).get(pk=row.pk)
        if held.state != ExportState.QUEUED.value:
            return
        held.attempts += 1
        held.last_error = f"{error.detail} {error.hint}".strip()
        if not passing or held.created_at < timezone.now() - GIVE_UP_AFTER:
            giving.move(held, ExportState.FAILED)
            act.record(
                {"export": str(row.pk), "code": error.code, "detail": error.detail}, target=target_of(key),
                ring_id=key.ring_id, outcome="failed",
            )  # fmt: skip
        held.save(update_fields=["state", "finished_at", "attempts", "last_error"])


def collect_export(*, actor: Actor, export_id: UUID) -> KeyExport:
    """The wrapped key, to be handed to its recipient; every collection is recorded. Raises NotFound, WrongState."""
    with act_on_key(actor, Permission.KEY_EXPORT, "key.collect_export", _key_of(export_id)) as (_, act):
        row = KeyExport.objects.select_for_update(of=("self",)).select_related("version__key").get(pk=export_id)
        if row.state != ExportState.READY.value or row.wrapped is None:
            raise WrongState(f"This export is {row.state}: there is nothing to collect.", state=row.state)
        row.collected_at, row.collected_by = timezone.now(), actor.label[:200]
        row.save(update_fields=["collected_at", "collected_by"])
        act.record({"export": str(row.pk), "fingerprint": row.fingerprint})
    return row


def erase_export(*, actor: Actor, export_id: UUID) -> KeyExport:
    """Erase the wrapped key here; that it was given out stays written. Raises PermissionRefused, NotFound, WrongState."""
    with act_on_key(actor, Permission.KEY_EXPORT, "key.erase_export", _key_of(export_id)) as (_, act):
        row = KeyExport.objects.select_for_update(of=("self",)).select_related("version__key").get(pk=export_id)
        giving.move(row, ExportState.ERASED)
        row.wrapped = None
        row.save(update_fields=["state", "finished_at", "wrapped"])
        act.record({"export": str(row.pk)})
    return row


def _key_of(export_id: UUID) -> UUID:
    key_id: UUID | None = KeyExport.objects.filter(pk=export_id).values_list("version__key_id", flat=True).first()
    if key_id is None:
        raise NotFound("There is no such export.")
    return key_id


def tick_exports() -> None:
    """Send what no worker got, and erase what nobody needs here any more."""
    waiting = KeyExport.objects.filter(state=ExportState.QUEUED.value, created_at__lt=timezone.now() - LOST_AFTER)
    for export_id in waiting.exclude(method=Method.ESCROW).values_list("pk", flat=True)[:100]:
        if first_in(AGAIN_SECONDS, f"export:{export_id}"):
            send(export_id)
    old = KeyExport.objects.filter(state=ExportState.READY.value, finished_at__lt=timezone.now() - KEPT)
    for export_id in old.values_list("pk", flat=True)[:100]:
        erase_export(actor=_actor(), export_id=export_id)


def _actor() -> Actor:
    return system_actor("export work", Permission.KEY_EXPORT)
