"""Acts that others agree to, imported and cross-signed authorities, and keys that nobody else may use."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from certificates.issuance import new_serial
from certificates.models import Authority, Certificate, IssuanceGrant
from certificates.services import authorities, bringing, crls, grants, issuing, revoking, signers
from certificates.signing import WrongSignature
from certificates.states import AUTHORITY_MOVES, CERTIFICATE_MOVES, GRANT_MOVES, CertificateState
from keys.crypto.secret import SecretBytes
from keys.providers.base import OperationUnsupported
from keys.services import operations
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.execution import execute
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, Conflict, ValidationFailed, WrongState
from tests.certificates.conftest import csr, make_authority, pem, plan, refreshed


def officer_named(name):
    person = Person.objects.create_person(email=f"{name}@example.org", name=name)
    RoleBinding.objects.create(person=person, role="security_officer", ring=None, created_by="test")
    return actor_for_person(person, second_factor=True)


def agree(waiting, *officers):
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    for officer in officers:
        approvals.approve(actor=officer, request_id=request.pk, act_hash=request.act_hash)
    return execute(request.pk), request


def test_a_new_authority_waits_for_two_officers(tree):
    asks, first, second = officer_named("Asta"), officer_named("Bo"), officer_named("Cy")
    key = tree.make("root-key", "transport", "ECDSA-P256-SHA256", tree.kek)
    with pytest.raises(ApprovalRequired) as waiting:
        authorities.create_authority(
            actor=asks, plan=plan(tree, "root", key, profiles=["server"]), reason="Our first root."
        )
    assert not Authority.objects.exists()
    state, request = agree(waiting, first, second)
    assert state == "executed"
    assert any("root" in line for line in request.consequences)
    row = Authority.objects.get()
    assert row.state == "pending"
    assert authorities.sign_authority(row.pk).state == "active"
    with pytest.raises(WrongState):
        authorities.sign_authority(row.pk)
    assert IssuanceGrant.objects.count() == 1


def test_code_signing_waits_and_is_then_signed_by_a_worker(pki):
    asks, other = officer_named("Asta"), officer_named("Bo")
    order = issuing.order_from_csr(csr("Release Signing"), profile="code-signing")
    with pytest.raises(ApprovalRequired) as waiting:
        issuing.issue_certificate(actor=asks, authority_id=pki.clients.pk, order=order, reason="For the releases.")
    assert agree(waiting, other)[0] == "executed"
    grant = IssuanceGrant.objects.get(state="open")
    row = grants.redeem_open(grant.pk)
    assert (row.subject, row.requested_by) == ("CN=Release Signing,O=Example", "Asta")
    assert grants.redeem_open(grant.pk) is None  # once
    assert Certificate.objects.filter(serial=grant.serial).count() == 1


def test_a_grant_whose_bytes_were_changed_is_not_redeemed(pki):
    asks, other = officer_named("Asta"), officer_named("Bo")
    order = issuing.order_from_csr(csr("Release Signing"), profile="code-signing")
    with pytest.raises(ApprovalRequired) as waiting:
        issuing.issue_certificate(actor=asks, authority_id=pki.clients.pk, order=order, reason="For the releases.")
    agree(waiting, other)
    grant = IssuanceGrant.objects.get(state="open")
    changed = bytes(grant.to_be_signed).replace(b"Release Signing", b"Release Stealer")
    IssuanceGrant.objects.filter(pk=grant.pk).update(to_be_signed=changed)
    with pytest.raises(Conflict):
        grants.redeem_open(grant.pk)
    assert not Certificate.objects.filter(serial=grant.serial).exists()


def test_the_key_of_an_authority_is_for_nothing_else(pki, service):
    with pytest.raises(OperationUnsupported, match="only the portal itself"):
        operations.sign(service, pki.root.key_id, b"any bytes at all")
    with pytest.raises(ValidationFailed, match="belongs to another authority"):
        authorities.create_authority(actor=pki.officer, plan=plan(pki.tree, "second", pki.root.key), reason="A test.")
    with pytest.raises(ValidationFailed, match="belongs to an authority"):
        issuing.issue_for_key(
            actor=pki.officer,
            authority_id=pki.servers.pk,
            key_id=pki.root.key_id,
            profile="server",
            names=[("dns", "a.example.org")],
        )


def elsewhere(path_length=None, name="Old Corporate CA"):
    private = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "FI"), x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = timezone.now().replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key()).serial_number(7)
        .not_valid_before(now).not_valid_after(now + timedelta(days=3 * 365))
        .add_extension(x509.BasicConstraints(True, path_length), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), False)
        .sign(private, hashes.SHA384())
    )  # fmt: skip
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_an_existing_authority_issues_here_with_its_old_certificate(tree, openssl):
    key_pem, certificate = elsewhere()
    key = bringing.import_key(
        actor=tree.officer, ring=tree.ring, name="old", title="Old", parent=tree.kek, pem=SecretBytes(key_pem)
    )
    assert key.algorithm == "ECDSA-P384-SHA384"
    wanted = plan(tree, "old-ca", key, profiles=["server"], names={"dns": ["example.org"]})
    with pytest.raises(ValidationFailed, match="not of this key"):
        bringing.import_authority(actor=tree.officer, plan=wanted, certificate=elsewhere()[1], reason="A test.")
    row = bringing.import_authority(actor=tree.officer, plan=wanted, certificate=certificate, reason="We take it over.")
    assert row.state == "active"
    order = issuing.order_from_csr(csr(names=(x509.DNSName("www.example.org"),)), profile="server")
    leaf = issuing.issue_certificate(actor=tree.officer, authority_id=row.pk, order=order)
    found = openssl("verify", "-CAfile", certificate.encode(), pem(leaf))
    assert found.returncode == 0, found.stderr


def test_a_cross_signed_authority_is_trusted_by_our_root(tree, openssl):
    root = make_authority(tree, "root", path_length=1)
    _, certificate = elsewhere(path_length=0)
    with pytest.raises(ValidationFailed, match="no CA certificate"):
        leaf = make_authority(tree, "issuing", root, profiles=["server"], names={"dns": ["example.org"]})
        order = issuing.order_from_csr(csr(names=(x509.DNSName("www.example.org"),)), profile="server")
        row = issuing.issue_certificate(actor=tree.officer, authority_id=leaf.pk, order=order)
        bringing.cross_sign(
            actor=tree.officer, authority_id=root.pk, certificate=pem(row).decode(), days=30, reason="A test."
        )
    grant = bringing.cross_sign(
        actor=tree.officer, authority_id=root.pk, certificate=certificate, days=365, reason="They merge with us."
    )
    row = grants.redeem_open(grant.pk)
    assert row.subject == "CN=Old Corporate CA,C=FI"
    found = openssl("verify", "-CAfile", pem(root.certificate), pem(row))
    assert found.returncode == 0, found.stderr
    with pytest.raises(ValidationFailed, match="path length"):  # the old one allows any depth, our root one
        bringing.cross_sign(
            actor=tree.officer, authority_id=root.pk, certificate=elsewhere()[1], days=365, reason="A test."
        )


def test_a_renewal_has_a_new_key_and_the_old_names(pki):
    private = ec.generate_private_key(ec.SECP256R1())
    order = issuing.order_from_csr(
        csr(names=(x509.DNSName("www.example.org"),), key=private), profile="server", days=60
    )
    old = issuing.issue_certificate(actor=pki.officer, authority_id=pki.servers.pk, order=order)
    with pytest.raises(Conflict, match="has the key"):
        issuing.renew_from_csr(actor=pki.officer, certificate_id=old.pk, raw=csr(key=private))
    new = issuing.renew_from_csr(
        actor=pki.officer, certificate_id=old.pk, raw=csr(names=(x509.DNSName("evil.example.org"),))
    )
    assert (new.names, new.renews_id) == (["dns:www.example.org"], old.pk)
    assert new.spki_sha256 != old.spki_sha256
    other, bundle = issuing.renew_with_new_key(
        actor=pki.officer,
        certificate_id=old.pk,
        algorithm="ECDSA-P256-SHA256",
        password="correct horse battery",
        form="pkcs8",
    )
    assert bundle.content.reveal().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert other.renews_id == old.pk


def test_states_that_nobody_can_leave():
    for moves in (AUTHORITY_MOVES, CERTIFICATE_MOVES, GRANT_MOVES):
        assert all(target in moves for targets in moves.values() for target in targets)
    assert [state.value for state, targets in CERTIFICATE_MOVES.items() if not targets] == ["revoked"]
    assert [state.value for state, targets in AUTHORITY_MOVES.items() if not targets] == ["revoked"]
    assert sorted(state.value for state, targets in GRANT_MOVES.items() if not targets) == ["done", "lost"]


def test_a_serial_number_is_never_used_twice(pki, monkeypatch):
    monkeypatch.setattr(issuing, "new_serial", lambda: 2**150 + 7)
    pki.issue("dns:a.example.org")
    with pytest.raises(Conflict, match="used before"):
        pki.issue("dns:b.example.org")


def test_the_life_of_a_certificate_follows_the_table(pki):
    """Whatever is tried in whatever order: the row, its entry in the CRL and the table agree."""
    row = pki.issue("dns:www.example.org")

    class Life(RuleBasedStateMachine):
        state = CertificateState.VALID

        def attempt(self, to, act):
            if to in CERTIFICATE_MOVES[self.state]:
                act()
                self.state = to
            else:
                with pytest.raises(WrongState):
                    act()

        @rule(reason=st.sampled_from(["superseded", "key_compromise", "certificate_hold"]))
        def revoke(self, reason):
            to = CertificateState.HELD if reason == "certificate_hold" else CertificateState.REVOKED
            self.attempt(
                to, lambda: revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason=reason)
            )

        @rule()
        def release(self):
            self.attempt(
                CertificateState.VALID, lambda: revoking.release_certificate(actor=pki.officer, certificate_id=row.pk)
            )

        @invariant()
        def agrees(self):
            now = refreshed(row)
            assert now.state == self.state.value
            assert (now.crl_entry is None) == (self.state is CertificateState.VALID)

        def teardown(self):
            Certificate.objects.filter(pk=row.pk).update(state="valid", revoked_at=None, reason="", crl_entry=None)

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=10, stateful_step_count=6, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_serial_numbers_are_random_and_positive():
    found = {new_serial() for _ in range(2000)}
    assert len(found) == 2000
    assert all(0 < serial < 2**159 for serial in found)
    assert sum(serial > 2**100 for serial in found) == 2000


def test_a_ceremony_signs_a_root_with_a_signer_of_its_own(tree, monkeypatch):
    key = tree.make("root-key", "transport", "ECDSA-P256-SHA256", tree.kek)
    row = authorities.create_authority(actor=tree.officer, plan=plan(tree, "root", key), reason="A ceremony.")
    real, asked = signers.signer(row.key_version), []

    def ceremony(message):
        asked.append(message)
        return real(message)

    stranger = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(WrongSignature):
        authorities.sign_authority(row.pk, by=lambda message: stranger.sign(message, ec.ECDSA(hashes.SHA256())))
    assert refreshed(row).state == "pending"
    monkeypatch.setattr(grants, "signer", None)  # the provider is not asked
    made = authorities.sign_authority(row.pk, by=ceremony)
    assert made.state == "active"
    found = x509.load_der_x509_certificate(bytes(made.certificate.der))
    assert asked == [found.tbs_certificate_bytes]
    assert sorted(IssuanceGrant.objects.values_list("state", flat=True)) == ["done", "lost"]


def test_of_two_workers_one_makes_the_authority(tree, monkeypatch):
    key = tree.make("root-key", "transport", "ECDSA-P256-SHA256", tree.kek)
    row = authorities.create_authority(actor=tree.officer, plan=plan(tree, "root", key), reason="A test.")
    real, fast = signers.signer(row.key_version), []

    def slow(message):
        if not fast:
            fast.append(True)
            authorities.sign_authority(row.pk)
        return real(message)

    with pytest.raises(WrongState):
        authorities.sign_authority(row.pk, by=slow)
    assert refreshed(row).state == "active"
    assert Certificate.objects.filter(profile="root").count() == 1


def test_a_list_that_another_worker_published_meanwhile_is_made_again(pki, monkeypatch):
    number, taken = crls._next_number, []

    def late(authority):
        found = number(authority)
        if not taken:
            taken.append(True)
            crls.publish(authority.pk)
        return found

    monkeypatch.setattr(crls, "_next_number", late)
    [made] = crls.publish(pki.servers.pk)
    assert made.number == 2
