"""What the services of renewal share: rows locked and authorised, waiting times, and telling people."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from certificates.models import AcmeSource, DnsHook, ManagedCertificate
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound

P = Permission
SYSTEM = system_actor("certificate renewal", P.CERTIFICATE_ISSUE, P.KEY_ROTATE)
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=24)


def visible_sources(actor: Actor) -> QuerySet[AcmeSource]:
    """The ACME accounts `actor` may see."""
    rings = actor.ring_ids(P.CERTIFICATE_VIEW)
    return AcmeSource.objects.all() if rings is None else AcmeSource.objects.filter(ring_id__in=rings)


def visible_dns_hooks(actor: Actor) -> QuerySet[DnsHook]:
    rings = actor.ring_ids(P.CERTIFICATE_VIEW)
    return DnsHook.objects.all() if rings is None else DnsHook.objects.filter(ring_id__in=rings)


def visible_managed(actor: Actor) -> QuerySet[ManagedCertificate]:
    """The certificates that are kept alive, on the rings where the actor may see certificates."""
    rings = actor.ring_ids(P.CERTIFICATE_VIEW)
    rows = ManagedCertificate.objects.select_related("ring", "source", "key", "certificate", "dns_hook")
    return rows if rings is None else rows.filter(ring_id__in=rings)


@contextmanager
def act_on_managed(
    actor: Actor, permission: Permission, action: str, managed_id: UUID
) -> Iterator[tuple[ManagedCertificate, audit.atomic]]:
    """Open the transaction of one act on a managed certificate, its row locked; raises NotFound, PermissionRefused."""
    with audit.atomic(actor=actor, action=action, target=("managed_certificate", managed_id, "")) as act:
        rows = ManagedCertificate.objects.select_for_update(of=("self",)).select_related(
            "ring", "source", "key__ring", "key__current", "certificate"
        )
        row = rows.filter(pk=managed_id).first()
        if row is None:
            raise NotFound("There is no such managed certificate.")
        act.about(target=target_of(row), ring_id=row.ring_id)
        authorize(actor, permission, ring_id=row.ring_id, target=f"certificate {row}")
        yield row, act


def target_of(row: ManagedCertificate) -> tuple[str, object, str]:
    """How the record names a managed certificate."""
    return ("managed_certificate", row.pk, str(row)[:200])


def back_off(attempts: int, *, least: timedelta | None = None) -> timedelta:
    """How long to wait after so many tries: doubled each time up to a day, a fifth more or less, never under `least`."""
    wait = min(FIRST_WAIT * 2 ** min(max(attempts - 1, 0), 12), LONGEST_WAIT)
    wait = wait * (0.8 + 0.4 * secrets.randbelow(1000) / 1000)
    return max(wait, least or timedelta(0))


def officers_of(ring_id: UUID, *others: UUID | None) -> list[UUID]:
    """The security officers of a ring, and these people."""
    officers = Q(bindings__role=Role.SECURITY_OFFICER.value) & (Q(bindings__ring=None) | Q(bindings__ring=ring_id))
    people = Person.objects.filter(officers | Q(pk__in=[person for person in others if person]), is_active=True)
    return list(people.order_by("pk").values_list("pk", flat=True).distinct())
