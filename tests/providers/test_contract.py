"""The contract every provider keeps, over every place where a key can live.

What a provider has not declared is not asked of it here; `test_what_is_declared_is_offered` holds that the declaration
and the class agree.
"""

import base64
import json
import logging
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.crypto import keymaterial, transport
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation
from keys.crypto.errors import InvalidSignature
from keys.crypto.secret import SecretBytes
from keys.providers import metadata
from keys.providers.base import (
    TAG,
    Capability,
    Cipher,
    DataKeys,
    Described,
    Destroyer,
    DirectImporter,
    Discovery,
    Exporter,
    GeneratedKey,
    Importer,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    Lifecycle,
    Mac,
    OperationUnsupported,
    Provider,
    RemoteState,
    Replicated,
    Restorer,
    Rotator,
    Signer,
    Wrapper,
)
from keys.providers.local import LocalProvider
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable
from tests.providers import points
from tests.providers.place import Place

PROTOCOLS = {
    Capability.CIPHER: Cipher,
    Capability.WRAPPER: Wrapper,
    Capability.SIGNER: Signer,
    Capability.MAC: Mac,
    Capability.IMPORTER: Importer,
    Capability.EXPORTER: Exporter,
    Capability.DIRECT_IMPORT: DirectImporter,
    Capability.ROTATOR: Rotator,
    Capability.DATA_KEYS: DataKeys,
    Capability.LIFECYCLE: Lifecycle,
    Capability.DESTROYER: Destroyer,
    Capability.DISCOVERY: Discovery,
    Capability.REPLICAS: Replicated,
    Capability.METADATA: Described,
    Capability.METADATA_RESTORE: Restorer,
}
AAD = b'{"table": "customers", "id": "7"}'
OTHER = b'{"table": "customers", "id": "8"}'


def handle_of(algorithm: str, made: GeneratedKey) -> KeyHandle:
    material = made.material
    return KeyHandle(algorithm, made.opaque, made.public_key, (lambda: material) if material is not None else None)


def new_key(place: Place, algorithm: str) -> KeyHandle:
    return handle_of(algorithm, place.provider.generate(algorithm))


def a_key(place: Place, algorithm: str) -> KeyHandle:
    """One key for all tests that use it and do nothing to it: an HSM draws a pair for seconds."""
    if algorithm not in place.made:
        place.made[algorithm] = new_key(place, algorithm)
    return place.made[algorithm]


def need(place: Place, *capabilities: Capability) -> None:
    if not place.can(*capabilities):
        pytest.skip(f"{place.kind} declares no {', '.join(capabilities)}")


def proved(place: Place, what: str) -> None:
    if what in place.untested:
        pytest.skip(place.untested[what])


def some(place: Place, *kinds: Kind, operation: Operation) -> list[str]:
    names = [
        name for name, row in ALGORITHMS.items()
        if name in place.provider.algorithms and row.kind in kinds and operation in row.operations
        and name not in place.untested
    ]  # fmt: skip
    if not names:
        pytest.skip(f"{place.kind} has no such algorithm")
    return sorted(names, key=lambda name: kinds.index(ALGORITHMS[name].kind))


def any_of(place: Place) -> str:
    return min(place.provider.algorithms - place.untested.keys())


def opening(place: Place) -> tuple[str, bytes]:
    """An algorithm that decrypts here, and a context that it can bind: with public keys, none."""
    algorithm = some(place, Kind.AEAD, Kind.ASYMMETRIC_ENCRYPTION, operation=Operation.DECRYPT)[0]
    return algorithm, AAD if ALGORITHMS[algorithm].kind is Kind.AEAD else b""


def test_what_is_declared_is_offered(place):
    assert isinstance(place.provider, Provider)
    assert place.provider.algorithms <= set(ALGORITHMS)
    for capability, protocol in PROTOCOLS.items():
        declared = capability in place.provider.capabilities
        if (place.kind, capability) == ("azure_kv", Capability.DIRECT_IMPORT):  # an HSM has it, a software vault not
            with pytest.raises(OperationUnsupported):
                place.provider.offer_import("RSA-3072-PSS-SHA256")
            continue
        assert isinstance(place.provider, protocol) == declared, capability


def test_an_algorithm_it_has_not_is_refused(place):
    for algorithm in set(ALGORITHMS) - place.provider.algorithms:
        with pytest.raises(OperationUnsupported):
            place.provider.generate(algorithm)


def test_data_comes_back_with_its_context_only(place):
    need(place, Capability.CIPHER, Capability.CONTEXT)
    for algorithm in some(place, Kind.AEAD, operation=Operation.DECRYPT):
        cipher = place.provider.cipher(a_key(place, algorithm))
        for plaintext in (b"", b"x", bytes(range(256)) * 8):
            sealed = cipher.encrypt(plaintext, AAD)
            assert len(plaintext) < 16 or plaintext not in sealed
            assert cipher.decrypt(sealed, AAD) == plaintext
            for wrong in (OTHER, b""):
                with pytest.raises(DecryptRefused):
                    cipher.decrypt(sealed, wrong)
        assert cipher.encrypt(b"twice", AAD) != cipher.encrypt(b"twice", AAD)


def test_tampering_is_detected(place):
    need(place, Capability.CIPHER)
    proved(place, "tampering")
    first, aad = opening(place)
    for algorithm in some(place, ALGORITHMS[first].kind, operation=Operation.DECRYPT)[: None if aad else 1]:
        handle = a_key(place, algorithm)
        cipher = place.provider.cipher(handle)
        sealed = cipher.encrypt(b"attack at dawn", aad)
        for position in (0, len(sealed) // 2, len(sealed) - 1):
            damaged = bytearray(sealed)
            damaged[position] ^= 1
            with pytest.raises(DecryptRefused):
                cipher.decrypt(bytes(damaged), aad)
        for broken in (b"", sealed[:-1], sealed[: len(sealed) // 2], sealed + b"\0"):
            with pytest.raises(DecryptRefused):
                cipher.decrypt(broken, aad)


def test_a_key_opens_only_its_own(place):
    need(place, Capability.CIPHER)
    proved(place, "tampering")
    algorithm, aad = opening(place)
    first, second = (place.provider.cipher(new_key(place, algorithm)) for _ in range(2))
    with pytest.raises(DecryptRefused):
        second.decrypt(first.encrypt(b"mine", aad), aad)


def test_public_key_encryption(place):
    need(place, Capability.CIPHER)
    for algorithm in some(place, Kind.ASYMMETRIC_ENCRYPTION, operation=Operation.DECRYPT):
        handle = a_key(place, algorithm)
        cipher = place.provider.cipher(handle)
        assert cipher.decrypt(cipher.encrypt(b"for the owner")) == b"for the owner"
        load_der_public_key(handle.public_key or b"")


def test_wrapped_keys_come_back_in_their_place_only(place):
    need(place, Capability.WRAPPER)
    first, aad = opening(place)
    for algorithm in some(place, ALGORITHMS[first].kind, operation=Operation.DECRYPT)[: None if aad else 1]:
        handle = a_key(place, algorithm)
        material = SecretBytes(bytes(range(32)))
        wrapped = place.provider.wrap(handle, material, aad)
        assert bytes(range(32)) not in wrapped
        assert place.provider.unwrap(handle, wrapped, aad).reveal() == bytes(range(32))
        with pytest.raises(DecryptRefused if aad else (DecryptRefused, OperationUnsupported)):
            place.provider.unwrap(handle, wrapped, OTHER)
        if "tampering" not in place.untested:
            with pytest.raises(DecryptRefused):
                place.provider.unwrap(handle, wrapped[:-1], aad)


def test_a_data_key_comes_with_its_wrapped_twin(place):
    need(place, Capability.DATA_KEYS)
    handle = a_key(place, some(place, Kind.AEAD, operation=Operation.UNWRAP)[0])
    material, wrapped = place.provider.generate_data_key(handle, AAD, 32)
    assert len(material.reveal()) == 32
    assert place.provider.unwrap(handle, wrapped, AAD).reveal() == material.reveal()
    assert place.provider.generate_data_key(handle, AAD)[0].reveal() != material.reveal()
    with pytest.raises(DecryptRefused):
        place.provider.unwrap(handle, wrapped, OTHER)


def test_signatures_of_every_algorithm(place):
    """Verified by the provider, and by the software implementation with the exported public key alone."""
    need(place, Capability.SIGNER)
    for algorithm in some(place, Kind.SIGNATURE, operation=Operation.SIGN):
        handle = a_key(place, algorithm)
        signer = place.provider.signer(handle)
        message = b"the exact act" * 500
        signature = signer.sign(message)
        assert signer.verify(message, signature)
        assert not signer.verify(message + b".", signature)
        assert not signer.verify(message, signature[:-1] + bytes([signature[-1] ^ 1]))
        keymaterial.verify(algorithm, handle.public_key or b"", message, signature)
        with pytest.raises(InvalidSignature):
            keymaterial.verify(algorithm, handle.public_key or b"", message + b".", signature)


def test_message_authentication_codes(place):
    need(place, Capability.MAC)
    for algorithm in some(place, Kind.MAC, operation=Operation.MAC):
        authenticator = place.provider.authenticator(a_key(place, algorithm))
        code = authenticator.mac(b"message")
        assert authenticator.verify_mac(b"message", code)
        assert not authenticator.verify_mac(b"messagf", code)
        assert not authenticator.verify_mac(b"message", code[:-1])


def test_old_versions_still_open_after_a_rotation(place):
    need(place, Capability.ROTATOR, Capability.CIPHER)
    algorithm, aad = opening(place)
    old = new_key(place, algorithm)
    sealed = place.provider.cipher(old).encrypt(b"before", aad)
    new = handle_of(algorithm, place.provider.rotate(old))
    assert new.opaque != old.opaque
    assert place.provider.cipher(old).decrypt(sealed, aad) == b"before"
    later = place.provider.cipher(new).encrypt(b"after", aad)
    assert place.provider.cipher(new).decrypt(later, aad) == b"after"


def test_a_handle_is_pinned_to_its_version(place):
    """Also where the counterpart would open either for either: the census counts by version."""
    need(place, Capability.ROTATOR, Capability.CIPHER)
    proved(place, "tampering")
    algorithm, aad = opening(place)
    old = new_key(place, algorithm)
    new = handle_of(algorithm, place.provider.rotate(old))
    before, after = (place.provider.cipher(handle).encrypt(b"text", aad) for handle in (old, new))
    for handle, sealed in ((new, before), (old, after)):
        with pytest.raises(DecryptRefused):
            place.provider.cipher(handle).decrypt(sealed, aad)


def test_nothing_that_is_protected_is_logged_at_any_level(place, caplog, capfd):
    """Neither plaintext nor wrapped material nor credentials, in none of the forms in which they travel."""
    need(place, Capability.CIPHER)
    caplog.set_level(logging.DEBUG)
    text, material = b"attack at dawn, by the northern gate", SecretBytes(bytes(range(100, 132)))
    for algorithm in some(place, Kind.AEAD, Kind.ASYMMETRIC_ENCRYPTION, operation=Operation.DECRYPT):
        aad = AAD if ALGORITHMS[algorithm].kind is Kind.AEAD else b""
        handle = a_key(place, algorithm)
        cipher = place.provider.cipher(handle)
        assert cipher.decrypt(cipher.encrypt(text, aad), aad) == text
        if place.can(Capability.WRAPPER) and aad:
            assert place.provider.unwrap(handle, place.provider.wrap(handle, material, aad), aad) == material
        break
    ours = [
        record for record in caplog.records if not record.name.startswith("moto")
    ]  # the counterpart, in this process
    told = "".join(record.getMessage() for record in ours) + "".join(capfd.readouterr()) + repr(place.provider)
    for secret in (text, material.reveal(), *(secret.encode() for secret in place.secrets)):
        for form in (secret.decode("latin-1"), secret.hex(), base64.b64encode(secret).decode().rstrip("=")):
            assert form not in told


def test_imported_material_is_what_it_was(place):
    """Brought by the provider's own wrapping; what our software sealed, the provider opens, or the other way round."""
    need(place, Capability.IMPORTER)
    proved(place, "import")
    algorithm, aad = opening(place)
    ours = LocalProvider().generate(algorithm)
    assert ours.material is not None
    handle = handle_of(algorithm, place.provider.import_key(algorithm, ours.material))
    here, there = (provider.cipher(given) for provider, given in (
        (LocalProvider(), handle_of(algorithm, ours)), (place.provider, handle),
    ))  # fmt: skip
    assert there.decrypt(there.encrypt(b"brought", aad), aad) == b"brought"
    if not aad:
        assert handle.public_key == ours.public_key
        assert there.decrypt(here.encrypt(b"old data")) == b"old data"
    if place.can(Capability.DISCOVERY):
        described = place.provider.describe(handle)
        assert described.imported
        assert described.state is RemoteState.ENABLED


def test_an_exportable_key_is_given_out_wrapped_and_no_other(place):
    need(place, Capability.EXPORTER)
    kek = SecretBytes(bytes(range(32)))
    for algorithm in sorted(place.provider.algorithms - place.untested.keys()):
        try:
            handle = handle_of(algorithm, place.provider.generate(algorithm, exportable=True))
        except OperationUnsupported:
            assert (place.kind, algorithm) == ("pkcs11", "Ed25519"), (
                "SoftHSM wraps no Edwards keys, and says so at once"
            )
            continue
        material = transport.unwrap_under(kek, place.provider.export_key(handle, kek))
        assert keymaterial.public_half(algorithm, material) == handle.public_key, algorithm
        if place.kind != "local":  # the portal alone holds that flag of its own keys
            with pytest.raises(KeyUnusable):
                place.provider.export_key(a_key(place, algorithm), kek)


def test_what_is_exported_and_imported_elsewhere_opens_old_data(place):
    need(place, Capability.EXPORTER, Capability.IMPORTER, Capability.CONTEXT)
    kek = SecretBytes(bytes(range(32)))
    first = handle_of("AES-256-GCM", place.provider.generate("AES-256-GCM", exportable=True))
    sealed = place.provider.cipher(first).encrypt(b"old data", AAD)
    material = transport.unwrap_under(kek, place.provider.export_key(first, kek))
    again = handle_of("AES-256-GCM", place.provider.import_key("AES-256-GCM", material, exportable=True))
    assert place.provider.cipher(again).decrypt(sealed, AAD) == b"old data"
    assert transport.unwrap_under(kek, place.provider.export_key(again, kek)) == material
    sealed_here = LocalProvider().cipher(KeyHandle("AES-256-GCM", material=lambda: material)).encrypt(b"new", AAD)
    assert place.provider.cipher(first).decrypt(sealed_here, AAD) == b"new"


def test_material_wrapped_for_the_provider_itself_gets_there(place):
    need(place, Capability.DIRECT_IMPORT)
    proved(place, "import")
    material = SecretBytes(bytes(range(32)))
    offer = place.provider.offer_import("AES-256-GCM", tag="a-tag")
    wrapped = transport.wrap_for_offer(offer.public_key, offer.method, material)
    handle = handle_of("AES-256-GCM", place.provider.take_import("AES-256-GCM", offer, wrapped, tag="a-tag"))
    cipher = place.provider.cipher(handle)
    assert cipher.decrypt(cipher.encrypt(b"brought", AAD), AAD) == b"brought"
    listed = {remote.opaque for remote in place.provider.list_keys()}
    assert handle.opaque in listed
    assert offer.opaque in {"", handle.opaque} or offer.opaque not in listed, "what only served the import is no key"


def test_a_private_key_wrapped_for_the_provider_gets_there(place):
    need(place, Capability.DIRECT_IMPORT, Capability.SIGNER)
    proved(place, "import")
    for algorithm in ("RSA-2048-PSS-SHA256", "ECDSA-P256-SHA256"):
        if algorithm not in place.provider.algorithms or algorithm in place.untested:
            continue
        made = LocalProvider().generate(algorithm)
        try:
            offer = place.provider.offer_import(algorithm, tag="another-tag")
        except OperationUnsupported:
            assert (place.kind, algorithm) == ("pkcs11", "ECDSA-P256-SHA256")
            continue
        wrapped = transport.wrap_for_offer(offer.public_key, offer.method, made.material)
        handle = handle_of(algorithm, place.provider.take_import(algorithm, offer, wrapped, tag="another-tag"))
        assert handle.public_key == made.public_key
        signature = place.provider.signer(handle).sign(b"message")
        keymaterial.verify(algorithm, made.public_key or b"", b"message", signature)


def test_what_was_wrapped_for_somebody_else_is_refused(place):
    need(place, Capability.DIRECT_IMPORT)
    proved(place, "import")
    offer = place.provider.offer_import("AES-256-GCM", tag="third-tag")
    other = transport.new_receiver(transport.Method.RSA_AES_KW)
    wrapped = transport.wrap_for_offer(other.public or b"", offer.method, SecretBytes(bytes(32)))
    for sent in (wrapped, wrapped[:100], b"{}"):
        with pytest.raises(DecryptRefused):
            place.provider.take_import("AES-256-GCM", offer, sent, tag="third-tag")


def test_a_disabled_key_is_refused_until_enabled(place):
    need(place, Capability.LIFECYCLE, Capability.DISCOVERY, Capability.CIPHER)
    algorithm, aad = opening(place)
    handle = new_key(place, algorithm)
    sealed = place.provider.cipher(handle).encrypt(b"kept", aad)
    place.provider.disable(handle)
    assert place.provider.describe(handle).state is RemoteState.DISABLED
    if "disabled" not in place.untested:
        with pytest.raises(KeyUnusable):
            place.provider.cipher(handle).decrypt(sealed, aad)
    place.provider.enable(handle)
    assert place.provider.describe(handle).state is RemoteState.ENABLED
    assert place.provider.cipher(handle).decrypt(sealed, aad) == b"kept"


def test_a_deletion_is_scheduled_and_taken_back(place):
    need(place, Capability.LIFECYCLE, Capability.DISCOVERY, Capability.CIPHER)
    algorithm, aad = opening(place)
    handle = new_key(place, algorithm)
    sealed = place.provider.cipher(handle).encrypt(b"kept", aad)
    due = place.provider.schedule_deletion(handle, 7)
    assert due.tzinfo is not None
    assert place.provider.describe(handle).state in {RemoteState.PENDING_DELETION, RemoteState.DISABLED}
    if "pending_deletion" not in place.untested:
        with pytest.raises(KeyUnusable):
            place.provider.cipher(handle).decrypt(sealed, aad)
        if aad:  # a public key encrypts without asking anybody
            with pytest.raises(KeyUnusable):
                place.provider.cipher(handle).encrypt(b"new", aad)
    place.provider.cancel_deletion(handle)
    assert place.provider.describe(handle).state is RemoteState.ENABLED
    assert place.provider.cipher(handle).decrypt(sealed, aad) == b"kept"


def test_a_destroyed_key_is_gone_or_said_to_be_waiting(place):
    """At once, or a plain no where only a scheduled deletion exists; never a yes that leaves the key of use."""
    need(place, Capability.DESTROYER, Capability.DISCOVERY)
    handle = new_key(place, any_of(place))
    try:
        place.provider.destroy(handle)
    except OperationUnsupported:
        assert place.can(Capability.LIFECYCLE), "then it can be scheduled"
        assert place.provider.describe(handle).state is RemoteState.ENABLED
        return
    try:
        assert place.provider.describe(handle).state is RemoteState.DESTROYED
    except KeyMissing:
        assert handle.opaque not in {remote.opaque for remote in place.provider.list_keys()}


def test_every_key_is_listed(place):
    need(place, Capability.DISCOVERY)
    algorithm = any_of(place)
    handles = [new_key(place, algorithm) for _ in range(3)]
    listed = {remote.opaque: remote for remote in place.provider.list_keys()}
    for handle in handles:
        assert listed[handle.opaque].state is RemoteState.ENABLED
        assert listed[handle.opaque].algorithm == algorithm
        assert place.provider.describe(handle).opaque == handle.opaque


def changed_behind_our_back(place, tag):
    """A key, what its provider told of it, once that has been changed there by somebody else."""
    assert place.change_metadata is not None
    algorithm = any_of(place)
    marked = {"tag": tag} if place.can(Capability.TAGS) else {}
    handle = handle_of(algorithm, place.provider.generate(algorithm, **marked))
    accepted = place.provider.metadata(handle)
    assert metadata.digest(json.loads(json.dumps(accepted))) == metadata.digest(place.provider.metadata(handle)), (
        "plain JSON"
    )
    assert tag not in str(accepted), "its own mark is compared by itself"
    place.change_metadata(handle.opaque)
    return handle, accepted


def test_a_changed_policy_or_tag_is_told(place):
    need(place, Capability.METADATA)
    handle, accepted = changed_behind_our_back(place, str(uuid4()))
    assert metadata.changes(accepted, place.provider.metadata(handle))
    again = KeyHandle(handle.algorithm, handle.opaque)
    assert place.provider.metadata_owner(handle) == place.provider.metadata_owner(again)


def test_a_changed_policy_or_tag_is_put_back(place):
    need(place, Capability.METADATA_RESTORE)
    tag = str(uuid4())
    handle, accepted = changed_behind_our_back(place, tag)
    for _ in range(2):  # harmless when repeated
        place.provider.restore_metadata(handle, accepted, tag=tag)
        assert metadata.changes(accepted, place.provider.metadata(handle)) == []
    described = place.provider.describe(handle)
    assert described.state is RemoteState.ENABLED
    assert not place.can(Capability.TAGS) or described.tags[TAG] == tag


def test_its_own_rotation_is_set_and_switched_off(place):
    need(place, Capability.SELF_ROTATION)
    handle = new_key(place, any_of(place))
    assert place.provider.describe(handle).rotation_days is None
    for days in (120, 180, 180, None, None):  # harmless when repeated
        place.provider.set_rotation(handle, days)
        told = place.provider.describe(handle).rotation_days
        assert told == days or (days and told and "rotation_period" in place.untested)
    again = KeyHandle(handle.algorithm, handle.opaque)
    assert place.provider.rotates_with(handle) == place.provider.rotates_with(again)


def test_a_key_carries_the_portals_mark(place):
    need(place, Capability.TAGS)
    tag, algorithm = str(uuid4()), any_of(place)
    described = place.provider.describe(handle_of(algorithm, place.provider.generate(algorithm, tag=tag)))
    assert described.tags[TAG] == tag


def test_a_disabled_key_has_the_same_metadata(place):
    """Disabling is the portal's own act, and must not look like somebody else's change."""
    need(place, Capability.METADATA, Capability.LIFECYCLE)
    handle = new_key(place, any_of(place))
    accepted = place.provider.metadata(handle)
    place.provider.disable(handle)
    assert metadata.changes(accepted, place.provider.metadata(handle)) == []
    if place.can(Capability.METADATA_RESTORE):
        place.provider.restore_metadata(handle, accepted)
        assert place.provider.describe(handle).state is RemoteState.DISABLED


def test_a_key_nobody_knows_is_named_so(place):
    need(place, Capability.DISCOVERY)
    if place.delete_behind_our_back is None:
        pytest.skip("nothing here deletes behind our back")
    handle = new_key(place, any_of(place))
    place.delete_behind_our_back(handle.opaque)
    with pytest.raises(KeyMissing):
        place.provider.describe(handle)


def test_the_check_is_a_round_trip(place):
    need(place, Capability.DISCOVERY)
    health = place.provider.check()
    assert health.seconds > 0


@pytest.mark.parametrize("fault", ["bad_credentials", "dead_address"])
def test_trouble_has_the_portals_names_and_no_secret(place, fault, caplog):
    need(place, Capability.DISCOVERY)
    changed = getattr(place, fault)
    if changed is None:
        pytest.skip(place.untested.get(fault, "no such fault here"))
    with pytest.raises(PortalError) as caught:
        place.make(**changed).check()
    expected = "provider_credentials_refused" if fault == "bad_credentials" else "provider_unavailable"
    assert isinstance(caught.value, ProviderUnavailable)
    assert caught.value.code == expected
    told = f"{caught.value.detail} {caught.value.hint} {caught.value!r} {caplog.text}"
    for secret in [*place.secrets, *(str(value) for value in changed.values() if "address" not in fault)]:
        assert secret not in told


def test_a_slow_answer_is_given_up(place):
    if place.slow_address is None:
        pytest.skip("nothing slow here")
    with pytest.raises(ProviderUnavailable) as caught:
        place.make(**place.slow_address(), timeout=0.5).check()
    assert caught.value.code == "provider_unavailable"


def test_what_the_table_says_was_seen(request, places):
    """Last of the file: what the table in the docs calls proved has succeeded here, at that very provider."""
    whole = {name for name in dir(request.module) if name.startswith("test_")}
    if whole - {item.originalname for item in request.session.items if item.module is request.module}:
        pytest.skip("only after the whole suite")
    for column, (_, kinds) in points.COLUMNS.items():
        kinds_here = [kind for kind in kinds if kind in places]
        if not kinds_here:
            continue  # what its counterpart needs is not installed, and its tests said so
        assert points.capabilities(column) == places[kinds_here[0]].provider.capabilities
        for point in points.POINTS:
            ran = any((name, kind) in points.SEEN for name in point.tests for kind in kinds_here)
            if point.missing_at(column):
                assert not point.needs or not ran or len(point.tests) > 1, (point.words, column)
            else:
                assert ran or column in point.elsewhere, (point.words, column)
