"""What only Azure has: a vault without symmetric keys, keys deleted with all their versions, the bin and its protection."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.crypto import keymaterial, transport
from keys.crypto.secret import SecretBytes
from keys.providers.azure_kv.keyforms import ROWS, VAULT_ROWS
from keys.providers.base import (
    TAG,
    Capability,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    RemoteState,
)
from keyvault_portal.errors import DecryptRefused
from tests.providers.fakes.azure_crypto import Refused
from tests.providers.test_contract import AAD, handle_of
from tests.providers.vaults import EC, new

# What is declared


def test_a_vault_without_symmetric_keys_says_so(vault, hsm):
    _, plain = vault
    assert plain.algorithms == set(VAULT_ROWS)
    assert Capability.CONTEXT not in plain.capabilities
    assert Capability.CONTEXT in hsm[1].capabilities
    assert hsm[1].algorithms - plain.algorithms == {"AES-256-GCM", "AES-256-KW"}
    with pytest.raises(OperationUnsupported):
        plain.generate("AES-256-GCM")
    for declared in (plain, hsm[1]):
        assert not {Capability.DATA_KEYS, Capability.MAC} & declared.capabilities


@pytest.mark.parametrize("algorithm", sorted(ROWS))
def test_every_algorithm_is_made_described_and_of_its_size(hsm, algorithm):
    fake, azure = hsm
    handle = new(azure, algorithm)
    remote = azure.describe(handle)
    assert (remote.algorithm, remote.state, remote.imported) == (algorithm, RemoteState.ENABLED, False)
    assert remote.tags == {"managed-by": "keyvault-portal"}
    assert next(iter(fake.keys[remote.name].values())).kind.endswith("-HSM")
    if algorithm.startswith("RSA"):
        assert f"RSA-{load_der_public_key(handle.public_key).key_size}-" in algorithm


def test_a_premium_vault_makes_keys_in_hardware(build):
    """The tier decides; this fake refuses hardware in a plain vault only for symmetric keys."""
    fake, azure = build(protection="hsm")
    name = azure.describe(new(azure, EC)).name
    assert next(iter(fake.keys[name].values())).kind == "EC-HSM"
    assert "AES-256-GCM" not in azure.algorithms


def test_the_length_of_a_foreign_symmetric_key_is_not_guessed(hsm):
    fake, azure = hsm
    handle = new(azure, "AES-256-GCM")
    next(iter(fake.keys[azure.describe(handle).name].values())).tags.clear()
    assert azure.describe(handle).algorithm is None


def test_a_key_is_found_again_by_its_tag_with_its_public_half(vault):
    _, azure = vault
    tag = "1f0c7c2e-7d0c-4a6e-9d55-6c1b8a8f2b11"
    made = azure.generate(EC, tag=tag)
    brought = azure.import_key(EC, keymaterial.generate(EC).private, tag=tag)
    azure.generate(EC)
    found = {remote.opaque: remote.public_key for remote in azure.list_keys() if remote.tags.get(TAG) == tag}
    assert found == {made.opaque: made.public_key, brought.opaque: brought.public_key}


# Key wrap stays in the HSM


def test_key_wrap_is_the_hsms_own_work(hsm):
    """The library alone would wrap under a random key of its own and open it again without a call."""
    fake, azure = hsm
    handle = new(azure, "AES-256-KW")
    fake.calls.clear()
    wrapped = azure.wrap(handle, SecretBytes(bytes(range(32))), b"")
    assert azure.unwrap(handle, wrapped, b"").reveal() == bytes(range(32))
    assert [call.split()[-1] for call in fake.calls] == ["wrapkey", "unwrapkey"]
    with pytest.raises(DecryptRefused):
        azure.unwrap(handle, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"")
    with pytest.raises(DecryptRefused):
        azure.unwrap(new(azure, "AES-256-KW"), wrapped, b"")
    for act in (
        lambda: azure.wrap(handle, SecretBytes(bytes(32)), AAD),
        lambda: azure.unwrap(handle, wrapped, AAD),
        lambda: azure.cipher(handle),
        lambda: azure.signer(handle),
    ):
        with pytest.raises(OperationUnsupported):
            act()


def test_a_context_is_refused_where_it_cannot_be_bound(vault):
    _, azure = vault
    handle = new(azure, "RSA-2048-OAEP-SHA256")
    wrapped = azure.wrap(handle, SecretBytes(bytes(range(32))), b"")
    assert azure.unwrap(handle, wrapped, b"").reveal() == bytes(range(32))
    for act in (lambda: azure.wrap(handle, SecretBytes(bytes(32)), AAD), lambda: azure.unwrap(handle, wrapped, AAD)):
        with pytest.raises(OperationUnsupported):
            act()
    with pytest.raises(DecryptRefused):
        azure.unwrap(handle, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"")


def test_one_call_for_one_act(hsm):
    """Bound anew each time, as services do on other workers: no key is fetched before it is used."""
    fake, azure = hsm
    handle = new(azure, "AES-256-GCM")
    fake.calls.clear()
    azure.cipher(handle).decrypt(azure.cipher(handle).encrypt(b"x", AAD), AAD)
    assert len(fake.calls) == 2


# The bin: a key goes there with all its versions


def test_a_version_is_deleted_without_its_siblings(vault):
    fake, azure = vault
    old = new(azure, EC)
    young = handle_of(EC, azure.rotate(old))
    assert old.opaque.rpartition("/")[0] == young.opaque.rpartition("/")[0]
    due = azure.schedule_deletion(old, 30)
    remote = azure.describe(old)
    assert remote.state is RemoteState.PENDING_DELETION
    assert abs((remote.deletion_due_at - due).total_seconds()) < 1
    with pytest.raises(KeyUnusable):
        azure.signer(old).sign(b"act")
    assert azure.signer(young).sign(b"act")
    assert not fake.bin
    with pytest.raises(OperationUnsupported):
        azure.destroy(old)
    azure.cancel_deletion(old)
    assert azure.describe(old).state is RemoteState.ENABLED
    assert azure.describe(old).tags == {"managed-by": "keyvault-portal"}
    assert azure.signer(old).sign(b"act")


def test_the_key_goes_with_its_last_version(vault):
    fake, azure = vault
    old = new(azure, EC)
    young = handle_of(EC, azure.rotate(old))
    azure.schedule_deletion(old, 30)
    due = azure.schedule_deletion(young, 30)
    assert list(fake.bin) == [azure.describe(young).name]
    assert azure.describe(young).deletion_due_at == due
    for handle in (old, young):
        assert azure.describe(handle).state is RemoteState.PENDING_DELETION
        with pytest.raises(KeyUnusable):
            azure.signer(handle).sign(b"act")
    assert [remote.opaque for remote in azure.list_keys()] == [young.opaque]
    azure.cancel_deletion(young)
    assert azure.signer(young).sign(b"act")
    assert azure.describe(old).state is RemoteState.PENDING_DELETION
    azure.schedule_deletion(young, 30)
    azure.destroy(young)
    assert (fake.keys, fake.bin) == ({}, {})
    for handle in (old, young):
        with pytest.raises(KeyMissing):
            azure.describe(handle)
        with pytest.raises(KeyMissing):
            azure.signer(handle).sign(b"act")


def test_a_key_is_destroyed_at_once_where_the_vault_allows(vault):
    fake, azure = vault
    azure.destroy(new(azure, EC))
    assert (fake.keys, fake.bin) == ({}, {})


def test_purge_protection_is_told_before_anything_is_touched(build):
    fake, azure = build(purge_protected=True)
    handle = new(azure, EC)
    with pytest.raises(OperationUnsupported):
        azure.destroy(handle)
    assert azure.signer(handle).sign(b"act")
    azure.schedule_deletion(handle, 30)
    with pytest.raises(OperationUnsupported):
        azure.destroy(handle)
    assert len(fake.bin) == 1
    azure.cancel_deletion(handle)
    assert azure.signer(handle).sign(b"act")


def test_a_mark_that_somebody_else_wrote_breaks_nothing(vault):
    fake, azure = vault
    handle = new(azure, EC)
    next(iter(fake.keys[azure.describe(handle).name].values())).tags["portal-deletion-due"] = "soon"
    assert azure.describe(handle).state is RemoteState.ENABLED


# Discovery


def test_versions_policies_and_the_bin_are_listed_page_by_page(vault):
    fake, azure = vault
    handles = [new(azure, EC) for _ in range(3)]
    handles += [handle_of(EC, azure.rotate(handles[0]))]
    gone = new(azure, EC)
    azure.schedule_deletion(gone, 7)
    azure.disable(handles[1])
    name = azure.describe(handles[0]).name
    fake.policies[name] = {
        "lifetimeActions": [
            {"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Notify"}},
            {"trigger": {"timeAfterCreate": "P90D"}, "action": {"type": "Rotate"}},
        ]
    }
    listed = {remote.opaque: remote for remote in azure.list_keys()}
    assert set(listed) == {handle.opaque for handle in [*handles, gone]}
    assert listed[handles[1].opaque].state is RemoteState.DISABLED
    assert listed[gone.opaque].state is RemoteState.PENDING_DELETION
    assert [listed[handles[index].opaque].rotation_days for index in (0, 2, 3)] == [90, None, 90]
    assert listed[handles[0].opaque].created_at.tzinfo


@pytest.mark.parametrize("refusal", [(403, "Forbidden", "ForbiddenByRbac"), (400, "BadParameter", "")])
def test_a_policy_that_may_not_be_read_hides_no_key(vault, refusal):
    """Reading the policy of rotation is a right of its own."""
    fake, azure = vault
    handle = new(azure, EC)

    def meddle(call, asked, given):
        if call.startswith("policy"):
            raise Refused(*refusal)

    fake.meddle = meddle
    assert azure.describe(handle).rotation_days is None
    assert [remote.opaque for remote in azure.list_keys()] == [handle.opaque]


def test_a_key_that_goes_while_we_list_is_left_out(vault):
    fake, azure = vault
    stays, goes = new(azure, EC), new(azure, EC)
    name = azure.describe(goes).name

    def meddle(call, asked, given):
        if call == f"policy {name}":
            del fake.keys[name]

    fake.meddle = meddle
    assert [remote.opaque for remote in azure.list_keys()] == [stays.opaque]


def test_an_address_elsewhere_is_no_key_of_ours(vault):
    """A handle is text in a table; it must not send the portal's token anywhere else."""
    _, azure = vault
    good = new(azure, EC).opaque
    for opaque in (
        good.replace("127.0.0.1", "127.0.0.2"),
        good.replace("https://127.0.0.1", "https://127.0.0.1@evil.example"),
        good.rpartition("/")[0],
        good + "/../x",
        good.replace("/keys/", "/secrets/"),
        "",
    ):
        for act in (azure.describe, azure.disable, lambda handle: azure.signer(handle).sign(b"x")):
            with pytest.raises(KeyMissing):
                act(KeyHandle(EC, opaque, b"not fetched"))


def test_a_byok_file_of_a_vendors_tool_is_taken_and_one_for_another_key_is_not(hsm):
    """Azure's "Bring your own key specification": JSON around what is wrapped, bound to the exchange key by its identifier."""
    _, provider = hsm
    offer = provider.offer_import("AES-256-GCM")
    wrapped = transport.wrap_for_offer(offer.public_key, offer.method, SecretBytes(bytes(range(32))))
    header = {"kid": offer.token.decode(), "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
    text = base64.urlsafe_b64encode(wrapped).decode().rstrip("=")

    def file(**changed: object) -> bytes:
        return json.dumps({"schema_version": "1.0.0", "header": header, "ciphertext": text} | changed).encode()

    made = provider.take_import("AES-256-GCM", offer, file())
    cipher = provider.cipher(KeyHandle("AES-256-GCM", made.opaque))
    assert cipher.decrypt(cipher.encrypt(b"brought", b"{}"), b"{}") == b"brought"
    for wrong in (
        file(header=header | {"kid": "https://elsewhere/keys/portal-import-kek/" + "0" * 32}),
        file(header=header | {"enc": "RSA1_5"}), file(header=7), file(ciphertext="A"), b"{", b'{"header": {}}',
    ):  # fmt: skip
        with pytest.raises(DecryptRefused):
            provider.take_import("AES-256-GCM", offer, wrong)


def test_what_is_wrapped_may_begin_like_a_file(hsm):
    """One ciphertext in 256 begins with a brace, and is no JSON."""
    _, provider = hsm
    offer = provider.offer_import("AES-256-GCM")
    key = SecretBytes(bytes(range(32)))
    tries = (transport.wrap_for_offer(offer.public_key, offer.method, key) for _ in range(20_000))
    wrapped = next(sent for sent in tries if sent.startswith(b"{"))
    made = provider.take_import("AES-256-GCM", offer, wrapped)
    cipher = provider.cipher(KeyHandle("AES-256-GCM", made.opaque))
    assert cipher.decrypt(cipher.encrypt(b"brought", b"{}"), b"{}") == b"brought"
