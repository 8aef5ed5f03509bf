"""Tells the security officers of a key's ring what happened to it without them."""

from django.db.models import Q

from keys.models import KeyProvider, KeyVersion, Move
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


def provider_work_failed(version: KeyVersion, act: str, detail: str) -> None:
    """What was to be done at a provider needs somebody."""
    _tell(version, f"{act} of {version} failed at its provider", f"{detail} Open the key and try again.")


def move_stopped(move: Move, detail: str) -> None:
    """A move needs somebody: resume it or undo it."""
    _tell(move.new_version, f"The move of {move} has stopped", f"{detail} Nothing is lost.", f"/keys/moves/{move.pk}/")


def move_came_to(move: Move) -> None:
    """A move reached a state in which somebody decides, or its end."""
    old = f"version {move.old_version.key_version}"
    said = {
        "re_wrapped": f"Nothing that was counted stands on {old} any more: it can be dropped.",
        "completed": f"{old.capitalize()} is destroyed.",
        "undone": "It is where it was before.",
    }[move.state]
    state = move.state.replace("_", "-")
    _tell(move.new_version, f"The move of {move} is {state}", said, f"/keys/moves/{move.pk}/", alarm=False)


def provider_failing(row: KeyProvider, detail: str) -> None:
    """A provider stopped answering, or refuses us."""
    _tell_officers(Q(bindings__ring=None), f"The key provider {row} fails", detail, f"/keys/providers/{row.alias}/")


def provider_answers(row: KeyProvider) -> None:
    """A provider that failed answers again."""
    _tell_officers(Q(bindings__ring=None), f"The key provider {row} answers again", "", f"/keys/providers/{row.alias}/")


def _tell(version: KeyVersion, text: str, detail: str, path: str = "", *, alarm: bool = True) -> None:
    theirs = Q(bindings__ring=None) | Q(bindings__ring=version.key.ring_id)
    _tell_officers(theirs, text, detail, path or f"/keys/{version.key_id}/", alarm=alarm)


def _tell_officers(theirs: Q, text: str, detail: str, path: str, *, alarm: bool = True) -> None:
    officers = Person.objects.filter(theirs, bindings__role=Role.SECURITY_OFFICER.value, is_active=True)
    people = officers.order_by("pk").values_list("pk", flat=True).distinct()
    notices.notify(people, text, detail=detail, path=path, alarm=alarm)
