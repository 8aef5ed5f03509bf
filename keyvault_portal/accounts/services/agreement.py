"""Changes of who decides: nobody makes them alone while there is somebody to ask.

Agreement is built on top of this app, so it plugs itself in here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.accounts.permissions import DECIDING_ROLES
from keyvault_portal.errors import WrongState

BIND_ROLE, UNBIND_ROLE = "person.bind_role", "person.unbind_role"
DEACTIVATE, REACTIVATE = "person.deactivate", "person.reactivate"
CHANGE_ADDRESS = "person.change_address"
TAKE_AWAY = frozenset({UNBIND_ROLE, DEACTIVATE})  # what those whom they concern may want to keep up


@dataclass(frozen=True, slots=True)
class Wish:
    """One change of who decides, as `operation` with `params` does it once others agree; `about` is whom it concerns."""

    actor: Actor
    operation: str
    params: dict[str, str | None]
    about: Person
    ring_id: UUID | None
    reason: str
    approval_id: UUID | None


Gate = Callable[[Wish], None]
_gate: list[Gate] = []


def register_gate(gate: Gate) -> None:
    """Have `gate` called for every wish: it raises ApprovalRequired, or returns if this was agreed to or nobody is left to ask.

    Without one nobody changes who decides.
    """
    _gate[:] = [gate]


def need_agreement(wish: Wish) -> None:
    """Return once the wish may be carried out; raises ApprovalRequired, WrongState (nobody listens)."""
    if not _gate:
        raise WrongState("Who decides is changed by agreement, and agreement is not available.")
    for gate in _gate:
        gate(wish)


def decides(person: Person) -> bool:
    """Whether `person` holds a role somewhere by which requests are agreed to; being inactive makes no difference."""
    return RoleBinding.objects.filter(person=person, role__in=DECIDING_ROLES).exists()
