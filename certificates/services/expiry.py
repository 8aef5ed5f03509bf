"""Notices 30, 14, 7 and 1 days before a certificate ends, each exactly once, to its owner and the ring's officers."""

from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.utils import timezone

from certificates.models import Certificate, ExpiryNotice
from certificates.services.inventory import standing
from certificates.services.telling import concerned
from certificates.states import CertificateState
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.approvals import notices
from keyvault_portal.audit import services as audit

DAYS = (30, 14, 7, 1)
_SYSTEM = system_actor("expiry notices")
_BATCH = 200


def tick() -> int:
    """Send what is due; returns how many certificates people were told about. Safe to run at any time and twice."""
    return sum(_tell(days, earlier) for days, earlier in zip(DAYS, (*DAYS[1:], 0), strict=True))


def _tell(days: int, earlier: int) -> int:
    """Those that end within `days` days, but not within the next step's, which has a notice of its own."""
    now = timezone.now()
    told = ExpiryNotice.objects.filter(certificate=OuterRef("pk"), days=days)
    rows = Certificate.objects.filter(
        ~Exists(told),
        state=CertificateState.VALID.value,
        not_after__gt=now + timedelta(days=earlier),
        not_after__lte=now + timedelta(days=days),
    ).exclude(profile="ocsp-responder")  # renewed by themselves
    done = 0
    for row in rows.defer("der", "crl_entry").order_by("not_after", "id")[:_BATCH]:
        with audit.atomic(
            actor=_SYSTEM,
            action="certificate.expiry_notice",
            target=("certificate", row.pk, str(row)),
            ring_id=row.ring_id,
        ) as act:
            _, first = ExpiryNotice.objects.get_or_create(certificate=row, days=days)
            if not first:
                continue
            people = concerned(row.ring_id, row.owner_id)
            renewed = row.renewed_by.filter(state=CertificateState.VALID.value).exists()
            stands = standing(Certificate.objects.filter(pk=row.pk)).exists()
            if not renewed and stands:
                notices.notify(
                    people, f"The certificate {row} ends {_left(row.not_after - now)}", detail=f"It ends on {row.not_after:%-d %B %Y at %H:%M} UTC.",
                    path=f"/certificates/{row.pk}/", alarm=days <= 7,
                )  # fmt: skip
            act.record({"days": days, "people": len(people), "renewed_already": renewed, "stands": stands})
            done += 1
    return done


def _left(left: timedelta) -> str:
    match left.days:
        case 0:
            return "within a day"
        case 1:
            return "in 1 day"
        case days:
            return f"in {days} days"
