"""The effects at a provider, each of which may be begun twice and happens once: the intent's id is the key's tag there."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from django.utils import timezone

from keys.crypto import keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.errors import CryptoError
from keys.models import ProviderIntent
from keys.providers import registry
from keys.providers.base import (
    TAG,
    Capability,
    Discovery,
    GeneratedKey,
    Importer,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    Lifecycle,
    OperationUnsupported,
    Provider,
    ProviderFault,
    RemoteKey,
    RemoteState,
    Signer,
    Tagging,
)
from keys.services import materials, sealing
from keys.services.providers import binding
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable

Act = ProviderIntent.Act
LONGEST_WAIT_DAYS, SHORTEST_WAIT_DAYS = 30, 7  # what every provider with a waiting time accepts
_GONE = {RemoteState.PENDING_DELETION, RemoteState.DESTROYED}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an effect left: a key, or only words for the record."""

    made: GeneratedKey | None = None
    details: dict[str, Any] = field(default_factory=dict)


def perform(intent: ProviderIntent) -> Outcome:
    """Do what the intent says; raises the portal's errors. Called between two transactions, never inside one."""
    keeper = registry.provider(intent.version.key.provider)
    if intent.act in (Act.CREATE, Act.IMPORT):
        return _make(keeper, intent)
    handle = materials.handle(intent.version)
    if not handle.opaque:
        return _clean_up(keeper, intent)
    if not isinstance(keeper, Lifecycle):
        raise OperationUnsupported(f"The provider {keeper.alias} has no states of its own.")
    work: dict[str, Callable[[Any, KeyHandle, ProviderIntent], Outcome]] = {
        Act.DISABLE: _disable, Act.ENABLE: _enable, Act.SCHEDULE_DELETION: _schedule, Act.CANCEL_DELETION: _cancel,
        Act.DESTROY: _destroy,
    }  # fmt: skip
    return work[intent.act](keeper, handle, intent)


def _make(keeper: Provider, intent: ProviderIntent) -> Outcome:
    algorithm = intent.version.key.algorithm
    made = _made_before(keeper, intent) if intent.attempts > 1 else None
    found_again = made is not None
    if made is None:
        made = _import(keeper, intent) if intent.act == Act.IMPORT else _generate(keeper, algorithm, str(intent.pk))
    if made.material is not None:
        raise ProviderFault(f"The provider {keeper.alias} gave the key's material away.")
    handle = KeyHandle(algorithm, made.opaque, made.public_key)
    _prove(keeper, handle, intent)
    return Outcome(made, {"handle": made.opaque, "found_again": found_again})


def _generate(keeper: Provider, algorithm: str, tag: str) -> GeneratedKey:
    if Capability.TAGS in keeper.capabilities:
        return cast("Tagging", keeper).generate(algorithm, tag=tag)
    return keeper.generate(algorithm)


def _import(keeper: Provider, intent: ProviderIntent) -> GeneratedKey:
    if not isinstance(keeper, Importer):
        raise OperationUnsupported(f"The provider {keeper.alias} takes no material made elsewhere.")
    if intent.sealed_material is None:
        raise ProviderFault("The material to be imported is gone.")
    algorithm, secret = intent.version.key.algorithm, sealing.open_value(intent.sealed_material)
    if Capability.TAGS in keeper.capabilities:
        return cast("Tagging", keeper).import_key(algorithm, secret, tag=str(intent.pk))
    return keeper.import_key(algorithm, secret)


def tagged(keeper: Provider, intent: ProviderIntent) -> list[RemoteKey]:
    """The keys an earlier try of this intent left there; always empty at providers that keep no tags."""
    if Capability.TAGS not in keeper.capabilities or not isinstance(keeper, Discovery):
        return []
    return [
        remote for remote in keeper.list_keys() if remote.tags.get(TAG) == str(intent.pk) and remote.state not in _GONE
    ]


def _made_before(keeper: Provider, intent: ProviderIntent) -> GeneratedKey | None:
    """The key of an earlier try, if it can be used as it is; what cannot is given back to the provider."""
    algorithm = intent.version.key.algorithm
    usable: GeneratedKey | None = None
    for remote in tagged(keeper, intent):
        handle = KeyHandle(algorithm, remote.opaque)
        described = cast("Discovery", keeper).describe(handle)
        whole = described.state is RemoteState.ENABLED and (ALGORITHMS[algorithm].symmetric or described.public_key)
        if whole and usable is None:
            usable = GeneratedKey(remote.opaque, public_key=described.public_key)
        else:
            reap(keeper, handle)
    return usable


def reap(keeper: Provider, handle: KeyHandle) -> None:
    """Let the provider destroy a key that nothing stands on; raises as its lifecycle does."""
    if not isinstance(keeper, Lifecycle):
        return
    try:
        keeper.destroy(handle)
    except KeyMissing:
        return
    except OperationUnsupported:
        keeper.schedule_deletion(handle, SHORTEST_WAIT_DAYS)


def _prove(keeper: Provider, handle: KeyHandle, intent: ProviderIntent) -> None:
    """Nothing is activated that was not seen to work: the right key answers, and reads what it wrote.

    Raises ProviderFault for a wrong answer, ProviderUnavailable while a fresh key is not ready everywhere.
    """
    wrong = ProviderFault(f"The provider {keeper.alias} answered with another key than the one asked for.")
    row = ALGORITHMS[handle.algorithm]
    try:
        if isinstance(keeper, Discovery):
            seen = keeper.describe(handle)
            marked = Capability.TAGS not in keeper.capabilities or seen.tags.get(TAG) == str(intent.pk)
            if seen.opaque != handle.opaque or seen.algorithm not in {handle.algorithm, None} or not marked:
                raise wrong
        message = secrets.token_bytes(32)
        if row.kind is Kind.AEAD:
            aad = str(intent.pk).encode()
            cipher = binding.cipher(keeper, handle)
            if not secrets.compare_digest(cipher.decrypt(cipher.encrypt(message, aad), aad), message):
                raise wrong
        elif row.kind is Kind.SIGNATURE and isinstance(keeper, Signer):
            keymaterial.verify(handle.algorithm, handle.public_key or b"", message, keeper.signer(handle).sign(message))
    except (DecryptRefused, CryptoError):
        raise wrong from None
    except (KeyMissing, KeyUnusable):
        raise ProviderUnavailable(f"The new key is not ready everywhere at {keeper.alias} yet.") from None


def _clean_up(keeper: Provider, intent: ProviderIntent) -> Outcome:
    """A version whose making failed may have left keys behind; its destruction takes them along."""
    making = ProviderIntent.objects.filter(version=intent.version, act__in=[Act.CREATE, Act.IMPORT]).first()
    left = tagged(keeper, making) if making else []
    for remote in left:
        reap(keeper, KeyHandle(intent.version.key.algorithm, remote.opaque))
    return Outcome(details={"left_over": len(left)})


def _state(keeper: Any, handle: KeyHandle) -> RemoteState | None:
    return keeper.describe(handle).state if isinstance(keeper, Discovery) else None


def _disable(keeper: Lifecycle, handle: KeyHandle, intent: ProviderIntent) -> Outcome:
    if _state(keeper, handle) is not RemoteState.DISABLED:
        keeper.disable(handle)
    return Outcome()


def _enable(keeper: Lifecycle, handle: KeyHandle, intent: ProviderIntent) -> Outcome:
    if _state(keeper, handle) is not RemoteState.ENABLED:
        keeper.enable(handle)
    return Outcome()


def _schedule(keeper: Lifecycle, handle: KeyHandle, intent: ProviderIntent) -> Outcome:
    """The provider's clock must never run out before the portal's: a longer grace is waited out with the key disabled."""
    due = datetime.fromisoformat(intent.params["due_at"])
    days = -((timezone.now() - due) // timedelta(days=1))
    if days > LONGEST_WAIT_DAYS:
        _disable(keeper, handle, intent)
        return Outcome(details={"provider": "disabled until the grace period is over"})
    if _state(keeper, handle) is RemoteState.PENDING_DELETION:
        return Outcome(details={"provider": "waits for its deletion already"})
    theirs = keeper.schedule_deletion(handle, max(days, SHORTEST_WAIT_DAYS))
    return Outcome(details={"provider_destroys_at": theirs.isoformat()})


def _cancel(keeper: Lifecycle, handle: KeyHandle, intent: ProviderIntent) -> Outcome:
    if _state(keeper, handle) is RemoteState.ENABLED:
        return Outcome()
    try:
        keeper.cancel_deletion(handle)
    except KeyUnusable:
        keeper.enable(handle)  # it was only disabled, because the grace is longer than the provider waits
    return Outcome()


def _destroy(keeper: Lifecycle, handle: KeyHandle, intent: ProviderIntent) -> Outcome:
    try:
        if _state(keeper, handle) is RemoteState.DESTROYED:
            return Outcome(details={"provider": "was destroyed already"})
        keeper.destroy(handle)
    except KeyMissing:
        return Outcome(details={"provider": "knows no such key any more"})
    except OperationUnsupported:
        if _state(keeper, handle) is RemoteState.PENDING_DELETION:
            return Outcome(details={"provider": "destroys it by itself when its own waiting time is over"})
        theirs = keeper.schedule_deletion(handle, SHORTEST_WAIT_DAYS)
        return Outcome(details={"provider_destroys_at": theirs.isoformat()})
    return Outcome()
