"""Background work of ACME: looking for proofs, and what the tick finds.

Services are loaded by the tasks: workers that never look for proofs need not hold what asks name servers.
"""

from uuid import UUID

from celery import shared_task


@shared_task(name="certificates.acme_validate")
def validate_challenge(challenge_id: str) -> None:
    """Look for a proof; when it is not there yet, again after a while."""
    from certificates.acme.services import challenges

    wait = challenges.look(UUID(challenge_id))
    if wait is not None:
        validate_challenge.apply_async((challenge_id,), countdown=wait)


@shared_task(name="certificates.acme_tick")
def tick() -> None:
    """Challenges whose message or worker was lost, orders whose time is over or whose grant was redeemed."""
    from certificates.acme.services import challenges, orders

    for challenge_id in challenges.tick():
        validate_challenge.delay(str(challenge_id))
    orders.tick()
