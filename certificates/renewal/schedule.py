"""When a certificate is renewed: at two thirds of its life a little early by chance, or when its CA says so (RFC 9773)."""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from certificates.models import Certificate, ChallengeAnswer, ManagedCertificate, RenewalOrder
from certificates.renewal import client, managing
from certificates.renewal.frame import SYSTEM, act_on_managed
from certificates.renewal.states import OPEN_ORDERS, SourceState
from certificates.services.reading import parse
from keys.states import VersionState
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, PortalError

LATEST_SHARE = 0.95  # of its life: no suggestion of a CA moves a renewal beyond it
ASK_AGAIN = timedelta(hours=6)
LOST_AFTER = timedelta(seconds=30)
_BATCH = 50


def chance() -> float:
    """A random number from 0 to 1, so that a fleet does not renew in the same minute."""
    return secrets.randbelow(10_000) / 10_000


def two_thirds(row: Certificate) -> datetime:
    """The moment in the last twenty-fourth before two thirds of its life are over."""
    life = row.not_after - row.not_before
    return row.not_before + life * (2 / 3) - life / 24 * chance()


def plan_next(managed: ManagedCertificate, row: Certificate) -> None:
    """Set when the new certificate is to be renewed; the caller saves."""
    managed.renew_at, managed.renew_because = two_thirds(row), "Two thirds of its life are over."
    managed.window_start = managed.window_end = None
    managed.explanation_url = ""
    managed.ask_window_at = timezone.now() if managed.source.offers_renewal_info else None


def ask_window(managed_id: UUID) -> ManagedCertificate | None:
    """Ask the CA when it wants the certificate renewed, and plan for a moment in that window.

    A CA that does not answer changes nothing: two thirds of its life hold. None when there is nothing to ask.
    """
    row = ManagedCertificate.objects.select_related("source", "certificate").filter(pk=managed_id).first()
    if row is None or row.certificate is None or row.certificate.not_after <= timezone.now():
        return None  # RFC 9773, 4.3: never for one that has ended
    window = None
    try:
        with client.opened(row.source.directory, row.source.ca_bundle) as ca:
            if ca.offers_renewal_info and client.renewal_identifier(parse(row.certificate)):
                window = ca.renewal_window(parse(row.certificate))
    except PortalError:
        window = None
    with act_on_managed(SYSTEM, Permission.CERTIFICATE_ISSUE, "certificate.renewal_window", managed_id) as (held, act):
        if held.certificate_id != row.certificate_id or held.certificate is None:
            return held
        if window is None:
            held.ask_window_at = timezone.now() + ASK_AGAIN
        else:
            held.ask_window_at = window.ask_again
            if (held.window_start, held.window_end) != (window.start, window.end):
                _follow(held, held.certificate, window)
                act.record(
                    {
                        "start": window.start.isoformat(),
                        "end": window.end.isoformat(),
                        "renew_at": held.renew_at.isoformat(),
                    }
                )
        held.save()
    return held


def _follow(held: ManagedCertificate, row: Certificate, window: client.Window) -> None:
    """A random moment of the window (RFC 9773, 4.2), but in time; while attempts fail, their own waiting goes on."""
    held.window_start, held.window_end, held.explanation_url = window.start, window.end, window.explanation
    chosen = window.start + (window.end - window.start) * chance()
    latest = row.not_before + (row.not_after - row.not_before) * LATEST_SHARE
    if not held.failures:
        held.renew_at, held.renew_because = min(chosen, latest), "The CA suggests it (RFC 9773)."


def tick() -> None:
    """Begin what is due, and find what a lost message left undone; each certificate by itself, none holds up another."""
    from certificates.renewal.tasks import ask_window as ask
    from certificates.renewal.tasks import tidy_up

    now = timezone.now()
    busy = RenewalOrder.objects.filter(managed=OuterRef("pk"), state__in=OPEN_ORDERS)
    kept = ManagedCertificate.objects.filter(~Exists(busy), enabled=True, source__state=SourceState.READY.value)
    for managed_id in kept.filter(ask_window_at__lte=now, certificate__not_after__gt=now).values_list("pk", flat=True)[
        :_BATCH
    ]:
        ask.delay(str(managed_id))
    for managed_id in (
        kept.filter(Q(renew_at__lte=now) | _rotated()).order_by("renew_at").values_list("pk", flat=True)[:_BATCH]
    ):
        begin_due(managed_id)
    lost = RenewalOrder.objects.filter(state__in=OPEN_ORDERS, next_try_at__lte=now, created_at__lt=now - LOST_AFTER)
    for order_id in lost.exclude(claimed_until__gt=now).values_list("pk", flat=True)[:_BATCH]:
        managing.send(order_id)
    for order_id in (
        ChallengeAnswer.objects.exclude(order__state__in=OPEN_ORDERS)
        .values_list("order_id", flat=True)
        .distinct()[:_BATCH]
    ):
        tidy_up.delay(str(order_id))


def _rotated() -> Q:
    """Those whose key was rotated since: its new version wants a certificate. While that fails, its own waiting holds."""
    return Q(
        ~Q(key__current=F("certificate__renewal_order__version")), failures=0, certificate__renewal_order__isnull=False,
        key__current__status=VersionState.ACTIVE.value,
    )  # fmt: skip


def begin_due(managed_id: UUID) -> RenewalOrder | None:
    """Begin the renewal of one that is due; None when it is not any more."""
    try:
        with act_on_managed(SYSTEM, Permission.CERTIFICATE_ISSUE, "certificate.renew", managed_id) as (row, act):
            if not row.enabled or RenewalOrder.objects.filter(managed=row, state__in=OPEN_ORDERS).exists():
                return None
            due = row.renew_at <= timezone.now()
            because = (row.renew_because or "It is due.") if due else "Its key was rotated."
            order = managing.begin(row, because)
            act.record({"order": str(order.pk), "because": because})
        return order
    except NotFound:
        return None
