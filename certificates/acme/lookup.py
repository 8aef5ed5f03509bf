"""DNS as the officers of one ACME server chose it: their resolvers, or those of the machine; bounded in time and size."""

import ipaddress
from collections.abc import Sequence
from time import monotonic
from typing import Any

from dns import exception, flags, name, resolver
from dns.nameserver import Do53Nameserver

from certificates.acme.caa import Record
from certificates.acme.errors import AcmeError

SECONDS = 8.0  # for one question
TOTAL = 30.0  # for all questions of one proof: a name of a hundred labels is no way to keep a worker busy
_MOST = 50  # records of one answer that are looked at
_NONE = (resolver.NXDOMAIN, resolver.NoAnswer)


def parse_resolver(text: str) -> tuple[str, int]:
    """Address and port of a resolver: `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:53`; ValueError."""
    host, port = text, 53
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("a bracket is not closed")
        port = int(rest.removeprefix(":") or 53)
    elif text.count(":") == 1:
        host, _, rest = text.partition(":")
        port = int(rest)
    if not 1 <= port <= 65_535:
        raise ValueError("a port is between 1 and 65535")
    return str(ipaddress.ip_address(host)), port


class Lookup:
    """Answers of the resolvers for one proof; raises AcmeError (dns) when there is none, returns nothing where nothing exists."""

    def __init__(self, resolvers: Sequence[str] = (), *, seconds: float = SECONDS, total: float = TOTAL) -> None:
        self._resolvers, self._seconds, self._until = resolvers, seconds, monotonic() + total

    def addresses(self, host: str) -> list[str]:
        """Every IPv6 and IPv4 address of a name."""
        found = [str(row.address) for kind in ("AAAA", "A") for row in self._ask(host, kind)]
        if not found:
            raise AcmeError("dns", f"The name {host} has no address.")
        return found

    def texts(self, host: str) -> list[bytes]:
        """Every TXT record of a name, its strings joined (RFC 8555, 8.4)."""
        return [b"".join(row.strings) for row in self._ask(host, "TXT")]

    def caa(self, host: str) -> list[Record]:
        """Every CAA record of a name."""
        rows = self._ask(host, "CAA")
        return [Record(row.flags, row.tag.decode("ascii", "replace"), row.value.decode("ascii", "replace")) for row in rows]  # fmt: skip

    def _ask(self, host: str, kind: str) -> list[Any]:
        left = min(self._seconds, self._until - monotonic())
        if left <= 0:
            raise AcmeError("dns", f"The {kind} records of {host} were not reached in time.")
        try:
            chosen = resolver.Resolver(configure=not self._resolvers)
            if self._resolvers:
                chosen.nameservers = [Do53Nameserver(*parse_resolver(text)) for text in self._resolvers]
            chosen.flags = flags.RD
            answer = chosen.resolve(name.from_text(host + "."), kind, search=False, lifetime=left)
        except _NONE:
            return []
        except (exception.DNSException, ValueError, OSError) as error:
            raise AcmeError("dns", f"No answer for the {kind} records of {host} ({type(error).__name__}).") from None
        return list(answer)[:_MOST]
