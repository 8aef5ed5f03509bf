"""Which agreed act this thread of control is performing, so that the service it calls need not ask again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.canonical import dumps

_performing: ContextVar[tuple[UUID, str, bytes] | None] = ContextVar("performing", default=None)


@contextmanager
def performing(request: ApprovalRequest) -> Iterator[None]:
    """Mark `request` as being performed within the block; only the executor opens one, after comparing the act."""
    token = _performing.set((request.pk, request.operation, dumps(request.params)))
    try:
        yield
    finally:
        _performing.reset(token)


def is_executing(request_id: UUID, operation: str, params: dict[str, Any]) -> bool:
    """Whether exactly this agreed act is being performed right now, around the caller.

    Knowing the id of an approved request is not enough: it must have been rebuilt, compared and started by the executor.
    """
    return _performing.get() == (request_id, operation, dumps(params))
