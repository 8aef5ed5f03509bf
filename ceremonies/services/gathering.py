"""Bringing shares together: the attempt, each share handed in sealed, the recovery; and proofs for a roll-call."""

import base64
import binascii
from typing import Any
from uuid import UUID

from ceremonies.errors import ShareOfAnotherPerson, ShareOfOldGeneration, ShareRefused, ShareUnknown
from ceremonies.models import Ceremony, CustodyEntry, Participant, Share, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.process.client import Progress
from ceremonies.room_errors import AlreadyDone
from ceremonies.script import Action
from ceremonies.services.dealing import end_generation, older_records
from ceremonies.services.frame import Scene, in_room, need_role, note_deviation
from ceremonies.services.room import active_people, go_on
from ceremonies.services.work import RUNNING, ceremony_process, erase, need_action, perform, planner_of
from ceremonies.shamir import roll_call_challenge, whose_proof
from ceremonies.states import ShareState
from keys.models import KeyVersion
from keys.services.succession import take_place as take_place_of
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ValidationFailed, WrongState

LARGEST = 4096  # bytes of a sealed share


def open_attempt(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """Let the process gather shares of the set this ceremony is about; shares gathered in an attempt before are thrown away."""

    def effect(ceremony: Ceremony) -> dict[str, Any]:
        source = _source(ceremony)
        holders = {
            seat.share_index: str(seat.pk)
            for seat in active_people(ceremony)
            if seat.room_role is RoomRole.HOLDER and seat.share_index
        }
        process = ceremony_process()
        process.destroy(ceremony_id=ceremony.pk)
        opening = process.begin(ceremony_id=ceremony.pk, script_hash=ceremony.script_hash, practice=ceremony.practice)
        attempt = process.open_attempt(
            ceremony_id=ceremony.pk, nonce=opening.nonce, record=source.public_record, holders=holders,
            older=older_records(source),
        )  # fmt: skip
        return {"opening": opening, "attempt": attempt, "holders": holders}

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        opening = found["opening"]
        scene.ceremony.process = {
            "nonce": opening.nonce, "public_key": opening.public_key.hex(), "attempt": found["attempt"], "given": [],
            "missing": _source(scene.ceremony).threshold, "holders": {str(index): who for index, who in found["holders"].items()},
        }  # fmt: skip
        return {"set": _source(scene.ceremony).set_name, "holders": len(found["holders"])}

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.COLLECT,
        roles=(RoomRole.OPERATOR,),
        effect=effect,
        result=result,
        done=False,
    )


def submit_share(*, actor: Actor, ceremony_id: UUID, step: int, sealed: str) -> Progress:
    """Hand in the caller's share, sealed in the browser for exactly this ceremony, script, step and custodian.

    A refused share is named on the exception sheet and changes nothing. Raises the refusals of ceremonies.errors.
    """
    with in_room(actor, ceremony_id, "submit_share_begin", states=RUNNING, step=step) as scene:
        need_role(scene.me, RoomRole.HOLDER)
        need_action(scene, Action.COLLECT)
        process, me = scene.ceremony.process, scene.me
        if "attempt" not in process:
            raise WrongState("The operator has not begun to gather shares.")
        if me.share_index in process["given"]:
            raise AlreadyDone("Your share is in.")
        custodian = process["holders"].get(str(me.share_index), str(me.pk))
        step_id = scene.step.id
    try:
        progress = ceremony_process().take_share(
            ceremony_id=ceremony_id,
            attempt=process["attempt"],
            custodian_id=custodian,
            step=step_id,
            ciphertext=unpacked(sealed),
        )
    except ShareRefused as error:
        _note_refused(actor, ceremony_id, me, error)
        raise
    with in_room(actor, ceremony_id, "submit_share", states=RUNNING, step=step, any_clock=True) as scene:
        ceremony = scene.ceremony
        ceremony.process = ceremony.process | {"given": sorted(progress.given), "missing": progress.missing}
        source = _source(ceremony)
        share = source.shares.filter(index=progress.index).first()
        if share is not None:
            share.proved_at = scene.now
            share.save(update_fields=["proved_at"])
            CustodyEntry.objects.create(
                generation=source,
                share=share,
                what=CustodyEntry.What.ACCESSED,
                bag=share.bag,
                reason=f"Handed in: {ceremony}"[:500],
                by=me.name,
            )
        scene.record.record(
            {"share": progress.index, "custodian": me.name, "given": list(progress.given), "missing": progress.missing}
        )
        if progress.missing == 0:
            ceremony.acted = True
            go_on(scene, ceremony.read_script())
    return progress


def recover(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """Reconstruct, unwrap, import into the provider of the plan, wipe; the set is dead and the key needs a new escrow. The operator does.

    A rehearsal stops before the import: the check value proves that it would have been the right key.
    """

    def effect(ceremony: Ceremony) -> dict[str, Any]:
        process, names, source = ceremony_process(), ceremony.process, _source(ceremony)
        status = process.status(ceremony_id=ceremony.pk)
        if not status.has_escrow_key and not status.has_master_key:
            process.reconstruct(ceremony_id=ceremony.pk, attempt=names["attempt"])
        master = process.unwrap(ceremony_id=ceremony.pk, nonce=names["nonce"], package=bytes(source.package))
        if master.check != source.check_value:
            raise ShareRefused(
                "The recovered key is another one: its check value differs from the one noted at the escrow."
            )
        if ceremony.practice:
            return {"check": master.check, "handed": None}
        handed = process.hand_over(
            ceremony_id=ceremony.pk, nonce=names["nonce"], provider=ceremony.provider, person_id=ceremony.planned_by_id,
            approval_id=ceremony.approval_id,
        )  # fmt: skip
        return {"check": master.check, "handed": handed}

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        ceremony, source, handed = scene.ceremony, _source(scene.ceremony), found["handed"]
        end_generation(source, f"Used in the recovery {ceremony.title}."[:200], by=scene.me.name)
        ceremony.result = {"check_value": found["check"], "ended_generations": [source.number], "set": source.set_name}
        if handed is not None:
            ceremony.result |= {
                "provider": ceremony.provider, "key": str(handed.key_id), "version": handed.version_id,
                "intent": str(handed.intent_id) if handed.intent_id else None, "new_escrow_needed": True,
            }  # fmt: skip
        return dict(ceremony.result)

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.RECOVER,
        roles=(RoomRole.OPERATOR,),
        effect=effect,
        result=result,
    )
    erase(ceremony_id)


def take_place(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """Let the recovered key take the place of the lost one, once its provider has finished the import. The operator does."""

    def effect(ceremony: Ceremony) -> dict[str, Any]:
        if ceremony.practice:
            return {"moved": 0}
        source = _source(ceremony)
        lost = KeyVersion.objects.filter(key=source.key, key_version=source.key_version or 0).first()
        if lost is None:
            raise WrongState("The lost key's version is not in the portal any more.")
        moved = take_place_of(
            actor=planner_of(ceremony), lost_version_id=lost.pk, version_id=int(ceremony.result["version"])
        )
        return {"moved": moved}

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        scene.ceremony.result = scene.ceremony.result | {"wrapped_keys_moved": found["moved"]}
        return {"wrapped_keys_moved": found["moved"]}

    perform(
        actor=actor, ceremony_id=ceremony_id, step=step, action=Action.TAKE_PLACE, roles=(RoomRole.OPERATOR,), effect=effect, result=result
    )  # fmt: skip


def roll_call_nonce(ceremony: Ceremony) -> str:
    """The nonce of this roll-call; made when it starts."""
    return str(ceremony.process.get("roll_call_nonce", ""))


def challenge_for(ceremony: Ceremony, seat: Participant) -> bytes:
    """What this custodian proves the share against: one roll-call, one custodian, one set."""
    source = _source(ceremony)
    return roll_call_challenge(
        nonce=roll_call_nonce(ceremony),
        roll_call_id=str(ceremony.pk),
        custodian_id=str(seat.pk),
        set_id=source.set_id,
        generation=source.number,
    )


def prove_share(*, actor: Actor, ceremony_id: UUID, step: int, proof: str, bag: str = "") -> None:
    """Take a proof of possession, made in the browser or by the offline command; a wrong or stale share is named.

    Raises ShareUnknown, ShareOfOldGeneration, ShareOfAnotherPerson.
    """
    try:
        with in_room(actor, ceremony_id, "prove_share", states=RUNNING, step=step) as scene:
            need_role(scene.me, RoomRole.HOLDER)
            if scene.step.action is not Action.PROVE:
                raise WrongState("This is not what the current step is about.")
            ceremony, me, source = scene.ceremony, scene.me, _source(scene.ceremony)
            if str(me.share_index) in ceremony.process.get("proved", {}):
                raise AlreadyDone("Your proof is in.")
            found = whose_proof(
                challenge_for(ceremony, me),
                unpacked(proof),
                source.public_record,
                older_records(source),
            )
            if found.index is None:
                raise ShareUnknown(
                    "This proof was made with no share the portal knows.", hint="Read the card again, word by word."
                )
            if found.generation != source.number:
                raise ShareOfOldGeneration(
                    f"This share is of generation {found.generation}; the present one is {source.number}."
                )
            if found.index != me.share_index:
                raise ShareOfAnotherPerson(f"This proof was made with share {found.index}, yours is {me.share_index}.")
            ceremony.process = ceremony.process | {
                "proved": ceremony.process.get("proved", {}) | {str(found.index): bag.strip()[:50]}
            }
            scene.record.record({"share": found.index, "custodian": me.name, "bag": bag.strip()[:50]})
            _all_proved(scene, source)
    except ShareRefused as error:
        _note_refused(actor, ceremony_id, None, error)
        raise


def record_proofs(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """Write down who proved and who did not; the leader does."""

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        ceremony, source = scene.ceremony, _source(scene.ceremony)
        proved = ceremony.process.get("proved", {})
        missed = []
        for share in source.shares.exclude(state__in=[ShareState.LOST.value, ShareState.DEAD.value]):
            held = str(share.index) in proved
            if held:
                share.proved_at, share.missed_at = scene.now, None
                share.bag = proved[str(share.index)] or share.bag
            else:
                share.missed_at = scene.now
                missed.append(share.custodian)
            share.save(update_fields=["proved_at", "missed_at", "bag"])
            what = CustodyEntry.What.PROVED if held else CustodyEntry.What.MISSED
            CustodyEntry.objects.create(
                generation=source, share=share, what=what, bag=share.bag, place=share.place, by=scene.me.name
            )
        ceremony.result = {"set": source.set_name, "proved": len(proved), "of": source.share_count, "missed": missed}
        return dict(ceremony.result)

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.RECORD_PROOFS,
        roles=(RoomRole.LEADER,),
        effect=lambda _: {},
        result=result,
    )


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


def _all_proved(scene: Scene, source: ShareGeneration) -> None:
    here = {str(seat.share_index) for seat in active_people(scene.ceremony) if seat.room_role is RoomRole.HOLDER}
    if here <= set(scene.ceremony.process.get("proved", {})):
        scene.ceremony.acted = True


def _source(ceremony: Ceremony) -> ShareGeneration:
    if ceremony.source is None:
        raise WrongState("This ceremony is about no set of shares.")
    return ceremony.source


def _note_refused(actor: Actor, ceremony_id: UUID, seat: Participant | None, error: ShareRefused) -> None:
    """A wrong share goes on the exception sheet by name, so that everybody in the room sees it."""
    with audit.atomic(actor=actor, action="ceremony.share_refused", target=("ceremony", ceremony_id, "")) as record:
        ceremony = Ceremony.objects.select_for_update().get(pk=ceremony_id)
        happened = f"The share of {seat.name if seat else actor.label} was refused: {error.detail}"
        note_deviation(ceremony, expected="The right share.", happened=happened, by="the portal")
        ceremony.version += 1
        ceremony.save(update_fields=["version"])
        record.record({"code": error.code, "who": actor.label}, outcome="refused")


def share_of(seat: Participant) -> Share | None:
    """The share a holder brings to this ceremony."""
    source = seat.ceremony.source
    return source.shares.filter(index=seat.share_index).first() if source and seat.share_index else None
