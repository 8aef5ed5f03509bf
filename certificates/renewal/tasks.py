"""Background work of renewal; each task is one service, and the tick finds whatever a lost message left undone."""

from uuid import UUID

from celery import Task, shared_task
from django.utils import timezone

from certificates.models import RenewalOrder
from certificates.renewal import deploying, ordering, schedule, sources
from certificates.renewal.states import OPEN_ORDERS

_SOON = 300.0  # seconds a worker's message may wait; what is later is found by the tick


@shared_task(name="certificates.acme_register")
def register(source_id: str) -> None:
    """Register an account at its CA."""
    sources.complete_registration(UUID(source_id))


@shared_task(name="certificates.renewal_order", bind=True, max_retries=None)
def carry_on(self: "Task[[str], None]", order_id: str) -> None:
    """Carry one attempt on; while the CA works it is looked at again soon."""
    order = ordering.carry_on(UUID(order_id))
    if order is None or order.state not in OPEN_ORDERS:
        return
    wait = (order.next_try_at - timezone.now()).total_seconds()
    if wait < _SOON:
        raise self.retry(countdown=max(1.0, wait))


@shared_task(name="certificates.acme_window")
def ask_window(managed_id: str) -> None:
    """Ask the CA when it wants a certificate renewed."""
    schedule.ask_window(UUID(managed_id))


@shared_task(name="certificates.acme_tidy")
def tidy_up(order_id: str) -> None:
    """Take the answers of a finished order away."""
    order = RenewalOrder.objects.filter(pk=order_id).exclude(state__in=OPEN_ORDERS).first()
    if order is not None:
        ordering.tidy(order)


@shared_task(name="certificates.deliver")
def deliver(delivery_id: str) -> None:
    """Bring one certificate to one place."""
    deploying.deliver(UUID(delivery_id))


@shared_task(name="certificates.renewal_tick")
def tick() -> None:
    """Registrations, renewals and deliveries whose time has come."""
    sources.tick()
    schedule.tick()
    deploying.tick()
