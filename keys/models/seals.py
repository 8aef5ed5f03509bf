"""How the root that wraps the portal's own key material is sealed; a portal may have more than one way, for the day one is lost."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from keys.models.keys import Key, KeyVersion
from keys.states import SealStanding

OPENING = [SealStanding.IN_USE.value, SealStanding.LOST.value]  # what is tried when the portal has to be opened


class RootSeal(models.Model):
    """One sealed copy of the root. What opens it lies elsewhere: in a file, with a provider, or with custodians.

    Under a provider's key, `version` is the version it is wrapped under; provider, handle and algorithm are kept as they
    were then, because the root has to open whatever becomes of the rows of the inventory.
    """

    class Kind(models.TextChoices):
        FILE = "file", "Key file"
        PROVIDER = "provider", "Key provider"
        SHARES = "shares", "Shares of custodians"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    name = models.CharField(max_length=150)
    state = models.CharField(
        max_length=20, choices=[(s.value, s.value.replace("_", " ").capitalize()) for s in SealStanding],
        default=SealStanding.IN_USE.value,
    )  # fmt: skip
    key = models.ForeignKey(Key, on_delete=models.PROTECT, null=True, blank=True, related_name="root_seals")
    version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="root_seals")
    provider = models.SlugField(max_length=63, blank=True)
    handle = models.TextField(blank=True, editable=False)
    algorithm = models.CharField(max_length=50, blank=True)
    wrapped = models.BinaryField(null=True, blank=True, editable=False)
    check_value = models.BinaryField(editable=False)
    identifier = models.PositiveIntegerField(null=True, blank=True, help_text="Of the set of shares (SLIP-39).")
    threshold = models.PositiveSmallIntegerField(null=True, blank=True)
    shares = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=200)
    created_by_id = models.UUIDField(
        null=True, blank=True, editable=False, help_text="The one to whom shares are shown."
    )
    approval_id = models.UUIDField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_by = models.CharField(max_length=200, blank=True)
    revision = models.PositiveIntegerField(default=1, help_text="An effect that began under an older one is void.")
    wrapped_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Tries in a row that did not succeed.")
    last_error = models.TextField(blank=True)
    next_try_at = models.DateTimeField(default=timezone.now, help_text="When it is wrapped or checked next.")

    class Meta:
        db_table = "root_seals"
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=Q(kind__in=["file", "shares"], retired_at=None), name="keys_one_seal_of_a_kind"
            ),
            models.UniqueConstraint(
                fields=["key"], condition=Q(kind="provider", retired_at=None), name="keys_one_seal_of_a_key"
            ),
            models.CheckConstraint(
                condition=~Q(kind="shares") | Q(threshold__gte=2, shares__gte=F("threshold")), name="keys_seal_threshold"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=OPENING) | Q(kind="file") | ~Q(wrapped=None), name="keys_seal_has_root"
            ),
            models.CheckConstraint(condition=Q(state__in=[s.value for s in SealStanding]), name="keys_seal_state"),
            models.CheckConstraint(
                condition=Q(state="retired", retired_at__isnull=False) | (~Q(state="retired") & Q(retired_at=None)),
                name="keys_seal_retired",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.name

    @property
    def waits_for_shares(self) -> bool:
        """Agreed to, and its shares are not made yet."""
        return self.kind == self.Kind.SHARES.value and self.state == SealStanding.PREPARING.value

    @property
    def shown_state(self) -> str:
        """What the pages say of it."""
        return "waits_for_shares" if self.waits_for_shares else self.state


class SealState(models.Model):
    """One row: whether somebody sealed the portal on purpose; then nothing opens it by itself."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sealed_at = models.DateTimeField(null=True, blank=True)
    sealed_by = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "seal_state"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="keys_one_seal_state")]

    def __str__(self) -> str:
        return "sealed" if self.sealed_at else "open"


class KeyholderSight(models.Model):
    """What one keyholder last said of itself: which machines hold the root, and which are still sealed."""

    machine = models.CharField(max_length=255)
    socket = models.CharField(max_length=255)
    sealed = models.BooleanField()
    detail = models.TextField(blank=True, help_text="Why it does not open by itself.")
    since = models.DateTimeField(help_text="When it was sealed or opened.")
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "keyholders"
        constraints = [models.UniqueConstraint(fields=["machine", "socket"], name="keys_one_sight_a_keyholder")]

    def __str__(self) -> str:
        return f"{self.machine}: {'sealed' if self.sealed else 'open'}"
