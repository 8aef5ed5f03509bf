"""Planning a rollover and taking its steps: each agreed to by others, each held until its gate is met or forced with a reason."""

from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from certificates.csr import refused
from certificates.models import Authority, Certificate, Rollover
from certificates.rollover.gates import gate
from certificates.rollover.states import ROLLOVER_MOVES, STEPS, RolloverState
from certificates.services import authorities
from certificates.services.reading import chain_of, visible_authority
from certificates.states import AuthorityState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, WrongState
from keyvault_portal.visible import found, on_rings

STEP = "rollover.step"
R = RolloverState
_MOST_IN_LINE = 8
_RELATED = ("ring", "old__certificate", "new__certificate", "old__ring", "new__ring")


class GateNotMet(Conflict):
    code, title = "gate_not_met", "Somebody would be cut off"


def visible_rollovers(actor: Actor) -> QuerySet[Rollover]:
    """The rollovers on the rings where the actor may see certificates."""
    rows = Rollover.objects.select_related(*_RELATED)
    return on_rings(rows, actor.ring_ids(Permission.CERTIFICATE_VIEW))


def visible_rollover(actor: Actor, rollover_id: UUID) -> Rollover:
    """One rollover; raises NotFound when it does not exist or may not be seen: the two look alike."""
    return found(visible_rollovers(actor), rollover_id, "rollover")


def target_of(row: Rollover) -> tuple[str, object, str]:
    """How the record names a rollover."""
    return ("rollover", row.pk, str(row)[:200])


def plan_rollover(*, actor: Actor, old_id: UUID, new_id: UUID, reason: str) -> Rollover:
    """Plan the way from one authority to another; nothing changes yet.

    Raises PermissionRefused, NotFound, ValidationFailed, WrongState, Conflict (one is under way from the old one).
    """
    old, new = visible_authority(actor, old_id), visible_authority(actor, new_id)
    with audit.atomic(
        actor=actor, action="rollover.plan", target=authorities.target_of(old), ring_id=old.ring_id
    ) as act:
        for authority in (old, new):
            authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority}")
        if old.pk == new.pk:
            raise refused("new", "Another authority than the one that goes.")
        if not reason.strip():
            raise refused("reason", "Say why.")
        if old.state != AuthorityState.ACTIVE.value or old.certificate is None:
            raise WrongState(f"{old} is {old.state}: there is nothing to roll over.", state=old.state)
        row = Rollover(ring=old.ring, old=old, new=new, reason=reason.strip(), created_by=actor.label[:200])
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise Conflict(f"A rollover of {old} is under way.", hint="Finish or cancel it first.") from None
        act.record({"rollover": str(row.pk), "old": old.name, "new": new.name, "reason": row.reason})
    return row


def take_step(
    *, actor: Actor, rollover_id: UUID, to: str, reason: str, force: bool = False, approval_id: UUID | None = None
) -> Rollover:
    """Go to the next state, back from issuing by B, or cancel; others agree first.

    A step forward whose gate is not met is refused with the numbers; `force` takes it all the same, and then somebody
    else has to agree. Raises PermissionRefused, NotFound, WrongState, GateNotMet, ApprovalRequired.
    """
    with audit.atomic(actor=actor, action=STEP, target=("rollover", rollover_id, "")) as act:
        row = Rollover.objects.select_for_update(of=("self",)).select_related(*_RELATED).filter(pk=rollover_id).first()
        if row is None:
            raise NotFound("There is no such rollover.")
        act.about(target=target_of(row), ring_id=row.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=row.ring_id, target=f"rollover {row}")
        state, wanted = RolloverState(row.state), _state(to)
        check_step(row, wanted)
        if not reason.strip():
            raise refused("reason", "Say why, approvers read it.")
        faults = faults_of(row, wanted)
        if faults and not force:
            raise GateNotMet(
                " ".join(faults), hint="Wait, or force the step with a reason; others have to agree to that.", faults=faults
            )  # fmt: skip
        if faults and not approvals.officers_needed(actor, row.ring_id):
            raise GateNotMet(
                " ".join(faults), hint="Nobody forces a step alone, and there is no other security officer.", faults=faults
            )  # fmt: skip
        params = {"rollover_id": str(row.pk), "to": wanted.value, "reason": reason.strip(), "force": force}
        approvals.need_officers(actor, STEP, params, ring_id=row.ring_id, reason=reason, approval_id=approval_id)
        _switch_authorities(actor, row, state, wanted, reason)
        _enter(row, wanted)
        if faults:
            row.forced = [
                *row.forced,
                {"to": wanted.value, "by": actor.label[:200], "reason": reason.strip(), "faults": faults},
            ]
        row.save()
        act.record(
            {
                "from": state.value,
                "to": wanted.value,
                "forced": bool(faults),
                "faults": faults,
                "reason": reason.strip(),
            }
        )
    return row


def check_step(row: Rollover, to: RolloverState) -> None:
    """Raise WrongState unless that is a step from where the rollover is."""
    state = RolloverState(row.state)
    if to not in ROLLOVER_MOVES[state]:
        raise WrongState(f"The rollover is at {words(state)}: it cannot go to {words(to)}.", state=state.value)


def faults_of(row: Rollover, to: RolloverState) -> list[str]:
    """What stands against a step forward; nothing stands against going back or cancelling."""
    found = gate(row)
    return found.faults if found.to is to else []


def consequences(row: Rollover, to: RolloverState) -> list[str]:
    """What approvers of a step read: what happens, and whom it would break."""
    if to is R.CANCELLED:
        return [f"{row.old} goes on as before; relying parties may remove {row.new} again."]
    if to is R.TRUST_BOTH and row.state == R.ISSUE_B.value:
        return [f"{row.old} issues again, and {row.new} too."]
    found = gate(row)
    broken = [f"The gate is not met: {fault}" for fault in found.faults]
    return [*found.facts, *(broken or ["The gate is met: nobody who has reported is cut off."])]


def words(state: RolloverState) -> str:
    """A state in words."""
    return {
        R.TRUST_A: "trust A", R.TRUST_BOTH: "trust A and B", R.ISSUE_B: "issue from B", R.TRUST_B: "trust B", R.CANCELLED: "cancelled",
    }[state]  # fmt: skip


def bundle(row: Rollover) -> list[Certificate]:
    """What relying parties are to trust at this step, each authority with those above it."""
    state = RolloverState(row.state)
    trusted = {R.TRUST_B: [row.new], R.TRUST_BOTH: [row.old, row.new], R.ISSUE_B: [row.old, row.new]}.get(
        state, [row.old]
    )
    found: dict[UUID, Certificate] = {}
    for authority in trusted:
        if authority.certificate is not None:
            found |= {item.pk: item for item in (authority.certificate, *chain_of(authority.certificate))}
    return list(found.values())


def line_of(authority: Authority) -> list[Authority]:
    """It and those that took its place in rollovers, one after another; the last of them issues."""
    found = [authority]
    while len(found) < _MOST_IN_LINE and found[-1].state != AuthorityState.ACTIVE.value:
        rows = Rollover.objects.filter(old=found[-1], state__in=[R.ISSUE_B.value, R.TRUST_B.value])
        row = rows.select_related("new").order_by("-created_at").first()
        if row is None:
            break
        found.append(row.new)
    return found


def _state(text: str) -> RolloverState:
    if text not in set(RolloverState):
        raise refused("to", f"One of: {', '.join(RolloverState)}.")
    return RolloverState(text)


def _switch_authorities(actor: Actor, row: Rollover, state: RolloverState, to: RolloverState, reason: str) -> None:
    old = Authority.objects.get(pk=row.old_id)
    if to is R.ISSUE_B and old.state == AuthorityState.ACTIVE.value:
        authorities.retire_authority(actor=actor, authority_id=old.pk, reason=reason)
    if state is R.ISSUE_B and to is R.TRUST_BOTH and old.state == AuthorityState.RETIRED.value:
        authorities.resume_authority(actor=actor, authority_id=old.pk, reason=reason)


def _enter(row: Rollover, to: RolloverState) -> None:
    now = timezone.now()
    if to is R.TRUST_BOTH and row.trust_both_at is not None:
        row.issue_b_at = None
    elif to is R.CANCELLED:
        row.cancelled_at = now
    else:
        setattr(row, f"{to.value}_at", now)
    row.state = to.value


def as_steps(row: Rollover) -> list[dict[str, Any]]:
    """The four states for the page's stepper."""
    state = RolloverState(row.state)
    place = STEPS.index(state) if state in STEPS else (1 if row.trust_both_at else 0)
    done = state is R.TRUST_B
    said = []
    for number, step in enumerate(STEPS):
        began = getattr(row, f"{step.value}_at", None) or (row.created_at if step is R.TRUST_A else None)
        how = (
            "done" if number < place or done else "current" if number == place and state is not R.CANCELLED else "todo"
        )
        note = f"since {began:%-d %b %Y}" if began else ""
        said.append({"title": words(step)[0].upper() + words(step)[1:], "state": how, "note": note})
    return said
