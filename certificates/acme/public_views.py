"""The ACME protocol over HTTP (RFC 8555, RFC 9773): each resource reads, calls one service and says what became of it."""

from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse

from certificates.acme import addresses, jose, resources
from certificates.acme.errors import AcmeError, malformed
from certificates.acme.protocol import AcmeView, Signed, SignedView
from certificates.acme.services import accounts, challenges, finalizing, orders, renewal, revocation
from certificates.acme.states import ChallengeState, OrderState
from certificates.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeOrder
from certificates.services.reading import pem
from keyvault_portal.errors import NotFound
from keyvault_portal.paging import keyset_page

POLL_SECONDS = "2"
_PEM = "application/pem-certificate-chain"


class Directory(AcmeView):
    """GET /acme/<name>/directory"""

    fresh_nonce = False

    def get(self, request: HttpRequest) -> HttpResponse:
        return JsonResponse(resources.directory(self.server))


class NewNonce(AcmeView):
    """HEAD and GET /acme/<name>/new-nonce"""

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200 if request.method == "HEAD" else 204)


class NewAccount(SignedView):
    signed_by = frozenset({"jwk"})

    def answer(self, signed: Signed, **kwargs: Any) -> HttpResponse:
        row, made = accounts.open_account(
            server=self.server, key=signed.key, payload=signed.jws.json(), address=signed.address
        )
        row.server = self.server
        return JsonResponse(
            resources.account(row), status=201 if made else 200, headers={"Location": addresses.of_account(row)}
        )


class Account(SignedView):
    """The account itself: asked for, changed, closed."""

    def answer(self, signed: Signed, *, account_id: UUID) -> HttpResponse:
        row = _own_account(signed, account_id)
        if not signed.asks_only:
            row = accounts.update_account(account=row, payload=signed.jws.json(), address=signed.address)
        return JsonResponse(resources.account(row))


class AccountOrders(SignedView):
    """The orders of an account that led or may lead somewhere, the newest first (RFC 8555, 7.1.2.1)."""

    def answer(self, signed: Signed, *, account_id: UUID) -> HttpResponse:
        row = _own_account(signed, account_id)
        _only_asks(signed)
        rows = row.orders.exclude(state=OrderState.INVALID.value).select_related("server__authority")
        page = keyset_page(rows, ["-created_at", "-id"], cursor=self.request.GET.get("cursor", ""))
        response = JsonResponse({"orders": [addresses.of_order(item) for item in page.rows]})
        if page.older:
            response["Link"] = f'<{addresses.of_account(row)}/orders?cursor={page.older}>;rel="next"'
        return response


class KeyChange(SignedView):
    def answer(self, signed: Signed, **kwargs: Any) -> HttpResponse:
        row = accounts.change_key(
            account=signed.holder, inner=jose.parse(signed.jws.payload), address=signed.address
        )  # fmt: skip
        return JsonResponse(resources.account(row))


class NewOrder(SignedView):
    def answer(self, signed: Signed, **kwargs: Any) -> HttpResponse:
        row = orders.make_order(account=signed.holder, payload=signed.jws.json(), address=signed.address)
        return _order(row, 201)


class Order(SignedView):
    def answer(self, signed: Signed, *, order_id: UUID) -> HttpResponse:
        _only_asks(signed)
        return _order(orders.settle(_own_order(signed, order_id)))


class Finalize(SignedView):
    def answer(self, signed: Signed, *, order_id: UUID) -> HttpResponse:
        row = orders.settle(_own_order(signed, order_id))
        row = finalizing.finalize_order(
            account=signed.holder, order=row, payload=signed.jws.json(), address=signed.address
        )
        return _order(orders.settle(row))


class Authorization(SignedView):
    def answer(self, signed: Signed, *, authorization_id: UUID) -> HttpResponse:
        rows = AcmeAuthorization.objects.filter(order__account=signed.holder)
        row = _one(rows, authorization_id, "authorization")
        if not signed.asks_only:
            if signed.jws.json() != {"status": "deactivated"}:
                raise malformed("An authorization can only be deactivated.")
            row = challenges.deactivate_authorization(account=signed.holder, row=row, address=signed.address)
        response = JsonResponse(resources.authorization(self.server, row))
        if row.challenges.filter(state=ChallengeState.PROCESSING.value).exists():
            response["Retry-After"] = POLL_SECONDS
        return response


class Challenge(SignedView):
    def answer(self, signed: Signed, *, challenge_id: UUID) -> HttpResponse:
        rows = AcmeChallenge.objects.select_related("authorization").filter(authorization__order__account=signed.holder)
        row = _one(rows, challenge_id, "challenge")
        if not signed.asks_only:
            signed.jws.json()
            row = challenges.answer_challenge(account=signed.holder, challenge=row, address=signed.address)
        up = addresses.of_authorization(self.server, row.authorization)
        response = JsonResponse(resources.challenge(self.server, row), headers={"Link": f'<{up}>;rel="up"'})
        if row.state == ChallengeState.PROCESSING.value:
            response["Retry-After"] = POLL_SECONDS
        return response


class CertificateChain(SignedView):
    """The certificate with a chain as PEM; the other chains there are stand in Link headers (RFC 8555, 7.4.2)."""

    def answer(self, signed: Signed, *, certificate_id: UUID, number: int = 0) -> HttpResponse:
        _only_asks(signed)
        row = orders.certificate_of(signed.holder, certificate_id)
        found = finalizing.chains(row) if row is not None else []
        if number >= len(found):
            raise NotFound("There is no such certificate, or it is not yours.")
        above = addresses.of(self.server, f"certificate/{certificate_id}")
        links = [
            f'<{above}{f"/{other}" if other else ""}>;rel="alternate"' for other in range(len(found)) if other != number
        ]
        response = HttpResponse(pem(*found[number]), content_type=_PEM)
        if links:
            response["Link"] = ", ".join(links)
        return response


class RevokeCert(SignedView):
    signed_by = frozenset({"jwk", "kid"})

    def answer(self, signed: Signed, **kwargs: Any) -> HttpResponse:
        revocation.revoke(
            server=self.server, account=signed.account, key=signed.key, payload=signed.jws.json(), address=signed.address
        )  # fmt: skip
        return HttpResponse(status=200)


class RenewalInfo(AcmeView):
    """GET /acme/<name>/renewal-info/<identifier> (RFC 9773, 4); anybody may ask."""

    fresh_nonce = False

    def get(self, request: HttpRequest, identifier: str) -> HttpResponse:
        row = renewal.find(self.server, identifier)
        if row is None:
            raise NotFound("There is no such certificate of this authority.")
        window = renewal.window(row)
        suggested = {"start": resources.moment(window.start), "end": resources.moment(window.end)}
        return JsonResponse({"suggestedWindow": suggested}, headers={"Retry-After": str(renewal.RETRY_AFTER)})


def _order(row: AcmeOrder, status: int = 200) -> JsonResponse:
    response = JsonResponse(resources.order(row), status=status, headers={"Location": addresses.of_order(row)})
    if row.state == OrderState.PROCESSING.value:
        response["Retry-After"] = POLL_SECONDS
    return response


def _only_asks(signed: Signed) -> None:
    if not signed.asks_only:
        raise malformed("This resource is only asked for: the payload is empty (POST-as-GET).")


def _own_account(signed: Signed, account_id: UUID) -> AcmeAccount:
    if signed.holder.pk != account_id:
        raise AcmeError("unauthorized", "This is not your account.")
    return signed.holder


def _own_order(signed: Signed, order_id: UUID) -> AcmeOrder:
    rows = AcmeOrder.objects.select_related("server__authority", "account").filter(account=signed.holder)
    return _one(rows, order_id, "order")


def _one[Row: Model](rows: QuerySet[Row], row_id: UUID, what: str) -> Row:
    """One row of the account that asks: what belongs to others does not exist for it."""
    found = rows.filter(pk=row_id).first()
    if found is None:
        raise NotFound(f"There is no such {what}, or it is not yours.")
    return found
