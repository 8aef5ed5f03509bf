"""Doing what was written down: claim, call the provider, write down what came of it; two short transactions around a call.

A worker that dies between them leaves an intent whose lease runs out. Who takes it over finds what was made by its tag.
"""

import logging
import random
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.models import KeyProvider, KeyVersion, ProviderIntent, Rotation
from keys.providers import registry
from keys.providers.base import CredentialsRefused, KeyHandle
from keys.providers.quotas import CHANGES, OTHER_CHANGES
from keys.services import deletion, materials, notices, versions
from keys.services.acts import target_of
from keys.services.providers import effects, intents
from keys.services.providers.calls import call
from keys.services.providers.effects import Outcome
from keys.services.providers.replication import has_replicas
from keys.services.ratelimit import RateLimiter
from keys.services.rotation import starting
from keys.states import IntentState, RotationState, VersionState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError, ProviderUnavailable, Sealed

logger = logging.getLogger(__name__)
Act = ProviderIntent.Act
TRIES = 24  # with these waits: about three quarters of an hour
LONGEST_WAIT = 300.0


def perform(intent_id: UUID, *, secret: SecretBytes | None = None) -> None:
    """Do one intent, if it is due and nobody else is at it; what goes wrong is written into it.

    `secret` is the material of an import by hand, which is stored nowhere: without it such an intent is left alone.
    """
    intent = _claim(intent_id, by_hand=secret is not None)
    if intent is None:
        return
    alias = intent.version.provider
    try:
        _take_turn(intent)
        order = effects.order_of(intent, secret)
        outcome = call(
            alias, intent.act, lambda: effects.perform(order), deadline=settings.PROVIDER_LEASE_SECONDS / 2,
            counts=not has_replicas(order.keeper),
        )  # fmt: skip
    except PortalError as error:
        _put_off(intent, error)
        return
    try:
        _finish(intent, outcome)
    except _Overtaken:
        _give_back(intent, outcome)


class _Overtaken(Exception):
    """The lease ran out while the provider was called, and somebody else holds it."""


def _claim(intent_id: UUID, *, by_hand: bool) -> ProviderIntent | None:
    with transaction.atomic():
        rows = intents.due(by_hand=by_hand).select_for_update(of=("self",), skip_locked=True)
        intent = rows.select_related("version__key__ring", "sealed_material").filter(pk=intent_id).first()
        if intent is None:
            return None
        if intent.state == IntentState.FAILED:
            intents.move(intent, IntentState.QUEUED, "try again")
            intent.finished_at = None
        intents.move(intent, IntentState.CALLING, "call for")
        intent.lease, intent.attempts, intent.next_try_at = uuid4(), intent.attempts + 1, None
        intent.lease_until = timezone.now() + timedelta(seconds=settings.PROVIDER_LEASE_SECONDS)
        intent.save(update_fields=["state", "lease", "lease_until", "attempts", "next_try_at", "finished_at"])
    return intent


def _take_turn(intent: ProviderIntent) -> None:
    """Making and changing keys has a quota of its own at every provider; wait for it here, not for an error there."""
    alias = intent.version.provider
    kind = KeyProvider.objects.filter(alias=alias).values_list("kind", flat=True).first()
    RateLimiter(f"provider:{alias}:changes", CHANGES.get(kind or "", OTHER_CHANGES)).acquire()


def _held(intent: ProviderIntent) -> ProviderIntent:
    """The intent's row, locked, while its lease is still ours; raises _Overtaken."""
    row = ProviderIntent.objects.select_for_update(of=("self",)).filter(pk=intent.pk, lease=intent.lease).first()
    if row is None:
        raise _Overtaken
    return row


def _end(row: ProviderIntent, state: IntentState, error: str = "", next_try_at: datetime | None = None) -> None:
    intents.move(row, state, "end")
    row.lease, row.lease_until, row.last_error, row.next_try_at = None, None, error[:2000], next_try_at
    row.finished_at = timezone.now() if state in {IntentState.DONE, IntentState.FAILED} else None
    row.save(update_fields=["state", "lease", "lease_until", "last_error", "next_try_at", "finished_at"])


def _put_off(intent: ProviderIntent, error: PortalError) -> None:
    """Later by itself where that may help; otherwise somebody has to look at it."""
    said = f"{error.detail} {error.hint}".strip()
    tries = intent.attempts - int(intent.params.get("tries_before", 0))
    passing = isinstance(error, (ProviderUnavailable, Sealed)) and not isinstance(error, CredentialsRefused)
    disabled = isinstance(error, registry.ProviderDisabled)
    try:
        with audit.atomic(actor=_actor(), action=f"provider.{intent.act}") as act:
            row = _held(intent)
            if disabled or (passing and tries < TRIES):
                wait = LONGEST_WAIT if disabled else random.uniform(0.5, min(LONGEST_WAIT, 2.0**tries))  # noqa: S311
                wait = max(wait, float(error.extra.get("retry_after", 0)))
                _end(row, IntentState.WAITING, said, timezone.now() + timedelta(seconds=wait))
                return
            _end(row, IntentState.FAILED, said)
            notices.provider_work_failed(intent.version, row.get_act_display(), said)
            key = intent.version.key
            act.record(
                {"intent": str(row.pk), "version": intent.version.key_version, "code": error.code, "detail": error.detail,
                 "attempts": row.attempts, "requested_by": row.requested_by},
                target=target_of(key), ring_id=key.ring_id, outcome="failed",
            )  # fmt: skip
    except _Overtaken:
        return


def _finish(intent: ProviderIntent, outcome: Outcome) -> None:
    """Write down what came of it; the key's lock first, as in every act on a key."""
    with audit.atomic(actor=_actor(), action=f"provider.{intent.act}") as act:
        key = versions.locked_key(intent.version.key_id)
        act.about(target=target_of(key), ring_id=key.ring_id)
        row = _held(intent)
        version = versions.version_in(key, row.version_id)
        if outcome.made is not None:
            _keep(version, outcome.made.opaque, outcome.made.public_key)
        sealed, row.sealed_material = row.sealed_material, None
        row.save(update_fields=["sealed_material"])
        if sealed is not None:
            sealed.delete()
        _end(row, IntentState.DONE)
        act.record(
            {"intent": str(row.pk), "version": version.key_version, "attempts": row.attempts,
             "requested_by": row.requested_by, **outcome.details}
        )  # fmt: skip
        if outcome.made is not None and row.params.get("activate"):
            _activate(version)
        elif row.act == Act.DESTROY and version.state is not VersionState.DESTROYED:
            deletion.erase(version, act)
    materials.forget()


def _keep(version: KeyVersion, opaque: str, public_key: bytes | None) -> None:
    version.handle, version.public_key, version.created_at = opaque, public_key, timezone.now()
    fields = ["handle", "public_key", "created_at"]
    if len(opaque) <= 500 and not KeyVersion.objects.filter(kms_key_arn=opaque).exists():
        version.kms_key_arn = opaque
        fields.append("kms_key_arn")
    version.save(update_fields=fields)


def _activate(version: KeyVersion) -> None:
    """Let the new version protect, and its rotation go on; unless the key was taken another way meanwhile."""
    rotation = Rotation.objects.filter(new_version=version).first()
    if version.state is not VersionState.PRE_ACTIVE:
        return
    if rotation is not None and rotation.state == RotationState.CANCELLED.value:
        return
    versions.activate(version)
    if rotation is not None:
        starting.introduced(rotation.pk)


def _give_back(intent: ProviderIntent, outcome: Outcome) -> None:
    """Somebody else took over while we were slow: at providers without tags they made a key of their own, ours goes."""
    if outcome.made is None:
        return
    kept = KeyVersion.objects.filter(handle=outcome.made.opaque).exists()
    alias = intent.version.provider
    if kept or ProviderIntent.objects.filter(pk=intent.pk).exclude(state=IntentState.DONE.value).exists():
        return  # theirs, or they will find it by its tag
    handle = KeyHandle(intent.version.key.algorithm, outcome.made.opaque)
    try:
        keeper = registry.provider(alias)
        call(alias, "reap", lambda: effects.reap(keeper, handle), counts=not has_replicas(keeper))
    except PortalError as error:
        logger.warning("a key made twice at %s could not be given back: %s", alias, error.code)


def _actor() -> Actor:
    return system_actor("provider work", Permission.KEY_ROTATE, Permission.KEY_DESTROY)
