"""Tells the security officers of a key's ring what happened to it without them."""

from django.db.models import Q

from keys.models import Key, KeyProvider, KeyVersion, Move, RootSeal
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals import notices


def deletion_halted(version: KeyVersion) -> None:
    """A version that waits for its destruction was used."""
    _tell(
        version,
        f"The deletion of {version} was stopped by {version.deletion_halted_by}",
        "It is still in use. The clock stands until an officer cancels the deletion or confirms it.",
    )


def deletion_delayed(version: KeyVersion, why: str) -> None:
    """A version was to be destroyed, but nobody can tell whether something stands on it."""
    _tell(
        version,
        f"The destruction of {version} is put off by a day",
        f"{why} It goes on when everything can be counted; a data store that is gone for good has to be deregistered.",
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
    """A provider stopped answering, refuses us, or serves from a replica only."""
    _tell_of_provider(row, f"The key provider {row} fails", detail)


def provider_answers(row: KeyProvider) -> None:
    """A provider that failed answers again."""
    _tell_of_provider(row, f"The key provider {row} answers again", "")


def differences_found(row: KeyProvider, details: list[str], version_ids: set[int | None]) -> None:
    """A comparison found what was not there the last time."""
    number = len(details)
    text = f"{number:,} new difference{'' if number == 1 else 's'} between the inventory and {row}"
    theirs = KeyVersion.objects.filter(pk__in=[pk for pk in version_ids if pk is not None]).values("key__ring")
    _tell_officers(Q(bindings__ring=None) | Q(bindings__ring__in=theirs), text, "\n".join(details[:10]), _page(row))


def _tell_of_provider(row: KeyProvider, text: str, detail: str) -> None:
    """The officers of everything, and those of the rings that have keys there."""
    rings = Key.objects.filter(Q(provider=row.alias) | Q(versions__provider=row.alias)).values("ring")
    _tell_officers(Q(bindings__ring=None) | Q(bindings__ring__in=rings), text, detail, _page(row))


def _page(row: KeyProvider) -> str:
    return f"/keys/providers/{row.alias}/"


def seal_registered(seal: RootSeal, by: str) -> None:
    """Somebody made another way to open the portal."""
    _tell_of_seal(
        seal, f"{by} registers another way to open the portal: {seal.name}", "If that is wrong, retire it at once."
    )


def seal_retired(seal: RootSeal) -> None:
    """A way to open the portal was given up."""
    _tell_of_seal(seal, f"{seal.name} opens the portal no more: {seal.retired_by} retired it", "")


def seal_lost(seal: RootSeal) -> None:
    """A way to open the portal does not open it at present."""
    _tell_of_seal(
        seal, f"The seal {seal.name} does not open the portal",
        f"{seal.last_error} The portal works on; after a restart it has to be opened another way.",
    )  # fmt: skip


def seal_found(seal: RootSeal) -> None:
    """A lost seal opens the portal again."""
    _tell_of_seal(seal, f"The seal {seal.name} opens the portal again", "")


def _tell_of_seal(seal: RootSeal, text: str, detail: str) -> None:
    theirs = Q(bindings__ring=None)
    if seal.key is not None:
        theirs |= Q(bindings__ring=seal.key.ring_id)
    _tell_officers(theirs, text, detail, "/keys/seals/")


def _tell(version: KeyVersion, text: str, detail: str, path: str = "", *, alarm: bool = True) -> None:
    theirs = Q(bindings__ring=None) | Q(bindings__ring=version.key.ring_id)
    _tell_officers(theirs, text, detail, path or f"/keys/{version.key_id}/", alarm=alarm)


def _tell_officers(theirs: Q, text: str, detail: str, path: str, *, alarm: bool = True) -> None:
    officers = Person.objects.filter(theirs, bindings__role=Role.SECURITY_OFFICER.value, is_active=True)
    people = officers.order_by("pk").values_list("pk", flat=True).distinct()
    notices.notify(people, text, detail=detail, path=path, alarm=alarm)
