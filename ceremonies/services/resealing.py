"""New shares for the portal's own seal: split by the keyholder into the process, handed out, verified, and only then in use."""

import base64
from typing import Any
from uuid import UUID

from django.db.models import Max

from ceremonies.models import CustodyEntry, Share, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.script import Action
from ceremonies.services.dealing import begun, end_generation, holders_of, named
from ceremonies.services.frame import Scene
from ceremonies.services.gathering import noted_share
from ceremonies.services.work import Asked, Deed, ceremony_process, planner_of
from ceremonies.states import GenerationState, ShareState
from keys.services import seals
from keyvault_portal.errors import WrongState


def _split(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    holders = holders_of(ceremony)
    opening = begun(ceremony)
    record, sealed = ceremony_process().split_root(
        ceremony_id=ceremony.pk, nonce=opening.nonce, custodians=[str(seat.pk) for seat in holders.values()],
        threshold=ceremony.threshold, person_id=None if ceremony.practice else planner_of(ceremony).id,
    )  # fmt: skip
    return {"opening": opening, "record": record, "sealed": sealed, "holders": holders}


def _split_noted(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    sealed, record, holders = found["sealed"], found["record"], found["holders"]
    noted = None
    if sealed is not None:
        noted = {
            "seal_id": str(sealed.seal_id), "wrapped": base64.b64encode(sealed.wrapped).decode(), "check": sealed.check.hex(),
            "threshold": sealed.threshold, "count": sealed.count, "identifier": sealed.identifier,
        }  # fmt: skip
    scene.ceremony.process = named(found["opening"]) | {
        "set_id": record.set_id, "record": record.as_json(),
        "shares": {str(index): noted_share(seat, index) for index, seat in holders.items()}, "seal": noted,
    }  # fmt: skip
    return {"quorum": scene.ceremony.quorum.words, "shares": record.count}


deal_seal = Deed(Action.DEAL_SEAL, RoomRole.OPERATOR, _split_noted, _split)
"""Have the root sealed under a new key that is split among the share holders present; the seal in use stays."""


def _put_in_use(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    process = ceremony.process
    if any(notes["state"] != ShareState.HELD for notes in process["shares"].values()):
        raise WrongState("Not every share is confirmed.")
    noted = process["seal"]
    if noted is None:
        return {"seal": None}
    split = seals.SplitRoot(
        UUID(noted["seal_id"]), base64.b64decode(noted["wrapped"]), bytes.fromhex(noted["check"]), noted["threshold"], noted["count"],
        noted["identifier"],
    )  # fmt: skip
    return {"seal": str(seals.put_in_use(actor=planner_of(ceremony), name=ceremony.title, split=split).pk)}


def _in_use(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    ceremony = scene.ceremony
    kept = {
        notes["custodian"]: f"bag {notes['bag']}, {notes['place']}" for notes in ceremony.process["shares"].values()
    }
    ceremony.result = {"seal": found["seal"], "quorum": ceremony.quorum.words, "shares_kept": kept}
    if found["seal"] is not None:
        _register(scene, UUID(found["seal"]))
    return dict(ceremony.result)


def _register(scene: Scene, seal_id: UUID) -> None:
    """Let the custody register list the new shares with their bags, and the older ones as dead."""
    ceremony, process = scene.ceremony, scene.ceremony.process
    older = ShareGeneration.objects.filter(seal_id__isnull=False)
    generation = ShareGeneration(
        ceremony=ceremony, seal_id=seal_id, number=(older.aggregate(last=Max("number"))["last"] or 0) + 1, set_id=process["set_id"],
        threshold=ceremony.threshold, share_count=ceremony.share_count, record=process["record"], check_value=process["seal"]["check"],
        state=GenerationState.ACTIVE.value, activated_at=scene.now,
    )  # fmt: skip
    for old in older.select_for_update().filter(state=GenerationState.ACTIVE.value):
        end_generation(old, f"Followed by the set {generation.set_name}.", by=scene.me.name)
    generation.save(force_insert=True)
    for notes in process["shares"].values():
        share = Share.objects.create(generation=generation, confirmed_at=scene.now, proved_at=scene.now, **notes)
        CustodyEntry.objects.create(
            generation=generation,
            share=share,
            what=CustodyEntry.What.SEALED,
            bag=share.bag,
            place=share.place,
            by=share.custodian,
        )


activate_seal = Deed(Action.ACTIVATE_SEAL, RoomRole.LEADER, _in_use, _put_in_use, erases=True)
"""Let the new shares open the portal, and retire the old ones, in one step."""
