"""What a stapled OCSP answer is worth (RFC 6960, 3.2 and 4.2.2.2), on answers made here: no server is asked."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from certificates.tls import scanner
from tests.tls.authority import DAY, NOW, Authority, Issued, subject

ISSUER = Authority.root("Root").subordinate("Issuer")
LEAF, OTHER = (ISSUER.issue(subject(cn=name), [x509.DNSName(name)]) for name in ("a.example", "b.example"))
RESPONDER = ISSUER.issue(subject(cn="OCSP"), [x509.DNSName("o.example")], usage=ExtendedKeyUsageOID.OCSP_SIGNING)
STRANGER = Authority.root("Somebody else")
HOUR = timedelta(hours=1)


def staple(signer: Issued, about: Issued = LEAF, begins=NOW - HOUR, ends=NOW + DAY) -> bytes:
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=about.certificate, issuer=ISSUER.certificate, algorithm=hashes.SHA1(), cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=begins, next_update=ends, revocation_time=None, revocation_reason=None,
    )  # fmt: skip
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if signer is not ISSUER:
        builder = builder.certificates([signer.certificate])
    digest = None if isinstance(signer.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer.key, digest).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("answer", "worth"),
    [
        (staple(ISSUER), "good"),
        (staple(RESPONDER), "good"),
        (staple(OTHER), "signed by somebody else"),  # issued by the same authority, but not to answer
        (staple(STRANGER), "signed by somebody else"),
        (staple(ISSUER, about=OTHER), "for another certificate"),
        (staple(ISSUER, begins=NOW - DAY, ends=NOW - HOUR), "out of date"),
        (staple(ISSUER, begins=NOW + DAY, ends=NOW + 2 * DAY), "out of date"),
        (b"\x30\x00", "unreadable"),
        (b"", ""),
    ],
)
def test_a_stapled_answer_counts_only_if_it_holds(answer, worth):
    assert scanner._staple(answer, [LEAF.certificate, ISSUER.certificate]) == worth


def test_without_its_issuer_an_answer_is_not_called_somebody_elses():
    found = scanner._staple(staple(RESPONDER), [LEAF.certificate])
    assert found == "the issuer that would prove it is not sent"


def test_an_ed25519_responder_is_heard():
    key = ed25519.Ed25519PrivateKey.generate()
    responder = ISSUER.issue(
        subject(cn="OCSP 2"), [x509.DNSName("o.example")], usage=ExtendedKeyUsageOID.OCSP_SIGNING, key=key
    )
    chain = [LEAF.certificate, ISSUER.certificate]
    assert scanner._staple(staple(responder), chain) == "good"
    foreign = STRANGER.issue(
        subject(cn="OCSP 2"), [x509.DNSName("o.example")], usage=ExtendedKeyUsageOID.OCSP_SIGNING, key=key
    )
    assert scanner._staple(staple(foreign), chain) == "signed by somebody else"


@pytest.mark.parametrize(
    ("host", "name", "fits"),
    [
        ("www.example.org", "*.example.org", True),
        ("a.b.example.org", "*.example.org", False),
        ("example.org", "*.example.org", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "*.0.2.1", False),
    ],
)
def test_a_wildcard_stands_for_one_label_and_never_in_an_address(host, name, fits):
    assert scanner._matches(host, [name]) is fits
