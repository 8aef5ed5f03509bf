"""What an actor may read of requests, and which of them wait for their agreement."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import DECIDING_ROLES, Permission
from keyvault_portal.approvals.models import ApprovalRequest, Decision
from keyvault_portal.approvals.states import RequestState
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.visible import found

WAITING_BOUND = 100
_CLOCKS = timedelta(minutes=1)  # by which those of two machines may differ
_ASKED_AT_ONCE = 20


def identity(actor: Actor) -> UUID:
    """The actor's id; for the portal itself, which is nobody, the nil UUID (RFC 9562, section 5.9) that no person has."""
    return actor.id or UUID(int=0)


def visible_requests(actor: Actor) -> QuerySet[ApprovalRequest]:
    """Requests `actor` may read: on rings with the right to view approvals, own ones, and those where a role counts."""
    rings = actor.ring_ids(Permission.APPROVAL_VIEW)
    if rings is None:
        return ApprovalRequest.objects.all()
    own = Q(requester_id=actor.id) if actor.id else Q(pk__in=[])
    return ApprovalRequest.objects.filter(Q(ring_id__in=rings) | own | _counting(actor))


def visible_request(actor: Actor, request_id: UUID) -> ApprovalRequest:
    """One request; raises NotFound when there is none that `actor` may read."""
    return found(visible_requests(actor), request_id, "request")


def _counting(actor: Actor) -> Q:
    """Requests with a group in which one of the actor's roles counts; for a person only."""
    counts = Q(pk__in=[])
    for role, ring_id in actor.roles if actor.kind == "person" else ():
        if role in DECIDING_ROLES:
            rule: dict[str, Any] = {"role": role} if ring_id is None else {"role": role, "ring_id": str(ring_id)}
            counts |= Q(groups__contains=[rule])
    return counts


def waiting_requests(actor: Actor) -> QuerySet[ApprovalRequest]:
    """Pending requests of others on which `actor` has not decided and holds a role that counts."""
    mine = Decision.objects.filter(request=OuterRef("pk"), person_id=identity(actor))
    return (
        ApprovalRequest.objects.filter(
            _counting(actor), state=RequestState.PENDING.value, expires_at__gt=timezone.now()
        )
        .exclude(requester_id=identity(actor))
        .exclude(Exists(mine))
    )


def waiting_for(actor: Actor, limit: int = 5) -> list[ApprovalRequest]:
    """The newest requests that wait for this actor."""
    return list(waiting_requests(actor).order_by("-created_at", "-id")[:limit])


def count_waiting(actor: Actor) -> int:
    """How many requests wait for this actor, counted up to WAITING_BOUND."""
    return waiting_requests(actor).order_by()[:WAITING_BOUND].count() if actor.id else 0


def events_of(request: ApprovalRequest, limit: int = 15) -> list[AuditEvent]:
    """What is on record of a request, newest first; the reader is authorised for it already.

    That it was asked for stands with the act's target, as everything else that was meant for it: it is looked for among
    the first of that target since.
    """
    events = audit.events_for_target("approval", str(request.pk), limit)
    since = AuditEvent.objects.filter(
        action="approval.request", target_type=request.target_type, target_id=request.target_id,
        at__gte=request.created_at - _CLOCKS,
    )  # fmt: skip
    own = str(request.pk).encode()
    return events + [event for event in since.order_by("seq")[:_ASKED_AT_ONCE] if own in bytes(event.leaf)]
