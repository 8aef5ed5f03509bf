"""Background work of renewal; each task is one service, and the tick finds whatever a lost message left undone.

Services are loaded by the tasks: workers that never ask a CA need not hold its protocol.
"""

from uuid import UUID

from celery import Task, shared_task
from django.utils import timezone

from certificates.models import RenewalOrder
from certificates.renewal.states import OPEN_ORDERS

_SOON = 300.0  # seconds a worker's message may wait; what is later is found by the tick


@shared_task(name="certificates.acme_register")
def register(source_id: str) -> None:
    """Register an account at its CA."""
    from certificates.renewal import sources

    sources.complete_registration(UUID(source_id))


@shared_task(name="certificates.renewal_order", bind=True, max_retries=None)
def carry_on(self: "Task[[str], None]", order_id: str) -> None:
    """Carry one attempt on; while the CA works it is looked at again soon."""
    from certificates.renewal import ordering

    order = ordering.carry_on(UUID(order_id))
    if order is None or order.state not in OPEN_ORDERS:
        return
    wait = (order.next_try_at - timezone.now()).total_seconds()
    if wait < _SOON:
        raise self.retry(countdown=max(1.0, wait))


@shared_task(name="certificates.acme_window")
def ask_window(managed_id: str) -> None:
    """Ask the CA when it wants a certificate renewed."""
    from certificates.renewal import schedule

    schedule.ask_window(UUID(managed_id))


@shared_task(name="certificates.acme_tidy")
def tidy_up(order_id: str) -> None:
    """Take the answers of a finished order away."""
    from certificates.renewal import ordering

    order = RenewalOrder.objects.filter(pk=order_id).exclude(state__in=OPEN_ORDERS).first()
    if order is not None:
        ordering.tidy(order)


@shared_task(name="certificates.deliver")
def deliver(delivery_id: str) -> None:
    """Bring one certificate to one place."""
    from certificates.renewal import deploying

    deploying.deliver(UUID(delivery_id))


@shared_task(name="certificates.revoke_at_ca")
def revoke_at_ca(wish_id: str) -> None:
    """Have one certificate revoked by the CA that issued it."""
    from certificates.renewal import revoking

    revoking.carry(UUID(wish_id))


@shared_task(name="certificates.renewal_tick")
def tick() -> None:
    """Registrations, revocations, renewals and deliveries whose time has come."""
    from certificates.renewal import deploying, revoking, schedule, sources

    sources.tick()
    revoking.tick()
    schedule.tick()
    deploying.tick()
