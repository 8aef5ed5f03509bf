"""The switch and what follows it: the walk to the new version, or back to the old one, and the end of either."""

from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from keys.hierarchy import KeyKind
from keys.models import KeyPolicy, Move, Rotation
from keys.services import notices, two_places, versions
from keys.services.moving.frame import act_on_move, step, way
from keys.services.rotation import starting
from keys.services.rotation.frame import stop
from keys.states import MoveState, RotationState, VersionState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict

M, R = MoveState, RotationState
# Where a move stands, by the state of its walk; and one that is being undone, by that of the walk back.
FORTH = {
    R.RE_ENCRYPTING: M.RE_WRAPPING, R.PAUSED: M.PAUSED, R.FAILED: M.FAILED, R.RE_ENCRYPTED: M.RE_WRAPPED,
    R.DECOMMISSIONED: M.DROPPING, R.COMPLETED: M.COMPLETED,
}  # fmt: skip
BACK = {
    R.RE_ENCRYPTING: M.UNDOING, R.PAUSED: M.PAUSED, R.FAILED: M.FAILED, R.RE_ENCRYPTED: M.UNDONE,
    R.DECOMMISSIONED: M.UNDONE, R.COMPLETED: M.UNDONE,
}  # fmt: skip
_OVER_FORTH = frozenset({M.RE_WRAPPING, M.RE_WRAPPED, M.DROPPING, M.COMPLETED, M.PAUSED, M.FAILED})
_OVER_BACK = frozenset({M.UNDOING, M.UNDONE, M.PAUSED, M.FAILED})
PAGE = 500


def switch(actor: Actor, move: Move, compared: int) -> bool:
    """Let the new version protect from now on and the walk begin, if the move still stands where it was read."""
    with act_on_move(actor, Permission.KEY_MOVE, "move.switch", move.pk) as (row, act):
        old, new = row.old_version, row.new_version
        as_read = row.state == move.state and old.state is VersionState.ACTIVE and new.state is VersionState.PRE_ACTIVE
        if not as_read:
            return False
        key, now = row.key, timezone.now()
        new.key = old.key = key
        versions.make_active(new, key.policy, now=now)
        key.provider = row.target
        if row.with_material:
            # One material, one cryptoperiod and one count of uses.
            new.expires_at = key.next_rotation_at = old.expires_at
            new.uses_reserved += old.uses_reserved
            new.save(update_fields=["expires_at", "uses_reserved"])
        key.save(update_fields=["provider", "next_rotation_at"])
        old.refresh_from_db()
        rotation = starting.walk(
            actor, key, old, new, Rotation.Trigger.MOVE, row.reason, rate_limit=row.rate_limit, approval_id=row.approval_id
        )  # fmt: skip
        step(
            row, M.RE_WRAPPING, "switch", rotation=rotation, compared=compared, compared_at=now, switched_at=now, probes=[],
            attempts=0, next_try_at=None, last_error="",
        )  # fmt: skip
        details = {
            "from": old.key_version, "to": new.key_version, "at": row.target, "compared": compared, "rotation": str(rotation.pk),
        }  # fmt: skip
        act.record(details)
        act.record(details, target=("key", key.pk, f"{key.ring.name}/{key.name}"))
    follow(move.pk)
    return True


def switch_back(actor: Actor, move: Move) -> None:
    """Let the old version protect again and everything walk back to it; the caller holds the locks and records.

    Raises Conflict when the old version cannot take over any more.
    """
    key, policy, old, new = move.key, move.key.policy, move.old_version, move.new_version
    new.key = old.key = key
    _check_way_back(move, policy)
    assert move.rotation is not None
    forth = Rotation.objects.select_for_update().get(pk=move.rotation.pk)
    stop(forth)
    versions.make_active(old, policy, now=timezone.now(), again=True)
    new.refresh_from_db()
    key.provider = move.source
    key.save(update_fields=["provider"])
    old.re_encrypt_done = False
    if move.with_material:
        old.uses_reserved = max(old.uses_reserved, new.uses_reserved)
    old.save(update_fields=["re_encrypt_done", "uses_reserved"])
    move.rotation = starting.walk(
        actor, key, new, old, Rotation.Trigger.MOVE, move.undo_reason, rate_limit=move.rate_limit
    )
    move.save(update_fields=["rotation"])


def _check_way_back(move: Move, policy: KeyPolicy) -> None:
    old, new, key = move.old_version, move.new_version, move.key
    newest = key.versions.filter(key_version__gt=new.key_version).exclude(status=VersionState.DESTROYED.value)
    if newest.exists() or new.state not in {VersionState.ACTIVE, VersionState.COMPROMISED}:
        raise Conflict(
            f"{new} is {new.status.replace('_', ' ')}, or was followed by another version.",
            hint="Resume it; or move the key back by a move of its own.",
        )
    if old.state is not VersionState.DECRYPT_ONLY:
        raise Conflict(f"{old} is {old.status.replace('_', ' ')}: it cannot take over again.", hint="Resume it first.")
    if key.kind == KeyKind.TOKEN_SIGNING.value and not move.with_material and old.rotated_at is not None:
        forgotten_at = old.rotated_at + timedelta(hours=policy.token_lifetime_hours)
        if forgotten_at <= timezone.now():
            raise Conflict(
                "Verifiers do not know the old public key any more.",
                hint="Move the key back by a move of its own: it is published before it is used.",
            )


def follow_rotation(rotation_id: UUID) -> None:
    """Bring the move along whose walk this is, if there is one."""
    move_id = Move.objects.filter(rotation_id=rotation_id).values_list("pk", flat=True).first()
    if move_id is not None:
        follow(move_id)


def lagging() -> list[UUID]:
    """Moves under way whose walk may have gone on without them."""
    return list(Move.objects.filter(ended_at=None, rotation__isnull=False).values_list("pk", flat=True)[:100])


def follow(move_id: UUID) -> None:
    """Bring a move to where its walk is; safe to run at any time and twice."""
    seen = Move.objects.select_related("rotation").filter(pk=move_id, ended_at=None).first()
    if seen is None or seen.rotation is None or _goal(seen) in {None, seen.state}:
        return
    if _goal(seen) is M.COMPLETED:
        cut_copies(seen.new_version_id)
    actor = system_actor("key move", Permission.KEY_MOVE)
    with act_on_move(actor, Permission.KEY_MOVE, "move.follow", move_id) as (move, act):
        goal = _goal(move)
        if goal is None or goal.value == move.state:
            return
        assert move.rotation is not None
        before = move.state
        for state in way(M(move.state), goal, _OVER_BACK if _goes_back(move) else _OVER_FORTH):
            step(move, state, "follow its walk")
        move.last_error = move.rotation.last_error
        if goal is M.RE_WRAPPED:
            move.re_wrapped_at = timezone.now()
        move.save()
        act.record({"from": before, "rotation": str(move.rotation_id)}, action=f"move.{goal.value}",
                   outcome="failed" if goal is M.FAILED else "success")  # fmt: skip
        if goal is M.FAILED:
            notices.move_stopped(move, move.last_error)
        elif goal in {M.RE_WRAPPED, M.COMPLETED, M.UNDONE}:
            notices.move_came_to(move)


def _goes_back(move: Move) -> bool:
    return move.rotation is not None and move.rotation.new_version_id == move.old_version_id


def _goal(move: Move) -> MoveState | None:
    assert move.rotation is not None
    return (BACK if _goes_back(move) else FORTH).get(R(move.rotation.state))


def cut_copies(version_id: int) -> int:
    """Take the dead second copies off the keys that a version wraps here; no provider is called. Returns how many."""
    return _cut("encryption_keys", "wrapped_material", version_id) + _cut("data_keys", "wrapped", version_id)


def _cut(table: str, column: str, version_id: int) -> int:
    cut = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, {column} FROM {table} WHERE wrapped_by_id = %s AND substring({column} FOR %s) = %s LIMIT %s",  # noqa: S608
                [version_id, len(two_places.MAGIC), two_places.MAGIC, PAGE],
            )
            rows = [(pk, bytes(wrapped), two_places.split(bytes(wrapped))[0]) for pk, wrapped in cursor.fetchall()]
            if not rows:
                return cut
            cursor.executemany(
                f"UPDATE {table} SET {column} = %s WHERE id = %s AND {column} = %s",  # noqa: S608
                [(alone, pk, wrapped) for pk, wrapped, alone in rows],
            )
        cut += len(rows)
