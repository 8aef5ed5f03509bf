"""The frame of every act on a key: one transaction, the key locked, the actor authorised, a refusal recorded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from keys.models import Key, KeyVersion
from keys.services import key_views, versions
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, NotFound

AGREEMENT_EXPIRES_IN = timedelta(days=7)


def target_of(key: Key) -> tuple[str, object, str]:
    """How the record names a key."""
    return ("key", key.pk, f"{key.ring.name}/{key.name}")


@contextmanager
def act_on_key(actor: Actor, permission: Permission, action: str, key_id: UUID) -> Iterator[tuple[Key, audit.atomic]]:
    """Open the transaction of one act; raises NotFound and PermissionRefused. The caller records before it ends."""
    with audit.atomic(actor=actor, action=action, target=("key", key_id, "")) as act:
        key = versions.locked_key(key_id)
        act.about(target=target_of(key), ring_id=key.ring_id)
        authorize(actor, permission, ring_id=key.ring_id, target=f"key {key.name}")
        yield key, act
        key_views.forget_now_and_on_commit()


@contextmanager
def act_on_version(
    actor: Actor, permission: Permission, action: str, version_id: int
) -> Iterator[tuple[Key, KeyVersion, audit.atomic]]:
    """As `act_on_key`, for one version of the key."""
    with audit.atomic(actor=actor, action=action, target=("key", "", f"version {version_id}")):
        key_id = KeyVersion.objects.filter(pk=version_id).values_list("key_id", flat=True).first()
        if key_id is None:
            raise NotFound("There is no such version.")
        with act_on_key(actor, permission, action, key_id) as (key, act):
            yield key, versions.version_in(key, version_id), act


def need_agreement(
    actor: Actor,
    key: Key,
    operation: str,
    params: dict[str, Any],
    *,
    groups: Sequence[dict[str, Any]],
    approval_id: UUID | None,
    reason: str,
) -> None:
    """Return if the policy asks nobody else, or if this very act was agreed to; raise ApprovalRequired otherwise."""
    if not groups:
        return
    if approval_id is not None and approvals.is_executing(approval_id, operation, params):
        return
    rules = [
        {"role": group["role"], "threshold": group["threshold"], "ring_id": str(key.ring_id), "signed": group.get("signed", False)}
        for group in groups
    ]  # fmt: skip
    request = approvals.require_or_request(
        actor=actor, operation=operation, params=params, groups=rules, expires_in=AGREEMENT_EXPIRES_IN, reason=reason
    )
    raise ApprovalRequired(request.pk)
