"""Keys brought to every real place with the page's commands, and given out again by those that give keys out."""

import secrets
from datetime import timedelta

import pytest

from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.models import KeyVersion, ProviderIntent
from keys.providers.base import Capability, KeyHandle, KeyMissing, RemoteState
from keys.services import commands, imports, materials, operations
from keys.services.providers import offers
from keys.transfer_tasks import export_work, offer_back, transfer_tick
from keyvault_portal.errors import ValidationFailed
from tests.provider_services.conftest import work
from tests.provider_services.test_exports import agreed, export
from tests.provider_services.test_real import far, finish
from tests.provider_services.transfers import upload, wrap
from tests.providers.conftest import place

__all__ = ["agreed", "far", "place"]
pytestmark = pytest.mark.usefixtures("sealing")


@pytest.fixture
def takes(place):
    if not place.can(Capability.IMPORTER) or "import" in place.untested:
        pytest.skip(place.untested.get("import", f"{place.kind} takes no keys"))
    if "AES-256-GCM" not in place.provider.algorithms:
        pytest.skip(f"{place.kind} has no AES-256-GCM")
    return place


def open_(tree, **more):
    values = {"provider": "far", "method": "rsa_aes_kw"} | more
    return imports.open_import_of_new_key(
        actor=tree.officer, ring=tree.ring, name="brought", title="Brought", kind="dek", algorithm="AES-256-GCM", parent=tree.kek,
        reason="From the old HSM", **values,
    )  # fmt: skip


def test_a_key_wrapped_by_openssl_gets_there(takes, far, tree, officer, service, tmp_path):
    row = open_(tree)
    key = secrets.token_bytes(32)
    assert upload(officer, row, *wrap(row, key, tmp_path)).state == "handed"
    finish(row.key, "import")
    transfer_tick()
    row.refresh_from_db()
    assert row.state == "done"
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=row.version_id)
    assert (version.status, version.generated_here, version.never_extractable) == ("active", False, True)
    if takes.can(Capability.DISCOVERY):
        assert takes.provider.describe(KeyHandle(version.key.algorithm, version.handle)).imported
    sealed = operations.encrypt(service, row.key_id, b"text", {"row": "1"}).ciphertext
    assert operations.decrypt(service, row.key_id, sealed, {"row": "1"}).plaintext == b"text"


def test_what_one_place_gives_out_another_takes_and_opens_old_data(takes, far, tree, officer, tmp_path):
    if not takes.can(Capability.EXPORTER):
        pytest.skip(f"{takes.kind} gives no key out")
    there = tree.make("there", "dek", "AES-256-GCM", tree.kek, provider="far", exportable=True)
    finish(there)
    there.refresh_from_db()
    sealed = materials.cipher(materials.active_version(there)).encrypt(b"old data", b"aad")
    door = imports.open_import_of_new_key(
        actor=officer, ring=tree.ring, name="here", title="Here", kind="dek", algorithm="AES-256-GCM", parent=tree.kek,
        method="rsa_aes_kw", reason="Home",
    )  # fmt: skip
    row = export(officer, there, commands.pem(bytes(door.public_key)))
    export_work(str(row.pk))
    assert row.state == "ready", row.last_error
    assert upload(officer, door, bytes(row.wrapped), row.check_value).state == "done"
    assert ALGORITHMS[there.algorithm].kind is Kind.AEAD
    assert materials.cipher(materials.active_version(door.key)).decrypt(sealed, b"aad") == b"old data"
    version = there.versions.get()
    assert (version.never_extractable, version.exported_at) == (False, row.created_at)


@pytest.fixture
def direct(takes):
    if not takes.can(Capability.DIRECT_IMPORT):
        pytest.skip(f"{takes.kind} hands out no wrapping key")
    return takes


def test_a_key_wrapped_for_the_provider_passes_the_portal_unseen(direct, far, tree, officer, service, tmp_path):
    row = open_(tree, method="provider")
    assert row.sealed_private is None
    assert row.expires_at <= row.created_at + timedelta(hours=24, minutes=5)
    key = secrets.token_bytes(32)
    wrapped, value = wrap(row, key, tmp_path)
    assert upload(officer, row, wrapped, value).state == "handed"
    finish(row.key, "import")
    transfer_tick()
    row.refresh_from_db()
    assert row.state == "done"
    sealed = operations.encrypt(service, row.key_id, b"text", {"row": "1"}).ciphertext
    assert operations.decrypt(service, row.key_id, sealed, {"row": "1"}).plaintext == b"text"


def test_an_answer_that_was_lost_makes_no_second_key(direct, far, tree, officer, tmp_path):
    row = open_(tree, method="provider")
    wrapped, value = wrap(row, secrets.token_bytes(32), tmp_path)
    upload(officer, row, wrapped, value)
    tag = row.offer["intent"]
    made = direct.provider.take_import("AES-256-GCM", offers.read(row.offer), wrapped, tag=tag)
    ProviderIntent.objects.filter(pk=tag).update(attempts=1)
    finish(row.key, "import")
    assert row.key.versions.get().handle == made.opaque


@pytest.mark.parametrize("size", [512, 552])
def test_what_was_not_wrapped_for_the_provider_fails_and_leaves_nothing(direct, far, tree, officer, size):
    row = open_(tree, method="provider")
    assert upload(officer, row, secrets.token_bytes(size), "AABBCC").state == "handed"
    assert work(row.key, "import").state == "failed"
    imports.abort_import(actor=officer, import_id=row.pk, reason="Garbage")
    finish(row.key, "destroy")
    assert row.key.versions.get().status == "destroyed"


def test_an_abandoned_import_gives_its_key_back(direct, far, tree, officer):
    row = open_(tree, method="provider")
    imports.abort_import(actor=officer, import_id=row.pk, reason="Nobody came")
    offer_back(str(row.pk))
    if row.offer["opaque"]:
        try:
            described = direct.provider.describe(KeyHandle("AES-256-GCM", row.offer["opaque"]))
        except KeyMissing:
            assert direct.kind == "pkcs11", "a token destroys at once"
        else:
            assert described.state is RemoteState.PENDING_DELETION
    row.refresh_from_db()
    assert not row.offer.get("opaque")


def test_a_provider_without_a_wrapping_key_of_its_own_says_so_beforehand(takes, far, tree):
    if takes.can(Capability.DIRECT_IMPORT):
        pytest.skip("it has one")
    with pytest.raises(ValidationFailed) as caught:
        open_(tree, method="provider")
    assert "method" in caught.value.errors
