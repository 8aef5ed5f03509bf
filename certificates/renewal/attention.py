"""What the dashboard says of renewals: what fails, before it ends."""

from django.utils import timezone

from certificates.models import Delivery
from certificates.renewal.frame import visible_managed
from certificates.renewal.states import DeliveryState
from keys.services.overview import OVERDUE_SHOWN, Finding
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission


def attention(actor: Actor) -> list[Finding]:
    """Renewals that fail, and certificates that did not reach their place; a refused account is told by notice."""
    if not actor.can_somewhere(Permission.CERTIFICATE_VIEW):
        return []
    found, now = [], timezone.now()
    managed = visible_managed(actor)
    for row in managed.filter(enabled=True, failures__gt=0).order_by("certificate__not_after", "id")[:OVERDUE_SHOWN]:
        ended = row.certificate is None or row.certificate.not_after <= now
        tone = "danger" if ended or row.failures > 3 else "warn"
        found.append(
            Finding(tone, f"The renewal of {row} fails", row.last_error, "certificates:renewal-detail", (str(row.pk),))
        )
    lost = Delivery.objects.filter(state=DeliveryState.FAILED.value, hook__managed__in=managed.values("pk"))
    for delivery in lost.select_related("hook__managed", "certificate").order_by("-created_at", "id")[:OVERDUE_SHOWN]:
        found.append(
            Finding(
                "danger", f"{delivery.certificate} did not reach {delivery.hook.place}", delivery.last_error,
                "certificates:renewal-detail", (str(delivery.hook.managed_id),),
            )
        )  # fmt: skip
    return found
