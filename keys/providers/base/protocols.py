"""The calls: those every provider answers, and those of each capability."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

from keys.crypto.secret import SecretBytes
from keys.providers.base.capabilities import Capability
from keys.providers.base.values import (
    GeneratedKey,
    Health,
    ImportOffer,
    KeyHandle,
    RemoteKey,
    RemoteState,
    Replica,
    Setting,
)


class BoundCipher(Protocol):
    """Encryption under one key version, built once and kept; payloads are nonce | ciphertext | tag."""

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Encrypt under a fresh nonce; raises TooLarge and ProviderUnavailable."""
        ...

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        """Open; raises DecryptRefused whatever the cause, ProviderUnavailable if nobody could try."""
        ...


class BoundSigner(Protocol):
    """Signing under one key version; ECDSA signatures are DER."""

    def sign(self, message: bytes) -> bytes: ...

    def verify(self, message: bytes, signature: bytes) -> bool: ...


class BoundMac(Protocol):
    """Authentication codes under one key version."""

    def mac(self, message: bytes) -> bytes: ...

    def verify_mac(self, message: bytes, code: bytes) -> bool: ...


@runtime_checkable
class Provider(Protocol):
    """The whole of what every provider must do."""

    alias: str
    capabilities: ClassVar[frozenset[Capability]]
    settings: ClassVar[tuple[Setting, ...]]

    @property
    def algorithms(self) -> frozenset[str]:
        """Of the class, or, where it depends on the device, of the device it stands in front of."""
        ...

    def generate(self, algorithm: str) -> GeneratedKey:
        """Make a key; raises OperationUnsupported for an algorithm it has not, ProviderUnavailable."""
        ...


@runtime_checkable
class Cipher(Protocol):
    """Encrypts data under a handle."""

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        """Bind the handle; raises OperationUnsupported unless its algorithm encrypts."""
        ...


@runtime_checkable
class Wrapper(Protocol):
    """Wraps key material under a handle; `aad` binds the wrapped key to its place."""

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes: ...

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes: ...


@runtime_checkable
class Signer(Protocol):
    """Signs and verifies whole messages under a handle."""

    def signer(self, handle: KeyHandle) -> BoundSigner:
        """Bind the handle; raises OperationUnsupported unless its algorithm signs."""
        ...


@runtime_checkable
class Mac(Protocol):
    """Makes and checks message authentication codes under a handle."""

    def authenticator(self, handle: KeyHandle) -> BoundMac:
        """Bind the handle; raises OperationUnsupported unless its algorithm is a MAC."""
        ...


@runtime_checkable
class Importer(Protocol):
    """Takes material made elsewhere."""

    def import_key(self, algorithm: str, material: SecretBytes) -> GeneratedKey: ...


@runtime_checkable
class DirectImporter(Protocol):
    """Takes material that somebody else wrapped for it; both calls take `tag` as `import_key` does."""

    def offer_import(self, algorithm: str, *, tag: str = "") -> ImportOffer:
        """A wrapping key, and a key that waits where the provider's procedure begins with one."""
        ...

    def take_import(self, algorithm: str, offer: ImportOffer, wrapped: bytes, *, tag: str = "") -> GeneratedKey:
        """Finish it; raises DecryptRefused for what was not wrapped for the offer, KeyUnusable when the offer is over."""
        ...


class Tagging(Protocol):
    """What a provider with the capability TAGS can do besides; a matter of arguments, so `isinstance` cannot tell."""

    def generate(self, algorithm: str, *, tag: str = "") -> GeneratedKey: ...

    def import_key(self, algorithm: str, material: SecretBytes, *, tag: str = "") -> GeneratedKey: ...


@runtime_checkable
class Exporter(Protocol):
    """Gives a key out, wrapped; where the material is in a device it is wrapped in there."""

    def export_key(self, handle: KeyHandle, kek: SecretBytes) -> bytes:
        """The raw or PKCS#8 material under the AES-256 key `kek` by RFC 5649.

        Raises KeyUnusable for a key that was not made exportable, DecryptRefused, ProviderUnavailable.
        """
        ...


class Extractable(Protocol):
    """What a provider with the capability EXPORTER can do besides; a matter of arguments, as with `Tagging`."""

    def generate(self, algorithm: str, *, exportable: bool = False) -> GeneratedKey: ...

    def import_key(self, algorithm: str, material: SecretBytes, *, exportable: bool = False) -> GeneratedKey: ...


@runtime_checkable
class Rotator(Protocol):
    """Makes the next version of a key inside the provider's own notion of versions."""

    def rotate(self, handle: KeyHandle) -> GeneratedKey: ...


@runtime_checkable
class SelfRotating(Protocol):
    """Rotates keys by itself if it is told to; `describe` says how often it does."""

    def rotates_with(self, handle: KeyHandle) -> str:
        """What the setting belongs to there: this version, or the key with all its versions. No call is made."""
        ...

    def set_rotation(self, handle: KeyHandle, days: int | None) -> None:
        """Every so many days, or with None never; harmless when repeated.

        Raises OperationUnsupported for a period or a kind of key that the provider does not rotate by itself.
        """
        ...


@runtime_checkable
class DataKeys(Protocol):
    """Makes a data key in one call: the material, and the same wrapped under the handle with `aad` bound."""

    def generate_data_key(self, handle: KeyHandle, aad: bytes, length: int = 32) -> tuple[SecretBytes, bytes]: ...


@runtime_checkable
class Lifecycle(Protocol):
    """Moves a key between the provider's own states."""

    def disable(self, handle: KeyHandle) -> None: ...

    def enable(self, handle: KeyHandle) -> None: ...

    def schedule_deletion(self, handle: KeyHandle, days: int) -> datetime:
        """Returns when the provider will destroy it; where a provider has no waiting time it is disabled and the portal waits."""
        ...

    def cancel_deletion(self, handle: KeyHandle) -> None:
        """Usable again afterwards."""
        ...


@runtime_checkable
class Destroyer(Protocol):
    """Ends a key for good."""

    def destroy(self, handle: KeyHandle) -> None:
        """Irreversible, at once where the provider can; raises OperationUnsupported where only a scheduled deletion exists."""
        ...


@runtime_checkable
class Replicated(Protocol):
    """Keeps copies of its keys in other regions; what uses a key goes to one of them while the first does not answer."""

    @property
    def region_names(self) -> tuple[str, ...]:
        """The first region, then those of the copies."""
        ...

    def replicas(self, handle: KeyHandle) -> list[Replica]:
        """The copies this key should have; empty for a key that cannot have any. Raises as `describe` does.

        The handle of a copy serves `metadata`, `metadata_owner` and `restore_metadata` as that of the key does.
        """
        ...

    def align_replicas(self, handle: KeyHandle, state: RemoteState, days: int) -> None:
        """Make the copies that are missing, protected as the key is, and bring the others to `state`; harmless when repeated.

        A deletion takes place after `days`, and makes no copy; one that a copy waits for is taken back where `state` is another.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """Tells what it keeps with a key beside the key's state: who may use it and for what, and its tags."""

    def metadata_owner(self, handle: KeyHandle) -> str:
        """What the metadata belongs to there: this version, or the key with all its versions. No call is made."""
        ...

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        """Plain JSON by section ("policy", "tags" ...), lists in a fixed order.

        Left out is what the portal compares or changes itself: states, automatic rotation, its own marks. A section that
        the portal's rights do not let it read is `metadata.UNREADABLE`. Raises as `describe` does, and KeyUnusable.
        """
        ...


@runtime_checkable
class Restorer(Protocol):
    """Sets the metadata of a key back."""

    def restore_metadata(self, handle: KeyHandle, wanted: dict[str, Any], *, tag: str = "") -> None:
        """Make it what `metadata` once told, and with TAGS put the portal's mark back; harmless when repeated.

        Raises OperationUnsupported for what goes one way only.
        """
        ...


@runtime_checkable
class Discovery(Protocol):
    """Says what the provider really has."""

    def describe(self, handle: KeyHandle) -> RemoteKey:
        """Raises KeyMissing when there is no such key."""
        ...

    def list_keys(self) -> Iterator[RemoteKey]:
        """Every key version in the configured place, page by page."""
        ...

    def check(self) -> Health:
        """A harmless round trip; raises CredentialsRefused, ProviderThrottled, ProviderUnavailable."""
        ...
