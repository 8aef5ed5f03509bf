"""Background work of ceremonies: reminders. No share and nothing made of one ever comes here."""

from uuid import UUID

from celery import shared_task

from ceremonies.services import custody, endings, minutes
from keyvault_portal.errors import PortalError


@shared_task(name="ceremonies.tick")
def tick() -> None:
    """End the shares of keys and seals that are gone, tell officers what is due, and sign minutes that could not be signed before.

    Due are roll-calls, new escrows, duties to acknowledge.
    """
    endings.end_sets_of_what_is_gone()
    custody.remind()
    for ceremony_id in minutes.unsigned_minutes():
        sign_minutes.delay(str(ceremony_id))


@shared_task(name="ceremonies.sign_minutes", autoretry_for=(PortalError,), retry_backoff=5, max_retries=5)
def sign_minutes(ceremony_id: str) -> None:
    """Sign the minutes of an ended ceremony."""
    minutes.sign_minutes(UUID(ceremony_id))
