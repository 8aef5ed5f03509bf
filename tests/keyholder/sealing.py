"""What the tests of providers' seals do again and again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keys.crypto import receiving
from keys.models import Key, RootSeal
from keys.seal_tasks import seal_work
from keys.services import seals
from keys.services.provider_seals import seal_context
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.execution import execute
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired
from tests.providers.grounds import Ground

PATIENCE = 60.0


def agreed(organisation: Any, ask: Callable[[], object]) -> None:
    """What `ask` asked for, agreed to by the two officers it needs and performed."""
    try:
        ask()
    except ApprovalRequired as waiting:
        request = ApprovalRequest.objects.get(pk=waiting.request_id)
    decided = set(request.decisions.values_list("person_id", flat=True))
    for name in ("boris", "chen"):
        if organisation.people[name].pk in decided:
            continue
        approvals.approve(actor=organisation.actor(name), request_id=request.pk, act_hash=request.act_hash)
    request.refresh_from_db()
    if request.state == "approved":  # no worker did it yet
        execute(request.pk)
        request.refresh_from_db()
    assert request.state == "executed", request.result


def far_seal(organisation: Any, key: Key, name: str = "Far") -> RootSeal:
    """A seal under a key, agreed to; a worker has to wrap the root yet."""
    ada = organisation.actor("ada")
    agreed(organisation, lambda: seals.register_provider(actor=ada, name=name, key=key, reason="A second way."))
    return RootSeal.objects.get(name=name, retired_at=None)


def retired(organisation: Any, seal: RootSeal | None = None) -> None:
    """One way less, agreed to; the key file unless another is named."""
    found = seal or RootSeal.objects.get(kind="file", retired_at=None)
    ada = organisation.actor("ada")
    agreed(organisation, lambda: seals.retire_seal(actor=ada, seal_id=found.pk, reason="Not needed any more."))


@dataclass(frozen=True)
class Made:
    """A seal of shares, and the words that only the page of whoever asked could read."""

    seal: RootSeal
    mnemonics: list[str]


def make_shares(actor: Any) -> Made:
    """The shares that were agreed to, opened as the page's script does."""
    page = receiving.ReceivingKey()
    waiting = RootSeal.objects.get(kind="shares", retired_at=None)
    made = seals.make_shares(actor=actor, seal_id=waiting.pk, recipient=page.public)
    bound = seal_context(waiting.pk)
    return Made(made.seal, [page.open(share, bound).reveal().decode() for share in made.sealed])


def shares_for(organisation: Any, threshold: int = 2, count: int = 3) -> Made:
    """Shares, agreed to and made."""
    ada = organisation.actor("ada")
    values = {"name": "Custodians", "threshold": threshold, "count": count, "reason": "For the worst day."}
    agreed(organisation, lambda: seals.register_shares(actor=ada, **values))
    return make_shares(ada)


def offer(keyholder: Any, nonce: str, words: str) -> int:
    """Give a share as a browser does: sealed to the key of the attempt."""
    public = bytes.fromhex(keyholder.status()["public_key"])
    return int(keyholder.offer(nonce, receiving.seal(public, words.encode(), b"{}"), b"{}"))


def sealed_under(organisation: Any, ground: Ground, name: str = "Far") -> RootSeal:
    """The root sealed there, in use."""
    ground.register(organisation)
    key = ground.master(organisation)
    seal = far_seal(organisation, key, name)
    seal_work(str(seal.pk))
    seal.refresh_from_db()
    assert seal.state == "in_use", seal.last_error
    return seal


def eventually(ask: Callable[[], object]) -> None:
    """Return when `ask` says yes."""
    deadline = time.monotonic() + PATIENCE
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.1)
