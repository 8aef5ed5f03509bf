"""After an escrow and a recovery driven through the rooms no share, word or key is anywhere; a planted one is found."""

import logging
from typing import Any

import pytest

from ceremonies import packages, shamir
from ceremonies.models import CustodyEntry, ShareGeneration
from ceremonies.quorums import Quorum
from ceremonies.script import Action
from ceremonies.services import dealing
from ceremonies.services.work import ceremony_process
from keys.crypto.secret import SecretBytes
from keys.services import materials
from tests.api.conftest import build_place, make_person, sign_in
from tests.ceremonies.traces import Places, Secrets, found
from tests.room.cast import Cast, agree, plan
from tests.room.test_room_pages import guest
from tests.room.windows import Window

pytestmark = pytest.mark.django_db(transaction=True)
PHRASE = "marmalade-4711 on the 3rd shelf"


def test_nothing_is_left_by_the_rooms_and_what_is_planted_is_found(people, planner, process, caplog):
    caplog.set_level(logging.DEBUG)
    officers = [make_person(name, "security_officer") for name in ("boris", "chen")]
    root = build_place("payments").keys["root"]
    groups = Quorum.parse("Security officers: 2 of 3\nLegal: 1 of 2")
    cast = Cast(planner, plan(planner, key=root, practice=False, groups=groups, with_passphrase=True))
    cast.seat_staff()
    cast.seat_holders("hana", "igor", "jane", group="Security officers")
    cast.seat_holders("karl", "lucy", group="Legal")
    agree(cast, *officers).gather()
    cast.start()
    cast.until(Action.DEAL)
    dealing.begin(actor=cast.actor("otto"), ceremony_id=cast.id, step=cast.now.step)
    cast.give_passphrase(PHRASE)
    cast.perform(Action.DEAL)
    cast.sign_all()
    windows: dict[str, Window] = {}

    def places() -> Places:
        passed = [piece for window in windows.values() for piece in window.passed]
        return Places([process.log], [process.temporary], caplog.text, process.process.pid, passed)

    windows = {
        name: Window(sign_in(people[name]) if name in people else guest(cast, name)[0], cast, name)
        for name in cast.holders
    }
    for window in windows.values():
        window.look()
        window.look("room-share")
        assert window.show().status_code == 200
        window.look()
        assert window.confirm().status_code == 302
        window.look()
    cast.sign_all()
    quorum = [SecretBytes(cast.words[name].encode()) for name in ("hana", "jane", "lucy")]
    escrow_key = shamir.recover(quorum, SecretBytes(PHRASE.encode()))
    master = materials.material(materials.active_version(root))
    secrets = Secrets(
        cast.words,
        {"escrow key": escrow_key.reveal(), "master key": master.reveal(), "passphrase": PHRASE.encode()},
    )
    midway = found(secrets, places())  # while the process still holds everything
    cast.put_in_force()
    cast.close()
    made = ShareGeneration.objects.get()
    assert packages.read(bytes(made.package)).open(escrow_key) == master

    recovery = Cast(planner, plan(planner, "recovery:2", title="Recovery", key=root, practice=False, provider="local"), cast.words)  # fmt: skip
    recovery.seat_staff()
    agree(recovery, *officers).gather()
    recovery.start()
    recovery.until(Action.COLLECT)
    recovery.perform(Action.COLLECT)
    for name in ("hana", "jane", "lucy"):
        again = Window(sign_in(people[name]) if name in people else guest(recovery, name)[0], recovery, name)
        again.look()
        assert again.hand_in().status_code == 302
        again.look()
        windows[name].passed += again.passed
    recovery.sign_all()
    recovery.sign_all()
    recovery.give_passphrase(PHRASE)
    midway |= found(secrets, places())
    recovery.perform(Action.RECOVER)
    recovery.perform(Action.TAKE_PLACE)
    recovery.sign_all()
    recovery.sign_all()
    recovery.close()
    assert midway == set()
    assert found(secrets, places()) == set()
    assert not ceremony_process().status(ceremony_id=recovery.id).begun
    seen = {place for place, _ in places()}
    assert {"table ceremonies_ceremony", "table ceremonies_custodyentry", "table audit_event", "task arguments"} <= seen

    plant(made, cast, escrow_key)
    windows["jane"].passed.append(render_card(cast.words["jane"]))
    reported = found(secrets, places())
    for place in (
        "words of hana in table ceremonies_custodyentry", "escrow key in table ceremonies_ceremony", "passphrase in log of this process",
        "words of jane in the web process",
    ):  # fmt: skip
        assert place in reported, reported


def render_card(words: str) -> bytes:
    """A page as it would be if the web process drew the card."""
    rows = "".join(
        f'<li><span class="share-number">{place}</span> {word}</li>' for place, word in enumerate(words.split(), 1)
    )
    return f"<ol>{rows}</ol>".encode()


def plant(made: ShareGeneration, cast: Cast, escrow_key: SecretBytes) -> None:
    """What a careless service would leave behind."""
    some: Any = ", ".join(cast.words["hana"].split()[8:14])
    CustodyEntry.objects.create(generation=made, what="moved", reason=f"typed: {some}", by="somebody")
    cast.now.process = {"debug": escrow_key.reveal().hex()}
    cast.ceremony.save()
    logging.getLogger("ceremonies").warning("the leader said %s", PHRASE)
