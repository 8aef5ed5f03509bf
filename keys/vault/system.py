"""What clients ask before they work: whether the portal is open, and what their token is."""

import time
from typing import Any

from django.conf import settings
from django.utils import timezone

from keys.services import root_key
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import ApiToken
from keyvault_portal.errors import Sealed

VERSION = "1"  # of the portal's API, for clients that print one


def health() -> dict[str, Any]:
    """Whether keys can be used; an installation that has been set up is always initialized."""
    return {
        "initialized": True, "sealed": seal_status()["sealed"], "standby": False, "performance_standby": False,
        "replication_performance_mode": "disabled", "replication_dr_mode": "disabled", "server_time_utc": int(time.time()),
        "version": VERSION, "cluster_name": "keyvault-portal",
    }  # fmt: skip


def seal_status() -> dict[str, Any]:
    """The keyholder's state; `t` shares open it and `progress` are given. One that does not answer counts as sealed."""
    told: dict[str, Any] = {"sealed": False}
    if settings.KEYHOLDER_SOCKET:
        try:
            told = root_key.keyholder().status()
        except Sealed:
            told = {"sealed": True}
    threshold = told.get("threshold") or 0
    return {
        "type": "shamir", "initialized": True, "sealed": bool(told["sealed"]), "t": threshold, "n": threshold,
        "progress": len(told.get("given") or ()), "nonce": "", "version": VERSION, "migration": False, "recovery_seal": False,
        "cluster_name": "keyvault-portal", "storage_type": "postgresql",
    }  # fmt: skip


def own_token(actor: Actor) -> dict[str, Any]:
    """What a token is to its holder: its scopes as policies, and how long it lives; never its text."""
    row = ApiToken.objects.get(pk=str(actor.token_id))
    left = int((row.expires_at - timezone.now()).total_seconds()) if row.expires_at else 0
    return {
        "accessor": str(row.pk), "id": "", "display_name": actor.label, "policies": row.scopes, "type": "service", "path": "auth/token/create",
        "meta": {"rings": ",".join(sorted(row.rings.values_list("name", flat=True)))}, "entity_id": str(actor.id), "num_uses": 0,
        "orphan": True, "renewable": False, "ttl": left, "explicit_max_ttl": 0, "creation_ttl": 0,
        "creation_time": int(row.created_at.timestamp()), "issue_time": row.created_at.isoformat(),
        "expire_time": row.expires_at.isoformat() if row.expires_at else None,
    }  # fmt: skip
