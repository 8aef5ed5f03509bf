"""Rotations, their re-encryption jobs, the key ranges workers claim, and the items set aside."""

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone

from keys.models.keys import Key, KeyVersion
from keys.models.stores import DataStore
from keys.states import JobState, RotationState

ROTATION_STATES = [(s.value, s.value.replace("_", " ").capitalize()) for s in RotationState]
JOB_STATES = [(s.value, s.value.capitalize()) for s in JobState]
OPEN_ROTATIONS = [s.value for s in RotationState if s not in {RotationState.COMPLETED, RotationState.CANCELLED}]


class Rotation(models.Model):
    """One rotation of one key, from the introduction of the new version to the end of the old one."""

    class Trigger(models.TextChoices):
        ON_DEMAND = "on_demand", "On demand"
        SCHEDULED = "scheduled", "Scheduled by policy"
        USE_BUDGET = "use_budget", "Use budget"
        COMPROMISE = "compromise", "Compromise"
        MOVE = "move", "Moved to another provider"
        IMPORT = "import", "Brought from elsewhere"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="rotations")
    old_version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="rotations_from")
    new_version = models.ForeignKey(
        KeyVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="rotations_to"
    )
    trigger = models.CharField(max_length=20, choices=Trigger, default=Trigger.ON_DEMAND)
    reason = models.TextField(blank=True)
    state = models.CharField(max_length=20, choices=ROTATION_STATES, default=RotationState.INTRODUCING.value)
    approval_id = models.UUIDField(null=True, blank=True)
    decommission_approval_id = models.UUIDField(null=True, blank=True)
    requested_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    introduced_at = models.DateTimeField(null=True, blank=True)
    re_encrypted_at = models.DateTimeField(null=True, blank=True)
    decommissioned_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    sample_checked = models.PositiveIntegerField(null=True, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=[s.value for s in RotationState]), name="keys_rotation_state"
            ),
            models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(state__in=["introducing", "re_encrypting", "paused", "failed"]),
                name="keys_one_rotation_at_a_time",
            ),
            models.UniqueConstraint(
                fields=["old_version"], condition=models.Q(state__in=OPEN_ROTATIONS), name="keys_one_open_rotation_from"
            ),
        ]
        indexes = [models.Index(fields=["-created_at", "id"], name="keys_rotation_recent")]

    def __str__(self) -> str:
        return f"{self.key} from version {self.old_version.key_version}"

    @property
    def version_ids(self) -> tuple[int, int]:
        """The version being left and the one that follows; only once the new one is introduced."""
        assert self.new_version_id is not None
        return self.old_version_id, self.new_version_id


class ReEncryptionJob(models.Model):
    """Background work of one rotation on one store, or on the wrapped keys below the rotated one (`store` empty)."""

    class Mode(models.TextChoices):
        REWRAP_KEYS = "rewrap_keys", "Re-wrap the keys below"
        REWRAP_ENVELOPES = "rewrap_envelopes", "Re-wrap the data keys inside envelopes"
        RE_ENCRYPT = "re_encrypt", "Re-encrypt the data"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    rotation = models.ForeignKey(Rotation, on_delete=models.PROTECT, related_name="jobs")
    store = models.ForeignKey(DataStore, on_delete=models.PROTECT, null=True, blank=True, related_name="jobs")
    mode = models.CharField(max_length=20, choices=Mode)
    state = models.CharField(max_length=20, choices=JOB_STATES, default=JobState.PENDING.value)
    items_total = models.BigIntegerField(default=0)
    items_done = models.BigIntegerField(default=0)
    items_failed = models.BigIntegerField(default=0)
    items_changed_meanwhile = models.BigIntegerField(default=0)
    provider_calls = models.BigIntegerField(default=0)
    # Time in which items were moved: without pauses, waits of a throttle, and what lay between an end and a new begin.
    work_seconds = models.FloatField(default=0.0)
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    passes = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        db_table = "re_encryption_jobs"
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=[s.value for s in JobState]), name="keys_job_state"),
            models.UniqueConstraint(fields=["rotation", "store"], nulls_distinct=False, name="keys_job_once_a_store"),
        ]

    def __str__(self) -> str:
        return f"{self.get_mode_display()} {self.id}"

    @property
    def items_gone(self) -> int:
        """What was counted on the old version, stands there no more and is not written down as moved, once the job is done.

        A worker that died had moved it, or an application wrote it anew or deleted it.
        """
        done = self.state == JobState.DONE.value
        return max(0, self.items_total - self.items_done - self.items_failed) if done else 0


class ReEncryptionRange(models.Model):
    """A half-open range of primary keys that one worker at a time walks; `cursor` is the last key finished."""

    job = models.ForeignKey(ReEncryptionJob, on_delete=models.CASCADE, related_name="ranges")
    pass_number = models.PositiveSmallIntegerField(default=1)
    lower = models.TextField(null=True, blank=True)  # noqa: DJ001  null is "no bound", '' is a real text key
    upper = models.TextField(null=True, blank=True)  # noqa: DJ001
    cursor = models.TextField(null=True, blank=True)  # noqa: DJ001
    done = models.BooleanField(default=False)
    lease_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=100, blank=True)

    class Meta:
        indexes = [models.Index(fields=["job", "id"], condition=models.Q(done=False), name="keys_range_open")]

    def __str__(self) -> str:
        return f"[{self.lower}, {self.upper}) of {self.job_id}"


class FailedItem(models.Model):
    """A cell that could not be decrypted, or whose store refuses to have it written: set aside, never overwritten, and
    in the way of decommissioning until decided."""

    class Resolution(models.TextChoices):
        OPEN = "open", "Open"
        RECOVERED = "recovered", "Read after a retry"
        GIVEN_UP = "given_up", "Given up by decision"

    job = models.ForeignKey(ReEncryptionJob, on_delete=models.CASCADE, related_name="failed_items")
    store = models.ForeignKey(DataStore, on_delete=models.CASCADE, related_name="failed_items")
    item = models.TextField(help_text="Primary key of the row, as text.")
    column = models.CharField(max_length=63)
    reason = models.CharField(max_length=500, help_text="A word, or after `refused: ` what the store said.")
    seen_at = models.DateTimeField(default=timezone.now)
    resolution = models.CharField(max_length=20, choices=Resolution, default=Resolution.OPEN)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=200, blank=True)
    resolution_note = models.TextField(blank=True)

    REFUSED = "refused: "
    WORDS: ClassVar[dict[str, str]] = {
        "malformed": "not in the format of its store",
        "decrypt_failed": "does not decrypt: it was altered, or belongs to another row",
        "unknown_version": "names a version that the key does not have",
    }

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "item", "column"], name="keys_failed_item_once")]
        indexes = [models.Index(fields=["store", "resolution"], name="keys_failed_open")]

    def __str__(self) -> str:
        return f"{self.column} of {self.item}: {self.reason}"

    @classmethod
    def words_for(cls, reason: str) -> str:
        """A reason as people read it."""
        return cls.WORDS.get(reason, reason)

    @property
    def reason_in_words(self) -> str:
        """Why it was set aside."""
        return self.words_for(self.reason)
