"""What a token does beyond the contract: its keys stay inside, come in wrapped, and are nobody else's."""

import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.crypto import keymaterial, transport
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    KeyHandle,
    KeyMissing,
    OperationUnsupported,
    RemoteState,
)
from keyvault_portal.errors import DecryptRefused
from tests.providers.place import Place
from tests.providers.place_pkcs11 import MODULE, PIN

pytestmark = pytest.mark.needs_softhsm
AES = "AES-256-GCM"


@pytest.fixture
def place(places: dict[str, Place]) -> Place:
    return places["pkcs11"]


def test_two_portals_on_one_token_do_not_meet(place, provider):
    other = place.make()
    ours, theirs = provider.generate(AES).opaque, other.generate(AES).opaque
    assert {ours, theirs} <= {remote.opaque for remote in provider.list_keys()}
    other.destroy(KeyHandle(AES, theirs))
    listed = {remote.opaque for remote in provider.list_keys()}
    assert ours in listed
    assert theirs not in listed
    with pytest.raises(KeyMissing):
        provider.cipher(KeyHandle(AES, theirs)).encrypt(b"x")
    other._link.close()


def test_a_key_destroyed_elsewhere_is_missing_though_it_was_just_used(place, provider, key):
    cipher = provider.cipher(key)
    sealed = cipher.encrypt(b"gone", b"")
    place.delete_behind_our_back(key.opaque)
    with pytest.raises(KeyMissing):
        cipher.decrypt(sealed, b"")


READ = """
import sys, pkcs11
from pkcs11 import Attribute
session = pkcs11.lib(sys.argv[1]).get_token(token_label="portal").open(user_pin=sys.stdin.read())
key = next(iter(session.get_objects({Attribute.ID: bytes.fromhex(sys.argv[2])})))
assert key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
try:
    key[Attribute.VALUE]
except pkcs11.exceptions.AttributeSensitive:
    print(key[Attribute.ALWAYS_SENSITIVE], key[Attribute.NEVER_EXTRACTABLE])
"""


@pytest.mark.parametrize(("brought", "said"), [(False, "True True"), (True, "False False")])
def test_material_cannot_be_read_from_the_token(provider, brought, said):
    """Asked by another program, with the right PIN; of an imported key the token knows that it was outside once."""
    made = provider.import_key(AES, SecretBytes(bytes(32))) if brought else provider.generate(AES)
    command = [sys.executable, "-c", READ, MODULE, made.opaque.partition(":")[2]]
    answer = subprocess.run(command, input=PIN, text=True, capture_output=True, check=True)
    assert answer.stdout.strip() == said
    assert not provider.describe(KeyHandle(AES, made.opaque)).extractable


def test_what_was_imported_is_the_same_key_as_outside(provider):
    material = SecretBytes(os.urandom(32))
    sealed = provider.cipher(KeyHandle(AES, provider.import_key(AES, material).opaque)).encrypt(b"text", b"aad")
    assert AESGCM(material.reveal()).decrypt(sealed[:12], sealed[12:], b"aad") == b"text"


def test_key_pairs_can_be_imported(provider):
    for algorithm in sorted(provider.algorithms):
        if ALGORITHMS[algorithm].kind is not Kind.SIGNATURE or "4096" in algorithm:
            continue
        pair = keymaterial.generate(algorithm)
        if algorithm == "Ed25519":  # SoftHSM 2.6 unwraps RSA and EC keys only
            before = len(list(provider.list_keys()))
            with pytest.raises(OperationUnsupported):
                provider.import_key(algorithm, pair.private)
            assert len(list(provider.list_keys())) == before
            continue
        made = provider.import_key(algorithm, pair.private)
        assert made.public_key == pair.public
        handle = KeyHandle(algorithm, made.opaque, made.public_key)
        keymaterial.verify(algorithm, pair.public, b"message", provider.signer(handle).sign(b"message"))
        assert provider.describe(handle).algorithm == algorithm
        provider.disable(handle)
        assert provider.describe(handle).state is RemoteState.DISABLED
        provider.destroy(handle)
        with pytest.raises(KeyMissing):
            provider.describe(handle)


@pytest.mark.parametrize(
    ("algorithm", "wrap"),
    [("AES-256-KW", keywrap.aes_key_wrap), ("AES-256-KWP", keywrap.aes_key_wrap_with_padding)],
)
def test_key_wrap_is_that_of_the_standard(provider, algorithm, wrap):
    kek, material = os.urandom(32), SecretBytes(os.urandom(32))
    handle = KeyHandle(algorithm, provider.import_key(algorithm, SecretBytes(kek)).opaque)
    wrapped = provider.wrap(handle, material, b"")
    assert wrapped == wrap(kek, material.reveal())
    assert provider.unwrap(handle, wrapped, b"") == material
    with pytest.raises(DecryptRefused):
        provider.unwrap(handle, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"")
    with pytest.raises(OperationUnsupported):  # no place for a context in it: refused, not dropped
        provider.wrap(handle, material, b"context")
    with pytest.raises(OperationUnsupported):
        provider.unwrap(handle, wrapped, b"context")


def test_oaep_is_offered_only_with_sha256_and_would_work(provider):
    """SoftHSM takes OAEP with SHA-1 only: not declared. The same path, with the hash it takes, decrypts."""
    assert not [name for name in provider.algorithms if "OAEP" in name]
    with provider._link.channel() as ask:
        made = ask("generate", "RSA-2048-OAEP-SHA256", False)
        numbers = [int.from_bytes(made[name]) for name in ("exponent", "modulus")]
    public = RSAPublicNumbers(*numbers).public_key()
    sealed = public.encrypt(b"text", padding.OAEP(padding.MGF1(SHA1()), SHA1(), None))
    assert provider._call("decrypt_oaep", made["opaque"], sealed, "sha1") == b"text"
    with pytest.raises(DecryptRefused):
        provider._call("decrypt_oaep", made["opaque"], sealed[:-1] + bytes([sealed[-1] ^ 1]), "sha1")


def test_the_public_key_stays_on_the_token_beside_the_private(provider):
    made = provider.generate("Ed25519")
    handle = KeyHandle("Ed25519", made.opaque, made.public_key)
    load_der_public_key(made.public_key)
    provider.destroy(handle)
    with pytest.raises(KeyMissing):
        provider.signer(handle).sign(b"x")


def test_an_import_past_the_portal_leaves_one_key_and_no_key_pair(provider):
    """The second try finds what the first made; the pair that served it, and that of an offer given back, are gone."""
    offer = provider.offer_import(AES)
    wrapped = transport.wrap_for_offer(offer.public_key, offer.method, SecretBytes(bytes(range(32))))
    with pytest.raises(DecryptRefused):
        provider.take_import(AES, offer, wrapped[:-8] + bytes(8))
    before = {remote.opaque for remote in provider.list_keys()}
    assert offer.opaque not in before
    first, second = (provider.take_import(AES, offer, wrapped) for _ in range(2))
    assert first.opaque == second.opaque
    assert {remote.opaque for remote in provider.list_keys()} - before == {first.opaque}
    described = provider.describe(KeyHandle(AES, first.opaque))
    assert (described.imported, described.extractable) == (True, False)
    with pytest.raises(KeyMissing):
        provider.describe(KeyHandle("", offer.opaque))
    unused = provider.offer_import(AES)
    provider.destroy(KeyHandle(AES, unused.opaque))
    with pytest.raises(KeyMissing):
        provider.take_import(AES, unused, wrapped)
    with pytest.raises(OperationUnsupported):
        provider.offer_import("ECDSA-P256-SHA256")
