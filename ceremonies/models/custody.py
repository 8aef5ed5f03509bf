"""The custody register: sets of shares, who holds each, where it is, and who had access to it."""

import uuid

from django.db import models
from django.utils import timezone

from ceremonies.models.ceremonies import Ceremony
from ceremonies.offline import set_name
from ceremonies.quorums import Quorum, ShareGroup
from ceremonies.script import Kind
from ceremonies.shamir import SetRecord
from ceremonies.states import GenerationState, ShareState
from keys.models import Key, RootSeal
from keyvault_portal.accounts.models import Person

GENERATION_STATES = [(state.value, state.value.capitalize()) for state in GenerationState]
SHARE_STATES = [(state.value, state.value.capitalize()) for state in ShareState]


class ShareGeneration(models.Model):
    """One set of shares of one key's escrow key, and the package they open. Nothing here opens anything."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ceremony = models.OneToOneField(Ceremony, on_delete=models.PROTECT, related_name="generation")
    key = models.ForeignKey(Key, on_delete=models.PROTECT, null=True, blank=True, related_name="share_generations")
    practice = models.BooleanField(default=False)
    seal_id = models.UUIDField(
        null=True, blank=True, help_text="The seal of the portal that its shares open; then there is no package."
    )
    number = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=10, choices=GENERATION_STATES, default=GenerationState.DEALING.value)
    set_id = models.PositiveIntegerField(help_text="The identifier that each share carries (SLIP-39: 15 bits).")
    threshold = models.PositiveSmallIntegerField()
    share_count = models.PositiveSmallIntegerField()
    with_passphrase = models.BooleanField(default=False)
    key_version = models.PositiveIntegerField(null=True, blank=True)
    check_value = models.CharField(
        max_length=64, help_text="Of the master key: tells whether a recovered one is the right one."
    )
    record = models.JSONField(help_text="The set's public record with its commitments: ceremonies.shamir.SetRecord.")
    package = models.BinaryField(default=b"", help_text="The offline package: the wrapped master key and its manifest.")
    package_sha256 = models.CharField(max_length=64, blank=True)
    package_bag = models.CharField(max_length=50, blank=True)
    package_place = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    activated_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=[s.value for s in GenerationState]), name="ceremonies_generation_state"
            ),
            models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(state="active", practice=False),
                name="ceremonies_one_active_generation",
            ),
            models.UniqueConstraint(
                fields=["key", "number"], condition=models.Q(practice=False), name="ceremonies_generation_number"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="dead") | ~models.Q(end_reason=""), name="ceremonies_dead_says_why"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="active")
                | (
                    (~models.Q(package_bag="") | models.Q(seal_id__isnull=False)) & models.Q(activated_at__isnull=False)
                ),
                name="ceremonies_active_package_is_stored",
            ),
            models.UniqueConstraint(
                models.F("state"),
                condition=models.Q(state="active", seal_id__isnull=False),
                name="ceremonies_one_set_of_the_seal",
            ),
        ]
        indexes = [models.Index(fields=["-created_at", "id"], name="ceremonies_generation_recent")]

    def __str__(self) -> str:
        return f"Set {self.set_name}, generation {self.number}"

    @property
    def set_name(self) -> str:
        """The set's identifier as people read it."""
        return set_name(self.set_id)

    @property
    def public_record(self) -> SetRecord:
        return SetRecord.from_json(self.record)

    @property
    def opens(self) -> str:
        """What its shares open together, in words."""
        if self.ceremony.kind == Kind.REKEY:
            return "the seal of the portal"
        return f"the escrow of {self.key or 'a throw-away key'}"

    @property
    def about(self) -> str:
        """What it is listed under."""
        return "Seal of the portal" if self.seal_id else str(self.key or "Throw-away key")

    @property
    def brought(self) -> "models.QuerySet[Share]":
        """The shares that can be handed in: those held, or of a set that ended in a recovery all that were in its custodians' hands."""
        state = ShareState.DEAD if self.state == GenerationState.DEAD else ShareState.HELD
        return self.shares.filter(state=state.value, confirmed_at__isnull=False)

    @property
    def quorum(self) -> Quorum:
        """Which of its shares open the package together; the names of groups are the ceremony's."""
        if self.ceremony.groups:
            return self.ceremony.quorum
        return Quorum.single(self.threshold, self.share_count)


class Share(models.Model):
    """One share: its commitment and its whereabouts, never its words."""

    generation = models.ForeignKey(ShareGeneration, on_delete=models.CASCADE, related_name="shares")
    index = models.PositiveSmallIntegerField(help_text="From 1.")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, blank=True, related_name="shares_held")
    custodian = models.CharField(max_length=150)
    email = models.EmailField(max_length=254)
    site = models.CharField(max_length=100, blank=True)
    custodian_id = models.CharField(max_length=64, help_text="By which the ceremony process knew the custodian.")
    check_value = models.CharField(
        max_length=16, help_text="The beginning of the commitment; it is printed on the card."
    )
    sealed_to = models.CharField(
        max_length=100, blank=True, help_text="The custodian's own public key that it was given out under: kind and SHA-256."
    )  # fmt: skip
    positions = models.JSONField(default=list, help_text="Which words, counted from 1, are to be typed back.")
    state = models.CharField(max_length=10, choices=SHARE_STATES, default=ShareState.DEALT.value)
    bag = models.CharField(max_length=50, blank=True)
    place = models.CharField(max_length=200, blank=True)
    shown_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    proved_at = models.DateTimeField(null=True, blank=True)
    missed_at = models.DateTimeField(null=True, blank=True, help_text="A roll-call after which it counts as missing.")
    acknowledged_at = models.DateTimeField(
        null=True, blank=True, help_text="Duty as custodian, signed yearly (PCI DSS 3.7.8)."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["generation", "index"], name="ceremonies_share_index"),
            models.UniqueConstraint(fields=["generation", "email"], name="ceremonies_share_one_each"),
            models.CheckConstraint(
                condition=models.Q(state__in=[s.value for s in ShareState]), name="ceremonies_share_state"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="held") | (models.Q(confirmed_at__isnull=False) & ~models.Q(bag="")),
                name="ceremonies_held_in_a_bag",
            ),
        ]
        ordering = ["index"]

    def __str__(self) -> str:
        return f"Share {self.index} of {self.custodian}"

    @property
    def group(self) -> ShareGroup | None:
        """The group it counts in, where people gave the set several."""
        quorum = self.generation.quorum
        return quorum.group_of(self.index) if quorum.named else None


class CustodyEntry(models.Model):
    """One line of the custody log of a share or, without one, of the package."""

    class What(models.TextChoices):
        SEALED = "sealed", "Sealed"
        ACCESSED = "accessed", "Accessed"
        MOVED = "moved", "Moved"
        ACKNOWLEDGED = "acknowledged", "Duty acknowledged"
        LOST = "lost", "Reported lost"
        LEAVING = "leaving", "Custodian leaving"
        PROVED = "proved", "Proved"
        MISSED = "missed", "Not proved"
        DESTROYED = "destroyed", "Destroyed"
        ACCEPTED = "accepted", "Remaining risk accepted"

    generation = models.ForeignKey(ShareGeneration, on_delete=models.CASCADE, related_name="log")
    share = models.ForeignKey(Share, on_delete=models.CASCADE, null=True, blank=True, related_name="log")
    what = models.CharField(max_length=15, choices=What)
    at = models.DateTimeField(default=timezone.now)
    bag = models.CharField(max_length=50, blank=True)
    place = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    by = models.CharField(max_length=200)

    class Meta:
        ordering = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_what_display()} by {self.by}"


class SealCustodian(models.Model):
    """Who has a share of a seal of the portal that was made without a ceremony, as an officer wrote it down; nobody has proved it."""

    seal = models.ForeignKey(RootSeal, on_delete=models.PROTECT, related_name="custodians")
    number = models.PositiveSmallIntegerField(help_text="From 1.")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, blank=True, related_name="seal_shares_held")
    custodian = models.CharField(max_length=150)
    bag = models.CharField(max_length=50, blank=True)
    place = models.CharField(max_length=200, blank=True)
    noted_at = models.DateTimeField(default=timezone.now)
    noted_by = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["seal", "number"], name="ceremonies_one_custodian_a_seal_share")]
        ordering = ["number"]

    def __str__(self) -> str:
        return f"Share {self.number} of {self.custodian}"
