"""Authorities that exist elsewhere: taken in with their key, or certified by ours (cross-signing)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from django.utils import timezone

from certificates.csr import check_public_key, refused
from certificates.issuance import BACKDATE, Draft, new_serial
from certificates.models import Authority, Certificate, IssuanceGrant
from certificates.profiles import PROFILES, titles_of
from certificates.services import grants
from certificates.services.authorities import (
    Plan,
    activate,
    check,
    insert,
    locked_authority,
    new_row,
    parent_of,
    ring_of,
    target_of,
)
from certificates.services.reading import columns, issuer_of, parse, spki_of
from certificates.services.signers import places_of, public_key_of
from certificates.services.weaknesses import weakness_of_authority, weaknesses_of
from certificates.states import AuthorityState
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.secret import SecretBytes
from keys.models import Key
from keys.services import creation
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import WrongState

ACTIVATE, CROSS_SIGN = "authority.activate", "authority.cross_sign"


def import_key(
    *,
    actor: Actor,
    ring: Any,
    name: str,
    title: str,
    parent: Key,
    pem: SecretBytes,
    password: SecretBytes | None = None,
) -> Key:
    """Keep the private key of an existing CA as a key of the hierarchy.

    Raises PermissionRefused, ValidationFailed for one that cannot be an authority's.
    """
    authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=ring.pk, target=f"ring {ring.name}")
    try:
        private = load_pem_private_key(pem.reveal(), password.reveal() if password else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise refused("private_key", "This is no private key in PEM, or the password does not open it.") from None
    algorithm = next((row for row in _SIGNERS if _fits(row, private)), None)
    if algorithm is None:
        raise refused("private_key", f"Keys of authorities are: {', '.join(_SIGNERS)}.")
    material = SecretBytes(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    return creation.create_key(
        actor=actor,
        ring=ring,
        name=name,
        title=title,
        kind="transport",
        algorithm=algorithm,
        parent=parent,
        material=material,
    )


_SIGNERS = tuple(
    name for name in (
        "ECDSA-P256-SHA256", "ECDSA-P384-SHA384", "RSA-2048-PSS-SHA256", "RSA-3072-PSS-SHA256", "RSA-4096-PSS-SHA256", "Ed25519",
        "ML-DSA-44", "ML-DSA-65", "ML-DSA-87",
    ) if name in ALGORITHMS
)  # fmt: skip


def _fits(algorithm: str, private: Any) -> bool:
    scheme = ALGORITHMS[algorithm].implementation
    return isinstance(private, scheme.private_type) and scheme.parameter_of(private) == scheme.parameter


def import_authority(*, actor: Actor, plan: Plan, certificate: str, reason: str) -> Authority:
    """Take in an existing CA over its key, which is in the hierarchy already; it issues once others have agreed.

    The certificate decides subject, life and path length; `plan` the rest. Raises ValidationFailed (no CA certificate,
    not of this key, expired, weak, not issued by the parent), PermissionRefused, Conflict.
    """
    found = read_ca(certificate)
    with audit.atomic(actor=actor, action="authority.import", target=("authority", "", plan.name)) as act:
        ring = ring_of(plan)
        act.about(ring_id=ring.pk)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=ring.pk, target=f"ring {ring.name}")
        parent = parent_of(actor, plan)
        plan = _as_certified(plan, found)
        version = check(plan, parent, brought=True)
        if spki_of(found) != public_key_of(version):
            raise refused("certificate", "The certificate is not of this key.")
        if parent is not None and parent.certificate is not None:
            _issued_by(found, parse(parent.certificate))
        authority = new_row(actor, plan, ring, parent, version)
        insert(authority)
        raw = found.public_bytes(Encoding.DER)
        row = Certificate.objects.create(
            ring=ring, source=Certificate.Source.UPLOADED, profile="sub-ca" if parent else "root", key_id=plan.key_id,
            key_origin=Certificate.KeyOrigin.HIERARCHY, requested_by=actor.label[:200],
            issued_under_id=parent.certificate_id if parent else None, **columns(raw),
            weaknesses=list(filter(None, (*weaknesses_of(found), weakness_of_authority(version.key.algorithm)))),
        )  # fmt: skip
        authority.certificate = row
        authority.save(update_fields=["certificate"])
        act.about(target=target_of(authority))
        act.record({"plan": plan.as_dict(), "fingerprint": row.fingerprint, "reason": reason})
    return activate_imported(actor=actor, authority_id=authority.pk, reason=reason)


def _as_certified(plan: Plan, found: x509.Certificate) -> Plan:
    """The plan with what the certificate decides: names of its subject, life in days and path length."""
    title = _first(found, NameOID.COMMON_NAME) or plan.title or plan.name
    organization = _first(found, NameOID.ORGANIZATION_NAME)
    days = max(1, (found.not_valid_after_utc - timezone.now()).days)
    return replace(plan, title=title, organization=organization, days=days, path_length=_path_length(found))


def _first(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    return next((str(item.value)[:64] for item in certificate.subject.get_attributes_for_oid(oid)), "")


def activate_imported(*, actor: Actor, authority_id: UUID, reason: str, approval_id: UUID | None = None) -> Authority:
    """Let an imported authority issue; raises WrongState unless it waits for that, ApprovalRequired."""
    with audit.atomic(actor=actor, action=ACTIVATE, target=("authority", authority_id, "")) as act:
        authority = locked_authority(authority_id)
        act.about(target=target_of(authority), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        if authority.state != AuthorityState.PENDING.value or authority.certificate is None:
            raise WrongState(f"{authority} does not wait for being taken into service.", state=authority.state)
        params = {"authority_id": str(authority.pk), "reason": reason}
        approvals.need_officers(
            actor, ACTIVATE, params, ring_id=authority.ring_id, reason=reason, approval_id=approval_id
        )
        activate(authority, authority.certificate)
        act.record({"fingerprint": authority.certificate.fingerprint, "reason": reason})
    return authority


def consequences(authority: Authority) -> list[str]:
    """What approvers of an imported authority read."""
    row = authority.certificate
    until = f"until {row.not_after:%-d %B %Y}" if row is not None else ""
    return [
        f"{authority} issues here {until}, with whatever trust it has out there.",
        f"It issues: {titles_of(authority.profiles)}.",
        "Serial numbers that it used elsewhere are not known here; new ones are random.",
    ]


def cross_sign(
    *, actor: Actor, authority_id: UUID, certificate: str, days: int, reason: str, approval_id: UUID | None = None
) -> IssuanceGrant:
    """Have an authority of ours certify the name and key of another CA, given by its certificate in PEM (RFC 4949).

    Returns the grant that a worker redeems. Raises ValidationFailed, LintFailed (path length), WrongState, ApprovalRequired.
    """
    other = read_ca(certificate)
    with audit.atomic(actor=actor, action=CROSS_SIGN, target=("authority", authority_id, "")) as act:
        authority = locked_authority(authority_id)
        act.about(target=target_of(authority), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        if authority.state != AuthorityState.ACTIVE.value or authority.certificate is None:
            raise WrongState(f"{authority} is {authority.state}: it issues nothing.", state=authority.state)
        if not 1 <= days <= (PROFILES["sub-ca"].max_days or 0):
            raise refused("days", f"From 1 to {PROFILES['sub-ca'].max_days} days.")
        params = {"authority_id": str(authority.pk), "certificate": certificate, "days": days, "reason": reason}
        approvals.need_officers(
            actor, CROSS_SIGN, params, ring_id=authority.ring_id, reason=reason, approval_id=approval_id
        )
        now, serial = timezone.now(), new_serial()
        end = min(now - BACKDATE + timedelta(days=days), authority.certificate.not_after, other.not_valid_after_utc)
        draft = Draft(
            PROFILES["sub-ca"], spki_of(other), serial, now - BACKDATE, end, path_length=_path_length(other),
            subject=other.subject, places=places_of(authority, serial),
        )  # fmt: skip
        row = {"requested_by": actor.label[:200], "key_origin": Certificate.KeyOrigin.UNKNOWN.value}
        if ours := Authority.objects.filter(
            certificate__spki_sha256=columns(other.public_bytes(Encoding.DER))["spki_sha256"]
        ).first():
            row |= {"key_id": str(ours.key_id), "key_origin": Certificate.KeyOrigin.HIERARCHY.value}
        [grant] = grants.write_open(actor, authority, issuer_of(authority), [(draft, row)])
        act.record({"serial": grant.serial, "subject": other.subject.rfc4514_string(), "reason": reason})
    return grant


def cross_consequences(authority: Authority, certificate: str) -> list[str]:
    """What approvers of a cross-signature read."""
    other = read_ca(certificate)
    return [
        f"Whoever trusts {authority} then trusts everything that {other.subject.rfc4514_string()} issues.",
        "No name constraints are added: what that authority may certify is its own policy.",
    ]


def read_ca(pem: str) -> x509.Certificate:
    """A CA certificate that we may stand for; raises ValidationFailed."""
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
        basic = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, UnsupportedAlgorithm, UnicodeError):
        raise refused("certificate", "This is no certificate in PEM.") from None
    except x509.ExtensionNotFound:
        basic = x509.BasicConstraints(False, None)
    if not basic.ca:
        raise refused("certificate", "It is no CA certificate.")
    if found.not_valid_after_utc <= timezone.now():
        raise refused("certificate", "It has expired.")
    digest = found.signature_hash_algorithm
    if digest is not None and digest.name in {"md5", "sha1"} and found.issuer != found.subject:
        raise refused("certificate", f"It is signed with {digest.name.upper()}.")
    check_public_key(spki_of(found), field="certificate")
    return found


def _issued_by(certificate: x509.Certificate, parent: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        raise refused("certificate", "The parent did not issue it.") from None


def _path_length(certificate: x509.Certificate) -> int | None:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
