"""Revocation at the CA that issued to us (RFC 8555, 7.6): the wish first, then the CA, then what is known here."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from certificates.csr import refused
from certificates.models import CaRevocation, Certificate, ManagedCertificate, RenewalOrder
from certificates.renewal import client
from certificates.renewal.client import AcmeCa, AcmeFailed
from certificates.renewal.frame import back_off
from certificates.renewal.states import CA_REVOCATION_MOVES, CaRevocationState
from certificates.services import revoking
from certificates.services.reading import parse
from certificates.services.telling import concerned
from certificates.states import CERTIFICATE_MOVES, CertificateState, Reason
from keys.services import materials, sealing
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import notices
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, PortalError, WrongState
from keyvault_portal.jobs import enqueue_on_commit

REVOKE = "certificate.revoke_at_ca"
REVOKE_MANY = "certificate.revoke_many"
# What a subscriber may say (BR 4.9.1.1 and 7.2.2); a hold is nothing that a CA outside takes.
CA_REASONS = [
    Reason.UNSPECIFIED, Reason.KEY_COMPROMISE, Reason.AFFILIATION_CHANGED, Reason.SUPERSEDED, Reason.CESSATION_OF_OPERATION,
    Reason.PRIVILEGE_WITHDRAWN,
]  # fmt: skip
TELL_AFTER_TRIES = 3
_SYSTEM = system_actor("certificate revocation", Permission.CERTIFICATE_REVOKE)
_BATCH = 50


def revoke(
    *, actor: Actor, certificate_id: UUID, reason: str, note: str = "", invalid_since: datetime | None = None
) -> Certificate:
    """Revoke one that an authority here issued; have one that came from an ACME CA revoked there, by a worker.

    Raises as `revoking.revoke_certificate` does; WrongState also for one whose revocation is under way.
    """
    row = Certificate.objects.filter(pk=certificate_id, authority=None, renewal_order__isnull=False).first()
    if row is None:
        return revoking.revoke_certificate(
            actor=actor, certificate_id=certificate_id, reason=reason, note=note, invalid_since=invalid_since
        )
    revoking.reason_of(reason, CA_REASONS)
    return _ask(actor, certificate_id, reason, note, invalid_since).certificate


@dataclass(frozen=True, slots=True)
class Many:
    """How many certificates a mass revocation ended here, how many CAs outside were asked to end, and how many live on
    because the portal has no account with their issuers."""

    revoked: int
    asked_at_ca: int
    left: int


def revoke_many(
    *, actor: Actor, by: str, value: str, ring_id: UUID | None, reason: str, note: str, approval_id: UUID | None = None
) -> Many:
    """Revoke every valid certificate of an owner (`by` = "owner"), or with one key ("key": SHA-256 of its SPKI).

    In one ring, or in all of them for `ring_id` None; those that came from an ACME CA are revoked there, by a worker.
    Raises ValidationFailed, NotFound (there are none), PermissionRefused, ApprovalRequired.
    """
    why = revoking.reason_of(reason, CA_REASONS)
    with audit.atomic(actor=actor, action=REVOKE_MANY, target=(by, value, value), ring_id=ring_id) as act:
        authorize(actor, Permission.CERTIFICATE_REVOKE, ring_id=ring_id, target="these certificates")
        here, outside = revoking.chosen(by, value, ring_id), chosen_at_cas(by, value, ring_id)
        if not here.exists() and not outside.exists():
            raise NotFound("There is no such certificate that could be revoked.")
        ring = str(ring_id) if ring_id else None
        params = {"by": by, "value": value, "ring_id": ring, "reason": reason, "note": note}
        approvals.need_officers(actor, REVOKE_MANY, params, ring_id=ring_id, reason=note, approval_id=approval_id)
        asked = 0
        for certificate_id in outside.order_by("id").values_list("pk", flat=True):
            with suppress(WrongState):  # somebody asked for it a moment ago
                _ask(actor, certificate_id, reason, note, None)
                asked += 1
        left = chosen_elsewhere(by, value, ring_id).count()
        done = Many(revoking.revoke_all(here, why, actor), asked, left)
        act.record(
            {"by": by, "value": value, "reason": why.value, "note": note, "count": done.revoked, "at_ca": done.asked_at_ca, "left": left}
        )  # fmt: skip
    return done


def chosen_at_cas(by: str, value: str, ring_id: UUID | None) -> QuerySet[Certificate]:
    """The certificates that came from an ACME CA, live and are not being revoked there: what a mass revocation asks for."""
    under_way = CaRevocation.objects.filter(certificate=OuterRef("pk")).exclude(state=CaRevocationState.FAILED.value)
    return revoking.living(by, value, ring_id).filter(
        ~Exists(under_way), authority=None, renewal_order__isnull=False, state=CertificateState.VALID.value
    )


def chosen_elsewhere(by: str, value: str, ring_id: UUID | None) -> QuerySet[Certificate]:
    """The certificates of issuers whom the portal has no account with: a mass revocation cannot reach them."""
    return revoking.living(by, value, ring_id).filter(authority=None, renewal_order=None)


def _ask(actor: Actor, certificate_id: UUID, reason: str, note: str, invalid_since: datetime | None) -> CaRevocation:
    with audit.atomic(actor=actor, action=REVOKE, target=("certificate", certificate_id, "")) as act:
        rows = Certificate.objects.select_for_update(of=("self",)).select_related("ring")
        row = rows.get(pk=certificate_id)
        act.about(target=("certificate", row.pk, str(row)), ring_id=row.ring_id)
        if actor.id is None or row.owner_id != actor.id:
            authorize(actor, Permission.CERTIFICATE_REVOKE, ring_id=row.ring_id, target=f"certificate {row}")
        if row.shown_state != CertificateState.VALID.value:
            raise WrongState(f"The certificate is {row.shown_state}.", state=row.shown_state)
        if invalid_since is not None and invalid_since > timezone.now():
            raise refused("invalid_since", "Not in the future.")
        wish = CaRevocation.objects.select_for_update().filter(certificate=row).first()
        if wish is None:
            wish = CaRevocation(certificate=row)
        else:
            _move(wish, CaRevocationState.QUEUED)
        wish.reason, wish.note, wish.invalid_since, wish.requested_by = (
            reason,
            note[:2000],
            invalid_since,
            actor.label[:200],
        )
        wish.attempts, wish.next_try_at, wish.last_error, wish.finished_at = 0, timezone.now(), "", None
        wish.save()
        act.record({"serial": row.serial, "reason": reason, "note": note})
        send(wish.pk)
    return wish


def send(wish_id: UUID) -> None:
    """Let a worker bring it to the CA after commit."""
    from certificates.renewal.tasks import revoke_at_ca

    enqueue_on_commit(revoke_at_ca, str(wish_id))


def carry(wish_id: UUID) -> CaRevocation | None:
    """Bring one wish to its CA: the effect between two transactions, safe to repeat. None when there is nothing to do."""
    rows = CaRevocation.objects.filter(
        pk=wish_id, state=CaRevocationState.QUEUED.value, next_try_at__lte=timezone.now()
    )
    wish = rows.select_related("certificate").first()
    if wish is None:
        return None
    related = ("managed__source__account_key", "version__key")
    order = RenewalOrder.objects.select_related(*related).get(certificate=wish.certificate)
    failed, signed_with = None, ""
    try:
        signed_with = _at_ca(wish, order)
    except PortalError as error:
        failed = error
    with audit.atomic(
        actor=_SYSTEM, action="certificate.revoked_at_ca", target=("certificate", wish.certificate_id, str(wish.certificate)),
        ring_id=wish.certificate.ring_id,
    ) as act:  # fmt: skip
        row = Certificate.objects.select_for_update(of=("self",)).get(pk=wish.certificate_id)
        wish = CaRevocation.objects.select_for_update().get(pk=wish_id)
        if wish.state != CaRevocationState.QUEUED.value:
            return wish  # another worker was faster
        if failed is None:
            _done(wish, row)
            act.record(
                {
                    "serial": row.serial,
                    "reason": wish.reason,
                    "source": order.managed.source.name,
                    "signed_with": signed_with,
                }
            )
        else:
            _failed(wish, row, failed)
            act.record({"serial": row.serial, "code": failed.code, "detail": failed.detail}, outcome="failed")
    return wish


def _at_ca(wish: CaRevocation, order: RenewalOrder) -> str:
    """Ask the CA, in the name of the account or of the certificate's key; says by which of them.

    A compromise is told by the key itself where it can sign: only then a CA knows that it is true and refuses the key
    from then on. An account that the CA does not know any more is no reason to leave the certificate alive.
    """
    source, certificate, code = order.managed.source, parse(wish.certificate), Reason(wish.reason).code
    with client.opened(
        source.directory, source.ca_bundle, sealing.open_value(source.account_key), source.account_url
    ) as ca:
        ways = {"account": lambda: ca.revoke(certificate, code), "key": lambda: _by_key(ca, order, wish, code)}
        first, second = ("key", "account") if wish.reason == Reason.KEY_COMPROMISE.value else ("account", "key")
        try:
            ways[first]()
        except PortalError as error:
            if getattr(error, "passing", False):
                raise
            try:
                ways[second]()
            except AcmeFailed:
                raise
            except PortalError:
                raise error from None  # the key cannot sign: what the CA said of the account is the reason
            return second
        return first


def _by_key(ca: AcmeCa, order: RenewalOrder, wish: CaRevocation, code: int) -> None:
    sign = materials.signer(order.version).sign
    ca.revoke_by_key(parse(wish.certificate), code, order.version.key.algorithm, sign)


def _done(wish: CaRevocation, row: Certificate) -> None:
    now = timezone.now()
    _move(wish, CaRevocationState.DONE)
    wish.finished_at, wish.last_error = now, ""
    wish.save()
    if CertificateState.REVOKED not in CERTIFICATE_MOVES[CertificateState(row.state)]:
        return
    row.state, row.reason, row.invalid_since = CertificateState.REVOKED.value, wish.reason, wish.invalid_since
    row.revoked_at, row.revoked_by = now.replace(microsecond=0), wish.requested_by
    row.save(update_fields=["state", "reason", "invalid_since", "revoked_at", "revoked_by"])
    # What serves it needs another one at once; the tick begins that.
    ManagedCertificate.objects.filter(certificate=row, enabled=True).update(
        renew_at=now, renew_because="The present one is revoked."
    )


def _failed(wish: CaRevocation, row: Certificate, error: PortalError) -> None:
    wish.attempts, wish.last_error = wish.attempts + 1, f"{error.detail} {error.hint}".strip()
    passing = error.status == 503 or bool(getattr(error, "passing", False))
    if passing and not row.expired:
        wish.next_try_at = timezone.now() + back_off(wish.attempts, least=getattr(error, "wait", None))
    else:
        _move(wish, CaRevocationState.FAILED)
        wish.finished_at = timezone.now()
    wish.save()
    if not passing or wish.attempts == TELL_AFTER_TRIES:
        notices.notify(
            concerned(row.ring_id, row.owner_id), f"The CA did not revoke {row}", detail=wish.last_error,
            path=f"/certificates/{row.pk}/", alarm=wish.reason == Reason.KEY_COMPROMISE.value,
        )  # fmt: skip


def _move(wish: CaRevocation, to: CaRevocationState) -> None:
    if to not in CA_REVOCATION_MOVES[CaRevocationState(wish.state)]:
        raise WrongState("Its revocation is under way.", hint="Its state is on the page.", state=wish.state)
    wish.state = to.value


def tick() -> None:
    """Certificates whose key version was marked as compromised, and wishes whose time has come again or whose message was lost."""
    now = timezone.now()
    asked = CaRevocation.objects.filter(certificate=OuterRef("pk"))
    lost = Certificate.objects.filter(
        ~Exists(asked), authority=None, state=CertificateState.VALID.value, not_after__gt=now,
        renewal_order__version__compromised_at__isnull=False,
    )  # fmt: skip
    for certificate_id in lost.values_list("pk", flat=True)[:_BATCH]:
        try:
            _ask(_SYSTEM, certificate_id, Reason.KEY_COMPROMISE.value, "Its key was marked as compromised.", None)
        except (NotFound, WrongState):
            continue
    due = CaRevocation.objects.filter(state=CaRevocationState.QUEUED.value, next_try_at__lte=now, created_at__lt=now)
    for wish_id in due.values_list("pk", flat=True)[:_BATCH]:
        send(wish_id)
