"""The portal's own seal opened from a room: real shares, a real keyholder, a wrong share named to everybody."""

from typing import Any

import pytest

from ceremonies.script import Action
from ceremonies.services import outside
from ceremonies.states import CeremonyState
from keys.crypto.secret import SecretBytes
from keys.services import seals
from keyvault_portal.errors import PortalError
from tests.api.conftest import make_person
from tests.keyholder.conftest import keyholder, socket_path, start_keyholder
from tests.room.cast import Cast, agree, plan

__all__ = ["keyholder", "socket_path", "start_keyholder"]
pytestmark = pytest.mark.django_db(transaction=True)


def test_custodians_open_the_sealed_portal(people: Any, planner: Any, keyholder: Any) -> None:
    officers = [make_person(name, "security_officer") for name in ("boris", "chen")]
    cards = seals.register_shares(actor=planner, name="Custodians", threshold=2, count=3).mnemonics
    made = Cast(planner, plan(planner, "unseal:2", title="Unsealing", practice=False, threshold=0, share_count=0))
    made.seat_staff()
    made.seat_holders("hana", "igor", "gus")
    agree(made, *officers)
    made.gather()
    made.start()
    made.until(Action.GIVE)
    made.sign_all()

    def give(name: str, card: str) -> int:
        words = SecretBytes(card.encode())
        return outside.give_share(actor=made.actor(name), ceremony_id=made.id, step=made.now.step, words=words)

    with pytest.raises(PortalError, match="open already"):
        give("hana", cards[0])
    seals.seal_now(actor=planner, reason="A drill.")
    assert keyholder.status()["sealed"]
    assert give("hana", cards[0]) == 1
    wrong = " ".join(["academic", *cards[1].split()[1:]])
    for card in (wrong, cards[0]):
        with pytest.raises(PortalError):
            give("gus", card)
    assert "The share of Gus was refused" in " ".join(made.now.deviations.values_list("happened", flat=True))
    assert not any(" ".join(card.split()[5:8]) in str(list(made.now.deviations.values())) for card in cards)
    assert give("gus", cards[2]) == 0
    assert not keyholder.status()["sealed"]
    assert (made.now.status, made.ceremony.result["shares"]) == (CeremonyState.COMMITTED, 2)
    assert not seals.sealed_on_purpose()
    with pytest.raises(PortalError):
        give("igor", cards[1])
    made.close()
