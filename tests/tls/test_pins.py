"""Pins, their files for mobile programs, and CAA records."""

import base64
import hashlib
import plistlib
import subprocess
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from certificates.tls import pins
from certificates.tls.dns import caa_records
from keyvault_portal.errors import ValidationFailed
from tests.tls.authority import Authority, new_key, subject

TODAY = date(2026, 11, 25)
ROOT = Authority.root("Root")
ISSUER = ROOT.subordinate("Issuer")
LEAF = ISSUER.issue(subject(cn="api.example.com"), [x509.DNSName("api.example.com")])
CHAIN = (LEAF.pem + ISSUER.pem).decode()
SPARE = new_key()
REQUEST = x509.CertificateSigningRequestBuilder().subject_name(subject(cn="spare")).sign(SPARE, hashes.SHA256())
SPARE_PEM = REQUEST.public_bytes(serialization.Encoding.PEM).decode()


def made(**more: object) -> pins.Pins:
    return pins.make_pins(
        **{"domain": "api.example.com", "chain": CHAIN, "backups": [SPARE_PEM], "today": TODAY} | more
    )  # type: ignore[arg-type]


def by_openssl(pem: bytes, folder: Path) -> str:
    """The pin as OpenSSL's own commands find it."""
    (folder / "c.pem").write_bytes(pem)
    key = subprocess.run(
        ["openssl", "x509", "-in", str(folder / "c.pem"), "-pubkey", "-noout"], check=True, capture_output=True
    )
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], check=True, capture_output=True, input=key.stdout
    )
    return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()


def test_pins_are_what_openssl_finds(tmp_path):
    found = made()
    assert (found.leaf, found.intermediate) == (by_openssl(LEAF.pem, tmp_path), by_openssl(ISSUER.pem, tmp_path))
    assert found.pinned == (found.intermediate, *found.backups)
    assert found.ends == date(2026, 12, 25)


def test_the_android_file_holds_two_pins_and_an_end():
    found = made(subdomains=True)
    tree = ElementTree.fromstring(pins.android(found))
    domain, pin_set = tree.find("domain-config/domain"), tree.find("domain-config/pin-set")
    assert domain is not None
    assert pin_set is not None
    assert (domain.text, domain.get("includeSubdomains")) == ("api.example.com", "true")
    assert pin_set.get("expiration") == "2026-12-25"
    assert [pin.text for pin in pin_set] == list(found.pinned)
    assert {pin.get("digest") for pin in pin_set} == {"SHA-256"}


def test_the_ios_file_pins_authorities():
    rules = plistlib.loads(pins.ios(made()).encode())["NSAppTransportSecurity"]["NSPinnedDomains"]["api.example.com"]
    assert [entry["SPKI-SHA256-BASE64"] for entry in rules["NSPinnedCAIdentities"]] == list(made().pinned)
    assert "NSPinnedLeafIdentities" not in rules


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"backups": []}, "backups"),
        ({"backups": [" "]}, "backups"),
        ({"backups": [ISSUER.pem.decode()]}, "backups"),
        ({"backups": [SPARE_PEM, ISSUER.pem.decode()]}, "backups"),  # one good one excuses none that is in use
        ({"backups": ["c2hvcnQ="]}, "backups"),
        ({"backups": ["-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----"]}, "backups"),
        ({"chain": LEAF.pem.decode()}, "chain"),
        ({"chain": (LEAF.pem + ROOT.pem).decode()}, "chain"),
        ({"chain": "none"}, "chain"),
        ({"days": 31}, "days"),
        ({"domain": 'x"><evil'}, "domain"),
        ({"domain": "*.example.com"}, "domain"),
    ],
)
def test_dangerous_pins_are_refused(more, field):
    with pytest.raises(ValidationFailed) as caught:
        made(**more)
    assert list(caught.value.errors) == [field]


@given(st.text(max_size=60))
def test_no_backup_but_a_pin_gets_through(text):
    try:
        found = made(backups=[text])
    except ValidationFailed:
        return
    assert all(len(base64.b64decode(pin, validate=True)) == 32 for pin in found.backups)


def test_caa_records():
    account = "https://acme.example/acct/1"
    assert caa_records(
        "example.com", ["letsencrypt.org"], wildcard_issuers=["pki.example"], contact="sec@example.com", account=account
    ) == (
        f'example.com. IN CAA 0 issue "letsencrypt.org; accounturi={account}"\n'
        'example.com. IN CAA 0 issuewild "pki.example"\n'
        'example.com. IN CAA 0 iodef "mailto:sec@example.com"\n'
    )
    assert caa_records("example.com", []) == 'example.com. IN CAA 0 issue ";"\nexample.com. IN CAA 0 issuewild ";"\n'


@pytest.mark.parametrize(
    ("domain", "more", "field"),
    [
        ('x" evil', {}, "domain"),
        ("example.com", {"issuers": ['a"b']}, "issuers"),
        ("example.com", {"wildcard_issuers": ["nodot"]}, "wildcard_issuers"),
        ("example.com", {"contact": "javascript:x"}, "contact"),
        ("example.com", {"account": 'https://x"'}, "account"),
    ],
)
def test_records_keep_their_form(domain, more, field):
    with pytest.raises(ValidationFailed) as caught:
        caa_records(domain, **{"issuers": ["letsencrypt.org"]} | more)
    assert list(caught.value.errors) == [field]


def test_a_backup_may_be_the_pin_itself():
    pin = base64.b64encode(bytes(range(32))).decode()
    assert made(backups=[f" {pin}\n"]).backups == (pin,)
