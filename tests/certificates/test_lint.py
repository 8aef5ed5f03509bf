"""Single rules of our own lint, each at its edge, on certificates that a builder got wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID

from certificates import lint
from certificates.profiles import PROFILES

KEY, START = ec.generate_private_key(ec.SECP256R1()), datetime(2026, 11, 1, tzinfo=UTC)


def built(*extensions: tuple[x509.ExtensionType, bool], life: timedelta = timedelta(days=30)) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lint")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 2**70 + 1, START, START + life)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(KEY, hashes.SHA256())


def found(certificate: x509.Certificate, profile: str, issuer: x509.Certificate | None = None) -> str:
    raw = certificate.public_bytes(Encoding.DER)
    return "; ".join(finding.detail for finding in lint.lint(raw, PROFILES[profile], issuer))


def authority(path_length: int | None) -> x509.Certificate:
    return built((x509.BasicConstraints(True, path_length), True), life=timedelta(days=900))


@pytest.mark.parametrize(
    ("above", "own", "said"),
    [(1, 0, ""), (1, 1, "must be below the issuer's 1"), (2, None, "must be below the issuer's 2"), (0, 0, "allows no CA below it"), (None, 3, "")],
)  # fmt: skip
def test_a_path_length_is_below_the_issuer_s(above, own, said):
    words = found(authority(own), "sub-ca", authority(above))
    assert said in words
    assert ("path length" in words) is bool(said)


@pytest.mark.parametrize(("life", "long"), [(timedelta(days=398, seconds=-1), False), (timedelta(days=398), True)])
def test_both_ends_of_a_life_count(life, long):
    assert ("lives longer than the 398 days" in found(built(life=life), "client")) is long


def test_a_responder_says_that_nobody_asks_for_its_own_state():
    usage = (x509.ExtendedKeyUsage([Eku.OCSP_SIGNING]), False)
    assert "id-pkix-ocsp-nocheck" in found(built(usage), "ocsp-responder")
    assert "id-pkix-ocsp-nocheck" not in found(built(usage, (x509.OCSPNoCheck(), False)), "ocsp-responder")


def test_the_issuer_is_a_ca():
    assert "the issuer is no CA" in found(built(), "client", built())
