"""Keys given out: agreed by others, always wrapped, written down for ever, and read back by openssl or by another portal."""

import base64
import hashlib
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.crypto import keycheck
from keys.crypto.envelope import context_aad
from keys.models import KeyExport, KeyVersion
from keys.providers.base import Capability, OperationUnsupported
from keys.services import acts, commands, exports, imports, lifecycle, materials
from keys.services.exports import giving
from keys.services.policies import PolicyValues
from keys.states import EXPORT_MOVES, ExportState
from keys.transfer_tasks import export_work, transfer_tick
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals import execution
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.evidence import registry
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import (
    ApprovalRequired,
    Conflict,
    PermissionRefused,
    ValidationFailed,
    WrongState,
)
from tests.provider_services.scanning import dump
from tests.provider_services.stand_in import StandIn
from tests.provider_services.transfers import run, upload

SPKI = PublicFormat.SubjectPublicKeyInfo


@pytest.fixture
def recipient(tmp_path):
    return Recipient(rsa.generate_private_key(65537, 2048), tmp_path)


class Recipient:
    """Somebody outside, with a key pair and openssl."""

    def __init__(self, private, folder):
        self.private, self.folder = private, folder
        self.pem = private.public_key().public_bytes(Encoding.PEM, SPKI).decode()
        self.spki = private.public_key().public_bytes(Encoding.DER, SPKI)

    def open(self, row: KeyExport) -> bytes:
        form = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "private.pem").write_bytes(form)
        (self.folder / "export.bin").write_bytes(bytes(row.wrapped))
        run(commands.open_commands(row.method, self.spki), self.folder)
        return (self.folder / "key.bin").read_bytes()


@pytest.fixture
def loose(tree):
    """An exportable data key."""
    return tree.make("loose", "dek", "AES-256-GCM", tree.kek, exportable=True)


@pytest.fixture(autouse=True)
def agreed(monkeypatch):
    """Let everybody agree: what agreement is, is tested with the approvals and below in test_others_have_to_agree."""
    monkeypatch.setattr("keys.services.exports.requesting.need_agreement", lambda *args, **more: None)


def export(actor, key, pem="", **more) -> KeyExport:
    row = exports.request_export(
        actor=actor, key_id=key.pk, recipient="Partner", reason="Contract", recipient_key=pem, **more
    )
    export_work(str(row.pk))
    row.refresh_from_db()
    return row


def test_openssl_opens_what_was_given_out(loose, officer, recipient):
    row = export(officer, loose, recipient.pem)
    assert (row.state, row.method, row.last_error) == ("ready", "rsa_aes_kw", "")
    version = loose.versions.select_related(*materials.CHAIN).get()
    assert materials.material(version) == recipient.open(row)
    assert row.check_value == keycheck.check_value(loose.algorithm, materials.material(version)).hex().upper()
    assert version.exported_at == row.created_at
    assert AuditEvent.objects.filter(action="key.export").count() == 1


def test_hpke_opens_what_was_given_out(loose, officer, tmp_path):
    recipient = Recipient(x25519.X25519PrivateKey.generate(), tmp_path)
    row = export(officer, loose, base64.b64encode(recipient.spki).decode())
    assert row.method == "hpke_x25519"
    assert materials.material(loose.versions.select_related(*materials.CHAIN).get()) == recipient.open(row)


def test_under_another_key_of_the_hierarchy(loose, tree, officer):
    row = export(officer, loose, wrapping_key=tree.kek.pk)
    assert (row.state, row.method, row.wrapping_version.key) == ("ready", "key", tree.kek)
    context = {"exported_key": str(loose.pk), "exported_version": "1"}
    opened = materials.cipher(materials.active_version(tree.kek)).decrypt(bytes(row.wrapped), context_aad(context))
    assert materials.material(loose.versions.select_related(*materials.CHAIN).get()) == opened
    for wrong in (loose.pk, tree.token.pk):
        with pytest.raises(ValidationFailed):
            export(officer, loose, wrapping_key=wrong)


def test_nothing_is_given_out_under_what_it_wraps_itself(tree, officer):
    """Whoever had the exported key would have the key around it as well, however far below it stands."""
    above = tree.make("above", "master", "AES-256-GCM", None, exportable=True)
    between = tree.make("between", "kek", "AES-256-GCM", above)
    below = tree.make("below", "dek", "AES-256-GCM", between)
    for wrong in (between, below):
        with pytest.raises(ValidationFailed) as caught:
            export(officer, above, wrapping_key=wrong.pk)
        assert set(caught.value.errors) == {"wrapping_key"}
    assert export(officer, above, wrapping_key=tree.kek.pk).state == "ready"


@pytest.mark.usefixtures("sealing")
def test_export_and_import_make_the_same_key_elsewhere(far, there, loose, tree, officer):
    from tests.provider_services.conftest import work

    sealed = materials.cipher(materials.active_version(loose)).encrypt(b"old data", b"aad")
    door = imports.open_import_of_new_key(
        actor=officer, ring=tree.ring, name="moved", title="Moved", kind="dek", algorithm=loose.algorithm, parent=tree.kek,
        provider="far", method="rsa_aes_kw", reason="To the new place",
    )  # fmt: skip
    row = export(officer, loose, commands.pem(bytes(door.public_key)))
    assert upload(officer, door, bytes(row.wrapped), row.check_value).state == "handed"
    assert work(door.key, "import").state == "done"
    assert materials.cipher(materials.active_version(door.key)).decrypt(sealed, b"aad") == b"old data"


def test_only_what_the_policy_lets_go(tree, officer, auditor, service, loose, recipient):
    with pytest.raises(Conflict, match="may not be exported"):
        export(officer, tree.dek, recipient.pem)
    for actor in (auditor, service):
        with pytest.raises(PermissionRefused):
            export(actor, loose, recipient.pem)
    exports.withdraw_exportability(actor=officer, key_id=loose.pk, reason="Enough")
    with pytest.raises(Conflict):
        export(officer, loose, recipient.pem)
    with pytest.raises(Conflict):
        exports.withdraw_exportability(actor=officer, key_id=loose.pk, reason="Again")
    loose.refresh_from_db()
    loose.exportable = True
    with pytest.raises(IntegrityError), transaction.atomic():
        loose.save()
    assert not KeyExport.objects.exists()
    later = lifecycle.introduce_version(actor=officer, key_id=loose.pk, activate=True)
    assert later.never_extractable


def test_withdrawn_between_the_agreement_and_the_worker(loose, officer, recipient):
    row = exports.request_export(
        actor=officer, key_id=loose.pk, recipient="Partner", reason="Contract", recipient_key=recipient.pem
    )
    exports.withdraw_exportability(actor=officer, key_id=loose.pk, reason="Stop")
    export_work(str(row.pk))
    row.refresh_from_db()
    assert (row.state, row.wrapped) == ("failed", None)
    assert "may not be exported" in row.last_error


def test_bad_requests(loose, officer, tree, recipient):
    weak = rsa.generate_private_key(65537, 1024).public_key().public_bytes(Encoding.PEM, SPKI).decode()
    for pem, more in (
        ("", {}), ("nonsense", {}), (weak, {}), (recipient.pem, {"wrapping_key": tree.kek.pk}), ("-----BEGIN PUBLIC KEY-----", {}),
    ):  # fmt: skip
        with pytest.raises(ValidationFailed):
            export(officer, loose, pem, **more)
    for more in ({"recipient": " "}, {"reason": ""}):
        values = {"recipient": "P", "reason": "r", "recipient_key": recipient.pem} | more
        with pytest.raises(ValidationFailed):
            exports.request_export(actor=officer, key_id=loose.pk, **values)
    lifecycle.suspend_version(actor=officer, version_id=loose.versions.get().pk, reason="r")
    with pytest.raises(WrongState):
        export(officer, loose, recipient.pem, version_number=1)


def test_collected_erased_and_never_forgotten(loose, officer, auditor, recipient):
    row = export(officer, loose, recipient.pem)
    with pytest.raises(PermissionRefused):
        exports.collect_export(actor=auditor, export_id=row.pk)
    assert exports.collect_export(actor=officer, export_id=row.pk).collected_by == officer.label
    KeyExport.objects.update(finished_at=timezone.now() - timedelta(days=8))
    transfer_tick()
    row.refresh_from_db()
    assert (row.state, row.wrapped) == ("erased", None)
    assert row.fingerprint
    with pytest.raises(WrongState):
        exports.collect_export(actor=officer, export_id=row.pk)
    assert AuditEvent.objects.filter(action="key.collect_export", outcome="success").count() == 1
    assert set(EXPORT_MOVES) == set(ExportState)


def test_the_evidence_names_every_export(loose, officer, recipient):
    row = export(officer, loose, recipient.pem)
    (said,) = json.loads(b"".join(registry.registered()["key_exports.json"]()))["exports"]
    assert (said["export"], said["fingerprint"]) == (str(row.pk), hashlib.sha256(recipient.spki).hexdigest())
    assert base64.b64encode(bytes(row.wrapped)).decode() not in json.dumps(said)


def test_no_key_is_in_the_database_or_the_log(loose, officer, recipient, caplog):
    export(officer, loose, recipient.pem)
    clear = materials.material(loose.versions.select_related(*materials.CHAIN).get()).reveal()
    held = dump() + caplog.text.encode()
    for form in (clear, clear.hex().encode(), base64.b64encode(clear)):
        assert form not in held


def test_a_version_made_never_to_leave_a_provider_stays(far, there, tree, officer, remote_key, recipient, monkeypatch):
    from tests.provider_services.conftest import work

    key = remote_key()
    work(key)
    with pytest.raises(OperationUnsupported):
        export(officer, key, recipient.pem)
    version = KeyVersion.objects.select_related("key").get(key=key)
    assert version.never_extractable
    # Its provider may learn to give keys out, and a ceremony may ask for one that is not exportable: this one stays.
    monkeypatch.setattr(StandIn, "capabilities", StandIn.capabilities | {Capability.EXPORTER})
    with pytest.raises(Conflict, match="never to leave"):
        giving.require_may_leave(version, even_if_not_exportable=True)


@pytest.fixture
def people(settings, tree):
    """Two officers who exist as people, so that they can ask and agree."""
    settings.ROOT_URLCONF = "tests.keys.approval_paths"
    found = []
    for name in ("asker", "agreer"):
        person = Person.objects.create_person(email=f"{name}@example.org", name=name)
        RoleBinding.objects.create(person=person, role="security_officer", created_by="test")
        found.append(actor_for_person(person, second_factor=True))
    return found


def test_others_have_to_agree(loose, people, recipient, monkeypatch):
    monkeypatch.setattr("keys.services.exports.requesting.need_agreement", acts.need_agreement)
    asker, agreer = people
    with pytest.raises(ApprovalRequired) as waiting:
        export(asker, loose, recipient.pem)
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    assert not KeyExport.objects.exists()
    fingerprint = hashlib.sha256(recipient.spki).hexdigest()
    assert any(fingerprint in line for line in request.consequences)
    approvals.approve(actor=agreer, request_id=request.pk, act_hash=request.act_hash)
    assert execution.execute(request.pk) == "executed"
    row = KeyExport.objects.get()
    assert (row.approval_id, row.fingerprint) == (request.pk, fingerprint)
    export_work(str(row.pk))
    row.refresh_from_db()
    assert materials.material(loose.versions.select_related(*materials.CHAIN).get()) == recipient.open(row)


def test_a_policy_that_asks_nobody_does_not_let_an_officer_export_alone(tree, people, recipient, monkeypatch):
    monkeypatch.setattr("keys.services.exports.requesting.need_agreement", acts.need_agreement)
    alone = tree.make(
        "alone", "dek", "AES-256-GCM", tree.kek, exportable=True, policy=PolicyValues(cryptoperiod_days=90)
    )
    with pytest.raises(ApprovalRequired):
        export(people[0], alone, recipient.pem)


def test_the_first_time_it_left_stays_written(loose, officer, recipient):
    first, second = (export(officer, loose, recipient.pem) for _ in range(2))
    assert second.created_at > first.created_at
    assert loose.versions.get().exported_at == first.created_at
