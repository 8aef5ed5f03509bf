"""Giving a key out, which other people always have to agree to."""

import hashlib
from base64 import b64decode
from typing import Any
from uuid import UUID

from keys.models import Key, KeyVersion
from keys.services import exports
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.errors import NotFound


@operation("key.export", permission=Permission.KEY_EXPORT, title="Export a key")
class ExportKey:
    """Wraps one key version for a recipient outside; nothing takes it back."""

    def build_act(self, params: dict[str, Any]) -> Act:
        rows = KeyVersion.objects.select_related("key__ring", "key__policy")
        version = rows.filter(key=params["key_id"], key_version=params["version_number"]).first()
        if version is None:
            raise NotFound("There is no such key version.")
        key = version.key
        return Act(
            operation="key.export", params=params, target_type="key", target_id=str(key.pk),
            target_label=f"{key.ring.name}/{key.name} v{version.key_version}",
            target_version=f"{version.key_version} {version.status} {'exportable' if key.exportable else 'not exportable'}",
            ring_id=key.ring_id, policy_version=str(key.policy.version),
            consequences=[self._to(params), *exports.consequences(version, params["recipient"])],
        )  # fmt: skip

    @staticmethod
    def _to(params: dict[str, Any]) -> str:
        if params["wrapping_key"]:
            wrapper = Key.objects.select_related("ring").filter(pk=params["wrapping_key"]).first()
            if wrapper is None:
                raise NotFound("There is no such wrapping key.")
            return f"Wrapped under {wrapper.ring.name}/{wrapper.name}: whoever may decrypt with that key can open it."
        fingerprint = hashlib.sha256(b64decode(params["recipient_key"])).hexdigest()
        return f"Wrapped for the public key with the SHA-256 fingerprint {fingerprint}: compare it with the recipient's own."

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        values = {**params, "key_id": UUID(params["key_id"])}
        values["wrapping_key"] = UUID(params["wrapping_key"]) if params["wrapping_key"] else None
        row = exports.request_export(actor=actor, **values, approval_id=request_id)
        return {"export": str(row.pk), "url": f"/keys/exports/{row.pk}/"}
