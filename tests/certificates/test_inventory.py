"""Certificates brought in from elsewhere."""

import time
from datetime import timedelta

import pytest
from asn1crypto import pkcs12 as asn1_pkcs12
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from cryptography.x509.oid import NameOID
from django.db import connection
from django.utils import timezone

from certificates.models import Certificate
from certificates.services import inventory, issuing, reading
from keyvault_portal.errors import PermissionRefused, ValidationFailed
from tests.certificates.conftest import pem


def made(name="www.example.net", key=None, days=90):
    private = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = timezone.now().replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now).not_valid_after(now + timedelta(days=days)).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    return private, certificate


def upload(tree, content, **more):
    return inventory.upload(actor=tree.officer, ring=tree.ring, content=content, **more)


def test_a_bundle_of_pem_is_taken_once(tree):
    bundle = (
        b"".join(made(f"h{n}.example.net")[1].public_bytes(Encoding.PEM) for n in range(3))
        + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    found = upload(tree, bundle)
    assert (len(found.rows), found.known, found.unreadable) == (3, 0, 1)
    assert {row.key_origin for row in found.rows} == {"unknown"}
    again = upload(tree, bundle)
    assert (len(again.rows), again.known) == (0, 3)


def test_weak_ones_shared_keys_and_keys_of_ours_are_told_apart(pki):
    private, _ = made()
    old = rsa.generate_private_key(65537, 2048)
    bundle = [
        made("a.example.net", private)[1],
        made("b.example.net", private)[1],
        made("c.example.net", old, days=4000)[1],
    ]
    upload(pki.tree, b"".join(item.public_bytes(Encoding.PEM) for item in bundle))
    rows = Certificate.objects.all()
    assert {str(row) for row in inventory.with_shared_keys(rows)} == {"a.example.net", "b.example.net"}
    assert [row.weaknesses for row in rows.exclude(weaknesses=[])] == [["Lives 4000 days."]]
    key = pki.tree.make("web", "transport", "ECDSA-P256-SHA256", pki.tree.kek)
    ours = issuing.issue_for_key(
        actor=pki.officer,
        authority_id=pki.servers.pk,
        key_id=key.pk,
        profile="server",
        names=[("dns", "www.example.org")],
    )
    assert ours.key_origin == "hierarchy"
    assert inventory.figures(rows) == {"due": 0, "weak": 1, "shared": 2, "keyless": 3}


def test_what_is_typed_finds_it(pki):
    row = pki.issue("dns:www.example.org")
    pki.issue("dns:mail.example.org")
    rows = Certificate.objects.all()
    colons = ":".join(row.fingerprint[n : n + 2] for n in range(0, 64, 2)).upper()
    beginnings = row.serial[:12], colons[:29]
    for text in ("www.example", row.serial, f"0{row.serial}".upper(), row.fingerprint, colons, *beginnings):
        assert [found.pk for found in reading.search(rows, text)] == [row.pk], text
    assert not reading.search(rows, "00000000"), "zeros are the beginning of no number"
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = reading.search(rows, row.serial[:12]).explain()
    for index in ("search", "serial", "fingerprint"):
        assert f"pki_certificate_{index}" in plan
    assert pem(row, *reading.chain_of(row)).count(b"BEGIN CERTIFICATE") == 3


def test_a_pkcs12_is_opened_and_its_key_is_not_kept(tree):
    private, certificate = made()
    content = pkcs12.serialize_key_and_certificates(
        b"x", private, certificate, None, BestAvailableEncryption(b"a password of it")
    )
    with pytest.raises(ValidationFailed, match="password"):
        upload(tree, content, password="another")
    [row] = upload(tree, content, password="a password of it").rows
    assert row.key_origin == "unknown"


def test_a_pkcs12_bomb_is_not_opened(tree):
    private, certificate = made()
    content = pkcs12.serialize_key_and_certificates(
        b"x", private, certificate, None, BestAvailableEncryption(b"a password of it")
    )
    pfx = asn1_pkcs12.Pfx.load(content)
    pfx["mac_data"]["iterations"] = 2**31 - 1
    begun = time.process_time()
    with pytest.raises(ValidationFailed, match="rounds"):
        upload(tree, pfx.dump(force=True), password="a password of it")
    assert time.process_time() - begun < 20
    inner = content.replace(_rounds_of(content), b"\x02\x04\x7f\xff\xff\xff"[: len(_rounds_of(content))])
    assert inner != content
    with pytest.raises(ValidationFailed):
        upload(tree, inner, password="a password of it")


def _rounds_of(content):
    """The encoded iteration count of the key bag's PBES2."""
    from asn1crypto import core

    for rounds in (20_000, 600_000, 2048, 100_000):
        encoded = core.Integer(rounds).dump()
        if encoded in content:
            return encoded
    raise AssertionError("no round count found")


def test_files_that_are_none(tree, auditor):
    for content in (
        b"",
        b"noise",
        b"0" * 100,
        b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
        b"x" * (2**20 + 1),
    ):
        with pytest.raises(ValidationFailed):
            upload(tree, content)
    with pytest.raises(PermissionRefused):
        inventory.upload(actor=auditor, ring=tree.ring, content=made()[1].public_bytes(Encoding.PEM))
