"""What a rule is, and the usual ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyvault_portal.accounts.permissions import Permission as P
from tests.api.world import HERE, World

type Body = Callable[[World], Any] | dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """In the order they are asked: `opens` (any of them, anywhere: else 403), `sees` on the object's place (else 404, or `unseen` where the body names it),
    `acts` on its place (else 403, or `hidden`), `decides` with this role on its ring (else 403).

    `public`: nobody has to sign in. `own`: served to whoever is signed in (`acts` then binds tokens only), `in_person`: to no token. `data`: a data-plane rule, where holding
    nothing on the ring looks like no such key. `tokens`: whoever has none is refused with 403, signed in or not. `body` has to be valid, so that only rights can refuse it.
    """

    opens: tuple[P, ...] = ()
    sees: tuple[P, str] | None = None
    acts: tuple[P, str] | None = None
    decides: str = ""
    body: Body | None = None
    hidden: int = 403
    unseen: int = 404
    public: bool = False
    own: bool = False
    in_person: bool = False
    data: bool = False
    tokens: bool = False


PUBLIC, OWN, IN_PERSON = Rule(public=True), Rule(own=True), Rule(own=True, in_person=True)
REASON = {"reason": "A test."}


def sees(permission: P, place: str = HERE, *, opens: P | tuple[P, ...] | None = None, **more: Any) -> Rule:
    opens = permission if opens is None else opens
    return Rule((opens,) if isinstance(opens, P) else opens, (permission, place), **more)


def lists(permission: P) -> Rule:
    return Rule((permission,))


def makes(permission: P, body: Body, place: str = HERE, hidden: int = 403) -> Rule:
    return Rule((permission,), acts=(permission, place), body=body, hidden=hidden)


def acts(
    permission: P, body: Body | None = None, *, view: P = P.KEY_VIEW, opens: P | None = None, place: str = HERE
) -> Rule:
    """On an object that `view` shows; the page opens for `opens`, by default for whoever may act somewhere."""
    return Rule((permission if opens is None else opens,), (view, HERE), (permission, place), body=body)


def new_key(world: World) -> dict[str, Any]:
    return {
        "ring": str(world.place.ring.pk), "name": "fresh", "title": "Fresh", "kind": "dek", "algorithm": "AES-256-GCM",
        "parent": str(world.place.keys["kek"].pk),
    }  # fmt: skip


MOVE = {"target": "far", "reason": "A test."}
ROTATION = {"view": P.ROTATION_VIEW}
API_ROTATION = {"view": P.ROTATION_VIEW, "opens": P.ROTATION_VIEW}
API_KEY = {"opens": P.KEY_VIEW}
CA = {"view": P.CERTIFICATE_VIEW}
API_CA = {"view": P.CERTIFICATE_VIEW, "opens": P.CERTIFICATE_VIEW}
