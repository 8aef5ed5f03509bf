"""Where a key can be moved, what of it can go along, and what that would take: all of it before anybody asks."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db.models import Sum

from keys.hierarchy import KeyKind
from keys.models import CensusCount, DataStore, Key, KeyProvider, KeyVersion, Move, RootSeal
from keys.providers.base import Capability
from keys.providers.registry import LOCAL
from keys.services import deletion, rewrap
from keys.services.providers.registration import can, offered_algorithms
from keys.services.ratelimit import provider_budget
from keys.services.rotation.estimates import ITEMS_A_SECOND, estimate
from keys.states import MoveState, SealStanding, VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, PortalError, ValidationFailed, WrongState

PROBES = 64  # values of the key's own that are wrapped at the new place and read back before the switch
CALLS_A_PROBE = 3


@dataclass(frozen=True, slots=True)
class Offer:
    """One place: whether the key can go there, whether its material can go along, and why not."""

    alias: str
    title: str
    possible: bool
    with_material: bool
    words: str


@dataclass(frozen=True, slots=True)
class Part:
    """One store, or the wrapped keys below."""

    label: str
    items: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Items to wrap or encrypt again, calls at either place, and the time of the slowest of the three."""

    items: int
    source_calls: int
    target_calls: int
    seconds: float
    parts: list[Part]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def movable(key: Key) -> KeyVersion:
    """The version that would be moved; raises WrongState unless the key has an active one."""
    found = key.versions.select_related("key").filter(status=VersionState.ACTIVE.value).first()
    if found is None:
        raise WrongState(
            f"{key} has no active version to move.",
            hint="Resume it, or rotate the key first if it is compromised: a move carries trust over.",
        )
    return found


def places_for(key: Key, version: KeyVersion) -> list[Offer]:
    """Every enabled place but the one where the version is, the portal itself first."""
    rows = KeyProvider.objects.filter(state=KeyProvider.State.ENABLED).order_by("title", "alias")
    places = [(LOCAL, "This portal"), *((row.alias, str(row)) for row in rows)]
    return [_offer(key, version, alias, title) for alias, title in places if alias != version.provider]


def offer_of(key: Key, version: KeyVersion, alias: str) -> Offer:
    """The offer of one place; raises ValidationFailed naming `target` if the key cannot go there."""
    found = next((offer for offer in places_for(key, version) if offer.alias == alias), None)
    if found is None:
        raise ValidationFailed(errors={"target": ["No other provider is registered and enabled under this name."]})
    if not found.possible:
        raise ValidationFailed(errors={"target": [found.words]})
    return found


def _offer(key: Key, version: KeyVersion, alias: str, title: str) -> Offer:
    if why_not := _why_not(key, alias):
        return Offer(alias, title, False, False, why_not)
    if version.provider != LOCAL:
        words = (
            f"The material never leaves {version.provider}: a new key is made here, and what stands on the old one is "
            "wrapped or encrypted again."
        )
    elif not key.exportable:
        words = "The key was made not to be exported, so its material stays: a new key is made there."
    elif not can(alias, Capability.IMPORTER):
        words = "It takes no material made elsewhere: a new key is made there."
    else:
        words = "A new key can be made there; or the material goes along, wrapped by the provider's own procedure for imports."
        return Offer(alias, title, True, True, words)
    return Offer(alias, title, True, False, words)


def _why_not(key: Key, alias: str) -> str:
    """Why the key cannot go there at all, or nothing."""
    try:
        fits = key.algorithm in offered_algorithms(alias)
    except PortalError as error:
        return f"It cannot be asked now: {error.detail}"
    if not fits:
        return f"It does not offer {key.algorithm}."
    sealed = KeyProvider.objects.filter(alias=alias, sealed_settings__isnull=False).exists()
    if sealed and _is_over_sealed_values(key):
        return "Its credentials are sealed under this very key: it could not be opened without itself."
    retired = SealStanding.RETIRED.value
    if (sealed or alias == LOCAL) and RootSeal.objects.filter(key=key).exclude(state=retired).exists():
        return "This key seals the portal's root, without which this place cannot be used."
    return ""


def _is_over_sealed_values(key: Key) -> bool:
    """Whether the portal's own sealed values, providers' credentials among them, stand under this key."""
    sealed = DataStore.objects.filter(kind=DataStore.Kind.SEALED_VALUES).select_related("key").first()
    above: Key | None = sealed.key if sealed else None
    while above is not None:
        if above.pk == key.pk:
            return True
        above = above.parent
    return False


def dry_run(*, actor: Actor, key_id: UUID, target: str) -> Estimate:
    """What a move to `target` would take, counted now; changes nothing but the kept census.

    Raises PermissionRefused, NotFound, WrongState, ValidationFailed (target), StoreUnavailable.
    """
    key = Key.objects.select_related("current", "ring").filter(pk=key_id).first()
    if key is None:
        raise NotFound("There is no such key.")
    authorize(actor, Permission.KEY_MOVE, ring_id=key.ring_id, target=str(key))
    version = movable(key)
    offer_of(key, version, target)
    counted = estimate(key)
    # Segments are wrapped by the key above, and signatures stand on no version that has to be opened.
    ours = sum(part.items for part in counted.parts) if _is_called_for_items(key) else 0
    probes = CALLS_A_PROBE * (min(PROBES, ours) + 2)
    source_calls, target_calls = 2 * ours + probes, ours + probes
    waits = [
        calls / budget
        for alias, calls in ((version.provider, source_calls), (target, target_calls))
        if (budget := provider_budget(alias))
    ]
    return Estimate(
        counted.items, source_calls, target_calls, max([counted.seconds, counted.items / ITEMS_A_SECOND, *waits]),
        [Part(part.label, part.items) for part in counted.parts],
    )  # fmt: skip


def _is_called_for_items(key: Key) -> bool:
    if key.kind in {KeyKind.MASTER.value, KeyKind.KEK.value}:
        return True
    compact = DataStore.Format.COMPACT
    return DataStore.objects.filter(key=key).exclude(format=compact).exists()


def consequences(key: Key, version: KeyVersion, target: str, *, with_material: bool) -> list[str]:
    """What moving means, the numbers first, as last counted."""
    counted = deletion.consequences_of_destroying(version)
    wrapped = rewrap.count(version.pk)
    followers = DataStore.objects.filter(key=key).count()
    earlier = key.versions.exclude(pk=version.pk).exclude(status=VersionState.DESTROYED.value).count()
    said = [
        f"{_many(wrapped, 'wrapped key')} of {_many(counted.child_keys, 'key')} and {_many(counted.census_items, 'item')} in "
        f"{_many(followers, 'data store')} go from version {version.key_version} at {version.provider} to a new version at {target}.",
        f"The new version has {'the same material' if with_material else 'new material'}; every value is read back and compared before it is used.",
        "Until the old version is dropped everything new is wrapped at both places, so the move can be undone.",
        f"Dropping version {version.key_version} is asked for by itself, and refused until the census is zero.",
    ]
    if key.exportable and target != LOCAL and not can(target, Capability.EXPORTER):
        said.append(f"It can be exported no more once it is there: {target} gives no key out.")
    if earlier:
        said.append(
            f"{_many(earlier, 'earlier version')} stay{'s' if earlier == 1 else ''} where {'it is' if earlier == 1 else 'they are'}."
        )
    if key.kind == KeyKind.TOKEN_SIGNING.value and not with_material:
        hours = key.policy.publish_before_use_hours
        said.append(
            f"The new public key is in the JWKS for {hours} hours before it signs; the old one stays until its last token has expired."
        )
    return said


def dead_copies(move: Move) -> int:
    """At most how many items of customers' stores still carry the second copy of a move that is over, as last counted.

    It opens nowhere any more, and goes when the item is written the next time; what the portal keeps itself was cut.
    """
    if move.state != MoveState.COMPLETED.value:
        return 0
    rows = CensusCount.objects.filter(version=move.new_version_id, store__deregistered_at=None)
    counted = rows.exclude(store__format=DataStore.Format.COMPACT).aggregate(items=Sum("items"))
    return counted["items"] or 0


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
