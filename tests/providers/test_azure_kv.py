"""What only Azure has: the challenge, keys deleted with all their versions, the bin and its protection, BYOK; and its faults."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes
from keys.providers.azure_kv import AzureKeyVaultProvider
from keys.providers.azure_kv.keyforms import ROWS, VAULT_ROWS
from keys.providers.base import (
    TAG,
    Capability,
    CredentialsRefused,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
    RemoteState,
)
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable, ValidationFailed
from tests.providers.fakes.azure import CLIENT, TENANT, FakeVault, serving
from tests.providers.fakes.azure_crypto import Refused, b64
from tests.providers.fakes.certificates import authority_and_server
from tests.providers.fakes.machine import machine_identity
from tests.providers.test_contract import AAD, handle_of

type Build = Callable[..., tuple[FakeVault, AzureKeyVaultProvider]]


@pytest.fixture
def build(tmp_path) -> Iterator[Build]:
    """A vault of the wanted kind with a provider in front of it."""
    with ExitStack() as stack:

        def make(*, purge_protected: bool = False, **changed: object) -> tuple[FakeVault, AzureKeyVaultProvider]:
            fake = FakeVault(managed_hsm=changed.get("managed_hsm") == "yes", purge_protected=purge_protected)
            address, ca_file = stack.enter_context(serving(fake, tmp_path))
            usual = {
                "vault_url": address, "credential": "client_secret", "tenant_id": TENANT, "client_id": CLIENT,
                "client_secret": fake.client_secret, "hosts": ("127.0.0.1",), "ca_file": str(ca_file),
                "authority": address, "verify_challenge": False,
            }  # fmt: skip
            return fake, AzureKeyVaultProvider("azure", **{**usual, **changed})

        yield make


@pytest.fixture
def vault(build: Build) -> tuple[FakeVault, AzureKeyVaultProvider]:
    return build()


@pytest.fixture
def hsm(build: Build) -> tuple[FakeVault, AzureKeyVaultProvider]:
    return build(managed_hsm="yes")


def new(azure: AzureKeyVaultProvider, algorithm: str) -> KeyHandle:
    return handle_of(algorithm, azure.generate(algorithm))


EC = "ECDSA-P256-SHA256"


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
        azure.unwrap(handle, wrapped[:-1] + b"\0", b"")


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


# Import


@pytest.mark.parametrize("kind", ["software", "hsm"])
@pytest.mark.parametrize("algorithm", ["RSA-2048-OAEP-SHA256", "RSA-3072-PSS-SHA256", "ECDSA-P384-SHA384"])
def test_material_is_brought_as_jwk_or_wrapped_for_the_hsm(build, algorithm, kind):
    fake, azure = build(protection=kind)
    asked = []
    fake.meddle = lambda call, body, given: asked.append(body) if call.startswith("bring") else None
    ours = keymaterial.generate(algorithm)
    made = azure.import_key(algorithm, ours.private)
    handle = handle_of(algorithm, made)
    assert made.public_key == ours.public
    assert azure.describe(handle).imported
    assert ("key_hsm" in asked[0]["key"], "d" in asked[0]["key"]) == ((True, False) if kind == "hsm" else (False, True))
    if "OAEP" in algorithm:
        assert azure.cipher(handle).decrypt(keymaterial.encrypt(algorithm, ours.public, b"x")) == b"x"
    else:
        assert azure.signer(handle).verify(b"x", keymaterial.sign(algorithm, ours.private, b"x"))
        keymaterial.verify(algorithm, ours.public, b"x", azure.signer(handle).sign(b"x"))


def test_a_symmetric_key_is_brought_wrapped_and_is_what_it_was(hsm):
    fake, azure = hsm
    asked = []
    fake.meddle = lambda call, body, given: asked.append(body) if call.startswith("bring") else None
    material = bytes(range(32))
    handles = [handle_of("AES-256-GCM", azure.import_key("AES-256-GCM", SecretBytes(material))) for _ in range(2)]
    assert all(b64(material) not in str(body) for body in asked)
    sealed = azure.cipher(handles[0]).encrypt(b"brought", AAD)
    assert AESGCM(material).decrypt(sealed[:12], sealed[12:], AAD) == b"brought"
    assert azure.cipher(handles[1]).decrypt(sealed, AAD) == b"brought"
    assert {remote.opaque for remote in azure.list_keys()} == {handle.opaque for handle in handles}
    assert sum(call == "create portal-import-kek" for call in fake.calls) == 1


def test_material_never_travels_under_a_key_that_can_do_more(hsm):
    fake, azure = hsm
    azure.import_key("AES-256-GCM", SecretBytes(bytes(32)))
    next(iter(fake.keys["portal-import-kek"].values())).operations.append("decrypt")
    fake.calls.clear()
    with pytest.raises(ProviderFault):
        azure.import_key("AES-256-GCM", SecretBytes(bytes(32)))
    assert not any(call.startswith("bring") for call in fake.calls)


def test_material_of_another_kind_is_refused_and_not_quoted(vault):
    _, azure = vault
    for material in (
        SecretBytes(b"no key at all"),
        keymaterial.generate("Ed25519").private,
        keymaterial.generate(EC).private,
    ):
        with pytest.raises(ProviderFault) as caught:
            azure.import_key("RSA-2048-PSS-SHA256", material)
        assert "no key at all" not in repr(caught.value)


# A wrong key answers


def test_a_ciphertext_of_another_key_is_found_by_reading_it_back(hsm):
    fake, azure = hsm
    handle, other = new(azure, "AES-256-GCM"), new(azure, "AES-256-GCM")
    foreign = azure.cipher(other).encrypt(b"data", AAD)
    parts = {"value": b64(foreign[12:-16]), "iv": b64(foreign[:12]), "tag": b64(foreign[-16:])}
    fake.meddle = lambda call, asked, given: given.update(parts) if call.endswith("encrypt") else None
    sealed = azure.cipher(handle).encrypt(b"data", AAD)
    with pytest.raises(DecryptRefused):
        azure.cipher(handle).decrypt(sealed, AAD)


@pytest.mark.parametrize("part", ["iv", "tag"])
def test_an_answer_without_its_parts_is_a_fault(hsm, part):
    fake, azure = hsm
    cipher = azure.cipher(new(azure, "AES-256-GCM"))
    fake.meddle = lambda call, asked, given: given.pop(part, None)
    with pytest.raises(ProviderFault):
        cipher.encrypt(b"data", AAD)


@pytest.mark.parametrize("algorithm", [EC, "RSA-2048-PSS-SHA256"])
def test_a_signature_of_another_key_is_found_at_once(vault, algorithm):
    fake, azure = vault
    signer, other = (azure.signer(new(azure, algorithm)) for _ in range(2))
    wrong = {}
    fake.meddle = lambda call, asked, given: wrong.update(value=given["value"])
    other.sign(b"act")
    fake.meddle = lambda call, asked, given: given.update(wrong)
    with pytest.raises(ProviderFault):
        signer.sign(b"act")


def test_a_vault_that_makes_another_key_is_found_out(vault):
    fake, azure = vault
    fake.meddle = lambda call, asked, given: given["key"].update(key_ops=["encrypt", "decrypt"])
    with pytest.raises(ProviderFault):
        azure.generate(EC)


# Faults


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ((429, "Throttled", ""), ProviderThrottled),
        ((401, "Unauthorized", ""), CredentialsRefused),
        ((403, "Forbidden", "ForbiddenByRbac"), CredentialsRefused),
        ((403, "Forbidden", ""), CredentialsRefused),
        ((403, "Forbidden", "KeyDisabled"), KeyUnusable),
        ((409, "Conflict", "ObjectIsBeingDeleted"), KeyUnusable),
        ((400, "BadParameter", ""), ProviderFault),
        ((500, "InternalError", ""), ProviderUnavailable),
        ((503, "ServiceUnavailable", ""), ProviderUnavailable),
    ],
)
def test_every_failure_has_the_portals_name(vault, failing, error):
    fake, azure = vault
    handle = new(azure, EC)
    signer = azure.signer(handle)
    fake.failing = failing
    for act in (lambda: signer.sign(b"x"), lambda: azure.describe(handle), lambda: list(azure.list_keys())):
        with pytest.raises(error) as caught:
            act()
        assert type(caught.value) is error
        assert caught.value.__suppress_context__
    fake.failing = None
    assert signer.sign(b"x")


@pytest.mark.parametrize(("status", "error"), [(429, ProviderThrottled), (503, ProviderUnavailable)])
def test_a_call_that_fails_is_made_once(vault, status, error):
    """The library would try again by itself; that is the portal's to decide, with its own limits."""
    fake, azure = vault
    handle = new(azure, EC)
    signer = azure.signer(handle)
    asked = []

    def busy(method, target, body):
        asked.append(target)
        raise Refused(status, "Busy")

    fake.answer = busy
    for act in (lambda: signer.sign(b"x"), lambda: azure.enable(handle), azure.check):
        asked.clear()
        with pytest.raises(error):
            act()
        assert len(asked) == 1


def test_credentials_revoked_in_the_middle_of_the_work_are_named_so(build):
    fake, azure = build()
    signer = azure.signer(new(azure, EC))
    fake.tokens.clear()
    with pytest.raises(CredentialsRefused) as caught:
        signer.sign(b"x")
    assert fake.client_secret not in f"{caught.value!r} {caught.value.hint}"


def test_a_vault_under_another_authority_is_not_trusted(build, tmp_path):
    (tmp_path / "stranger").mkdir()
    stranger, _ = authority_and_server(tmp_path / "stranger")
    _, untrusting = build(ca_file=str(stranger))
    with pytest.raises(ProviderUnavailable):
        untrusting.check()
    assert build()[1].check().identity == CLIENT


def test_a_challenge_for_another_resource_gets_no_token(build):
    """By default the vault may ask for tokens of its own domain only; 127.0.0.1 is no part of vault.azure.net."""
    fake, azure = build(verify_challenge=True)
    with pytest.raises(ProviderFault):
        azure.check()
    assert fake.tokens == {}


# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vault_url", "http://shop.vault.azure.net"),
        ("vault_url", "https://169.254.169.254"),
        ("vault_url", "https://shop.vault.azure.net.evil.example"),
        ("managed_hsm", "perhaps"),
        ("protection", "paper"),
        ("credential", "password"),
        ("credential", "client_secret"),
        ("timeout", "0"),
    ],
)
def test_settings_are_checked_by_name(field, value):
    usual = {"vault_url": "https://shop.vault.azure.net"}
    with pytest.raises(ValidationFailed) as caught:
        AzureKeyVaultProvider("azure", **{**usual, field: value})
    assert set(caught.value.errors) == {field}


def test_the_identity_of_the_machine_needs_no_secret(build, monkeypatch):
    """As on App Service: the platform gives an address and a header; ours is the fake's, and gives the vault's tokens."""
    fake, azure = build(credential="managed_identity", client_secret="", tenant_id="", client_id="")
    with machine_identity(fake) as (address, header):
        monkeypatch.setenv("IDENTITY_ENDPOINT", address)
        monkeypatch.setenv("IDENTITY_HEADER", header)
        assert azure.check().identity == "managed_identity"


def test_a_machine_without_an_identity_is_told_so(build, monkeypatch):
    monkeypatch.delenv("AZURE_FEDERATED_TOKEN_FILE", raising=False)
    _, azure = build(credential="workload_identity", client_secret="")
    with pytest.raises(CredentialsRefused):
        azure.check()
