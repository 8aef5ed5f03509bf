"""Custodians open the portal: each share is sealed where it is typed, to a key of this machine's keyholder, which alone reads it."""

from dataclasses import dataclass
from typing import Any

from keys.crypto.receiving import context
from keys.models import SealState
from keys.services import keyholders, root_key
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.audit import services as audit


@dataclass(frozen=True, slots=True)
class Given:
    """What came of giving one share: how many are still missing (0: the portal is open), how many are in."""

    missing: int
    taken: int


def attempt() -> dict[str, Any]:
    """The keyholder's status, with an attempt under way where shares open it: its `nonce`, and the `public_key` to seal to."""
    holder = root_key.keyholder()
    status = holder.status()
    if status["sealed"] and status["threshold"] and not status["nonce"]:
        holder.begin()
        status = holder.status()
    return status


def bound_to(nonce: str) -> bytes:
    """What a share is bound to that is given outside of a ceremony."""
    return context(nonce=nonce, purpose="unseal the portal")


def give_share(*, nonce: str, sealed: bytes, bound_to: bytes) -> Given:
    """Pass a share on to the keyholder of this machine; with the last one the portal is open, and that is on the record.

    Nobody authorises it: whoever holds a quorum opens the portal. Raises ValidationFailed naming what is wrong, Conflict.
    """
    holder = root_key.keyholder()
    taken = len(holder.status()["given"])
    return Given(holder.offer(nonce, sealed, bound_to), taken + 1)


def record_opening(numbers: list[int]) -> None:
    """Put on record that these shares open the portal; whoever sealed it on purpose is overruled by the quorum.

    The keyholder calls it before it opens: until this is stored it would seal itself again at its next look.
    """
    with audit.atomic(actor=system_actor("keyholder"), action="portal.unseal", target=("portal", "", "")) as act:
        lift()
        act.record({"by": "shares", "shares": numbers, "machine": keyholders.machine()})


def lift() -> None:
    """Nobody keeps the portal sealed on purpose any longer, once the caller's transaction is stored."""
    SealState.objects.filter(pk=1).update(sealed_at=None, sealed_by="", reason="")
