"""Encrypt, decrypt and rewrap in the `vault:vN:base64` form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from keys.crypto.algorithms import Operation
from keys.crypto.compact import format_text
from keys.models import KeyVersion
from keys.providers.base import BoundCipher, KeyUnusable
from keys.services import budget, materials
from keys.services.key_views import KeyRef, KeyView
from keys.services.operations.values import associated_data, check_batch, each, only, open_key, parse
from keys.services.usage import used
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import PortalError

type Context = Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class PlaintextItem:
    plaintext: bytes = field(repr=False)
    context: Context = None


@dataclass(frozen=True, slots=True)
class CiphertextItem:
    ciphertext: str
    context: Context = None


@dataclass(frozen=True, slots=True)
class Encrypted:
    """`ciphertext` is `vault:v<version>:<base64 of nonce | ciphertext | tag>`."""

    ciphertext: str
    key_id: UUID
    key_version: int

    @property
    def evidence(self) -> str:
        return self.ciphertext


@dataclass(frozen=True, slots=True)
class Decrypted:
    """The plaintext, which no repr shows, and what it was decrypted from."""

    plaintext: bytes = field(repr=False)
    key_id: UUID
    key_version: int
    evidence: str


def encrypt(
    actor: Actor, key_ref: KeyRef, plaintext: bytes, context: Context = None, version: int | None = None
) -> Encrypted:
    """Encrypt under the active version (or `version`, if that is the active one), bound to `context`.

    Raises NotFound, PermissionRefused, OperationUnsupported, WrongState, LimitExceeded, TooLarge, ValidationFailed.
    """
    return only(encrypt_many(actor, key_ref, [PlaintextItem(plaintext, context)], version))


def encrypt_many(
    actor: Actor, key_ref: KeyRef, items: Sequence[PlaintextItem], version: int | None = None
) -> list[Encrypted | PortalError]:
    """As `encrypt`, for up to 1,000 items under one version; what is wrong with one item is that item's result."""
    check_batch(items)
    found = open_key(actor, key_ref, Permission.KEY_ENCRYPT, Operation.ENCRYPT)
    chosen = found.protecting(version)
    work = _encryptor(chosen, len(items))
    results = each(items, lambda item: work(item.plaintext, associated_data(item.context)))
    used(chosen, actor)
    return results


def _encryptor(version: KeyVersion, uses: int) -> Callable[[bytes, bytes], Encrypted]:
    bound = materials.cipher(version)
    budget.spend(version, uses)
    number, key_id, seal = version.key_version, version.key_id, bound.encrypt
    return lambda plaintext, aad: Encrypted(format_text(number, seal(plaintext, aad)), key_id, number)


def decrypt(actor: Actor, key_ref: KeyRef, ciphertext: str, context: Context = None) -> Decrypted:
    """Decrypt with the version the text names.

    Raises NotFound (key, version), PermissionRefused, WrongState, ValidationFailed (not such a text), and
    DecryptRefused, the same whatever else is wrong.
    """
    return only(decrypt_many(actor, key_ref, [CiphertextItem(ciphertext, context)]))


def decrypt_many(actor: Actor, key_ref: KeyRef, items: Sequence[CiphertextItem]) -> list[Decrypted | PortalError]:
    """As `decrypt`, for up to 1,000 items of any versions of one key."""
    check_batch(items)
    found = open_key(actor, key_ref, Permission.KEY_DECRYPT, Operation.DECRYPT)
    key_id, opener = found.key.pk, _Opener(found)

    def work(item: CiphertextItem) -> Decrypted:
        number, plaintext = opener.open(item)
        return Decrypted(plaintext, key_id, number, item.ciphertext)

    results = each(items, work)
    for version in opener.served.values():
        used(version, actor)
    return results


class _Opener:
    """Opens ciphertexts of one key; looks each version up, and whether it may still process, once a request."""

    def __init__(self, found: KeyView) -> None:
        self.served: dict[int, KeyVersion] = {}
        self._found = found
        self._bound: dict[int, BoundCipher] = {}

    def open(self, item: CiphertextItem) -> tuple[int, bytes]:
        """The version that protected `item`, and its plaintext."""
        number, payload = parse(item.ciphertext, "ciphertext")
        bound = self._bound.get(number)
        if bound is None:
            bound = self._bound[number] = materials.cipher(self._found.processing(number))
        try:
            plaintext = bound.decrypt(payload, associated_data(item.context))
        except KeyUnusable:
            self._note(number)  # its provider stopped it before us: somebody needs it all the same
            raise
        self._note(number)
        return number, plaintext

    def _note(self, number: int) -> None:
        if number not in self.served:
            self.served[number] = self._found.processing(number)


def rewrap(actor: Actor, key_ref: KeyRef, ciphertext: str, context: Context = None) -> Encrypted:
    """Move a ciphertext to the active version without showing the plaintext; raises as `decrypt` and `encrypt` do."""
    return only(rewrap_many(actor, key_ref, [CiphertextItem(ciphertext, context)]))


def rewrap_many(actor: Actor, key_ref: KeyRef, items: Sequence[CiphertextItem]) -> list[Encrypted | PortalError]:
    """As `rewrap`, for up to 1,000 items."""
    check_batch(items)
    found = open_key(actor, key_ref, Permission.KEY_REWRAP, Operation.ENCRYPT)
    target = found.protecting()
    seal = _encryptor(target, len(items))
    opener = _Opener(found)

    def work(item: CiphertextItem) -> Encrypted:
        _, plaintext = opener.open(item)
        return seal(plaintext, associated_data(item.context))

    results = each(items, work)
    for version in (opener.served | {target.key_version: target}).values():
        used(version, actor)
    return results
