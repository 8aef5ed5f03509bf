"""Asking for agreement, deciding, and breaking the glass. Performing is in `execution`, telling people in `notices`."""

import hmac
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import notices, registry
from keyvault_portal.approvals.eligibility import eligible_people, roles_of, unreachable
from keyvault_portal.approvals.errors import (
    ActChanged,
    AlreadyDecided,
    DecidedTwice,
    NotEligible,
    QuorumUnreachable,
    RequestExpired,
    SecondFactorNeeded,
    SelfApproval,
)
from keyvault_portal.approvals.models import ApprovalRequest, Decision
from keyvault_portal.approvals.quorum import Group, satisfied
from keyvault_portal.approvals.states import MOVES, RequestState
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, NotFound, PermissionRefused, ValidationFailed
from keyvault_portal.jobs import enqueue_on_commit

DEFAULT_LIFE = timedelta(days=7)
WAITING_BOUND = 100


def groups_of(request: ApprovalRequest) -> list[Group]:
    """The groups that must all agree."""
    return [Group.parse(rule) for rule in request.groups]


def require_or_request(
    *,
    actor: Actor,
    operation: str,
    params: dict[str, Any],
    groups: Iterable[dict[str, Any]],
    reason: str,
    expires_in: timedelta = DEFAULT_LIFE,
) -> ApprovalRequest:
    """Put the act before the groups that must agree and return the request; nothing is done yet.

    A pending request for the very same act by the same person is returned instead of a second one. Raises
    PermissionRefused, ValidationFailed (no reason), QuorumUnreachable naming who is missing.
    """
    work = registry.find(operation)
    act = work.build_act(params)
    target = (act.target_type, act.target_id, act.target_label)
    with audit.atomic(actor=actor, action="approval.request", target=target, ring_id=act.ring_id) as record:
        authorize(actor, work.permission, ring_id=act.ring_id, target=act.target_label)
        if actor.id is None:
            raise PermissionRefused("The portal itself cannot ask for agreement.")
        if not reason.strip():
            raise ValidationFailed("Say why, approvers read it.", errors={"reason": ["This field is required."]})
        parsed = [Group.parse(rule, act.ring_id) for rule in groups]
        if not parsed or any(group.threshold < 1 for group in parsed):
            raise ValidationFailed("At least one person has to agree.")
        if lacking := unreachable(parsed, actor.id):
            raise QuorumUnreachable(f"Besides {actor.label} this needs {' and '.join(lacking)}.", hint="Give more people these roles, or change the policy.")
        found = ApprovalRequest.objects.filter(
            operation=operation, params=act.params, target_id=act.target_id, requester_id=actor.id, state=RequestState.PENDING.value,
            expires_at__gt=timezone.now(),
        ).first()  # fmt: skip
        if found is not None:
            return found
        request = _create(actor, work.title, act, parsed, reason.strip(), expires_in)
        record.record(
            {"request": str(request.pk), "operation": operation, "act_hash": request.act_hash, "groups": request.groups, "reason": request.reason}
        )
        notices.ask(request, eligible_people(parsed, besides=actor.id))
    return request


def _create(actor: Actor, title: str, act: registry.Act, groups: list[Group], reason: str, expires_in: timedelta) -> ApprovalRequest:
    identifier, expires_at = uuid4(), timezone.now() + expires_in
    rules = [group.as_dict() for group in groups]
    assert actor.id is not None
    body = act.canonical(request_id=identifier, requester_id=actor.id, groups=rules, expires_at=expires_at.isoformat())
    return ApprovalRequest.objects.create(
        id=identifier, operation=act.operation, title=title, act=body, act_hash=registry.digest(body), params=act.params,
        consequences=act.consequences, target_type=act.target_type, target_id=act.target_id, target_label=act.target_label[:200],
        ring_id=act.ring_id, groups=rules, requester_id=actor.id, requester_label=actor.label, requester_token_id=actor.token_id,
        reason=reason, expires_at=expires_at,
    )  # fmt: skip


def require(*, actor: Actor, operation: str, params: dict[str, Any], groups: Iterable[dict[str, Any]], reason: str) -> None:
    """Ask for agreement and raise ApprovalRequired with the request to follow."""
    request = require_or_request(actor=actor, operation=operation, params=params, groups=groups, reason=reason)
    raise ApprovalRequired(request.pk, f"{request.title}: waiting for agreement.")


def approve(*, actor: Actor, request_id: UUID, act_hash: str, reason: str = "") -> ApprovalRequest:
    """Agree to the act whose hash the approver echoes; when every group is filled it is performed right after commit.

    Raises NotFound, AlreadyDecided, RequestExpired, SelfApproval, DecidedTwice, NotEligible, SecondFactorNeeded, ActChanged.
    """
    with _deciding(actor, request_id, "approval.approve") as (request, record):
        roles = _may_decide(actor, request)
        if not hmac.compare_digest(act_hash.encode(), request.act_hash.encode()):
            raise ActChanged("This is not the act you were shown.", hint="Open the request again and read it.")
        _decide(actor, request, Decision.Verdict.APPROVE, reason, roles)
        agreed = {
            decision.person_id: decision.roles for decision in request.decisions.filter(verdict=Decision.Verdict.APPROVE)
        }
        done = satisfied(groups_of(request), agreed)
        record.record({"request": str(request.pk), "act_hash": request.act_hash, "satisfied": done, "reason": reason})
        if done:
            _finish(request, RequestState.APPROVED)
            _perform_after_commit(request)
    return request


def reject(*, actor: Actor, request_id: UUID, reason: str) -> ApprovalRequest:
    """Say no, with a reason; one rejection ends the request. Raises as `approve` does, and ValidationFailed."""
    with _deciding(actor, request_id, "approval.reject") as (request, record):
        if not reason.strip():
            raise ValidationFailed("Say why you reject it.", errors={"reason": ["This field is required."]})
        roles = _may_decide(actor, request)
        _decide(actor, request, Decision.Verdict.REJECT, reason.strip(), roles)
        _finish(request, RequestState.REJECTED)
        record.record({"request": str(request.pk), "act_hash": request.act_hash, "reason": reason.strip()})
        notices.tell_requester(request, f"{actor.label} rejected: {reason.strip()}")
    return request


def withdraw(*, actor: Actor, request_id: UUID, reason: str = "") -> ApprovalRequest:
    """Take an own request back; raises NotFound, AlreadyDecided, PermissionRefused for somebody else's."""
    with _deciding(actor, request_id, "approval.withdraw") as (request, record):
        if request.requester_id != actor.id:
            raise PermissionRefused("Only the person who asked can withdraw a request.")
        _finish(request, RequestState.WITHDRAWN)
        record.record({"request": str(request.pk), "reason": reason})
    return request


def break_glass(*, actor: Actor, request_id: UUID, reason: str) -> ApprovalRequest:
    """Perform without the missing agreement, with a reason and a second factor; everybody skipped gets an alarm.

    Raises NotFound, AlreadyDecided, RequestExpired, PermissionRefused, SecondFactorNeeded, ValidationFailed.
    """
    with _deciding(actor, request_id, "approval.break_glass") as (request, record):
        authorize(actor, Permission.APPROVAL_BREAK_GLASS, ring_id=request.ring_id, target=str(request))
        _need_second_factor(actor)
        _need_open(request)
        if not reason.strip():
            raise ValidationFailed("Breaking the glass needs a reason.", errors={"reason": ["This field is required."]})
        agreed = set(request.decisions.values_list("person_id", flat=True))
        skipped = {person: roles for person, roles in eligible_people(groups_of(request)).items() if person not in agreed and person != actor.id}
        request.broken_by, request.broken_because = actor.label, reason.strip()
        request.save(update_fields=["broken_by", "broken_because"])
        _finish(request, RequestState.APPROVED)
        record.record(
            {"request": str(request.pk), "act_hash": request.act_hash, "reason": reason.strip(), "skipped": sorted(str(person) for person in skipped),
             "skipped_count": len(skipped)}
        )  # fmt: skip
        notices.alarm(request, skipped)
        _perform_after_commit(request)
    return request


def expire_due() -> int:
    """End every pending request whose time is over; returns how many."""
    actor, ended = system_actor("schedule"), 0
    due = ApprovalRequest.objects.filter(state=RequestState.PENDING.value, expires_at__lte=timezone.now()).values_list("pk", flat=True)
    for request_id in list(due[:1000]):
        with audit.atomic(actor=actor, action="approval.expire", target=("approval", str(request_id), "")) as record:
            request = ApprovalRequest.objects.select_for_update(skip_locked=True).filter(pk=request_id, state=RequestState.PENDING.value).first()
            if request is None:
                continue
            _finish(request, RequestState.EXPIRED)
            record.record({"request": str(request.pk)}, target=("approval", str(request.pk), str(request)))
            notices.tell_requester(request, "Nobody decided in time.")
            ended += 1
    return ended


def visible_requests(actor: Actor) -> QuerySet[ApprovalRequest]:
    """Requests `actor` may read: on rings with the right to view approvals, and own ones."""
    rings = actor.ring_ids(Permission.APPROVAL_VIEW)
    if rings is None:
        return ApprovalRequest.objects.all()
    own = Q(requester_id=actor.id) if actor.id else Q(pk__in=[])
    return ApprovalRequest.objects.filter(Q(ring_id__in=rings) | own)


def waiting_requests(actor: Actor) -> QuerySet[ApprovalRequest]:
    """Pending requests of others on which `actor` has not decided and holds a role that counts."""
    mine = Decision.objects.filter(request=OuterRef("pk"), person_id=actor.id)
    counts = Q(pk__in=[])
    for role, ring_id in actor.roles:
        rule: dict[str, Any] = {"role": role}
        if ring_id is not None:
            rule["ring_id"] = str(ring_id)
        counts |= Q(groups__contains=[rule])
    return (
        ApprovalRequest.objects.filter(counts, state=RequestState.PENDING.value, expires_at__gt=timezone.now())
        .exclude(requester_id=actor.id)
        .exclude(Exists(mine))
    )


def waiting_for(actor: Actor, limit: int = 5) -> list[ApprovalRequest]:
    """The newest requests that wait for this actor."""
    return list(waiting_requests(actor).order_by("-created_at", "-id")[:limit])


def count_waiting(actor: Actor) -> int:
    """How many requests wait for this actor, counted up to WAITING_BOUND."""
    return waiting_requests(actor).order_by()[:WAITING_BOUND].count() if actor.id else 0


class _deciding:  # noqa: N801  a context manager used as one
    """The request locked inside an audited transaction; the event names its target."""

    def __init__(self, actor: Actor, request_id: UUID, action: str) -> None:
        self.actor, self.request_id = actor, request_id
        self.scope = audit.atomic(actor=actor, action=action, target=("approval", str(request_id), ""))

    def __enter__(self) -> tuple[ApprovalRequest, audit.atomic]:
        record = self.scope.__enter__()
        try:
            request = ApprovalRequest.objects.select_for_update().filter(pk=self.request_id).first()
            if request is None or not (visible_requests(self.actor).filter(pk=request.pk).exists() or self._counts(request)):
                raise NotFound("There is no such request, or you may not see it.")
            record.about(target=("approval", str(request.pk), str(request)), ring_id=request.ring_id)
            if request.state != RequestState.PENDING.value:
                raise AlreadyDecided(f"It is {request.state} already.", state=request.state)
        except BaseException as error:
            self.scope.__exit__(type(error), error, error.__traceback__)
            raise
        return request, record

    def _counts(self, request: ApprovalRequest) -> bool:
        return self.actor.id is not None and bool(roles_of(self.actor.id, groups_of(request)))

    def __exit__(self, *error: Any) -> None:
        self.scope.__exit__(*error)


def _may_decide(actor: Actor, request: ApprovalRequest) -> set[str]:
    """The roles in which `actor` counts here; raises what stands in the way."""
    _need_open(request)
    if actor.id == request.requester_id:
        raise SelfApproval("You asked for this; somebody else has to decide.")
    if actor.kind != "person" or actor.id is None:
        raise NotEligible("Only a person can decide, signed in.")
    _need_second_factor(actor)
    roles = roles_of(actor.id, groups_of(request))
    if not roles:
        raise NotEligible("None of your roles counts for this request.")
    if request.decisions.filter(person_id=actor.id).exists():
        raise DecidedTwice("Your decision is counted already.")
    return roles


def _need_open(request: ApprovalRequest) -> None:
    if request.expires_at <= timezone.now():
        raise RequestExpired(f"It expired on {request.expires_at:%Y-%m-%d %H:%M} UTC.", hint="Ask again.")


def _need_second_factor(actor: Actor) -> None:
    if not actor.second_factor:
        raise SecondFactorNeeded("This needs a session with a second factor.", hint="Sign out and in again, with your passkey or code.")


def _decide(actor: Actor, request: ApprovalRequest, verdict: str, reason: str, roles: set[str]) -> None:
    try:
        with transaction.atomic():
            Decision.objects.create(
                request=request, requester_id=request.requester_id, person_id=actor.id, person_label=actor.label, roles=sorted(roles),
                verdict=verdict, reason=reason, act_hash=request.act_hash,
            )  # fmt: skip
    except IntegrityError:
        raise DecidedTwice("Your decision is counted already.") from None


def _finish(request: ApprovalRequest, new: RequestState) -> None:
    if new not in MOVES[RequestState(request.state)]:
        raise AlreadyDecided(f"It is {request.state} already.", state=request.state)
    request.state, request.decided_at = new.value, timezone.now()
    request.save(update_fields=["state", "decided_at"])


def _perform_after_commit(request: ApprovalRequest) -> None:
    from keyvault_portal.approvals.tasks import execute_request

    enqueue_on_commit(execute_request, str(request.pk))
