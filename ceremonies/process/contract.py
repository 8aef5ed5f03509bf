"""What is said between the room, the process and the keys services; shares are counted from 1."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ceremonies.packages import MasterKey
from keys.crypto.secret import SecretBytes


class RecipientKind(StrEnum):
    """How a share is sealed to its custodian: to a key of the page that shows it, or to the custodian's own public key."""

    PAGE = "page"  # `key` is the raw X25519 key of one page, sealed as HPKE_X25519; the plaintext is `cards.for_page`
    HPKE_X25519 = "hpke_x25519"  # `key` is the raw 32 bytes; the result is enc | ciphertext, info = the sealing context
    OPENPGP = "openpgp"  # `key` is a certificate (RFC 9580), armoured or not; the result is an armoured message
    RSA_OAEP = "rsa_oaep"  # `key` is SPKI, DER or PEM, 2048 bits or more; SHA-256 for label and MGF1, no label


@dataclass(frozen=True, slots=True)
class Opening:
    """A session just begun: what the room keeps (its database may hold all of it) and shows to browsers."""

    nonce: str
    public_key: bytes  # X25519, raw 32 bytes: browsers seal to it
    idle_seconds: int
    life_seconds: int


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """What the process would say aloud about a session; all indices count from 1."""

    begun: bool
    has_escrow_key: bool = False
    has_master_key: bool = False
    set_id: int | None = None  # of the set split here
    shown: tuple[int, ...] = ()
    confirmed: tuple[int, ...] = ()
    verified: bool = False  # all new shares came back under the second nonce
    attempt: bool = False  # an attempt to gather shares is open
    given: tuple[int, ...] = ()
    missing: int = 0
    idle_seconds: int = 0  # until it ends by itself


@dataclass(frozen=True, slots=True)
class HolderGroup:
    """One SLIP-39 group: how many of these custodians are needed. The first group's first custodian holds share 1."""

    threshold: int
    custodians: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SealedShare:
    """A share on its way to its one reader, which nobody else can open."""

    index: int
    ciphertext: bytes
    positions: tuple[int, ...]  # of the words to type back, from 1
    check: str  # first 8 hex digits of the commitment: printed on the card


@dataclass(frozen=True, slots=True)
class WrappedMaster:
    """The master key under the escrow key, as it goes into the package."""

    key_id: UUID
    key_version: int
    key_name: str
    key_algorithm: str
    provider: str
    wrap_algorithm: str
    wrapped: bytes
    check: str  # of the master key, `offline.check_value`
    escrow_check: str  # of the escrow key


@dataclass(frozen=True, slots=True)
class Progress:
    """An attempt after a share was taken; `missing` 0 is a quorum (or, in a verification, all of them)."""

    index: int
    given: tuple[int, ...]
    missing: int
    verified: bool = False


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Where the recovered master key went: the first version of a new key; `intent_id` is the work at a provider, done."""

    key_id: UUID
    version_id: int
    intent_id: UUID | None


@dataclass(frozen=True, slots=True)
class SealedRoot:
    """A seal of the portal's root that is in use nowhere yet: what its shares open, wrapped."""

    seal_id: UUID
    wrapped: bytes
    check: bytes
    threshold: int
    count: int
    identifier: int


class KeyServices(Protocol):
    """What a session needs of the keys services, with the rights of a person."""

    def export(
        self, *, version_id: int, person_id: UUID, approval_id: UUID | None, escrow_key: SecretBytes
    ) -> tuple[MasterKey, bytes]:
        """The version's material under the escrow key (RFC 5649)."""
        ...

    def hand_over(
        self,
        *,
        key: MasterKey,
        material: SecretBytes,
        provider: str,
        person_id: UUID,
        approval_id: UUID | None,
        ceremony_id: UUID,
    ) -> HandedOver:
        """Import the material at the provider; once a ceremony, however often it is asked."""
        ...

    def enter_component(self, *, import_id: UUID, number: int, person_id: UUID, component: SecretBytes) -> None:
        """Compare the component with its check value and keep it sealed until the last one has come."""
        ...

    def split_root(self, *, threshold: int, count: int, person_id: UUID) -> tuple[SealedRoot, tuple[SecretBytes, ...]]:
        """The portal's root sealed for so many custodians, and their shares by index - 1."""
        ...


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The master key under the present escrow key."""

    key: MasterKey
    wrapped: bytes
    escrow_check: str
