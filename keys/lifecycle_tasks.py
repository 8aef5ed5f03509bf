"""Schedules of the lifecycle: token keys that become active, versions whose grace period is over."""

from celery import shared_task

from keys.services import lifecycle


@shared_task(name="keys.lifecycle_tick")
def lifecycle_tick() -> None:
    """Activate and destroy what is due; safe to run at any time and twice."""
    lifecycle.tick_activations()
    lifecycle.tick_deletions()
