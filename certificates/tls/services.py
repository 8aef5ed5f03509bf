"""Scans that people and tokens ask for: allowed by policy, and on the record."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from certificates.models import Certificate
from certificates.services.scan_policy import EndpointUnavailable, scan_rule
from certificates.states import CertificateState
from certificates.tls.configuration import Configuration, is_address, is_host_name
from certificates.tls.drift import Difference, compare
from certificates.tls.grading import Grade, grade
from certificates.tls.report import Report
from certificates.tls.scanner import SECONDS, scan
from certificates.tls.wire import ScanEnded
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError, ValidationFailed


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found, what it is worth, and how it differs from `asked` (empty when nothing was compared)."""

    report: Report
    grade: Grade
    asked: Configuration | None
    differences: tuple[Difference, ...]


def scan_endpoint(
    *, actor: Actor, host: str, port: int = 443, asked: Configuration | None = None, seconds: float = SECONDS
) -> Scan:
    """Scan one live endpoint and compare it with the configuration that was generated for it.

    Raises PermissionRefused, HostRefused (outside what may be scanned), EndpointUnavailable, ValidationFailed.
    """
    name = f"{host}:{port}"[:200]
    target = ("endpoint", name, name)
    with audit.atomic(actor=actor, action="tls.scan", target=target):
        authorize(actor, Permission.TLS_SCAN, target="TLS endpoints")
    try:
        report = look(host, port, seconds=seconds)
    except PortalError as error:
        details = {"code": error.code, "detail": error.detail}
        audit.record(actor=actor, action="tls.scan", target=target, outcome="failed", details=details)
        raise
    found = Scan(report, grade(report), asked, compare(report, asked) if asked else ())
    seen: dict[str, Any] = {
        "address": report.address, "grade": found.grade.letter, "versions": list(report.versions),
        "differences": [difference.setting for difference in found.differences],
    }  # fmt: skip
    audit.record(actor=actor, action="tls.scan", target=target, details=seen)
    return found


def check_endpoint(host: str, port: int) -> str:
    """The host in lower case; raises ValidationFailed when this names no endpoint."""
    host = host.strip().lower()
    if not is_address(host) and not is_host_name(host):
        raise ValidationFailed("This is no host.", errors={"host": ["Write a host name or an IP address."]})
    if not 1 <= port <= 65_535:
        raise ValidationFailed("This is no port.", errors={"port": ["A port is between 1 and 65535."]})
    return host


def look(host: str, port: int, *, seconds: float = SECONDS) -> Report:
    """What an endpoint shows now, for a caller who may scan; raises HostRefused, EndpointUnavailable, ValidationFailed."""
    host = check_endpoint(host, port)
    address = scan_rule().resolve(host, port)
    try:
        report = scan(host, port, address, seconds=seconds)
    except ScanEnded as error:
        raise EndpointUnavailable(str(error)) from None
    except OSError as error:
        raise EndpointUnavailable(f"Nothing answers at {host}, port {port}.", hint=error.strerror or "") from None
    return replace(report, revoked=_revoked(report))


def _revoked(report: Report) -> tuple[str, ...]:
    prints = {
        sha256(raw).hexdigest(): facts.serial for raw, facts in zip(report.certificates, report.chain, strict=True)
    }
    ended = Certificate.objects.filter(fingerprint__in=prints, state=CertificateState.REVOKED.value)
    return tuple(prints[fingerprint] for fingerprint in ended.values_list("fingerprint", flat=True))
