"""One attempt, carried on by workers: every step is safe to repeat, so whoever finds the order open goes on with it."""

import time
from datetime import timedelta
from uuid import UUID

from acme import messages
from django.db.models import Q
from django.utils import timezone

from certificates.models import ChallengeAnswer, ManagedCertificate, RenewalOrder
from certificates.names import Name
from certificates.renewal import client, dns01, storing
from certificates.renewal.client import AcmeCa, AcmeFailed
from certificates.renewal.frame import SYSTEM, back_off, target_of
from certificates.renewal.request import request_for
from certificates.renewal.states import OPEN_ORDERS, ORDER_MOVES, OrderState
from certificates.services.telling import concerned
from keys.services import sealing
from keys.services.versions import is_made
from keyvault_portal.approvals import notices
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError, WrongState

LEASE = timedelta(minutes=3)
POLL_SECONDS, POLL_EVERY = 20.0, 0.5
GIVE_UP_AFTER = timedelta(days=3)
AGAIN = timedelta(seconds=5)
LEAST_AFTER_FAILURE = timedelta(minutes=15)  # public CAs count failed validations by the hour
TELL_AGAIN = timedelta(days=1)
TELL_AFTER_TRIES = 5


def carry_on(order_id: UUID) -> RenewalOrder | None:
    """Take an order as far as it goes now; its `next_try_at` says when to come back. None when somebody else has it."""
    order = _claim(order_id)
    if order is None:
        return None
    try:
        if not _advance(order):
            _put_off(order, AGAIN)
    except PortalError as error:
        _note(order, error)
    finally:
        RenewalOrder.objects.filter(pk=order.pk).update(claimed_until=None)
    order.refresh_from_db()
    if order.state not in OPEN_ORDERS:
        tidy(order)
    return order


def _claim(order_id: UUID) -> RenewalOrder | None:
    now = timezone.now()
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    rows = RenewalOrder.objects.filter(free, pk=order_id, state__in=OPEN_ORDERS, next_try_at__lte=now)
    if not rows.update(claimed_until=now + LEASE):
        return None
    related = ("managed__source__account_key", "managed__dns_hook__secret", "managed__ring", "version__key", "replaces")
    return RenewalOrder.objects.select_related(*related).get(pk=order_id)


def _advance(order: RenewalOrder) -> bool:
    """Whether it came to its end."""
    source = order.managed.source
    if not is_made(order.version):
        return False  # its provider is at work
    if order.csr is None:
        order.csr = request_for(order.version, _names(order.managed))
        order.save(update_fields=["csr"])
    key = sealing.open_value(source.account_key)
    with client.opened(source.directory, source.ca_bundle, key, source.account_url) as ca:
        if not order.order_url:
            _place(order, ca)
        deadline = time.monotonic() + POLL_SECONDS
        while not (done := _step(order, ca)) and time.monotonic() < deadline and order.next_try_at <= timezone.now():
            time.sleep(POLL_EVERY)
    return done


def _names(managed: ManagedCertificate) -> list[Name]:
    return [(kind, value) for kind, _, value in (name.partition(":") for name in managed.names)]


def _place(order: RenewalOrder, ca: AcmeCa) -> None:
    replaced = ""
    if order.replaces is not None and ca.offers_renewal_info:
        replaced = client.renewal_identifier(storing.parse(order.replaces))
    order.order_url, _ = ca.new_order(_names(order.managed), replaced)
    _move(order, OrderState.PROVING)
    order.save(update_fields=["order_url", "state"])


def _step(order: RenewalOrder, ca: AcmeCa) -> bool:
    """Look at the order once and do what it waits for; whether it came to its end."""
    found = ca.order(order.order_url)
    if found.status == client.STATUS_PENDING:
        for url in found.authorizations:
            _prove(order, ca, url)
    elif found.status == client.STATUS_READY:
        if order.state == OrderState.PROVING.value:
            _move(order, OrderState.FINALIZING)
            order.save(update_fields=["state"])
        ca.finalize(found, bytes(order.csr or b""))
    elif found.status == client.STATUS_VALID:
        storing.store(order, ca.download(found))
        return True
    elif found.status == client.STATUS_INVALID:
        raise AcmeFailed(_why_invalid(found, ca), passing=False)
    return False


def _why_invalid(found: messages.Order, ca: AcmeCa) -> str:
    """The name at fault, which an order's own error may leave out."""
    for url in found.authorizations:
        authorization = ca.authorization(url)
        if authorization.status == client.STATUS_INVALID:
            return _unproved(authorization)
    said = found.error.detail if found.error is not None else None
    return f"The CA refused the order: {(said or 'it does not say why')[:500]}"


def _prove(order: RenewalOrder, ca: AcmeCa, url: str) -> None:
    """Put the answer where the CA looks for it, and tell it to look."""
    authorization = ca.authorization(url)
    if authorization.status == client.STATUS_VALID:
        return
    if authorization.status != client.STATUS_PENDING:
        raise AcmeFailed(_unproved(authorization), passing=False)
    managed, name = order.managed, str(authorization.identifier.value)
    challenge = next((item for item in authorization.challenges if item.chall.typ == managed.challenge), None)
    if challenge is None:
        raise AcmeFailed(f"The CA does not take {managed.challenge} for {name}.", passing=False)
    token = str(challenge.chall.encode("token"))
    content = f"{token}.{managed.source.thumbprint}"
    dns = managed.challenge == ManagedCertificate.Challenge.DNS_01
    answer, _ = ChallengeAnswer.objects.get_or_create(
        token=token,
        defaults={
            "order": order, "kind": managed.challenge, "name": f"_acme-challenge.{name}" if dns else name,
            "content": client.dns_content(content) if dns else content,
        },
    )  # fmt: skip
    if answer.published_at is None:
        if dns:
            assert managed.dns_hook is not None
            dns01.present(managed.dns_hook, answer.name, answer.content)
        answer.published_at = timezone.now()
        answer.save(update_fields=["published_at"])
    seen_at = answer.published_at + timedelta(seconds=managed.dns_hook.wait_seconds if managed.dns_hook else 0)
    if seen_at > timezone.now():
        order.next_try_at = seen_at
    elif answer.asked_at is None:
        ca.answer(challenge)
        answer.asked_at = timezone.now()
        answer.save(update_fields=["asked_at"])


def _unproved(authorization: messages.Authorization) -> str:
    said = next((item.error.detail for item in authorization.challenges if item.error is not None), None)
    return f"{authorization.identifier.value} could not be proved: {(said or 'the CA does not say why')[:500]}"


def _move(order: RenewalOrder, to: OrderState) -> None:
    if to not in ORDER_MOVES[OrderState(order.state)]:
        raise WrongState(f"The order is {order.state}: it cannot become {to.value}.", state=order.state)
    order.state = to.value


def _put_off(order: RenewalOrder, wait: timedelta) -> None:
    """Nothing is wrong: it takes longer than a worker waits."""
    if order.created_at < timezone.now() - GIVE_UP_AFTER:
        raise AcmeFailed("The CA did not finish it in three days.", passing=False)
    order.next_try_at = max(order.next_try_at, timezone.now() + wait)
    order.save(update_fields=["next_try_at"])


def _note(order: RenewalOrder, error: PortalError) -> None:
    """Write a failure down: one that passes puts the order off, any other ends it."""
    passing = error.status == 503 or bool(getattr(error, "passing", False))
    wait: timedelta | None = getattr(error, "wait", None)
    detail = f"{error.detail} {error.hint}".strip()
    managed_id = order.managed_id
    with audit.atomic(
        actor=SYSTEM, action="certificate.renewal_order", target=target_of(order.managed), ring_id=order.managed.ring_id
    ) as act:
        managed = ManagedCertificate.objects.select_for_update(of=("self",)).select_related("ring").get(pk=managed_id)
        order = RenewalOrder.objects.select_for_update(of=("self",)).select_related("managed").get(pk=order.pk)
        if order.state not in OPEN_ORDERS:
            return
        now = timezone.now()
        order.error, order.attempts, managed.last_error = detail, order.attempts + 1, detail
        if passing and order.created_at > now - GIVE_UP_AFTER:
            order.next_try_at = now + back_off(order.attempts, least=wait)
            if order.attempts >= TELL_AFTER_TRIES:
                _tell(managed, detail)
        else:
            _move(order, OrderState.FAILED)
            order.finished_at = now
            managed.failures += 1
            managed.renew_at = now + back_off(managed.failures, least=max(wait or AGAIN, LEAST_AFTER_FAILURE))
            managed.renew_because = "The last attempt failed."
            _tell(managed, detail)
            act.record({"order": str(order.pk), "code": error.code, "detail": detail}, outcome="failed")
        order.save()
        managed.save()


def _tell(managed: ManagedCertificate, detail: str) -> None:
    """Tell people once a day at most; loud when the present certificate ends within ten days."""
    now = timezone.now()
    if managed.told_at is not None and managed.told_at > now - TELL_AGAIN:
        return
    managed.told_at = now
    ends = managed.certificate.not_after if managed.certificate else None
    left = f" The present certificate ends on {ends:%-d %B %Y}." if ends else ""
    notices.notify(
        concerned(managed.ring_id, managed.owner_id), f"The renewal of {managed} fails", detail=detail + left,
        path=f"/certificates/renewals/{managed.pk}/", alarm=ends is not None and ends < now + timedelta(days=10),
    )  # fmt: skip


def tidy(order: RenewalOrder) -> None:
    """Take the answers of a finished order away again, also one whose worker died before it could note that it was there.

    What cannot be removed now is tried by the tick, for three days; then people are told to do it.
    """
    for answer in order.answers.select_related("order__managed__dns_hook__secret"):
        hook, managed = answer.order.managed.dns_hook, answer.order.managed
        if answer.kind == ManagedCertificate.Challenge.DNS_01 and hook is not None:
            try:
                dns01.clean_up(hook, answer.name, answer.content)
            except PortalError as error:
                if (answer.order.finished_at or timezone.now()) > timezone.now() - GIVE_UP_AFTER:
                    continue
                notices.notify(
                    concerned(managed.ring_id, managed.owner_id), f"A proof of {managed} still stands in DNS",
                    detail=f"Remove the TXT record {answer.name} with the value {answer.content}. {error.detail}",
                    path=f"/certificates/renewals/{managed.pk}/",
                )  # fmt: skip
        answer.delete()
