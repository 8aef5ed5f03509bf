"""The provider of embedded installations: material is kept by the portal, wrapped, and worked on in this process."""

from typing import ClassVar

from keys.crypto import keymaterial, transport
from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation, resolve
from keys.crypto.errors import CryptoError, InvalidSignature
from keys.crypto.keymaterial import PreparedKey
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    BoundCipher,
    BoundMac,
    BoundSigner,
    Capability,
    GeneratedKey,
    KeyHandle,
    OperationUnsupported,
    ProviderFault,
    Setting,
    portal_error,
    portal_errors,
)
from keys.providers.publichalf import verifies


class LocalProvider:
    """Works through `keys.crypto` on material its handles yield; holds no secret of its own."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.CIPHER,
            Capability.WRAPPER,
            Capability.SIGNER,
            Capability.MAC,
            Capability.IMPORTER,
            Capability.EXPORTER,
            Capability.CONTEXT,
        }
    )

    algorithms: ClassVar[frozenset[str]] = frozenset(
        name for name, row in ALGORITHMS.items() if any(row.allows(operation, new_key=True) for operation in Operation)
    )
    settings: ClassVar[tuple[Setting, ...]] = ()

    def __init__(self, alias: str = "local") -> None:
        self.alias = alias

    def generate(self, algorithm: str, *, exportable: bool = False) -> GeneratedKey:
        """`exportable` makes no difference to the material: the portal alone holds that flag of its own keys."""
        with portal_errors():
            made = keymaterial.generate(algorithm)
        return GeneratedKey(material=made.private, public_key=made.public)

    def import_key(self, algorithm: str, material: SecretBytes, *, exportable: bool = False) -> GeneratedKey:
        """Check that the material fits the algorithm before anything is stored; raises ProviderFault if not."""
        with portal_errors():
            public = keymaterial.public_half(algorithm, material)
        return GeneratedKey(material=material, public_key=public)

    def export_key(self, handle: KeyHandle, kek: SecretBytes) -> bytes:
        with portal_errors():
            return transport.wrap_under(kek, _material(handle))

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        with portal_errors():
            row = resolve(handle.algorithm)
            if Operation.DECRYPT not in row.operations:
                raise OperationUnsupported(f"{row.name} does not encrypt data.")
            if row.kind is Kind.AEAD:
                return _AeadCipher(Aead(row, _material(handle)))
            return _PublicKeyCipher(keymaterial.prepare(row, _material(handle)))

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        return self.cipher(handle).encrypt(material.reveal(), aad)

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        return SecretBytes(self.cipher(handle).decrypt(wrapped, aad))

    def signer(self, handle: KeyHandle) -> BoundSigner:
        return _Signer(_prepared(handle, Operation.SIGN))

    def authenticator(self, handle: KeyHandle) -> BoundMac:
        return _Mac(_prepared(handle, Operation.MAC))


def _material(handle: KeyHandle) -> SecretBytes:
    if handle.material is None:
        raise ProviderFault("A local key was used without its material.")
    return handle.material()


def _prepared(handle: KeyHandle, operation: Operation) -> PreparedKey:
    with portal_errors():
        row = resolve(handle.algorithm)
        if operation not in row.operations:
            raise OperationUnsupported(f"{row.name} does not {operation}.")
        return keymaterial.prepare(row, _material(handle))


class _AeadCipher:
    """One AEAD bound to one key, with the portal's errors."""

    __slots__ = ("_aead",)

    def __init__(self, aead: Aead) -> None:
        self._aead = aead

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        try:
            return self._aead.encrypt(plaintext, aad)
        except CryptoError as error:
            raise portal_error(error) from None

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        try:
            return self._aead.decrypt_joined(payload, aad)
        except CryptoError as error:
            raise portal_error(error) from None


class _PublicKeyCipher:
    """RSA-OAEP or HPKE: encrypts to the public half, decrypts with the private one."""

    __slots__ = ("_key",)

    def __init__(self, key: PreparedKey) -> None:
        self._key = key

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        with portal_errors():
            return keymaterial.encrypt(self._key.algorithm, self._key, plaintext, aad)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        with portal_errors():
            return keymaterial.decrypt(self._key.algorithm, self._key, payload, aad)


class _Signer:
    __slots__ = ("_key",)

    def __init__(self, key: PreparedKey) -> None:
        self._key = key

    def sign(self, message: bytes) -> bytes:
        try:
            return keymaterial.sign(self._key.algorithm, self._key, message)
        except CryptoError as error:
            raise portal_error(error) from None

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verifies(self._key.algorithm, self._key, message, signature)


class _Mac:
    __slots__ = ("_key",)

    def __init__(self, key: PreparedKey) -> None:
        self._key = key

    def mac(self, message: bytes) -> bytes:
        with portal_errors():
            return keymaterial.mac(self._key.algorithm, self._key, message)

    def verify_mac(self, message: bytes, code: bytes) -> bool:
        with portal_errors():
            try:
                keymaterial.verify_mac(self._key.algorithm, self._key, message, code)
            except InvalidSignature:
                return False
        return True
