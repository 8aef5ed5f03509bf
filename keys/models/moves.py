"""Moves of keys from one provider to another."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from keys.models.keys import Key, KeyVersion
from keys.models.rotations import Rotation
from keys.states import MoveState

M = MoveState
MOVE_STATES = [(s.value, s.value.replace("_", " ").capitalize()) for s in M]
OVER = [M.COMPLETED.value, M.UNDONE.value]
SWITCHED = [M.RE_WRAPPING.value, M.RE_WRAPPED.value, M.DROPPING.value, M.COMPLETED.value]
HELD = [M.PAUSED.value, M.FAILED.value]


class Move(models.Model):
    """One move of one key: its new version at the new place, and the walk that follows the switch, or that undoes it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="moves")
    source = models.SlugField(max_length=63)
    target = models.SlugField(max_length=63)
    with_material = models.BooleanField(default=False, help_text="The new version has the material of the old one.")
    old_version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="moves_from")
    new_version = models.OneToOneField(KeyVersion, on_delete=models.PROTECT, related_name="move")
    rotation = models.OneToOneField(Rotation, on_delete=models.PROTECT, null=True, blank=True, related_name="move")
    state = models.CharField(max_length=20, choices=MOVE_STATES, default=M.MAKING.value)
    held_from = models.CharField(max_length=20, blank=True, help_text="What it goes back to from paused or failed.")
    reason = models.TextField(blank=True)
    undo_reason = models.TextField(blank=True)
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    approval_id = models.UUIDField(null=True, blank=True)
    requested_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    made_at = models.DateTimeField(null=True, blank=True)
    # Values wrapped at both places: the context, and both ciphertexts in base64. Gone after the switch.
    probes = models.JSONField(default=list, blank=True, editable=False)
    wrapped_at = models.DateTimeField(null=True, blank=True)
    compared = models.PositiveIntegerField(default=0, help_text="Values read back at both places.")
    compared_at = models.DateTimeField(null=True, blank=True)
    switched_at = models.DateTimeField(null=True, blank=True)
    re_wrapped_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Tries of the step at hand.")
    next_try_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        db_table = "key_moves"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in M]), name="keys_move_state"),
            models.CheckConstraint(condition=~Q(source=F("target")), name="keys_move_goes_somewhere"),
            models.UniqueConstraint(fields=["key"], condition=~Q(state__in=OVER), name="keys_one_move_at_a_time"),
            models.CheckConstraint(
                condition=Q(state__in=HELD) & ~Q(held_from="") | ~Q(state__in=HELD) & Q(held_from=""),
                name="keys_move_held_from",
            ),
            # Nothing is switched that was not read back and compared.
            models.CheckConstraint(
                condition=Q(switched_at=None) | Q(compared_at__isnull=False, compared__gte=1),
                name="keys_move_compared_before_switch",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=SWITCHED) | Q(switched_at__isnull=False, rotation__isnull=False),
                name="keys_move_switched",
            ),
            models.CheckConstraint(
                condition=Q(state__in=OVER, ended_at__isnull=False) | ~Q(state__in=OVER) & Q(ended_at=None),
                name="keys_move_ended",
            ),
        ]
        indexes = [models.Index(fields=["-created_at", "id"], name="keys_move_recent")]

    def __str__(self) -> str:
        return f"{self.key}: {self.source} to {self.target}"
