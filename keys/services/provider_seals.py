"""The root sealed under a provider's key: wrapped and checked by the keyholder, between two short transactions.

Wrapping changes nothing at the provider, so an effect that was begun twice is harmless; the row's revision decides which
of the two counts. The key is one of the inventory: it is rotated like any other, and the root follows it.
"""

import logging
import random
from datetime import timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from keys.crypto.envelope import context_aad
from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.keyholder.holder import check_value
from keys.models import Key, KeyProvider, KeyVersion, RootSeal
from keys.models.seals import OPENING
from keys.providers import registry
from keys.providers.base import CredentialsRefused, KeyHandle, Provider
from keys.services import budget, notices, root_key
from keys.services.providers import binding
from keys.services.providers.calls import call
from keys.states import SEAL_MOVES, SealStanding, VersionState, may_move
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, DecryptRefused, PortalError, ProviderUnavailable, Sealed, ValidationFailed
from keyvault_portal.jobs import enqueue_on_commit

logger = logging.getLogger(__name__)
CHECK_EVERY, CHECK_LOST_EVERY = timedelta(minutes=10), timedelta(minutes=1)
LOST_AFTER = 3  # checks in a row that found nobody there; any other failure counts at once
LONGEST_WAIT = 300.0


def seal_context(seal_id: UUID) -> bytes:
    """The AAD that binds a sealed root to its row; `materials.RESERVED_CONTEXTS` keeps it from callers."""
    return context_aad({"purpose": "portal-root", "seal": str(seal_id)})


def sealing_keys() -> QuerySet[Key]:
    """The keys under which the root can be sealed: master keys in use, not exportable, at a provider without sealed credentials."""
    places = KeyProvider.objects.filter(state=KeyProvider.State.ENABLED, sealed_settings=None).values("alias")
    held = Key.objects.filter(kind=KeyKind.MASTER.value, exportable=False, provider__in=places, versions__in=_usable())
    return held.exclude(root_seals__retired_at=None, root_seals__kind=RootSeal.Kind.PROVIDER).select_related("ring")


def _usable() -> QuerySet[KeyVersion]:
    return KeyVersion.objects.filter(status=VersionState.ACTIVE.value).exclude(handle="")


def refuse_unsuitable(key: Key) -> None:
    """Raise ValidationFailed or Conflict, with the reason, for a key that cannot seal the root."""

    def refuse(why: str) -> ValidationFailed:
        return ValidationFailed(errors={"key": [why]})

    if key.kind != KeyKind.MASTER.value:
        raise refuse("Choose a master key: no service can ask for anything to be opened with it.")
    if key.exportable:
        raise refuse("This key can be exported, and with it the root.")
    place = KeyProvider.objects.filter(alias=key.provider).first()
    if place is None:
        raise refuse("This key is wrapped under the root itself. Choose one that lives at a provider.")
    if place.sealed_settings_id is not None:
        raise refuse(
            f"The credentials of {place} are sealed under the root that it would open. Use an ambient identity."
        )
    if not _usable().filter(key=key).exists():
        raise refuse("This key has no version in use yet.")
    if RootSeal.objects.filter(key=key, retired_at=None).exists():
        raise Conflict("The root is sealed under this key already.", hint="Choose another key for a second seal.")


def send(seal_id: UUID) -> None:
    """Send a seal to a worker after commit."""
    from keys.seal_tasks import seal_work

    enqueue_on_commit(seal_work, str(seal_id))


def due() -> list[UUID]:
    """Seals to be wrapped, wrapped anew because their key was rotated, or checked."""
    rotated = Exists(_usable().filter(key=OuterRef("key")).exclude(pk=OuterRef("version")))
    now = Q(next_try_at__lte=timezone.now()) | (Q(kind=RootSeal.Kind.PROVIDER, failures=0) & rotated)
    rows = RootSeal.objects.filter(now, retired_at=None)
    return list(rows.exclude(kind=RootSeal.Kind.SHARES).order_by("next_try_at").values_list("pk", flat=True)[:50])


def hasten(version_id: int) -> int:
    """Have the seals that stand on a version wrapped anew now, if its key has another; returns how many stand on it."""
    standing = RootSeal.objects.filter(version=version_id, retired_at=None)
    for seal_id in standing.values_list("pk", flat=True):
        send(seal_id)
    return standing.count()


def work(seal_id: UUID) -> None:
    """Wrap the root for a seal that needs it, or else look whether it still opens; what goes wrong is written into it."""
    seal = RootSeal.objects.select_related("key__ring", "version").filter(pk=seal_id, retired_at=None).first()
    if seal is None or seal.kind == RootSeal.Kind.SHARES:
        return
    version = None if seal.key_id is None else _usable().filter(key=seal.key_id).select_related("key").first()
    try:
        if version is not None and version.pk != seal.version_id:
            _wrap(seal, version)
        else:
            _check(seal)
    except PortalError as error:
        _failed(seal, error)


def _wrap(seal: RootSeal, version: KeyVersion) -> None:
    """Intent: the use is counted; effect: the keyholder wraps and reads back; activate: the row follows, if it is still the same."""
    budget.spend(version, 1)
    wrapped, check = root_key.keyholder().wrap_root(seal.pk, version.pk)
    with audit.atomic(actor=_actor(), action="seal.wrap", target=("seal", seal.pk, seal.name)) as act:
        row = RootSeal.objects.select_for_update().filter(pk=seal.pk, revision=seal.revision, retired_at=None).first()
        if row is None:
            return
        if bytes(row.check_value) != check:
            raise Conflict("The keyholder holds another root than the one that is sealed.")
        before = row.version_id and KeyVersion.objects.values_list("key_version", flat=True).get(pk=row.version_id)
        if row.state != SealStanding.IN_USE.value:
            move(row, SealStanding.IN_USE)
        row.wrapped, row.version, row.provider = wrapped, version, version.provider
        row.handle, row.algorithm, row.wrapped_at = version.handle, version.key.algorithm, timezone.now()
        row.save(update_fields=["wrapped", "version", "provider", "handle", "algorithm", "wrapped_at"])
        _settled(row)
        act.record({"provider": row.provider, "key": str(row.key_id), "from": before, "to": version.key_version})


def _check(seal: RootSeal) -> None:
    if seal.state == SealStanding.PREPARING.value:
        raise Conflict("Its key has no version in use.", hint="Resume it, or retire this seal.")
    root_key.keyholder().check_seal(seal.pk)
    with audit.atomic(actor=_actor(), action="seal.found", target=("seal", seal.pk, seal.name)) as act:
        row = RootSeal.objects.select_for_update().filter(pk=seal.pk, revision=seal.revision, retired_at=None).first()
        if row is None:
            return
        if row.state == SealStanding.LOST.value:
            move(row, SealStanding.IN_USE)
            notices.seal_found(row)
            act.record()
        _settled(row)


def _settled(row: RootSeal) -> None:
    now = timezone.now()
    row.checked_at, row.failures, row.last_error, row.next_try_at = now, 0, "", now + CHECK_EVERY
    row.revision += 1
    row.save(update_fields=["state", "checked_at", "failures", "last_error", "next_try_at", "revision"])


def _failed(seal: RootSeal, error: PortalError) -> None:
    """Later again; a seal that does not open is lost, and its people are told once.

    A keyholder that does not answer says nothing about the seal.
    """
    said = f"{error.detail} {error.hint}".strip()[:2000]
    passing = isinstance(error, ProviderUnavailable) and not isinstance(error, CredentialsRefused)
    with audit.atomic(actor=_actor(), action="seal.lost", target=("seal", seal.pk, seal.name)) as act:
        row = RootSeal.objects.select_for_update().filter(pk=seal.pk, revision=seal.revision, retired_at=None).first()
        if row is None:
            return
        row.failures, row.last_error = row.failures + 1, said
        if row.state == SealStanding.PREPARING.value or isinstance(error, Sealed):
            wait = random.uniform(1.0, min(LONGEST_WAIT, 2.0**row.failures))  # noqa: S311
        else:
            wait = CHECK_LOST_EVERY.total_seconds()
            if row.state == SealStanding.IN_USE.value and (not passing or row.failures >= LOST_AFTER):
                move(row, SealStanding.LOST)
                notices.seal_lost(row)
                act.record({"code": error.code, "detail": error.detail}, outcome="failed")
        row.next_try_at = timezone.now() + timedelta(seconds=wait)
        row.save(update_fields=["state", "failures", "last_error", "next_try_at"])


def move(seal: RootSeal, new: SealStanding) -> None:
    """Set the state if the table lets it; raises Conflict. The caller saves."""
    if not may_move(SEAL_MOVES, SealStanding(seal.state), new):
        raise Conflict(f"This seal is {seal.state.replace('_', ' ')}.", state=seal.state)
    seal.state = new.value


def opening_seals() -> list[RootSeal]:
    """What may open the root without anybody, the key file first, then the providers by age."""
    rows = RootSeal.objects.filter(retired_at=None, state__in=OPENING, kind__in=["file", "provider"])
    return sorted(rows.order_by("created_at"), key=lambda seal: seal.kind != RootSeal.Kind.FILE.value)


def wrap(seal_id: UUID, version_id: int, root: SecretBytes) -> bytes:
    """The root under a version's key, read back before it is given out; for the keyholder, which alone has the root.

    Raises what the provider raises, DecryptRefused for one that does not read what it wrote.
    """
    version = KeyVersion.objects.select_related("key").get(pk=version_id)
    handle = KeyHandle(version.key.algorithm, version.handle)
    aad = seal_context(seal_id)
    cipher = binding.cipher(_keeper(version.provider), handle)
    wrapped = call(version.provider, "encrypt", lambda: cipher.encrypt(root.reveal(), aad))
    with SecretBytes(call(version.provider, "decrypt", lambda: cipher.decrypt(wrapped, aad))) as again:
        if again != root:
            raise DecryptRefused
    return wrapped


def unwrap(seal: RootSeal) -> SecretBytes:
    """The root out of any seal that needs nobody; raises what its provider raises, Sealed, DecryptRefused for another root."""
    if seal.kind == RootSeal.Kind.FILE.value:
        root = root_key.read_file()
    else:
        cipher = binding.cipher(_keeper(seal.provider), KeyHandle(seal.algorithm, seal.handle))
        wrapped, aad = bytes(seal.wrapped or b""), seal_context(seal.pk)
        # Also while the breaker is open: for a sealed portal nothing is gained by waiting.
        root = SecretBytes(call(seal.provider, "decrypt", lambda: cipher.decrypt(wrapped, aad), probe=True))
    if check_value(root) != bytes(seal.check_value):
        root.wipe()
        raise DecryptRefused
    return root


def check(seal_id: UUID) -> None:
    """Return if a seal opens; raises as `unwrap` does, Conflict if it is not in use. For the keyholder."""
    seal = next((one for one in opening_seals() if one.pk == seal_id), None)
    if seal is None:
        raise Conflict("This seal is not in use.")
    unwrap(seal).wipe()


def _keeper(alias: str) -> Provider:
    """The provider; settings that no longer build one are said in the portal's words."""
    try:
        return registry.provider(alias)
    except (TypeError, ValueError) as error:
        raise ProviderUnavailable(f"The settings of {alias} cannot be used ({type(error).__name__}).") from None


def standing_on(version_id: int) -> int:
    """How many seals of the root stand on this version."""
    return RootSeal.objects.filter(version=version_id, retired_at=None).count()


def opens(alias: str) -> bool:
    """Whether a seal of the root stands on a key of this provider."""
    return RootSeal.objects.filter(provider=alias, kind=RootSeal.Kind.PROVIDER, retired_at=None).exists()


def only_way(alias: str) -> bool:
    """Whether the root opens by nothing else than keys of this provider."""
    others = RootSeal.objects.filter(retired_at=None, state__in=OPENING).exclude(
        provider=alias, kind=RootSeal.Kind.PROVIDER
    )
    return opens(alias) and not others.exists()


def _actor() -> Actor:
    return system_actor("seal work")
