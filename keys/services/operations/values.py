"""What the operations share: opening a key for one use, its context, and a batch with an error for each item."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keys.crypto.algorithms import ALGORITHMS, Operation
from keys.crypto.compact import parse_text
from keys.crypto.envelope import context_aad
from keys.crypto.errors import MalformedEnvelope
from keys.hierarchy import KeyKind
from keys.providers.base import OperationUnsupported
from keys.services import key_views
from keys.services.key_views import KeyRef, KeyView
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, PortalError, TooLarge, ValidationFailed

MAX_BATCH = 1000
_NO_CONTEXT = context_aad({})
WRAPPING_KINDS = frozenset({KeyKind.MASTER.value, KeyKind.KEK.value})


def open_key(actor: Actor, key_ref: KeyRef, permission: Permission, operation: Operation) -> KeyView:
    """The key, if the actor may do this with it and its kind and algorithm can.

    Raises NotFound, PermissionRefused, OperationUnsupported.
    """
    found = key_views.view(key_ref)
    key = found.key
    authorize_use(actor, permission, found)
    if key.kind in WRAPPING_KINDS:
        raise OperationUnsupported(
            f"{found.label} wraps keys and does nothing else.", hint="Use a data key below it, or generate_data_key."
        )
    if found.reserved and actor.kind != "system":
        raise OperationUnsupported(f"{found.label} is {found.reserved}: only the portal itself uses it.")
    if not ALGORITHMS[key.algorithm].allows(operation):
        raise OperationUnsupported(f"A key of {key.algorithm} is not for {operation}.")
    return found


def authorize_use(actor: Actor, permission: Permission, found: KeyView) -> None:
    """Return if the actor holds `permission` on this key; raises PermissionRefused.

    Who holds nothing at all on its ring gets NotFound, and so does not learn that the key exists or what it is called.
    """
    ring_id = found.key.ring_id
    if not any(grant.ring_id in {None, ring_id} for grant in actor.grants):
        raise NotFound("There is no such key.")
    authorize(actor, permission, ring_id=ring_id, target=f"key {found.label}")


def associated_data(context: Mapping[str, str] | None) -> bytes:
    """`json.dumps(context)` as bytes, what every ciphertext is bound to; raises ValidationFailed."""
    if context is None:
        return _NO_CONTEXT
    try:
        return context_aad(context)
    except MalformedEnvelope as error:
        raise ValidationFailed("The context is not acceptable.", errors={"context": [str(error)]}) from None


def parse(text: str, field: str) -> tuple[int, bytes]:
    """Version number and payload of `vault:vN:base64`; raises ValidationFailed."""
    try:
        return parse_text(text)
    except MalformedEnvelope as error:
        raise ValidationFailed(f"The {field} cannot be read.", errors={field: [str(error)]}) from None


def check_batch(items: Sequence[Any]) -> None:
    """Raise TooLarge beyond MAX_BATCH items and ValidationFailed for none."""
    if not items:
        raise ValidationFailed("The batch is empty.", errors={"batch": ["At least one item."]})
    if len(items) > MAX_BATCH:
        raise TooLarge(f"A batch holds at most {MAX_BATCH} items.")


def each[Item, Result](items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result | PortalError]:
    """The result of every item, or the error it met; one bad item spoils no other."""
    check_batch(items)
    results: list[Result | PortalError] = []
    for item in items:
        try:
            results.append(work(item))
        except PortalError as error:
            results.append(error)
    return results


def only[Result](results: list[Result | PortalError]) -> Result:
    """The result of a batch of one; raises its error."""
    result = results[0]
    if isinstance(result, PortalError):
        raise result
    return result
