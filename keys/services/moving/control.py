"""A move under control: pause, resume, throttle, undo; drop the old version, or keep it after all."""

from uuid import UUID

from keys.models import Move, ProviderIntent
from keys.services import policies, rotation
from keys.services.moving import switching
from keys.services.moving.frame import act_on_move, send, step
from keys.services.providers import intents
from keys.services.rotation.frame import check_rate
from keys.states import MoveState, RotationState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed, WrongState

M, R = MoveState, RotationState
_CONTROL = Permission.ROTATION_CONTROL


def pause_move(*, actor: Actor, move_id: UUID) -> Move:
    """Stop before the next step, or the walk after the page it is on; raises PermissionRefused, NotFound, WrongState."""
    with act_on_move(actor, _CONTROL, "move.pause", move_id) as (move, act):
        walk = move.rotation
        step(move, M.PAUSED, "pause", next_try_at=None)
        if walk is not None:
            rotation.pause(actor=actor, rotation_id=walk.pk)
        act.record({"from": move.held_from})
    return move


def resume_move(*, actor: Actor, move_id: UUID) -> Move:
    """Go on where it was paused or where it stopped; raises PermissionRefused, NotFound, WrongState, Conflict."""
    with act_on_move(actor, _CONTROL, "move.resume", move_id) as (move, act):
        if not move.held_from:
            raise WrongState("Only a move that is paused or has stopped can be resumed.", state=move.state)
        before = move.state
        if move.rotation is not None:
            stopped = move.rotation.state == R.FAILED.value
            (rotation.retry_failed if stopped else rotation.resume)(actor=actor, rotation_id=move.rotation.pk)
        else:
            _try_making_again(actor, move)
        step(move, M(move.held_from), "resume", attempts=0, next_try_at=None, last_error="")
        send(move.pk)
        act.record({"from": before, "to": move.state})
    return move


def _try_making_again(actor: Actor, move: Move) -> None:
    failed = ProviderIntent.objects.filter(version=move.new_version, act__in=intents.MAKING, state="failed").first()
    if failed is not None and move.held_from == M.MAKING.value:
        intents.retry_intent(actor=actor, intent_id=failed.pk)


def throttle_move(*, actor: Actor, move_id: UUID, rate_limit: int | None) -> Move:
    """Set how many items a second its walk may move in each store (None: no limit), now or when it begins."""
    with act_on_move(actor, _CONTROL, "move.throttle", move_id) as (move, act):
        check_rate(rate_limit)
        move.rate_limit = rate_limit
        move.save(update_fields=["rate_limit"])
        if move.rotation is not None:
            rotation.throttle(actor=actor, rotation_id=move.rotation.pk, rate_limit=rate_limit)
        act.record({"rate_limit": rate_limit})
    return move


def undo_move(*, actor: Actor, move_id: UUID, reason: str) -> Move:
    """Go back to the old place: at once before the switch; after it everything walks back, from whichever copy opens.

    Needs no agreement, because nothing is lost by it and the key ends where those who agreed had it before. Raises
    PermissionRefused, NotFound, ValidationFailed (no reason), WrongState, Conflict (the old version cannot take over).
    """
    with act_on_move(actor, Permission.KEY_MOVE, "move.undo", move_id) as (move, act):
        policies.require_role(actor, move.key, move.key.policy.destroy_roles, "move")
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        if move.held_from == M.UNDOING.value:
            raise WrongState("This move is being undone already.", hint="Resume it.", state=move.state)
        hint = "Keep the old version first." if move.state == M.DROPPING.value else ""
        before = move.state
        try:
            step(move, M.UNDOING, "undo", undo_reason=reason.strip(), attempts=0, next_try_at=None, last_error="")
        except WrongState as error:
            raise WrongState(error.detail, hint=hint, state=before) from None
        if move.switched_at is not None:
            switching.switch_back(actor, move)
        else:
            send(move.pk)
        act.record({"from": before, "reason": move.undo_reason, "switched": move.switched_at is not None})
    switching.follow(move_id)
    return move


def drop_old(*, actor: Actor, move_id: UUID, reason: str) -> Move:
    """Let the old version wait out its grace period: by agreement, and only at a census of zero.

    Raises as `rotation.request_decommission` does, which it is.
    """
    rotation.request_decommission(
        actor=actor, rotation_id=_walk(actor, "move.drop", move_id, M.RE_WRAPPED), reason=reason
    )
    return _followed(move_id)


def keep_old(*, actor: Actor, move_id: UUID, reason: str) -> Move:
    """Take the old version back from its grace period, so that the move can be undone again."""
    rotation.cancel_decommission(actor=actor, rotation_id=_walk(actor, "move.keep", move_id, M.DROPPING), reason=reason)
    return _followed(move_id)


def _walk(actor: Actor, action: str, move_id: UUID, state: MoveState) -> UUID:
    """The walk of a move in this state, for an actor who may end it; raises PermissionRefused, NotFound, WrongState."""
    with act_on_move(actor, Permission.KEY_DESTROY, action, move_id) as (move, _):
        if move.rotation_id is None or move.state != state.value:
            raise WrongState(f"This move is {move.state.replace('_', ' ')}.", state=move.state)
        return move.rotation_id


def _followed(move_id: UUID) -> Move:
    switching.follow(move_id)
    return Move.objects.get(pk=move_id)
