"""Cloud KMS: material brought along, faults, identities and settings."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    Capability,
    CredentialsRefused,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
    RemoteState,
)
from keys.providers.gcp_kms import GcpKmsProvider
from keyvault_portal.errors import ProviderUnavailable, TooLarge, ValidationFailed
from tests.providers.fakes.gcp_crypto import Refused
from tests.providers.place_gcp_kms import RING
from tests.providers.test_contract import AAD, handle_of

# Import


@pytest.mark.parametrize(
    "algorithm", ["AES-256-GCM", "RSA-2048-OAEP-SHA256", "ECDSA-P384-SHA384", "Ed25519", "HMAC-SHA256"]
)
def test_material_of_every_kind_is_brought(gcp, algorithm):
    """Proved by our own software doing the same with the same material."""
    ours = keymaterial.generate(algorithm)
    made = gcp.import_key(algorithm, ours.private)
    handle = handle_of(algorithm, made)
    assert made.public_key == ours.public
    assert gcp.describe(handle).imported
    if algorithm.startswith("RSA"):
        sealed = keymaterial.encrypt(algorithm, ours.public, b"x")
        assert gcp.cipher(handle).decrypt(sealed) == b"x"
    elif algorithm == "HMAC-SHA256":
        assert gcp.authenticator(handle).mac(b"x") == keymaterial.mac(algorithm, ours.private, b"x")
    elif algorithm != "AES-256-GCM":
        assert gcp.signer(handle).verify(b"x", keymaterial.sign(algorithm, ours.private, b"x"))


def test_one_import_job_serves_many_imports_until_it_expires(gcp, fake):
    for _ in range(2):
        gcp.import_key("AES-256-GCM", SecretBytes(bytes(32)))
    assert len(fake.jobs) == 1
    next(iter(fake.jobs.values()))[1]["state"] = "EXPIRED"
    gcp.import_key("AES-256-GCM", SecretBytes(bytes(32)))
    assert len(fake.jobs) == 2


def test_an_import_that_fails_half_way_says_so_and_leaves_no_usable_key(gcp):
    with pytest.raises(ProviderFault) as caught:
        gcp.import_key("AES-256-GCM", SecretBytes(b"short-material"))
    assert "short-material" not in repr(caught.value)
    assert [remote.state for remote in gcp.list_keys()] == [RemoteState.DESTROYED]
    made = gcp.import_key("AES-256-GCM", SecretBytes(bytes(32)))
    assert gcp.describe(handle_of("AES-256-GCM", made)).state is RemoteState.ENABLED


def test_an_imported_key_rotates_to_a_generated_version(gcp):
    first = handle_of("AES-256-GCM", gcp.import_key("AES-256-GCM", SecretBytes(bytes(32))))
    second = handle_of("AES-256-GCM", gcp.rotate(first))
    assert (gcp.describe(first).imported, gcp.describe(second).imported) == (True, False)


# Faults


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ((429, "RESOURCE_EXHAUSTED"), ProviderThrottled),
        ((401, "UNAUTHENTICATED"), CredentialsRefused),
        ((403, "PERMISSION_DENIED"), CredentialsRefused),
        ((404, "NOT_FOUND"), KeyMissing),
        ((400, "FAILED_PRECONDITION"), KeyUnusable),
        ((400, "INVALID_ARGUMENT"), ProviderFault),
        ((409, "ABORTED"), ProviderFault),
        ((500, "INTERNAL"), ProviderUnavailable),
        ((503, "UNAVAILABLE"), ProviderUnavailable),
        ((504, "DEADLINE_EXCEEDED"), ProviderUnavailable),
    ],
)
def test_every_failure_has_the_portals_name(gcp, aes, fake, failing, error):
    cipher = gcp.cipher(aes)
    fake.failing = failing
    for act in (lambda: cipher.encrypt(b"x", AAD), lambda: gcp.describe(aes), lambda: list(gcp.list_keys())):
        with pytest.raises(error) as caught:
            act()
        assert type(caught.value) is error
        assert caught.value.__suppress_context__
        assert ("clock of this machine" in caught.value.hint) == (failing[0] == 401), "a token carries the time"
    fake.failing = None
    assert cipher.decrypt(cipher.encrypt(b"x", AAD), AAD) == b"x"


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [(429, "RESOURCE_EXHAUSTED", ProviderThrottled), (503, "UNAVAILABLE", ProviderUnavailable)],
)
def test_a_call_that_fails_is_made_once(gcp, aes, fake, code, status, error):
    """The library would try again for a minute; that is the portal's to decide, with its own limits."""
    cipher = gcp.cipher(aes)
    asked = []

    def busy(method, target, authorization, body):
        asked.append(target)
        raise Refused(code, status)

    fake.answer = busy
    for act in (lambda: cipher.encrypt(b"x", AAD), lambda: list(gcp.list_keys()), gcp.check):
        asked.clear()
        with pytest.raises(error):
            act()
        assert len(asked) == 1


def test_too_much_is_refused_before_it_is_sent(gcp, aes, fake):
    mac = gcp.authenticator(handle_of("HMAC-SHA256", gcp.generate("HMAC-SHA256")))
    fake.calls.clear()
    for act in (
        lambda: gcp.cipher(aes).encrypt(bytes(65537)),
        lambda: gcp.cipher(aes).encrypt(b"", bytes(65536)),
        lambda: mac.mac(bytes(65537)),
    ):
        with pytest.raises(TooLarge):
            act()
    assert fake.calls == []
    assert gcp.cipher(aes).decrypt(gcp.cipher(aes).encrypt(bytes(65536), AAD), AAD) == bytes(65536)


def test_a_context_is_refused_where_it_cannot_be_bound(gcp):
    cipher = gcp.cipher(handle_of("RSA-2048-OAEP-SHA256", gcp.generate("RSA-2048-OAEP-SHA256")))
    for act in (lambda: cipher.encrypt(b"x", AAD), lambda: cipher.decrypt(b"x", AAD)):
        with pytest.raises(OperationUnsupported):
            act()


def test_a_key_is_used_for_its_own_purpose_only(gcp, aes):
    signing = handle_of("Ed25519", gcp.generate("Ed25519"))
    for act in (
        lambda: gcp.signer(aes),
        lambda: gcp.authenticator(aes),
        lambda: gcp.cipher(signing),
        lambda: gcp.authenticator(signing),
    ):
        with pytest.raises(OperationUnsupported):
            act()


# Settings


def test_a_service_account_of_another_key_is_refused(fake, address):
    stranger = fake.account(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    gcp = GcpKmsProvider("gcp", **RING, credentials=stranger, endpoint=address, hosts=("127.0.0.1",))
    with pytest.raises(CredentialsRefused):
        gcp.check()


def test_the_check_says_who_we_are(gcp):
    assert gcp.check().identity == "portal@shop.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    "changed",
    [
        {"token_uri": "http://169.254.169.254/computeMetadata/v1/token"},
        {"token_uri": "https://evil.example/token"},
        {"type": "external_account"},
        {"universe_domain": "evil.example"},
        {"token_uri": None},
    ],
)
def test_a_crafted_account_leads_nowhere(fake, changed):
    with pytest.raises(ValidationFailed) as caught:
        GcpKmsProvider("gcp", **RING, credentials=json.dumps(json.loads(fake.account()) | changed))
    assert set(caught.value.errors) == {"credentials"}
    assert "PRIVATE KEY" not in repr(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "7", '"x"', "{}"])
def test_what_is_no_account_is_refused(text):
    with pytest.raises(ValidationFailed):
        GcpKmsProvider("gcp", **RING, credentials=text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoint", "http://cloudkms.googleapis.com"),
        ("endpoint", "https://127.0.0.1:8080"),
        ("endpoint", "https://cloudkms.googleapis.com.evil.example"),
        ("project", "../shop"),
        ("key_ring", "a/b"),
        ("location", ""),
        ("protection_level", "EXTERNAL"),
        ("timeout", "soon"),
        ("timeout", "0"),
        ("timeout", "nan"),
    ],
)
def test_settings_are_checked_by_name(field, value):
    with pytest.raises(ValidationFailed) as caught:
        GcpKmsProvider("gcp", **{**RING, field: value})
    assert set(caught.value.errors) == {field}


def test_without_an_account_the_identity_of_the_machine_is_used(monkeypatch, tmp_path, fake, address):
    """Here it is named by the environment, as Google's libraries have it."""
    account = tmp_path / "account.json"
    account.write_text(fake.account())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    gcp = GcpKmsProvider("gcp", **RING, endpoint=address, hosts=("127.0.0.1",))
    assert gcp.check().seconds > 0


def test_data_keys_are_not_declared():
    assert Capability.DATA_KEYS not in GcpKmsProvider.capabilities
    assert {setting.name for setting in GcpKmsProvider.settings if setting.secret} == {"credentials"}
