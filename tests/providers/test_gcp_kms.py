"""What only Cloud KMS has: checksums both ways, six states, versions that decrypt by key."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.crypto import transport
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    TAG,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    RemoteState,
)
from keys.providers.gcp_kms import GcpKmsProvider
from keys.providers.gcp_kms.algorithms import ROWS
from keyvault_portal.errors import DecryptRefused, TooLarge
from tests.providers.fakes.gcp_crypto import b64, crc, unb64
from tests.providers.place_gcp_kms import RING
from tests.providers.test_contract import AAD, OTHER, handle_of


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


def test_an_import_past_the_portal_goes_through_a_job_of_this_ring_only(gcp, fake):
    offer = gcp.offer_import("AES-256-GCM")
    job = offer.token.decode()
    assert (offer.opaque, job in fake.jobs, offer.expires_at is None) == ("", True, False)
    wrapped = transport.wrap_for_offer(offer.public_key, offer.method, SecretBytes(bytes(range(32))))
    elsewhere = replace(offer, token=job.replace(gcp._ring, "projects/other/locations/x/keyRings/y").encode())
    with pytest.raises(KeyMissing):
        gcp.take_import("AES-256-GCM", elsewhere, wrapped)
    fake.jobs[job][1]["state"] = "EXPIRED"
    with pytest.raises(KeyUnusable):
        gcp.take_import("AES-256-GCM", offer, wrapped)
    assert gcp.offer_import("AES-256-GCM").token != offer.token
