"""The other envelope libraries, each as a function that encrypts a number of messages; None where not installed."""

import logging
from collections.abc import Callable
from os import urandom

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

type Encrypt = Callable[[int], int]  # encrypts so many messages and returns how many

CONTEXT = {"tenant": "acme", "table": "customers"}


class CountedKek:
    """A key encryption key held in this process, which counts the calls a key service would have received."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self.calls = 0

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        self.calls += 1
        nonce = urandom(12)
        return nonce + self._cipher.encrypt(nonce, plaintext, associated_data)

    def decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        self.calls += 1
        return self._cipher.decrypt(ciphertext[:12], ciphertext[12:], associated_data)


def aws_encryption_sdk(message: bytes, *, signed: bool) -> Encrypt | None:
    """The AWS Encryption SDK with its caching materials manager over a raw AES key: no network in the way.

    `signed` is its default suite, which also signs every message with ECDSA P-384; without, it does what ours does.
    """
    try:
        import aws_encryption_sdk as sdk
        from aws_encryption_sdk.identifiers import EncryptionKeyType, WrappingAlgorithm
        from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
        from aws_encryption_sdk.key_providers.raw import RawMasterKey
    except ImportError:
        return None
    # Its per-message log calls stay cheap only while they are off.
    logging.getLogger("aws_encryption_sdk").setLevel(logging.WARNING)
    wrapping = WrappingKey(
        wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
        wrapping_key=urandom(32),
        wrapping_key_type=EncryptionKeyType.SYMMETRIC,
    )
    manager = sdk.CachingCryptoMaterialsManager(
        master_key_provider=RawMasterKey(key_id=b"benchmark", provider_id="local", wrapping_key=wrapping),
        cache=sdk.LocalCryptoMaterialsCache(1000),
        max_age=300.0,
        max_messages_encrypted=2**20,
    )
    client = sdk.EncryptionSDKClient(commitment_policy=sdk.CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    committing = sdk.Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    suite = sdk.Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384 if signed else committing

    def encrypt(count: int) -> int:
        for _ in range(count):
            client.encrypt(source=message, materials_manager=manager, encryption_context=CONTEXT, algorithm=suite)
        return count

    return encrypt


def tink_envelope(message: bytes, kek: CountedKek) -> Encrypt | None:
    """Tink's KmsEnvelopeAead: a new data key, and a call of the key encryption key, for every message."""
    try:
        from tink import aead
    except ImportError:
        return None

    aead.register()
    envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, kek)
    context = repr(sorted(CONTEXT.items())).encode()

    def encrypt(count: int) -> int:
        for _ in range(count):
            envelope.encrypt(message, context)
        return count

    return encrypt


def tink_keyset(message: bytes) -> Encrypt | None:
    """Tink's plain AEAD under one keyset: the peer of a cached data key."""
    try:
        import tink
        from tink import aead
    except ImportError:
        return None
    aead.register()
    primitive = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
    context = repr(sorted(CONTEXT.items())).encode()

    def encrypt(count: int) -> int:
        for _ in range(count):
            primitive.encrypt(message, context)
        return count

    return encrypt
