"""Keys made elsewhere, brought wrapped: as the page's commands wrap them, and everything that can be wrong with that."""

import base64
import secrets
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.crypto import keymaterial, transport
from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyImport, KeyVersion, ProviderIntent, SealedValue
from keys.services import imports, materials
from keys.services.imports.frame import ImportExpired
from keys.states import IMPORT_MOVES, OPEN_IMPORTS, ImportState
from keys.transfer_tasks import import_work, transfer_tick
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, TooLarge, ValidationFailed, WrongState
from tests.provider_services.conftest import intent_of, work
from tests.provider_services.transfers import upload, wrap

pytestmark = pytest.mark.usefixtures("sealing")


def new(tree, method="rsa_aes_kw", name="brought", algorithm="AES-256-GCM", **more) -> KeyImport:
    values = {"kind": "dek", "parent": tree.kek, "title": "Brought", "reason": "From the old HSM"} | more
    return imports.open_import_of_new_key(
        actor=tree.officer, ring=tree.ring, name=name, algorithm=algorithm, method=method, **values
    )


def leftovers() -> int:
    return SealedValue.objects.filter(
        purpose__in=["wrapping key of an import", "component of a key", "key to be imported"]
    ).count()


@pytest.mark.parametrize("method", ["rsa_oaep", "rsa_aes_kw", "hpke_x25519"])
def test_a_key_is_brought_as_the_page_says(tree, officer, tmp_path, method):
    row = new(tree, method)
    assert row.key.current is None
    key = secrets.token_bytes(32)
    done = upload(officer, row, *wrap(row, key, tmp_path))
    assert (done.state, done.last_error) == ("done", "")
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=done.version_id)
    assert (version.status, version.generated_here) == ("active", False)
    assert materials.material(version) == key
    assert leftovers() == 0
    assert (done.upload, done.sealed_private) == (None, None)
    event = AuditEvent.objects.filter(action="key.import", outcome="success").get()
    assert done.check_value.encode() in bytes(event.leaf)


@pytest.mark.parametrize(
    "algorithm", ["HMAC-SHA512", "Ed25519", "RSA-2048-PSS-SHA256", "ML-DSA-65", "ChaCha20-Poly1305"]
)
def test_other_keys_are_brought_as_well(tree, officer, tmp_path, algorithm):
    row = new(tree, "hpke_x25519" if algorithm == "ML-DSA-65" else "rsa_aes_kw", algorithm=algorithm)
    made = keymaterial.generate(algorithm)
    if algorithm == "ML-DSA-65":  # OpenSSL 3.0 reads no such key; the portal's own arithmetic stands in for the command
        from keys.crypto import keycheck

        sent = transport.wrap_for(
            transport.receiver_of(bytes(row.public_key)), transport.Method.HPKE_X25519, made.private
        )
        done = upload(officer, row, sent, keycheck.check_value(algorithm, made.private).hex())
    else:
        done = upload(officer, row, *wrap(row, made.private.reveal(), tmp_path))
    assert done.state == "done", done.last_error
    version = KeyVersion.objects.get(pk=done.version_id)
    assert made.public is None or bytes(version.public_key) == made.public


def test_it_goes_to_its_provider_by_an_intent(far, there, tree, officer, tmp_path):
    row = new(tree, provider="far")
    key = secrets.token_bytes(32)
    there.down = True
    handed = upload(officer, row, *wrap(row, key, tmp_path))
    assert handed.state == "handed"
    assert work(row.key, "import").state == "waiting"
    transfer_tick()
    handed.refresh_from_db()
    assert handed.state == "handed"
    there.down = False
    ProviderIntent.objects.update(next_try_at=timezone.now())
    assert work(row.key, "import").state == "done"
    transfer_tick()
    handed.refresh_from_db()
    assert handed.state == "done"
    assert [held.material.reveal() for held in there.keys.values()] == [key]
    assert leftovers() == 0


def test_a_next_version_waits_to_be_activated(tree, officer, tmp_path):
    row = imports.open_import(actor=officer, key_id=tree.dek.pk, method="rsa_oaep", reason="Second")
    done = upload(officer, row, *wrap(row, secrets.token_bytes(32), tmp_path))
    assert (done.version.key_version, done.version.status) == (2, "pre_active")
    assert tree.dek.versions.get(key_version=1).status == "active"


def test_only_one_import_of_a_key_is_open(tree, officer):
    imports.open_import(actor=officer, key_id=tree.dek.pk, method="hpke_x25519", reason="One")
    with pytest.raises(Conflict):
        imports.open_import(actor=officer, key_id=tree.dek.pk, method="hpke_x25519", reason="Two")


def test_another_size_or_value_is_refused_and_may_come_again(tree, officer, tmp_path):
    row = new(tree)
    first_nonce = row.nonce
    key = secrets.token_bytes(32)
    receiver = transport.receiver_of(bytes(row.public_key))
    short = transport.wrap_for(receiver, transport.Method.RSA_AES_KW, SecretBytes(key[:31]))
    refused = upload(officer, row, short, "AABBCC")
    assert (refused.state, refused.version_id) == ("open", None)
    assert "32 bytes" in refused.last_error
    wrapped, value = wrap(row, key, tmp_path)
    refused = upload(officer, row, wrapped, "000000" if value != "000000" else "000001")
    assert refused.state == "open"
    assert "check value differs" in refused.last_error
    refused = upload(officer, row, b"x" * 600, "AABBCC")
    assert "does not open" in refused.last_error
    assert refused.nonce not in {"", first_nonce}
    again, value = wrap(row, key, tmp_path)
    assert upload(officer, row, again, value).state == "done"
    assert AuditEvent.objects.filter(action="key.import", outcome="failed").count() == 3


def test_replayed_uploads_are_refused(tree, officer, tmp_path):
    row = new(tree)
    nonce, (wrapped, value) = row.nonce, wrap(row, secrets.token_bytes(32), tmp_path)
    upload(officer, row, wrapped, "00FF00")
    with pytest.raises(Conflict, match="very bytes"):
        upload(officer, row, wrapped, value)
    again, _ = wrap(row, secrets.token_bytes(32), tmp_path)
    with pytest.raises(Conflict, match="earlier page"):
        upload(officer, row, again, value, nonce=nonce)
    other = new(tree, name="other")
    with pytest.raises(Conflict, match="very bytes"):
        upload(officer, other, wrapped, value)
    third, value = wrap(other, secrets.token_bytes(32), tmp_path)
    assert upload(officer, other, third, value).state == "done"
    with pytest.raises(WrongState):
        upload(officer, other, wrap(row, secrets.token_bytes(32), tmp_path)[0], value, nonce="")


def test_bad_uploads(tree, officer, auditor, tmp_path):
    row = new(tree, "hpke_x25519")
    for wrapped, value, error in (
        (b"", "AABBCC", ValidationFailed), (b"x" * 20_000, "AABBCC", TooLarge), (b"x", "AABB", ValidationFailed),
        (b"x", "GGGGGG", ValidationFailed), (b"x", "", ValidationFailed),
    ):  # fmt: skip
        with pytest.raises(error):
            upload(officer, row, wrapped, value)
    with pytest.raises(PermissionRefused):
        upload(auditor, row, b"x", "AABBCC")


def test_an_expired_import_takes_nothing_and_leaves_nothing(tree, officer, tmp_path):
    row = new(tree)
    wrapped, value = wrap(row, secrets.token_bytes(32), tmp_path)
    KeyImport.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(ImportExpired):
        upload(officer, row, wrapped, value)
    transfer_tick()
    row.refresh_from_db()
    assert (row.state, leftovers()) == ("expired", 0)
    assert AuditEvent.objects.filter(action="key.expire_import").count() == 1
    again = imports.open_import(actor=officer, key_id=row.key_id, method="rsa_aes_kw", reason="Again")
    wrapped, value = wrap(again, secrets.token_bytes(32), tmp_path)
    assert upload(officer, again, wrapped, value).state == "done"
    assert Key.objects.get(pk=row.key_id).current is not None


def test_a_half_finished_import_is_taken_up_again(tree, officer, tmp_path):
    row = new(tree)
    wrapped, value = wrap(row, secrets.token_bytes(32), tmp_path)
    imports.receive_upload(actor=officer, import_id=row.pk, nonce=row.nonce, wrapped=wrapped, check_value=value)
    import_work(str(row.pk))
    import_work(str(row.pk))  # the message came twice
    row.refresh_from_db()
    assert row.state == "done"
    assert row.key.versions.count() == 1


def test_abort_erases_what_a_provider_never_got(far, there, tree, officer, tmp_path, monkeypatch):
    monkeypatch.setattr("keys.services.providers.work.TRIES", 1)
    row = new(tree, provider="far")
    there.down = True
    upload(officer, row, *wrap(row, secrets.token_bytes(32), tmp_path))
    with pytest.raises(Conflict):
        imports.abort_import(actor=officer, import_id=row.pk, reason="Too slow")
    assert work(row.key, "import").state == "failed"
    assert leftovers() == 1
    imports.abort_import(actor=officer, import_id=row.pk, reason="Changed our minds")
    assert leftovers() == 0
    there.down = False
    assert work(row.key, "destroy").state == "done"
    row.refresh_from_db()
    assert (row.state, row.version.status) == ("aborted", "destroyed")
    with pytest.raises(WrongState):
        imports.abort_import(actor=officer, import_id=row.pk, reason="Twice")


def test_what_a_failed_provider_never_got_expires(far, there, tree, officer, tmp_path, monkeypatch):
    monkeypatch.setattr("keys.services.providers.work.TRIES", 1)
    row = new(tree, provider="far")
    there.down = True
    upload(officer, row, *wrap(row, secrets.token_bytes(32), tmp_path))
    work(row.key, "import")
    KeyImport.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    transfer_tick()
    row.refresh_from_db()
    assert (row.state, leftovers()) == ("expired", 0)
    assert intent_of(row.key, "destroy").state == "queued"


def test_what_cannot_be_opened(tree, officer, auditor, service):
    for actor in (auditor, service):
        with pytest.raises(PermissionRefused):
            imports.open_import(actor=actor, key_id=tree.dek.pk, method="hpke_x25519", reason="No")
    for method, more, field in (
        ("carrier_pigeon", {}, "method"), ("hpke_x25519", {"reason": " "}, "reason"),
        ("hpke_x25519", {"component_values": ["AABBCC", "AABBCC"]}, "component_values"),
        ("components", {"check_value": "AABBCC"}, "component_values"),
        ("components", {"component_values": ["AABBCC"] * 2}, "check_value"),
        ("components", {"component_values": ["AABBCC", "XX"], "check_value": "AABBCC"}, "check_value"),
    ):  # fmt: skip
        with pytest.raises(ValidationFailed) as caught:
            imports.open_import(actor=officer, key_id=tree.dek.pk, method=method, **{"reason": "r"} | more)
        assert field in caught.value.errors
    with pytest.raises(ValidationFailed):
        imports.open_import(actor=officer, key_id=tree.token.pk, method="rsa_oaep", reason="A private key")


def test_the_database_keeps_the_rules_as_well(tree, officer):
    row = imports.open_import(actor=officer, key_id=tree.dek.pk, method="hpke_x25519", reason="r")
    for values in (
        {"state": "lost"}, {"state": "done", "finished_at": timezone.now()}, {"finished_at": timezone.now()},
        {"state": "aborted", "finished_at": timezone.now()},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            KeyImport.objects.filter(pk=row.pk).update(**values)
    for state, moves in IMPORT_MOVES.items():
        assert bool(moves) == (state in OPEN_IMPORTS)
    assert set(IMPORT_MOVES) == set(ImportState)


def test_no_material_is_in_any_table_or_message(tree, officer, tmp_path, caplog, monkeypatch):
    sent: list[object] = []
    monkeypatch.setattr("keys.transfer_tasks.import_work.delay", lambda *args: sent.append(args))
    row = new(tree)
    key = secrets.token_bytes(32)
    wrapped, value = wrap(row, key, tmp_path)
    imports.receive_upload(actor=officer, import_id=row.pk, nonce=row.nonce, wrapped=wrapped, check_value=value)
    import_work(str(row.pk))
    from tests.provider_services.scanning import dump

    held = dump() + caplog.text.encode() + repr(sent).encode()
    for form in (key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key)):
        assert form not in held


def test_a_check_value_that_was_announced_is_the_only_one(tree, officer, tmp_path):
    row = new(tree, check_value="AABBCC")
    wrapped, value = wrap(row, secrets.token_bytes(32), tmp_path)
    with pytest.raises(ValidationFailed) as caught:
        upload(officer, row, wrapped, value)
    assert "check_value" in caught.value.errors
    row.refresh_from_db()
    assert (row.state, row.upload) == ("open", None)
