"""A root authority whose key never comes here: made at an HSM or a KMS, which signs its certificate as the ceremony asks for it."""

from uuid import uuid4

import pytest
from cryptography import x509

from certificates.models import Authority
from keys.models import Key
from keyvault_portal.approvals import held_acts
from keyvault_portal.approvals.held_acts import NotYet
from tests.provider_services.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("kind", ["pkcs11", "vault_transit"])
def test_the_provider_signs_the_root(organisation, lay, portal, kind):
    """The held act, as the room's two steps call it: the key first, then the certificate; asked twice, the same."""
    ground = lay(kind)
    portal(ground)
    ground.register(organisation)
    ada, ceremony = organisation.actor("ada"), uuid4()
    subject = {
        "title": "Example Root CA", "name": "example-root", "organization": "Example", "ring": str(organisation.ring.pk),
        "algorithm": "ECDSA-P256-SHA256", "provider": ground.alias, "parent": str(organisation.keys["kek"].pk), "days": 3650, "crl_hours": 2160,
    }  # fmt: skip
    act = held_acts.find("certificates.root")
    assert act is not None
    assert act.check(actor=ada, subject=subject) == organisation.ring.pk
    with pytest.raises(NotYet):
        act.prepare(actor=ada, subject=subject, ceremony_id=ceremony)
    with pytest.raises(NotYet):
        act.prepare(actor=ada, subject=subject, ceremony_id=ceremony)
    key = Key.objects.get(name="example-root-root-key")
    assert work(key).state == "done"
    prepared = act.prepare(actor=ada, subject=subject, ceremony_id=ceremony)
    signed = act.perform(actor=ada, subject=subject, ceremony_id=ceremony)
    assert act.perform(actor=ada, subject=subject, ceremony_id=ceremony) == signed
    authority = Authority.objects.select_related("certificate").get()
    assert authority.certificate is not None
    certificate = x509.load_der_x509_certificate(bytes(authority.certificate.der))
    certificate.verify_directly_issued_by(certificate)
    assert (authority.certificate.spki_sha256, authority.certificate.fingerprint) == (
        prepared["public_key_sha256"], signed["fingerprint"],
    )  # fmt: skip
    assert (key.provider, prepared["provider"]) == (ground.alias, ground.alias)
    assert [version.wrapped_material for version in key.versions.all()] == [None], "nothing of the key is here"
