"""What the data plane knows of keys without asking the database each time: whole keys, for two seconds at most.

A lifecycle act empties the table of its own process at once; other processes follow within MAX_AGE seconds, which is
how long a suspended or compromised version may still be used elsewhere.
"""

from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction

from keys.models import Key, KeyVersion
from keys.providers.base import BoundSigner
from keys.services import reservations, seal_watch
from keys.services.cache import BoundedCache
from keys.services.materials import CHAIN
from keys.states import MAY_PROCESS, MAY_PROTECT, VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import NotFound, WrongState

type KeyRef = UUID | str
"""A key's id, or "ring/name"."""

MAX_AGE, MAX_ENTRIES = 2.0, 10_000


@dataclass(frozen=True, slots=True)
class KeyView:
    """One key with every version and the chain above each, as the database said a moment ago."""

    key: Key
    versions: dict[int, KeyVersion] = field(repr=False)
    active: KeyVersion | None = field(repr=False)
    reserved: str = ""  # the one purpose of the portal that it serves
    # By version: whom `operations.sign_bare` has let sign, and with what. It ends with the view.
    signers: dict[int, tuple[Actor, BoundSigner]] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        return f"{self.key.ring.name}/{self.key.name}"

    def protecting(self, number: int | None = None) -> KeyVersion:
        """The active version, or the one asked for if it is active; raises NotFound, WrongState."""
        version = self.active if number is None else self.version(number)
        if version is None:
            raise WrongState(f"The key {self.label} has no active version.", hint="Resume it or rotate the key.")
        if version.state not in MAY_PROTECT:
            raise WrongState(f"{version} is {version.status}: it protects nothing new.", state=version.status)
        return version

    def processing(self, number: int) -> KeyVersion:
        """The version that protected something, if it may still process it; raises NotFound, WrongState."""
        version = self.version(number)
        if version.state not in MAY_PROCESS:
            raise WrongState(f"{version} is {version.status}: it cannot be used.", state=version.status)
        return version

    def version(self, number: int) -> KeyVersion:
        """A version in whatever state; raises NotFound."""
        found = self.versions.get(number)
        if found is None:
            raise NotFound(f"The key {self.label} has no version {number}.")
        return found


_views: BoundedCache[UUID, KeyView] = BoundedCache(max_entries=MAX_ENTRIES, max_age=MAX_AGE)
_names: BoundedCache[str, UUID] = BoundedCache(max_entries=MAX_ENTRIES, max_age=MAX_AGE)
_arns: BoundedCache[str, tuple[UUID, int]] = BoundedCache(max_entries=MAX_ENTRIES, max_age=MAX_AGE)


@seal_watch.forgets
def forget() -> None:
    """Ask the database again for every key."""
    for cache in (_views, _names, _arns):
        cache.clear()


def forget_now_and_on_commit() -> None:
    """Forget for this transaction, and again once others can see what it did."""
    forget()
    transaction.on_commit(forget)


def view(key_ref: KeyRef) -> KeyView:
    """The key behind a reference; raises NotFound, Sealed."""
    seal_watch.require_open()
    key_id = key_ref if isinstance(key_ref, UUID) else _key_id(key_ref)
    found = _views.get(key_id)
    if found is None:
        found = _load(key_id)
        _views.put(key_id, found)
    return found


def view_by_arn(kms_key_arn: str) -> tuple[KeyView, int]:
    """The key and the version number that an envelope names; raises NotFound."""
    found = _arns.get(kms_key_arn)
    if found is None:
        row = KeyVersion.objects.filter(kms_key_arn=kms_key_arn).values_list("key_id", "key_version").first()
        if row is None:
            raise NotFound("No key version has this kms_key_id.")
        found = row
        _arns.put(kms_key_arn, found)
    return view(found[0]), found[1]


def version(key_id: UUID, number: int) -> KeyVersion:
    """One version with the chain above it, also one made after the key was last looked at; raises NotFound."""
    found = view(key_id).versions.get(number)
    if found is None:
        _views.discard(key_id)
        found = view(key_id).version(number)
    return found


def find(reference: KeyRef) -> KeyView:
    """The key behind an id, a "ring/name" or a kms_key_id; raises NotFound."""
    if isinstance(reference, str) and ":" in reference:
        return view_by_arn(reference)[0]
    return view(reference)


def _key_id(key_ref: str) -> UUID:
    try:
        return UUID(key_ref)
    except ValueError:
        pass
    found = _names.get(key_ref)
    if found is None:
        ring, _, name = key_ref.partition("/")
        found = Key.objects.filter(ring__name=ring, name=name).values_list("pk", flat=True).first()
        if found is None:
            raise NotFound("There is no such key.")
        _names.put(key_ref, found)
    return found


def _load(key_id: UUID) -> KeyView:
    rows = list(KeyVersion.objects.filter(key_id=key_id).select_related("key__ring", *CHAIN).order_by("key_version"))
    if not rows:
        raise NotFound("There is no such key.")
    active = next((row for row in rows if row.status == VersionState.ACTIVE.value), None)
    return KeyView(rows[0].key, {row.key_version: row for row in rows}, active, reservations.purpose_of(key_id))
