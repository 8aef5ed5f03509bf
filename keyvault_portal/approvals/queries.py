"""What an actor may read of requests, and which of them wait for their agreement."""

from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import DECIDING_ROLES, Permission
from keyvault_portal.approvals.models import ApprovalRequest, Decision
from keyvault_portal.approvals.states import RequestState
from keyvault_portal.visible import found

WAITING_BOUND = 100


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
