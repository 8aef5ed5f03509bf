"""Whoever destroys or rotates a key is told which authority and which certificates stand on it, in numbers."""

import pytest

from certificates.services import issuing
from keys.services import lifecycle, rotation
from keys.services.dependents import dependents_of
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, Conflict
from tests.certificates.conftest import refreshed, with_responder
from tests.certificates.test_acts import officer_named


def test_the_key_of_an_authority(pki):
    pki.issue("dns:a.example.org")
    pki.issue("dns:b.example.org")
    version = pki.servers.key_version
    said = lifecycle.consequences(version)
    assert said[0].startswith("It is the key of the authority Servers with 2 live certificates: it never issues again")
    assert "it can neither issue nor sign a CRL" not in said[0]
    assert "roll over" in dependents_of(version).when_rotated[0]
    lifecycle.introduce_version(actor=pki.officer, key_id=pki.servers.key_id, activate=True)
    with pytest.raises(Conflict) as refused:
        lifecycle.schedule_deletion(actor=pki.officer, version_id=version.pk, reason="Tidying up.")
    assert refused.value.extra["consequences"][0] == said[0]


def test_the_key_of_a_responder(pki):
    row = with_responder(pki.servers)
    version = row.responder.key.current
    assert lifecycle.consequences(version)[0] == "It signs the OCSP answers of the authority Servers."


def test_the_key_of_a_certificate(pki):
    key = pki.tree.make("www", "transport", "ECDSA-P256-SHA256", pki.tree.kek)
    assert dependents_of(refreshed(key).current) == dependents_of(pki.tree.dek.versions.get())
    issuing.issue_for_key(
        actor=pki.officer,
        authority_id=pki.servers.pk,
        key_id=key.pk,
        profile="server",
        names=[("dns", "www.example.org")],
    )
    said = dependents_of(refreshed(key).current)
    assert said.when_destroyed[0].startswith("1 live certificate holds this key")
    assert said.when_rotated[0].startswith("1 live certificate holds the present version")


def test_approvers_of_a_rotation_read_it(pki):
    asks, _ = officer_named("Asta"), officer_named("Bo")
    pki.servers.key.policy.rotate_groups = [{"role": "security_officer", "threshold": 1}]
    pki.servers.key.policy.save()
    with pytest.raises(ApprovalRequired) as waiting:
        rotation.request_rotation(actor=asks, key_id=pki.servers.key_id, reason="It is a year old.")
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    assert any(
        "It is the key of the authority Servers with 0 live certificates" in line for line in request.consequences
    )


def test_a_rotation_is_not_decommissioned_while_an_authority_stands_on_the_old_version(pki):
    row = rotation.request_rotation(actor=pki.officer, key_id=pki.servers.key_id, reason="By mistake.")
    assert refreshed(row).state == "re_encrypted"
    with pytest.raises(Conflict, match="It is the key of the authority Servers"):
        rotation.request_decommission(actor=pki.officer, rotation_id=row.pk, reason="Tidying up.")
