"""Everything of an authority, an owner or a key ends at once; who agrees to it reads whose certificates."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certificates.approval_operations import RevokeMany
from certificates.models import Authority, Certificate
from certificates.renewal import revoking as at_ca
from certificates.services import issuing, revoking
from keyvault_portal.accounts.models import Person
from keyvault_portal.errors import ApprovalRequired, NotFound, ValidationFailed, WrongState
from tests.certificates.conftest import csr, refreshed
from tests.certificates.test_acts import agree, officer_named


@pytest.mark.parametrize("by", ["owner", "key"])
def test_who_agrees_reads_whose_certificates_end(pki, by):
    person = Person.objects.create_person(email="asta@example.org", name="Asta")
    row = pki.issue("dns:www.example.org", owner_id=person.pk)
    value = str(person.pk) if by == "owner" else row.spki_sha256
    act = RevokeMany().build_act({"by": by, "value": value, "ring_id": None, "reason": "superseded", "note": "A test."})
    whose = "of Asta <asta@example.org>" if by == "owner" else f"with the key {row.spki_sha256}"
    assert act.target_label == f"certificates {whose}"
    assert act.consequences == [f"1 certificate {whose} ends for good: superseded."]


def test_a_compromised_authority_takes_everything_below_with_it(pki):
    rows = [pki.issue("dns:www.example.org"), pki.issue("uri:spiffe://example.org/a", profile="spiffe")]
    asks, first, second = officer_named("Asta"), officer_named("Bo"), officer_named("Cy")
    with pytest.raises(ApprovalRequired) as waiting:
        revoking.revoke_authority(actor=asks, authority_id=pki.root.pk, note="The key was copied.")
    state, request = agree(waiting, first, second)
    assert state == "executed"
    assert request.consequences[0].startswith("5 certificates")
    assert set(Authority.objects.values_list("state", flat=True)) == {"revoked"}
    for row in rows:
        assert (refreshed(row).state, refreshed(row).reason) == ("revoked", "ca_compromise")
    assert refreshed(pki.servers.certificate).state == "revoked"
    with pytest.raises(WrongState):
        pki.issue("dns:www.example.org")


def test_an_intermediate_that_falls_alone_is_revoked_by_its_issuer(pki):
    pki.issue("dns:www.example.org")
    assert revoking.consequences(pki.servers) == [
        "1 certificate that still lives is revoked, reason CA compromise.",
        "Its own certificate is revoked by its issuer.",
        "It never issues again.",
    ]
    revoking.revoke_authority(actor=pki.officer, authority_id=pki.servers.pk, note="The key was copied.")
    own = refreshed(pki.servers.certificate)
    assert (own.state, own.reason, own.reason_words) == ("revoked", "ca_compromise", "CA compromise")
    assert (refreshed(pki.root).state, refreshed(pki.root.certificate).state) == ("active", "valid")


def test_everything_of_an_owner_and_everything_with_a_key(pki):
    owner = officer_named("Asta")
    private = ec.generate_private_key(ec.SECP256R1())
    for number in range(3):
        order = issuing.order_from_csr(
            csr(names=(x509.DNSName(f"h{number}.example.org"),), key=private), profile="server", owner_id=owner.id
        )
        row = issuing.issue_certificate(actor=pki.officer, authority_id=pki.servers.pk, order=order)
    other = pki.issue("dns:other.example.org")
    with pytest.raises(NotFound):
        at_ca.revoke_many(
            actor=pki.officer, by="key", value="0" * 64, ring_id=None, reason="key_compromise", note="Lost."
        )
    with pytest.raises(ApprovalRequired) as waiting:
        at_ca.revoke_many(
            actor=officer_named("Bo"),
            by="key",
            value=row.spki_sha256,
            ring_id=pki.tree.ring.pk,
            reason="key_compromise",
            note="Lost.",
        )
    assert agree(waiting, owner)[0] == "executed"
    assert Certificate.objects.filter(state="revoked").count() == 3
    assert refreshed(other).state == "valid"
    with pytest.raises(ValidationFailed, match="revoked as compromised"):
        order = issuing.order_from_csr(csr(names=(x509.DNSName("again.example.org"),), key=private), profile="server")
        issuing.issue_certificate(actor=pki.officer, authority_id=pki.servers.pk, order=order)
