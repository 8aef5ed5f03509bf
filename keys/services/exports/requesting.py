"""Asking for an export: to whom, agreed by others whatever the policy says; and ending for ever that a key can be exported."""

import base64
import binascii
from typing import Any
from uuid import UUID

from keys.crypto import transport
from keys.crypto.errors import CryptoError
from keys.hierarchy import WRAPPING_ALGORITHMS
from keys.models import Key, KeyExport, KeyVersion
from keys.services import materials, policies, versions
from keys.services.acts import act_on_key, need_agreement
from keys.services.deletion import many
from keys.services.exports import giving
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.errors import Conflict, NotFound, ValidationFailed
from keyvault_portal.jobs import enqueue_on_commit

Method = KeyExport.Method
ALONE_NEVER = [{"role": Role.SECURITY_OFFICER.value, "threshold": 1}]


def request_export(
    *,
    actor: Actor,
    key_id: UUID,
    recipient: str,
    reason: str,
    recipient_key: str = "",
    wrapping_key: UUID | None = None,
    version_number: int | None = None,
    approval_id: UUID | None = None,
) -> KeyExport:
    """Give a key version out, wrapped for the public key `recipient_key` (PEM, or DER in base64) or under `wrapping_key`.

    Always agreed to by somebody else: those whom the policy asks for its gravest acts, at least one officer. A worker wraps
    it afterwards. Raises PermissionRefused, NotFound, ValidationFailed, Conflict (not exportable), OperationUnsupported (its
    provider gives no key out), WrongState, ApprovalRequired.
    """
    with act_on_key(actor, Permission.KEY_EXPORT, "key.export", key_id) as (key, act):
        version = _version(key, version_number)
        giving.require_may_leave(version)
        to = _receiver(actor, key, recipient, reason, recipient_key, wrapping_key)
        params = {
            "key_id": str(key.pk), "version_number": version.key_version, "recipient": recipient.strip(), "reason": reason.strip(),
            "recipient_key": base64.b64encode(to["recipient_key"]).decode() if "recipient_key" in to else "",
            "wrapping_key": str(wrapping_key) if wrapping_key else None,
        }  # fmt: skip
        groups = policies.strictest_groups(policies.values_of(key.policy)) or ALONE_NEVER
        need_agreement(actor, key, "key.export", params, groups=groups, approval_id=approval_id, reason=reason)
        row = giving.note(
            version, actor, recipient=params["recipient"], reason=params["reason"], approval_id=approval_id, **to
        )
        act.record(
            {"export": str(row.pk), "version": version.key_version, "method": row.method, "recipient": row.recipient,
             "fingerprint": row.fingerprint, "wrapping_key": params["wrapping_key"], "approval": str(approval_id),
             "reason": row.reason}
        )  # fmt: skip
        send(row.pk)
    return row


def send(export_id: UUID) -> None:
    """Let a worker wrap it after commit."""
    from keys.transfer_tasks import export_work

    enqueue_on_commit(export_work, str(export_id))


def _version(key: Key, number: int | None) -> KeyVersion:
    if number is None:
        return materials.active_version(key)
    found = KeyVersion.objects.select_related(*materials.CHAIN).filter(key=key, key_version=number).first()
    if found is None:
        raise NotFound(f"{key} has no version {number}.")
    return found


def _receiver(
    actor: Actor, key: Key, recipient: str, reason: str, recipient_key: str, wrapping_key: UUID | None
) -> dict[str, Any]:
    """The export's columns that say how it is wrapped and for whom."""
    errors: dict[str, list[str]] = {}
    if not 0 < len(recipient.strip()) <= 200:
        errors["recipient"] = ["Who gets the key, in at most 200 characters."]
    if not reason.strip():
        errors["reason"] = ["Say why, approvers read it."]
    if bool(recipient_key.strip()) == bool(wrapping_key):
        errors["recipient_key"] = ["Either the recipient's public key or another key of the hierarchy."]
    if errors:
        raise ValidationFailed("The export cannot be asked for.", errors=errors)
    if wrapping_key is not None:
        return {"method": Method.KEY, "wrapping_version": _wrapper(actor, key, wrapping_key)}
    found = receiver_of(recipient_key)
    return {
        "method": Method(next(iter(found.methods)).value), "recipient_key": found.spki, "fingerprint": found.fingerprint,
    }  # fmt: skip


def receiver_of(text: str) -> transport.Receiver:
    """The recipient's public key as typed or sent; raises ValidationFailed."""
    try:
        given = text.encode() if "-----BEGIN" in text else base64.b64decode("".join(text.split()), validate=True)
        return transport.receiver_of(given)
    except (CryptoError, binascii.Error, ValueError) as error:
        words = f"{str(error).capitalize()}." if isinstance(error, CryptoError) else "Not a public key."
        raise ValidationFailed("This public key cannot be used.", errors={"recipient_key": [words]}) from None


def _wrapper(actor: Actor, key: Key, wrapping_key: UUID) -> KeyVersion:
    wrapper = versions.locked_key(wrapping_key)
    authorize(actor, Permission.KEY_VIEW, ring_id=wrapper.ring_id, target=f"key {wrapper.name}")
    if wrapper.algorithm not in WRAPPING_ALGORITHMS or wrapper.pk == key.pk or _stands_under(wrapper, key):
        raise ValidationFailed(
            errors={"wrapping_key": ["Another key that wraps, and that does not stand under this one."]}
        )
    return materials.active_version(wrapper)


def _stands_under(key: Key, above: Key) -> bool:
    parent = key.parent
    while parent is not None:
        if parent.pk == above.pk:
            return True
        parent = parent.parent
    return False


def consequences(version: KeyVersion, to: str) -> list[str]:
    """What follows from an export, in sentences for those who decide."""
    below = version.wraps.exclude(status="destroyed").count()
    data_keys = version.wrapped_data_keys.count()
    return [
        f"{to} can use {version} outside the portal for ever; no act here takes it back.",
        "No audit event, no policy and no approval reaches what they do with it.",
        f"They can open what stands under it, today {many(below, 'key version')} and {many(data_keys, 'data key')}.",
        "The version is marked as exported, which nobody can undo. Only a rotation makes it useless for what comes later.",
    ]


def withdraw_exportability(*, actor: Actor, key_id: UUID, reason: str) -> Key:
    """Let no version of the key be exported from now on, irrevocably; what was given out stays outside.

    Raises PermissionRefused, NotFound, ValidationFailed (no reason), Conflict (it is not exportable).
    """
    with act_on_key(actor, Permission.KEY_EDIT, "key.withdraw_exportability", key_id) as (key, act):
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        if not key.exportable:
            raise Conflict(f"{key} is not exportable.")
        key.exportable = False
        key.save(update_fields=["exportable"])
        act.record({"reason": reason.strip()})
    return key
