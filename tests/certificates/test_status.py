"""The public addresses with real clients, and what they serve when keys are away."""

import subprocess
from urllib.parse import quote

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from django.db import connection
from django.test import Client

from certificates import ocsp as our_ocsp
from certificates import public_views
from certificates.models import Authority, Certificate, IssuanceGrant, OcspAnswer
from certificates.services import crls, revoking, signers, status
from certificates.tasks import tick
from keys.models import KeyProvider
from keys.providers import registry
from keys.services import creation
from keys.services.policies import PolicyValues
from keyvault_portal.errors import ProviderUnavailable
from tests.certificates.conftest import Hierarchy, crl_pem, make_authority, pem, refreshed, with_responder
from tests.provider_services.conftest import work


@pytest.fixture(autouse=True)
def _fresh():
    public_views.forget()
    yield
    public_views.forget()


def question(row, issuer, nonce=None, digest=None):
    der = [x509.load_der_x509_certificate(bytes(item.der)) for item in (row, issuer)]
    builder = ocsp.OCSPRequestBuilder().add_certificate(*der, digest or hashes.SHA1())
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def ask(client, authority, raw):
    response = client.post(f"/pki/{authority.name}/ocsp", raw, content_type="application/ocsp-request")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/ocsp-response"
    return ocsp.load_der_ocsp_response(response.content), response


def test_everything_a_certificate_names_is_there(pki, client):
    with_responder(pki.servers)
    row = pki.issue("dns:www.example.org")
    crls.publish(pki.servers.pk)
    certificate = x509.load_der_x509_certificate(bytes(row.der))
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    urls = {item.access_method._name: item.access_location.value for item in access}
    point = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0].full_name[0].value
    issuer = client.get(_path(urls["caIssuers"]))
    assert issuer.content == bytes(pki.servers.certificate.der)
    listed = client.get(_path(point))
    assert x509.load_der_x509_crl(listed.content).is_signature_valid(
        x509.load_der_x509_certificate(issuer.content).public_key()
    )
    assert "max-age=" in listed["Cache-Control"]
    assert "public" in listed["Cache-Control"]
    assert client.get(_path(point), headers={"If-None-Match": listed["ETag"]}).status_code == 304
    for path in ("/pki/nobody/ca.cer", "/pki/nobody/crl", "/pki/servers/crl/7", "/pki/servers/crl/delta"):
        assert client.get(path).status_code == 404
    assert client.post("/pki/servers/crl").status_code == 405


def _path(url):
    return "/" + url.split("/", 3)[3]


def test_answers_are_signed_beforehand_and_change_with_the_certificate(pki, client):
    authority = with_responder(pki.servers)
    row = pki.issue("dns:www.example.org")
    status.presign([row.pk])
    raw = question(row, authority.certificate)
    found, response = ask(client, authority, raw)
    assert found.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert response.content == bytes(OcspAnswer.objects.get(certificate=row, digest="sha1").der)
    assert "public" in response["Cache-Control"]
    by_get = client.get(f"/pki/servers/ocsp/{quote(__import__('base64').b64encode(raw).decode(), safe='')}")
    assert by_get.content == response.content
    answers, _ = ask(client, authority, question(row, authority.certificate, nonce=b"n" * 32))
    assert answers.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    [delegate] = answers.certificates
    assert delegate.extensions.get_extension_for_class(x509.OCSPNoCheck)
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="key_compromise")
    public_views.forget()
    found, response = ask(client, authority, raw)
    assert found.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert found.revocation_reason is x509.ReasonFlags.key_compromise


def test_a_question_about_an_unknown_issuer_is_not_answered(pki, client):
    authority = with_responder(pki.servers)
    row = pki.issue("dns:www.example.org")
    answer = ask(client, authority, question(row, pki.root.certificate))[0]
    assert answer.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_bad_questions(pki, client):
    authority = with_responder(pki.servers)
    row = pki.issue("dns:www.example.org")
    assert ask(client, authority, b"noise")[0].response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    assert ask(client, authority, b"x" * 5000)[0].response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    stranger = question(pki.root.certificate, authority.certificate)  # a serial number that it never issued
    assert ask(client, authority, stranger)[0].response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED
    with_long_nonce = question(row, authority.certificate, nonce=b"n" * 33)
    assert ask(client, authority, with_long_nonce)[0].response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    response = client.get("/pki/servers/ocsp/%21%21%21")
    assert response.content == our_ocsp.MALFORMED


def _several(*questions):
    """Requests for one certificate each, as one for all of them (RFC 6960, 4.1.1)."""
    listed = [asn1_ocsp.OCSPRequest.load(raw)["tbs_request"]["request_list"][0] for raw in questions]
    return asn1_ocsp.OCSPRequest({"tbs_request": {"request_list": listed}}).dump()


def test_one_request_for_several_certificates_is_answered_for_all(pki, client, openssl):
    authority = with_responder(pki.servers)
    good, bad, stranger = (pki.issue(f"dns:{name}.example.org") for name in ("www", "mail", "unknown"))
    revoking.revoke_certificate(actor=pki.officer, certificate_id=bad.pk, reason="superseded")
    client_row = pki.issue("uri:spiffe://example.org/a", authority=pki.clients, profile="spiffe")
    asked = [
        question(good, authority.certificate), question(bad, authority.certificate, digest=hashes.SHA256()),
        question(client_row, pki.clients.certificate),
    ]  # fmt: skip
    answer, response = ask(client, authority, _several(*asked))
    found = [(item.serial_number, item.certificate_status.name) for item in answer.responses]
    assert found == [
        (int(good.serial, 16), "GOOD"),
        (int(bad.serial, 16), "REVOKED"),
        (int(client_row.serial, 16), "UNKNOWN"),
    ]
    assert "no-store" in response["Cache-Control"]
    assert stranger.serial not in str(found)
    malformed, _ = ask(client, authority, _several(*asked * 7))
    assert malformed.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    none, _ = ask(client, authority, _several(asked[2], asked[2]))
    assert none.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_openssl_reads_an_answer_for_several(pki, client, openssl, tmp_path):
    authority = with_responder(pki.servers)
    rows = [pki.issue(f"dns:{name}.example.org") for name in ("www", "mail")]
    request = tmp_path / "request.der"
    wanted = [word for row in rows for word in ("-cert", pem(row))]
    made = openssl("ocsp", "-issuer", pem(authority.certificate), *wanted, "-nonce", "-reqout", request)
    assert made.returncode == 0, made.stderr
    asked = asn1_ocsp.OCSPRequest.load(request.read_bytes())
    answer, response = ask(client, authority, request.read_bytes())
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == asked.nonce_value.native
    said = openssl(
        "ocsp", "-respin", response.content, "-no_nonce", "-issuer", pem(authority.certificate), *wanted, "-CAfile",
        pem(pki.root.certificate, authority.certificate),
    )  # fmt: skip
    assert said.stdout.count(": good") == 2, said.stdout + said.stderr
    assert "Response verify OK" in said.stdout + said.stderr


def test_signatures_on_demand_are_rationed_and_kept_answers_are_not(pki, client, settings):
    settings.OCSP_SIGNATURES_A_MINUTE = 0
    authority = with_responder(pki.servers)
    row = pki.issue("dns:www.example.org")
    nonce = question(row, authority.certificate, nonce=b"n" * 16)
    assert ask(client, authority, nonce)[0].response_status is ocsp.OCSPResponseStatus.TRY_LATER
    status.presign([row.pk])
    found, _ = ask(client, authority, nonce)
    assert found.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert not list(found.extensions)


@pytest.fixture
def far_pki(places, tree, monkeypatch, request) -> Hierarchy:
    """The authority's key at a real HSM or KMS; everything else as ever."""
    place = places[request.param]
    build = registry.build
    monkeypatch.setattr(
        registry,
        "build",
        lambda kind, alias, values: build(kind, alias, values) if alias == "local" else place.provider,
    )
    alias, place.provider.alias = place.provider.alias, "far"
    registry.forget()
    KeyProvider.objects.create(alias="far", kind=request.param, title="Far", created_by="test")
    key = creation.create_key(
        actor=tree.officer, ring=tree.ring, name="far-ca", title="Far CA", kind="transport", algorithm="ECDSA-P256-SHA256", parent=tree.kek,
        provider="far", policy=PolicyValues(cryptoperiod_days=3000, destroy_roles=["security_officer"]),
    )  # fmt: skip
    work(key, "create")
    monkeypatch.setattr(
        tree,
        "make",
        lambda name, *args, made=tree.make, **more: key if name == "far-ca-key" else made(name, *args, **more),
    )
    authority = make_authority(tree, "far-ca", profiles=["server"], names={"dns": ["example.org"]})
    yield Hierarchy(tree, authority, with_responder(authority), authority)
    place.provider.alias = alias


@pytest.mark.needs_softhsm
@pytest.mark.parametrize("far_pki", ["pkcs11", "vault_transit"], indirect=True)
def test_an_authority_in_an_hsm_issues_and_its_outage_stops_no_answer(far_pki, openssl, client, monkeypatch):
    authority = far_pki.servers
    assert authority.key.provider == "far"
    row = far_pki.issue("dns:www.example.org")
    crls.publish(authority.pk)
    status.presign([row.pk])
    found = openssl(
        "verify", "-crl_check", "-CAfile", pem(authority.certificate), "-CRLfile", crl_pem(authority), pem(row)
    )
    assert found.returncode == 0, found.stderr

    sign = signers._sign

    def outage(key_id, number, message):
        if key_id == authority.key_id:
            raise ProviderUnavailable("The HSM is away.")
        return sign(key_id, number, message)

    monkeypatch.setattr(signers, "_sign", outage)
    raw = question(row, authority.certificate)
    assert ask(client, authority, raw)[0].certificate_status is ocsp.OCSPCertStatus.GOOD
    assert (
        ask(client, authority, question(row, authority.certificate, nonce=b"n" * 16))[0].certificate_status
        is ocsp.OCSPCertStatus.GOOD
    )
    revoking.revoke_certificate(actor=far_pki.officer, certificate_id=row.pk, reason="superseded")
    public_views.forget()
    assert (
        ask(client, authority, raw)[0].certificate_status is ocsp.OCSPCertStatus.REVOKED
    )  # its delegate's key is here
    with pytest.raises(ProviderUnavailable):
        far_pki.issue("dns:again.example.org")
    Authority.objects.filter(pk=authority.pk).update(next_crl_at="2020-01-01T00:00:00Z")
    assert crls.tick() == 0
    assert "away" in refreshed(authority).crl_error
    monkeypatch.setattr(signers, "_sign", sign)
    Authority.objects.filter(pk=authority.pk).update(next_crl_at="2020-01-01T00:00:00Z")
    assert crls.tick() == 1
    assert refreshed(authority).crl_error == ""


def test_the_tick_renews_what_runs_out(pki):
    rows = [pki.issue("dns:www.example.org"), pki.issue("uri:spiffe://example.org/a", profile="spiffe")]
    tick()
    for authority in Authority.objects.all():
        assert authority.responder_id
        assert crls.newest(authority, 0)
        assert authority.next_crl_at > authority.created_at
    assert OcspAnswer.objects.filter(certificate__in=rows).count() == 4
    before = dict(OcspAnswer.objects.values_list("pk", "this_update"))
    tick()
    assert dict(OcspAnswer.objects.values_list("pk", "this_update")) == before
    OcspAnswer.objects.update(this_update="2020-01-01T00:00:00Z")
    responder = refreshed(pki.servers).responder
    Certificate.objects.filter(pk=responder.pk).update(not_before="2020-01-01T00:00:00Z")
    IssuanceGrant.objects.create(
        authority=pki.servers,
        serial="abc",
        profile="server",
        tbs_sha256="0" * 64,
        state="spent",
        spent_at="2020-01-01T00:00:00Z",
        requested_by="x",
    )
    tick()
    assert not OcspAnswer.objects.filter(this_update__lt="2021-01-01T00:00:00Z").exists()
    assert refreshed(pki.servers).responder_id != responder.pk
    assert IssuanceGrant.objects.get(serial="abc").state == "lost"


@pytest.mark.django_db(transaction=True)
def test_openssl_asks_the_running_responder(live_server, tree, settings, openssl, tmp_path):
    settings.PKI_ORIGIN = live_server.url
    root = make_authority(tree, "root", profiles=["server"], names={"dns": ["example.org"]})
    authority = with_responder(root)
    row = Hierarchy(tree, root, root, root).issue("dns:www.example.org")
    url = f"{live_server.url}/pki/root/ocsp"
    for words in ([], ["-no_nonce"], ["-sha256"]):
        found = openssl(
            "ocsp",
            *words,
            "-url",
            url,
            "-issuer",
            pem(authority.certificate),
            "-cert",
            pem(row),
            "-CAfile",
            pem(authority.certificate),
        )
        assert isinstance(found, subprocess.CompletedProcess)
        assert "Response verify OK" in found.stderr + found.stdout, found
        assert ": good" in found.stdout
    connection.close()


def test_a_sealed_portal_still_says_who_is_revoked(pki, monkeypatch):
    from keys.services import seal_watch
    from keyvault_portal.errors import Sealed

    with_responder(pki.servers)
    row = pki.issue("dns:www.example.org")
    status.presign([row.pk])

    def sealed():
        raise Sealed

    monkeypatch.setattr(seal_watch, "require_open", sealed)
    found, _ = ask(Client(), pki.servers, question(row, pki.servers.certificate))
    assert found.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert Client().get("/certificates/").status_code == 503
