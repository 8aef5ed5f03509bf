"""Revocation with the reasons of RFC 5280: one certificate, all of an owner, all with one key, all of a compromised CA."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from certificates import crl
from certificates.csr import refused
from certificates.models import Authority, Certificate
from certificates.services import crls
from certificates.services.authorities import check_switch, locked_authority, move, target_of
from certificates.states import CERTIFICATE_MOVES, AuthorityState, CertificateState, Reason
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, WrongState
from keyvault_portal.jobs import enqueue_on_commit

REVOKE = "certificate.revoke"
REVOKE_AUTHORITY = "authority.revoke"
_BATCH = 1000
# A leaf is never revoked for its CA's or an attribute authority's compromise (BR 7.2.2); that act is of its own.
LEAF_REASONS = [
    Reason.UNSPECIFIED, Reason.KEY_COMPROMISE, Reason.AFFILIATION_CHANGED, Reason.SUPERSEDED, Reason.CESSATION_OF_OPERATION,
    Reason.CERTIFICATE_HOLD, Reason.PRIVILEGE_WITHDRAWN,
]  # fmt: skip


def revoke_certificate(
    *, actor: Actor, certificate_id: UUID, reason: str, note: str = "", invalid_since: datetime | None = None
) -> Certificate:
    """Revoke one certificate, or put it on hold; its owner may do that with the right certificate.revoke on nothing else.

    Raises NotFound, PermissionRefused, WrongState (not issued here, revoked already), ValidationFailed.
    """
    why = reason_of(reason, LEAF_REASONS)
    with audit.atomic(actor=actor, action=REVOKE, target=("certificate", certificate_id, "")) as act:
        row = _locked(certificate_id)
        act.about(target=("certificate", row.pk, str(row)), ring_id=row.ring_id)
        if actor.id is None or row.owner_id != actor.id:
            authorize(actor, Permission.CERTIFICATE_REVOKE, ring_id=row.ring_id, target=f"certificate {row}")
        if row.authority is None:
            raise WrongState("Only its own issuer can revoke it.", hint="Ask the authority that issued it.")
        if invalid_since is not None and invalid_since > timezone.now():
            raise refused("invalid_since", "Not in the future.")
        if Authority.objects.filter(certificate=row).exists():
            raise WrongState(
                "It is the certificate of an authority.", hint="Revoke the authority, with everything below it."
            )
        _apply(row, why, actor, timezone.now(), invalid_since)
        act.record({"serial": row.serial, "reason": why.value, "note": note, "invalid_since": _iso(invalid_since)})
        _publish([row])
    return row


def release_certificate(*, actor: Actor, certificate_id: UUID, note: str = "") -> Certificate:
    """Take a hold back (removeFromCRL); raises as `revoke_certificate` does, WrongState for a permanent revocation."""
    with audit.atomic(actor=actor, action="certificate.release", target=("certificate", certificate_id, "")) as act:
        row = _locked(certificate_id)
        act.about(target=("certificate", row.pk, str(row)), ring_id=row.ring_id)
        authorize(actor, Permission.CERTIFICATE_REVOKE, ring_id=row.ring_id, target=f"certificate {row}")
        _change(row, CertificateState.VALID)
        row.revoked_at, row.revoked_by, row.reason, row.invalid_since, row.crl_entry = None, "", "", None, None
        row.released_at = timezone.now().replace(microsecond=0)
        row.save(update_fields=[*_FIELDS, "released_at"])
        act.record({"serial": row.serial, "note": note})
        _publish([row])
    return row


def chosen(by: str, value: str, ring_id: UUID | None) -> QuerySet[Certificate]:
    """The leaf certificates of authorities here that live and are not revoked, which a mass revocation would hit."""
    rows = living(by, value, ring_id).filter(authority__isnull=False)
    return rows.exclude(pk__in=Authority.objects.exclude(certificate=None).values("certificate"))


def living(by: str, value: str, ring_id: UUID | None) -> QuerySet[Certificate]:
    """Whatever lives and is not revoked of an owner (`by` = "owner") or with one key ("key": SHA-256 of its SPKI).

    In one ring, or in all of them for `ring_id` None. Raises ValidationFailed.
    """
    rows = _living(Certificate.objects.all())
    if ring_id is not None:
        rows = rows.filter(ring_id=ring_id)
    match by:
        case "owner":
            try:
                return rows.filter(owner_id=UUID(value))
            except ValueError:
                raise refused("value", "Not the id of a person.") from None
        case "key":
            return rows.filter(spki_sha256=value.lower())
    raise refused("by", "One of: owner, key.")


def _living(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    return rows.filter(not_after__gt=timezone.now()).exclude(state=CertificateState.REVOKED.value)


def revoke_authority(*, actor: Actor, authority_id: UUID, note: str, approval_id: UUID | None = None) -> Authority:
    """The key of an authority is in other hands: everything it issued and its own certificate are revoked, for good.

    Authorities below it are revoked with it. Raises NotFound, PermissionRefused, WrongState, ApprovalRequired.
    """
    with audit.atomic(actor=actor, action=REVOKE_AUTHORITY, target=("authority", authority_id, "")) as act:
        authority = locked_authority(authority_id)
        act.about(target=target_of(authority), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        check_switch(authority, AuthorityState.REVOKED)  # before others are asked to agree
        params = {"authority_id": str(authority.pk), "note": note}
        approvals.need_officers(
            actor, REVOKE_AUTHORITY, params, ring_id=authority.ring_id, reason=note, approval_id=approval_id
        )
        done = _fall(authority, actor)
        act.record({"note": note, "certificates": done})
    return authority


def _fall(authority: Authority, actor: Actor) -> int:
    move(authority, AuthorityState.REVOKED)
    authority.save(update_fields=["state"])
    own = authority.certificate
    rows = _living(Certificate.objects.filter(authority=authority))
    done = revoke_all(rows.exclude(pk=own.pk) if own else rows, Reason.CA_COMPROMISE, actor)
    if own is not None and authority.parent_id is not None and own.state != CertificateState.REVOKED.value:
        _apply(own, Reason.CA_COMPROMISE, actor, timezone.now(), None)
        _publish([own])
    for child in Authority.objects.filter(parent=authority).exclude(state__in=["revoked", "pending"]):
        done += _fall(locked_authority(child.pk), actor)
    return done


def affected_by(authority: Authority) -> int:
    """How many certificates that still live a revocation of this authority ends."""
    rows = _living(Certificate.objects.filter(authority=authority))
    return rows.count() + sum(affected_by(child) for child in authority.children.all())


_FIELDS = ["state", "revoked_at", "revoked_by", "reason", "invalid_since", "crl_entry"]


def revoke_all(rows: QuerySet[Certificate], why: Reason, actor: Actor) -> int:
    """Revoke all of these for a caller who has authorised it, whose transaction makes it one act; returns how many.

    In pages, so that a million rows need no memory.
    """
    done, last = 0, UUID(int=0)
    authorities: dict[UUID, Certificate] = {}
    now = timezone.now()
    while page := list(rows.filter(pk__gt=last).order_by("id").select_for_update(of=("self",))[:_BATCH]):
        for row in page:
            _fill(row, why, actor, now, None)
            if row.authority_id is not None:
                authorities.setdefault(row.authority_id, row)
        Certificate.objects.bulk_update(page, _FIELDS, batch_size=_BATCH)
        done, last = done + len(page), page[-1].pk
    _publish(authorities.values(), answers=False)
    return done


def _apply(row: Certificate, why: Reason, actor: Actor, now: datetime, invalid_since: datetime | None) -> None:
    _fill(row, why, actor, now, invalid_since)
    row.save(update_fields=_FIELDS)


def _fill(row: Certificate, why: Reason, actor: Actor, now: datetime, invalid_since: datetime | None) -> None:
    _change(row, CertificateState.HELD if why is Reason.CERTIFICATE_HOLD else CertificateState.REVOKED)
    row.revoked_at, row.revoked_by, row.reason, row.invalid_since = (
        now.replace(microsecond=0),
        actor.label[:200],
        why.value,
        invalid_since,
    )
    row.crl_entry = crl.entry(int(row.serial, 16), row.revoked_at, why, invalid_since)


def _change(row: Certificate, to: CertificateState) -> None:
    if to not in CERTIFICATE_MOVES[CertificateState(row.state)]:
        raise WrongState(f"The certificate is {row.state}: it cannot become {to.value}.", state=row.state)
    row.state = to.value


def _publish(rows: Iterable[Certificate], *, answers: bool = True) -> None:
    """New CRLs and, for few certificates, new OCSP answers at once; for many the answers follow by the schedule."""
    from certificates.tasks import presign

    for row in rows:
        if row.authority is not None:
            crls.publish_later(row.authority)
        if answers:
            enqueue_on_commit(presign, str(row.pk))


def _locked(certificate_id: UUID) -> Certificate:
    rows = Certificate.objects.select_for_update(of=("self",)).select_related("ring", "authority")
    found = rows.filter(pk=certificate_id).first()
    if found is None:
        raise NotFound("There is no such certificate.")
    return found


def reason_of(value: str, allowed: list[Reason]) -> Reason:
    """The reason of this name; raises ValidationFailed for one that is not among `allowed`."""
    if value not in {reason.value for reason in allowed}:
        raise refused("reason", f"One of: {', '.join(reason.value for reason in allowed)}.")
    return Reason(value)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def consequences(authority: Authority) -> list[str]:
    """What approvers of the end of an authority read."""
    many, below = affected_by(authority), Authority.objects.filter(parent=authority).count()
    beneath = {0: [], 1: ["1 authority directly below it ends with it."]}
    return [
        f"{many:,} certificate{' that still lives is' if many == 1 else 's that still live are'} revoked, reason CA compromise.",
        *beneath.get(below, [f"{below} authorities directly below it end with it."]),
        "Its own certificate is revoked by its issuer."
        if authority.parent_id
        else "It is a root: relying parties must remove it themselves.",
        "It never issues again.",
    ]
