"""What the dashboard says of renewals: what fails, before the certificate ends."""

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from certificates.models import Delivery
from certificates.renewal.frame import visible_managed
from certificates.renewal.states import TELL_AFTER_TRIES, DeliveryState
from keys.services.overview import OVERDUE_SHOWN, Finding
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission


def attention(actor: Actor) -> list[Finding]:
    """Renewals that fail, and certificates that did not reach their place: one query. A refused account is told by notice."""
    if not actor.can_somewhere(Permission.CERTIFICATE_VIEW):
        return []
    told = Q(state=DeliveryState.FAILED.value) | Q(state=DeliveryState.QUEUED.value, attempts__gte=TELL_AFTER_TRIES)
    lost = Delivery.objects.filter(told, hook__managed=OuterRef("pk"))
    rows = visible_managed(actor).annotate(lost=Exists(lost)).filter(Q(enabled=True, failures__gt=0) | Q(lost=True))
    found, now = [], timezone.now()
    for row in rows.order_by("certificate__not_after", "id")[:OVERDUE_SHOWN]:
        where = ("certificates:renewal-detail", (str(row.pk),))
        if row.enabled and row.failures:
            ended = row.certificate is None or row.certificate.not_after <= now
            tone = "danger" if ended or row.failures > 3 else "warn"
            found.append(Finding(tone, f"The renewal of {row} fails", row.last_error, *where))
        if row.lost:
            found.append(
                Finding("danger", f"{row} has not reached a place", "What serves from there goes on with the old certificate.", *where)
            )  # fmt: skip
    return found
