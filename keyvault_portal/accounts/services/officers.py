"""The portal always keeps one active security officer for everything; these guard that, race-free."""

from uuid import UUID

from django.db import connection

from keyvault_portal.accounts.models import RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.errors import WrongState

_OFFICERS_LOCK = 0x6B76_6F66  # one advisory lock for every change of who is an officer


def lock_officers() -> None:
    """Hold the right to change who is an officer until the end of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_OFFICERS_LOCK])


def officer_exists(*, besides: UUID | None = None) -> bool:
    """Whether an active person, other than `besides`, is security officer for everything."""
    officers = RoleBinding.objects.filter(role=Role.SECURITY_OFFICER, ring=None, person__is_active=True)
    return officers.exclude(person_id=besides).exists() if besides else officers.exists()


def refuse_without_officer(person_id: UUID) -> None:
    """Raise WrongState if `person_id` is the last active security officer; call with the officers locked."""
    if RoleBinding.objects.filter(
        role=Role.SECURITY_OFFICER, ring=None, person_id=person_id, person__is_active=True
    ).exists() and not officer_exists(besides=person_id):
        raise WrongState(
            "This is the last active security officer.",
            hint="Make another person security officer for everything first.",
        )
