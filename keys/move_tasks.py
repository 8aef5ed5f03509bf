"""Moves of keys in the background: their steps, and the tick that finds what nobody works on."""

from uuid import UUID

from celery import shared_task

from keys.services import moving
from keys.services.ratelimit import first_in

RESEND_SECONDS = 20


@shared_task(name="keys.move_step")
def move_step(move_id: str) -> None:
    """Do what is due of one move; what fails is written into it and tried again by the tick."""
    moving.advance(UUID(move_id))
    moving.follow(UUID(move_id))


@shared_task(name="keys.move_tick")
def move_tick() -> None:
    """Send moves whose next step is due to workers, and bring along those whose walk went on."""
    for move_id in moving.due():
        if first_in(RESEND_SECONDS, f"move:{move_id}"):
            move_step.delay(str(move_id))
    for move_id in moving.lagging():
        moving.follow(move_id)
