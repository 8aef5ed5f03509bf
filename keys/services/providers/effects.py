"""The effects at a provider, each of which may be begun twice and happens once: the intent's id is the key's tag there."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from django.utils import timezone

from keys.crypto import keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.errors import CryptoError
from keys.crypto.secret import SecretBytes
from keys.models import ProviderIntent
from keys.providers import registry
from keys.providers.base import (
    TAG,
    Capability,
    Destroyer,
    Discovery,
    GeneratedKey,
    Importer,
    ImportOffer,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    Lifecycle,
    OperationUnsupported,
    Provider,
    ProviderFault,
    RemoteKey,
    RemoteState,
    Replicated,
    Restorer,
    SelfRotating,
    Signer,
)
from keys.providers.metadata import digest
from keys.services import materials, sealing
from keys.services.providers import binding, metadata, offers
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable

Act = ProviderIntent.Act
LONGEST_WAIT_DAYS, SHORTEST_WAIT_DAYS = 30, 7  # what every provider with a waiting time accepts
_GONE = {RemoteState.PENDING_DELETION, RemoteState.DESTROYED}


@dataclass(frozen=True, slots=True)
class Order:
    """All that an effect needs to know, read beforehand: what calls a provider touches no table."""

    keeper: Provider
    act: str
    handle: KeyHandle
    tag: str  # of the intent that makes, or made, the key
    tried_before: bool = False
    secret: SecretBytes | None = None
    exportable: bool = False
    offer: ImportOffer | None = None  # then `secret` is material wrapped for the provider itself
    due_at: datetime | None = None
    everywhere: bool = False  # the copies in other regions are what differs
    days: int | None = None  # of the provider's own rotation
    wanted: dict[str, Any] | None = None  # the policy, attributes and tags to be put back


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an effect left: a key, or only words for the record."""

    made: GeneratedKey | None = None
    details: dict[str, Any] = field(default_factory=dict)


def order_of(intent: ProviderIntent, secret: SecretBytes | None = None) -> Order:
    """Read what is needed, but for `secret` where that is brought by hand; raises ProviderUnavailable and its kinds, ProviderDisabled, Sealed."""
    version = intent.version
    making = ProviderIntent.objects.filter(version=version, act__in=[Act.CREATE, Act.IMPORT]).first()
    due_at = intent.params.get("due_at")
    keeper = registry.provider(version.provider)
    # Made elsewhere it may be less: a key that moves to a place that gives nothing out stays there.
    stays = version.moved_from_id is not None and Capability.EXPORTER not in keeper.capabilities
    handle = materials.handle(version)
    if copy := intent.params.get("copy"):
        handle = replace(handle, opaque=copy)
    return Order(
        keeper,
        intent.act,
        handle,
        str(making.pk) if making else "",
        intent.attempts > 1,
        sealing.open_value(intent.sealed_material) if intent.sealed_material else secret,
        not version.never_extractable and not stays,
        offers.read(making.params["offer"]) if making and "offer" in making.params else None,
        datetime.fromisoformat(due_at) if due_at else None,
        bool(intent.params.get("everywhere")),
        intent.params.get("days"),
        metadata.wanted(keeper, version.provider, handle) if intent.act == Act.RESTORE_METADATA else None,
    )


def perform(order: Order) -> Outcome:
    """Do what the order says; raises the portal's errors. Called between two transactions, never inside one."""
    keeper, handle = order.keeper, order.handle
    if order.act in (Act.CREATE, Act.IMPORT):
        return _make(order)
    if not handle.opaque:
        return _clean_up(order)
    plain: dict[str, Callable[[Provider, KeyHandle, Order], Outcome]] = {
        Act.DESTROY: _destroy, Act.RESTORE_METADATA: _restore, Act.SET_ROTATION: _set_rotation,
    }  # fmt: skip
    if order.act in plain or order.everywhere:
        return plain.get(order.act, _align_copies)(keeper, handle, order)
    if not isinstance(keeper, Lifecycle):
        raise OperationUnsupported(f"The provider {keeper.alias} has no states of its own.")
    states: dict[str, Callable[[Any, KeyHandle, Order], Outcome]] = {
        Act.DISABLE: _disable, Act.ENABLE: _enable, Act.SCHEDULE_DELETION: _schedule, Act.CANCEL_DELETION: _cancel,
    }  # fmt: skip
    return states[order.act](keeper, handle, order)


def _make(order: Order) -> Outcome:
    keeper, algorithm = order.keeper, order.handle.algorithm
    made = _made_before(order) if order.tried_before else None
    found_again = made is not None
    if made is None:
        made = _import(order) if order.act == Act.IMPORT else _generate(order)
    if made.material is not None:
        raise ProviderFault(f"The provider {keeper.alias} gave the key's material away.")
    _prove(keeper, KeyHandle(algorithm, made.opaque, made.public_key), order.tag)
    return Outcome(made, {"handle": made.opaque, "found_again": found_again})


def _generate(order: Order) -> GeneratedKey:
    made: GeneratedKey = cast("Any", order.keeper).generate(order.handle.algorithm, **_wishes(order))
    return made


def _wishes(order: Order) -> dict[str, Any]:
    """What this provider can be told besides, as `Tagging` and `Extractable` have it."""
    has = order.keeper.capabilities
    if order.exportable and Capability.EXPORTER not in has:
        raise OperationUnsupported(f"The provider {order.keeper.alias} gives no key out, and this one is exportable.")
    return ({"tag": order.tag} if Capability.TAGS in has else {}) | ({"exportable": True} if order.exportable else {})


def _import(order: Order) -> GeneratedKey:
    keeper, secret = order.keeper, order.secret
    if not isinstance(keeper, Importer):
        raise OperationUnsupported(f"The provider {keeper.alias} takes no material made elsewhere.")
    if secret is None:
        raise ProviderFault("The material to be imported is gone.")
    if order.offer is not None:
        taken: GeneratedKey = cast("Any", keeper).take_import(
            order.handle.algorithm, order.offer, secret.reveal(), **_wishes(order)
        )
        return taken
    made: GeneratedKey = cast("Any", keeper).import_key(order.handle.algorithm, secret, **_wishes(order))
    return made


def _tagged(order: Order) -> list[RemoteKey]:
    """The keys an earlier try left there; always empty at providers that keep no tags."""
    keeper = order.keeper
    if Capability.TAGS not in keeper.capabilities or not isinstance(keeper, Discovery) or not order.tag:
        return []
    return [remote for remote in keeper.list_keys() if remote.tags.get(TAG) == order.tag and remote.state not in _GONE]


def _made_before(order: Order) -> GeneratedKey | None:
    """The key of an earlier try, if it can be used as it is; what cannot is given back to the provider."""
    algorithm = order.handle.algorithm
    usable: GeneratedKey | None = None
    for remote in _tagged(order):
        if order.offer is not None and remote.state is RemoteState.PENDING_IMPORT:
            continue  # the key that waits for this very material
        handle = KeyHandle(algorithm, remote.opaque)
        described = cast("Discovery", order.keeper).describe(handle)
        whole = described.state is RemoteState.ENABLED and (ALGORITHMS[algorithm].symmetric or described.public_key)
        if whole and usable is None:
            usable = GeneratedKey(remote.opaque, public_key=described.public_key)
        else:
            reap(order.keeper, handle)
    return usable


def reap(keeper: Provider, handle: KeyHandle) -> None:
    """Let the provider destroy a key that nothing stands on; raises as its lifecycle does."""
    if not isinstance(keeper, Destroyer):
        return
    try:
        keeper.destroy(handle)
    except KeyMissing:
        return
    except OperationUnsupported:
        if isinstance(keeper, Lifecycle):
            keeper.schedule_deletion(handle, SHORTEST_WAIT_DAYS)


def _prove(keeper: Provider, handle: KeyHandle, tag: str) -> None:
    """Nothing is activated that was not seen to work: the right key answers, and reads what it wrote.

    Raises ProviderFault for a wrong answer, ProviderUnavailable while a fresh key is not ready everywhere.
    """
    wrong = ProviderFault(f"The provider {keeper.alias} answered with another key than the one asked for.")
    row = ALGORITHMS[handle.algorithm]
    try:
        if isinstance(keeper, Discovery):
            seen = keeper.describe(handle)
            marked = Capability.TAGS not in keeper.capabilities or seen.tags.get(TAG) == tag
            if seen.opaque != handle.opaque or seen.algorithm not in {handle.algorithm, None} or not marked:
                raise wrong
        message = secrets.token_bytes(32)
        if row.kind is Kind.AEAD:
            aad = tag.encode()
            cipher = binding.cipher(keeper, handle)
            if not secrets.compare_digest(cipher.decrypt(cipher.encrypt(message, aad), aad), message):
                raise wrong
        elif row.kind is Kind.SIGNATURE and isinstance(keeper, Signer):
            keymaterial.verify(handle.algorithm, handle.public_key or b"", message, keeper.signer(handle).sign(message))
    except (DecryptRefused, CryptoError):
        raise wrong from None
    except (KeyMissing, KeyUnusable):
        raise ProviderUnavailable(f"The new key is not ready everywhere at {keeper.alias} yet.") from None


def _clean_up(order: Order) -> Outcome:
    """A version whose making failed may have left keys behind; its destruction takes them along."""
    left = _tagged(order)
    if order.offer is not None and order.offer.opaque:  # what waited for its material, also where keys carry no tags
        reap(order.keeper, KeyHandle(order.handle.algorithm, order.offer.opaque))
    for remote in left:
        reap(order.keeper, KeyHandle(order.handle.algorithm, remote.opaque))
    return Outcome(details={"left_over": len(left)})


def _state(keeper: Any, handle: KeyHandle) -> RemoteState | None:
    return keeper.describe(handle).state if isinstance(keeper, Discovery) else None


def _disable(keeper: Lifecycle, handle: KeyHandle, order: Order) -> Outcome:
    if _state(keeper, handle) is not RemoteState.DISABLED:
        keeper.disable(handle)
    return Outcome()


def _enable(keeper: Lifecycle, handle: KeyHandle, order: Order) -> Outcome:
    if _state(keeper, handle) is not RemoteState.ENABLED:
        keeper.enable(handle)
    return Outcome()


def _schedule(keeper: Lifecycle, handle: KeyHandle, order: Order) -> Outcome:
    """The provider's clock must never run out before the portal's: a longer grace is waited out with the key disabled."""
    days = _days_left(order)
    if days > LONGEST_WAIT_DAYS:
        _disable(keeper, handle, order)
        return Outcome(details={"provider": "disabled until the grace period is over"})
    if _state(keeper, handle) is RemoteState.PENDING_DELETION:
        return Outcome(details={"provider": "waits for its deletion already"})
    theirs = keeper.schedule_deletion(handle, max(days, SHORTEST_WAIT_DAYS))
    return Outcome(details={"provider_destroys_at": theirs.isoformat()})


def _days_left(order: Order) -> int:
    assert order.due_at
    return -((timezone.now() - order.due_at) // timedelta(days=1))


def _align_copies(keeper: Provider, handle: KeyHandle, order: Order) -> Outcome:
    """Bring the copies in other regions to the state that the act stands for; the key itself is right already."""
    if not isinstance(keeper, Replicated):
        raise OperationUnsupported(f"The provider {keeper.alias} keeps no copies.")
    states: dict[str, RemoteState] = {
        Act.ENABLE: RemoteState.ENABLED, Act.DISABLE: RemoteState.DISABLED, Act.SCHEDULE_DELETION: RemoteState.PENDING_DELETION,
    }  # fmt: skip
    state, days = states[order.act], SHORTEST_WAIT_DAYS
    if state is RemoteState.PENDING_DELETION:
        days = max(_days_left(order), SHORTEST_WAIT_DAYS)
        if days > LONGEST_WAIT_DAYS:
            state = RemoteState.DISABLED
    keeper.align_replicas(handle, state, days)
    return Outcome(details={"copies": state.value})


def _set_rotation(keeper: Provider, handle: KeyHandle, order: Order) -> Outcome:
    if not isinstance(keeper, SelfRotating):
        raise OperationUnsupported(f"The provider {keeper.alias} rotates nothing by itself.")
    keeper.set_rotation(handle, order.days)
    return Outcome(details={"rotation_days": order.days})


def _cancel(keeper: Lifecycle, handle: KeyHandle, order: Order) -> Outcome:
    if _state(keeper, handle) is RemoteState.ENABLED:
        return Outcome()
    try:
        keeper.cancel_deletion(handle)
    except KeyUnusable:
        keeper.enable(handle)  # it was only disabled, because the grace is longer than the provider waits
    return Outcome()


def _restore(keeper: Provider, handle: KeyHandle, order: Order) -> Outcome:
    if not isinstance(keeper, Restorer) or order.wanted is None:
        raise OperationUnsupported(f"The provider {keeper.alias} takes no policy and no tags back.")
    keeper.restore_metadata(handle, order.wanted, tag=order.tag)
    return Outcome(details={"sha256": digest(order.wanted)})


def _destroy(keeper: Provider, handle: KeyHandle, order: Order) -> Outcome:
    if not isinstance(keeper, Destroyer):
        raise OperationUnsupported(f"The provider {keeper.alias} ends no key.")
    try:
        if _state(keeper, handle) is RemoteState.DESTROYED:
            return Outcome(details={"provider": "was destroyed already"})
        keeper.destroy(handle)
    except KeyMissing:
        return Outcome(details={"provider": "knows no such key any more"})
    except OperationUnsupported:
        if not isinstance(keeper, Lifecycle):
            raise
        if _state(keeper, handle) is RemoteState.PENDING_DELETION:
            return Outcome(details={"provider": "destroys it by itself when its own waiting time is over"})
        theirs = keeper.schedule_deletion(handle, SHORTEST_WAIT_DAYS)
        return Outcome(details={"provider_destroys_at": theirs.isoformat()})
    return Outcome()
