"""Performing an agreed act: rebuilt, compared, re-authorised, once."""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.identity import actor_for_person, token_policy
from keyvault_portal.accounts.models import Person
from keyvault_portal.approvals import notices, registry, signatures
from keyvault_portal.approvals.eligibility import agreeing
from keyvault_portal.approvals.errors import ActChanged, NeedsMoreAgreement, RequestExpired
from keyvault_portal.approvals.models import ApprovalRequest, Decision
from keyvault_portal.approvals.performing import performing
from keyvault_portal.approvals.quorum import Group, satisfied
from keyvault_portal.approvals.states import RequestState, advance
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, PermissionRefused, PortalError

logger = logging.getLogger(__name__)
OVERDUE = timedelta(minutes=1)
_ENDINGS: dict[type[PortalError], RequestState] = {ActChanged: RequestState.STALE, RequestExpired: RequestState.EXPIRED}


def execute(request_id: UUID) -> str:
    """Perform the approved request and return its state; does nothing if it is not approved (any more).

    The act and the state change commit together, so it happens once or not at all. When the database or the record is
    away nothing is known about the act itself: that error is raised, the request stays approved and is tried again.
    """
    try:
        return _perform(request_id)
    except (audit.AuditUnavailable, OperationalError, InterfaceError):
        raise
    except PortalError as error:
        return _fail(request_id, _ENDINGS.get(type(error), RequestState.FAILED), error.code, error.detail)
    except Exception as error:
        logger.exception("an agreed act failed")
        return _fail(
            request_id, RequestState.FAILED, "internal_error", f"It failed inside the portal ({type(error).__name__})."
        )


def _perform(request_id: UUID) -> str:
    with audit.atomic(action="approval.execute") as record:
        request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
        if request is None or request.state != RequestState.APPROVED.value:
            return request.state if request else "missing"
        asker = Actor(id=request.requester_id, kind="person", label=request.requester_label)
        record.about(actor=asker, target=("approval", str(request_id), str(request)), ring_id=request.ring_id)
        if request.expires_at <= timezone.now():
            raise RequestExpired("It was not performed in time.", hint="Ask again.")
        work = registry.find(request.operation)
        _check_agreement(request)
        if not (act := work.build_act(request.params)).matches(request):
            raise ActChanged("What would be done now is not what was agreed to.", hint="Ask again.")
        actor = _requester(request)
        record.about(actor=actor)
        authorize(actor, work.permission, ring_id=act.ring_id, target=act.target_label)
        with performing(request):
            result = _without_asking_again(work, actor, request)
        request.state, request.result, request.finished_at = (
            advance(request.state, RequestState.EXECUTED),
            result,
            timezone.now(),
        )
        request.save(update_fields=["state", "result", "finished_at"])
        approvers = list(
            request.decisions.filter(verdict=Decision.Verdict.APPROVE)
            .order_by("at")
            .values_list("person_label", flat=True)
        )
        record.record({"request": str(request.pk), "operation": request.operation, "act_hash": request.act_hash, "approvers": approvers,
                       "break_glass": request.broken_by})  # fmt: skip
        how = "The glass was broken, and it is done" if request.broken_by else "It was agreed to and is done"
        notices.tell_requester(request, f"{how}.")
    return request.state


def _without_asking_again(work: registry.Operation, actor: Actor, request: ApprovalRequest) -> dict[str, Any]:
    """What `perform` returns; a second ApprovalRequired would commit half of an act, so it becomes a failure."""
    try:
        return work.perform(actor, dict(request.params), request.pk) or {}
    except ApprovalRequired as error:
        raise NeedsMoreAgreement(error.detail, hint="The policy changed; ask again.") from None


def _check_agreement(request: ApprovalRequest) -> None:
    """The decisions themselves, counted again: a state set by hand in the database is no agreement."""
    decisions = list(request.decisions.all())
    if any(decision.act_hash != request.act_hash for decision in decisions):
        raise ActChanged("The decisions were made on another act.")
    if any(d.signature and not signatures.fits(d.signature, bytes(request.act)) for d in decisions):
        raise ActChanged("A signature on record is not one over this act.")
    groups = [Group.parse(rule) for rule in request.groups]
    if not request.broken_by and not satisfied(groups, agreeing(decisions, groups)):
        raise ActChanged("The decisions on record, of people whose role still counts, do not fill the groups.")


def _requester(request: ApprovalRequest) -> Actor:
    """The person who asked, with the rights held now (those of the token asked with, where it was one)."""
    person = Person.objects.filter(pk=request.requester_id, is_active=True).first()
    if person is None:
        return Actor(id=request.requester_id, kind="person", label=request.requester_label)
    if request.requester_token_id is None:
        return actor_for_person(person)
    token = token_policy(request.requester_token_id)
    if token is None or token.revoked_at is not None:
        raise PermissionRefused("The token this was asked with is revoked.")
    if token.expires_at is not None and token.expires_at <= timezone.now():
        raise PermissionRefused("The token this was asked with has expired.")
    return replace(token.actor, label=request.requester_label)


def _fail(request_id: UUID, state: RequestState, code: str, detail: str) -> str:
    """Write down why it was not done; the attempt itself is in the record already."""
    with transaction.atomic():
        request = ApprovalRequest.objects.select_for_update().get(pk=request_id)
        if request.state != RequestState.APPROVED.value:
            return request.state
        request.state, request.finished_at = advance(request.state, state), timezone.now()
        request.failure_code, request.failure_detail = code, detail
        request.save(update_fields=["state", "finished_at", "failure_code", "failure_detail"])
        notices.tell_requester(request, f"It was agreed to but not done: {detail}")
    return request.state


def overdue_requests() -> list[UUID]:
    """Approved requests that nobody performed: the worker died or the broker lost the message."""
    rows = ApprovalRequest.objects.filter(state=RequestState.APPROVED.value, decided_at__lt=timezone.now() - OVERDUE)
    return list(rows.values_list("pk", flat=True)[:100])
