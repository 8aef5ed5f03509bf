"""The transit engine beyond the contract: seals and restarts, identities, floors, imports, trouble on the line."""

import base64
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from keys.crypto import keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    TAG,
    CredentialsRefused,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    RemoteState,
)
from keys.providers.vault_transit import VaultTransitProvider
from keyvault_portal.errors import DecryptRefused
from tests.providers import bao
from tests.providers.place import Place
from tests.providers.place_vault_transit import POLICY

AES = "AES-256-GCM"


@pytest.fixture
def place(places) -> Place:
    return places["vault_transit"]


@pytest.fixture
def address(place) -> str:
    return place.provider._connection.address


def new_key(provider: VaultTransitProvider, algorithm: str = AES) -> KeyHandle:
    made = provider.generate(algorithm)
    return KeyHandle(algorithm, made.opaque, made.public_key)


def next_version(provider: VaultTransitProvider, handle: KeyHandle) -> KeyHandle:
    made = provider.rotate(handle)
    return KeyHandle(handle.algorithm, made.opaque, made.public_key)


# Versions


def test_a_handle_stays_on_its_version(place):
    old = new_key(place.provider)
    new = next_version(place.provider, old)
    assert (old.opaque.rpartition(":")[2], new.opaque.rpartition(":")[2]) == ("v1", "v2")
    sealed = place.provider.cipher(old).encrypt(b"still under the first")
    with pytest.raises(DecryptRefused):
        place.provider.cipher(new).decrypt(sealed)
    material, wrapped = place.provider.generate_data_key(old, b"aad")
    assert place.provider.unwrap(old, wrapped, b"aad") == material


def test_a_signer_stays_on_its_version(place):
    old = new_key(place.provider, "ECDSA-P256-SHA256")
    new = next_version(place.provider, old)
    assert old.public_key != new.public_key
    bare = KeyHandle(old.algorithm, old.opaque)
    signature = place.provider.signer(bare).sign(b"m")
    keymaterial.verify(old.algorithm, old.public_key, b"m", signature)
    assert not place.provider.signer(new).verify(b"m", signature)


def test_versions_are_disabled_and_destroyed_in_order_of_age(place):
    provider = place.provider
    first = new_key(provider)
    second, third = next_version(provider, first), None
    third = next_version(provider, first)
    sealed = {handle.opaque: provider.cipher(handle).encrypt(b"kept") for handle in (first, second, third)}
    for too_young in (second, third):
        with pytest.raises(OperationUnsupported):
            provider.disable(too_young)
        with pytest.raises(OperationUnsupported):
            provider.destroy(too_young)
    provider.disable(first)
    provider.disable(first)
    provider.disable(second)
    for handle, state in ((first, RemoteState.DISABLED), (second, RemoteState.DISABLED), (third, RemoteState.ENABLED)):
        assert provider.describe(handle).state is state
    for handle in (first, second):
        with pytest.raises(KeyUnusable):
            provider.cipher(handle).decrypt(sealed[handle.opaque])
        with pytest.raises(KeyUnusable):
            provider.cipher(handle).encrypt(b"new")
    assert provider.cipher(third).decrypt(sealed[third.opaque]) == b"kept"
    with pytest.raises(OperationUnsupported):
        provider.enable(first)
    provider.enable(second)
    assert provider.cipher(second).decrypt(sealed[second.opaque]) == b"kept"

    provider.destroy(first)
    with pytest.raises(KeyMissing):
        provider.describe(first)
    assert first.opaque not in {remote.opaque for remote in provider.list_keys()}
    assert provider.cipher(second).decrypt(sealed[second.opaque]) == b"kept"
    provider.destroy(second)
    provider.destroy(third)
    with pytest.raises(KeyMissing):
        provider.describe(third)


def test_a_key_deleted_behind_our_back_is_not_made_anew_by_using_it(place, address):
    handle = new_key(place.provider)
    cipher = place.provider.cipher(handle)
    place.delete_behind_our_back(handle.opaque)
    for use in (lambda: cipher.encrypt(b"x"), lambda: cipher.decrypt(bytes(40)), lambda: place.provider.rotate(handle)):
        with pytest.raises(KeyMissing):
            use()
    listed = bao.call(address, "list", "transit/keys")["data"]["keys"]
    assert handle.opaque.rpartition(":")[0] not in listed


@pytest.mark.parametrize("opaque", ["", "name", "name:v", "name:vx", ":v1"])
def test_what_is_no_name_of_a_version_is_missing(place, opaque):
    with pytest.raises(KeyMissing):
        place.provider.describe(KeyHandle(AES, opaque))


def test_what_the_server_rotates_by_itself_is_shown(place, address):
    handle = new_key(place.provider)
    name = handle.opaque.rpartition(":")[0]
    bao.call(address, "post", f"transit/keys/{name}/config", {"auto_rotate_period": "720h", "exportable": True})
    described = place.provider.describe(handle)
    assert (described.rotation_days, described.extractable, described.imported) == (30, True, False)
    assert described.created_at.tzinfo is not None


def test_data_keys_have_the_engines_sizes(place):
    handle = new_key(place.provider)
    assert [len(place.provider.generate_data_key(handle, b"", size)[0]) for size in (16, 32, 64)] == [16, 32, 64]
    with pytest.raises(OperationUnsupported):
        place.provider.generate_data_key(handle, b"", 24)


# Import


IMPORTABLE = sorted(name for name in VaultTransitProvider.algorithms if ALGORITHMS[name].kind is not Kind.KEY_WRAP)


@pytest.mark.parametrize("algorithm", IMPORTABLE)
def test_imported_keys_are_the_ones_we_had(place, algorithm):
    """What the engine does with an imported key, our software undoes with the key it came from."""
    provider, ours = place.provider, keymaterial.generate(algorithm)
    made = provider.import_key(algorithm, ours.private)
    handle = KeyHandle(algorithm, made.opaque, made.public_key)
    assert made.public_key == ours.public
    assert provider.describe(handle).imported
    match ALGORITHMS[algorithm].kind:
        case Kind.AEAD:
            sealed = provider.cipher(handle).encrypt(b"data", b"aad")
            assert keymaterial.decrypt(algorithm, ours.private, sealed, b"aad") == b"data"
            sealed = keymaterial.encrypt(algorithm, ours.private, b"back", b"aad")
            assert provider.cipher(handle).decrypt(sealed, b"aad") == b"back"
        case Kind.ASYMMETRIC_ENCRYPTION:
            assert provider.cipher(handle).decrypt(keymaterial.encrypt(algorithm, ours.public, b"data")) == b"data"
        case Kind.SIGNATURE:
            keymaterial.verify(algorithm, ours.public, b"m", provider.signer(handle).sign(b"m"))
        case Kind.MAC:
            assert provider.authenticator(handle).mac(b"m") == keymaterial.mac(algorithm, ours.private, b"m")


def test_an_imported_key_can_be_rotated(place):
    handle = KeyHandle(AES, place.provider.import_key(AES, SecretBytes(bytes(range(32)))).opaque)
    assert next_version(place.provider, handle).opaque.endswith(":v2")


def test_material_that_does_not_fit_makes_no_key(place):
    before = len(list(place.provider.list_keys()))
    with pytest.raises(ProviderFault):
        place.provider.import_key(AES, SecretBytes(b"short"))
    assert len(list(place.provider.list_keys())) == before


# Identities


def test_an_approle_signs_in_and_again_when_its_token_is_gone(place, address):
    bao.call(address, "post", "sys/auth/approle", {"type": "approle"})
    bao.call(address, "post", "auth/approle/role/portal", {"token_policies": ["portal"], "token_ttl": "1h"})
    role = bao.call(address, "get", "auth/approle/role/portal/role-id")["data"]["role_id"]
    secret = bao.call(address, "post", "auth/approle/role/portal/secret-id")["data"]["secret_id"]
    provider = place.make(token="", role_id=role, secret_id=secret)
    handle = new_key(provider)
    first = provider._connection._client[1].token
    bao.call(address, "post", "auth/token/revoke", {"token": first})
    assert provider.describe(handle).opaque == handle.opaque
    assert provider._connection._client[1].token != first
    wrong = place.make(token="", role_id=role, secret_id="wrong-secret-id")
    with pytest.raises(CredentialsRefused) as caught:
        wrong.check()
    assert "wrong-secret-id" not in f"{caught.value.detail}{caught.value!r}{wrong._connection!r}"


def test_a_token_file_is_read_again_when_its_token_is_gone(place, address, tmp_path):
    def token() -> str:
        return bao.call(address, "post", "auth/token/create", {"policies": ["portal"]})["auth"]["client_token"]

    file = tmp_path / "token"
    provider = place.make(token="", token_file=str(file))
    with pytest.raises(CredentialsRefused):
        provider.check()
    first = token()
    file.write_text(f"{first}\n")
    provider.check()
    bao.call(address, "post", "auth/token/revoke", {"token": first})
    with pytest.raises(CredentialsRefused):
        provider.check()
    file.write_text(token())
    assert provider.check().identity == "token"


def test_a_token_without_rights_is_refused(place, address):
    token = bao.call(address, "post", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
    with pytest.raises(CredentialsRefused):
        place.make(token=token).generate(AES)


def test_a_namespace_keeps_its_own_keys(place, address):
    bao.call(address, "post", "sys/namespaces/team")
    bao.call(address, "post", "team/sys/mounts/transit", {"type": "transit"})
    bao.call(address, "put", "team/sys/policies/acl/portal", {"policy": POLICY})
    token = bao.call(address, "post", "team/auth/token/create", {"policies": ["portal"]})["auth"]["client_token"]
    provider = place.make(namespace="team", token=token)
    assert list(provider.list_keys()) == []
    handle = new_key(provider)
    assert [remote.opaque for remote in provider.list_keys()] == [handle.opaque]
    with pytest.raises(KeyMissing):
        place.provider.describe(handle)


def test_a_mount_that_is_none_is_told(place):
    with pytest.raises((KeyMissing, CredentialsRefused)):
        place.make(mount="nowhere").generate(AES)


# In use


def test_one_bound_cipher_serves_many_threads(place):
    cipher = place.provider.cipher(new_key(place.provider))
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda n: cipher.encrypt(b"%d" % n, b"aad"), range(80)))
        assert list(pool.map(lambda blob: cipher.decrypt(blob, b"aad"), sealed)) == [b"%d" % n for n in range(80)]


def test_nothing_that_is_sent_is_logged_at_any_level(place, caplog):
    caplog.set_level(logging.DEBUG)
    handle = KeyHandle(AES, place.provider.import_key(AES, SecretBytes(b"material-of-the-test-in-32-bytes")).opaque)
    place.provider.cipher(handle).encrypt(b"plaintext-of-the-test")
    for secret in (b"plaintext-of-the-test", b"material-of-the-test-in-32-bytes", *(s.encode() for s in place.secrets)):
        assert secret.decode() not in caplog.text
        assert base64.b64encode(secret).decode() not in caplog.text


def test_a_key_is_found_again_by_its_tag(place):
    made = place.provider.generate("Ed25519", tag="0b6ecf5e-intent-7")
    found = [key for key in place.provider.list_keys() if key.tags.get(TAG) == "0b6ecf5e-intent-7"]
    assert [(key.opaque, key.public_key) for key in found] == [(made.opaque, made.public_key)]


def test_the_engines_own_form_is_one_prefix_away(place, address):
    """An application that talks to the engine itself reads what the portal sealed."""
    handle = new_key(place.provider)
    sealed = place.provider.cipher(handle).encrypt(b"shared")
    name = handle.opaque.rpartition(":")[0]
    text = f"vault:v1:{base64.b64encode(sealed).decode()}"
    answer = bao.call(address, "post", f"transit/decrypt/{name}", {"ciphertext": text})
    assert base64.b64decode(answer["data"]["plaintext"]) == b"shared"
