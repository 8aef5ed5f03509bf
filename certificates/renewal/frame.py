"""What the services of renewal share: rows locked and authorised, waiting times, and telling people."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from django.db.models import QuerySet

from certificates.models import AcmeSource, DnsHook, ManagedCertificate
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound
from keyvault_portal.visible import on_rings

P = Permission
SYSTEM = system_actor("certificate renewal", P.CERTIFICATE_ISSUE, P.KEY_ROTATE)
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=24)


def visible_sources(actor: Actor) -> QuerySet[AcmeSource]:
    """The ACME accounts `actor` may see."""
    return on_rings(AcmeSource.objects.all(), actor.ring_ids(P.CERTIFICATE_VIEW))


def visible_dns_hooks(actor: Actor) -> QuerySet[DnsHook]:
    return on_rings(DnsHook.objects.all(), actor.ring_ids(P.CERTIFICATE_VIEW))


def visible_managed(actor: Actor) -> QuerySet[ManagedCertificate]:
    """The certificates that are kept alive, on the rings where the actor may see certificates."""
    rows = ManagedCertificate.objects.select_related("ring", "source", "key", "certificate", "dns_hook")
    return on_rings(rows, actor.ring_ids(P.CERTIFICATE_VIEW))


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
