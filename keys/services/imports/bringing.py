"""The last step of every import: material that is known to be right becomes a version of its key."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.utils import timezone

from keys.crypto import keycheck
from keys.crypto.errors import CryptoError
from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyVersion, ProviderIntent
from keys.providers.base import Capability, OperationUnsupported
from keys.providers.registry import aliases
from keys.services import policies, versions
from keys.services.providers import intents
from keys.services.providers.registration import can, offered_algorithms
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import PortalError, ValidationFailed


def normal_value(given: str) -> str:
    """A check value as people type it, in capital hexadecimal; raises ValidationFailed. Longer ones are cut to three bytes."""
    text = "".join(given.split()).upper()
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if not keycheck.SIZE <= len(value) <= 2 * keycheck.SIZE:
        raise ValidationFailed("This is no key check value.", errors={"check_value": ["Six hexadecimal digits."]})
    return value[: keycheck.SIZE].hex().upper()


@contextmanager
def material_words() -> Iterator[None]:
    """What the cryptographic core says of material becomes a complaint about the upload; it never holds any of it."""
    try:
        yield
    except CryptoError as error:
        raise ValidationFailed(
            "The material does not fit.", errors={"upload": [f"{str(error).capitalize()}."]}
        ) from None


def require_fit(algorithm: str, material: SecretBytes, expected: str) -> str:
    """The check value of material that fits the algorithm; raises ValidationFailed for another size, form or value."""
    with material_words():
        found = keycheck.check_value(algorithm, material).hex().upper()
    if expected and found != expected:
        raise ValidationFailed(
            "The key is another one than was announced: its check value differs.",
            errors={"check_value": [f"Expected {expected} ({keycheck.check_method(algorithm)})."]},
            hint="Compare the check value with whoever sent the key, then wrap it again.",
        )
    return found


def takes_material(key: Key) -> bool:
    """Whether its provider takes material made elsewhere, as far as can be told now."""
    try:
        return can(key.provider, Capability.IMPORTER)
    except PortalError:
        return False


def why_not_brought_to(alias: str, algorithm: str) -> str:
    """Why a key made elsewhere can never come to this provider, in one sentence; empty if it can, or none can tell now."""
    if alias not in aliases():
        return f"No provider {alias} is registered and enabled."
    if not can(alias, Capability.IMPORTER):
        return f"The provider {alias} takes no material made elsewhere."
    try:
        offered = offered_algorithms(alias)
    except PortalError:  # it is asked again when the key comes
        return ""
    return "" if algorithm in offered else f"The provider {alias} does not offer {algorithm}."


def require_importer(key: Key) -> None:
    """Raise OperationUnsupported, ValidationFailed unless new material may be brought to the key."""
    if not can(key.provider, Capability.IMPORTER):
        raise OperationUnsupported(f"The provider {key.provider} takes no material made elsewhere.")
    policies.require_algorithm(key.algorithm, policies.values_of(key.policy))


def bring(
    actor: Actor, key: Key, material: SecretBytes, *, activate: bool, offer: dict[str, Any] | None = None
) -> KeyVersion:
    """The next version of a locked key out of `material`; the caller authorised, checked the material, and records.

    At a provider it is written down as work, with the material sealed until that is done; with an `offer` of the provider's
    it is wrapped for the provider already. Raises WrongState, LimitExceeded.
    """
    if not intents.is_remote(key):
        version = versions.new_version(key, secret=material)
        if activate:
            versions.make_active(version, key.policy, now=timezone.now())
        return version
    version = versions.new_version(key, imported=True)
    making = {"activate": activate} | ({"offer": offer} if offer else {})
    intent_id = UUID(offer["intent"]) if offer else None
    intents.write(version, ProviderIntent.Act.IMPORT, actor, secret=material, intent_id=intent_id, **making)
    return version
