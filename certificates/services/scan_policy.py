"""Which endpoints may be scanned at all: networks and names that an officer allowed. Nothing is, until one does."""

import ipaddress
from typing import ClassVar

from django.conf import settings

from certificates.csr import refused
from certificates.models import ScanRange
from certificates.tls.configuration import is_host_name
from keys.hosts import HostRefused, HostRule, stands_for
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, PortalError

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_WIDEST = {4: 8, 6: 16}  # prefix lengths: what is wider is no network anybody owns


class EndpointUnavailable(PortalError):
    status, code, title = 503, "endpoint_unavailable", "The endpoint does not answer"


class ScanRule(HostRule):
    """As every rule of hosts, but that a name never leads to this machine: that takes its network in the settings."""

    unavailable: ClassVar[type[PortalError]] = EndpointUnavailable

    def check_address(self, host: str, address: _Address) -> None:
        plain = stands_for(address)
        networks = [ipaddress.ip_network(rule) for rule in settings.TLS_SCAN_ALLOWED_HOSTS if "/" in rule]
        if plain.is_loopback and not any(plain in network for network in networks):
            raise HostRefused(f"The host {host} stands for this machine, which is not scanned.")
        try:
            super().check_address(host, address)
        except HostRefused as error:
            if error.hint:
                error.hint = "A security officer can add it to the ranges that may be scanned."
            raise


def scan_rule() -> ScanRule:
    """What officers allowed, and what the installation allows beside it."""
    ranges = ScanRange.objects.values_list("value", flat=True)
    return ScanRule((*settings.TLS_SCAN_ALLOWED_HOSTS, *ranges), "TLS_SCAN_ALLOWED_HOSTS")


def allow_range(*, actor: Actor, value: str, reason: str) -> ScanRange:
    """Let a network or a host be scanned; raises PermissionRefused, ValidationFailed, Conflict (it is there already)."""
    with audit.atomic(actor=actor, action="scan_range.allow", target=("scan_range", value[:100], value[:200])) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="what may be scanned")
        plain = _plain(value)
        row, made = ScanRange.objects.get_or_create(
            value=plain, defaults={"reason": reason[:500], "created_by": actor.label[:200]}
        )
        if not made:
            raise Conflict(f"{plain} may be scanned already.")
        act.record({"value": plain, "reason": reason}, target=("scan_range", str(row.pk), plain))
    return row


def withdraw_range(*, actor: Actor, range_id: int) -> None:
    """Scan nothing there from now on, scheduled or not; raises PermissionRefused, NotFound."""
    with audit.atomic(actor=actor, action="scan_range.withdraw", target=("scan_range", str(range_id), "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="what may be scanned")
        row = ScanRange.objects.filter(pk=range_id).first()
        if row is None:
            raise NotFound("There is no such range.")
        row.delete()
        act.record({"value": row.value}, target=("scan_range", str(range_id), row.value))


def _plain(value: str) -> str:
    """The range as it is compared; raises ValidationFailed."""
    text = value.strip().lower().rstrip(".")
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        if is_host_name(text) and not text.replace(".", "").isdigit():
            return text
        raise refused("value", "Write a network such as 10.1.0.0/16, or a host name.") from None
    if network.prefixlen < _WIDEST[network.version]:
        raise refused("value", f"At most a /{_WIDEST[network.version]}: name what is yours.")
    if network.is_loopback or network.is_link_local or network.is_multicast or network.is_unspecified:
        raise refused("value", "This machine and link-local networks are not scanned.")
    return str(network)
