"""Orders (RFC 8555, 7.4): asked for, and moved on as their authorizations and their grant do."""

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates import csr
from certificates.acme import limits, resources
from certificates.acme.errors import PREFIX, AcmeError, malformed
from certificates.acme.services import actors, renewal
from certificates.acme.services.issuers import issuer_of
from certificates.acme.states import ORDER_MOVES, AuthorizationState, ChallengeType, OrderState
from certificates.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeOrder, AcmeServer, Certificate
from certificates.names import NameRules
from certificates.names import read as named
from certificates.profiles import PROFILES
from certificates.states import AuthorityState, GrantState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ValidationFailed

MAX_NAMES = 100
_CLERK = system_actor("ACME clerk")
_OPEN = [OrderState.PENDING.value, OrderState.READY.value]
KEPT = timedelta(days=90)


def make_order(*, account: AcmeAccount, payload: dict[str, Any], address: str | None) -> AcmeOrder:
    """An order with an authorization for every name, and the challenges that this server offers for each.

    Raises AcmeError: malformed, unsupportedIdentifier, rejectedIdentifier (with one subproblem a name), invalidProfile,
    alreadyReplaced, rateLimited, serverInternal (the authority does not issue now).
    """
    limits.take("order", account.pk)
    server, actor = account.server, actors.of_account(account, address)
    ring_id = server.authority.ring_id
    with audit.atomic(actor=actor, action="acme.order.make", target=("acme_order", "", ""), ring_id=ring_id) as act:
        names, profile = _names(payload.get("identifiers")), _profile(server, payload.get("profile"))
        if "notBefore" in payload or "notAfter" in payload:
            raise malformed("This server decides from when and until when its certificates are valid.")
        check_policy(server, names, profile)
        for name in names:
            limits.check("failure", f"{account.pk}:{name.removeprefix('*.')}")
            limits.take("name", f"{server.pk}:{name}")
        old = renewal.replaced(account, payload.get("replaces"), names)
        expires = timezone.now() + timedelta(hours=server.order_hours)
        order = AcmeOrder(
            server=server, account=account, names=names, profile=profile, replaces=old, expires_at=expires
        )
        _insert(order)
        for name in names:
            _authorization(server, order, name)
        act.record({"names": names[:20], "profile": profile, "replaces": old.serial if old else None}, target=target_of(order))  # fmt: skip
    return order


def _insert(order: AcmeOrder) -> None:
    try:
        with transaction.atomic():
            order.save(force_insert=True)
    except IntegrityError:  # two orders at once say that they replace the same certificate
        raise AcmeError("alreadyReplaced", "Another order replaces this certificate already.") from None


def target_of(order: AcmeOrder) -> tuple[str, object, str]:
    """How the record names an order."""
    return ("acme_order", order.pk, str(order)[:200])


def _names(identifiers: object) -> list[str]:
    if not isinstance(identifiers, list) or not 1 <= len(identifiers) <= MAX_NAMES:
        raise malformed(f"identifiers is a list of 1 to {MAX_NAMES}.")
    names = []
    for item in identifiers:
        if not isinstance(item, dict) or not isinstance(item.get("value"), str):
            raise malformed("An identifier has a type and a value.")
        if item.get("type") not in {"dns", "ip"}:
            raise AcmeError("unsupportedIdentifier", "Only DNS names and IP addresses are certified by ACME here.")
        kind, value = named(item["value"].lower())
        if kind != item["type"] or (kind == "ip" and str(ip_address(value)) != value):
            raise malformed(f"{value[:100]} is not written as a name of the type {item['type']} is (RFC 8738, 3).")
        names.append(value)
    return list(dict.fromkeys(names))


def _profile(server: AcmeServer, wanted: object) -> str:
    if wanted is None:
        return str(server.profiles[0])
    if not isinstance(wanted, str) or wanted not in server.profiles:
        raise AcmeError("invalidProfile", f"The profiles here are: {', '.join(server.profiles)}.")
    return wanted


def check_policy(server: AcmeServer, names: Sequence[str], profile: str) -> None:
    """Return if this server would certify these names; raises AcmeError with one subproblem for each that it would not."""
    issuer = issuer_of(server)
    if issuer.state != AuthorityState.ACTIVE.value:
        raise AcmeError("serverInternal", f"The authority is {issuer.state}: it issues nothing.", status=503)
    wrong = [(name, reason) for name in names if (reason := _against(server, issuer.name_rules, name, profile))]
    if wrong:
        problems = [
            {"type": PREFIX + "rejectedIdentifier", "detail": reason, "identifier": resources.identifier(name)}
            for name, reason in wrong
        ]
        name, reason = wrong[0]
        raise AcmeError("rejectedIdentifier", f"{name[:100]}: {reason}", subproblems=problems)


def _against(server: AcmeServer, above: NameRules, name: str, profile: str) -> str:
    wanted = named(name)
    try:
        csr.check_names((wanted,), PROFILES[profile])
    except ValidationFailed as error:
        return error.detail
    own = server.name_rules
    wildcard = name.startswith("*.")
    if wildcard and not (own.wildcards and above.wildcards):
        return "Wildcards are not certified here."
    if wildcard and ChallengeType.DNS.value not in server.challenges:
        return "A wildcard is proved by dns-01, which this server does not offer."
    if wanted[0] == "ip" and set(server.challenges) == {ChallengeType.DNS.value}:
        return "An IP address is not proved by dns-01 (RFC 8738, 7), and this server offers nothing else."
    if not above.allows(wanted) or ((own.dns or own.ip) and not own.allows(wanted)):
        return "The name is outside what this authority certifies."
    return ""


def _authorization(server: AcmeServer, order: AcmeOrder, name: str) -> None:
    wildcard = name.startswith("*.")
    row = AcmeAuthorization.objects.create(
        order=order, name=name.removeprefix("*."), wildcard=wildcard, expires_at=order.expires_at
    )
    kinds = [ChallengeType.DNS.value] if wildcard else list(server.challenges)
    if named(name)[0] == "ip":
        kinds = [kind for kind in kinds if kind != ChallengeType.DNS.value]
    AcmeChallenge.objects.bulk_create(
        AcmeChallenge(authorization=row, kind=kind, token=token_urlsafe(32)) for kind in kinds
    )


def move(order: AcmeOrder, to: OrderState) -> None:
    """Change the state in memory, if the table allows it; raises AcmeError (orderNotReady)."""
    if to not in ORDER_MOVES[OrderState(order.state)]:
        raise AcmeError("orderNotReady", f"The order is {order.state}.")
    order.state = to.value


def fail(order: AcmeOrder, error: dict[str, Any]) -> None:
    """End an order, locked in the caller's transaction, with the reason that its client and people read."""
    move(order, OrderState.INVALID)
    order.error = error
    order.save(update_fields=["state", "error"])


def locked(order_id: UUID) -> AcmeOrder:
    """The order, locked, with its server and account."""
    rows = AcmeOrder.objects.select_for_update(of=("self",)).select_related("server__authority", "account", "grant")
    return rows.get(pk=order_id)


def settle(order: AcmeOrder) -> AcmeOrder:
    """Move an order on by what happened besides: its grant was redeemed or lost, or its time is over."""
    late = order.state in _OPEN and order.expired
    if not late and order.state != OrderState.PROCESSING.value:
        return order
    with audit.atomic(actor=_CLERK, action="acme.order.end", target=target_of(order), ring_id=order.server.authority.ring_id) as act:  # fmt: skip
        row = locked(order.pk)
        if row.state in _OPEN and row.expired:
            fail(row, malformed("The order expired before it was finished.").document())
            _expire(row)
            act.record({"state": row.state, "reason": "expired"}, outcome="failed")
        elif row.state == OrderState.PROCESSING.value and row.grant is not None:
            _follow(row, row.grant.state, act)
    return row


def _follow(order: AcmeOrder, grant: str, act: audit.atomic) -> None:
    assert order.grant is not None
    if grant == GrantState.DONE.value:
        move(order, OrderState.VALID)
        order.certificate = order.grant.certificate
        order.save(update_fields=["state", "certificate"])
        act.record({"state": order.state, "serial": order.grant.serial})
    elif grant == GrantState.LOST.value:
        sentence = "The key of the authority did not sign; make a new order later."
        fail(order, AcmeError("serverInternal", sentence).document())
        act.record({"state": order.state, "reason": order.grant.error}, outcome="failed")


def _expire(order: AcmeOrder) -> None:
    states = [AuthorizationState.PENDING.value, AuthorizationState.VALID.value]
    order.authorizations.filter(state__in=states).update(state=AuthorizationState.EXPIRED.value)


def end_all_of(account: AcmeAccount) -> None:
    """The open orders of an account that ends, in the caller's transaction; what is being signed goes on."""
    for row in AcmeOrder.objects.select_for_update().filter(account=account, state__in=_OPEN):
        fail(row, AcmeError("unauthorized", f"The account is {account.state}.").document())


def tick() -> None:
    """Settle what no client asks for any more, and forget orders of long ago that led to nothing."""
    now = timezone.now()
    rows = AcmeOrder.objects.select_related("server__authority")
    for row in rows.filter(state__in=_OPEN, expires_at__lte=now)[:200]:
        settle(row)
    for row in rows.filter(state=OrderState.PROCESSING.value)[:200]:
        settle(row)
    AcmeOrder.objects.filter(state=OrderState.INVALID.value, expires_at__lte=now - KEPT).delete()


def certificate_of(account: AcmeAccount, certificate_id: UUID) -> Certificate | None:
    """A certificate that this account ordered."""
    return Certificate.objects.filter(pk=certificate_id, acme_order__account=account).first()


def actor_of(order: AcmeOrder) -> Actor:
    """The account of an order, when a worker goes on with it."""
    return actors.of_account(order.account)
