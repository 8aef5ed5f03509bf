"""Work at key providers in the background: intents, health by the clock, and the comparison with what is really there."""

from uuid import UUID

from celery import shared_task

from keys.services.providers import health, intents, work


@shared_task(name="keys.provider_work")
def provider_work(intent_id: str) -> None:
    """Do one intent; what fails is written into it and tried again by the tick."""
    work.perform(UUID(intent_id))


@shared_task(name="keys.provider_check")
def provider_check(provider_id: int) -> None:
    """Look whether one provider answers."""
    health.check_by_clock(provider_id)


@shared_task(name="keys.provider_tick")
def provider_tick() -> None:
    """Send what is due to workers: intents whose worker died or whose time to try again has come, and checks."""
    for intent_id in intents.stale():
        provider_work.delay(str(intent_id))
    for provider_id in health.due_checks():
        provider_check.delay(provider_id)
