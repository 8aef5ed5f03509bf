"""A master key under an escrow key, and back at another place; and what nobody can set back, tried with raw SQL."""

import secrets

import pytest
from django.db import IntegrityError, connection, transaction

from keys.crypto import transport
from keys.crypto.secret import SecretBytes
from keys.models import KeyExport, KeyVersion
from keys.services import materials
from keys.services.exports import escrow
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, DecryptRefused, PermissionRefused, ValidationFailed
from tests.provider_services.conftest import work


@pytest.fixture
def escrow_key():
    return SecretBytes(secrets.token_bytes(32))


def wrapped(tree, actor, escrow_key):
    return escrow.wrap_for_escrow(actor=actor, key_id=tree.master.pk, escrow_key=escrow_key, reason="Disaster set")


def test_a_master_key_goes_into_escrow_and_comes_back(tree, officer, escrow_key):
    sealed = materials.cipher(materials.active_version(tree.master)).encrypt(b"old data", b"aad")
    found = wrapped(tree, officer, escrow_key)
    version = tree.master.versions.get()
    assert transport.unwrap_under(escrow_key, found.wrapped) == materials.material(version)
    assert version.exported_at is not None
    assert not version.never_extractable
    row = KeyExport.objects.get()
    assert (row.method, row.state, row.wrapped, row.check_value) == ("escrow", "erased", None, found.check_value)
    assert AuditEvent.objects.filter(action="key.escrow", outcome="success").count() == 1
    back = escrow.import_wrapped(
        actor=officer, wrapped=found.wrapped, escrow_key=escrow_key, check_value=found.check_value, ring=tree.ring,
        algorithm=found.algorithm, name="root-again", title="Root again", kind="master",
    )  # fmt: skip
    assert not back.versions.get().generated_here
    assert materials.cipher(materials.active_version(back)).decrypt(sealed, b"aad") == b"old data"


def test_it_comes_back_at_another_provider(far, there, sealing, tree, officer, escrow_key):
    sealed = materials.cipher(materials.active_version(tree.master)).encrypt(b"old data", b"aad")
    found = wrapped(tree, officer, escrow_key)
    back = escrow.import_wrapped(
        actor=officer, wrapped=found.wrapped, escrow_key=escrow_key, check_value=found.check_value, ring=tree.ring,
        algorithm=found.algorithm, provider="far", name="root-far", title="Root far", kind="master",
    )  # fmt: skip
    assert work(back, "import").state == "done"
    assert materials.cipher(materials.active_version(back)).decrypt(sealed, b"aad") == b"old data"


def test_it_comes_back_as_a_version(tree, officer, escrow_key):
    found = wrapped(tree, officer, escrow_key)
    version = escrow.import_wrapped_version(
        actor=officer,
        key_id=tree.master.pk,
        wrapped=found.wrapped,
        escrow_key=escrow_key,
        check_value=found.check_value,
    )
    assert (version.key_version, version.status, version.generated_here) == (2, "pre_active", False)


def test_only_masters_and_exportable_keys_go(tree, officer, auditor, escrow_key):
    with pytest.raises(Conflict):
        escrow.wrap_for_escrow(actor=officer, key_id=tree.kek.pk, escrow_key=escrow_key, reason="No")
    with pytest.raises(PermissionRefused):
        wrapped(tree, auditor, escrow_key)
    with pytest.raises(ValidationFailed):
        wrapped(tree, officer, SecretBytes(b"short"))
    assert not KeyExport.objects.exists()


def test_another_escrow_key_or_check_value_is_refused(tree, officer, escrow_key):
    found = wrapped(tree, officer, escrow_key)
    with pytest.raises(DecryptRefused):
        escrow.import_wrapped_version(
            actor=officer, key_id=tree.master.pk, wrapped=found.wrapped, escrow_key=SecretBytes(bytes(range(32))),
            check_value=found.check_value,
        )  # fmt: skip
    with pytest.raises(ValidationFailed):
        escrow.import_wrapped_version(
            actor=officer, key_id=tree.master.pk, wrapped=found.wrapped, escrow_key=escrow_key, check_value="000000"
        )
    assert KeyVersion.objects.filter(key=tree.master).count() == 1


def refused(sql: str, *values: object) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)


def test_flags_cannot_be_set_back_by_sql(tree, officer: Actor, escrow_key):
    wrapped(tree, officer, escrow_key)
    version = tree.master.versions.get().pk
    refused("UPDATE keys_key SET exportable = true WHERE id = %s", tree.master.pk)
    refused("UPDATE encryption_keys SET never_extractable = true, exported_at = NULL WHERE id = %s", version)
    refused("UPDATE encryption_keys SET never_extractable = true WHERE id = %s", version)
    refused("UPDATE encryption_keys SET exported_at = NULL WHERE id = %s", version)
    refused("UPDATE encryption_keys SET exported_at = now() WHERE id = %s", version)
    imported = KeyVersion.objects.filter(key=tree.kek)
    imported.update(generated_here=False)
    refused("UPDATE encryption_keys SET generated_here = true WHERE id = %s", imported.get().pk)
    refused("UPDATE encryption_keys SET exported_at = now() WHERE id = %s", imported.get().pk)
    refused("DELETE FROM key_exports")
    refused("UPDATE key_exports SET recipient = 'nobody'")
    refused("UPDATE key_exports SET created_at = now()")


def test_no_export_of_a_key_that_may_not_leave_can_be_written(tree):
    version = tree.kek.versions.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        KeyExport.objects.create(version=version, method="escrow", recipient="x", reason="x", requested_by="x")
    loose = tree.make("loose", "kek", "AES-256-GCM", tree.master, exportable=True)
    assert not loose.versions.get().never_extractable
    with pytest.raises(IntegrityError), transaction.atomic():
        KeyVersion.objects.create(key=loose, key_version=9, kms_key_arn="loose:9")
    with pytest.raises(ValidationFailed) as caught:
        tree.make("far", "kek", "AES-256-GCM", tree.master, exportable=True, provider="nowhere")
    assert "provider" in caught.value.errors


def test_an_exportable_key_needs_a_provider_that_gives_keys_out(far, tree):
    with pytest.raises(ValidationFailed) as caught:
        tree.make("far", "kek", "AES-256-GCM", tree.master, exportable=True, provider="far")
    assert "exportable" in caught.value.errors
