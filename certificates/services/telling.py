"""Who is told about a certificate, an endpoint or a renewal: its owner and the security officers of its ring."""

from uuid import UUID

from django.db.models import Q

from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Role


def concerned(ring_id: UUID | None, owner_id: UUID | None = None) -> list[UUID]:
    """The ids of the active people among them."""
    officers = Q(bindings__role=Role.SECURITY_OFFICER.value) & (Q(bindings__ring=None) | Q(bindings__ring=ring_id))
    people = Person.objects.filter(officers | Q(pk=owner_id), is_active=True)
    return list(people.order_by("pk").values_list("pk", flat=True).distinct())
