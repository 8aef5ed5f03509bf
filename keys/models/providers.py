"""Key providers as they are registered, the work to be done at them, and where they and the inventory disagree."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from keys.models.keys import KeyVersion
from keys.models.stores import SealedValue
from keys.states import IntentState

INTENT_STATES = [(s.value, s.value.capitalize()) for s in IntentState]
OPEN_INTENTS = [s.value for s in (IntentState.QUEUED, IntentState.CALLING, IntentState.WAITING)]


class KeyProvider(models.Model):
    """A place where keys live, by its alias; which class serves its kind is the program's business."""

    class State(models.TextChoices):
        ENABLED = "enabled", "Enabled"
        DISABLED = "disabled", "Disabled"

    alias = models.SlugField(max_length=63, unique=True)
    kind = models.SlugField(max_length=30)
    title = models.CharField(max_length=150)
    settings = models.JSONField(default=dict, blank=True, help_text="Without secrets: those are sealed.")
    sealed_settings = models.ForeignKey(
        SealedValue, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    region = models.CharField(max_length=63, blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.ENABLED)
    calls_per_second = models.PositiveIntegerField(
        null=True, blank=True, help_text="For background work, over all workers; empty: the default of its kind."
    )
    revision = models.PositiveIntegerField(default=1, help_text="Rises with every change that processes must see.")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)
    last_check_at = models.DateTimeField(null=True, blank=True)
    last_check_ms = models.PositiveIntegerField(null=True, blank=True)
    last_identity = models.CharField(max_length=500, blank=True)
    last_error = models.TextField(blank=True)
    compared_at = models.DateTimeField(null=True, blank=True)
    on_replica = models.BooleanField(default=False, help_text="Its first region does not answer, and a replica serves.")
    alarmed_at = models.DateTimeField(
        null=True, blank=True, help_text="When officers were told that it fails; they are told again when that is over."
    )

    class Meta:
        db_table = "key_providers"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["enabled", "disabled"]), name="keys_provider_state"),
            models.CheckConstraint(condition=~Q(alias="local"), name="keys_provider_not_local"),
        ]

    def __str__(self) -> str:
        return self.title or self.alias

    @property
    def shown_state(self) -> str:
        """What the pages say of it."""
        if self.state == self.State.DISABLED:
            return "disabled"
        if self.last_check_at is None:
            return "not_tested"
        if self.on_replica and not self.last_error:
            return "on_replica"
        return "unreachable" if self.last_error else "reachable"


class ProviderRegion(models.Model):
    """How one of a provider's several regions answered when it was last asked."""

    provider = models.ForeignKey(KeyProvider, on_delete=models.CASCADE, related_name="regions")
    name = models.CharField(max_length=63)
    primary = models.BooleanField()
    milliseconds = models.PositiveIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "provider_regions"
        constraints = [models.UniqueConstraint(fields=["provider", "name"], name="keys_one_row_a_region")]

    def __str__(self) -> str:
        return self.name


class KeyReplica(models.Model):
    """The copy of a key version in another region, as the last comparison found it; "missing" where there is none."""

    MISSING = "missing"

    version = models.ForeignKey(KeyVersion, on_delete=models.CASCADE, related_name="replicas")
    region = models.CharField(max_length=63)
    state = models.CharField(max_length=20)
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "key_replicas"
        constraints = [models.UniqueConstraint(fields=["version", "region"], name="keys_one_replica_a_region")]

    def __str__(self) -> str:
        return f"{self.version} in {self.region}: {self.state}"


class ProviderIntent(models.Model):
    """One effect at a provider, written in the transaction that decided it; its id is what makes the effect happen once."""

    class Act(models.TextChoices):
        CREATE = "create", "Create the key"
        IMPORT = "import", "Import the key"
        DISABLE = "disable", "Disable"
        ENABLE = "enable", "Enable"
        SCHEDULE_DELETION = "schedule_deletion", "Schedule the deletion"
        CANCEL_DELETION = "cancel_deletion", "Cancel the deletion"
        DESTROY = "destroy", "Destroy"
        RESTORE_METADATA = "restore_metadata", "Put policy and tags back"
        SET_ROTATION = "set_rotation", "Set the provider's own rotation"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="intents")
    act = models.CharField(max_length=20, choices=Act)
    state = models.CharField(max_length=20, choices=INTENT_STATES, default=IntentState.QUEUED.value)
    params = models.JSONField(default=dict, blank=True, help_text="What follows from it; never a secret.")
    sealed_material = models.ForeignKey(
        SealedValue, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    requested_by = models.CharField(max_length=200)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, help_text="Who is calling; an answer under an older lease is void.")
    lease_until = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "provider_intents"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in IntentState]), name="keys_intent_state"),
            models.CheckConstraint(
                condition=Q(
                    act__in=["create", "import", "disable", "enable", "schedule_deletion", "cancel_deletion", "destroy",
                             "restore_metadata", "set_rotation"]
                ),
                name="keys_intent_act",
            ),
            models.CheckConstraint(
                condition=Q(state="calling", lease__isnull=False, lease_until__isnull=False)
                | (~Q(state="calling") & Q(lease=None, lease_until=None)),
                name="keys_intent_lease_while_calling",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["done", "failed"], finished_at__isnull=False)
                | (~Q(state__in=["done", "failed"]) & Q(finished_at=None)),
                name="keys_intent_finished",
            ),
            models.CheckConstraint(
                condition=~Q(state="waiting") | Q(next_try_at__isnull=False), name="keys_intent_waits_until"
            ),
            models.UniqueConstraint(
                fields=["version"], condition=Q(act__in=["create", "import"]), name="keys_version_is_made_once"
            ),
            models.UniqueConstraint(
                fields=["version"], condition=Q(act="destroy") & ~Q(state="failed"), name="keys_version_is_destroyed_once"
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["version", "created_at"], name="keys_intent_version"),
            models.Index(
                fields=["next_try_at"], condition=~Q(state__in=["done", "failed"]), name="keys_intent_open"
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.get_act_display()}: {self.version}"


class AcceptedMetadata(models.Model):
    """The policy, attributes and tags of a key at its provider as they were last accepted: first seen, or by a person."""

    provider = models.ForeignKey(KeyProvider, on_delete=models.CASCADE, related_name="accepted_metadata")
    owner = models.CharField(
        max_length=500, help_text="What they belong to there: one version, or a key with all of them."
    )
    document = models.JSONField()
    sha256 = models.CharField(max_length=64, help_text="Of the canonical form of the document.")
    accepted_at = models.DateTimeField(default=timezone.now)
    accepted_by = models.CharField(max_length=200, help_text="Empty: as the first comparison found them.", blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "accepted_metadata"
        constraints = [
            models.UniqueConstraint(fields=["provider", "owner"], name="keys_metadata_once"),
            models.CheckConstraint(condition=Q(sha256__regex="^[0-9a-f]{64}$"), name="keys_metadata_digest"),
            models.CheckConstraint(
                condition=Q(accepted_by="") | ~Q(reason=""), name="keys_metadata_accepted_with_reason"
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.owner}: {self.sha256[:8]}"


class ProviderFinding(models.Model):
    """One difference between what a provider really has and what the inventory says; found again, it is the same row."""

    class Kind(models.TextChoices):
        UNKNOWN_KEY = "unknown_key", "Key unknown to the portal"
        MISSING_KEY = "missing_key", "Key missing at the provider"
        STATE_DRIFT = "state_drift", "State differs"
        ROTATION_DRIFT = "rotation_drift", "The provider's own rotation differs"
        TAGS_DRIFT = "tags_drift", "Tags differ"
        REPLICA_DRIFT = "replica_drift", "Copies differ"
        METADATA_DRIFT = "metadata_drift", "Policy or tags differ"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        IGNORED = "ignored", "Ignored"
        RESOLVED = "resolved", "Resolved"

    provider = models.ForeignKey(KeyProvider, on_delete=models.PROTECT, related_name="findings")
    kind = models.CharField(max_length=20, choices=Kind)
    opaque = models.CharField(max_length=500, help_text="The provider's own name of the key version.")
    version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="findings")
    detail = models.TextField()
    facts = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.OPEN)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "provider_findings"
        constraints = [
            models.UniqueConstraint(fields=["provider", "kind", "opaque"], name="keys_finding_once"),
            models.CheckConstraint(
                condition=Q(state__in=["open", "ignored", "resolved"]), name="keys_finding_state"
            ),
            models.CheckConstraint(
                condition=~Q(state="ignored") | ~Q(reason=""), name="keys_finding_ignored_with_reason"
            ),
            models.CheckConstraint(condition=Q(last_seen_at__gte=F("first_seen_at")), name="keys_finding_seen"),
        ]  # fmt: skip
        indexes = [models.Index(fields=["provider", "state", "id"], name="keys_finding_provider")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.opaque}"
