"""Pins for mobile programs: which keys a program trusts beside the usual check, always with a way out.

Browsers have none any more: HTTP Public Key Pinning (RFC 7469) was removed from all of them, and Expect-CT after it.
"""

import binascii
import plistlib
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from xml.sax.saxutils import escape

from cryptography import x509

from certificates.tls.configuration import is_host_name
from certificates.tls.report import spki_sha256
from keyvault_portal.errors import ValidationFailed

MAXIMUM_AGE = timedelta(days=30)
MAXIMUM_INPUT = 200_000

WARNINGS = (
    (
        "A wrong pin locks people out",
        "A program whose pins match no key of the server cannot connect, and you cannot tell it so: only a new version of the "
        "program helps. Look at CAA records and Certificate Transparency first: they find a wrongly issued certificate and "
        "lock nobody out.",
    ),
    (
        "Pin the intermediate",
        "Its key outlives every certificate of the server, so a renewal with a new key changes nothing. It still keeps out "
        "every other authority. The pin of the server's own key is shown to compare, and is the one to leave out.",
    ),
    (
        "Keep at least two pins",
        "One of them stands for a key that is not in use: made now and kept offline, or the key of another authority that "
        "would issue for you. Without it the loss of one key is the loss of all clients.",
    ),
    (
        "Let the pins end",
        "Thirty days are enough. After that day Android checks without pins. iOS knows no such date: there, change the pins "
        "by an update of the program before a key changes.",
    ),
    (
        "Have a way out",
        "Build a switch into the program that takes the pins off by remote configuration, signed and fetched over a "
        "connection without pins, and try it before you need it.",
    ),
)


@dataclass(frozen=True, slots=True)
class Pins:
    """Base64 SHA-256 of each SubjectPublicKeyInfo; `backups` hold keys that no sent certificate has."""

    domain: str
    leaf: str
    intermediate: str
    backups: tuple[str, ...]
    ends: date
    subdomains: bool = False

    @property
    def pinned(self) -> tuple[str, ...]:
        """What goes into a program: the intermediate and the backups, not the leaf."""
        return (self.intermediate, *self.backups)


def make_pins(
    domain: str,
    chain: str,
    backups: Sequence[str],
    *,
    today: date,
    days: int = MAXIMUM_AGE.days,
    subdomains: bool = False,
) -> Pins:
    """Pins from a PEM chain (leaf first) and from backups: PEM of a certificate or request, or a pin in base64.

    Raises ValidationFailed by field: no intermediate, no backup, a backup that is in use, or more than 30 days.
    """
    if not is_host_name(domain) or "." not in domain:
        raise _refused("domain", "Write a host name in lower case, such as api.example.com.")
    if not 1 <= days <= MAXIMUM_AGE.days:
        raise _refused("days", f"Pins end after at most {MAXIMUM_AGE.days} days.")
    certificates = _certificates(chain)
    used = [spki_sha256(certificate) for certificate in certificates]
    spare = tuple(dict.fromkeys(_backup_pin(text) for text in backups if text.strip()))
    if not spare:
        raise _refused(
            "backups", "At least one backup is needed: without it the loss of one key locks every client out."
        )
    if set(spare) & set(used):
        raise _refused("backups", "A backup is a key that is not in use; this one is in the chain.")
    return Pins(domain, used[0], used[1], spare, today + timedelta(days=days), subdomains)


def _certificates(chain: str) -> list[x509.Certificate]:
    if len(chain) > MAXIMUM_INPUT:
        raise _refused("chain", "This is too long for a chain.")
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
    except ValueError:
        raise _refused("chain", "Paste the certificates as PEM, the server's own first.") from None
    if len(certificates) < 2:
        raise _refused(
            "chain", "The intermediate is missing: paste the whole chain, the server's own certificate first."
        )
    try:
        certificates[0].verify_directly_issued_by(certificates[1])
    except Exception:
        raise _refused("chain", "The second certificate did not issue the first.") from None
    return certificates


def _backup_pin(text: str) -> str:
    text = text.strip()
    if len(text) > MAXIMUM_INPUT:
        raise _refused("backups", "This is too long for a backup.")
    try:
        if "BEGIN CERTIFICATE REQUEST" in text:
            return spki_sha256(x509.load_pem_x509_csr(text.encode()))
        if "BEGIN CERTIFICATE" in text:
            return spki_sha256(x509.load_pem_x509_certificate(text.encode()))
        if len(b64decode(text, validate=True)) == 32:
            return text
    except (ValueError, binascii.Error):
        pass
    raise _refused("backups", "A backup is a certificate or request as PEM, or the base64 of a SHA-256.")


def _refused(field: str, message: str) -> ValidationFailed:
    return ValidationFailed(message, errors={field: [message]})


def android(pins: Pins) -> str:
    """A network security configuration for Android, as res/xml/network_security_config.xml."""
    entries = "\n".join(f'            <pin digest="SHA-256">{escape(pin)}</pin>' for pin in pins.pinned)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<network-security-config>
    <domain-config cleartextTrafficPermitted="false">
        <domain includeSubdomains="{str(pins.subdomains).lower()}">{escape(pins.domain)}</domain>
        <pin-set expiration="{pins.ends.isoformat()}">
{entries}
        </pin-set>
    </domain-config>
</network-security-config>
"""


def ios(pins: Pins) -> str:
    """The part of an iOS program's Info.plist: NSPinnedDomains, with the keys of authorities."""
    identities = [{"SPKI-SHA256-BASE64": pin} for pin in pins.pinned]
    rules = {"NSIncludesSubdomains": pins.subdomains, "NSPinnedCAIdentities": identities}
    return plistlib.dumps(
        {"NSAppTransportSecurity": {"NSPinnedDomains": {pins.domain: rules}}}, sort_keys=False
    ).decode()
