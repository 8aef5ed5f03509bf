"""What the data plane gets of a provider: guarded calls, and the portal's own envelope where a provider cannot seal data itself.

The envelope: length of the wrapped key in two bytes | wrapped key | nonce | ciphertext | tag, under a fresh AES-256-GCM key
for each message; the context is bound to the message by the portal, and to the wrapped key by providers that can.
"""

import os

from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    BoundCipher,
    Capability,
    Cipher,
    KeyHandle,
    Mac,
    OperationUnsupported,
    Provider,
    Signer,
    Wrapper,
    portal_errors,
)
from keys.services.providers.calls import GuardedCipher, GuardedMac, GuardedSigner
from keyvault_portal.errors import DecryptRefused

ENVELOPE_ALGORITHM = "AES-256-GCM"


def bind(keeper: Provider, capability: Capability, handle: KeyHandle) -> object:
    """A guarded cipher, signer or authenticator of a key that stays with its provider; raises OperationUnsupported."""
    if capability is Capability.CIPHER:
        return GuardedCipher(keeper.alias, cipher(keeper, handle))
    if capability is Capability.SIGNER and isinstance(keeper, Signer):
        return GuardedSigner(keeper.alias, keeper.signer(handle))
    if capability is Capability.MAC and isinstance(keeper, Mac):
        return GuardedMac(keeper.alias, keeper.authenticator(handle))
    raise OperationUnsupported(f"The provider {keeper.alias} has no {capability.value}.")


def cipher(keeper: Provider, handle: KeyHandle) -> BoundCipher:
    binds = Capability.CONTEXT in keeper.capabilities or ALGORITHMS[handle.algorithm].kind is not Kind.AEAD
    if isinstance(keeper, Cipher) and binds:
        return keeper.cipher(handle)
    if isinstance(keeper, Wrapper):
        return _Envelope(keeper, handle)
    raise OperationUnsupported(f"The provider {keeper.alias} neither encrypts with a context nor wraps keys.")


class _Envelope:
    """A cipher out of a provider that only wraps keys."""

    __slots__ = ("_handle", "_keeper")

    def __init__(self, keeper: Wrapper, handle: KeyHandle) -> None:
        self._keeper, self._handle = keeper, handle

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        fresh = SecretBytes(os.urandom(32))
        wrapped = self._keeper.wrap(self._handle, fresh, aad)
        with portal_errors():
            body = Aead(ENVELOPE_ALGORITHM, fresh).encrypt(plaintext, aad)
        return len(wrapped).to_bytes(2, "big") + wrapped + body

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        end = 2 + int.from_bytes(payload[:2], "big")
        if len(payload) <= end:
            raise DecryptRefused
        fresh = self._keeper.unwrap(self._handle, payload[2:end], aad)
        with portal_errors():
            return Aead(ENVELOPE_ALGORITHM, fresh).decrypt_joined(payload[end:], aad)
