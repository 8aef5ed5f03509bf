"""Operations that can be asked for: how to say exactly what one would do, and how to do it."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, ClassVar, Protocol
from uuid import UUID

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.canonical import dumps

ACT_VERSION = 1
LABEL_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Act:
    """One exact act, read from the present state of its target; everything here is agreed to."""

    operation: str
    params: dict[str, Any]
    target_type: str
    target_id: str
    target_label: str
    target_version: str  # changes whenever the target does in a way that matters
    ring_id: UUID | None
    policy_version: str
    consequences: list[str] = field(default_factory=list)  # bound as they were shown: counts move while people think

    def canonical(self, request: ApprovalRequest) -> bytes:
        """The canonical JSON that approvers agree to: all that decides what happens, and all they were shown.

        What the target is comes from this act, what was asked and shown from `request`.
        """
        return dumps({
            "v": ACT_VERSION, "request": str(request.pk), "operation": self.operation, "title": request.title, "params": self.params,
            "target": {"type": self.target_type, "id": self.target_id, "label": self.target_label, "version": self.target_version},
            "ring": _text(self.ring_id), "policy_version": self.policy_version, "groups": request.groups,
            "requester": {"id": str(request.requester_id), "label": request.requester_label, "token": _text(request.requester_token_id)},
            "reason": request.reason, "consequences": request.consequences, "expires_at": request.expires_at.astimezone(UTC).isoformat(),
        })  # fmt: skip

    def matches(self, request: ApprovalRequest) -> bool:
        """Whether doing this act is doing what `request` holds, to the last field."""
        shown = (
            request.operation,
            request.params,
            request.target_type,
            request.target_id,
            request.target_label,
            request.ring_id,
        )
        now = (
            self.operation,
            self.params,
            self.target_type,
            self.target_id,
            self.target_label[:LABEL_LENGTH],
            self.ring_id,
        )
        rebuilt = self.canonical(request)
        same_bytes = hmac.compare_digest(rebuilt, bytes(request.act))
        return shown == now and same_bytes and hmac.compare_digest(digest(rebuilt).encode(), request.act_hash.encode())


def _text(value: UUID | None) -> str | None:
    return str(value) if value else None


def digest(act: bytes) -> str:
    """SHA-256 of the canonical act, in hexadecimal."""
    return hashlib.sha256(act).hexdigest()


class Operation(Protocol):
    """What a registered class offers."""

    name: ClassVar[str]
    title: ClassVar[str]
    permission: ClassVar[Permission]

    def build_act(self, params: dict[str, Any]) -> Act:
        """Read the target now; raises PortalError when the act is impossible."""
        ...

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any] | None:
        """Do it, inside the caller's audit.atomic, through the same service as everybody else."""
        ...


_operations: dict[str, Operation] = {}


def operation(name: str, *, permission: Permission, title: str) -> Callable[[type], type]:
    """Register a class as the operation `name`; `permission` is what its requester must hold, then and when it runs."""

    def register(cls: type) -> type:
        cls.name, cls.permission, cls.title = name, permission, title  # type: ignore[attr-defined]
        _operations[name] = cls()
        return cls

    return register


def names() -> set[str]:
    """What can be asked for."""
    return set(_operations)


def find(name: str) -> Operation:
    """The operation registered under `name`; KeyError when there is none."""
    return _operations[name]
