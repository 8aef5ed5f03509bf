"""What filling a portal does again and again: asking, agreeing, waiting. Imported once Django is set up."""

import time
from collections.abc import Callable
from typing import Any

from keys.demo import organisation
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired

type Facts = dict[str, Any]


def ask(act: Callable[[], object]) -> Any:
    try:
        act()
    except ApprovalRequired as waiting:
        return waiting.request_id
    raise RuntimeError("nobody was asked")


def agree(org: organisation.Organisation, request_id: Any, *names: str) -> None:
    act_hash = ApprovalRequest.objects.get(pk=request_id).act_hash
    for name in names:
        approvals.approve(actor=org.actor(name), request_id=request_id, act_hash=act_hash)


def wait_until(happened: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError("the worker did not do its part")
        time.sleep(0.1)
