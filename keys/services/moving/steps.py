"""The steps up to the switch: each reads, calls providers, and writes what came of it down in one short transaction.

A step that dies leaves the move where it was; doing it again is doing it once. Nothing that stands on the old version
is touched here, so undoing before the switch is letting the new version go.
"""

import base64
import logging
import random
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from keys.crypto import keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation
from keys.crypto.envelope import context_aad
from keys.crypto.errors import CryptoError
from keys.models import DataKey, KeyVersion, Move, ProviderIntent
from keys.providers.base import BoundCipher, CredentialsRefused
from keys.providers.registry import ProviderDisabled
from keys.services import budget, lifecycle, materials, notices, versions
from keys.services.moving import offers, switching
from keys.services.moving.frame import ALL_OF_IT, act_on_move, step
from keys.services.providers import intents
from keys.services.ratelimit import ProviderCalls
from keys.states import MoveState, VersionState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict, DecryptRefused, PortalError, ProviderUnavailable, Sealed, StoreUnavailable

logger = logging.getLogger(__name__)
M = MoveState
OWN_PROBES = 2  # random values, for a key under which nothing stands yet
LONGEST_WAIT = 300.0
AT_WORK = [M.MAKING.value, M.DUAL_WRAPPING.value, M.COMPARING.value, M.UNDOING.value]


class Mismatch(Conflict):
    """What was read back at the new place is not what had been wrapped there."""

    code, title = "move_mismatch", "The new place answers wrongly"


def actor() -> Actor:
    """Who does the steps of a move that was agreed to."""
    return system_actor("key move", Permission.KEY_MOVE, Permission.KEY_ROTATE, Permission.KEY_DESTROY)


def due() -> list[UUID]:
    """Moves whose next step is due."""
    now = timezone.now()
    rows = Move.objects.filter(Q(next_try_at=None) | Q(next_try_at__lte=now), state__in=AT_WORK)
    return list(rows.exclude(state=M.UNDOING.value, rotation__isnull=False).values_list("pk", flat=True)[:100])


def advance(move_id: UUID) -> None:
    """Do what is due of a move, step after step; what goes wrong is written into it. Safe to run twice."""
    for _ in AT_WORK:
        rows = Move.objects.select_related(*ALL_OF_IT).filter(Q(next_try_at=None) | Q(next_try_at__lte=timezone.now()))
        move = rows.filter(pk=move_id, state__in=AT_WORK).first()
        if move is None:
            return
        try:
            if not _STEPS[M(move.state)](move):
                return
        except PortalError as error:
            _trouble(move, error)
            return


def _done(move: Move, new: MoveState, **changes: Any) -> bool:
    """Write a finished step down, unless the move was taken another way meanwhile; whether to go on."""
    with act_on_move(actor(), Permission.KEY_MOVE, f"move.{new.value}", move.pk) as (row, act):
        if row.state != move.state:
            return False
        step(row, new, "go on", attempts=0, next_try_at=None, last_error="", **changes)
        act.record({"version": row.new_version.key_version, "at": row.target, "compared": row.compared})
    return True


def _trouble(move: Move, error: PortalError) -> None:
    """Later by itself where that may help; otherwise somebody has to resume or undo."""
    said = f"{error.detail} {error.hint}".strip()[:2000]
    passing = isinstance(error, (ProviderUnavailable, StoreUnavailable, Sealed, ProviderDisabled))
    with act_on_move(actor(), Permission.KEY_MOVE, "move.failed", move.pk) as (row, act):
        if row.state != move.state:
            return
        if passing and not isinstance(error, CredentialsRefused):
            row.attempts += 1
            wait = random.uniform(0.5, min(LONGEST_WAIT, 2.0**row.attempts))  # noqa: S311
            wait = max(wait, float(error.extra.get("retry_after", 0)))
            row.last_error, row.next_try_at = f"Waiting: {said}", timezone.now() + timedelta(seconds=wait)
            row.save(update_fields=["attempts", "last_error", "next_try_at"])
            return
        at = row.state
        step(row, M.FAILED, "stop", last_error=said, next_try_at=None)
        notices.move_stopped(row, said)
        act.record({"step": at, "code": error.code, "detail": error.detail}, outcome="failed")


def _check_versions(move: Move) -> None:
    """Raise Conflict when either version was taken another way since the move began."""
    old, new = move.old_version, move.new_version
    if old.state is not VersionState.ACTIVE:
        raise Conflict(
            f"{old} is {old.status.replace('_', ' ')} and no longer the version in use.", hint="Undo the move."
        )
    if new.state is not VersionState.PRE_ACTIVE:
        raise Conflict(f"{new} is {new.status.replace('_', ' ')} before it was used.", hint="Undo the move.")


def _make(move: Move) -> bool:
    _check_versions(move)
    if versions.is_made(move.new_version):
        return _done(move, M.DUAL_WRAPPING, made_at=timezone.now())
    intent = ProviderIntent.objects.filter(version=move.new_version, act__in=intents.MAKING).first()
    if intent is not None and intent.state == "failed":
        raise Conflict(f"The new version could not be made: {intent.last_error}")
    return False  # its provider is at work; the end of that is looked for by the tick


def _wrap(move: Move) -> bool:
    """Wrap values at the new place that are wrapped at the old one: keys below it, and two of our own."""
    _check_versions(move)
    old, new = (_whole(pk) for pk in (move.old_version_id, move.new_version_id))
    probes: list[dict[str, Any]] = []
    if _seals(new):
        from_old, to_new = ProviderCalls(old.provider), ProviderCalls(new.provider)
        cipher_old, cipher_new = materials.cipher(old), materials.cipher_here(new)
        rows = _wrapped_below(old)
        budget.prepare(new, len(rows) + OWN_PROBES)
        for context, wrapped in rows:
            from_old.take(1)
            plaintext = cipher_old.decrypt(wrapped, context_aad(context))
            to_new.take(1)
            probes.append(_probe(new, cipher_new, context, wrapped, plaintext))
        for number in range(OWN_PROBES):
            context, plaintext = {"move": str(move.pk), "probe": str(number)}, secrets.token_bytes(32)
            from_old.take(1)
            budget.spend(old)
            to_new.take(1)
            wrapped = cipher_old.encrypt(plaintext, _aad(new, context))
            probes.append(_probe(new, cipher_new, context, wrapped, plaintext))
    return _done(move, M.COMPARING, probes=probes, wrapped_at=timezone.now())


def _probe(
    new: KeyVersion, cipher: BoundCipher, context: dict[str, str], wrapped: bytes, plaintext: bytes
) -> dict[str, Any]:
    budget.spend(new)
    again = cipher.encrypt(plaintext, _aad(new, context))
    if again == wrapped or plaintext in again:
        raise Mismatch(f"{new.provider} gave back what it was to wrap.")
    return {"context": context, "old": base64.b64encode(wrapped).decode(), "new": base64.b64encode(again).decode()}


def _wrapped_below(old: KeyVersion) -> list[tuple[dict[str, str], bytes]]:
    """Keys that stand on the old version, with what each is bound to: some of either sort."""
    below = KeyVersion.objects.filter(wrapped_by=old, wrapped_material__isnull=False).order_by("-pk")
    data_keys = DataKey.objects.filter(wrapped_by=old).order_by("-pk").values_list("pk", "wrapped")
    half = offers.PROBES // 2
    found = [(materials.version_context(row), bytes(row.wrapped_material or b"")) for row in below[:half]]
    return found + [(materials.data_key_context(pk), bytes(wrapped)) for pk, wrapped in data_keys[:half]]


def _compare(move: Move) -> bool:
    """Read everything back at both places; then switch, or wait until the new public key was published long enough."""
    _check_versions(move)
    old, new = (_whole(pk) for pk in (move.old_version_id, move.new_version_id))
    try:
        compared = _read_back(move, old, new)
    except (DecryptRefused, CryptoError):
        raise Mismatch(f"{new.provider} cannot open what it wrapped, or what it signed is not valid.") from None
    ready_at = versions.publication_due(new, move.key.policy)
    if ready_at is not None and ready_at > timezone.now():
        return _wait_for_publication(move, compared, ready_at)
    return switching.switch(actor(), move, compared)


def _wait_for_publication(move: Move, compared: int, ready_at: datetime) -> bool:
    rows = Move.objects.filter(pk=move.pk, state=move.state)
    rows.update(
        compared=compared, compared_at=timezone.now(), next_try_at=ready_at, attempts=0,
        last_error=f"Published: verifiers get to know the new key until {ready_at:%Y-%m-%d %H:%M} UTC, then it signs.",
    )  # fmt: skip
    return False


def _read_back(move: Move, old: KeyVersion, new: KeyVersion) -> int:
    """How many values agreed; raises Mismatch, and what the providers raise."""
    wrong = Mismatch(
        f"{new.provider} did not give back what had been wrapped there.", hint="Undo the move; nothing stands on it."
    )
    if move.with_material and old.public_key is not None and bytes(old.public_key) != bytes(new.public_key or b""):
        raise Mismatch(f"The key at {new.provider} is another one than the key that was brought there.")
    from_old, from_new = ProviderCalls(old.provider), ProviderCalls(new.provider)
    message = secrets.token_bytes(32)
    row = ALGORITHMS[new.key.algorithm]
    if row.kind is Kind.SIGNATURE:
        from_new.take(1)
        keymaterial.verify(row, bytes(new.public_key or b""), message, materials.signer(new).sign(message))
        return 1
    if row.kind is Kind.MAC:
        from_new.take(3)
        keyed = materials.authenticator(new)
        code = keyed.mac(message)
        if not keyed.verify_mac(message, code) or keyed.verify_mac(message + b"\0", code):
            raise wrong
        if move.with_material and not materials.authenticator(old).verify_mac(message, code):
            raise wrong
        return 1
    if not _seals(new):
        return 1  # a key for agreement: its public half was looked at when it was made
    cipher_old, cipher_new = materials.cipher(old), materials.cipher_here(new)
    for probe in move.probes:
        aad = _aad(new, probe["context"])
        from_old.take(1)
        ours = cipher_old.decrypt(base64.b64decode(probe["old"]), aad)
        from_new.take(1)
        theirs = cipher_new.decrypt(base64.b64decode(probe["new"]), aad)
        if not secrets.compare_digest(ours, theirs):
            raise wrong
    if row.kind is Kind.AEAD and _opens(cipher_new, base64.b64decode(move.probes[-1]["new"]), b"another context"):
        raise Mismatch(f"{new.provider} does not bind what it wraps to its place.")
    return len(move.probes)


def _opens(cipher: BoundCipher, payload: bytes, aad: bytes) -> bool:
    try:
        cipher.decrypt(payload, aad)
    except DecryptRefused:
        return False
    return True


def _aad(version: KeyVersion, context: dict[str, str]) -> bytes:
    return context_aad(context) if ALGORITHMS[version.key.algorithm].kind is Kind.AEAD else b""


def _seals(version: KeyVersion) -> bool:
    return Operation.DECRYPT in ALGORITHMS[version.key.algorithm].operations


def _whole(version_id: int) -> KeyVersion:
    return KeyVersion.objects.select_related(*materials.CHAIN).get(pk=version_id)


def _clean_up(move: Move) -> bool:
    """Undo what was begun before the switch: let the new version go, at its place too."""
    if move.rotation_id is not None:
        return False  # the walk back is followed by `switching.follow`
    if move.new_version.state is VersionState.PRE_ACTIVE:
        making = ProviderIntent.objects.filter(version=move.new_version, act__in=intents.MAKING)
        if making.exclude(state__in=["done", "failed"]).exists():
            return False  # what its provider is making has to be there before it can go
        lifecycle.destroy_version(actor=actor(), version_id=move.new_version_id)
    return _done(move, M.UNDONE, probes=[])


_STEPS: dict[MoveState, Callable[[Move], bool]] = {
    M.MAKING: _make, M.DUAL_WRAPPING: _wrap, M.COMPARING: _compare, M.UNDOING: _clean_up,
}  # fmt: skip
