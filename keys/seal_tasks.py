"""The seals of the root in the background: wrapped under a provider's key, wrapped anew after its rotation, and checked."""

from uuid import UUID

from celery import shared_task
from django.conf import settings

from keys.services import provider_seals
from keys.services.ratelimit import first_in

RESEND_SECONDS = 20  # a message that waits in a long queue is not sent again and again


@shared_task(name="keys.seal_work")
def seal_work(seal_id: str) -> None:
    """See to one seal; what fails is written into it and tried again by the tick."""
    provider_seals.work(UUID(seal_id))


@shared_task(name="keys.seal_tick")
def seal_tick() -> None:
    """Send what is due to workers; without a keyholder nothing can be asked."""
    if not settings.KEYHOLDER_SOCKET:
        return
    for seal_id in provider_seals.due():
        if first_in(RESEND_SECONDS, f"seal:{seal_id}"):
            seal_work.delay(str(seal_id))
