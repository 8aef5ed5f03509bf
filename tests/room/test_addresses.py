"""An officer changes a custodian's address: share and open seats stay theirs."""

from typing import Any

import pytest

from ceremonies.models import Participant, Share
from ceremonies.script import Action
from ceremonies.services.gathering import share_brought
from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.errors import Conflict
from tests.room.cast import Cast, plan

pytestmark = pytest.mark.django_db(transaction=True)


def change(cast: Cast, person: Person, email: str) -> Any:
    return accounts.update_person(
        actor=cast.planner, person=person, name=person.name, site=person.site, reporting_line="", email=email
    )


def test_a_share_is_found_under_the_new_address(cast: Cast, people: dict[str, Person]) -> None:
    RoleBinding.objects.filter(person=people["hana"]).delete()  # whose address nobody else has to agree to
    RoleBinding.objects.filter(person=people["igor"]).delete()
    cast.hold_escrow()
    share = Share.objects.get(person=people["hana"])
    made = Cast(cast.planner, plan(cast.planner, "refresh:2", title="Refresh"))
    made.seat_staff()
    made.seat_holders("hana", "igor", "jane", "kurt", "lucy")
    made.open()
    change(cast, people["hana"], "Hana.Novak@example.org")
    seats = dict(Participant.objects.filter(person=people["hana"]).values_list("ceremony__title", "email"))
    assert seats == {cast.now.title: "hana@example.org", "Refresh": "hana.novak@example.org"}
    share.refresh_from_db()
    assert share.email == "hana.novak@example.org"
    seat = Participant.objects.get(ceremony=made.id, person=people["hana"])
    assert share_brought(made.now, seat, Action.COLLECT) == share.index
    # Karl is a guest who holds another share of this set.
    with pytest.raises(Conflict):
        change(cast, people["igor"], "karl@example.org")
    assert Person.objects.get(pk=people["igor"].pk).email == "igor@example.org"
    assert Share.objects.get(person=people["igor"]).email == "igor@example.org"
