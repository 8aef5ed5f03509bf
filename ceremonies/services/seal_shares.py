"""Shares of the portal's seal that were made without a ceremony: no script named their custodians, so an officer does."""

from django.db.models import Exists, OuterRef
from django.utils import timezone

from ceremonies.models import SealCustodian, ShareGeneration
from ceremonies.services.scripts import known_person
from keys.models import RootSeal
from keys.models.seals import OPENING
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ValidationFailed, WrongState


def unregistered_seal(actor: Actor | None = None) -> RootSeal | None:
    """The seal whose shares open the portal, and were all shown to one officer; for who sees all rings."""
    if actor is not None and actor.ring_ids(Permission.CEREMONY_VIEW) is not None:
        return None
    registered = ShareGeneration.objects.filter(seal_id=OuterRef("pk"))
    return RootSeal.objects.filter(~Exists(registered), kind=RootSeal.Kind.SHARES, state__in=OPENING).first()


def custodians(seal: RootSeal) -> list[tuple[int, SealCustodian | None]]:
    """Each share's number, and who has it as far as it is on record."""
    known = {row.number: row for row in SealCustodian.objects.filter(seal=seal)}
    return [(number, known.get(number)) for number in range(1, (seal.shares or 0) + 1)]


def unnamed(seal: RootSeal) -> int:
    """Of how many of its shares nobody knows who has them."""
    return sum(row is None for _, row in custodians(seal))


def name_custodian(*, actor: Actor, number: int, custodian: str, bag: str = "", place: str = "") -> SealCustodian:
    """Write down who has a share of the seal in use, and where; said again, it replaces what was said before.

    `custodian` is a name, or the address of somebody with an account. Raises PermissionRefused, WrongState (its custodians
    are on record by a ceremony, or there are no shares), ValidationFailed.
    """
    with audit.atomic(actor=actor, action="custody.name_custodian", target=("seal", "", "")) as record:
        authorize(actor, Permission.CEREMONY_MANAGE, target="the portal's seal")
        seal = unregistered_seal()
        if seal is None:
            raise WrongState(
                "No shares of the seal in use were made without a ceremony.",
                hint="The custody register has the others.",
            )
        errors = {}
        if not 1 <= number <= (seal.shares or 0):
            errors["number"] = [f"From 1 to {seal.shares}."]
        if not custodian.strip():
            errors["custodian"] = ["Say who has it."]
        if errors:
            raise ValidationFailed(errors=errors)
        person = known_person(custodian.strip())
        values = {
            "person": person, "custodian": (person.name if person else custodian.strip())[:150], "bag": bag.strip()[:50],
            "place": place.strip()[:200], "noted_at": timezone.now(), "noted_by": actor.label[:200],
        }  # fmt: skip
        before = SealCustodian.objects.filter(seal=seal, number=number).first()
        row, _ = SealCustodian.objects.update_or_create(seal=seal, number=number, defaults=values)
        record.about(target=("seal", seal.pk, seal.name))
        record.record({
            "share": number, "custodian": row.custodian, "bag": row.bag, "place": row.place,
            "before": before.custodian if before else None,
        })  # fmt: skip
    return row
