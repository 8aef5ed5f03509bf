"""The data plane: what each state and each kind lets happen, and the errors for everything else."""

import json
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.utils import timezone

from keys.models import KeyVersion
from keys.providers.base import OperationUnsupported
from keys.services import cache, key_views, lifecycle, operations
from keys.services.operations import CiphertextItem, PlaintextItem
from keys.states import MAY_PROCESS, MAY_PROTECT, VersionState
from keyvault_portal.errors import (
    DecryptRefused,
    NotFound,
    PermissionRefused,
    PortalError,
    TooLarge,
    ValidationFailed,
    WrongState,
)

CONTEXT = {"table": "customers", "column": "e-mail"}


@pytest.fixture
def kinds(tree):
    tree.mac = tree.make("codes", "dek", "HMAC-SHA256", tree.kek)
    tree.rsa = tree.make("inbox", "transport", "RSA-2048-OAEP-SHA256", tree.kek)
    return tree


def test_encrypt_and_decrypt_bind_the_context(tree, service):
    made = operations.encrypt(service, tree.dek.pk, b"ann@example.org", CONTEXT)
    assert made.ciphertext.startswith("vault:v1:")
    assert operations.decrypt(service, "payments/customers", made.ciphertext, CONTEXT).plaintext == b"ann@example.org"
    for wrong in ({}, {"table": "customers"}, {**CONTEXT, "column": "name"}, dict(reversed(CONTEXT.items()))):
        with pytest.raises(DecryptRefused):
            operations.decrypt(service, tree.dek.pk, made.ciphertext, wrong)


def test_the_associated_data_is_the_json_of_the_context(tree, service):
    from keys.services import materials

    made = operations.encrypt(service, tree.dek.pk, b"x", CONTEXT)
    raw = b64decode(made.ciphertext.split(":")[2])
    key = materials.material(materials.active_version(tree.dek)).reveal()
    assert AESGCM(key).decrypt(raw[:12], raw[12:], json.dumps(CONTEXT).encode()) == b"x"


def damaged(text: str) -> str:
    """With one bit of the tag changed."""
    form, _, told = text.rpartition(":")
    raw = b64decode(told)
    return f"{form}:{b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()}"


def test_every_wrong_ciphertext_gives_the_same_error(tree, service):
    other = tree.make("orders", "dek", "AES-256-GCM", tree.kek)
    made = operations.encrypt(service, tree.dek.pk, b"secret text", CONTEXT).ciphertext
    foreign = operations.encrypt(service, other.pk, b"secret text", CONTEXT).ciphertext
    said = set()
    for text in (foreign, damaged(made), made[:41], made[:21]):
        with pytest.raises(DecryptRefused) as caught:
            operations.decrypt(service, tree.dek.pk, text, CONTEXT)
        said.add((str(caught.value), caught.value.hint, json.dumps(caught.value.extra)))
    assert said == {("Decryption failed", "", "{}")}


@pytest.mark.parametrize("text", ["", "vault:v1:", "vault:v0:AAAA", "vault:v1:%%%", "v1:AAAA", "vault:v1:AAA"])
def test_what_is_no_ciphertext_is_named_so(tree, service, text):
    with pytest.raises(ValidationFailed) as caught:
        operations.decrypt(service, tree.dek.pk, text)
    assert "ciphertext" in caught.value.errors


def test_unknown_keys_and_versions_are_not_found(tree, service):
    made = operations.encrypt(service, tree.dek.pk, b"x").ciphertext
    with pytest.raises(NotFound):
        operations.decrypt(service, tree.dek.pk, made.replace("v1", "v7"))
    for ref in ("payments/nothing", "nowhere/customers", "customers", tree.ring.pk):
        with pytest.raises(NotFound):
            operations.encrypt(service, ref, b"x")


@pytest.mark.parametrize("bad", [{"n": 1}, {1: "a"}, [["a", "b"]], {"a": "x" * 9000}])
def test_contexts_map_short_text_to_text(tree, service, bad):
    with pytest.raises(ValidationFailed):
        operations.encrypt(service, tree.dek.pk, b"x", bad)


def test_rights_are_asked_for_every_operation(kinds, service, officer, auditor):
    made = operations.encrypt(service, kinds.dek.pk, b"x").ciphertext
    signed = operations.sign(service, kinds.token.pk, b"x").signature
    code = operations.mac(service, kinds.mac.pk, b"x").signature
    envelope = operations.envelope_encrypt(service, kinds.kek.pk, b"x")
    calls = [
        lambda a: operations.encrypt(a, kinds.dek.pk, b"x"),
        lambda a: operations.decrypt(a, kinds.dek.pk, made),
        lambda a: operations.rewrap(a, kinds.dek.pk, made),
        lambda a: operations.sign(a, kinds.token.pk, b"x"),
        lambda a: operations.verify(a, kinds.token.pk, b"x", signed),
        lambda a: operations.mac(a, kinds.mac.pk, b"x"),
        lambda a: operations.verify_mac(a, kinds.mac.pk, b"x", code),
        lambda a: operations.generate_data_key(a, kinds.kek.pk),
        lambda a: operations.unwrap_data_key(a, envelope.kms_key_id, envelope.wrapped_dek),
        lambda a: operations.envelope_encrypt(a, kinds.kek.pk, b"x"),
        lambda a: operations.envelope_decrypt(a, envelope),
    ]
    for call in calls:
        call(service)
        for nobody in (officer, auditor):
            with pytest.raises(PermissionRefused):
                call(nobody)


def test_an_actor_of_another_ring_is_refused(tree):
    from uuid import uuid4

    from keyvault_portal.accounts.permissions import Role
    from tests.keys.conftest import actor_of

    stranger = actor_of(Role.SERVICE, "other", uuid4())
    with pytest.raises(NotFound):
        operations.encrypt(stranger, tree.dek.pk, b"x")
    assert operations.encrypt(actor_of(Role.SERVICE, "own", tree.ring.pk), tree.dek.pk, b"x")


def test_keys_do_only_what_their_kind_and_algorithm_are_for(kinds, service):
    for call in (
        lambda: operations.encrypt(service, kinds.kek.pk, b"x"),
        lambda: operations.encrypt(service, kinds.master.pk, b"x"),
        lambda: operations.encrypt(service, kinds.token.pk, b"x"),
        lambda: operations.sign(service, kinds.dek.pk, b"x"),
        lambda: operations.mac(service, kinds.dek.pk, b"x"),
        lambda: operations.sign(service, kinds.mac.pk, b"x"),
        lambda: operations.generate_data_key(service, kinds.dek.pk),
        lambda: operations.generate_data_key(service, kinds.kek.pk, algorithm="Ed25519"),
    ):
        with pytest.raises(OperationUnsupported):
            call()


@pytest.mark.parametrize("state", list(VersionState))
def test_what_each_state_allows(kinds, service, state):
    dek, token, mac, kek, rsa = (k.pk for k in (kinds.dek, kinds.token, kinds.mac, kinds.kek, kinds.rsa))
    made = operations.encrypt(service, dek, b"x").ciphertext
    sealed = operations.encrypt(service, rsa, b"x").ciphertext
    signed = operations.sign(service, token, b"x").signature
    code = operations.mac(service, mac, b"x").signature
    envelope = operations.envelope_encrypt(service, kek, b"x")
    protecting = [
        ((dek,), lambda: operations.encrypt(service, dek, b"x")),
        ((rsa,), lambda: operations.encrypt(service, rsa, b"x")),
        ((dek,), lambda: operations.rewrap(service, dek, made)),
        ((token,), lambda: operations.sign(service, token, b"x")),
        ((mac,), lambda: operations.mac(service, mac, b"x")),
        ((kek,), lambda: operations.generate_data_key(service, kek)),
        ((kek,), lambda: operations.envelope_encrypt(service, kek, b"x")),
    ]
    processing = [
        ((dek,), lambda: operations.decrypt(service, dek, made).plaintext == b"x"),
        ((rsa,), lambda: operations.decrypt(service, rsa, sealed).plaintext == b"x"),
        ((token,), lambda: operations.verify(service, token, b"x", signed).valid),
        ((mac,), lambda: operations.verify_mac(service, mac, b"x", code).valid),
        ((kek,), lambda: operations.unwrap_data_key(service, envelope.kms_key_id, envelope.wrapped_dek)),
        ((kek,), lambda: operations.envelope_decrypt(service, envelope) == b"x"),
    ]
    for calls, states in ((protecting, MAY_PROTECT), (processing, MAY_PROCESS)):
        for (key_id,), call in calls:
            rows = KeyVersion.objects.filter(key_id=key_id)
            before = rows.values("status", "wrapped_material").get()
            erased = {"wrapped_material": None} if state is VersionState.DESTROYED else {}
            rows.update(status=state.value, **erased)
            key_views.forget()
            if state in states:
                assert call()
            else:
                with pytest.raises(WrongState):
                    call()
            rows.update(**before)
            key_views.forget()


def test_rewrap_moves_to_the_active_version_without_the_right_to_decrypt(tree, service):
    from dataclasses import replace

    from keyvault_portal.accounts.actors import Grant
    from keyvault_portal.accounts.permissions import Permission

    old = operations.encrypt(service, tree.dek.pk, b"x", CONTEXT).ciphertext
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=True)
    mover = replace(service, grants=(Grant(frozenset({Permission.KEY_REWRAP})),))
    new = operations.rewrap(mover, tree.dek.pk, old, CONTEXT).ciphertext
    assert new.startswith("vault:v2:")
    assert operations.decrypt(service, tree.dek.pk, new, CONTEXT).plaintext == b"x"
    with pytest.raises(PermissionRefused):
        operations.decrypt(mover, tree.dek.pk, new, CONTEXT)


def test_a_batch_has_an_error_in_the_place_of_each_bad_item(tree, service):
    good = operations.encrypt(service, tree.dek.pk, b"x").ciphertext
    texts = [good, "nonsense", good.replace("v1", "v9"), damaged(good)]
    results = operations.decrypt_many(service, tree.dek.pk, [CiphertextItem(text) for text in texts])
    assert results[0].plaintext == b"x"
    assert [error.code for error in results[1:]] == ["validation_failed", "not_found", "decrypt_failed"]
    with pytest.raises(TooLarge):
        operations.encrypt_many(service, tree.dek.pk, [PlaintextItem(b"")] * 1001)
    with pytest.raises(ValidationFailed):
        operations.encrypt_many(service, tree.dek.pk, [])
    assert len(operations.encrypt_many(service, tree.dek.pk, [PlaintextItem(b"")] * 1000)) == 1000


def test_signatures_verify_in_both_forms_and_a_wrong_one_is_an_answer(tree, service):
    key = tree.make("es", "token_signing", "ECDSA-P256-SHA256", tree.kek)
    for jose in (False, True):
        signed = operations.sign(service, key.pk, b"message", jose=jose)
        assert operations.verify(service, key.pk, b"message", signed.signature, jose=jose).valid
        assert not operations.verify(service, key.pk, b"massage", signed.signature, jose=jose).valid
        assert not operations.verify(service, key.pk, b"message", signed.signature, jose=not jose).valid


def test_a_use_while_waiting_for_destruction_is_served_and_stops_the_clock(tree, service):
    made = operations.encrypt(service, tree.dek.pk, b"x").ciphertext
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=True)
    old = KeyVersion.objects.get(key=tree.dek, key_version=1)
    KeyVersion.objects.filter(pk=old.pk).update(
        status="pending_deletion", deletion_from="decrypt_only", deletion_due_at=timezone.now()
    )
    key_views.forget()
    with pytest.raises(DecryptRefused):
        operations.decrypt(service, tree.dek.pk, damaged(made))
    old.refresh_from_db()
    assert old.deletion_halted_at is None
    assert operations.decrypt(service, tree.dek.pk, made).plaintext == b"x"
    old.refresh_from_db()
    assert old.deletion_halted_at is not None
    assert old.deletion_halted_by == "shop-backend"
    with pytest.raises(WrongState):
        lifecycle.destroy_version(actor=tree.officer, version_id=old.pk)


def test_a_use_of_a_key_stops_the_clock_of_what_wraps_it(tree, service):
    made = operations.encrypt(service, tree.dek.pk, b"x").ciphertext
    KeyVersion.objects.filter(key=tree.kek).update(status="pending_deletion", deletion_from="decrypt_only")
    key_views.forget()
    assert operations.decrypt(service, tree.dek.pk, made).plaintext == b"x"
    assert KeyVersion.objects.get(key=tree.kek).deletion_halted_by == "shop-backend"


def test_the_contexts_of_our_own_keys_cannot_be_borrowed(tree, service):
    version = KeyVersion.objects.get(key=tree.dek)
    stolen, arn = bytes(version.wrapped_material), KeyVersion.objects.get(key=tree.kek).kms_key_arn
    for context in ({"key": str(tree.dek.pk), "version": "1"}, {"data_key": "x"}):
        for call in (
            lambda c: operations.unwrap_data_key(service, arn, stolen, c),
            lambda c: operations.generate_data_key(service, tree.kek.pk, c),
            lambda c: operations.envelope_encrypt(service, tree.kek.pk, b"", c),
        ):
            with pytest.raises(ValidationFailed):
                call(context)


@pytest.mark.django_db(transaction=True)
def test_steady_operations_ask_the_database_nothing(django_assert_num_queries, officer, service, monkeypatch):
    from tests.keys.conftest import build_tree

    monkeypatch.setattr(cache, "monotonic", lambda: 1000.0)  # a view of a key is good for two seconds
    tree = build_tree(officer)
    made = operations.encrypt(service, tree.dek.pk, b"x").ciphertext
    operations.decrypt(service, tree.dek.pk, made)
    signed = operations.sign(service, tree.token.pk, b"x").signature
    envelope = operations.envelope_encrypt(service, tree.kek.pk, b"x")
    operations.envelope_decrypt(service, envelope)
    with django_assert_num_queries(0):
        operations.encrypt(service, tree.dek.pk, b"x")
        operations.encrypt_many(service, tree.dek.pk, [PlaintextItem(b"y")] * 100)
        operations.decrypt(service, tree.dek.pk, made)
        operations.verify(service, tree.token.pk, b"x", signed)
        operations.envelope_decrypt(service, operations.envelope_encrypt(service, tree.kek.pk, b"x"))


def test_one_event_a_request_with_a_digest_and_no_plaintext(tree, service):
    import orjson

    from keyvault_portal.audit.models import AuditEvent

    with operations.audited(service, "key.encrypt", tree.dek.pk) as entry:
        results = operations.encrypt_many(service, tree.dek.pk, [PlaintextItem(b"hush"), PlaintextItem(b"y", {"a": 1})])
        entry.note(results)
    with pytest.raises(PortalError), operations.audited(service, "key.decrypt", "payments/customers") as entry:
        operations.decrypt(service, "payments/customers", results[0].ciphertext, {"wrong": "context"})
    with pytest.raises(NotFound), operations.audited(service, "key.decrypt", "payments/nothing") as entry:
        operations.decrypt(service, "payments/nothing", "vault:v1:AAAA")
    done, refused, unknown = AuditEvent.objects.order_by("-seq")[:3][::-1]
    leaf = orjson.loads(bytes(done.leaf))
    assert (done.action, done.outcome, leaf["target"]["label"]) == ("key.encrypt", "success", "payments/customers")
    assert leaf["details"]["items"] == 2
    assert leaf["details"]["refused"] == {"validation_failed": 1}
    assert len(leaf["details"]["digest"]) == 64
    assert b"hush" not in bytes(done.leaf)
    assert (refused.outcome, refused.ring_id) == ("refused", tree.ring.pk)
    assert orjson.loads(bytes(refused.leaf))["details"]["code"] == "decrypt_failed"
    assert orjson.loads(bytes(unknown.leaf))["target"]["label"] == "payments/nothing"


def test_the_last_use_is_written_down_once_a_minute(tree, service, monkeypatch):
    from keys.services import usage

    now = [1000.0]
    monkeypatch.setattr(usage, "monotonic", lambda: now[0])
    rows = KeyVersion.objects.filter(key=tree.dek)
    operations.encrypt(service, tree.dek.pk, b"x")
    first = rows.get().last_used_at
    assert rows.get().last_used_by == "shop-backend"
    operations.encrypt(service, tree.dek.pk, b"x")
    assert rows.get().last_used_at == first
    now[0] += 61
    operations.encrypt(service, tree.dek.pk, b"x")
    assert rows.get().last_used_at > first
