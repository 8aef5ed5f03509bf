"""What a place for key material must offer: one small contract, optional capabilities, no models.

A provider is given opaque handles and gives back bytes. It never sees rows, people or policies, and its errors are
portal errors, so the services above need no knowledge of its library.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from keys.crypto.errors import CryptoError, DecryptFailed, InvalidKey, LimitExceeded, MalformedEnvelope
from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable, TooLarge


class Capability(StrEnum):
    """What a provider declares it can do; the services ask before they offer it."""

    CIPHER = "cipher"
    WRAPPER = "wrapper"
    SIGNER = "signer"
    MAC = "mac"
    IMPORTER = "importer"
    ROTATOR = "rotator"
    DATA_KEYS = "data_keys"
    LIFECYCLE = "lifecycle"
    DISCOVERY = "discovery"
    # `generate` and `import_key` take `tag`, at most 36 letters, digits and hyphens, and keep it with the key from its very
    # beginning; `describe` and `list_keys` give it back as tags[TAG]. So a caller who died finds the key it had made.
    TAGS = "tags"
    # Hands out a wrapping key of its own, so that material travels past the portal, which sees ciphertext only.
    DIRECT_IMPORT = "direct_import"
    # Gives keys out that were made with `exportable`, and only wrapped; `generate` and `import_key` take `exportable`.
    EXPORTER = "exporter"
    REPLICAS = "replicas"  # copies of a key in other regions, which serve while the first one is down
    CONTEXT = "context"  # AAD is bound by the provider itself; without it the portal's own envelope binds it


TAG = "keyvault-portal-intent"


class OperationUnsupported(PortalError):
    """The provider, or the algorithm's row, does not do this."""

    status, code, title = 422, "operation_unsupported", "The key cannot do this"


class ProviderThrottled(ProviderUnavailable):
    """The provider is there and asks for patience; a later try succeeds."""

    code, title = "provider_throttled", "The key provider asks to slow down"


class CredentialsRefused(ProviderUnavailable):
    """The provider does not accept who we say we are; trying again does not help before somebody acts."""

    code, title = "provider_credentials_refused", "The key provider refuses the portal's credentials"


class KeyMissing(PortalError):
    """The provider knows no such key: deleted behind our back, or another account."""

    status, code, title = 409, "provider_key_missing", "The key provider does not know this key"


class KeyUnusable(PortalError):
    """The provider knows the key and its state forbids the use: disabled, or waiting for deletion."""

    status, code, title = 409, "provider_key_unusable", "The key provider refuses to use this key"


class ProviderFault(PortalError):
    """The provider answered with something it should never answer: damaged material, a wrong length."""

    status, code, title = 500, "provider_fault", "The key provider failed"


@dataclass(frozen=True, slots=True)
class KeyHandle:
    """What names one key version to its provider.

    `opaque` is the provider's own text. `material` is present for providers that keep nothing themselves: it yields
    the unwrapped material when it is needed, so a handle can be passed around without holding a secret.
    """

    algorithm: str
    opaque: str = ""
    public_key: bytes | None = None
    material: Callable[[], SecretBytes] | None = None


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key: `material` is None where it never leaves the provider, `opaque` is empty where it holds nothing."""

    opaque: str = ""
    material: SecretBytes | None = None
    public_key: bytes | None = None


class RemoteState(StrEnum):
    """The states of a key at its provider, in words all of them share."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING_IMPORT = "pending_import"
    PENDING_DELETION = "pending_deletion"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class RemoteKey:
    """What a provider says about one of its key versions; times are aware, `rotation_days` is its own automatic rotation."""

    opaque: str
    name: str
    state: RemoteState
    algorithm: str | None = None  # None: none of the table's
    created_at: datetime | None = None
    deletion_due_at: datetime | None = None
    rotation_days: int | None = None
    imported: bool = False
    extractable: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    public_key: bytes | None = None  # where `describe` can say it: then a key found again need not be made again


@dataclass(frozen=True, slots=True)
class Region:
    """One place of a provider as it answered just now: in so many seconds, or with an error."""

    name: str
    primary: bool
    seconds: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Replica:
    """The copy of a key in another region; None where it should have one and has not."""

    region: str
    state: RemoteState | None


@dataclass(frozen=True, slots=True)
class Health:
    """A harmless round trip: how long it took in seconds, and whom the provider took us for.

    `regions` tells each of several places apart, the first one first; it is healthy while one of them answers.
    """

    seconds: float
    identity: str = ""
    detail: str = ""
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One value a provider needs to be registered; a secret one is sealed and never shown again."""

    name: str
    label: str
    help: str = ""
    required: bool = True
    secret: bool = False
    choices: tuple[str, ...] = ()
    default: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """A provider's published limit in calls a second, by class of operation, with the page and date it was read."""

    symmetric: int
    asymmetric: int
    management: int
    source: str
    read_on: str


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


@dataclass(frozen=True, slots=True)
class ImportOffer:
    """The provider's own wrapping key (SPKI DER), how to wrap for it (a `transport.Method`), and what it wants back. No secret."""

    public_key: bytes
    method: str
    opaque: str = ""  # of the key that waits for the material, where there is one already
    token: bytes = b""
    expires_at: datetime | None = None


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
        """The copies this key should have; empty for a key that cannot have any. Raises as `describe` does."""
        ...

    def replicate(self, handle: KeyHandle) -> None:
        """Make the copies that are missing; harmless when repeated."""
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


@contextmanager
def portal_errors() -> Iterator[None]:
    """Turn the errors of `keys.crypto` into the portal's; decryption failures lose their cause on purpose."""
    try:
        yield
    except CryptoError as error:
        raise portal_error(error) from None


def portal_error(error: CryptoError) -> PortalError:
    """What `portal_errors` raises for `error`; for calls so many that a context manager would show."""
    match error:
        case DecryptFailed() | MalformedEnvelope():
            return DecryptRefused()
        case LimitExceeded():
            return TooLarge(str(error))
        case InvalidKey():
            return ProviderFault("The key's material is damaged or of the wrong size.")
    return OperationUnsupported(str(error))
