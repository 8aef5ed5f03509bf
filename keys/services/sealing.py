"""The portal's own secrets at rest: the sealed root, and small values (a DSN, a credential) under a data key."""

from uuid import uuid4

from keys.crypto.aead import Aead
from keys.crypto.algorithms import resolve
from keys.crypto.compact import (
    DIRECT_HEADER_SIZE,
    SEGMENT,
    SEGMENT_HEADER_SIZE,
    direct_header,
    direct_key,
    open_compact,
    parse_compact,
)
from keys.crypto.envelope import context_aad
from keys.crypto.errors import CryptoError
from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import Key, KeyVersion, SealedValue
from keys.services import budget, materials
from keys.services.root_key import ensure_root_key, root_key
from keys.states import MAY_PROCESS
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import DecryptRefused, ValidationFailed, WrongState

__all__ = ["ensure_root_key", "open_value", "root_key", "seal_value", "sealed_under", "value_context"]


def value_context(sealed: SealedValue) -> dict[str, str]:
    """What the ciphertext of a sealed value is bound to: its row and its purpose."""
    return {"sealed_value": str(sealed.pk), "purpose": sealed.purpose}


def seal_value(actor: Actor, *, purpose: str, plaintext: bytes, key: Key) -> SealedValue:
    """Store `plaintext` encrypted under the active version of `key` (kind dek), in the compact DIRECT form.

    The service that needs the secret authorises; this records who had it sealed. Raises ValidationFailed (a key that
    is no data key), WrongState, LimitExceeded.
    """
    if key.kind != KeyKind.DEK.value:
        raise ValidationFailed("Values are sealed under data keys.", errors={"key": ["Choose a key of kind dek."]})
    sealed = SealedValue(id=uuid4(), purpose=purpose)
    with audit.atomic(
        actor=actor, action="sealed_value.write", target=("sealed_value", sealed.pk, purpose), ring_id=key.ring_id
    ) as act:
        version = materials.active_version(key)
        sealed.ciphertext = sealed_under(version, plaintext, context_aad(value_context(sealed)))
        sealed.save(force_insert=True)
        act.record({"key": str(key.pk), "version": version.key_version})
    return sealed


def sealed_under(version: KeyVersion, plaintext: bytes, aad: bytes) -> bytes:
    """`plaintext` in the DIRECT form under a version, which counts one use; raises WrongState, LimitExceeded."""
    header = direct_header(resolve(version.key.algorithm), version.key_id, version.key_version)
    bound = materials.cipher(version)
    budget.spend(version, 1)
    return header + bound.encrypt(plaintext, header + aad)


def open_value(sealed: SealedValue) -> SecretBytes:
    """The plaintext of a sealed value; raises DecryptRefused whatever is wrong with it, WrongState for its key."""
    blob, aad = bytes(sealed.ciphertext), context_aad(value_context(sealed))
    try:
        if blob[:1] == bytes([SEGMENT]):
            return _open_segment(blob, aad)
        _, key_bytes, number = direct_key(blob)
    except CryptoError:
        raise DecryptRefused from None
    version = (
        KeyVersion.objects.select_related(*materials.CHAIN).filter(key_id=key_bytes.hex(), key_version=number).first()
    )
    if version is None:
        raise DecryptRefused
    if version.state not in MAY_PROCESS:
        raise WrongState(f"{version} is {version.status}: the sealed value cannot be opened.", state=version.status)
    return SecretBytes(materials.cipher(version).decrypt(blob[DIRECT_HEADER_SIZE:], blob[:DIRECT_HEADER_SIZE] + aad))


def _open_segment(blob: bytes, aad: bytes) -> SecretBytes:
    """A value that an earlier release moved to a segment when the key was rotated; raises CryptoError, DecryptRefused."""
    parsed = parse_compact(blob)
    assert parsed.data_key_id is not None
    secret = materials.data_key_materials([parsed.data_key_id]).get(parsed.data_key_id)
    if secret is None:
        raise DecryptRefused
    return SecretBytes(open_compact(Aead(parsed.algorithm, secret), blob, SEGMENT_HEADER_SIZE, aad))
