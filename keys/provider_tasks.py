"""Work at key providers in the background: intents, health by the clock, and the comparison with what is really there."""

import logging
from uuid import UUID

from celery import shared_task

from keys.services import moving
from keys.services.providers import comparison, health, intents, work
from keys.services.ratelimit import first_in
from keyvault_portal.errors import PortalError

logger = logging.getLogger(__name__)
RESEND_SECONDS, COMPARE_AGAIN_SECONDS = 20, 600  # a message that waits in a long queue is not sent again and again


@shared_task(name="keys.provider_work")
def provider_work(intent_id: str) -> None:
    """Do one intent; what fails is written into it and tried again by the tick."""
    work.perform(UUID(intent_id))
    move_id = intents.move_of(UUID(intent_id))
    if move_id is not None:
        moving.advance(move_id)


@shared_task(name="keys.provider_check")
def provider_check(provider_id: int) -> None:
    """Look whether one provider answers."""
    health.check_by_clock(provider_id)


@shared_task(name="keys.provider_compare")
def provider_compare(provider_id: int) -> None:
    """Compare what one provider has with the inventory; a provider that does not answer is compared the next time."""
    try:
        comparison.compare(provider_id)
    except PortalError as error:
        logger.warning("provider %s was not compared: %s", provider_id, error.code)


@shared_task(name="keys.provider_tick")
def provider_tick() -> None:
    """Send what is due to workers: intents whose worker died or whose time to try again has come, and checks; see who is down."""
    health.watch_circuits()
    for intent_id in intents.stale():
        if first_in(RESEND_SECONDS, f"work:{intent_id}"):
            provider_work.delay(str(intent_id))
    for provider_id in health.due_checks():
        if first_in(RESEND_SECONDS, f"check:{provider_id}"):
            provider_check.delay(provider_id)
    for provider_id in comparison.due_comparisons():
        if first_in(COMPARE_AGAIN_SECONDS, f"compare:{provider_id}"):
            provider_compare.delay(provider_id)
