"""What the portal does in the steps of each action, in one table: the pages and the room ask it who acts and how."""

from collections.abc import Mapping

from ceremonies.models import Ceremony
from ceremonies.script import Action
from ceremonies.services import bringing, dealing, endings, gathering, outside, proving, resealing
from ceremonies.services.work import Deed
from keyvault_portal.errors import ValidationFailed

DEEDS: Mapping[Action, Deed] = {
    deed.action: deed
    for deed in (
        dealing.deal, dealing.verify, dealing.store_package, dealing.activate, gathering.open_attempt, gathering.recover,
        gathering.take_place, gathering.unwrap, gathering.reissue, gathering.reseat, proving.record_proofs, endings.destroy_key,
        endings.visited, bringing.announce, bringing.compare,
        outside.break_the_glass, outside.prepare, outside.act, outside.find_open, resealing.deal_seal, resealing.activate_seal,
    )
}  # fmt: skip


def deed_of(ceremony: Ceremony, step: int) -> Deed:
    """The portal's own part of a step, counted from 0; raises ValidationFailed where there is none."""
    steps = ceremony.read_script().steps
    deed = DEEDS.get(steps[min(step, len(steps) - 1)].action)
    if deed is None:
        raise ValidationFailed("There is nothing for the portal to do in this step.")
    return deed
