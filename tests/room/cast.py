"""A cast that plays ceremonies through the services, as people do through the pages."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from ceremonies.models import Ceremony, Participant
from ceremonies.process import sealing
from ceremonies.process.client import RecipientKind
from ceremonies.script import Action
from ceremonies.services import endings, gathering, handing, plans, room
from ceremonies.services.deeds import DEEDS
from ceremonies.services.frame import guest_actor
from ceremonies.states import CeremonyState
from keys.crypto import receiving
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.execution import execute
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired
from tests.api.conftest import actor

HOLDERS = ("hana", "igor", "jane", "karl", "lucy")


@dataclass
class Cast:
    """The people of one ceremony and what each may do; `words` is what holders wrote down, as on their cards."""

    planner: Actor
    ceremony: Ceremony
    words: dict[str, str] = field(default_factory=dict)
    leader: str = "lena"
    operator: str = "otto"
    witness: str = "wilma"

    @property
    def id(self) -> Any:
        return self.ceremony.pk

    @property
    def now(self) -> Ceremony:
        self.ceremony = Ceremony.objects.get(pk=self.ceremony.pk)
        return self.ceremony

    def seat(self, name: str) -> Participant:
        return Participant.objects.select_related("ceremony").get(ceremony_id=self.id, email=f"{name}@example.org")

    def actor(self, name: str) -> Actor:
        seat = self.seat(name)
        return actor_for_person(seat.person, second_factor=True) if seat.person else guest_actor(seat)

    def gather(self, *, besides: tuple[str, ...] = ()) -> None:
        """Everybody arrives, reads the hash back and is identified."""
        for seat in self.now.participants.exclude(role="external_witness"):
            name = seat.email.split("@")[0]
            if name in besides:
                continue
            room.confirm_script(actor=self.actor(name), ceremony_id=self.id, read_back=self.ceremony.script_hash[:8])
            by = self.leader if seat.role == "internal_witness" else self.witness
            room.identify(actor=self.actor(by), ceremony_id=self.id, participant_id=seat.pk)

    def start(self) -> None:
        room.start(actor=self.actor(self.leader), ceremony_id=self.id)

    def sign(self, *names: str) -> None:
        step = self.now.step
        for name in names:
            room.sign_off(actor=self.actor(name), ceremony_id=self.id, step=step)

    def sign_all(self) -> None:
        """Everybody whose signature the current step needs."""
        ceremony = self.now
        step = ceremony.read_script().steps[ceremony.step]
        waiting = room.missing_signers(ceremony, step, room.active_people(ceremony))
        self.sign(*[seat.email.split("@")[0] for seat in waiting])

    def until(self, action: Action) -> None:
        """Sign plain steps off up to the one with this action."""
        while (step := self.now.read_script().steps[self.ceremony.step]).action is not action:
            assert step.action in {Action.NONE, Action.CHECK_CLOCK}, step
            self.sign_all()

    def see(self, name: str) -> str:
        """As the page's script does: a key for this one answer, and what comes back is opened with it."""
        mine = receiving.ReceivingKey()
        share, given, step = handing.seal_share(
            actor=self.actor(name), ceremony_id=self.id, step=self.now.step, kind=RecipientKind.PAGE, key=mine.public
        )
        bound = sealing.context(
            ceremony_id=self.id, script_hash=self.ceremony.script_hash, step=step, custodian_id=share.custodian_id
        )
        self.words[name] = mine.open(given.ciphertext, bound).reveal().decode().splitlines()[0]
        return self.words[name]

    def confirm(self, name: str, typed: str | None = None, key: str = "") -> None:
        share = handing.share_to_hand_out(self.now, self.seat(name).share_index)
        assert share is not None
        words = self.words[name].split()
        answer = typed if typed is not None else " ".join(words[position - 1] for position in share.positions)
        handing.confirm_share(
            actor=self.actor(name),
            ceremony_id=self.id,
            step=self.now.step,
            sealed=self.seal(
                name,
                answer,
                step=self.now.read_script().steps[self.ceremony.step].id,
                custodian=share.custodian_id,
                key=key,
            ),
            bag=f"BAG-{name}",
            place="Safe",
        )

    def perform(self, action: Action, name: str = "", **values: Any) -> None:
        """The portal's part of the current step, which is one of this action."""
        deed = DEEDS[action]
        by = name or {"operator": self.operator, "leader": self.leader}[deed.role.value]
        deed(actor=self.actor(by), ceremony_id=self.id, step=self.now.step, **values)

    def deal(self) -> None:
        """From the open room to shares that wait to be shown."""
        self.gather()
        self.start()
        self.until(Action.DEAL)
        self.perform(Action.DEAL)
        self.sign_all()

    @property
    def holders(self) -> list[str]:
        return [seat.email.split("@")[0] for seat in self.now.participants.filter(role="holder", left_at=None)]

    def hand_out(self) -> None:
        for name in self.holders:
            self.see(name)
            self.confirm(name)
        self.sign_all()

    def verify(self) -> None:
        """All new shares come back."""
        self.perform(Action.VERIFY)
        for name in self.holders:
            self.submit(name, self.words[name], step="verify")
        self.sign_all()

    def put_in_force(self) -> None:
        """From shares that are handed out to a set in force."""
        if self.ceremony.read_script().number_of(Action.VERIFY) is not None:
            self.verify()
        self.perform(Action.STORE_PACKAGE, bag="BAG-P", place="Vault")
        self.sign_all()
        self.sign_all()
        self.perform(Action.ACTIVATE)

    def hold_escrow(self, *, attest: bool = True) -> None:
        """A whole escrow, from the open room to the last word."""
        self.deal()
        self.hand_out()
        self.put_in_force()
        if attest:
            self.close()

    def collect(self, *names: str) -> None:
        """From a room just begun to a quorum that is in."""
        self.until(Action.COLLECT)
        self.perform(Action.COLLECT)
        for name in names:
            self.submit(name, self.words[name])

    def give_passphrase(self, text: str, *, name: str = "") -> None:
        step = self.now.read_script().steps[self.ceremony.step].id
        gathering.seal_passphrase(
            actor=self.actor(name or self.leader), ceremony_id=self.id, step=self.ceremony.step,
            sealed=self.seal(name or self.leader, text, step=step),
        )  # fmt: skip

    def close(self) -> None:
        self.sign_all()
        for seat in room.active_people(self.now):
            room.attest(actor=self.actor(seat.email.split("@")[0]), ceremony_id=self.id, agrees=True)

    def seal(
        self,
        name: str,
        words: str,
        *,
        step: str = "collect",
        custodian: str = "",
        ceremony: Any = None,
        script: str = "",
        key: str = "",
    ) -> str:
        """What the browser makes of the words."""
        public = bytes.fromhex(key or self.now.process["public_key"])
        bound = sealing.context(
            ceremony_id=ceremony or self.id,
            script_hash=script or self.ceremony.script_hash,
            step=step,
            custodian_id=custodian or str(self.seat(name).pk),
        )
        return base64.b64encode(receiving.seal(public, words.encode(), bound)).decode()

    def submit(self, name: str, words: str, **more: Any) -> Any:
        return gathering.submit_share(
            actor=self.actor(name), ceremony_id=self.id, step=self.now.step, sealed=self.seal(name, words, **more)
        )

    def seat_staff(self) -> None:
        for name, role in ((self.leader, "leader"), (self.operator, "operator"), (self.witness, "internal_witness")):
            plans.add_person(actor=self.planner, ceremony_id=self.id, role=role, email=f"{name}@example.org")

    def seat_deputy(self, name: str, principal: str) -> None:
        plans.add_person(
            actor=self.planner, ceremony_id=self.id, role="deputy", email=f"{name}@example.org", name=name.title(),
            deputy_for=self.seat(principal).pk,
        )  # fmt: skip

    def seat_holders(self, *names: str, group: str = "") -> None:
        for name in names:
            plans.add_person(
                group=group,
                actor=self.planner,
                ceremony_id=self.id,
                role="holder",
                email=f"{name}@example.org",
                name=name.title(),
                site=name.title(),
            )

    def abort(self, name: str = "") -> None:
        endings.abort(actor=self.actor(name or self.witness), ceremony_id=self.id, reason="Somebody came in.")

    def open(self) -> "Cast":
        plans.open_room(actor=self.planner, ceremony_id=self.id)
        return self


def plan(planner: Actor, script: str = "escrow:1", **more: Any) -> Ceremony:
    """A rehearsal of a 3-of-5 escrow unless said otherwise."""
    values: dict[str, Any] = {
        "title": "Yearly escrow", "script": script, "purpose": "So that a lost HSM is not a lost key.", "key": None, "place": "Oslo",
        "time_zone": "Europe/Oslo", "starts_at": timezone.now() + timedelta(days=1), "threshold": 3, "share_count": 5, "practice": True,
    }  # fmt: skip
    return plans.plan_ceremony(actor=planner, **(values | more))


def agreed(ask: Callable[[], object], *officers: Any) -> ApprovalRequest:
    """What `ask` asks for, agreed to by these officers and performed."""
    with pytest.raises(ApprovalRequired) as waiting:
        ask()
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    for officer in officers:
        approvals.approve(actor=actor(officer), request_id=request.pk, act_hash=request.act_hash)
    assert execute(request.pk) == "executed", ApprovalRequest.objects.get(pk=request.pk).failure_detail
    return request


def agree(made: Cast, *officers: Any) -> Cast:
    """Others agree to the ceremony, and its room opens."""
    request = agreed(made.open, *officers)
    assert made.now.script_hash in bytes(request.act).decode()
    assert made.now.status is CeremonyState.GATHERING
    return made
