"""When a certificate should be renewed, and which order replaces it (RFC 9773)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from django.utils import timezone

from certificates.acme import jose
from certificates.acme.errors import AcmeError, malformed
from certificates.acme.services.issuers import issued_for
from certificates.acme.states import OrderState
from certificates.models import AcmeAccount, AcmeOrder, AcmeServer, Certificate
from certificates.names import read as named
from certificates.services.reading import parse
from certificates.states import AuthorityState, CertificateState
from keys.crypto.jwk import b64url

RETRY_AFTER = 6 * 3600


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which a client chooses a moment to renew."""

    start: datetime
    end: datetime


def identifier(row: Certificate) -> str:
    """The certificate's ARI identifier: key identifier of its issuer and serial number (RFC 9773, 4.1)."""
    certificate = parse(row)
    found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return f"{b64url(found.key_identifier or b'')}.{b64url(_serial_bytes(certificate.serial_number))}"


def _serial_bytes(serial: int) -> bytes:
    """The content of the DER INTEGER: with a leading zero where the first bit is set."""
    return serial.to_bytes(serial.bit_length() // 8 + 1)


def find(server: AcmeServer, text: str) -> Certificate | None:
    """The certificate of this authority that an identifier names; raises AcmeError for what is none."""
    _, dot, serial = text.partition(".")
    raw = jose.decode(serial, "serial number") if dot else b""
    if not 1 <= len(raw) <= 21:
        raise malformed("This is no identifier of a certificate.")
    rows = issued_for(server).filter(serial=f"{int.from_bytes(raw):x}")
    return next((row for row in rows if identifier(row) == text), None)


def window(row: Certificate) -> Window:
    """After two thirds of its life, for a twentieth of it; at once where it was revoked or its authority fell."""
    life = row.not_after - row.not_before
    start, width = row.not_before + life * 2 / 3, life / 20
    ended = row.state != CertificateState.VALID.value or (
        row.authority is not None and row.authority.state == AuthorityState.REVOKED.value
    )
    if ended:
        start = min(start, (row.revoked_at or timezone.now()) - width)
    return Window(_whole(start), _whole(start + width))


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0) + timedelta(seconds=1 if moment.microsecond else 0)


def replaced(account: AcmeAccount, text: object, names: Sequence[str]) -> Certificate | None:
    """The certificate that an order says it replaces: this account's, with a name in common, replaced by none so far."""
    if text is None:
        return None
    row = find(account.server, text) if isinstance(text, str) else None
    if row is None or not AcmeOrder.objects.filter(certificate=row, account=account).exists():
        raise malformed("The certificate to be replaced is none of this account.")
    if not {":".join(named(name)) for name in names} & set(row.names):
        raise malformed("The certificate to be replaced has no name in common with the order.")
    if AcmeOrder.objects.filter(replaces=row).exclude(state=OrderState.INVALID.value).exists():
        raise AcmeError("alreadyReplaced", "Another order replaces this certificate already.")
    return row
