"""Revocation by ACME (RFC 8555, 7.6): by the account that ordered, by one that proved every name, by the certificate's key."""

from hashlib import sha256
from typing import Any

from django.utils import timezone

from certificates.acme import jose, limits
from certificates.acme.errors import AcmeError
from certificates.acme.jose import PublicKey
from certificates.acme.services import actors
from certificates.acme.services.issuers import issued_for
from certificates.acme.states import AuthorizationState
from certificates.models import AcmeAccount, AcmeAuthorization, AcmeOrder, AcmeServer, Certificate
from certificates.names import read as named
from certificates.services import revoking
from certificates.states import CertificateState, Reason

# What the holder of a leaf may say; a hold is an officer's, and the rest is about authorities (RFC 5280, 5.3.1).
_REASONS = {
    0: Reason.UNSPECIFIED, 1: Reason.KEY_COMPROMISE, 3: Reason.AFFILIATION_CHANGED, 4: Reason.SUPERSEDED,
    5: Reason.CESSATION_OF_OPERATION, 9: Reason.PRIVILEGE_WITHDRAWN,
}  # fmt: skip


def revoke(
    *, server: AcmeServer, account: AcmeAccount | None, key: PublicKey, payload: dict[str, Any], address: str | None
) -> Certificate:
    """Revoke a certificate of this authority for whoever may ask for it.

    Raises AcmeError: unauthorized (also for a certificate that is not ours), alreadyRevoked, badRevocationReason.
    """
    limits.take("revocation", address)
    raw = jose.decode(payload.get("certificate"), "certificate")
    row = issued_for(server).filter(fingerprint=sha256(raw).hexdigest()).first()
    code = payload.get("reason", 0)
    if not isinstance(code, int) or isinstance(code, bool) or code not in _REASONS:
        raise AcmeError("badRevocationReason", f"One of {', '.join(map(str, _REASONS))}.")
    if row is None or not (_may(account, row) if account is not None else _holds(key, row)):
        raise AcmeError("unauthorized", "This certificate is not yours to revoke, or none of this authority.")
    if row.state == CertificateState.REVOKED.value:
        raise AcmeError("alreadyRevoked", "The certificate is revoked already.")
    actor = actors.of_account(account, address) if account else actors.key_holder(server, row.serial, address)
    return revoking.revoke_certificate(
        actor=actor, certificate_id=row.pk, reason=_REASONS[code].value, note="Asked for by ACME."
    )


def _holds(key: PublicKey, row: Certificate) -> bool:
    return sha256(key.spki).hexdigest() == row.spki_sha256


def _may(account: AcmeAccount, row: Certificate) -> bool:
    """Whether the account ordered it, or has proved every one of its names lately."""
    if AcmeOrder.objects.filter(certificate=row, account=account).exists():
        return True
    bare = [name.partition(":")[2].removeprefix("*.") for name in row.names]
    proofs = AcmeAuthorization.objects.filter(
        order__account=account, name__in=bare, state=AuthorizationState.VALID.value, expires_at__gt=timezone.now()
    )
    proved = {":".join(named(str(proof))) for proof in proofs}
    return bool(row.names) and set(row.names) <= proved
