"""Acts that an app lets people hold in a ceremony. The app that has the act registers it, the app that has the room finds it here:
neither imports the other.
"""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from django import forms

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import Conflict

type Subject = Mapping[str, Any]
"""What the act is about: plain values, which an approval binds and the room shows. Never a secret."""


class NotYet(Conflict):
    """Somebody else, such as a provider, is at work; ask again in a moment."""

    code, title = "not_yet", "This is not done yet"


class HeldAct(Protocol):
    """What a registered act offers; `actor` is whoever planned the ceremony, with the rights held at that moment."""

    title: str

    def form(self, data: Any, *, actor: Actor) -> forms.Form:
        """Asks for the subject; `cleaned_data` has plain values once it is valid."""
        ...

    def check(self, *, actor: Actor, subject: Subject) -> UUID | None:
        """The ring it is about, when the act is possible now and the actor may; raises PortalError otherwise."""
        ...

    def describe(self, subject: Subject) -> list[tuple[str, str]]:
        """What people read before they agree, as names and values."""
        ...

    def prepare(self, *, actor: Actor, subject: Subject, ceremony_id: UUID) -> dict[str, Any]:
        """What comes before, such as making a key; asked again by the same ceremony it says what it did before."""
        ...

    def perform(self, *, actor: Actor, subject: Subject, ceremony_id: UUID) -> dict[str, Any]:
        """The act; asked again by the same ceremony it says what it did before."""
        ...


_acts: dict[str, HeldAct] = {}


def register(name: str, act: HeldAct) -> None:
    """Offer `act` to scripts under `name`, such as "certificates.root"."""
    _acts[name] = act


def find(name: str) -> HeldAct | None:
    """The act registered under `name`."""
    return _acts.get(name)


def names() -> list[str]:
    """Every name that a script may give."""
    return sorted(_acts)
