"""What the portal does in the steps of each action, in one table: the pages and the room ask it who acts and how."""

from collections.abc import Mapping

from ceremonies.script import Action
from ceremonies.services import bringing, dealing, endings, gathering, outside, proving, resealing
from ceremonies.services.work import Deed

DEEDS: Mapping[Action, Deed] = {
    deed.action: deed
    for deed in (
        dealing.deal, dealing.verify, dealing.store_package, dealing.activate, gathering.open_attempt, gathering.recover,
        gathering.take_place, gathering.unwrap, gathering.reissue, gathering.reseat, proving.record_proofs, endings.destroy_key,
        endings.visited, bringing.announce, bringing.compare,
        outside.break_the_glass, outside.prepare, outside.act, resealing.deal_seal, resealing.activate_seal,
    )
}  # fmt: skip
