"""The roll-call: every custodian proves the share without revealing it, and the register says who did."""

from typing import Any
from uuid import UUID

from ceremonies.errors import ShareOfAnotherPerson, ShareOfOldGeneration, ShareRefused, ShareUnknown
from ceremonies.models import Ceremony, CustodyEntry, Participant, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.room_errors import AlreadyDone
from ceremonies.script import Action
from ceremonies.services.dealing import older_records
from ceremonies.services.frame import Scene, in_room, need_role
from ceremonies.services.gathering import note_refused, source_of, unpacked
from ceremonies.services.room import active_people
from ceremonies.services.work import RUNNING, Deed
from ceremonies.shamir import roll_call_challenge, whose_proof
from ceremonies.states import ShareState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import WrongState


def roll_call_nonce(ceremony: Ceremony) -> str:
    """The nonce of this roll-call; made when it starts."""
    return str(ceremony.process.get("roll_call_nonce", ""))


def challenge_for(ceremony: Ceremony, seat: Participant) -> bytes:
    """What this custodian proves the share against: one roll-call, one custodian, one set."""
    source = source_of(ceremony)
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
            ceremony, me, source = scene.ceremony, scene.me, source_of(scene.ceremony)
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
        note_refused(actor, ceremony_id, None, error)
        raise


def _proofs_recorded(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    ceremony, source = scene.ceremony, source_of(scene.ceremony)
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


record_proofs = Deed(Action.RECORD_PROOFS, RoomRole.LEADER, _proofs_recorded)
"""Write down who proved and who did not."""


def _all_proved(scene: Scene, source: ShareGeneration) -> None:
    here = {str(seat.share_index) for seat in active_people(scene.ceremony) if seat.room_role is RoomRole.HOLDER}
    if here <= set(scene.ceremony.process.get("proved", {})):
        scene.ceremony.acted = True
