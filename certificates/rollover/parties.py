"""What relying parties say that they trust, by the SHA-256 fingerprints of the certificates in their bundles."""

import re
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from certificates.csr import refused
from certificates.models import Authority, RelyingParty
from certificates.services.reading import chain_of
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound
from keyvault_portal.visible import on_rings

FRESH = timedelta(days=7)  # an older report says what was, not what is
MAX_CERTIFICATES = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def visible_parties(actor: Actor) -> QuerySet[RelyingParty]:
    """The relying parties on the rings where the actor may see certificates."""
    rows = RelyingParty.objects.filter(removed_at=None)
    return on_rings(rows, actor.ring_ids(Permission.CERTIFICATE_VIEW))


def report_bundle(*, actor: Actor, ring: KeyRing, name: str, fingerprints: Sequence[str]) -> RelyingParty:
    """Note which certificates a relying party trusts now; colons and capitals in the fingerprints do not matter.

    On record when it changes. Raises PermissionRefused, ValidationFailed.
    """
    with audit.atomic(
        actor=actor, action="trust.report", target=("relying_party", "", name[:100]), ring_id=ring.pk
    ) as act:
        authorize(actor, Permission.TRUST_REPORT, ring_id=ring.pk, target=f"ring {ring.name}")
        if not _NAME.fullmatch(name):
            raise refused("name", "Letters, digits and . _ : / @ -; at most 100.")
        found = sorted({text.replace(":", "").lower() for text in fingerprints})
        if len(found) > MAX_CERTIFICATES or not all(_FINGERPRINT.fullmatch(text) for text in found):
            raise refused("fingerprints", f"At most {MAX_CERTIFICATES} SHA-256 digests in hexadecimal.")
        now = timezone.now()
        row = RelyingParty.objects.select_for_update().filter(ring=ring, name=name).first()
        before = row.fingerprints if row is not None and row.removed_at is None else None
        row = row or RelyingParty(ring=ring, name=name)
        row.fingerprints, row.reported_at, row.reported_by, row.removed_at = found, now, actor.label[:200], None
        row.save()
        if before != found:
            gone, come = sorted(set(before or ()) - set(found)), sorted(set(found) - set(before or ()))
            act.record(
                {"trusts": len(found), "added": come[:20], "removed": gone[:20]},
                target=("relying_party", row.pk, name),
            )
    return row


def remove_party(*, actor: Actor, party_id: UUID, reason: str) -> RelyingParty:
    """Count a relying party no more; it comes back with its next report. Raises PermissionRefused, NotFound."""
    with audit.atomic(actor=actor, action="trust.remove_party", target=("relying_party", party_id, "")) as act:
        row = RelyingParty.objects.select_for_update().filter(pk=party_id, removed_at=None).first()
        if row is None:
            raise NotFound("There is no such relying party.")
        act.about(target=("relying_party", row.pk, row.name), ring_id=row.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=row.ring_id, target=f"relying party {row.name}")
        row.removed_at = timezone.now()
        row.save(update_fields=["removed_at"])
        act.record({"reason": reason})
    return row


def anchors_of(authority: Authority) -> frozenset[str]:
    """The fingerprints of which a bundle needs one to trust the authority: its own certificate, and those above it."""
    if authority.certificate is None:
        return frozenset()
    return frozenset(row.fingerprint for row in (authority.certificate, *chain_of(authority.certificate)))
