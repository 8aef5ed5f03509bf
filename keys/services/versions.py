"""Making versions and moving them between states: the steps that every lifecycle service is composed of.

Nothing here authorises or records; `lifecycle` does both around these.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import Key, KeyPolicy, KeyVersion
from keys.providers.base import GeneratedKey, Importer, OperationUnsupported
from keys.providers.registry import LOCAL, provider
from keys.services import materials
from keys.states import VERSION_MOVES, VersionState, may_move
from keyvault_portal.errors import NotFound, WrongState


def locked_key(key_id: UUID) -> Key:
    """The key's row, locked until the transaction ends; raises NotFound. Every lifecycle act takes this lock first."""
    found = Key.objects.select_for_update(of=("self",)).select_related("ring").filter(pk=key_id).first()
    if found is None:
        raise NotFound("There is no such key.")
    return found


def version_in(key: Key, version_id: int) -> KeyVersion:
    """A version of a locked key; raises NotFound."""
    found = KeyVersion.objects.filter(pk=version_id, key=key).first()
    if found is None:
        raise NotFound("There is no such version of this key.")
    found.key = key
    return found


def move(version: KeyVersion, new: VersionState, act: str) -> None:
    """Set the state if the table of moves lets it; raises WrongState otherwise. The caller saves."""
    if not may_move(VERSION_MOVES, version.state, new):
        raise WrongState(f"{version} is {version.status.replace('_', ' ')}: you cannot {act} it.", state=version.status)
    version.status = new.value


def new_version(
    key: Key,
    *,
    secret: SecretBytes | None = None,
    imported: bool = False,
    now: datetime | None = None,
    place: str = "",
) -> KeyVersion:
    """Make and store the next version of a locked key, pre-active, wrapped under its parent's active version.

    It lives at `place`, by default where the key's versions are made. A version that will live elsewhere is stored
    empty: its intent has it made, of material brought along if `imported`. Raises WrongState if the parent has no
    active version, OperationUnsupported, LimitExceeded.
    """
    place = place or key.provider
    generated = GeneratedKey() if place != LOCAL else _generated(key, secret)
    latest = KeyVersion.objects.filter(key=key).aggregate(latest=Max("key_version"))["latest"] or 0
    version = KeyVersion(
        key=key,
        key_version=latest + 1,
        kms_key_arn=materials.arn(key.pk, latest + 1, place),
        provider=place,
        public_key=generated.public_key,
        created_at=now or timezone.now(),
        generated_here=secret is None and not imported,
        never_extractable=not key.exportable,
    )
    if generated.material is not None:
        context = materials.version_context(version)
        if key.parent is None:
            version.wrapped_material = materials.seal_root(generated.material, context)
        else:
            wrapper = materials.active_version(key.parent)
            version.wrapped_by = wrapper
            version.wrapped_material = materials.wrap_under(wrapper, generated.material, context=context)
    version.save(force_insert=True)
    return version


def adopted(key: Key, opaque: str, public_key: bytes | None, made_at: datetime) -> KeyVersion:
    """Store a version that its provider has had all along, pre-active; nobody here can vouch for where it has been."""
    return KeyVersion.objects.create(
        key=key, key_version=1, kms_key_arn=opaque[:500], handle=opaque, public_key=public_key, created_at=made_at,
        provider=key.provider, generated_here=False, never_extractable=False,
    )  # fmt: skip


def _generated(key: Key, secret: SecretBytes | None) -> GeneratedKey:
    keeper = provider(LOCAL)
    if secret is None:
        return keeper.generate(key.algorithm)
    if not isinstance(keeper, Importer):
        raise OperationUnsupported("This portal takes no material made elsewhere.")
    return keeper.import_key(key.algorithm, secret)


def make_active(version: KeyVersion, policy: KeyPolicy, *, now: datetime, again: bool = False) -> KeyVersion | None:
    """Let `version` protect from now on; the version that did so until now becomes decrypt-only and is returned.

    Only with `again`, for the undoing of a move, may a version that was replaced come back, with the cryptoperiod it had.
    """
    key = version.key
    if version.state is VersionState.DECRYPT_ONLY and not again:
        raise WrongState(f"{version} was replaced: it protects nothing new.", state=version.status)
    old = KeyVersion.objects.filter(key=key, status=VersionState.ACTIVE.value).first()
    if old is not None:
        old.key = key
        move(old, VersionState.DECRYPT_ONLY, "replace")
        old.rotated_at = now
        old.save(update_fields=["status", "rotated_at"])
    if not is_made(version):
        raise WrongState(f"{version} is still being made by its provider.", state=version.status)
    move(version, VersionState.ACTIVE, "activate")
    version.rotated_at = None
    if not again:
        version.activated_at = now
        version.expires_at = now + timedelta(days=policy.cryptoperiod_days) if policy.cryptoperiod_days else None
    version.save(update_fields=["status", "activated_at", "rotated_at", "expires_at"])
    key.current = version
    key.next_rotation_at = version.expires_at
    key.save(update_fields=["current", "next_rotation_at"])
    return old


def activate(version: KeyVersion) -> KeyVersion | None:
    """Make it active now, by its key's policy; raises WrongState while a token key has not been published long enough."""
    now = timezone.now()
    policy = version.key.policy
    published_at = publication_due(version, policy)
    if published_at is not None and published_at > now:
        raise WrongState(
            f"{version} has to be published for {policy.publish_before_use_hours} hours before it signs.",
            hint="It is activated by itself when that time is over.",
            available_at=published_at.isoformat(),
        )
    return make_active(version, policy, now=now)


def is_made(version: KeyVersion) -> bool:
    """Whether the version's material exists, here or at its provider."""
    return bool(version.handle) or version.wrapped_material is not None


def publication_due(version: KeyVersion, policy: KeyPolicy) -> datetime | None:
    """When a token signing version has been in the JWKS long enough to sign; None if it may at once.

    A key's first version, and one that replaces nothing in use, keep nobody waiting.
    """
    key = version.key
    if key.kind != KeyKind.TOKEN_SIGNING.value or not policy.publish_before_use_hours:
        return None
    used = KeyVersion.objects.filter(key=key, status=VersionState.ACTIVE.value).first()
    if used is None or (used.public_key is not None and used.public_key == version.public_key):
        return None  # moved with its material, it is published already
    return version.created_at + timedelta(hours=policy.publish_before_use_hours)


def reschedule(key: Key, policy: KeyPolicy) -> None:
    """Let a changed cryptoperiod count from the activation of the version in use."""
    version = KeyVersion.objects.filter(key=key, status=VersionState.ACTIVE.value).first()
    if version is None or version.activated_at is None:
        return
    days = policy.cryptoperiod_days
    version.expires_at = version.activated_at + timedelta(days=days) if days else None
    version.save(update_fields=["expires_at"])
    key.next_rotation_at = version.expires_at
    key.save(update_fields=["next_rotation_at"])
