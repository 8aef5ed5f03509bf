"""What the portal signs, judged by the openssl that everybody has."""

import base64
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.services import answering, crls, issuing, revoking, status
from keys.crypto.algorithms import ALGORITHMS
from tests.certificates.conftest import SERVERS, crl_pem, make_authority, pem, refreshed, with_responder


def publish(pki):
    for authority in (pki.root, pki.servers, pki.clients):
        crls.publish(authority.pk)


def verify(openssl, pki, row, *more):
    return openssl(
        "verify", "-crl_check_all", "-CAfile", pem(pki.root.certificate), "-untrusted", pem(row.issued_under),
        "-CRLfile", crl_pem(pki.root) + crl_pem(row.authority), *more, pem(row),
    )  # fmt: skip


def test_a_chain_is_verified_with_its_crls_until_the_leaf_is_revoked(pki, openssl):
    server = pki.issue("dns:www.example.org", "ip:10.1.2.3")
    client = pki.issue("uri:spiffe://example.org/service/payments", profile="client", common_name="payments")
    publish(pki)
    for row, purpose in ((server, "sslserver"), (client, "sslclient")):
        found = verify(openssl, pki, row, "-purpose", purpose, "-x509_strict")
        assert found.returncode == 0, found.stderr
    assert verify(openssl, pki, server, "-purpose", "sslclient").returncode != 0
    revoking.revoke_certificate(
        actor=pki.officer, certificate_id=server.pk, reason="key_compromise", note="Found on a desk."
    )
    publish(pki)
    found = verify(openssl, pki, server)
    assert found.returncode != 0
    assert "certificate revoked" in found.stderr
    assert verify(openssl, pki, client).returncode == 0


def test_a_hold_is_taken_back(pki, openssl):
    row = pki.issue("dns:www.example.org")
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="certificate_hold")
    publish(pki)
    assert "Certificate Hold" in openssl("crl", "-text", "-noout", "-in", crl_pem(pki.servers)).stdout
    assert verify(openssl, pki, row).returncode != 0
    revoking.release_certificate(actor=pki.officer, certificate_id=row.pk)
    publish(pki)
    assert verify(openssl, pki, row).returncode == 0


def test_the_leaf_reads_as_the_profile_says(pki, openssl):
    row = pki.issue("dns:www.example.org", days=90)
    text = openssl("x509", "-text", "-noout", "-in", pem(row)).stdout
    for line in (
        "Subject: CN = www.example.org", "CA:FALSE", "TLS Web Server Authentication", "DNS:www.example.org", "Digital Signature",
        "URI:http://localhost", "/pki/servers/crl", "OCSP - URI:", "/pki/servers/ca.cer",
    ):  # fmt: skip
        assert line in text, text
    text = openssl("x509", "-text", "-noout", "-in", pem(pki.servers.certificate)).stdout
    for line in (
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
        "Permitted:",
        "DNS:example.org",
        "IP:10.0.0.0/255.0.0.0",
    ):
        assert line in text, text


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_openssl_ocsp_believes_the_delegate(pki, openssl, tmp_path, digest):
    authority = with_responder(pki.servers)
    row = pki.issue("dns:www.example.org")
    status.presign([row.pk])

    def ask(*more):
        request = tmp_path / "request"
        made = openssl(
            "ocsp", f"-{digest}", "-issuer", pem(authority.certificate), "-cert", pem(row), "-reqout", request, *more
        )
        assert made.returncode == 0, made.stderr
        raw, _ = answering.answer(answering.Answerer(authority), request.read_bytes())
        assert _nonce(x509.ocsp.load_der_ocsp_request(request.read_bytes())) == _nonce(
            x509.ocsp.load_der_ocsp_response(raw)
        )
        return openssl(
            "ocsp", f"-{digest}", "-respin", raw, "-issuer", pem(authority.certificate), "-cert", pem(row), "-CAfile",
            pem(pki.root.certificate), "-verify_other", pem(authority.certificate), "-no_nonce",
        )  # fmt: skip

    for nonce in ("-nonce", "-no_nonce"):
        found = ask(nonce)
        assert "Response verify OK" in found.stdout + found.stderr, found
        assert ": good" in found.stdout
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="superseded")
    answering.forget()
    for nonce in ("-nonce", "-no_nonce"):  # the answer kept from before is never served again
        found = ask(nonce)
        assert ": revoked" in found.stdout
        assert "Reason: superseded" in found.stdout


def _nonce(message):
    try:
        return message.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None


def test_partitioned_lists_hold_only_their_own(tree, openssl):
    root = make_authority(tree, "root", path_length=1)
    parts = make_authority(tree, "parts", root, profiles=["server"], names=SERVERS, crl_partitions=4)
    rows = [_issue(tree, parts, f"dns:h{number}.example.org") for number in range(8)]
    for row in rows[:4]:
        revoking.revoke_certificate(actor=tree.officer, certificate_id=row.pk, reason="superseded")
    crls.publish(root.pk)
    assert len(crls.publish(parts.pk)) == 4
    for row in rows:
        found = openssl(
            "verify", "-crl_check", "-extended_crl", "-CAfile", pem(root.certificate), "-untrusted", pem(parts.certificate), "-CRLfile",
            crl_pem(parts, row.partition), pem(row),
        )  # fmt: skip
        assert (found.returncode != 0) == (row in rows[:4]), found.stderr
        other = crl_pem(parts, (row.partition + 1) % 4)
        assert (
            openssl(
                "verify",
                "-crl_check",
                "-extended_crl",
                "-CAfile",
                pem(root.certificate),
                "-untrusted",
                pem(parts.certificate),
                "-CRLfile",
                other,
                pem(row),
            ).returncode
            != 0
        )


def _issue(tree, authority, *names):
    from tests.certificates.conftest import csr

    wanted = [(kind, value) for kind, _, value in (name.partition(":") for name in names)]
    order = issuing.order_from_csr(csr(), profile="server", names=wanted)
    return issuing.issue_certificate(actor=tree.officer, authority_id=authority.pk, order=order)


def test_a_delta_list_says_what_changed_since_the_full_one(tree, openssl):
    root = make_authority(tree, "root")
    authority = make_authority(tree, "deltas", root, profiles=["server"], names=SERVERS, delta_crls=True)
    held, revoked = _issue(tree, authority, "dns:a.example.org"), _issue(tree, authority, "dns:b.example.org")
    revoking.revoke_certificate(actor=tree.officer, certificate_id=held.pk, reason="certificate_hold")
    crls.publish(authority.pk)
    revoking.release_certificate(actor=tree.officer, certificate_id=held.pk)
    revoking.revoke_certificate(actor=tree.officer, certificate_id=revoked.pk, reason="superseded")
    made = crls.publish_delta(authority.pk)
    assert made is not None
    text = openssl("crl", "-text", "-noout", "-in", crl_pem(authority, kind="delta")).stdout
    assert "Remove From CRL" in text
    assert "Superseded" in text
    assert "X509v3 Delta CRL Indicator: critical" in text
    for row, good in ((held, True), (revoked, False)):
        found = openssl(
            "verify", "-crl_check", "-extended_crl", "-use_deltas", "-CAfile", pem(root.certificate), "-untrusted", pem(authority.certificate),
            "-CRLfile", crl_pem(authority) + crl_pem(authority, kind="delta"), pem(row),
        )  # fmt: skip
        assert (found.returncode == 0) == good, found.stderr


@pytest.mark.parametrize("algorithm", ["ECDSA-P384-SHA384", "RSA-3072-PSS-SHA256", "Ed25519", "ML-DSA-65"])
def test_every_kind_of_key_signs_certificates_lists_and_answers(tree, algorithm):
    root = make_authority(tree, "root", algorithm=algorithm, profiles=["server"], names=SERVERS)
    row = _issue(tree, root, "dns:www.example.org")
    implementation = ALGORITHMS[algorithm].implementation
    public = x509.load_der_x509_certificate(bytes(root.certificate.der)).public_key()
    for raw in (bytes(row.der), bytes(root.certificate.der)):
        found = x509.load_der_x509_certificate(raw)
        implementation.verify(public, found.tbs_certificate_bytes, found.signature)
    made = x509.load_der_x509_crl(bytes(crls.publish(root.pk)[0].der))
    implementation.verify(public, made.tbs_certlist_bytes, made.signature)


def test_a_key_made_here_comes_as_pkcs12_that_openssl_opens(pki, openssl, tmp_path: Path):
    row, bundle = issuing.issue_with_new_key(
        actor=pki.officer, authority_id=pki.servers.pk, profile="server", names=[("dns", "www.example.org")], common_name="",
        algorithm="ECDSA-P256-SHA256", password="correct horse battery", form="pkcs12",
    )  # fmt: skip
    found = openssl("pkcs12", "-in", bundle.content.reveal(), "-passin", "pass:correct horse battery", "-nodes")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("BEGIN CERTIFICATE") == 3
    assert "BEGIN PRIVATE KEY" in found.stdout
    assert (
        openssl("pkcs12", "-in", bundle.content.reveal(), "-passin", "pass:wrong horse battery", "-nodes").returncode
        != 0
    )
    assert refreshed(row).key_origin == "handed_over"


def test_the_get_form_of_ocsp_is_the_same_question(pki):
    from certificates import ocsp

    raw = x509.ocsp.OCSPRequestBuilder().add_certificate(
        x509.load_der_x509_certificate(bytes(pki.servers.certificate.der)), x509.load_der_x509_certificate(bytes(pki.root.certificate.der)),
        x509.load_der_x509_certificate(bytes(pki.root.certificate.der)).signature_hash_algorithm,
    ).build().public_bytes(Encoding.DER)  # fmt: skip
    assert ocsp.from_path(quote(base64.b64encode(raw).decode(), safe="")) == raw
