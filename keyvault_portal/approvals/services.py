"""Asking for agreement, deciding, and breaking the glass. Performing is in `execution`, telling in `notices`, reading in `queries`."""

import hmac
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.utils import timezone

from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import DECIDING_ROLES, Permission, Role
from keyvault_portal.approvals import notices, registry, signatures
from keyvault_portal.approvals.eligibility import (
    agreeing,
    eligible_people,
    groups_counting,
    unreachable,
)
from keyvault_portal.approvals.errors import (
    ActChanged,
    DecidedTwice,
    NotEligible,
    QuorumUnreachable,
    RequestExpired,
    SecondFactorNeeded,
    SelfApproval,
    SignatureNeeded,
)
from keyvault_portal.approvals.models import ApprovalRequest, Decision
from keyvault_portal.approvals.performing import is_executing
from keyvault_portal.approvals.queries import (
    count_waiting,
    identity,
    visible_request,
    visible_requests,
    waiting_for,
    waiting_requests,
)
from keyvault_portal.approvals.quorum import Group, satisfied
from keyvault_portal.approvals.states import RequestState, advance, decided
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, PermissionRefused, ValidationFailed
from keyvault_portal.jobs import enqueue_on_commit

__all__ = [
    "DEFAULT_LIFE", "POLICY_VERSION", "approve", "break_glass", "count_waiting", "expire_due", "groups_of", "identity", "is_executing",
    "need_officers", "officers_needed", "reject", "require_or_request", "visible_request", "visible_requests",
    "waiting_for", "waiting_requests", "withdraw",
]  # fmt: skip
DEFAULT_LIFE = timedelta(days=7)
OFFICERS_WHO_AGREE = 2  # as far as there are so many besides the requester
POLICY_VERSION = "1"  # of the rule by which `need_officers` asks


def groups_of(request: ApprovalRequest) -> list[Group]:
    """The groups that must all agree."""
    return [Group.parse(rule) for rule in request.groups]


def require_or_request(
    actor: Actor,
    operation: str,
    params: dict[str, Any],
    *,
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
            raise ValidationFailed(
                "Say why, approvers read it.", errors={"reason": ["Say why: those who have to agree read it."]}
            )
        parsed = [_asked(Group.parse(rule, act.ring_id), operation) for rule in groups]
        _check_groups(parsed)
        if lacking := unreachable(parsed, actor.id):
            raise QuorumUnreachable(
                f"Too few people could agree: besides {actor.label} it lacks {' and '.join(lacking)}.",
                hint="Give more people these roles, or change the policy."
                + (" They sign: each needs a passkey or a signing key." if any(g.signed for g in parsed) else ""),
            )
        if found := _same_request(actor, act, parsed):
            return found
        request = _create(actor, work.title, act, parsed, reason.strip(), expires_in)
        record.record(
            {
                "request": str(request.pk),
                "operation": operation,
                "act_hash": request.act_hash,
                "groups": request.groups,
                "reason": request.reason,
            }
        )
        notices.ask(request, eligible_people(parsed, besides=actor.id))
    return request


def _create(
    actor: Actor, title: str, act: registry.Act, groups: list[Group], reason: str, expires_in: timedelta
) -> ApprovalRequest:
    request = ApprovalRequest(
        id=uuid4(), operation=act.operation, title=title, params=act.params, consequences=act.consequences, target_type=act.target_type,
        target_id=act.target_id, target_label=act.target_label[: registry.LABEL_LENGTH], ring_id=act.ring_id,
        groups=[group.as_dict() for group in groups], requester_id=identity(actor), requester_label=actor.label[: registry.LABEL_LENGTH],
        requester_token_id=actor.token_id, reason=reason, expires_at=timezone.now() + expires_in,
    )  # fmt: skip
    request.act = act.canonical(request)
    request.act_hash = registry.digest(request.act)
    request.save(force_insert=True)
    return request


def _same_request(actor: Actor, act: registry.Act, groups: list[Group]) -> ApprovalRequest | None:
    """An open request of this actor for the very same act, its target and groups unchanged since."""
    rules = [group.as_dict() for group in groups]
    rows = ApprovalRequest.objects.filter(
        operation=act.operation, target_type=act.target_type, target_id=act.target_id, requester_id=identity(actor),
        requester_token_id=actor.token_id, groups=rules, state=RequestState.PENDING.value, expires_at__gt=timezone.now(),
    )  # fmt: skip
    return next((row for row in rows if act.matches(row)), None)


def _asked(group: Group, operation: str) -> Group:
    """The group as the installation wants it: for some operations, or for all, agreement is always signed."""
    always = {operation, "*"} & set(settings.APPROVALS_SIGNED)
    return replace(group, signed=True) if always else group


def _check_groups(groups: list[Group]) -> None:
    if not groups or any(group.threshold < 1 for group in groups):
        raise ValidationFailed("At least one person has to agree.")
    if silent := sorted({group.role for group in groups} - DECIDING_ROLES):
        raise ValidationFailed(
            f"The role {' or '.join(silent)} decides on nothing.", errors={"groups": ["Name roles that may decide."]}
        )


def need_officers(
    actor: Actor, operation: str, params: dict[str, Any], *, ring_id: UUID | None, reason: str, approval_id: UUID | None,
    about: UUID | None = None,
) -> None:  # fmt: skip
    """Return if this very act was agreed to or there is no other officer to ask; otherwise ask and raise ApprovalRequired.

    `about` as in `officers_needed`.
    """
    if approval_id is not None and is_executing(approval_id, operation, params):
        return
    if not (threshold := officers_needed(actor, ring_id, about=about)):
        return
    rule = Group(Role.SECURITY_OFFICER.value, threshold, ring_id).as_dict()
    request = require_or_request(actor=actor, operation=operation, params=params, groups=[rule], reason=reason)
    raise ApprovalRequired(request.pk, f"{request.title}: waiting for agreement.")


def officers_needed(actor: Actor, ring_id: UUID | None, *, about: UUID | None = None) -> int:
    """How many officers must agree to what this actor asks for: two, or as many as there are besides.

    The person whom it is `about` may agree, too, and has to only where nobody else is left: nobody keeps a removal up alone.
    """
    group = Group(Role.SECURITY_OFFICER.value, OFFICERS_WHO_AGREE, ring_id)
    people = eligible_people([group], besides=actor.id).keys()
    return min(OFFICERS_WHO_AGREE, len(people - {about}) or len(people))


def approve(*, actor: Actor, request_id: UUID, act_hash: str, reason: str = "", signature: str = "") -> ApprovalRequest:
    """Agree to the act whose hash the approver echoes; when every group is filled it is performed right after commit.

    `signature` is the approver's own over the act, in a form that `signatures.check` reads; it becomes evidence in the record.
    Raises NotFound, AlreadyDecided, RequestExpired, SelfApproval, DecidedTwice, NotEligible, SecondFactorNeeded, ActChanged,
    SignatureNeeded, SignatureRefused.
    """
    with _deciding(actor, request_id, "approval.approve") as (request, record):
        counting = _may_decide(actor, request)
        if not hmac.compare_digest(act_hash.encode(), request.act_hash.encode()):
            raise ActChanged("This is not the act you were shown.", hint="Open the request again and read it.")
        groups = groups_of(request)
        evidence = None
        if signature.strip():
            evidence = signatures.check(identity(actor), bytes(request.act), signature)
        elif all(groups[index].signed for index in counting):
            raise SignatureNeeded(
                "This policy counts signed agreement only.",
                hint="Sign with your passkey, or offline with a key of yours.",
            )
        _decide(actor, request, Decision.Verdict.APPROVE, reason.strip(), counting, evidence)
        done = satisfied(groups, agreeing(request.decisions.all(), groups))
        record.record({
            "request": str(request.pk), "act_hash": request.act_hash, "satisfied": done, "reason": reason.strip(), "signature": evidence,
        })  # fmt: skip
        if done:
            _finish(request, RequestState.APPROVED)
            _perform_after_commit(request)
    return request


def reject(*, actor: Actor, request_id: UUID, reason: str) -> ApprovalRequest:
    """Say no, with a reason; one rejection ends the request. Raises as `approve` does, and ValidationFailed.

    NotEligible is also whoever would keep up their own removal, see `left_to_others`.
    """
    with _deciding(actor, request_id, "approval.reject") as (request, record):
        if not reason.strip():
            raise ValidationFailed("Say why you reject it.", errors={"reason": ["This field is required."]})
        counting = _may_decide(actor, request)
        if left_to_others(request, actor.id):
            raise NotEligible(
                "What is taken away here is yours: the others decide, and you can only agree.",
                hint="Tell them what speaks against it.",
            )
        _decide(actor, request, Decision.Verdict.REJECT, reason.strip(), counting)
        _finish(request, RequestState.REJECTED)
        record.record({"request": str(request.pk), "act_hash": request.act_hash, "reason": reason.strip()})
        notices.tell_requester(request, f"{actor.label} rejected: {reason.strip()}")
    return request


def left_to_others(request: ApprovalRequest, person_id: UUID | None) -> bool:
    """Whether the act takes something from this person, and somebody else is there to decide: theirs is no veto then."""
    if request.operation not in accounts.TAKE_AWAY or request.target_id != str(person_id):
        return False
    return bool(eligible_people(groups_of(request), besides=request.requester_id).keys() - {person_id})


def withdraw(*, actor: Actor, request_id: UUID, reason: str = "") -> ApprovalRequest:
    """Take an own request back; raises NotFound, AlreadyDecided, PermissionRefused for somebody else's.

    A token takes back what was asked with itself only.
    """
    with _deciding(actor, request_id, "approval.withdraw") as (request, record):
        if request.requester_id != actor.id or actor.token_id not in (None, request.requester_token_id):
            raise PermissionRefused("Only whoever asked can withdraw a request.")
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
        heard = {actor.id, *request.decisions.values_list("person_id", flat=True)}
        skipped = eligible_people(groups_of(request), besides=request.requester_id).keys() - heard
        names = Person.objects.filter(pk__in=skipped).order_by("name").values_list("name", flat=True)
        request.broken_by, request.broken_because = actor.label, reason.strip()
        request.save(update_fields=["broken_by", "broken_because"])
        _finish(request, RequestState.APPROVED)
        record.record(
            {
                "request": str(request.pk), "act_hash": request.act_hash, "reason": reason.strip(),
                "skipped": list(names), "skipped_count": len(skipped),
            }
        )  # fmt: skip
        notices.alarm(request, skipped)
        if request.requester_id != actor.id:
            notices.tell_requester(request, f"{actor.label} broke the glass: {request.broken_because}")
        _perform_after_commit(request)
    return request


def expire_due() -> int:
    """End every pending request whose time is over; returns how many."""
    actor, ended = system_actor("schedule"), 0
    due = ApprovalRequest.objects.filter(state=RequestState.PENDING.value, expires_at__lte=timezone.now()).values_list(
        "pk", flat=True
    )
    for request_id in list(due[:1000]):
        with audit.atomic(actor=actor, action="approval.expire", target=("approval", str(request_id), "")) as record:
            request = (
                ApprovalRequest.objects.select_for_update(skip_locked=True)
                .filter(pk=request_id, state=RequestState.PENDING.value)
                .first()
            )
            if request is None:
                continue
            _finish(request, RequestState.EXPIRED)
            record.record({"request": str(request.pk)}, target=("approval", str(request.pk), str(request)))
            notices.tell_requester(request, "Nobody decided in time.")
            ended += 1
    return ended


class _deciding:
    """The request locked inside an audited transaction; the event names its target."""

    def __init__(self, actor: Actor, request_id: UUID, action: str) -> None:
        self.actor, self.request_id = actor, request_id
        self.scope = audit.atomic(actor=actor, action=action, target=("approval", str(request_id), ""))

    def __enter__(self) -> tuple[ApprovalRequest, audit.atomic]:
        record = self.scope.__enter__()
        try:
            visible_request(self.actor, self.request_id)
            request = ApprovalRequest.objects.select_for_update().get(pk=self.request_id)
            record.about(target=("approval", str(request.pk), str(request)), ring_id=request.ring_id)
            if request.state != RequestState.PENDING.value:
                raise decided(request.state)
        except BaseException as error:
            self.scope.__exit__(type(error), error, error.__traceback__)
            raise
        return request, record

    def __exit__(self, *error: Any) -> None:
        self.scope.__exit__(*error)


def _may_decide(actor: Actor, request: ApprovalRequest) -> set[int]:
    """The groups in which `actor` counts here; raises what stands in the way."""
    _need_open(request)
    if actor.id == request.requester_id:
        raise SelfApproval("You asked for this; somebody else has to decide.")
    if actor.kind != "person" or actor.id is None:
        raise NotEligible("Only a person can decide, signed in.")
    _need_second_factor(actor)
    counting = groups_counting(actor.id, groups_of(request))
    if not counting:
        raise NotEligible("None of your roles counts for this request.")
    if request.decisions.filter(person_id=actor.id).exists():
        raise DecidedTwice("Your decision is counted already.")
    return counting


def _need_open(request: ApprovalRequest) -> None:
    if request.expires_at <= timezone.now():
        raise RequestExpired(f"It expired on {request.expires_at:%Y-%m-%d %H:%M} UTC.", hint="Ask again.")


def _need_second_factor(actor: Actor) -> None:
    if not actor.second_factor:
        raise SecondFactorNeeded(
            "This needs a session with a second factor.", hint="Sign out and in again, with your passkey or code."
        )


def _decide(
    actor: Actor,
    request: ApprovalRequest,
    verdict: str,
    reason: str,
    counting: set[int],
    evidence: dict[str, Any] | None = None,
) -> None:
    Decision.objects.create(
        request=request, requester_id=request.requester_id, person_id=identity(actor), person_label=actor.label[: registry.LABEL_LENGTH],
        groups=sorted(counting), verdict=verdict, reason=reason, act_hash=request.act_hash, signature=evidence,
    )  # fmt: skip


def _finish(request: ApprovalRequest, new: RequestState) -> None:
    request.state, request.decided_at = advance(request.state, new), timezone.now()
    request.save(update_fields=["state", "decided_at"])


def _perform_after_commit(request: ApprovalRequest) -> None:
    from keyvault_portal.approvals.tasks import execute_request

    enqueue_on_commit(execute_request, str(request.pk))
