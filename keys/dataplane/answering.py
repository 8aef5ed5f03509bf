"""From who asks and a body to the bytes of an answer, whatever server stands around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from keys.dataplane.bodies import Field, batch, load, take
from keys.dataplane.operations import OPERATIONS, DataOperation
from keys.services import key_views
from keys.services.operations import MAX_BATCH, audited, authorize_use
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.edges import PROBLEM_JSON, problem, problem_headers
from keyvault_portal.errors import NotFound, PortalError, ValidationFailed

JSON = "application/json"
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; its body may hold plaintext, which no repr shows."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"


def respond(operation: str, key_id: UUID, actor: Actor, read: Callable[[], bytes]) -> Answer:
    """Authorise `actor` for `operation` on a key, do it to what `read` gives, and answer once the event is durable.

    `read` returns the body, or raises a PortalError that is then recorded and answered as any other refusal. Every
    PortalError becomes a problem document; nothing else is caught.
    """
    known = OPERATIONS.get(operation)
    if known is None:
        return refusal(NotFound())
    try:
        with audited(actor, known.action, key_id) as entry:
            many, results = _perform(known, key_id, actor, load(read()))
            entry.note(results)
            if not many and isinstance(results[0], PortalError):
                raise results[0]
    except PortalError as error:
        return refusal(error)
    shown = [
        {"error": problem(result)} if isinstance(result, PortalError) else known.show(result) for result in results
    ]
    return Answer(200, {"Content-Type": JSON, **_NO_STORE}, orjson.dumps({"items": shown} if many else shown[0]))


def refusal(error: PortalError) -> Answer:
    """The problem document of `error`."""
    headers = {"Content-Type": PROBLEM_JSON, **_NO_STORE, **problem_headers(error)}
    return Answer(error.status, headers, orjson.dumps(problem(error)))


def _perform(known: DataOperation, key_id: UUID, actor: Actor, body: dict[str, Any]) -> tuple[bool, list[Any]]:
    """Whether it was a batch, and the result or the error of every item."""
    if "items" not in body:
        values = take(body, known.single)
        options = {field.name: values.pop(field.name) for field in known.options}
        return False, list(known.run(actor, key_id, [known.make(values)], **options))
    options = take(body, (_ITEMS, *known.options))
    items = [_item(known, value) for value in options.pop("items")]
    good = [item for item in items if not isinstance(item, ValidationFailed)]
    if len(good) == len(items):
        return True, list(known.run(actor, key_id, good, **options))
    if not good:
        authorize_use(actor, known.permission, key_views.view(key_id))
        return True, items
    done = iter(known.run(actor, key_id, good, **options))
    return True, [item if isinstance(item, ValidationFailed) else next(done) for item in items]


def _item(known: DataOperation, value: Any) -> Any:
    """What the service takes for one item, or why it cannot be read."""
    try:
        return known.make(take(value, known.item))
    except ValidationFailed as error:
        return error


_ITEMS = Field("items", batch, {"type": "array", "minItems": 1, "maxItems": MAX_BATCH})
