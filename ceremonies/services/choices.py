"""What a plan chooses: the key, the set of shares, the quorum and the place; what cannot be is said here, field by field."""

from datetime import datetime

from ceremonies.models import Ceremony, ShareGeneration
from ceremonies.planning import TIME_ZONES
from ceremonies.quorums import Quorum
from ceremonies.script import Action, Kind, Script
from ceremonies.services.room import DEALING
from ceremonies.services.verdicts import NEEDS_SHARES, USES_SHARES
from ceremonies.states import GenerationState, ShareState
from keys.models import Key
from keys.services import exports, imports

NEEDS_KEY = NEEDS_SHARES | {Kind.DESTRUCTION}


def source_for(script: Script, key: Key | None, practice: bool) -> ShareGeneration | None:
    """The set of shares that a ceremony by this script is about, if there is one."""
    found = in_force(key, practice) if script.kind in USES_SHARES | {Kind.REFRESH} else None
    if found is None and key is not None and script.number_of(Action.UNWRAP) is not None:
        found = _brought_back_by(key)
    return found


def wrong_subject(
    script: Script, key: Key | None, source: ShareGeneration | None, *, practice: bool, provider: str
) -> dict[str, list[str]]:
    """Why a ceremony by this script cannot be about this key, or bring it to this provider."""
    kind, errors = script.kind, dict[str, list[str]]()
    uses_old_shares = kind in USES_SHARES or script.number_of(Action.UNWRAP) is not None
    of_the_seal = kind is Kind.ROLL_CALL and source is not None
    if kind in NEEDS_KEY and key is None and not practice and not of_the_seal:
        errors["key"] = ["Choose the key this is about."]
    elif uses_old_shares and source is None:
        errors["key"] = ["No set of shares is in force for it: hold the escrow, or its rehearsal, first."]
    elif kind is Kind.REISSUE and source is not None and not source.shares.filter(state=ShareState.LOST.value).exists():
        errors["key"] = ["No share of its set is reported lost; the custody register takes that."]
    elif key is not None and not practice and (why := _why_not_moved(script, key)):
        errors["key"] = [why]
    if kind is Kind.RECOVERY and not practice:
        if not provider:
            errors["provider"] = ["Choose where the key goes."]
        elif key is not None and (why := imports.why_not_brought_to(provider, key.algorithm)):
            errors["provider"] = [f"{why} Choose another."]
    if kind is Kind.ESCROW and not practice and key is not None and in_force(key, practice) is not None:
        errors["script"] = [
            "Shares of this key are in force: plan a refresh, which verifies the new ones before the old ones end."
        ]
    return errors


def _why_not_moved(script: Script, key: Key) -> str:
    """Why the script could not take the key out of its provider, or new material there, and what to do instead."""
    if script.kind is Kind.BYOK:
        why = imports.why_not_brought_to(key.provider, key.algorithm)
        return f"{why} Make the key at a provider that takes material." if why else ""
    if script.number_of(Action.DEAL) is None or script.number_of(Action.UNWRAP) is not None:
        return ""
    why = exports.why_no_escrow(key)
    if why and (in_force(key, False) is not None or _brought_back_by(key) is not None):
        return f"{why} Plan a refresh out of the old shares: it opens the package in force, and asks no provider."
    return why


def wrong_values(
    *, title: str, purpose: str, place: str, time_zone: str, starts_at: datetime, reserve_at: datetime | None
) -> dict[str, list[str]]:
    """What is wrong with the plain fields of a plan."""
    errors: dict[str, list[str]] = {}
    if not title.strip() or len(title) > 150:
        errors["title"] = ["From 1 to 150 characters."]
    if not purpose.strip():
        errors["purpose"] = ["Say what it is for; it is read aloud."]
    if not place.strip():
        errors["place"] = ["Say where people meet."]
    if time_zone not in TIME_ZONES:
        errors["time_zone"] = ["Not a time zone of the IANA database, such as Europe/Oslo."]
    if reserve_at is not None and reserve_at <= starts_at:
        errors["reserve_at"] = ["After the first date."]
    return errors


def quorum_chosen(
    script: Script,
    source: ShareGeneration | None,
    groups: Quorum | None,
    threshold: int,
    share_count: int,
    errors: dict[str, list[str]],
) -> Quorum:
    """Which shares open it: of the set in force, or as the plan says; complaints go into `errors`."""
    kind = script.kind
    if kind not in NEEDS_SHARES and script.number_of(Action.DEAL_SEAL) is None:
        return Quorum(())
    if source is not None and kind in USES_SHARES:
        return source.quorum
    if kind is Kind.BYOK:
        threshold = share_count
    quorum = groups if groups and kind in DEALING else Quorum.single(threshold, share_count)
    if complaint := quorum.complaint():
        errors["groups" if quorum.named else "threshold"] = [complaint]
    return quorum


def script_for(key: Key) -> str:
    """Which of the portal's scripts a plan about this key begins with, by name, when nothing else was said."""
    if in_force(key, False) is not None:
        return "roll-call"
    return "refresh-from-shares" if _brought_back_by(key) is not None and exports.why_no_escrow(key) else "escrow"


def in_force(key: Key | None, practice: bool) -> ShareGeneration | None:
    """The set in force for a key, of the portal's seal without one; practised sets are of rehearsals."""
    sets = ShareGeneration.objects.filter(state=GenerationState.ACTIVE.value, practice=practice)
    if not practice:
        sets = sets.filter(key=key, seal_id__isnull=key is not None)
    elif key is not None:
        sets = sets.filter(key=key)
    return sets.order_by("-activated_at").first()


def _brought_back_by(key: Key) -> ShareGeneration | None:
    """The set that brought this key back in a recovery: where its provider gives it to nobody, only that package can be opened again."""
    recoveries = Ceremony.objects.filter(kind=Kind.RECOVERY.value, practice=False, result__key=str(key.pk))
    recovery = recoveries.select_related("source").order_by("-committed_at").first()
    return recovery.source if recovery else None
