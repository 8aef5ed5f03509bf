"""What every way out shares: may it leave, the row that says it did, and the wrapping at its provider."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import Key, KeyExport, KeyVersion
from keys.providers.base import Capability, Exporter, OperationUnsupported
from keys.providers.registry import provider
from keys.services import materials
from keys.services.providers.calls import call
from keys.services.providers.intents import is_remote
from keys.services.providers.registration import can
from keys.services.versions import is_made
from keys.states import EXPORT_MOVES, MAY_PROCESS, ExportState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import Conflict, PortalError, WrongState


def why_not(key: Key) -> str:
    """Why no version of the key can ever be exported, in one sentence; empty if it can."""
    if not key.exportable:
        return "It was made not to be exported, or its exportability was withdrawn; neither can be changed."
    try:
        gives = can(key.provider, Capability.EXPORTER)
    except PortalError as error:
        return error.detail
    return "" if gives else f"Its provider {key.provider} gives no key out."


def why_no_escrow(key: Key) -> str:
    """Why the version in use cannot be wrapped for an escrow now, in a sentence or two; empty if it can."""
    version = key.current
    if version is None:
        return "It has no version in use. One that its provider makes just now is there in a moment."
    try:
        require_may_leave(version, even_if_not_exportable=key.kind == KeyKind.MASTER.value)
    except PortalError as error:
        return f"{error.detail} {error.hint}".strip()
    return ""


def exports_of(key: Key, limit: int = 20) -> QuerySet[KeyExport]:
    """The newest exports of a key: when, by whom, to which public key."""
    rows = KeyExport.objects.filter(version__key=key).select_related("version", "wrapping_version__key")
    return rows.order_by("-created_at")[:limit]


def require_may_leave(version: KeyVersion, *, even_if_not_exportable: bool = False) -> None:
    """Raise Conflict, OperationUnsupported, WrongState unless this version may be given out."""
    key = version.key
    if not can(version.provider, Capability.EXPORTER):
        raise OperationUnsupported(
            f"The provider {version.provider} gives no key out.",
            hint="A key that is to leave is made where keys are given out, and brought here afterwards.",
        )
    if not key.exportable and not even_if_not_exportable:
        raise Conflict(f"{key} may not be exported.", hint=why_not(key))
    if version.never_extractable and is_remote(version):
        raise Conflict(
            f"{version} was made never to leave {version.provider}.", hint="Nobody can change that afterwards."
        )
    if version.state not in MAY_PROCESS or not is_made(version):
        raise WrongState(f"{version} is {version.status}: it cannot be given out.", state=version.status)


def note(version: KeyVersion, actor: Actor, **what: Any) -> KeyExport:
    """Write down that the version leaves; the one-way flags change now, before anything has left.

    The caller holds the key's lock, authorised, and records.
    """
    row = KeyExport.objects.create(version=version, requested_by=actor.label[:200], **what)
    changed = KeyVersion.objects.filter(pk=version.pk)
    changed.update(never_extractable=False)
    changed.filter(exported_at=None).update(exported_at=row.created_at)
    version.refresh_from_db(fields=["never_extractable", "exported_at"])
    return row


def wrapped_by_provider(version: KeyVersion, kek: SecretBytes) -> bytes:
    """The version under `kek` by RFC 5649, wrapped where its material is; raises as its provider does."""
    keeper = provider(version.provider)
    if not isinstance(keeper, Exporter):
        raise OperationUnsupported(f"The provider {version.provider} gives no key out.")
    handle = materials.handle(version)
    if not is_remote(version):
        return keeper.export_key(handle, kek)
    return call(version.provider, "export", lambda: keeper.export_key(handle, kek))


def public_half(version: KeyVersion) -> bytes | None:
    """SPKI of a key pair, None for a symmetric key."""
    return bytes(version.public_key) if version.public_key is not None else None


def move(row: KeyExport, new: ExportState) -> None:
    """Set the state if the table lets it; raises WrongState. The caller saves `state` and `finished_at`."""
    if not may_move(EXPORT_MOVES, ExportState(row.state), new):
        raise WrongState(f"This export is {row.state}.", state=row.state)
    row.state = new.value
    row.finished_at = row.finished_at or timezone.now()
