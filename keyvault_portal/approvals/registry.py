"""Operations that can be asked for: how to say exactly what one would do, and how to do it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from uuid import UUID

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit.canonical import dumps

ACT_VERSION = 1


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
    consequences: list[str] = field(default_factory=list)  # shown, not bound: counts move while people think

    def canonical(self, *, request_id: UUID, requester_id: UUID, groups: list[dict[str, Any]], expires_at: str) -> bytes:
        """The canonical JSON that approvers agree to: nothing that decides what happens is left out."""
        return dumps({
            "v": ACT_VERSION, "request": str(request_id), "requester": str(requester_id), "operation": self.operation,
            "params": self.params, "target": {"type": self.target_type, "id": self.target_id, "version": self.target_version},
            "ring": str(self.ring_id) if self.ring_id else None, "policy_version": self.policy_version, "groups": groups,
            "expires_at": expires_at,
        })  # fmt: skip


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


def find(name: str) -> Operation:
    """The operation registered under `name`; KeyError when there is none."""
    return _operations[name]
