"""What exists elsewhere: an authority keeps what its certificate says, and a certificate lent to another CA can be taken back."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from django.utils import timezone

from certificates.models import Authority
from certificates.services import bringing, crls, grants
from keys.crypto.secret import SecretBytes
from tests.api.conftest import make_person, sign_in
from tests.certificates.conftest import crl_pem, make_authority, pem
from tests.certificates.test_acts import elsewhere


def long_lived() -> tuple[bytes, str]:
    """A CA for 30 years, longer than one made here may live."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    key_pem, _ = elsewhere()
    private = load_pem_private_key(key_pem, None)
    words = ((NameOID.ORGANIZATION_NAME, "Ministry"), (NameOID.COMMON_NAME, "Old State CA"))
    subject = x509.Name([x509.NameAttribute(*pair) for pair in words])
    now = timezone.now().replace(microsecond=0)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key()).serial_number(9)
        .not_valid_before(now).not_valid_after(now + timedelta(days=30 * 365)).add_extension(x509.BasicConstraints(True, 3), True)
        .sign(private, hashes.SHA384())
    )  # fmt: skip
    return key_pem, made.public_bytes(Encoding.PEM).decode()


def test_the_page_of_an_import_asks_for_nothing_that_the_certificate_says(tree):
    browser = sign_in(make_person("olga", "security_officer"))
    key_pem, certificate = long_lived()
    key = bringing.import_key(
        actor=tree.officer, ring=tree.ring, name="old", title="Old", parent=tree.kek, pem=SecretBytes(key_pem)
    )
    page = browser.get(f"/certificates/authorities/import/?key={key.pk}").text
    assert [name for name in ("title", "organization", "days", "path_length") if f'name="{name}"' in page] == []
    form = {
        "certificate": certificate, "key": str(key.pk), "name": "old-state", "profiles": ["server"], "dns": "example.org", "crl_hours": "168",
        "crl_partitions": "1", "reason": "We take it over.",
    }  # fmt: skip
    assert browser.post("/certificates/authorities/import/", form).status_code == 302
    row = Authority.objects.get(name="old-state")
    assert (row.title, row.organization, row.path_length, row.state) == ("Old State CA", "Ministry", 3, "active")
    assert row.days == 30 * 365 - 1


@pytest.fixture
def lent(tree):
    """A certificate of ours for somebody else's CA."""
    root = make_authority(tree, "root", path_length=1)
    grant = bringing.cross_sign(
        actor=tree.officer, authority_id=root.pk, certificate=elsewhere(path_length=0)[1], days=365, reason="A merger."
    )
    return root, grants.redeem_open(grant.pk)


def test_a_certificate_lent_to_another_authority_is_taken_back(tree, lent, openssl):
    root, row = lent
    browser = sign_in(make_person("olga", "security_officer"))
    assert "Revoke…" in browser.get(f"/certificates/{row.pk}/").text
    answer = browser.post(f"/certificates/{row.pk}/revoke/", {"reason": "cessation_of_operation", "note": "Over."})
    assert answer.status_code == 302
    crls.publish(root.pk)
    found = openssl("verify", "-crl_check", "-CAfile", pem(root.certificate), "-CRLfile", crl_pem(root), pem(row))
    assert "certificate revoked" in found.stderr
    assert "Revoke…" not in browser.get(f"/certificates/{row.pk}/").text


def test_an_authority_s_own_certificate_ends_with_the_authority_alone(tree):
    root = make_authority(tree, "root", path_length=1)
    below = make_authority(tree, "below", root)
    browser = sign_in(make_person("olga", "security_officer"))
    assert "Revoke…" not in browser.get(f"/certificates/{below.certificate_id}/").text
