"""Key material on its way between the database and the provider: wrapped at rest, unwrapped only in this process.

Everything takes a version row that the caller has just read, so that its state is what the database says now.
Load rows with `select_related(*CHAIN)` to walk to the root without further queries.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import cast
from uuid import UUID, uuid4

from keys.crypto.envelope import context_aad
from keys.crypto.secret import SecretBytes
from keys.models import DataKey, Key, KeyVersion
from keys.providers.base import (
    BoundCipher,
    BoundMac,
    BoundSigner,
    Capability,
    KeyHandle,
    OperationUnsupported,
    Provider,
    portal_errors,
)
from keys.providers.registry import LOCAL, provider
from keys.services import budget, root_key, seal_watch, two_places
from keys.services.cache import BoundedCache
from keys.services.providers.binding import bind
from keys.states import MAY_PROCESS, MAY_PROTECT, VersionState
from keyvault_portal.errors import NotFound, WrongState

CHAIN = ("key", "wrapped_by__key", "wrapped_by__wrapped_by__key")
MAX_AGE, MAX_ENTRIES = 300.0, 10_000

# Contexts under which the portal wraps its own keys and its root: a caller who could use them could ask for those keys.
RESERVED_CONTEXTS = (frozenset({"key", "version"}), frozenset({"data_key"}), frozenset({"purpose", "seal"}))

_materials: BoundedCache[tuple[object, bytes], SecretBytes] = BoundedCache(max_entries=MAX_ENTRIES, max_age=MAX_AGE)
_bindings: BoundedCache[tuple[int, str, bytes], tuple[Provider, object]] = BoundedCache(
    max_entries=MAX_ENTRIES, max_age=MAX_AGE
)


@seal_watch.forgets
def forget() -> None:
    """Drop all unwrapped material held by this process."""
    _materials.clear()
    _bindings.clear()


def arn(key_id: UUID, key_version: int, alias: str = "local") -> str:
    """The `kms_key_arn` of a version whose material the portal keeps itself."""
    return f"{alias}:key/{key_id}/{key_version}"


def version_by_arn(kms_key_arn: str) -> KeyVersion:
    """The version an envelope names in `kms_key_id`; raises NotFound."""
    try:
        return KeyVersion.objects.select_related(*CHAIN).get(kms_key_arn=kms_key_arn)
    except KeyVersion.DoesNotExist:
        raise NotFound("No key version has this kms_key_id.") from None


def version_context(version: KeyVersion) -> dict[str, str]:
    """What the wrapped material of a version is bound to: its key and its number."""
    return {"key": str(version.key_id), "version": str(version.key_version)}


def data_key_context(data_key_id: UUID) -> dict[str, str]:
    """What a wrapped segment data key is bound to: itself."""
    return {"data_key": str(data_key_id)}


def handle(version: KeyVersion) -> KeyHandle:
    """The provider's view of a version; its material is unwrapped only if the provider asks for it."""
    public = bytes(version.public_key) if version.public_key is not None else None
    return KeyHandle(version.key.algorithm, version.handle, public, lambda: material(version))


def material(version: KeyVersion) -> SecretBytes:
    """The unwrapped material of a version, walked up to the root seal.

    Raises WrongState if the version or a key above it is suspended or destroyed, DecryptRefused if what is stored
    was not wrapped for this version, Sealed without a root key.
    """
    seal_watch.require_open()
    wrapped = _stored(version)
    wrapper = version.wrapped_by
    if wrapper is not None:
        # The states above count even when the answer is cached: suspending a wrapper stops what it wraps.
        _check_chain(wrapper)
    cache_key = (version.pk, sha256(wrapped).digest())
    found = _materials.get(cache_key)
    if found is None:
        context = version_context(version)
        found = _unseal(wrapped, context) if wrapper is None else unwrap_under(wrapper, wrapped, context=context)
        _materials.put(cache_key, found)
    return found


def _check_usable(version: KeyVersion) -> None:
    if version.state in {VersionState.SUSPENDED, VersionState.DESTROYED}:
        raise WrongState(f"{version} is {version.status}: its material cannot be used.", state=version.status)


def _stored(version: KeyVersion) -> bytes:
    _check_usable(version)
    if version.wrapped_material is None:
        raise OperationUnsupported(f"The material of {version} stays with its provider.")
    return bytes(version.wrapped_material)


def _check_chain(wrapper: KeyVersion | None) -> None:
    while wrapper is not None:
        if wrapper.state not in MAY_PROCESS:
            raise WrongState(f"{wrapper}, which wraps this key, is {wrapper.status}.", state=wrapper.status)
        wrapper = wrapper.wrapped_by


def cipher(version: KeyVersion) -> BoundCipher:
    """The cipher of a version, built once and kept as long as its material; raises as `material` does."""
    if version.moved_from_id is not None:
        _check_usable(version)
        return two_places.TwoPlaces(lambda: cipher_here(version), version, cipher)
    return cipher_here(version)


def cipher_here(version: KeyVersion) -> BoundCipher:
    """The cipher at the version's own place alone; raises as `material` does."""
    return cast("BoundCipher", _bound(version, Capability.CIPHER, "cipher"))


def signer(version: KeyVersion) -> BoundSigner:
    """The signer of a version, kept as `cipher` is."""
    return cast("BoundSigner", _bound(version, Capability.SIGNER, "signer"))


def authenticator(version: KeyVersion) -> BoundMac:
    """The MAC of a version, kept as `cipher` is."""
    return cast("BoundMac", _bound(version, Capability.MAC, "authenticator"))


def _bound(version: KeyVersion, capability: Capability, method: str) -> object:
    seal_watch.require_open()
    stored = version.handle.encode() if version.handle else _stored(version)
    _check_usable(version)
    _check_chain(version.wrapped_by)
    keeper = provider(version.provider)
    cache_key = (version.pk, method, sha256(stored).digest())
    found = _bindings.get(cache_key)
    if found is None or found[0] is not keeper:  # another instance: the provider was changed
        if version.provider != LOCAL:
            bound = bind(keeper, capability, handle(version))
        elif capability in keeper.capabilities:
            bound = getattr(keeper, method)(handle(version))
        else:
            raise OperationUnsupported(f"The provider {version.provider} has no {capability.value}.")
        found = (keeper, bound)
        _bindings.put(cache_key, found)
    return found[1]


def seal_root(secret: SecretBytes, context: Mapping[str, str]) -> bytes:
    """Wrap a master key's material under the root key."""
    return root_key.wrap(secret, _aad(context))


def _unseal(wrapped: bytes, context: Mapping[str, str]) -> SecretBytes:
    return root_key.unwrap(wrapped, _aad(context))


def _aad(context: Mapping[str, str]) -> bytes:
    with portal_errors():
        return context_aad(context)


def wrap_under(wrapper: KeyVersion, secret: SecretBytes, *, context: dict[str, str]) -> bytes:
    """Wrap `secret` under an active version, bound to `context` as AAD; counts one use of the wrapper.

    Raises WrongState unless the wrapper is active, LimitExceeded beyond its use budget.
    """
    if wrapper.state not in MAY_PROTECT:
        raise WrongState(f"{wrapper} is {wrapper.status}: it may not wrap anything new.", state=wrapper.status)
    with portal_errors():
        aad = context_aad(context)
    bound = cipher(wrapper)
    budget.spend(wrapper, 1)
    return bound.encrypt(secret.reveal(), aad)


def unwrap_under(wrapper: KeyVersion, wrapped: bytes, *, context: dict[str, str]) -> SecretBytes:
    """Unwrap what `wrap_under` made; raises WrongState if the wrapper may not process, DecryptRefused otherwise."""
    if wrapper.state not in MAY_PROCESS:
        raise WrongState(f"{wrapper} is {wrapper.status}: it may not unwrap.", state=wrapper.status)
    with portal_errors():
        aad = context_aad(context)
    return SecretBytes(cipher(wrapper).decrypt(bytes(wrapped), aad))


def active_version(key: Key) -> KeyVersion:
    """The version of `key` that protects now, with its chain loaded; raises WrongState if none is active."""
    try:  # not first(): to put so many columns in order costs more than the query
        return key.versions.select_related(*CHAIN).get(status=VersionState.ACTIVE.value)
    except KeyVersion.DoesNotExist:
        raise WrongState(f"{key} has no active version.", hint="Resume it or introduce a new version.") from None


def new_data_key(
    version: KeyVersion, segment: str, *, records: int = 0, wrapper: KeyVersion | None = None
) -> tuple[DataKey, SecretBytes]:
    """Make and store a segment data key of `version` (a data key's version), wrapped under the active KEK above it.

    `records` is how many are written down as encrypted under it, before any is: what its owner reserves. `wrapper` is the
    KEK's active version as it was a moment ago, which is read again only if another is active now.
    The row is written in the caller's transaction. Raises WrongState unless `version` is active.
    """
    if version.state not in MAY_PROTECT:
        raise WrongState(f"{version} is {version.status}: it gets no new data keys.", state=version.status)
    if version.key.parent is None:
        raise WrongState(f"{version.key} has no key above it to wrap data keys.")
    versions = version.key.parent.versions
    if wrapper is None or not versions.filter(pk=wrapper.pk, status=VersionState.ACTIVE.value).exists():
        wrapper = active_version(version.key.parent)
    generated = provider("local").generate(version.key.algorithm).material
    if generated is None:
        raise OperationUnsupported("Segment data keys must be made where they are used.")
    identifier = uuid4()
    wrapped = wrap_under(wrapper, generated, context=data_key_context(identifier))
    row = DataKey.objects.create(
        id=identifier, version=version, wrapped_by=wrapper, wrapped=wrapped, segment=segment, records=records
    )
    return row, generated


def data_key_materials(ids: Collection[UUID]) -> dict[UUID, SecretBytes]:
    """The materials of these data keys, in one query; ids that do not exist are left out.

    Raises WrongState if a wrapper or the owning version may not process any more.
    """
    rows = DataKey.objects.filter(id__in=set(ids)).select_related(
        "version", "wrapped_by__key", "wrapped_by__wrapped_by__key", "wrapped_by__wrapped_by__wrapped_by"
    )
    return {row.id: data_key_material(row.id, bytes(row.wrapped), row.version, row.wrapped_by) for row in rows}


def data_key_material(data_key_id: UUID, wrapped: bytes, version: KeyVersion, wrapper: KeyVersion) -> SecretBytes:
    """The material of one data key of `version`; raises as `data_key_materials` does."""
    seal_watch.require_open()
    if version.state not in MAY_PROCESS:
        raise WrongState(f"{version} is {version.status}: its data keys cannot be used.", state=version.status)
    _check_chain(wrapper)
    cache_key = (data_key_id, sha256(wrapped).digest())
    found = _materials.get(cache_key)
    if found is None:
        found = unwrap_under(wrapper, wrapped, context=data_key_context(data_key_id))
        _materials.put(cache_key, found)
    return found
