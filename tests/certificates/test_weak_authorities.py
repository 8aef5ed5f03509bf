"""RSA of 2,048 bits certifies what ends soon; an authority made here needs more, and one that exists is taken and shown to be weak."""

import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from django.test import Client
from django.utils import timezone

from certificates.forms import AuthorityForm, ImportForm
from certificates.held_acts import RootForm
from certificates.models import Authority
from certificates.services import authorities, bringing, roots
from certificates.services.weaknesses import weakness_of_authority
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import ValidationFailed
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.certificates.conftest import csr, plan

WEAK = "RSA-2048-PSS-SHA256"
SAID = "RSA-2048-PSS-SHA256 has a strength of 112 bits, good until 31 December 2030: too weak for an authority."


@pytest.fixture
def weak_key(tree):
    return tree.make("short", "transport", WEAK, tree.kek)


def existing() -> tuple[bytes, str]:
    """A CA that somebody made elsewhere over RSA-2048: its key and its certificate in PEM."""
    private = rsa.generate_private_key(65537, 2048)
    subject, now = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old RSA CA")]),
        timezone.now().replace(microsecond=0),
    )
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key()).serial_number(7)
        .not_valid_before(now).not_valid_after(now + timedelta(days=3 * 365)).add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), False)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_of_the_table_s_signatures_only_rsa_2048_is_too_weak_for_an_authority():
    signatures = [name for name, row in ALGORITHMS.items() if row.kind is Kind.SIGNATURE]
    assert [name for name in signatures if weakness_of_authority(name)] == [WEAK]
    assert weakness_of_authority(WEAK) == SAID


def test_the_service_refuses_a_new_authority_over_rsa_2048_and_says_what_to_make(tree, weak_key):
    with pytest.raises(ValidationFailed) as error:
        authorities.create_authority(actor=tree.officer, plan=plan(tree, "short-ca", weak_key), reason="A test.")
    assert error.value.errors == {"key": [f"{SAID} {authorities.STRONGER}"]}
    assert not Authority.objects.exists()


def test_the_page_offers_such_a_key_for_an_import_alone(tree, weak_key):
    good = tree.make("long", "transport", "RSA-3072-PSS-SHA256", tree.kek)
    assert list(AuthorityForm(actor=tree.officer).fields["key"].queryset) == [good]
    assert set(ImportForm(actor=tree.officer).fields["key"].queryset) == {good, weak_key}


def test_the_api_refuses_it(tree, weak_key):
    client = bearer(token_of(make_person("olga", "security_officer")))
    body = {"ring": str(tree.ring.pk), "name": "short-ca", "title": "Short", "key": str(weak_key.pk), "reason": "A test."}  # fmt: skip
    answer = client.post("/api/v1/authorities", json.dumps(body), content_type="application/json")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"] == {"key": [f"{SAID} {authorities.STRONGER}"]}


def test_no_ceremony_founds_a_root_over_it(tree):
    assert WEAK not in dict(RootForm(actor=tree.officer).fields["algorithm"].choices)
    subject = {
        "ring": str(tree.ring.pk), "name": "short-root", "title": "Short", "organization": "", "algorithm": WEAK, "provider": "local",
        "parent": str(tree.kek.pk), "days": 3650, "crl_hours": 720,
    }  # fmt: skip
    with pytest.raises(ValidationFailed, match="too weak for an authority"):
        roots.may_found(actor=tree.officer, subject=subject)
    assert roots.may_found(actor=tree.officer, subject=subject | {"algorithm": "RSA-3072-PSS-SHA256"}) == tree.ring.pk


def test_an_existing_authority_over_rsa_2048_is_taken_works_and_is_shown_to_be_weak(tree):
    key_pem, certificate = existing()
    key = bringing.import_key(
        actor=tree.officer, ring=tree.ring, name="old", title="Old", parent=tree.kek, pem=SecretBytes(key_pem)
    )
    wanted = plan(tree, "old-ca", key, profiles=["server"], names={"dns": ["example.org"]})
    row = bringing.import_authority(actor=tree.officer, plan=wanted, certificate=certificate, reason="We take it over.")
    person = make_person("olga", "security_officer")  # alone before: nobody else had to agree
    api, browser = bearer(token_of(person)), sign_in(person)
    assert row.state == "active"
    assert row.certificate.weaknesses == [SAID]
    assert "Its key is weak" in browser.get(f"/certificates/authorities/{row.pk}/").text
    assert "RSA-2048-PSS-SHA256 at local" in (tree_page := browser.get("/certificates/authorities/").text)
    assert "a weak key" in tree_page
    assert "Old RSA CA" in browser.get("/certificates/?finding=weak").text.partition('id="list"')[2]
    assert api.get(f"/api/v1/authorities/{row.pk}").json()["weakness"] == SAID
    issue(api, row, "www.example.org")


def test_a_strong_authority_is_not_shown_to_be_weak(pki):
    browser = sign_in(make_person("olga", "security_officer"))
    assert "Its key is weak" not in browser.get(f"/certificates/authorities/{pki.root.pk}/").text
    assert "a weak key" not in browser.get("/certificates/authorities/").text


def test_a_certificate_may_have_a_key_of_rsa_2048(pki):
    private = rsa.generate_private_key(65537, 2048)
    client = bearer(token_of(make_person("olga", "security_officer")))
    issue(client, pki.servers, "www.example.org", private)


def issue(client: Client, authority: Authority, name: str, key: object = None) -> None:
    body = {"csr": csr(names=(x509.DNSName(name),), key=key).decode(), "profile": "server"}
    answer = client.post(f"/api/v1/authorities/{authority.pk}/issue", json.dumps(body), content_type="application/json")
    assert answer.status_code == 201, answer.text
