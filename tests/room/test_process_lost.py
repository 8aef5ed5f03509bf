"""The ceremony process was restarted in the middle: whoever notices leads everybody back to where it is gathered or made."""

from typing import Any

import pytest

from ceremonies.errors import SessionOver
from ceremonies.models import ShareGeneration
from ceremonies.script import Action
from ceremonies.services import gathering
from ceremonies.services.work import ceremony_process
from ceremonies.states import CeremonyState
from tests.room.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)


def happened(made: Cast) -> str:
    return " ".join(made.now.deviations.values_list("happened", flat=True))


def test_what_the_process_forgot_is_gathered_again(cast, recovery_of):
    cast.hold_escrow()
    recovery = recovery_of(cast)
    recovery.gather()
    recovery.start()
    recovery.until(Action.COLLECT)
    collect = recovery.now.step
    gathering.open_attempt(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=collect)
    for name in ("hana", "igor", "jane"):
        recovery.submit(name, cast.words[name])
    recovery.sign_all()
    recovery.sign_all()
    ceremony_process().destroy(ceremony_id=recovery.id)  # as when the process is killed between reconstruct and import
    with pytest.raises(SessionOver):
        gathering.recover(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    assert (recovery.now.step, recovery.ceremony.status) == (collect, CeremonyState.RUNNING)
    assert ShareGeneration.objects.get().state == "active"
    gathering.open_attempt(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=collect)
    for name in ("lucy", "igor", "karl"):
        recovery.submit(name, cast.words[name])
    recovery.sign_all()
    recovery.sign_all()
    gathering.recover(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    assert recovery.now.status is CeremonyState.COMMITTED


def test_a_holder_meets_a_process_that_forgot(cast, recovery_of, monkeypatch):
    cast.hold_escrow()
    recovery = recovery_of(cast)
    recovery.gather()
    recovery.start()
    recovery.collect("hana", "igor")
    ceremony_process().destroy(ceremony_id=recovery.id)
    with pytest.raises(SessionOver):
        recovery.submit("jane", cast.words["jane"])
    assert "attempt" not in recovery.now.process, "the operator is asked to begin"
    assert "lost what it held" in happened(recovery)
    recovery.perform(Action.COLLECT)

    class BegunAgainMeanwhile:
        def take_share(self, **_: Any) -> None:
            patch.undo()
            recovery.perform(Action.COLLECT)
            raise SessionOver

    with monkeypatch.context() as patch:
        sealed = recovery.seal("jane", cast.words["jane"])
        patch.setattr(gathering, "ceremony_process", BegunAgainMeanwhile)
        with pytest.raises(SessionOver):
            gathering.submit_share(
                actor=recovery.actor("jane"), ceremony_id=recovery.id, step=recovery.now.step, sealed=sealed
            )
    assert "attempt" in recovery.now.process, "who was a moment too late undoes nothing"
    for name in ("lucy", "igor", "karl"):
        recovery.submit(name, cast.words[name])
    assert recovery.now.acted


def test_a_custodian_meets_a_process_that_forgot(cast):
    cast.deal()
    cast.see("hana")
    ceremony_process().destroy(ceremony_id=cast.id)
    with pytest.raises(SessionOver):
        cast.confirm("hana")
    assert cast.now.read_script().steps[cast.ceremony.step].action is Action.DEAL
    cast.perform(Action.DEAL)
    cast.sign_all()
    cast.see("igor")
    ceremony_process().destroy(ceremony_id=cast.id)
    with pytest.raises(SessionOver):
        cast.see("hana")
    assert cast.now.read_script().steps[cast.ceremony.step].action is Action.DEAL
    cast.perform(Action.DEAL)
    cast.sign_all()
    cast.hand_out()
