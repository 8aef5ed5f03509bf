"""Challenges (RFC 8555, 7.5.1): a client says that its proof is there, a worker looks for it a few times."""

from datetime import timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from certificates.acme import addresses, caa, limits, resources
from certificates.acme.errors import AcmeError, malformed
from certificates.acme.lookup import Lookup
from certificates.acme.probes import Prober
from certificates.acme.services import actors, orders
from certificates.acme.states import (
    AUTHORIZATION_MOVES,
    CHALLENGE_MOVES,
    AuthorizationState,
    ChallengeState,
    OrderState,
)
from certificates.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeServer
from keys.hosts import HostRule
from keyvault_portal.audit import services as audit
from keyvault_portal.jobs import enqueue_on_commit

WAITS = (2, 5, 15)  # seconds after the first, second and third look
_MOST = 8  # looks in all: some may have been lost with their worker
_LEASE = timedelta(seconds=60)
_FINAL = {"rejectedIdentifier", "caa"}  # what looking again cannot mend
# How long a proof, and the CAA records looked at with it, count for issuing (CA/Browser Forum BR 3.2.2.8).
PROOF_COUNTS = timedelta(hours=8)


def answer_challenge(*, account: AcmeAccount, challenge: AcmeChallenge, address: str | None) -> AcmeChallenge:
    """The client's word that its proof is in place; a worker looks for it. Said again it changes nothing.

    Raises AcmeError: malformed (the authorization is over), rateLimited.
    """
    if challenge.state != ChallengeState.PENDING.value:
        return challenge
    limits.take("challenge", account.pk)
    actor, ring_id = actors.of_account(account, address), account.server.authority.ring_id
    target = _target(challenge)
    with audit.atomic(actor=actor, action="acme.challenge.answer", target=target, ring_id=ring_id) as act:
        row = AcmeChallenge.objects.select_for_update(of=("self",)).select_related("authorization__order").get(pk=challenge.pk)  # fmt: skip
        if row.state != ChallengeState.PENDING.value:
            return row
        if row.authorization.shown_state != AuthorizationState.PENDING.value:
            raise malformed(f"The authorization is {row.authorization.shown_state}.")
        _move(row, ChallengeState.PROCESSING)
        row.next_try_at = timezone.now()
        row.save(update_fields=["state", "next_try_at"])
        act.record({"name": str(row.authorization), "kind": row.kind})
        _look_later(row)
    return row


def _look_later(row: AcmeChallenge) -> None:
    from certificates.acme.tasks import validate_challenge

    enqueue_on_commit(validate_challenge, str(row.pk))


def look(challenge_id: UUID) -> int | None:
    """Look for the proof once, if it is time; returns in how many seconds to look again, None for not at all."""
    now = timezone.now()
    due = AcmeChallenge.objects.filter(pk=challenge_id, state=ChallengeState.PROCESSING.value, next_try_at__lte=now)
    if not due.update(next_try_at=now + _LEASE, attempts=F("attempts") + 1):
        return None
    related = ("authorization__order__account", "authorization__order__server__authority")
    challenge = AcmeChallenge.objects.select_related(*related).get(pk=challenge_id)
    if challenge.attempts > _MOST:
        return _failed(challenge, AcmeError("serverInternal", "The proof could not be looked for; make a new order."))
    try:
        _prove(challenge)
    except AcmeError as error:
        return _failed(challenge, error)
    _proved(challenge)
    return None


def prober(server: AcmeServer) -> Prober:
    """How this server looks for proofs: in public, and in the networks that its officers named."""
    rule = HostRule(tuple(server.networks), public=True)
    return Prober(Lookup(server.resolvers), rule, server.http_port, server.tls_port)


def _prove(challenge: AcmeChallenge) -> None:
    authorization = challenge.authorization
    order = authorization.order
    looking = prober(order.server)
    looking.prove(challenge.kind, authorization.name, challenge.token, order.account.thumbprint)
    if order.server.check_caa and resources.identifier(authorization.name)["type"] == "dns":  # an address has no CAA
        account = addresses.of(order.server, f"account/{order.account_id}")
        question = caa.Question(order.server.caa_identities, account, challenge.kind, authorization.wildcard)
        caa.check(authorization.name, question, looking.lookup.caa)


def _failed(challenge: AcmeChallenge, error: AcmeError) -> int | None:
    """Keep the reason; try again, or end the challenge with its authorization and its order."""
    order = challenge.authorization.order
    with audit.atomic(
        actor=orders.actor_of(order), action="acme.challenge.look", target=_target(challenge), ring_id=order.server.authority.ring_id
    ) as act:  # fmt: skip
        order = orders.locked(order.pk)
        row = _mine(challenge)
        if row is None:
            return None
        row.error = error.document()
        again = error.kind not in _FINAL and row.attempts <= len(WAITS) and not order.expired
        act.record({"name": str(row.authorization), "kind": row.kind, "attempt": row.attempts, "error": row.error}, outcome="failed")  # fmt: skip
        if again:
            wait = WAITS[row.attempts - 1]
            row.next_try_at = timezone.now() + timedelta(seconds=wait)
            row.save(update_fields=["error", "next_try_at"])
            return wait
        _move(row, ChallengeState.INVALID)
        row.next_try_at = None
        row.save(update_fields=["state", "error", "next_try_at"])
        _move_authorization(row.authorization, AuthorizationState.INVALID)
        if order.state == OrderState.PENDING.value:
            orders.fail(order, _about(error, row.authorization))
        limits.note("failure", f"{order.account_id}:{row.authorization.name}")
    return None


def _about(error: AcmeError, authorization: AcmeAuthorization) -> dict[str, object]:
    """The order's error: which name it was, for clients and for people."""
    named = resources.identifier(authorization.name)
    return error.document() | {"detail": f"{authorization}: {error.detail}", "identifier": named}


def _proved(challenge: AcmeChallenge) -> None:
    order, now = challenge.authorization.order, timezone.now()
    with audit.atomic(
        actor=orders.actor_of(order), action="acme.challenge.look", target=_target(challenge), ring_id=order.server.authority.ring_id
    ) as act:  # fmt: skip
        order = orders.locked(order.pk)  # first: proofs of two names of one order come in one after the other
        row = _mine(challenge)
        if row is None:
            return
        _move(row, ChallengeState.VALID)
        row.validated_at, row.next_try_at, row.error = now, None, None
        row.save(update_fields=["state", "validated_at", "next_try_at", "error"])
        authorization = row.authorization
        order.expires_at = min(order.expires_at, now + PROOF_COUNTS)
        authorization.proved_at, authorization.expires_at = now, order.expires_at
        _move_authorization(authorization, AuthorizationState.VALID)
        left = order.authorizations.exclude(state=AuthorizationState.VALID.value).exists()
        if not left and order.state == OrderState.PENDING.value:
            orders.move(order, OrderState.READY)
        order.save(update_fields=["state", "expires_at"])
        act.record({"name": str(authorization), "kind": row.kind, "attempt": row.attempts})


def _mine(challenge: AcmeChallenge) -> AcmeChallenge | None:
    """The challenge, locked, if nobody looked again meanwhile and its authorization still waits."""
    row = AcmeChallenge.objects.select_for_update(of=("self",)).select_related("authorization").get(pk=challenge.pk)
    still = row.state == ChallengeState.PROCESSING.value and row.attempts == challenge.attempts
    if still and row.authorization.state != AuthorizationState.PENDING.value:
        row.state, row.next_try_at = ChallengeState.INVALID.value, None
        row.save(update_fields=["state", "next_try_at"])
        return None
    return row if still else None


def deactivate_authorization(*, account: AcmeAccount, row: AcmeAuthorization, address: str | None) -> AcmeAuthorization:
    """The client gives a proof up (RFC 8555, 7.5.2), and its order with it if that is not finished."""
    actor, ring_id = actors.of_account(account, address), account.server.authority.ring_id
    target = ("acme_authorization", row.pk, str(row))
    with audit.atomic(actor=actor, action="acme.authorization.deactivate", target=target, ring_id=ring_id) as act:
        order = orders.locked(row.order_id)
        found = AcmeAuthorization.objects.select_for_update().get(pk=row.pk)
        _move_authorization(found, AuthorizationState.DEACTIVATED)
        if order.state in {OrderState.PENDING.value, OrderState.READY.value}:
            orders.fail(order, AcmeError("unauthorized", f"The authorization for {found} was deactivated.").document())
        act.record({"name": str(found)})
    return found


def _move(row: AcmeChallenge, to: ChallengeState) -> None:
    if to not in CHALLENGE_MOVES[ChallengeState(row.state)]:
        raise malformed(f"The challenge is {row.state}.")
    row.state = to.value


def _move_authorization(row: AcmeAuthorization, to: AuthorizationState) -> None:
    if to not in AUTHORIZATION_MOVES[AuthorizationState(row.state)]:
        raise malformed(f"The authorization is {row.state}.")
    row.state = to.value
    row.save(update_fields=["state", "proved_at", "expires_at"])


def _target(row: AcmeChallenge) -> tuple[str, object, str]:
    return ("acme_order", row.authorization.order_id, str(row.authorization))


def tick() -> list[UUID]:
    """The challenges that are due: their message was lost, or their worker."""
    due = AcmeChallenge.objects.filter(state=ChallengeState.PROCESSING.value, next_try_at__lte=timezone.now())
    return list(due.values_list("pk", flat=True)[:100])
