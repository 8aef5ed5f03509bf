"""What only Cloud KMS has: checksums both ways, six states, versions that decrypt by key, import jobs; and its faults."""

import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes
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
from keys.providers.gcp_kms import GcpKmsProvider
from keys.providers.gcp_kms.algorithms import ROWS
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable, TooLarge, ValidationFailed
from tests.providers.fakes.gcp import FakeCloudKms, serving
from tests.providers.fakes.gcp_crypto import Refused, b64, crc, unb64
from tests.providers.place_gcp_kms import RING
from tests.providers.test_contract import AAD, OTHER, handle_of


@pytest.fixture
def fake() -> FakeCloudKms:
    return FakeCloudKms()


@pytest.fixture
def address(fake: FakeCloudKms) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
def gcp(fake: FakeCloudKms, address: str) -> GcpKmsProvider:
    return GcpKmsProvider("gcp", **RING, credentials=fake.account(), endpoint=address, hosts=("127.0.0.1",))


@pytest.fixture
def aes(gcp: GcpKmsProvider) -> KeyHandle:
    return handle_of("AES-256-GCM", gcp.generate("AES-256-GCM"))


def test_old_versions_stay_pinned_though_cloud_kms_decrypts_by_key(gcp, aes):
    """Cloud KMS would open either ciphertext for either version; the pin in the additional data does not."""
    new = handle_of("AES-256-GCM", gcp.rotate(aes))
    before, after = gcp.cipher(aes).encrypt(b"before", AAD), gcp.cipher(new).encrypt(b"after", AAD)
    assert gcp.cipher(aes).decrypt(before, AAD) == b"before"
    for cipher, sealed in ((gcp.cipher(new), before), (gcp.cipher(aes), after)):
        with pytest.raises(DecryptRefused):
            cipher.decrypt(sealed, AAD)
    gcp.disable(aes)
    with pytest.raises(KeyUnusable):
        gcp.cipher(aes).decrypt(before, AAD)
    assert gcp.cipher(new).decrypt(after, AAD) == b"after"


def test_rotation_makes_the_new_version_primary(gcp, aes, fake):
    new = gcp.rotate(aes)
    key = fake.keys[aes.opaque.partition("/cryptoKeyVersions/")[0]]
    assert new.opaque == f"{key.name}/cryptoKeyVersions/2"
    assert key.primary == 2


def test_what_an_application_sealed_by_itself_is_opened(gcp, aes):
    """The usual envelope: the application's own call, its context alone as additional data."""
    name = aes.opaque.partition("/cryptoKeyVersions/")[0]
    request = {"name": name, "plaintext": b"theirs", "additional_authenticated_data": AAD}
    sealed = gcp._connection.call("encrypt", request).ciphertext
    assert gcp.cipher(aes).decrypt(sealed, AAD) == b"theirs"
    with pytest.raises(DecryptRefused):
        gcp.cipher(aes).decrypt(sealed, OTHER)


@pytest.mark.parametrize("algorithm", sorted(ROWS))
def test_every_algorithm_is_made_described_and_of_its_size(gcp, algorithm):
    made = gcp.generate(algorithm)
    remote = gcp.describe(handle_of(algorithm, made))
    assert (remote.algorithm, remote.state, remote.imported) == (algorithm, RemoteState.ENABLED, False)
    assert remote.tags == {"managed-by": "keyvault-portal"}
    if algorithm.startswith("RSA"):
        assert f"RSA-{load_der_public_key(made.public_key).key_size}-" in algorithm


def test_a_key_is_found_again_by_its_tag_with_its_public_half(gcp):
    tag = "1f0c7c2e-7d0c-4a6e-9d55-6c1b8a8f2b11"
    made = gcp.generate("ECDSA-P256-SHA256", tag=tag)
    brought = gcp.import_key("AES-256-GCM", SecretBytes(bytes(32)), tag=tag)
    found = [remote for remote in gcp.list_keys() if remote.tags.get(TAG) == tag]
    assert {remote.opaque for remote in found} == {made.opaque, brought.opaque}
    assert gcp.describe(handle_of("ECDSA-P256-SHA256", made)).public_key == made.public_key


def test_keys_in_hardware_are_of_the_algorithms_that_are_documented_for_it(fake, address):
    hsm = GcpKmsProvider(
        "gcp", **RING, credentials=fake.account(), endpoint=address, hosts=("127.0.0.1",), protection_level="HSM"
    )
    handle = handle_of("AES-256-GCM", hsm.generate("AES-256-GCM"))
    key = next(iter(fake.keys.values()))
    assert key.body["versionTemplate"]["protectionLevel"] == 2
    with pytest.raises(TooLarge):
        hsm.cipher(handle).encrypt(bytes(8193))
    with pytest.raises(OperationUnsupported):
        hsm.generate("Ed25519")


# Checksums: what is sent, what comes back


def meddling(fake, verb, act):
    def meddle(name, asked, given):
        if name == verb:
            act(asked, given)

    fake.meddle = meddle


@pytest.mark.parametrize(
    ("verb", "field", "value"),
    [
        ("encrypt", "ciphertextCrc32c", "7"),
        ("encrypt", "ciphertextCrc32c", None),
        ("encrypt", "verifiedPlaintextCrc32c", False),
        ("encrypt", "verifiedAdditionalAuthenticatedDataCrc32c", False),
        ("encrypt", "name", "projects/shop/locations/x/keyRings/portal/cryptoKeys/k/cryptoKeyVersions/9"),
        ("decrypt", "plaintextCrc32c", "7"),
        ("decrypt", "plaintext", "d3Jvbmc="),
        ("decrypt", "plaintextCrc32c", None),
    ],
)
def test_a_damaged_answer_about_a_cipher_is_a_fault(gcp, aes, fake, verb, field, value):
    sealed = gcp.cipher(aes).encrypt(b"data", AAD)
    meddling(fake, verb, lambda asked, given: given.update({field: value}))
    with pytest.raises(ProviderFault):
        gcp.cipher(aes).encrypt(b"data", AAD) if verb == "encrypt" else gcp.cipher(aes).decrypt(sealed, AAD)
    fake.meddle = None
    assert gcp.cipher(aes).decrypt(sealed, AAD) == b"data"


@pytest.mark.parametrize("field", ["signatureCrc32c", "verifiedDigestCrc32c", "name"])
def test_a_damaged_signature_is_a_fault(gcp, fake, field):
    signer = gcp.signer(handle_of("ECDSA-P256-SHA256", gcp.generate("ECDSA-P256-SHA256")))
    meddling(fake, "asymmetric_sign", lambda asked, given: given.pop(field))
    with pytest.raises(ProviderFault):
        signer.sign(b"act")


@pytest.mark.parametrize("field", ["macCrc32c", "verifiedDataCrc32c", "name"])
def test_a_damaged_code_is_a_fault(gcp, fake, field):
    mac = gcp.authenticator(handle_of("HMAC-SHA256", gcp.generate("HMAC-SHA256")))
    meddling(fake, "mac_sign", lambda asked, given: given.pop(field))
    with pytest.raises(ProviderFault):
        mac.mac(b"message")


def test_a_verification_that_contradicts_itself_is_a_fault(gcp, fake):
    mac = gcp.authenticator(handle_of("HMAC-SHA256", gcp.generate("HMAC-SHA256")))
    code = mac.mac(b"message")
    meddling(fake, "mac_verify", lambda asked, given: given.update({"verifiedSuccessIntegrity": False}))
    with pytest.raises(ProviderFault):
        mac.verify_mac(b"message", code)


def test_the_service_is_told_every_checksum(gcp, aes, fake):
    asked = []
    fake.meddle = lambda name, body, given: asked.append((name, dict(body)))
    cipher = gcp.cipher(aes)
    cipher.decrypt(cipher.encrypt(b"data", AAD), AAD)
    sent = dict(asked)
    for verb, fields in {
        "encrypt": ("plaintext", "additionalAuthenticatedData"),
        "decrypt": ("ciphertext", "additionalAuthenticatedData"),
    }.items():
        for field in fields:
            assert int(sent[verb][f"{field}Crc32c"]) == crc(unb64(sent[verb][field]))


# A wrong key answers


def test_a_ciphertext_of_another_key_is_found_by_reading_it_back(gcp, aes, fake):
    """Valid in every checksum, under the name asked for, and made with another key."""
    other = gcp.cipher(handle_of("AES-256-GCM", gcp.generate("AES-256-GCM"))).encrypt(b"data", AAD)[3:]
    meddling(
        fake,
        "encrypt",
        lambda asked, given: given.update({"ciphertext": b64(other), "ciphertextCrc32c": str(crc(other))}),
    )
    sealed = gcp.cipher(aes).encrypt(b"data", AAD)
    with pytest.raises(DecryptRefused):
        gcp.cipher(aes).decrypt(sealed, AAD)


def test_a_signature_of_another_key_is_found_at_once(gcp, fake):
    signer, other = (
        gcp.signer(handle_of("Ed25519", made)) for made in (gcp.generate("Ed25519"), gcp.generate("Ed25519"))
    )
    foreign = other.sign(b"act")
    meddling(
        fake,
        "asymmetric_sign",
        lambda asked, given: given.update({"signature": b64(foreign), "signatureCrc32c": str(crc(foreign))}),
    )
    with pytest.raises(ProviderFault):
        signer.sign(b"act")


# States


def test_all_six_states_are_told(gcp, fake):
    made = [handle_of("AES-256-GCM", gcp.generate("AES-256-GCM")) for _ in range(6)]
    states = ["ENABLED", "DISABLED", "PENDING_GENERATION", "PENDING_IMPORT", "DESTROY_SCHEDULED", "DESTROYED"]
    for handle, state in zip(made, states, strict=True):
        fake.version(handle.opaque).state = state
        fake.version(handle.opaque).unfinished_polls = 9
    assert [gcp.describe(handle).state for handle in made] == [
        RemoteState.ENABLED,
        RemoteState.DISABLED,
        RemoteState.DISABLED,
        RemoteState.PENDING_IMPORT,
        RemoteState.PENDING_DELETION,
        RemoteState.DESTROYED,
    ]
    for handle in made[1:]:
        with pytest.raises(KeyUnusable):
            gcp.cipher(handle).encrypt(b"new", AAD)


def test_a_restored_version_is_usable_again_and_a_destroyed_one_never(gcp, aes, fake):
    due = gcp.schedule_deletion(aes, 7)
    assert gcp.describe(aes).deletion_due_at == due
    with pytest.raises(OperationUnsupported):
        gcp.destroy(aes)
    gcp.cancel_deletion(aes)
    assert gcp.describe(aes).state is RemoteState.ENABLED
    fake.version(aes.opaque).state = "DESTROYED"
    for act in (gcp.cancel_deletion, gcp.enable):
        with pytest.raises(KeyUnusable):
            act(aes)


def test_a_schedule_of_rotation_and_labels_are_discovered(gcp, aes, fake):
    key = fake.keys[aes.opaque.partition("/cryptoKeyVersions/")[0]]
    key.body |= {"rotationPeriod": "7776000s", "labels": {"team": "payments"}}
    gcp.rotate(aes)
    listed = list(gcp.list_keys())
    assert [(remote.rotation_days, remote.tags, remote.name) for remote in listed] == [
        (90, {"team": "payments"}, key.name.rpartition("/")[2])
    ] * 2
    assert all(remote.created_at is not None and remote.created_at.tzinfo for remote in listed)


def test_a_key_of_another_ring_is_none_of_ours(gcp, aes):
    for opaque in (
        aes.opaque.replace("/portal/", "/other/"),
        aes.opaque + "/../../x",
        aes.opaque.replace("europe-west6", "global"),
        "",
        "projects/p",
    ):
        with pytest.raises(KeyMissing):
            gcp.cipher(KeyHandle("AES-256-GCM", opaque))
        with pytest.raises(KeyMissing):
            gcp.describe(KeyHandle("AES-256-GCM", opaque))


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
