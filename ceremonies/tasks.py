"""Background work of ceremonies: reminders. No share and nothing made of one ever comes here."""

from celery import shared_task

from ceremonies.services import custody


@shared_task(name="ceremonies.tick")
def tick() -> None:
    """Tell officers what is due: roll-calls, new escrows, duties to acknowledge."""
    custody.remind()
