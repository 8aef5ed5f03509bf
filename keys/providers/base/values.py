"""What providers are given and give back; no secret is shown by any of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from keys.crypto.secret import SecretBytes


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
    """The copy of a key in another region, under the provider's own name for it; no state where it should be and is not."""

    region: str
    state: RemoteState | None
    opaque: str = ""


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


@dataclass(frozen=True, slots=True)
class ImportOffer:
    """The provider's own wrapping key (SPKI DER), how to wrap for it (a `transport.Method`), and what it wants back. No secret."""

    public_key: bytes
    method: str
    opaque: str = ""  # of the key that waits for the material, where there is one already
    token: bytes = b""
    expires_at: datetime | None = None
