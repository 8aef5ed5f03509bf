"""Tells the security officers of a key's ring what happened to it without them."""

from django.db.models import Q

from keys.models import KeyVersion
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals import notices


def deletion_halted(version: KeyVersion) -> None:
    """A version that waits for its destruction was used."""
    _tell(
        version,
        f"{version} was used by {version.deletion_halted_by} while it waited for destruction",
        "The clock is stopped until an officer cancels the deletion or confirms it.",
    )


def compromised(version: KeyVersion) -> None:
    """A version was marked as compromised."""
    _tell(
        version,
        f"{version} was marked as compromised",
        "It protects nothing more. Rotate the key, and re-encrypt what stands on this version.",
    )


def _tell(version: KeyVersion, text: str, detail: str) -> None:
    ring_id = version.key.ring_id
    officers = Person.objects.filter(
        Q(bindings__ring=None) | Q(bindings__ring=ring_id), bindings__role=Role.SECURITY_OFFICER.value, is_active=True
    )
    people = officers.order_by("pk").values_list("pk", flat=True).distinct()
    notices.notify(people, text, detail=detail, path=f"/keys/{version.key_id}/", alarm=True)
