"""Performing an agreed act: rebuilt, compared, re-authorised, once."""

import hmac
import logging
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from keyvault_portal.accounts.actors import Actor, Grant, authorize
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import ApiToken, Person
from keyvault_portal.approvals import notices, registry
from keyvault_portal.approvals.errors import ActChanged
from keyvault_portal.approvals.models import ApprovalRequest, Decision
from keyvault_portal.approvals.quorum import Group, satisfied
from keyvault_portal.approvals.states import RequestState
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PermissionRefused, PortalError

logger = logging.getLogger(__name__)
OVERDUE = timedelta(minutes=1)


def execute(request_id: UUID) -> str:
    """Perform the approved request and return its state; does nothing if it is not approved (any more).

    The act and the state change commit together, so it happens once or not at all.
    """
    try:
        return _perform(request_id)
    except PortalError as error:
        return _fail(request_id, RequestState.STALE if isinstance(error, ActChanged) else RequestState.FAILED, error.code, error.detail)
    except Exception as error:
        logger.exception("an agreed act failed")
        return _fail(request_id, RequestState.FAILED, "internal_error", f"It failed inside the portal ({type(error).__name__}).")


def _perform(request_id: UUID) -> str:
    row = ApprovalRequest.objects.filter(pk=request_id).first()
    if row is None or row.state != RequestState.APPROVED.value:
        return row.state if row else "missing"
    actor = _requester(row)
    with audit.atomic(actor=actor, action="approval.execute", target=("approval", str(request_id), str(row)), ring_id=row.ring_id) as record:
        request = ApprovalRequest.objects.select_for_update().get(pk=request_id)
        if request.state != RequestState.APPROVED.value:
            return request.state
        work = registry.find(request.operation)
        _check_agreement(request)
        act = work.build_act(request.params)
        rebuilt = act.canonical(
            request_id=request.pk, requester_id=request.requester_id, groups=request.groups, expires_at=request.expires_at.isoformat()
        )
        if not hmac.compare_digest(registry.digest(rebuilt), request.act_hash) or not hmac.compare_digest(rebuilt, bytes(request.act)):
            raise ActChanged("What would be done now is not what was agreed to.", hint="Ask again.")
        authorize(actor, work.permission, ring_id=act.ring_id, target=act.target_label)
        result = work.perform(actor, dict(request.params), request.pk) or {}
        request.state, request.result, request.finished_at = RequestState.EXECUTED.value, result, timezone.now()
        request.save(update_fields=["state", "result", "finished_at"])
        approvers = list(request.decisions.filter(verdict=Decision.Verdict.APPROVE).values_list("person_label", flat=True))
        record.record({"request": str(request.pk), "operation": request.operation, "act_hash": request.act_hash, "approvers": approvers,
                       "break_glass": request.broken_by})  # fmt: skip
        notices.tell_requester(request, "It was agreed to and is done.")
    return request.state


def _check_agreement(request: ApprovalRequest) -> None:
    """The decisions themselves, counted again: a state set by hand in the database is no agreement."""
    if request.broken_by:
        return
    decisions = list(request.decisions.all())
    if any(decision.act_hash != request.act_hash for decision in decisions):
        raise ActChanged("The decisions were made on another act.")
    agreed = {decision.person_id: decision.roles for decision in decisions if decision.verdict == Decision.Verdict.APPROVE}
    if not satisfied([Group.parse(rule) for rule in request.groups], agreed):
        raise ActChanged("The decisions on record do not fill the groups.")


def _requester(request: ApprovalRequest) -> Actor:
    """The person who asked, with the rights held now (those of the token asked with, where it was one)."""
    person = Person.objects.filter(pk=request.requester_id, is_active=True).first()
    if person is None:
        return Actor(id=request.requester_id, kind="person", label=request.requester_label)
    actor = actor_for_person(person)
    if request.requester_token_id is None:
        return actor
    token = ApiToken.objects.filter(pk=request.requester_token_id, revoked_at=None).first()
    if token is None:
        raise PermissionRefused("The token this was asked with is revoked.")
    scopes = set(token.scopes)
    rings = set(token.rings.values_list("pk", flat=True))
    grants = tuple(
        Grant(frozenset(p for p in grant.permissions if p.value in scopes), ring)
        for grant in actor.grants
        for ring in ([grant.ring_id] if not rings else sorted(rings) if grant.ring_id is None else [grant.ring_id] if grant.ring_id in rings else [])
    )  # fmt: skip
    return Actor(id=actor.id, kind="token", label=request.requester_label, grants=grants, roles=actor.roles, token_id=token.pk)


def _fail(request_id: UUID, state: RequestState, code: str, detail: str) -> str:
    """Write down why it was not done; the attempt itself is in the record already."""
    changed = ApprovalRequest.objects.filter(pk=request_id, state=RequestState.APPROVED.value).update(
        state=state.value, failure_code=code, failure_detail=detail, finished_at=timezone.now()
    )
    if changed:
        notices.tell_requester(ApprovalRequest.objects.get(pk=request_id), f"It was agreed to but not done: {detail}")
    return state.value


def overdue_requests() -> list[UUID]:
    """Approved requests that nobody performed: the worker died or the broker lost the message."""
    rows = ApprovalRequest.objects.filter(state=RequestState.APPROVED.value, decided_at__lt=timezone.now() - OVERDUE)
    return list(rows.values_list("pk", flat=True)[:100])
