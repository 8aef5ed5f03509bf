"""Wrapped at rest, unwrapped up the chain, bound to its place."""

import pytest

from keys.crypto.secret import SecretBytes
from keys.models import DataKey, KeyVersion
from keys.services import lifecycle, materials, sealing
from keys.states import VersionState
from keyvault_portal.errors import DecryptRefused, Sealed, WrongState

CHAIN = KeyVersion.objects.select_related(*materials.CHAIN)


def test_material_is_found_through_the_chain(tree):
    version = CHAIN.get(key=tree.dek)
    first = materials.material(version)
    materials.forget()
    assert materials.material(CHAIN.get(key=tree.dek)) == first
    assert len(first) == 32


def test_a_version_swapped_into_another_row_does_not_open(tree):
    other = tree.make("other", "dek", "AES-256-GCM", tree.kek)
    stolen = KeyVersion.objects.get(key=other).wrapped_material
    KeyVersion.objects.filter(key=tree.dek).update(wrapped_material=stolen)
    with pytest.raises(DecryptRefused):
        materials.material(CHAIN.get(key=tree.dek))


def test_suspending_a_wrapper_stops_what_it_wraps_even_when_cached(tree):
    materials.material(CHAIN.get(key=tree.dek))
    materials.cipher(CHAIN.get(key=tree.dek))
    KeyVersion.objects.filter(key=tree.kek).update(status=VersionState.SUSPENDED.value)
    with pytest.raises(WrongState):
        materials.material(CHAIN.get(key=tree.dek))
    with pytest.raises(WrongState):
        materials.cipher(CHAIN.get(key=tree.dek))


def test_wrap_and_unwrap_bind_their_context(tree):
    kek = materials.active_version(tree.kek)
    wrapped = materials.wrap_under(kek, SecretBytes(b"k" * 32), context={"tenant": "a"})
    assert materials.unwrap_under(kek, wrapped, context={"tenant": "a"}) == b"k" * 32
    with pytest.raises(DecryptRefused):
        materials.unwrap_under(kek, wrapped, context={"tenant": "b"})


def test_data_keys_are_wrapped_by_the_kek_and_found_in_one_query(tree, django_assert_num_queries):
    version = materials.active_version(tree.dek)
    row, secret = materials.new_data_key(version, "tenant-1")
    another, _ = materials.new_data_key(version, "tenant-2")
    assert row.wrapped_by.key_id == tree.kek.pk
    materials.forget()
    with django_assert_num_queries(1):
        found = materials.data_key_materials([row.id, another.id])
    assert found[row.id] == secret
    DataKey.objects.filter(pk=row.pk).update(wrapped=DataKey.objects.get(pk=another.pk).wrapped)
    with pytest.raises(DecryptRefused):
        materials.data_key_materials([row.id])


def test_without_a_root_key_nothing_opens(tree, settings):
    settings.ROOT_KEY_FILE.unlink()
    from keys.services import root_key

    root_key.forget()
    materials.forget()
    with pytest.raises(Sealed):
        materials.material(CHAIN.get(key=tree.dek))


def test_sealed_values_open_and_are_bound_to_their_row(tree):
    one = sealing.seal_value(tree.officer, purpose="dsn", plaintext=b"postgresql://secret", key=tree.dek)
    two = sealing.seal_value(tree.officer, purpose="dsn", plaintext=b"postgresql://other", key=tree.dek)
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=True)
    assert sealing.open_value(one).reveal() == b"postgresql://secret"
    one.ciphertext = two.ciphertext
    with pytest.raises(DecryptRefused):
        sealing.open_value(one)


def test_introducing_a_version_leaves_one_active(tree):
    version = lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=True)
    states = dict(KeyVersion.objects.filter(key=tree.dek).values_list("key_version", "status"))
    assert states == {1: "decrypt_only", 2: "active"}
    tree.dek.refresh_from_db()
    assert tree.dek.current_id == version.pk
    assert KeyVersion.objects.get(key=tree.dek, key_version=1).rotated_at is not None
