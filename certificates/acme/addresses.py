"""Where the resources of an ACME server are; account addresses stand in CAA records and in clients, so they never change."""

from django.conf import settings

from certificates.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeOrder, AcmeServer


def of(server: AcmeServer, what: str) -> str:
    """The public address of one thing of a server: directory, new-order, order/<id> and so on."""
    return f"{settings.PORTAL_ORIGIN.rstrip('/')}/acme/{server.authority.name}/{what}"


def of_account(account: AcmeAccount) -> str:
    return of(account.server, f"account/{account.pk}")


def of_order(order: AcmeOrder) -> str:
    return of(order.server, f"order/{order.pk}")


def of_authorization(server: AcmeServer, row: AcmeAuthorization) -> str:
    return of(server, f"authorization/{row.pk}")


def of_challenge(server: AcmeServer, row: AcmeChallenge) -> str:
    return of(server, f"challenge/{row.pk}")
