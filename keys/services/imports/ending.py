"""How imports end other than well, and the clock that ends them: whatever had arrived is erased."""

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from keys.models import KeyComponent, KeyImport, KeyVersion, ProviderIntent
from keys.services import versions
from keys.services.acts import target_of
from keys.services.imports import frame
from keys.services.imports.components import send_component
from keys.services.imports.receiving import send
from keys.services.providers import intents, offers
from keys.services.ratelimit import first_in
from keys.states import OPEN_IMPORTS, ImportState, IntentState, VersionState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.jobs import enqueue_on_commit

AGAIN_SECONDS = 30
LOST_AFTER = timedelta(seconds=30)  # received this long ago, no worker got the message


def abort_import(*, actor: Actor, import_id: UUID, reason: str) -> KeyImport:
    """End an import and erase what has arrived, in whatever hands it is; raises PermissionRefused, NotFound, WrongState.

    Conflict while the provider is at work on it.
    """
    with frame.act_on_import(actor, Permission.KEY_IMPORT, "key.abort_import", import_id) as (row, act):
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        _end(row, actor, ImportState.ABORTED)
        act.record({"import": str(row.pk), "reason": reason.strip(), "components": row.components.count()})
    return row


def _end(row: KeyImport, actor: Actor, state: ImportState) -> None:
    version = row.version
    if version is not None:
        version.key = row.key
        intents.refuse_while_busy(version, *intents.MAKING)
        _give_up(version, actor)
    frame.move(row, state)
    if version is None and row.offer.get("opaque"):
        _give_back_later(row.pk)


def _give_up(version: KeyVersion, actor: Actor) -> None:
    """The provider never got it: the sealed material goes, and with the version what an earlier try may have left there."""
    for intent in ProviderIntent.objects.filter(version=version, act=ProviderIntent.Act.IMPORT).select_related(
        "sealed_material"
    ):
        sealed, intent.sealed_material = intent.sealed_material, None
        intent.save(update_fields=["sealed_material"])
        if sealed is not None:
            sealed.delete()
    if version.state is VersionState.PRE_ACTIVE:
        intents.write(version, ProviderIntent.Act.DESTROY, actor)


def _give_back_later(import_id: UUID) -> None:
    from keys.transfer_tasks import offer_back

    enqueue_on_commit(offer_back, str(import_id))


def give_offer_back(import_id: UUID) -> None:
    """Let the provider destroy the key that waited for an import that is over; safe to repeat, tried again by the tick."""
    row = KeyImport.objects.select_related("key").filter(pk=import_id, version=None).exclude(finished_at=None).first()
    if row is None or not row.offer.get("opaque"):
        return
    offers.give_back(row.key.provider, row.key.algorithm, row.offer)
    row.offer = {}
    row.save(update_fields=["offer"])


def tick_imports() -> None:
    """Settle what providers have done, end what has expired, and send what no worker got."""
    over = (
        KeyImport.objects.filter(version=None, offer__has_key="opaque")
        .exclude(finished_at=None)
        .exclude(offer__opaque="")
    )
    for import_id in over.filter(finished_at__lt=timezone.now() - LOST_AFTER).values_list("pk", flat=True)[:20]:
        _give_back_later(import_id)
    waiting = KeyComponent.objects.exclude(arrived=None).filter(entered_at__lt=timezone.now() - LOST_AFTER)
    for component_id in waiting.values_list("pk", flat=True)[:20]:
        send_component(component_id)
    rows = KeyImport.objects.filter(state__in=[state.value for state in OPEN_IMPORTS])
    for row_id, key_id in rows.values_list("pk", "key_id"):
        with audit.atomic(actor=_actor(), action="key.import") as act:
            key = versions.locked_key(key_id)
            act.about(target=target_of(key), ring_id=key.ring_id)
            _settle(frame.locked(row_id, key), act)


def _settle(row: KeyImport, act: audit.atomic) -> None:
    expired = row.expires_at <= timezone.now()
    if row.state == ImportState.HANDED.value:
        making = ProviderIntent.objects.filter(version=row.version, act=ProviderIntent.Act.IMPORT).first()
        if making is not None and making.state == IntentState.DONE.value:
            frame.move(row, ImportState.DONE)
            return
        expired = expired and (making is None or making.state == IntentState.FAILED.value)
    elif row.state == ImportState.RECEIVED.value:
        lost = row.received_at is None or row.received_at < timezone.now() - LOST_AFTER
        if lost and first_in(AGAIN_SECONDS, f"import:{row.pk}"):
            send(row.pk)
        return
    if expired:
        _end(row, _actor(), ImportState.EXPIRED)
        act.record({"import": str(row.pk), "components": row.components.count()}, action="key.expire_import")


def _actor() -> Actor:
    return system_actor("import schedule", Permission.KEY_IMPORT, Permission.KEY_DESTROY)
