"""Work at a provider is written down with the decision that needs it, in one transaction; a task does it afterwards."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyProvider, KeyVersion, Move, ProviderIntent
from keys.models.providers import OPEN_INTENTS
from keys.providers import registry
from keys.providers.base import Capability
from keys.services import sealing, stores
from keys.services.acts import act_on_key, target_of
from keys.states import INTENT_MOVES, IntentState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict, NotFound, WrongState
from keyvault_portal.jobs import enqueue_on_commit

Act = ProviderIntent.Act
BY_HAND = "by_hand"  # in the params of an import whose material is nowhere but with its caller
MAKING = (Act.CREATE.value, Act.IMPORT.value)
LOST_AFTER = timedelta(seconds=15)  # a queued intent this old had no worker: its message was lost


def is_remote(where: Key | KeyVersion) -> bool:
    """Whether a version lives, or the next version of a key will live, at a provider that is not the portal itself."""
    return where.provider != registry.LOCAL


def write(
    version: KeyVersion,
    act: str,
    actor: Actor,
    *,
    secret: SecretBytes | None = None,
    intent_id: UUID | None = None,
    **params: Any,
) -> ProviderIntent:
    """Write one piece of work down and send it to a worker after commit; the caller authorises and records.

    `intent_id` was given away before as the tag of a key that waits.
    `secret` (for an import) is sealed under the portal's own data key and erased when the work is done. `by_hand` among the
    params leaves an import to its caller, who alone has the material and calls `work.perform` with it: nothing is sealed, no
    worker is sent.
    """
    intent = ProviderIntent(
        id=intent_id or uuid4(), version=version, act=act, params=params, requested_by=actor.label[:200]
    )
    if BY_HAND in params:
        intent.save(force_insert=True)
        return intent
    if secret is not None:
        intent.sealed_material = sealing.seal_value(
            actor, purpose="key to be imported", plaintext=secret.reveal(), key=stores.sealing_key(actor)
        )
    intent.save(force_insert=True)
    send(intent.pk)
    return intent


def send(intent_id: UUID) -> None:
    """Send an intent to a worker after commit."""
    from keys.provider_tasks import provider_work

    enqueue_on_commit(provider_work, str(intent_id))


def follow(version: KeyVersion, act: str, actor: Actor, **params: Any) -> ProviderIntent | None:
    """Let the provider follow a change of a version's state; None where the portal alone holds that state.

    That is the case for the portal's own keys, and at providers without states of their own, which may end a key all the same.
    """
    needed = _NEEDED.get(act, Capability.LIFECYCLE)
    if not is_remote(version) or not version.handle or not declares(version.provider, needed):
        return None
    return write(version, act, actor, **params)


_NEEDED: dict[str, Capability] = {
    Act.DESTROY: Capability.DESTROYER, Act.RESTORE_METADATA: Capability.METADATA_RESTORE, Act.SET_ROTATION: Capability.SELF_ROTATION,
}  # fmt: skip


def declares(alias: str, capability: Capability) -> bool:
    """Whether the kind of this provider can do it; True where its library is missing here."""
    kind = KeyProvider.objects.filter(alias=alias).values_list("kind", flat=True).first()
    if kind is None:
        return False
    try:
        return capability in registry.provider_class(kind).capabilities
    except registry.KindUnavailable:
        return True  # written down all the same: the work says what is missing


def refuse_while_busy(version: KeyVersion, *acts: str) -> None:
    """Raise Conflict while one of these acts is still to be done for the version."""
    busy = ProviderIntent.objects.filter(version=version, act__in=acts, state__in=OPEN_INTENTS).first()
    if busy is not None:
        raise Conflict(
            f"The provider of {version} is still at work: {busy.get_act_display().lower()}.",
            hint="Wait until it is done; the key's page shows it.",
            intent=str(busy.pk),
        )


def of_key(key: Key, limit: int = 10) -> QuerySet[ProviderIntent]:
    """The newest work for a key."""
    return (
        ProviderIntent.objects.filter(version__key=key).select_related("version__key").order_by("-created_at")[:limit]
    )


def retry_intent(*, actor: Actor, intent_id: UUID) -> ProviderIntent:
    """Try failed work again; raises PermissionRefused, NotFound, WrongState, Conflict (something newer was decided)."""
    key_id = ProviderIntent.objects.filter(pk=intent_id).values_list("version__key_id", flat=True).first()
    if key_id is None:
        raise NotFound("There is no such work.")
    with act_on_key(actor, Permission.KEY_ROTATE, "provider.retry", key_id) as (key, act):
        intent = ProviderIntent.objects.select_for_update(of=("self",)).select_related("version__key").get(pk=intent_id)
        act.about(target=target_of(key))
        move(intent, IntentState.QUEUED, "try again")
        if ProviderIntent.objects.filter(version=intent.version_id, created_at__gt=intent.created_at).exists():
            raise Conflict("Something newer was decided about this version.", hint="Repeat that instead.")
        intent.next_try_at, intent.finished_at, intent.last_error = None, None, ""
        intent.params = {**intent.params, "tries_before": intent.attempts}
        intent.save(update_fields=["state", "next_try_at", "finished_at", "last_error", "params"])
        act.record({"intent": str(intent.pk), "act": intent.act, "version": intent.version.key_version})
        send(intent.pk)
    return intent


def move_of(intent_id: UUID) -> UUID | None:
    """The move whose new version this work is about, while it is under way."""
    rows = Move.objects.filter(new_version__intents=intent_id, ended_at=None)
    return rows.values_list("pk", flat=True).first()


def move(intent: ProviderIntent, new: IntentState, act: str) -> None:
    """Set the state if the table lets it; raises WrongState. The caller saves."""
    if not may_move(INTENT_MOVES, IntentState(intent.state), new):
        raise WrongState(f"This work is {intent.state}: you cannot {act} it.", state=intent.state)
    intent.state = new.value


def due(*, by_hand: bool = False) -> QuerySet[ProviderIntent]:
    """Work that nobody is at and whose time has come, the oldest of each version first; `by_hand` for that alone."""
    now = timezone.now()
    earlier = ProviderIntent.objects.filter(
        version=OuterRef("version"), state__in=OPEN_INTENTS, created_at__lt=OuterRef("created_at")
    )
    ready = Q(state=IntentState.QUEUED.value) | Q(state=IntentState.WAITING.value, next_try_at__lte=now)
    if by_hand:  # somebody stands there with the material: now, however often it failed before
        ready |= Q(state__in=[IntentState.WAITING.value, IntentState.FAILED.value])
    whose = Q(params__has_key=BY_HAND)
    return ProviderIntent.objects.filter(
        ready | Q(state=IntentState.CALLING.value, lease_until__lt=now), whose if by_hand else ~whose, ~Exists(earlier)
    ).order_by("created_at")


def stale() -> list[UUID]:
    """What to send to workers again: due, and not merely on its way."""
    just_sent = Q(state=IntentState.QUEUED.value, created_at__gt=timezone.now() - LOST_AFTER)
    return list(due().exclude(just_sent).values_list("pk", flat=True)[:200])
