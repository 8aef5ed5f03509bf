"""Which hosts the portal connects to when the address was typed by a person: one rule for data stores, providers and scans."""

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from django.conf import settings

from keyvault_portal.errors import PortalError, ProviderUnavailable, ValidationFailed


class HostRefused(ValidationFailed):
    """The address is none that the portal connects to."""

    code, title = "host_refused", "The portal does not connect to this address"


@dataclass(frozen=True, slots=True)
class HostRule:
    """Hosts an address may name: CIDR networks and names; link-local addresses (cloud metadata) never.

    With `public` every address of the public Internet too: then `allowed` only adds ranges of one's own.
    """

    allowed: Sequence[str]
    variable: str = "STORE_ALLOWED_HOSTS"
    public: bool = False
    refused: ClassVar[type[PortalError]] = HostRefused
    unavailable: ClassVar[type[PortalError]] = ProviderUnavailable

    def resolve(self, host: str, port: int) -> str:
        """The address to connect to, checked after resolution so that a name cannot change in between."""
        try:
            found = {entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except OSError as error:
            raise self.unavailable(f"The host {host} cannot be found.") from error
        addresses = sorted(str(address) for address in found)
        for address in addresses:
            self.check_address(host, ipaddress.ip_address(address.split("%")[0]))
        return addresses[0]

    def check_url(self, url: str) -> None:
        """Return if the URL is plain http or https to an allowed host; never quotes what may hold a password."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise self.refused("The address cannot be read.") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise self.refused("The address has to start with https:// or http:// and name a host.")
        if parts.username is not None or parts.query or parts.fragment:
            raise self.refused("The address may hold neither a user name nor a question mark.")
        self.resolve(parts.hostname, port)

    def check_early(self, url: str) -> None:
        """The same while settings are read, when a name that cannot be found yet is no reason to refuse them."""
        with suppress(self.unavailable):
            self.check_url(url)

    def check_address(self, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Return if `host`, found at `address`, may be connected to; raises `refused`."""
        address = stands_for(address)
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            raise self.refused(f"The host {host} stands for an address that the portal never connects to.")
        named = host.lower() in {rule.lower() for rule in self.allowed if "/" not in rule}
        inside = any(address in ipaddress.ip_network(rule) for rule in self.allowed if "/" in rule)
        if not (named or inside or (self.public and address.is_global)):
            raise self.refused(
                f"The host {host} is not among the allowed ones.",
                hint=f"An administrator can add it to {self.variable}.",
            )


_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: a gateway turns these into the IPv4 address in their end


def stands_for(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def host_rule() -> HostRule:
    """The rule of this installation."""
    return HostRule(tuple(settings.STORE_ALLOWED_HOSTS))
