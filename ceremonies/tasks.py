"""Background work of ceremonies: reminders. No share and nothing made of one ever comes here."""

from celery import shared_task

from ceremonies.services import custody, endings


@shared_task(name="ceremonies.tick")
def tick() -> None:
    """End the shares of keys that are gone, then tell officers what is due: roll-calls, new escrows, duties to acknowledge."""
    endings.end_sets_of_destroyed_keys()
    custody.remind()
