"""Finalizing an order (RFC 8555, 7.4): its names, and nothing else of the request, become a grant to sign."""

from dataclasses import replace
from typing import Any

from certificates import csr
from certificates.acme import jose
from certificates.acme.errors import AcmeError, malformed
from certificates.acme.services import actors, orders
from certificates.acme.services.issuers import issuer_of
from certificates.acme.states import AuthorizationState, OrderState
from certificates.csr import Wanted
from certificates.models import AcmeAccount, AcmeOrder, Certificate
from certificates.names import read as named
from certificates.services import issuing
from certificates.services.reading import chain_of
from certificates.states import CertificateState
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ValidationFailed, WrongState

MAX_ALTERNATES = 5


def finalize_order(
    *, account: AcmeAccount, order: AcmeOrder, payload: dict[str, Any], address: str | None
) -> AcmeOrder:
    """Write down the grant for what was ordered and proved; a worker signs it, and the order follows.

    Raises AcmeError: orderNotReady, badCSR, rejectedIdentifier (the rules changed meanwhile), serverInternal.
    """
    raw = jose.decode(payload.get("csr"), "csr")
    actor, ring_id = actors.of_account(account, address), account.server.authority.ring_id
    with audit.atomic(
        actor=actor, action="acme.order.finalize", target=orders.target_of(order), ring_id=ring_id
    ) as act:
        row = orders.locked(order.pk)
        if row.expired:
            raise malformed("The order expired; make a new one.", status=403)
        orders.move(row, OrderState.PROCESSING)
        if row.authorizations.exclude(state=AuthorizationState.VALID.value).exists():
            raise AcmeError("orderNotReady", "A name of the order is not proved any more.")
        orders.check_policy(row.server, row.names, row.profile)
        wanted = _wanted(raw, row, account)
        asked = issuing.Order(
            wanted, row.profile, row.server.days, _owner(account), Certificate.KeyOrigin.REQUEST, renews_id=row.replaces_id
        )  # fmt: skip
        try:
            row.grant = issuing.issue_agreed(actor=actor, authority_id=issuer_of(row.server).pk, order=asked)
        except ValidationFailed as error:
            raise AcmeError("badCSR", error.detail) from None
        except WrongState as error:
            raise AcmeError("serverInternal", error.detail, status=503) from None
        row.save(update_fields=["state", "grant"])
        act.record({"names": row.names[:20], "serial": row.grant.serial})
    return row


def _owner(account: AcmeAccount) -> Any:
    owner = account.external_key.owner if account.external_key else None
    return owner.pk if owner is not None and owner.is_active else None


def _wanted(raw: bytes, order: AcmeOrder, account: AcmeAccount) -> Wanted:
    """The key of the request under the names of the order, which the request must ask for exactly."""
    try:
        wanted = csr.read(raw)
    except ValidationFailed as error:
        raise AcmeError("badCSR", error.detail) from None
    ordered = tuple(map(named, order.names))
    asked = {*wanted.names, *([named(wanted.common_name.lower())] if wanted.common_name else ())}
    if asked != set(ordered):
        raise AcmeError("badCSR", "The request names others than the order does.")
    if wanted.public_key == jose.public_key(account.jwk).spki:
        raise AcmeError("badCSR", "The request has the key of the account; a certificate needs one of its own.")
    return replace(wanted, names=ordered, common_name=order.names[0].removeprefix("*.")[:64])


def chains(row: Certificate) -> list[list[Certificate]]:
    """The certificate with those above it, first the usual chain, then one for every other issuer of its authority.

    A root is left out, since whoever trusts it has it; but for a certificate that a root itself issued.
    """
    found = [_without_root(row, chain_of(row))]
    authority = row.authority
    own = authority.certificate if authority is not None else None
    if own is None:
        return found
    crossed = Certificate.objects.filter(spki_sha256=own.spki_sha256, subject=own.subject, authority__isnull=False)
    crossed = crossed.exclude(pk=own.pk).filter(state=CertificateState.VALID.value, not_after__gt=row.not_before)
    for other in crossed.select_related("issued_under").order_by("created_at")[:MAX_ALTERNATES]:
        found.append(_without_root(row, [other, *chain_of(other)]))
    return found


def _without_root(row: Certificate, above: list[Certificate]) -> list[Certificate]:
    kept = [item for item in above if item.issuer != item.subject]
    return [row, *(kept or above[:1])]
