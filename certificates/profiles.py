"""Profiles: what a certificate of each purpose may hold, as data (RFC 5280, 4.2; CA/Browser Forum BR 7.1.2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku

from certificates import lifetimes

_COMMON_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9 ._@'-]{0,62}[A-Za-z0-9.])?"


@dataclass(frozen=True, slots=True)
class Profile:
    """`subject` says where the common name comes from: "first_name" of the SANs, "asked" (by the requester or the CSR,
    if `common_name` matches it) or "none". Nothing else of a CSR's subject is ever taken."""

    name: str
    title: str
    key_usage: tuple[str, ...]
    extended_key_usage: tuple[x509.ObjectIdentifier, ...] = ()
    san_kinds: frozenset[str] = frozenset()
    san_required: bool = True
    max_names: int = 100
    max_days: int | None = None  # None: the CA/Browser Forum's calendar
    default_days: int = 90
    subject: str = "asked"
    common_name: str = _COMMON_NAME
    ca: bool = False
    path_length: int | None = None
    approval: bool = False
    revocation_info: bool = True  # points to CRL and OCSP

    def most_days(self, day: date) -> int:
        """The longest life of a certificate issued on `day`."""
        return lifetimes.step_on(day).days if self.max_days is None else self.max_days

    @property
    def follows_calendar(self) -> bool:
        return self.max_days is None


_LEAF = ("digital_signature",)
_CA = ("digital_signature", "key_cert_sign", "crl_sign")

_ROWS = (
    Profile("server", "TLS server", _LEAF, (Eku.SERVER_AUTH,), frozenset({"dns", "ip"}), subject="first_name"),
    Profile(
        "client", "TLS client", _LEAF, (Eku.CLIENT_AUTH,), frozenset({"dns", "uri", "email"}), san_required=False,
        max_names=20, max_days=398,
    ),
    # X509-SVID, 4 and 5: exactly one URI, both usages, at most short-lived.
    Profile(
        "spiffe", "SPIFFE workload", _LEAF, (Eku.SERVER_AUTH, Eku.CLIENT_AUTH), frozenset({"uri"}), max_names=1,
        max_days=30, default_days=1, subject="none",
    ),
    # CA/Browser Forum Code Signing BR 6.3.2: 460 days from 2026-03-01.
    Profile(
        "code-signing", "Code signing", _LEAF, (Eku.CODE_SIGNING,), san_required=False, max_names=0, max_days=460,
        default_days=365, approval=True,
    ),
    # RFC 9336: general documents; content_commitment (non-repudiation) is what readers of PDF look for.
    Profile(
        "document-signing", "Document signing", ("digital_signature", "content_commitment"),
        (x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),), san_required=False, max_names=0, max_days=1096, default_days=1096, approval=True,
    ),
    # RFC 6960, 4.2.2.2: a delegated responder; nobody asks for its own status (id-pkix-ocsp-nocheck).
    Profile(
        "ocsp-responder", "OCSP responder", _LEAF, (Eku.OCSP_SIGNING,), san_required=False, max_names=0, max_days=90,
        default_days=30, revocation_info=False,
    ),
    Profile(
        "sub-ca", "Subordinate CA", _CA, san_required=False, max_names=0, max_days=3653, default_days=1826, ca=True,
        path_length=0, approval=True,
    ),
    Profile(
        "root", "Root CA", _CA, san_required=False, max_names=0, max_days=9132, default_days=7305, ca=True,
        approval=True, revocation_info=False,
    ),
)  # fmt: skip

PROFILES: Mapping[str, Profile] = {row.name: row for row in _ROWS}
LEAF_PROFILES = tuple(row.name for row in _ROWS if not row.ca and row.name != "ocsp-responder")


def titles_of(names: Iterable[str]) -> str:
    """What an authority that issues by these profiles issues, in words."""
    return ", ".join(PROFILES[name].title for name in names) or "subordinate authorities only"
