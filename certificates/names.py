"""Names in certificates: which are well formed, which a policy allows, which a CA's name constraints permit."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

type Name = tuple[str, str]
"""(kind, value) with kind dns, ip, uri or email."""

KINDS = ("dns", "ip", "uri", "email")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?P<host>[a-z0-9.-]{1,255})")
_SPIFFE_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SPIFFE_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class NameRules:
    """What an authority may certify; an empty list of a kind allows none of it, a lone "*" allows all of it."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    wildcards: bool = False

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "NameRules":
        """From the JSON of an authority."""
        lists = {kind: tuple(str(item) for item in values.get(kind, ())) for kind in KINDS}
        return cls(**lists, wildcards=bool(values.get("wildcards", False)))

    def as_dict(self) -> dict[str, Any]:
        return {kind: list(getattr(self, kind)) for kind in KINDS} | {"wildcards": self.wildcards}

    def allows(self, name: Name) -> bool:
        """Whether the policy names this or something above it."""
        kind, value = name
        if value.startswith("*.") and not self.wildcards:
            return False
        return any(rule == "*" or _within(kind, value.removeprefix("*."), rule) for rule in getattr(self, kind))


def _within(kind: str, value: str, rule: str) -> bool:
    """RFC 5280, 4.2.1.10, but that a URI rule is a prefix of whole path segments (what SPIFFE needs)."""
    if kind == "dns":
        rule = rule.removeprefix(".").lower()
        return value == rule or value.endswith("." + rule)
    if kind == "ip":
        try:
            network = ipaddress.ip_network(rule)
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        return address.version == network.version and address in network
    if kind == "uri":
        return value == rule or value.startswith(rule.rstrip("/") + "/")
    host = value.rsplit("@", 1)[-1]
    return rule in {value, host} or (rule.startswith(".") and host.endswith(rule))


def complaint(name: Name) -> str:
    """What is wrong with the form of a name, or nothing."""
    kind, value = name
    if kind == "dns":
        return "" if _is_host(value.removeprefix("*.")) else "not a DNS name in preferred syntax (RFC 1034, 3.5)"
    if kind == "ip":
        return "" if _is_address(value) else "not an IP address"
    if kind == "uri":
        return _uri_complaint(value)
    found = _MAILBOX.fullmatch(value)
    return "" if found and _is_host(found["host"]) else "not an e-mail address (RFC 5321, 4.1.2)"


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_host(value: str) -> bool:
    labels = value.split(".")
    return len(value) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def _uri_complaint(value: str) -> str:
    if not value.startswith("spiffe://"):
        return "only SPIFFE IDs (spiffe://) are certified"
    domain, _, path = value.removeprefix("spiffe://").partition("/")
    if len(value) > 2048 or not _SPIFFE_DOMAIN.fullmatch(domain):
        return "not a SPIFFE trust domain (SPIFFE-ID, 2.1)"
    if path and not all(_SPIFFE_SEGMENT.fullmatch(segment) for segment in path.split("/")):
        return "not a SPIFFE path (SPIFFE-ID, 2.2)"
    return ""


def read(value: str) -> Name:
    """A DNS name or an IP address by its form alone: no DNS name ends in a number (RFC 1123, 2.1)."""
    return ("ip" if _is_address(value) else "dns", value)


def from_general_names(names: Iterable[x509.GeneralName]) -> tuple[list[Name], list[str]]:
    """The names of kinds we certify, and the kinds of all others."""
    found: list[Name] = []
    others: list[str] = []
    for name in names:
        match name:
            case x509.DNSName():
                found.append(("dns", name.value.lower()))
            case x509.IPAddress():
                found.append(("ip", str(name.value)))
            case x509.UniformResourceIdentifier():
                found.append(("uri", name.value))
            case x509.RFC822Name():
                found.append(("email", name.value))
            case _:
                others.append(type(name).__name__)
    return found, others


def to_general_name(name: Name) -> x509.GeneralName:
    kind, value = name
    match kind:
        case "dns":
            return x509.DNSName(value)
        case "ip":
            return x509.IPAddress(ipaddress.ip_address(value))
        case "uri":
            return x509.UniformResourceIdentifier(value)
        case _:
            return x509.RFC822Name(value)


def constraints_of(rules: NameRules) -> x509.NameConstraints | None:
    """The name constraints that say the same as `rules`, as far as RFC 5280 can: URI rules become their hosts."""
    permitted: list[x509.GeneralName] = []
    permitted += [x509.DNSName(rule.removeprefix(".")) for rule in rules.dns if rule != "*"]
    permitted += [x509.IPAddress(ipaddress.ip_network(rule)) for rule in rules.ip if rule not in {"*", ""}]
    permitted += [x509.RFC822Name(rule) for rule in rules.email if rule != "*"]
    hosts = dict.fromkeys(rule.removeprefix("spiffe://").split("/")[0] for rule in rules.uri if rule != "*")
    permitted += [x509.UniformResourceIdentifier(host) for host in hosts]
    return x509.NameConstraints(permitted, None) if permitted else None


def forbidden_by(constraints: x509.NameConstraints, names: Sequence[Name]) -> list[Name]:
    """The names that a CA with these constraints may not certify (RFC 5280, 4.2.1.10)."""
    permitted = list(map(_subtree, constraints.permitted_subtrees or ()))
    excluded = list(map(_subtree, constraints.excluded_subtrees or ()))
    wrong = []
    for kind, value in names:
        bare = value.removeprefix("*.")
        inside = [rule for rule_kind, rule in permitted if rule_kind == kind]
        outside = [rule for rule_kind, rule in excluded if rule_kind == kind]
        permits = not inside or any(_in_subtree(kind, bare, rule) for rule in inside)
        if not permits or any(_in_subtree(kind, bare, rule) for rule in outside):
            wrong.append((kind, value))
    return wrong


def _subtree(name: x509.GeneralName) -> Name:
    if isinstance(name, x509.IPAddress):
        return "ip", str(name.value)
    found, _ = from_general_names([name])
    return found[0] if found else ("other", "")


def _in_subtree(kind: str, value: str, rule: str) -> bool:
    if kind == "uri":
        host = value.partition("://")[2].split("/")[0].split(":")[0]
        return host == rule or (rule.startswith(".") and host.endswith(rule))
    if kind == "dns" and not rule:
        return True
    return _within(kind, value, rule)
