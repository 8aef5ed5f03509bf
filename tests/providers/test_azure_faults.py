"""Azure: material brought along, wrong answers, faults, identities and settings."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes
from keys.providers.azure_kv import AzureKeyVaultProvider
from keys.providers.base import (
    CredentialsRefused,
    KeyUnusable,
    ProviderFault,
    ProviderThrottled,
)
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable, ValidationFailed
from tests.providers.fakes.azure import CLIENT
from tests.providers.fakes.azure_crypto import Refused, b64
from tests.providers.fakes.certificates import authority_and_server
from tests.providers.fakes.machine import machine_identity
from tests.providers.test_contract import AAD, handle_of
from tests.providers.vaults import EC, new

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
