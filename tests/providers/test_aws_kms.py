"""AWS KMS beyond the contract: regions, the seed's envelopes, import, roles, and trouble on the line."""

import base64
import json
import logging
import os
import secrets
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes
from keys.providers import metadata, quotas
from keys.providers.aws_kms import AwsKmsProvider
from keys.providers.aws_kms.using import encryption_context
from keys.providers.base import (
    TAG,
    CredentialsRefused,
    KeyHandle,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
    RemoteState,
)
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable, TooLarge, ValidationFailed
from tests.providers.place import Place
from tests.providers.place_aws_kms import LOOPBACK, REGION, ROLE, STRANGER
from tests.providers.place_aws_kms_ministack import REPLICA
from tests.providers.troubled import answering, failing

CONTEXT = {"table": "customers", "id": "7"}
AES = "AES-256-GCM"


@pytest.fixture
def moto(places) -> Place:
    return places["aws_kms"]


@pytest.fixture
def ministack(places) -> Place:
    return places["aws_kms_ministack"]


def endpoint_of(place: Place) -> str:
    return place.provider._connection.primary.endpoint


def new_key(provider: AwsKmsProvider, algorithm: str = AES) -> KeyHandle:
    made = provider.generate(algorithm)
    return KeyHandle(algorithm, made.opaque, made.public_key)


def lonely(address: str, **changed: object) -> AwsKmsProvider:
    """A provider before a server of our own."""
    settings = {"region": REGION, "endpoint": address, "access_key_id": "a", "secret_access_key": "b", "rule": LOOPBACK}
    return AwsKmsProvider(**{**settings, **changed})


def raw_client(place: Place):
    known = place.provider._connection
    keys = {name: value for name, value in known.credentials.items() if name.startswith("aws_")}
    return boto3.client("kms", region_name=REGION, endpoint_url=known.primary.endpoint, **keys)


def test_envelopes_of_the_usual_recipe_open_here_and_ours_there(moto):
    handle, client = new_key(moto.provider), raw_client(moto)
    theirs = client.generate_data_key(KeyId=handle.opaque, KeySpec="AES_256", EncryptionContext=CONTEXT)
    nonce, aad = secrets.token_bytes(12), json.dumps(CONTEXT).encode()
    sealed = AESGCM(theirs["Plaintext"]).encrypt(nonce, b"record", aad)
    opened = moto.provider.unwrap(handle, theirs["CiphertextBlob"], aad)
    assert AESGCM(opened.reveal()).decrypt(nonce, sealed, aad) == b"record"

    material, wrapped = moto.provider.generate_data_key(handle, aad)
    assert client.decrypt(CiphertextBlob=wrapped, EncryptionContext=CONTEXT)["Plaintext"] == material.reveal()


@pytest.mark.parametrize(
    ("aad", "context"),
    [
        (b"", {}),
        (b'{"b": "2", "a": "1"}', {"a": "1", "b": "2"}),
        (b'{"a": ""}', {"a": ""}),
        (b"plain", None),
        (b'{"a": 1}', None),
        (b'{"a": {"b": "c"}}', None),
        (b'{"": "x"}', None),
        (b'{"a": "1", "a": "2"}', None),
        (b'{"aad": "eA=="}', None),
        (b'{"keyvault-portal:empty": "true"}', None),
        (b'[["a", "1"]]', None),
        (b"[]", None),
        (b"[" * 5000, None),
        (b"\xff\xfe", None),
    ],
)
def test_a_context_of_strings_is_used_as_it_is_and_the_rest_as_bytes(aad, context):
    expected = {"aad": base64.b64encode(aad).decode()} if context is None else context
    assert encryption_context(aad) == expected


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_different_bytes_get_different_contexts(one, other):
    if encryption_context(one) == encryption_context(other) and one != other:
        assert json.loads(one or b"{}") == json.loads(other or b"{}")


def test_a_context_beyond_the_providers_limit_is_refused():
    with pytest.raises(TooLarge):
        encryption_context(b"x" * 8000)


def test_empty_data_is_bound_as_such(moto):
    handle = new_key(moto.provider)
    cipher = moto.provider.cipher(handle)
    empty, one_zero = cipher.encrypt(b"", b"aad"), cipher.encrypt(b"\0", b"aad")
    for forged in (b"\0" + one_zero, empty[1:]):
        with pytest.raises(DecryptRefused):
            cipher.decrypt(forged, b"aad")


def test_more_than_the_service_takes_is_refused_before_it_is_sent(moto):
    handle = new_key(moto.provider)
    with pytest.raises(TooLarge):
        moto.provider.cipher(handle).encrypt(bytes(4097))
    mac = moto.provider.authenticator(new_key(moto.provider, "HMAC-SHA256"))
    with pytest.raises(TooLarge):
        mac.mac(bytes(4097))


def test_an_answer_from_another_key_is_none():
    with answering(200, {"Plaintext": base64.b64encode(b"x").decode(), "KeyId": "arn:aws:kms:r:1:key/other"}) as server:
        cipher = lonely(server.address).cipher(KeyHandle(AES, "arn:aws:kms:eu-central-1:1:key/ours"))
        with pytest.raises(DecryptRefused):
            cipher.decrypt(b"\1\2\3")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "ThrottlingException", ProviderThrottled),
        (429, "Whatever", ProviderThrottled),
        (500, "KMSInternalException", ProviderUnavailable),
        (500, "", ProviderUnavailable),
        (502, "BadGateway", ProviderUnavailable),
        (400, "DependencyTimeoutException", ProviderUnavailable),
        (403, "ExpiredTokenException", CredentialsRefused),
        (400, "DisabledException", KeyUnusable),
        (400, "SomethingNew", ProviderFault),
    ],
)
def test_trouble_on_the_line_has_its_name(status, code, error):
    with answering(status, {"__type": code, "message": "secret-of-the-message"}) as server:
        with pytest.raises(error) as caught:
            lonely(server.address).check()
        assert type(caught.value) is error
        assert "secret-of-the-message" not in f"{caught.value.detail}{caught.value.hint}{caught.value!r}"
        assert len(server.requests) <= 2  # the portal's own retries come on top


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("InvalidSignatureException", "Signature expired: 20261125T100000Z is now earlier than 20261125T205500Z"),
        (
            "InvalidSignatureException",
            "Signature not yet current: 20261126T100000Z is still later than 20261125T210500Z",
        ),
        ("RequestExpired", "Request has expired."),
    ],
)
def test_a_clock_that_is_wrong_is_named_as_the_cause(code, said):
    with answering(400, {"__type": code, "message": said}) as server, pytest.raises(CredentialsRefused) as caught:
        lonely(server.address).check()
    assert "clock" in caught.value.detail
    with (
        answering(400, {"__type": "InvalidSignatureException", "message": "The secret does not match"}) as server,
        pytest.raises(CredentialsRefused) as caught,
    ):
        lonely(server.address).check()
    assert "clock" not in caught.value.detail


def test_without_an_identity_the_portal_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_EC2_METADATA_DISABLED"]:
        monkeypatch.delenv(name)
    with pytest.raises(CredentialsRefused, match="no credentials"):
        lonely("http://127.0.0.1:1", access_key_id="", secret_access_key="").check()


def test_a_role_is_assumed(moto, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint_of(moto))
    provider = moto.make(role_arn=ROLE)
    provider.generate(AES)
    assert provider.check().identity == "account 123456789012"
    source = provider._connection.client()._get_credentials().access_key
    assert source != moto.provider._connection.credentials["aws_access_key_id"]
    with pytest.raises(CredentialsRefused):
        moto.make(role_arn=ROLE, secret_access_key="wrong").check()


def test_a_rotation_makes_a_key_that_names_its_predecessor(moto):
    old = new_key(moto.provider)
    new = moto.provider.rotate(old)
    described = moto.provider.describe(KeyHandle(AES, new.opaque))
    assert old.opaque.rpartition("/")[2] in described.name


def test_what_a_key_carries_is_listed(moto):
    handle, client = new_key(moto.provider), raw_client(moto)
    client.tag_resource(KeyId=handle.opaque, Tags=[{"TagKey": "team", "TagValue": "payments"}])
    client.create_alias(AliasName="alias/payments", TargetKeyId=handle.opaque)
    client.enable_key_rotation(KeyId=handle.opaque)
    remote = next(key for key in moto.provider.list_keys() if key.opaque == handle.opaque)
    assert (remote.name, remote.tags, remote.rotation_days) == ("payments", {"team": "payments"}, 365)
    assert remote.created_at.tzinfo is not None


@pytest.mark.parametrize("days", [0, 6, 31])
def test_a_deletion_has_the_services_own_bounds(moto, days):
    with pytest.raises(ValidationFailed):
        moto.provider.schedule_deletion(new_key(moto.provider), days)


def test_nothing_is_destroyed_at_once(moto):
    with pytest.raises(OperationUnsupported):
        moto.provider.destroy(new_key(moto.provider))


def test_a_key_is_found_again_by_its_tag(moto):
    made = moto.provider.generate("ECDSA-P256-SHA256", tag="intent-7")
    assert [key.opaque for key in moto.provider.list_keys() if key.tags.get(TAG) == "intent-7"] == [made.opaque]
    assert moto.provider.describe(KeyHandle("ECDSA-P256-SHA256", made.opaque)).public_key == made.public_key


def test_nothing_that_is_sent_is_logged_at_any_level(ministack, caplog):
    caplog.set_level(logging.DEBUG)
    handle = new_key(ministack.provider)
    ministack.provider.cipher(handle).encrypt(b"plaintext-of-the-test")
    assert "plaintext-of-the-test" not in caplog.text
    assert base64.b64encode(b"plaintext-of-the-test").decode() not in caplog.text


def test_one_bound_cipher_serves_many_threads(moto):
    cipher = moto.provider.cipher(new_key(moto.provider))
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda n: cipher.encrypt(b"%d" % n, b"aad"), range(40)))
        assert list(pool.map(lambda blob: cipher.decrypt(blob, b"aad"), sealed)) == [b"%d" % n for n in range(40)]


# Regions


@pytest.fixture
def regions(ministack):
    """A key with a replica; the same provider with its first region up, and with it down."""
    replica = f"{REPLICA}={endpoint_of(ministack)}"
    whole = ministack.make(replica_regions=replica)
    return new_key(whole), whole, ministack.make(replica_regions=replica, endpoint="http://127.0.0.1:1")


def test_a_replica_serves_when_the_first_region_is_down(ministack, regions):
    handle, whole, half = regions
    assert "mrk-" in handle.opaque
    sealed = whole.cipher(handle).encrypt(b"kept", b"aad")
    assert half.cipher(handle).decrypt(sealed, b"aad") == b"kept"
    material, wrapped = half.generate_data_key(handle, b"aad")
    assert whole.unwrap(handle, wrapped, b"aad") == material
    alone = new_key(ministack.provider)
    with pytest.raises(ProviderUnavailable):
        half.cipher(alone).encrypt(b"x")


def test_a_region_that_gave_no_answer_is_asked_last_for_a_while(regions):
    handle, whole, _ = regions
    with answering(500, {"__type": "KMSInternalException"}) as server:
        cipher = lonely(server.address, replica_regions=f"{REPLICA}={whole._connection.primary.endpoint}").cipher(
            handle
        )
        sealed = cipher.encrypt(b"kept")
        asked = len(server.requests)
        assert asked
        assert cipher.decrypt(sealed) == b"kept"
        assert len(server.requests) == asked


def test_throttling_and_refusal_are_answers_that_no_replica_softens(regions):
    handle, whole, _ = regions
    replica = f"{REPLICA}={whole._connection.primary.endpoint}"
    for body, error in (
        ({"__type": "ThrottlingException"}, ProviderThrottled),
        ({"__type": "AccessDeniedException", "message": "User x is not authorized to perform: kms:Encrypt"}, CredentialsRefused),
        ({"__type": "DisabledException"}, KeyUnusable),
    ):  # fmt: skip
        with answering(400, body) as server, pytest.raises(error):
            lonely(server.address, replica_regions=replica).cipher(handle).encrypt(b"x")


def test_a_key_is_disabled_and_deleted_in_all_its_regions(regions):
    handle, whole, half = regions
    sealed = whole.cipher(handle).encrypt(b"kept")
    whole.disable(handle)
    with pytest.raises(KeyUnusable):
        half.cipher(handle).decrypt(sealed)
    whole.enable(handle)
    assert half.cipher(handle).decrypt(sealed) == b"kept"
    due = whole.schedule_deletion(handle, 7)
    assert due.tzinfo is not None
    with pytest.raises(KeyUnusable):
        half.cipher(handle).decrypt(sealed)
    whole.cancel_deletion(handle)
    assert half.cipher(handle).decrypt(sealed) == b"kept"


@pytest.mark.parametrize("wanted", [RemoteState.ENABLED, RemoteState.DISABLED, RemoteState.PENDING_DELETION])
@pytest.mark.parametrize("there", [RemoteState.ENABLED, RemoteState.DISABLED, RemoteState.PENDING_DELETION])
def test_copies_are_brought_to_a_state_and_the_key_is_left_alone(regions, there, wanted):
    handle, whole, _ = regions
    for state in (there, wanted, wanted):  # the last time it is so already
        whole.align_replicas(handle, state, 7)
        assert [(copy.region, copy.state) for copy in whole.replicas(handle)] == [(REPLICA, state)]
        assert whole.describe(handle).state is RemoteState.ENABLED


def test_a_copy_has_a_policy_and_tags_of_its_own(regions):
    handle, whole, _ = regions
    accepted = whole.metadata(handle)
    (copy,) = whole.replicas(handle)
    there = KeyHandle(AES, copy.opaque)
    assert whole.metadata_owner(there) == copy.opaque != handle.opaque
    assert whole.metadata(there) == accepted
    client = whole._connection.client_for(copy.opaque)
    assert client.meta.region_name == REPLICA
    policy = json.dumps({**accepted["policy"], "Statement": [*accepted["policy"]["Statement"], STRANGER]})
    client.put_key_policy(KeyId=copy.opaque, PolicyName="default", Policy=policy)
    client.tag_resource(KeyId=copy.opaque, Tags=[{"TagKey": "team", "TagValue": "shop"}])
    places = {change.place for change in metadata.changes(accepted, whole.metadata(there))}
    assert {"policy / Statement / stranger / Action", "tags / team"} <= places
    assert whole.metadata(handle) == accepted, "the key's own are what they were"
    whole.restore_metadata(there, accepted)
    assert whole.metadata(there) == accepted


def test_a_copy_made_later_is_protected_as_the_key_is(ministack):
    """KMS by itself would give it the default policy, and the copy would be open to more people than the key."""
    first = ministack.make(replica_regions=f"{REPLICA}={endpoint_of(ministack)}")
    handle = KeyHandle(AES, first.generate(AES, tag="7d1a0f2e").opaque)
    accepted = first.metadata(handle)
    tight = {"policy": {**accepted["policy"], "Statement": [STRANGER]}, "tags": {"team": "shop"}}
    first.restore_metadata(handle, tight)
    third = ministack.make(replica_regions=f"us-west-2={endpoint_of(ministack)}")
    assert [copy.state for copy in third.replicas(handle)] == [None]
    third.align_replicas(handle, RemoteState.PENDING_DELETION, 7)
    assert [copy.state for copy in third.replicas(handle)] == [None], "nothing is made to be deleted"
    third.align_replicas(handle, RemoteState.ENABLED, 7)
    (copy,) = third.replicas(handle)
    assert third.metadata(KeyHandle(AES, copy.opaque)) == tight
    assert metadata.changes(third.metadata(handle), tight) == []


def test_periods_and_keys_that_kms_does_not_rotate(moto, ministack):
    provider = ministack.provider
    for days in (89, 2561):
        with pytest.raises(OperationUnsupported):
            provider.set_rotation(KeyHandle(AES, provider.generate(AES).opaque), days)
    signs = provider.generate("ECDSA-P256-SHA256")
    with pytest.raises(PortalError):
        moto.provider.set_rotation(KeyHandle("ECDSA-P256-SHA256", signs.opaque, signs.public_key), 90)


def test_a_key_that_gets_no_replica_is_given_back(ministack):
    before = {key.opaque for key in ministack.provider.list_keys()}
    with failing(endpoint_of(ministack), "ReplicateKey") as server, pytest.raises(ProviderUnavailable):
        replica = f"{REPLICA}={endpoint_of(ministack)}"
        ministack.make(endpoint=server.address, replica_regions=replica).generate(AES)
    left = [key for key in ministack.provider.list_keys() if key.opaque not in before]
    assert [key.state for key in left] == [RemoteState.PENDING_DELETION]


# Import


@pytest.mark.parametrize("algorithm", ["HMAC-SHA256", "RSA-2048-PSS-SHA256", "ECDSA-P256-SHA256", "ECDSA-P384-SHA384"])
def test_imported_keys_are_the_ones_we_had(ministack, algorithm):
    ours = keymaterial.generate(algorithm)
    made = ministack.provider.import_key(algorithm, ours.private)
    handle = KeyHandle(algorithm, made.opaque, made.public_key)
    if ours.public is None:
        assert ministack.provider.authenticator(handle).mac(b"m") == keymaterial.mac(algorithm, ours.private, b"m")
    else:
        assert made.public_key == ours.public
        keymaterial.verify(algorithm, ours.public, b"m", ministack.provider.signer(handle).sign(b"m"))


def test_an_import_that_breaks_leaves_no_key_waiting(ministack):
    before = {key.opaque for key in ministack.provider.list_keys()}
    with failing(endpoint_of(ministack), "ImportKeyMaterial") as server, pytest.raises(ProviderUnavailable):
        ministack.make(endpoint=server.address).import_key(AES, SecretBytes(bytes(range(32))))
    left = [key for key in ministack.provider.list_keys() if key.opaque not in before]
    assert [key.state for key in left] == [RemoteState.PENDING_DELETION]


def test_material_that_does_not_fit_makes_no_key(ministack):
    before = len(list(ministack.provider.list_keys()))
    with pytest.raises(ProviderFault):
        ministack.provider.import_key(AES, SecretBytes(b"short"))
    assert len(list(ministack.provider.list_keys())) == before


def test_quotas_of_the_region(moto):
    assert moto.provider.quota.symmetric == 20_000
    assert quotas.quota_of("aws_kms", "eu-north-1").symmetric == 10_000
    assert quotas.quota_of("local") is None
    assert quotas.BUDGETS["aws_kms"] == 100  # what the seed plans with
