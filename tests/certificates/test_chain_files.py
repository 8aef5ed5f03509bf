"""The files of a whole chain, for servers that ask their clients for certificates."""

import pytest

from certificates import public_views
from certificates.models import Authority, CertificateList
from certificates.services import crls, revoking
from tests.certificates.conftest import SERVERS, make_authority, pem


@pytest.fixture(autouse=True)
def _fresh():
    public_views.forget()
    yield
    public_views.forget()


def test_a_chain_ends_with_the_root_and_has_it_once(pki, client):
    found = client.get("/pki/servers/chain.pem")
    assert found["Content-Type"] == "application/x-pem-file"
    assert found.content == pem(pki.servers.certificate, pki.root.certificate)
    assert client.get("/pki/root/chain.pem").content == pem(pki.root.certificate)
    assert client.get("/pki/nobody/chain.pem").status_code == 404


def test_openssl_checks_a_whole_chain_with_the_two_files(pki, client, openssl):
    parts = make_authority(pki.tree, "parts", pki.root, profiles=["server"], names=SERVERS, crl_partitions=3)
    good, bad = (pki.issue(f"dns:{name}.example.org", authority=parts) for name in ("good", "bad"))
    revoking.revoke_certificate(actor=pki.officer, certificate_id=bad.pk, reason="superseded")
    assert client.get("/pki/parts/crls.pem").status_code == 404  # half of the lists would refuse everybody
    crls.publish(parts.pk)
    assert client.get("/pki/parts/crls.pem").status_code == 404
    crls.publish(pki.root.pk)
    lists = client.get("/pki/parts/crls.pem")
    assert lists.content.count(b"BEGIN X509 CRL") == 4
    chain = client.get("/pki/parts/chain.pem").content
    for row, said in ((good, 0), (bad, 2)):
        found = openssl(
            "verify", "-crl_check_all", "-extended_crl", "-CAfile", chain, "-CRLfile", lists.content, pem(row)
        )
        assert found.returncode == said, found.stderr
    soonest = CertificateList.objects.order_by("next_update").first().next_update
    assert f"{soonest:%d %b %Y %H:%M:%S}" in lists["Expires"]


def test_lists_of_an_authority_above_that_is_not_here_are_not_promised(pki, client):
    crls.publish(pki.servers.pk)
    crls.publish(pki.root.pk)
    assert client.get("/pki/servers/crls.pem").status_code == 200
    Authority.objects.filter(pk=pki.root.pk).update(certificate=None, state="pending")
    public_views.forget()
    assert client.get("/pki/servers/crls.pem").status_code == 404
