"""Who could agree: active people holding a group's role, and what a given person counts as."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q

from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals.quorum import Group, missing


def eligible_people(groups: Sequence[Group], *, besides: UUID | None = None) -> dict[UUID, set[str]]:
    """Active people with the roles that these groups ask for (a service is nobody who agrees). One query."""
    wanted = Q(pk__in=[])
    for group in groups:
        on_ring = Q(ring=None) if group.ring_id is None else Q(ring=None) | Q(ring_id=group.ring_id)
        wanted |= Q(role=group.role) & on_ring
    rows = RoleBinding.objects.filter(wanted, person__is_active=True, person__kind=Person.Kind.PERSON)
    people: dict[UUID, set[str]] = defaultdict(set)
    for person_id, role in rows.values_list("person_id", "role"):
        if person_id != besides:
            people[person_id].add(role)
    return dict(people)


def unreachable(groups: Sequence[Group], requester_id: UUID) -> list[str]:
    """What could not be filled even if everybody but the requester agreed, in words; empty when it can.

    Leaving the requester out is what makes M at most N - 1.
    """
    return missing(groups, eligible_people(groups, besides=requester_id))


def roles_of(person_id: UUID, groups: Sequence[Group]) -> set[str]:
    """The roles among `groups` in which this person counts now."""
    return eligible_people(groups).get(person_id, set())
