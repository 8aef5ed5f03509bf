"""What people may see of ACME: servers, keys for external accounts, accounts, orders."""

from uuid import UUID

from django.db.models import QuerySet

from certificates.acme.states import OrderState
from certificates.models import AcmeAccount, AcmeExternalKey, AcmeOrder, AcmeServer
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound
from keyvault_portal.visible import found, on_rings


def visible_servers(actor: Actor) -> QuerySet[AcmeServer]:
    """The servers of the authorities that `actor` may see."""
    rows = AcmeServer.objects.select_related("authority__ring")
    return on_rings(rows, actor.ring_ids(Permission.CERTIFICATE_VIEW), "authority__ring_id")


def visible_keys(actor: Actor) -> QuerySet[AcmeExternalKey]:
    rows = AcmeExternalKey.objects.select_related("server__authority", "owner")
    return rows.filter(server__in=visible_servers(actor))


def visible_accounts(actor: Actor) -> QuerySet[AcmeAccount]:
    rows = AcmeAccount.objects.select_related("server__authority", "external_key")
    return rows.filter(server__in=visible_servers(actor))


def visible_orders(actor: Actor) -> QuerySet[AcmeOrder]:
    rows = AcmeOrder.objects.select_related("server__authority", "account", "certificate")
    return rows.filter(server__in=visible_servers(actor))


def visible_server(actor: Actor, authority_id: UUID) -> AcmeServer:
    """The server of one authority; raises NotFound when it does not exist or may not be seen: the two look alike."""
    found = visible_servers(actor).filter(authority_id=authority_id).first()
    if found is None:
        raise NotFound("This authority does not serve ACME, or you may not see it.")
    return found


def visible_order(actor: Actor, order_id: UUID) -> AcmeOrder:
    """One order; raises NotFound as `visible_server` does."""
    return found(visible_orders(actor), order_id, "order")


def failures_of(server: AcmeServer, limit: int = 10) -> list[AcmeOrder]:
    """The newest orders that failed, with their reasons."""
    rows = server.orders.filter(state=OrderState.INVALID.value).select_related("account")
    return list(rows.order_by("-created_at", "-id")[:limit])
