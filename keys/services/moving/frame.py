"""The frame of every act on a move: its key locked, then itself; states changed by the one table."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.utils import timezone

from keys.models import Move
from keys.services.acts import act_on_key
from keys.states import MOVE_MOVES, MoveState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, WrongState
from keyvault_portal.jobs import enqueue_on_commit

HELD = {MoveState.PAUSED, MoveState.FAILED}
ALL_OF_IT = ("key__ring", "key__policy", "old_version__key", "new_version__key", "new_version__moved_from", "rotation")


def target_of(move: Move) -> tuple[str, object, str]:
    """How the record names a move."""
    return ("move", move.pk, str(move))


@contextmanager
def act_on_move(
    actor: Actor, permission: Permission, action: str, move_id: UUID
) -> Iterator[tuple[Move, audit.atomic]]:
    """Open the transaction of one act on a move; raises NotFound and PermissionRefused."""
    with audit.atomic(actor=actor, action=action, target=("move", move_id, "")):
        key_id = Move.objects.filter(pk=move_id).values_list("key_id", flat=True).first()
        if key_id is None:
            raise NotFound("There is no such move.")
        with act_on_key(actor, permission, action, key_id) as (_, act):
            move = Move.objects.select_for_update(of=("self",)).select_related(*ALL_OF_IT).get(pk=move_id)
            act.about(target=target_of(move))
            yield move, act


def step(move: Move, new: MoveState, act: str, **changes: Any) -> None:
    """Set the state if the table lets it, with whatever else changes, and save; raises WrongState."""
    old = MoveState(move.state)
    if not may_move(MOVE_MOVES, old, new):
        raise WrongState(f"This move is {move.state.replace('_', ' ')}: you cannot {act} it.", state=move.state)
    move.held_from = old.value if new in HELD else ""
    move.state = new.value
    if not MOVE_MOVES[new]:
        move.ended_at = timezone.now()
    for name, value in changes.items():
        setattr(move, name, value)
    move.save()


def way(old: MoveState, new: MoveState, over: frozenset[MoveState]) -> list[MoveState]:
    """The shortest way from one state to another by the table, over these states only; the states after `old`."""
    todo, seen = deque([(old, [])]), {old}  # type: ignore[var-annotated]
    while todo:
        state, path = todo.popleft()
        if state is new:
            return path
        for following in sorted(MOVE_MOVES[state] & over - seen):
            seen.add(following)
            todo.append((following, [*path, following]))
    raise WrongState(f"A move that is {old.value.replace('_', ' ')} does not become {new.value.replace('_', ' ')}.")


def send(move_id: UUID) -> None:
    """Send a move to a worker after commit."""
    from keys.move_tasks import move_step

    enqueue_on_commit(move_step, str(move_id))
