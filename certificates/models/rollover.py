"""Rollovers of authorities, and what relying parties say that they trust."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from certificates.models.authorities import Authority
from certificates.rollover.states import OPEN, RolloverState
from keyvault_portal.accounts.models import KeyRing


class RelyingParty(models.Model):
    """Something that trusts authorities of a ring, and the SHA-256 fingerprints in the bundle it last reported."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="relying_parties")
    name = models.CharField(max_length=100)
    fingerprints = ArrayField(models.CharField(max_length=64), default=list)
    reported_at = models.DateTimeField()
    reported_by = models.CharField(max_length=200)
    removed_at = models.DateTimeField(null=True, blank=True, help_text="When somebody said that it is gone.")

    class Meta:
        verbose_name_plural = "relying parties"
        constraints = [models.UniqueConstraint(fields=["ring", "name"], name="pki_party_in_ring")]

    def __str__(self) -> str:
        return self.name


class Rollover(models.Model):
    """From authority `old` to authority `new`, step by step; each moment says when its state began."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="rollovers")
    old = models.ForeignKey(Authority, on_delete=models.PROTECT, related_name="rollovers_from")
    new = models.ForeignKey(Authority, on_delete=models.PROTECT, related_name="rollovers_to")
    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in RolloverState], default=RolloverState.TRUST_A.value
    )
    trust_both_at = models.DateTimeField(null=True, blank=True)
    issue_b_at = models.DateTimeField(null=True, blank=True)
    trust_b_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    forced = models.JSONField(default=list, help_text="Steps taken although their gate was not met, with the reason.")
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(old=F("new")), name="pki_rollover_two_authorities"),
            models.UniqueConstraint(fields=["old"], condition=Q(state__in=OPEN), name="pki_one_rollover_of_old"),
            # No step is skipped: each state has the moments of those before it, and none of those after.
            models.CheckConstraint(
                condition=Q(state="trust_a", trust_both_at=None, issue_b_at=None, trust_b_at=None, cancelled_at=None)
                | Q(state="trust_both", trust_both_at__isnull=False, issue_b_at=None, trust_b_at=None, cancelled_at=None)
                | Q(
                    state="issue_b", trust_both_at__isnull=False, issue_b_at__isnull=False, trust_b_at=None,
                    cancelled_at=None,
                )
                | Q(
                    state="trust_b", trust_both_at__isnull=False, issue_b_at__isnull=False, trust_b_at__isnull=False,
                    cancelled_at=None,
                )
                | Q(state="cancelled", issue_b_at=None, trust_b_at=None, cancelled_at__isnull=False),
                name="pki_rollover_step_by_step",
            ),
        ]  # fmt: skip
        indexes = [models.Index(fields=["-created_at", "id"], name="pki_rollover_newest")]

    def __str__(self) -> str:
        return f"{self.old} to {self.new}"
