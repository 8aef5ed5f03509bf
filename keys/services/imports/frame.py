"""What every step of an import shares: the key locked first, then the import's row; and how all traces of material go."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from keys.models import Key, KeyComponent, KeyImport, SealedValue
from keys.services.acts import act_on_key
from keys.states import IMPORT_MOVES, OPEN_IMPORTS, ImportState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, WrongState


class ImportExpired(Conflict):
    """The time of an import is over; what had arrived is erased."""

    code, title = "import_expired", "The import has expired"


@contextmanager
def act_on_import(
    actor: Actor, permission: Permission, action: str, import_id: UUID
) -> Iterator[tuple[KeyImport, audit.atomic]]:
    """As `act_on_key`, for one import of the key; raises NotFound and PermissionRefused."""
    key_id = KeyImport.objects.filter(pk=import_id).values_list("key_id", flat=True).first()
    if key_id is None:
        raise NotFound("There is no such import.")
    with act_on_key(actor, permission, action, key_id) as (key, act):
        yield locked(import_id, key), act


def locked(import_id: UUID, key: Key) -> KeyImport:
    """The import's row, locked; the caller holds the key's lock."""
    rows = KeyImport.objects.select_for_update(of=("self",)).select_related("sealed_private")
    row = rows.get(pk=import_id, key=key)
    row.key = key
    return row


def require_open(row: KeyImport) -> None:
    """Raise WrongState, ImportExpired unless material may still arrive."""
    if row.state != ImportState.OPEN.value:
        raise WrongState(f"This import is {row.state}: nothing more can arrive.", state=row.state)
    if row.expires_at <= timezone.now():
        raise ImportExpired(
            f"The time for this import was over on {row.expires_at:%Y-%m-%d at %H:%M} UTC.",
            hint="Open another one; what was wrapped for this one cannot be used any more.",
        )


def move(row: KeyImport, new: ImportState) -> None:
    """Set the state if the table lets it, and erase what arrived once it is passed on or over; raises WrongState."""
    if not may_move(IMPORT_MOVES, ImportState(row.state), new):
        raise WrongState(f"This import is {row.state}: it cannot become {new.value}.", state=row.state)
    row.state = new.value
    if new not in OPEN_IMPORTS:
        row.finished_at = timezone.now()
    private: SealedValue | None = None
    if new not in {ImportState.OPEN, ImportState.RECEIVED}:
        private, row.sealed_private, row.upload = row.sealed_private, None, None
        _erase_components(row)
    row.save()
    if private is not None:
        private.delete()


def _erase_components(row: KeyImport) -> None:
    row.components.exclude(arrived=None).update(arrived=None)
    for component in row.components.select_related("sealed").exclude(sealed=None):
        sealed, component.sealed = component.sealed, None
        component.save(update_fields=["sealed"])
        if sealed is not None:
            sealed.delete()


def of_key(key: Key, limit: int = 10) -> QuerySet[KeyImport]:
    """The newest imports of a key."""
    return KeyImport.objects.filter(key=key).select_related("version").order_by("-created_at")[:limit]


def entered(row: KeyImport) -> dict[int, KeyComponent]:
    """The components that have arrived, by number; without what is in them."""
    return {component.number: component for component in row.components.order_by("number")}
