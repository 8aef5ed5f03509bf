"""A browser's window on the room over HTTP: it seals and opens as the page's script does, and remembers all that went either way."""

import base64
from dataclasses import dataclass, field
from typing import Any

from django.test import Client
from django.urls import reverse

from ceremonies.process import sealing
from ceremonies.services import handing
from keys.crypto import receiving
from tests.room.cast import Cast


@dataclass
class Window:
    """One person's window; `passed` is what the web process was sent and what it answered."""

    client: Client
    cast: Cast
    name: str
    passed: list[bytes] = field(default_factory=list)

    def look(self, page: str = "room") -> str:
        return self._noted(self.client.get(reverse(f"ceremonies:{page}", args=[self.cast.id]))).content.decode()

    def act(self, act: str, **values: Any) -> Any:
        return self.post(reverse("ceremonies:room-act", args=[self.cast.id, act]), **values)

    def post(self, path: str, **values: Any) -> Any:
        values = {"step": self.cast.now.step, **values}
        self.passed.append(repr(values).encode())
        return self._noted(self.client.post(path, values))

    def show(self) -> Any:
        """Ask for the share on its own page, and open it; the answer, whatever it is."""
        mine = receiving.ReceivingKey()
        key = base64.b64encode(mine.public).decode()
        answer = self.post(reverse("ceremonies:room-share", args=[self.cast.id]), key=key)
        if answer.status_code == 200:
            said = answer.json()
            bound = sealing.context(
                ceremony_id=self.cast.id, script_hash=self.cast.ceremony.script_hash, step=said["step"], custodian_id=said["custodian"]
            )  # fmt: skip
            with mine.open(base64.b64decode(said["sealed"]), bound) as opened:
                self.cast.words[self.name] = opened.reveal().decode().splitlines()[0]
        return answer

    def confirm(self, typed: str = "", bag: str = "BAG") -> Any:
        """Type back what is asked for, unless told what to type."""
        share = handing.share_to_hand_out(self.cast.now, self.cast.seat(self.name).share_index)
        assert share is not None
        words = self.cast.words[self.name].split()
        typed = typed or " ".join(words[position - 1] for position in share.positions)
        sealed = self.cast.seal(self.name, typed, step=self.step, custodian=share.custodian_id)
        return self.act("confirm-share", sealed=sealed, bag=bag, place="Safe")

    def hand_in(self) -> Any:
        return self.act("submit", sealed=self.cast.seal(self.name, self.cast.words[self.name], step=self.step))

    @property
    def step(self) -> str:
        return self.cast.now.read_script().steps[self.cast.ceremony.step].id

    def _noted(self, response: Any) -> Any:
        self.passed.append(response.content)
        return response
