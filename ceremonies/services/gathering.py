"""Bringing shares together: the attempt, each share handed in sealed, the passphrase, the recovery; a lost share made again."""

import base64
import binascii
from typing import Any
from uuid import UUID

from ceremonies import packages
from ceremonies.errors import NotReady, ShareRefused
from ceremonies.models import Ceremony, CustodyEntry, Participant, Share, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.process.client import Progress, WrappedMaster
from ceremonies.room_errors import AlreadyDone, QuorumLost
from ceremonies.script import Action, Kind
from ceremonies.services.dealing import begun, end_generation, named, older_records
from ceremonies.services.frame import Scene, in_room, need_role, note_deviation
from ceremonies.services.room import active_people, go_on
from ceremonies.services.work import RUNNING, Asked, Deed, ceremony_process, need_action, planner_of, session_over
from ceremonies.states import SHARE_MOVES, ShareState, may_move
from keys.models import KeyVersion
from keys.services.succession import take_place as take_place_of
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError, ValidationFailed, WrongState

LARGEST = 4096  # bytes of a sealed share


def _open_attempt(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    source = source_of(ceremony)
    holders = {
        index: str(seat.pk)
        for seat in active_people(ceremony)
        if seat.room_role is RoomRole.HOLDER and (index := share_brought(ceremony, seat, Action.COLLECT))
    }
    opening = begun(ceremony)
    attempt = ceremony_process().open_attempt(
        ceremony_id=ceremony.pk, nonce=opening.nonce, record=source.public_record, holders=holders, older=older_records(source),
    )  # fmt: skip
    return {"opening": opening, "attempt": attempt, "holders": holders}


def _attempt_opened(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    source, holders = source_of(scene.ceremony), found["holders"]
    scene.ceremony.process = named(found["opening"]) | {
        "attempt": found["attempt"], "given": [], "missing": source.quorum.missing(()),
        "holders": {str(index): who for index, who in holders.items()},
    }  # fmt: skip
    return {"set": source.set_name, "holders": len(holders)}


open_attempt = Deed(Action.COLLECT, RoomRole.OPERATOR, _attempt_opened, _open_attempt, done=False)
"""Let the process gather shares of the set this ceremony is about; shares gathered in an attempt before are thrown away."""


def submit_share(*, actor: Actor, ceremony_id: UUID, step: int, sealed: str) -> Progress:
    """Hand in the caller's share, sealed in the browser for exactly this ceremony, script, step and custodian.

    To recover a quorum is wanted, to verify a new set all of it. A refused share is named on the exception sheet and changes
    nothing. Raises the refusals of ceremonies.errors.
    """
    with in_room(actor, ceremony_id, "submit_share_begin", states=RUNNING, step=step) as scene:
        need_role(scene.me, RoomRole.HOLDER)
        need_action(scene, Action.COLLECT, Action.VERIFY)
        process, me = scene.ceremony.process, scene.me
        if "attempt" not in process:
            raise WrongState("The operator has not begun to gather shares.")
        index = share_brought(scene.ceremony, me, scene.step.action)
        if index in process["given"]:
            raise AlreadyDone("Your share is in.")
        custodian = process["holders"].get(str(index), str(me.pk))
        step_id = scene.step.id
    try:
        with session_over(actor, ceremony_id, step, nonce=process["nonce"]):
            progress = ceremony_process().take_share(
                ceremony_id=ceremony_id, attempt=process["attempt"], custodian_id=custodian, step=step_id, ciphertext=unpacked(sealed),
            )  # fmt: skip
    except ShareRefused as error:
        note_refused(actor, ceremony_id, me, error)
        raise
    with in_room(actor, ceremony_id, "submit_share", states=RUNNING, step=step, any_clock=True) as scene:
        ceremony, verifying = scene.ceremony, scene.step.action is Action.VERIFY
        ceremony.process = ceremony.process | {"given": sorted(progress.given), "missing": progress.missing}
        held = getattr(ceremony, "generation", None) if verifying else source_of(ceremony)
        share = held.shares.filter(index=progress.index).first() if held else None
        if held is not None and share is not None:
            share.proved_at = scene.now
            share.save(update_fields=["proved_at"])
            what = CustodyEntry.What.PROVED if verifying else CustodyEntry.What.ACCESSED
            reason = f"{'Verified' if verifying else 'Handed in'}: {ceremony}"[:500]
            CustodyEntry.objects.create(
                generation=held, share=share, what=what, bag=share.bag, reason=reason, by=me.name
            )
        scene.record.record(
            {"share": progress.index, "custodian": me.name, "given": list(progress.given), "missing": progress.missing}
        )
        if progress.verified if verifying else progress.missing == 0:
            ceremony.acted = True
            go_on(scene, ceremony.read_script())
    return progress


def share_brought(ceremony: Ceremony, seat: Participant, action: Action) -> int | None:
    """The number of the share that this person hands in: in a refresh, of the old set, where a seat's own number is the new one."""
    if action is not Action.COLLECT or ceremony.kind != Kind.REFRESH or ceremony.source is None:
        return seat.share_index
    held = ceremony.source.brought.filter(email__iexact=seat.email)
    return held.values_list("index", flat=True).first()


def seal_passphrase(*, actor: Actor, ceremony_id: UUID, step: int, sealed: str) -> None:
    """Give the passphrase of the set that is dealt or recovered here, sealed in the leader's browser as a share is.

    The leader holds no share. Given again it takes the place of the one before: after a wrong one the shares stay. Raises
    SealedWrongly, ShareRefused for what is no printable ASCII.
    """
    with in_room(actor, ceremony_id, "seal_passphrase_begin", states=RUNNING, step=step) as scene:
        need_role(scene.me, RoomRole.LEADER)
        need_action(scene, *PASSPHRASE_AT)
        if not wants_passphrase(scene.ceremony, scene.step.action):
            raise WrongState("This set has no passphrase.")
        nonce = scene.ceremony.process.get("nonce")
        if nonce is None:
            raise WrongState("The operator has not begun yet.")
        step_id, custodian = scene.step.id, str(scene.me.pk)
    with session_over(actor, ceremony_id, step, nonce=nonce):
        ceremony_process().seal_passphrase(
            ceremony_id=ceremony_id, nonce=nonce, custodian_id=custodian, step=step_id, ciphertext=unpacked(sealed)
        )
    with in_room(actor, ceremony_id, "seal_passphrase", states=RUNNING, step=step, any_clock=True) as scene:
        scene.ceremony.process = scene.ceremony.process | {"passphrase": True}
        scene.record.record({"step": step_id})


PASSPHRASE_AT = (Action.DEAL, Action.COLLECT, Action.RECOVER, Action.UNWRAP)


def wants_passphrase(ceremony: Ceremony, action: Action) -> bool:
    """Whether the set that is made here, or used, is under a passphrase."""
    if action is Action.DEAL or ceremony.source is None:
        return ceremony.with_passphrase
    return ceremony.source.with_passphrase


def _unwrap(asked: Asked) -> dict[str, Any]:
    return {"master": _opened(asked.ceremony)}


def _opened(ceremony: Ceremony) -> WrappedMaster:
    """The package of the set in force, opened in the process by the quorum that is in; safe to repeat."""
    process, names, source = ceremony_process(), ceremony.process, source_of(ceremony)
    if source.with_passphrase and not names.get("passphrase"):
        raise NotReady("The leader has not given the passphrase yet.")
    package = bytes(source.package)
    status = process.status(ceremony_id=ceremony.pk)
    if not status.has_escrow_key and not status.has_master_key:
        process.reconstruct(
            ceremony_id=ceremony.pk, attempt=names["attempt"], escrow_check=packages.read(package).escrow_check
        )
    master = process.unwrap(ceremony_id=ceremony.pk, nonce=names["nonce"], package=package)
    if master.check != source.check_value:
        raise ShareRefused(
            "The recovered key is another one: its check value differs from the one noted at the escrow."
        )
    return master


def _unwrapped(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    """A passphrase given so far was the old set's; the new one is asked for when the new set is made."""
    process = scene.ceremony.process
    scene.ceremony.process = {"nonce": process["nonce"], "public_key": process["public_key"], "unwrapped": True}
    return {"check_value": found["master"].check, "set": source_of(scene.ceremony).set_name}


unwrap = Deed(Action.UNWRAP, RoomRole.OPERATOR, _unwrapped, _unwrap)
"""Put the old escrow key together and open the package in force with it; the master key stays in the process, to be wrapped anew."""


def _recover(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    master = _opened(ceremony)
    if ceremony.practice:
        return {"check": master.check, "handed": None}
    handed = ceremony_process().hand_over(
        ceremony_id=ceremony.pk, nonce=ceremony.process["nonce"], provider=ceremony.provider, person_id=ceremony.planned_by_id,
        approval_id=ceremony.approval_id,
    )  # fmt: skip
    return {"check": master.check, "handed": handed}


def _recovered(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    ceremony, source, handed = scene.ceremony, source_of(scene.ceremony), found["handed"]
    end_generation(source, f"Used in the recovery {ceremony.title}."[:200], by=scene.me.name)
    ceremony.result = {"check_value": found["check"], "ended_generations": [source.number], "set": source.set_name}
    if handed is not None:
        ceremony.result |= {
            "provider": ceremony.provider, "key": str(handed.key_id), "version": handed.version_id,
            "intent": str(handed.intent_id) if handed.intent_id else None, "new_escrow_needed": True,
        }  # fmt: skip
    return dict(ceremony.result)


recover = Deed(Action.RECOVER, RoomRole.OPERATOR, _recovered, _recover, erases=True)
"""Reconstruct, unwrap, import into the provider of the plan, wipe; the set is dead and the key needs a new escrow.

A rehearsal stops before the import: the check value proves that it would have been the right key.
"""


def _take_place(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    if ceremony.practice:
        return {"moved": 0}
    source = source_of(ceremony)
    lost = KeyVersion.objects.filter(key=source.key, key_version=source.key_version or 0).first()
    if lost is None:
        raise WrongState("The lost key's version is not in the portal any more.")
    moved = take_place_of(
        actor=planner_of(ceremony), lost_version_id=lost.pk, version_id=int(ceremony.result["version"])
    )
    return {"moved": moved}


def _place_taken(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.result = scene.ceremony.result | {"wrapped_keys_moved": found["moved"]}
    return {"wrapped_keys_moved": found["moved"]}


take_place = Deed(Action.TAKE_PLACE, RoomRole.OPERATOR, _place_taken, _take_place)
"""Let the recovered key take the place of the lost one, once its provider has finished the import."""


def _reissue(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    lost = set(source_of(ceremony).shares.filter(state=ShareState.LOST.value).values_list("index", flat=True))
    seat = next((seat for seat in active_people(ceremony) if seat.share_index in lost), None)
    if seat is None:
        raise QuorumLost("Whoever is to hold the lost share is not here.")
    ceremony_process().reissue(
        ceremony_id=ceremony.pk, attempt=ceremony.process["attempt"], index=seat.share_index or 0, custodian_id=str(seat.pk)
    )  # fmt: skip
    return {"seat": seat}


def _reissued(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    seat: Participant = found["seat"]
    index = seat.share_index or 0
    scene.ceremony.process = scene.ceremony.process | {"shares": {str(index): noted_share(seat, index)}}
    return {"share": seat.share_index, "custodian": seat.name}


def noted_share(seat: Participant, index: int) -> dict[str, Any]:
    """A share without a row of its own yet, as the ceremony notes it."""
    return {
        "index": index, "custodian": seat.name, "custodian_id": str(seat.pk), "email": seat.email, "site": seat.site,
        "person_id": str(seat.person_id) if seat.person_id else None, "state": ShareState.DEALT.value,
    }  # fmt: skip


reissue = Deed(Action.REISSUE, RoomRole.OPERATOR, _reissued, _reissue)
"""Make the lost share again, the same words under the same index, for its new custodian; the key is not put together."""


def _reseated(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    ceremony, source = scene.ceremony, source_of(scene.ceremony)
    [notes] = ceremony.process["shares"].values()
    share = Share.objects.select_for_update().get(generation=source, index=notes["index"])
    if not may_move(SHARE_MOVES, ShareState(share.state), ShareState.HELD) or notes["state"] != ShareState.HELD:
        raise WrongState("The share is not reported lost any more, or its new custodian has not confirmed it.")
    before = share.custodian
    for name, value in notes.items():
        setattr(share, name, value)
    share.shown_at = share.confirmed_at = share.proved_at = scene.now
    share.missed_at = share.acknowledged_at = None
    share.save()
    signed = ceremony.sign_offs.filter(step=ceremony.step).order_by("at", "pk")
    accepted = ", ".join(signed.values_list("participant__name", flat=True))
    log = {"generation": source, "share": share, "bag": share.bag, "place": share.place, "by": scene.me.name}
    CustodyEntry.objects.create(
        what=CustodyEntry.What.SEALED, reason=f"Issued again in {ceremony}; held by {before} before."[:500], **log
    )
    reason = f"The lost card of {before} still carries these words. Accepted by {accepted}, in {ceremony}."
    CustodyEntry.objects.create(what=CustodyEntry.What.ACCEPTED, reason=reason[:500], **log)
    ceremony.result = {
        "set": source.set_name, "generation": source.number, "share": share.index, "lost_by": before, "custodian": share.custodian,
        "remaining_risk_accepted_by": accepted,
    }  # fmt: skip
    return dict(ceremony.result)


reseat = Deed(Action.RESEAT, RoomRole.LEADER, _reseated, erases=True)
"""Put the share made again in force with its new custodian; whoever signed the step accepts what remains of the risk."""


def unpacked(text: str) -> bytes:
    """Base64 from a form; raises ValidationFailed."""
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or len(data) > LARGEST:
        raise ValidationFailed(
            errors={"sealed": ["This was not sealed by this page. Reload it and type the words again."]}
        )
    return data


def source_of(ceremony: Ceremony) -> ShareGeneration:
    """The set this ceremony is about; raises WrongState."""
    if ceremony.source is None:
        raise WrongState("This ceremony is about no set of shares.")
    return ceremony.source


def note_refused(actor: Actor, ceremony_id: UUID, seat: Participant | None, error: PortalError) -> None:
    """A wrong share goes on the exception sheet by name, so that everybody in the room sees it."""
    with audit.atomic(actor=actor, action="ceremony.share_refused", target=("ceremony", ceremony_id, "")) as record:
        ceremony = Ceremony.objects.select_for_update().get(pk=ceremony_id)
        happened = f"The share of {seat.name if seat else actor.label} was refused: {error.detail}"
        note_deviation(ceremony, expected="The right share.", happened=happened, by="the portal")
        ceremony.version += 1
        ceremony.save(update_fields=["version"])
        record.record({"code": error.code, "who": actor.label}, outcome="refused")
