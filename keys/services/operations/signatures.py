"""Sign, verify and authenticate whole messages; signatures and codes as `vault:vN:base64`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from keys.crypto.algorithms import Operation
from keys.crypto.compact import format_text
from keys.crypto.errors import InvalidSignature
from keys.crypto.jwk import from_jose_signature, jose_signature
from keys.models import KeyVersion
from keys.providers.registry import LOCAL
from keys.services import key_views, materials
from keys.services.key_views import KeyRef, KeyView
from keys.services.operations.values import check_batch, each, only, open_key, parse
from keys.services.usage import used
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import PortalError


@dataclass(frozen=True, slots=True)
class Signed:
    """`signature` is `vault:v<version>:<base64>`; a MAC has the same form."""

    signature: str
    key_id: UUID
    key_version: int

    @property
    def evidence(self) -> str:
        return self.signature


@dataclass(frozen=True, slots=True)
class Verified:
    valid: bool
    key_id: UUID
    key_version: int
    evidence: str


def sign(actor: Actor, key_ref: KeyRef, message: bytes, version: int | None = None, *, jose: bool = False) -> Signed:
    """Sign with the active version; with `jose` an ECDSA signature is r | s (RFC 7518, 3.4) instead of DER.

    Raises NotFound, PermissionRefused, OperationUnsupported, WrongState.
    """
    return only(sign_many(actor, key_ref, [message], version, jose=jose))


def sign_many(
    actor: Actor, key_ref: KeyRef, messages: Sequence[bytes], version: int | None = None, *, jose: bool = False
) -> list[Signed | PortalError]:
    """As `sign`, for up to 1,000 messages."""
    check_batch(messages)
    found = open_key(actor, key_ref, Permission.KEY_SIGN, Operation.SIGN)
    chosen = found.protecting(version)
    signer = materials.signer(chosen)

    def work(message: bytes) -> Signed:
        signature = signer.sign(message)
        if jose:
            signature = jose_signature(chosen.key.algorithm, signature)
        return Signed(format_text(chosen.key_version, signature), chosen.key_id, chosen.key_version)

    results = each(messages, work)
    used(chosen, actor)
    return results


def sign_bare(actor: Actor, key_ref: KeyRef, message: bytes, version: int) -> bytes:
    """The bare signature that `sign` puts into its text, for a part of the portal that signs again and again.

    Of a key that is kept here everything is checked, and the use noted, once for each view of the key: two seconds at
    most, and not beyond a lifecycle act or a seal. Raises as `sign` does.
    """
    found = key_views.view(key_ref)
    ready = found.signers.get(version)
    if ready is not None and ready[0] is actor:
        return ready[1].sign(message)
    found = open_key(actor, key_ref, Permission.KEY_SIGN, Operation.SIGN)
    chosen = found.protecting(version)
    signer = materials.signer(chosen)
    results = each([message], signer.sign)
    used(chosen, actor)
    signature = only(results)
    if chosen.provider == LOCAL:
        found.signers[version] = actor, signer
    return signature


def verify(actor: Actor, key_ref: KeyRef, message: bytes, signature: str, *, jose: bool = False) -> Verified:
    """Check a signature with the version it names; a wrong one is an answer, not an error.

    Raises NotFound, PermissionRefused, OperationUnsupported, WrongState, ValidationFailed (not such a text).
    """
    return only(verify_many(actor, key_ref, [(message, signature)], jose=jose))


def verify_many(
    actor: Actor, key_ref: KeyRef, items: Sequence[tuple[bytes, str]], *, jose: bool = False
) -> list[Verified | PortalError]:
    """As `verify`, for up to 1,000 pairs of message and signature."""

    def check(version: KeyVersion, message: bytes, signature: bytes) -> bool:
        if jose:
            try:
                signature = from_jose_signature(version.key.algorithm, signature)
            except InvalidSignature:
                return False
        return materials.signer(version).verify(message, signature)

    found = open_key(actor, key_ref, Permission.KEY_VERIFY, Operation.VERIFY)
    return _verified(actor, found, items, "signature", check)


def mac(actor: Actor, key_ref: KeyRef, message: bytes, version: int | None = None) -> Signed:
    """Authenticate a message with the active version; raises as `sign` does."""
    return only(mac_many(actor, key_ref, [message], version))


def mac_many(
    actor: Actor, key_ref: KeyRef, messages: Sequence[bytes], version: int | None = None
) -> list[Signed | PortalError]:
    """As `mac`, for up to 1,000 messages."""
    check_batch(messages)
    found = open_key(actor, key_ref, Permission.KEY_MAC, Operation.MAC)
    chosen = found.protecting(version)
    keyed = materials.authenticator(chosen)

    def work(message: bytes) -> Signed:
        return Signed(format_text(chosen.key_version, keyed.mac(message)), chosen.key_id, chosen.key_version)

    results = each(messages, work)
    used(chosen, actor)
    return results


def verify_mac(actor: Actor, key_ref: KeyRef, message: bytes, code: str) -> Verified:
    """Check an authentication code with the version it names; raises as `verify` does."""
    return only(verify_mac_many(actor, key_ref, [(message, code)]))


def verify_mac_many(actor: Actor, key_ref: KeyRef, items: Sequence[tuple[bytes, str]]) -> list[Verified | PortalError]:
    """As `verify_mac`, for up to 1,000 pairs of message and code."""
    found = open_key(actor, key_ref, Permission.KEY_VERIFY, Operation.MAC)
    return _verified(
        actor,
        found,
        items,
        "mac",
        lambda version, message, code: materials.authenticator(version).verify_mac(message, code),
    )


def _verified(
    actor: Actor,
    found: KeyView,
    items: Sequence[tuple[bytes, str]],
    field: str,
    check: Callable[[KeyVersion, bytes, bytes], bool],
) -> list[Verified | PortalError]:
    served: dict[int, KeyVersion] = {}

    def work(item: tuple[bytes, str]) -> Verified:
        message, text = item
        number, raw = parse(text, field)
        version = found.processing(number)
        valid = check(version, message, raw)
        if valid:
            served[number] = version
        return Verified(valid, version.key_id, number, text)

    results = each(items, work)
    for version in served.values():
        used(version, actor)
    return results
