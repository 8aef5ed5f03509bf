"""pkilint reads what every profile makes with every algorithm, and what is broken; without it our own rules stay."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certificates import issuance, lint, pkix_lint, signing
from certificates.issuance import Draft, Issuer, LintFailed, Places
from certificates.profiles import PROFILES
from keys.crypto.algorithms import ALGORITHMS

NAMES = {
    "dns": ("dns", "www.example.org"), "uri": ("uri", "spiffe://example.org/a"), "email": ("email", "a@example.org"), "ip": ("ip", "10.0.0.1"),
}  # fmt: skip
PLACES = Places("http://ca.example.org/ca", "http://ca.example.org/crl", "", "http://ca.example.org/ocsp")
NOW = datetime.now(UTC)


def public_key(algorithm: str) -> bytes:
    key = signing.scheme(algorithm).throw_away.public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def draft(profile: str, public: bytes, **more) -> Draft:
    row = PROFILES[profile]
    names = () if row.ca else tuple(name for kind, name in NAMES.items() if kind in row.san_kinds)[:1]
    if profile == "ocsp-responder":
        names = ()
    values = {
        "common_name": "" if profile == "spiffe" else "www.example.org", "names": names, "path_length": 0 if row.ca else None,
        "places": Places() if profile == "root" else PLACES,
    }  # fmt: skip
    serial = issuance.new_serial()
    return Draft(row, public, serial, NOW, NOW + timedelta(days=3000 if profile == "root" else 20), **values | more)


@pytest.mark.parametrize("algorithm", sorted(name for name in ALGORITHMS if name.startswith(("ECDSA-P", "RSA-3072-PSS", "Ed25519", "ML-DSA-65"))))  # fmt: skip
def test_every_profile_is_clean(algorithm):
    assert pkix_lint.installed
    public = public_key(algorithm)
    root = issuance.prepare(draft("root", public, path_length=2), Issuer(algorithm, public))
    issuer = Issuer(algorithm, public, x509.load_der_x509_certificate(root.throw_away))
    for name in PROFILES:
        made = root if name == "root" else issuance.prepare(draft(name, public), issuer)
        assert pkix_lint.lint(made.throw_away) == [], name


@pytest.mark.parametrize(
    ("name", "clean"), [("*.example.org", True), ("a..example.org", False), ("-a.example.org", False)]
)
def test_a_wildcard_is_a_name_and_nonsense_is_none(name, clean):
    public = public_key("ECDSA-P256-SHA256")
    root = issuance.prepare(draft("root", public, path_length=2), Issuer("ECDSA-P256-SHA256", public))
    issuer = Issuer("ECDSA-P256-SHA256", public, x509.load_der_x509_certificate(root.throw_away))
    wanted = draft("server", public, names=(("dns", name),), common_name="")
    if clean:
        assert pkix_lint.lint(issuance.prepare(wanted, issuer).throw_away) == []
    else:
        with pytest.raises(LintFailed, match="pkilint"):
            issuance.prepare(wanted, issuer)


def test_what_it_finds_refuses_and_without_it_nothing_is_asked(monkeypatch):
    public = public_key("ECDSA-P256-SHA256")
    root = issuance.prepare(draft("root", public), Issuer("ECDSA-P256-SHA256", public))
    found = [lint.Finding("pkilint pkix.some_rule", "wrong"), lint.Finding("pkilint x", "odd", lint.WARNING)]
    monkeypatch.setattr(pkix_lint, "lint", lambda raw: found)
    with pytest.raises(LintFailed, match=r"pkilint pkix\.some_rule"):
        issuance.prepare(draft("root", public), Issuer("ECDSA-P256-SHA256", public))
    monkeypatch.undo()
    monkeypatch.setattr(pkix_lint, "installed", False)
    assert pkix_lint.lint(b"anything") == []
    assert issuance.prepare(draft("root", public), Issuer("ECDSA-P256-SHA256", public)).algorithm == root.algorithm


def test_broken_certificates_are_found():
    """Bytes that our builder never makes: an end before the beginning's form, a serial number that is negative."""
    public = public_key("ECDSA-P256-SHA256")
    serial = 2**150 + 7  # of those drawn, one in 256 would be no DER as a negative number, which is another fault
    made = issuance.prepare(replace(draft("root", public), serial=serial), Issuer("ECDSA-P256-SHA256", public))
    encoded = serial.to_bytes((serial.bit_length() + 8) // 8)
    negative = bytes([0x80 | encoded[0]]) + encoded[1:]
    found = pkix_lint.lint(made.throw_away.replace(encoded, negative, 1))
    assert [item.severity for item in found] == [lint.ERROR]
    assert "serial" in found[0].rule
    assert pkix_lint.lint(b"\x30\x03\x02\x01\x01")[0].severity == lint.ERROR
