"""The portal's own seal opened from a room: real shares, a real keyholder, a wrong share named to everybody."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from ceremonies import offline
from ceremonies.errors import NotReady
from ceremonies.models import Ceremony, ShareGeneration
from ceremonies.script import Action
from ceremonies.services import custody, dealing, endings, looking, outside, seal_shares
from ceremonies.states import CeremonyState
from keys.models import RootSeal
from keys.services import seals, unsealing
from keyvault_portal.accounts.models import Person
from keyvault_portal.errors import PortalError
from tests.api.conftest import make_person, sign_in
from tests.keyholder.conftest import keyholder, socket_path, start_keyholder
from tests.keyholder.sealing import Made, make_shares, offer
from tests.mistyped import mistyped
from tests.room.cast import Cast, agree, agreed, plan
from tests.room.windows import Window

__all__ = ["keyholder", "socket_path", "start_keyholder"]
pytestmark = pytest.mark.django_db(transaction=True)


def _shares(planner: Any, *officers: Any) -> Made:
    values = {"name": "Custodians", "threshold": 2, "count": 3, "reason": "For the worst day."}
    agreed(lambda: seals.register_shares(actor=planner, **values), *officers)
    return make_shares(planner)


def test_custodians_open_the_sealed_portal(people: Any, planner: Any, keyholder: Any) -> None:
    officers = [make_person(name, "security_officer") for name in ("boris", "chen")]
    cards = _shares(planner, *officers).mnemonics
    made = Cast(planner, plan(planner, "unseal:2", title="Unsealing", practice=False, threshold=0, share_count=0))
    made.seat_staff()
    made.seat_holders("hana", "igor", "gus")
    agree(made, *officers)
    made.gather()
    made.start()
    made.until(Action.GIVE)
    made.sign_all()

    def give(name: str, card: str) -> int:
        sealed = made.seal(name, card, step="act", key=unsealing.attempt()["public_key"] or made.now.script_hash)
        return outside.give_share(actor=made.actor(name), ceremony_id=made.id, step=made.now.step, sealed=sealed)

    with pytest.raises(PortalError, match="open already"):
        give("hana", cards[0])
    seals.seal_now(actor=planner, reason="A drill.")
    assert keyholder.status()["sealed"]
    assert give("hana", cards[0]) == 1
    for card in (mistyped(cards[1]), cards[0]):
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


def _before_the_shares(planner: Any) -> tuple[Cast, list[str]]:
    """A ceremony to unseal a sealed portal, its step of the shares signed; and the cards of Hana and Gus."""
    officers = [make_person(name, "security_officer") for name in ("boris", "chen")]
    cards = _shares(planner, *officers).mnemonics
    made = Cast(planner, plan(planner, "unseal:2", title="Unsealing", practice=False, threshold=0, share_count=0))
    made.seat_staff()
    made.seat_holders("hana", "gus")
    agree(made, *officers)
    made.gather()
    made.start()
    made.until(Action.GIVE)
    made.sign_all()
    seals.seal_now(actor=planner, reason="A drill.")
    return made, cards


def test_a_portal_found_open_after_the_last_share_ends_the_step(
    people: Any, planner: Any, keyholder: Any, monkeypatch: Any
) -> None:
    """The web process may die between the keyholder's answer and the note of it."""
    made, cards = _before_the_shares(planner)

    def give(name: str, card: str) -> None:
        sealed = made.seal(name, card, step="act", key=unsealing.attempt()["public_key"])
        outside.give_share(actor=made.actor(name), ceremony_id=made.id, step=made.now.step, sealed=sealed)

    def expected_of(name: str) -> str:
        seat = made.seat(name)
        return str(looking.look(made.now, seat, list(made.now.participants.all()))["part"].name)

    def dies(*given: Any) -> None:
        offer(*given)
        raise SystemExit

    give("hana", cards[0])
    assert expected_of(made.operator) == "wait"
    with pytest.raises(NotReady, match="sealed"):
        made.perform(Action.GIVE)
    offer = outside._offer
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(outside, "_offer", dies)
        give("gus", cards[1])
    assert (keyholder.status()["sealed"], made.now.status) == (False, CeremonyState.RUNNING)

    assert expected_of(made.operator) == "perform"
    made.perform(Action.GIVE)
    assert made.now.status == CeremonyState.COMMITTED
    assert made.ceremony.result == {"opened": "the keyholder of this machine", "shares": 1, "unanswered": ["Gus"]}
    assert "Gus" in made.now.deviations.get().happened
    made.close()


def test_a_portal_that_was_opened_another_way_ends_no_step(people: Any, planner: Any, keyholder: Any) -> None:
    made, cards = _before_the_shares(planner)
    sealed = made.seal("hana", cards[0], step="act", key=unsealing.attempt()["public_key"])
    outside.give_share(actor=made.actor("hana"), ceremony_id=made.id, step=made.now.step, sealed=sealed)
    wrong = made.seal("gus", mistyped(cards[1]), step="act", key=unsealing.attempt()["public_key"])
    with pytest.raises(PortalError):
        outside.give_share(actor=made.actor("gus"), ceremony_id=made.id, step=made.now.step, sealed=wrong)
    assert offer(keyholder, keyholder.status()["nonce"], cards[1]) == 0
    assert not keyholder.status()["sealed"]
    with pytest.raises(NotReady, match="another way"):
        made.perform(Action.GIVE)
    assert made.now.status == CeremonyState.RUNNING


def test_new_shares_are_verified_before_the_old_ones_end(
    people: Any, planner: Any, keyholder: Any, socket_path: Any, start_process: Any, settings: Any
) -> None:
    officers = [make_person(name, "security_officer") for name in ("boris", "chen")]
    old = _shares(planner, *officers)
    page = " ".join(
        sign_in(Person.objects.get(email="lena@example.org")).get("/ceremonies/custody/").content.decode().split()
    )
    assert page.count("Not on record. Shown to Lena") == old.seal.shares
    assert f"the shares of {old.seal} were made without a ceremony" in " ".join(text for _, text, *_ in custody.due())
    running = start_process(PORTAL_KEYHOLDER_SOCKET=str(socket_path))
    settings.CEREMONY_SOCKET = str(running.client.path)

    def held(title: str) -> Cast:
        made = Cast(planner, plan(planner, "rekey:2", title=title, practice=False, threshold=2, share_count=3))
        made.seat_staff()
        made.seat_holders("hana", "igor", "gus")
        agree(made, *officers).gather()
        made.start()
        made.until(Action.DEAL_SEAL)
        made.perform(Action.DEAL_SEAL)
        made.sign_all()
        made.hand_out()
        return made

    def opens(cards: list[str]) -> bool:
        seals.seal_now(actor=planner, reason="A drill.")
        nonce = keyholder.begin()
        try:
            for card in cards:
                offer(keyholder, nonce, card)
        except PortalError:
            return False
        seals.open_again(actor=planner)
        return not keyholder.status()["sealed"]

    first = held("Cancelled")
    first.perform(Action.VERIFY)
    first.submit("hana", first.words["hana"], step="verify")
    first.abort()
    assert first.now.status is CeremonyState.ABORTED
    assert RootSeal.objects.filter(kind="shares").count() == 1
    assert opens(old.mnemonics[:2])

    before = ShareGeneration.objects.create(
        ceremony=first.now, seal_id=uuid4(), number=4, set_id=1, threshold=2, share_count=3, check_value="ab", record={},
        state="active", activated_at=timezone.now(),
    )  # fmt: skip
    made = held("New shares")
    with pytest.raises(PortalError):
        made.perform(Action.ACTIVATE_SEAL)
    made.verify()
    made.sign_all()
    old.seal.refresh_from_db()
    assert old.seal.retired_at is None
    made.perform(Action.ACTIVATE_SEAL)
    made.close()
    old.seal.refresh_from_db()
    assert old.seal.retired_at is not None
    assert old.seal.wrapped is None
    assert made.now.next_due_at is not None
    assert made.ceremony.result["shares_kept"]["Gus"] == "bag BAG-gus, Safe"
    _the_register_knows_them(made, planner)
    before.refresh_from_db()
    [after] = ShareGeneration.objects.filter(state="active")
    assert (before.state, before.end_reason) == ("dead", f"Followed by the set {after.set_name}.")
    assert after.number == before.number + 1
    assert seal_shares.unregistered_seal() is None
    assert set(made.words.values()).isdisjoint(first.words.values())
    assert not opens(old.mnemonics[:2])
    assert not opens([first.words["hana"], first.words["igor"]])
    assert opens([made.words["hana"], made.words["gus"]])
    assert not any(
        " ".join(words.split()[5:9]) in running.log.read_text() + str(Ceremony.objects.values())
        for words in made.words.values()
    )


def _the_register_knows_them(made: Cast, planner: Any) -> None:
    """Bags, duty, a roll-call, a custodian who leaves, and the end with the seal: as of any set of shares."""
    [held] = ShareGeneration.objects.filter(seal_id=made.now.result["seal"])
    assert [(share.custodian, share.bag, share.place, share.state) for share in held.shares.all()] == [
        (name.title(), f"BAG-{name}", "Safe", "held") for name in ("hana", "igor", "gus")
    ]
    with pytest.raises(IntegrityError), transaction.atomic():
        ShareGeneration.objects.create(
            ceremony=plan(planner, title="Another"), seal_id=held.seal_id, number=9, set_id=1, threshold=2, share_count=3, check_value="ab",
            record={}, state="active", activated_at=held.activated_at,
        )  # fmt: skip
    hana = held.shares.get(custodian="Hana")
    page = sign_in(Person.objects.get(email="hana@example.org"))
    assert "Seal of the portal" in page.get(reverse("ceremonies:share-detail", args=[hana.pk])).content.decode()
    custody.note_custody(actor=made.actor("hana"), share_id=hana.pk, what="acknowledged")
    custody.note_custody(actor=planner, share_id=hana.pk, what="leaving", reason="A new employer.")
    assert "Seal of the portal: Hana leaves, so new shares are due" in " ".join(text for _, text, *_ in custody.due())
    call = Cast(
        planner, plan(planner, "roll-call:1", title="Who has them?", practice=False, threshold=0, share_count=0)
    )
    assert call.now.source_id == held.pk
    assert call.holders == ["hana", "igor", "gus"]
    proof = offline.prove(made.words["gus"], held.public_record.salt, b"challenge")
    assert offline.proves(held.public_record.commitments[2], b"challenge", proof)
    assert custody.health_of(held).words.startswith("3 of 3 proved today, threshold 2, spare 1")


def test_a_retired_seal_ends_its_set(planner: Any, people: Any, keyholder: Any) -> None:
    kept = ShareGeneration.objects.create(
        ceremony=plan(planner, title="Before"), seal_id=uuid4(), set_id=1, threshold=2, share_count=3, check_value="ab", record={},
        state="active", activated_at=timezone.now(),
    )  # fmt: skip
    seal = RootSeal.objects.create(
        id=kept.seal_id,
        kind="shares",
        name="Old",
        check_value=b"12345678",
        identifier=1,
        threshold=2,
        shares=3,
        wrapped=b"x",
    )
    assert endings.end_sets_of_what_is_gone() == 0
    RootSeal.objects.filter(pk=seal.pk).update(state="retired", retired_at=timezone.now(), wrapped=None)
    assert endings.end_sets_of_what_is_gone() == 1
    kept.refresh_from_db()
    assert (kept.state, kept.end_reason) == ("dead", "The seal is retired.")


def test_new_shares_of_the_seal_are_rehearsed(planner: Any, people: Any, process: Any) -> None:
    made = Cast(planner, plan(planner, "rekey:2", threshold=2, share_count=3))
    made.seat_staff()
    made.seat_holders("hana", "igor", "gus")
    made.open().gather()
    made.start()
    made.until(Action.DEAL_SEAL)
    made.perform(Action.DEAL_SEAL)
    made.sign_all()
    made.see("hana")
    dealing.deal_again(actor=made.actor("lena"), ceremony_id=made.id, reason="Hana wrote nothing down.")
    made.perform(Action.DEAL_SEAL)
    made.sign_all()
    window = Window(sign_in(people["hana"]), made, "hana")
    assert "open the seal of the portal" in " ".join(window.look("room-share").split())
    assert window.show().status_code == 200
    made.confirm("hana")
    for name in ("igor", "gus"):
        made.see(name)
        made.confirm(name)
    made.sign_all()
    made.verify()
    made.sign_all()
    made.perform(Action.ACTIVATE_SEAL)
    assert made.now.result["seal"] is None
    assert not RootSeal.objects.filter(kind="shares").exists()
    made.close()
