"""Who could agree: active people holding a group's role, and in which groups a given person counts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db.models import Q

from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.accounts.passkeys import have_passkeys
from keyvault_portal.accounts.permissions import DECIDING_ROLES
from keyvault_portal.approvals.models import Decision, SigningKey
from keyvault_portal.approvals.quorum import Group, missing


def eligible_people(groups: Sequence[Group], *, besides: UUID | None = None) -> dict[UUID, set[int]]:
    """Active people, each with the indexes of the groups in which they count now. One query.

    A service is nobody who agrees, and a role without the right approval.decide counts nowhere.
    """
    wanted = Q(pk__in=[])
    for group in groups:
        on_ring = Q(ring=None) if group.ring_id is None else Q(ring=None) | Q(ring_id=group.ring_id)
        wanted |= Q(role=group.role) & on_ring
    rows = RoleBinding.objects.filter(
        wanted, role__in=DECIDING_ROLES, person__is_active=True, person__kind=Person.Kind.PERSON
    )
    people: dict[UUID, set[int]] = defaultdict(set)
    for person_id, role, ring_id in rows.values_list("person_id", "role", "ring_id"):
        if person_id != besides:
            people[person_id] |= {
                i for i, group in enumerate(groups) if group.role == role and ring_id in (None, group.ring_id)
            }
    return dict(people)


def unreachable(groups: Sequence[Group], requester_id: UUID) -> list[str]:
    """What could not be filled even if everybody but the requester agreed, in words; empty when it can.

    Leaving the requester out is what makes M at most N - 1; whoever can sign nothing fills no place that asks for a signature.
    """
    people = eligible_people(groups, besides=requester_id)
    asked = {index for index, group in enumerate(groups) if group.signed}
    unable = people.keys() - able_to_sign(people) if asked else set()
    return missing(groups, {person: found - asked if person in unable else found for person, found in people.items()})


def able_to_sign(people: Iterable[UUID]) -> set[UUID]:
    """Which of these people have a passkey, or a signing key that others agreed to."""
    wanted = list(people)
    keys = SigningKey.objects.filter(person_id__in=wanted, removed_at=None)
    return have_passkeys(wanted) | set(keys.values_list("person_id", flat=True))


def groups_counting(person_id: UUID, groups: Sequence[Group]) -> set[int]:
    """The indexes of `groups` in which this person counts now."""
    return eligible_people(groups).get(person_id, set())


def agreeing(decisions: Iterable[Decision], groups: Sequence[Group]) -> dict[UUID, set[int]]:
    """Who agreed, with the groups in which each counted when deciding and still does: a role lost since counts no more.

    Where a group asks for signatures, agreement without one counts nothing.
    """
    now = eligible_people(groups)
    unsigned = {index for index, group in enumerate(groups) if not group.signed}
    return {
        decision.person_id: set(decision.groups) & now.get(decision.person_id, set()) & (set(range(len(groups))) if decision.signature else unsigned)
        for decision in decisions
        if decision.verdict == Decision.Verdict.APPROVE
    }  # fmt: skip
