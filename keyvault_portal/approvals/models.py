"""Requests for agreement, the decisions on them, and notices to people.

People and targets are named by id and label, never by foreign key: a request outlives what it is about.
"""

import uuid

from django.db import models
from django.utils import timezone

from keyvault_portal.approvals.states import RequestState

STATES = [(state.value, state.value.capitalize()) for state in RequestState]


class ApprovalRequest(models.Model):
    """One exact act that waits for agreement; `act` is its canonical JSON and `act_hash` the SHA-256 of these bytes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operation = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    act = models.BinaryField(editable=False)
    act_hash = models.CharField(max_length=64, editable=False)
    params = models.JSONField(default=dict)
    consequences = models.JSONField(default=list)
    target_type = models.CharField(max_length=50)
    target_id = models.CharField(max_length=100)
    target_label = models.CharField(max_length=200)
    ring_id = models.UUIDField(null=True)
    groups = models.JSONField(default=list)
    requester_id = models.UUIDField()
    requester_label = models.CharField(max_length=200)
    requester_token_id = models.UUIDField(null=True)
    reason = models.TextField()
    state = models.CharField(max_length=20, choices=STATES, default=RequestState.PENDING.value)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    result = models.JSONField(default=dict)
    failure_code = models.CharField(max_length=50, blank=True)
    failure_detail = models.TextField(blank=True)
    broken_by = models.CharField(max_length=200, blank=True)
    broken_because = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=[s.value for s in RequestState]), name="approvals_request_state"
            ),
            models.CheckConstraint(
                condition=models.Q(broken_by="") | ~models.Q(broken_because=""), name="approvals_break_glass_reason"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "-created_at", "id"], name="approvals_request_state"),
            models.Index(fields=["-created_at", "id"], name="approvals_request_recent"),
            models.Index(fields=["requester_id", "-created_at"], name="approvals_request_asker"),
            models.Index(fields=["target_type", "target_id"], name="approvals_request_target"),
        ]

    def __str__(self) -> str:
        return f"{self.title}: {self.target_label}"


class Decision(models.Model):
    """What one person said to one request; the database refuses the requester's own and a second one."""

    class Verdict(models.TextChoices):
        APPROVE = "approve", "Approved"
        REJECT = "reject", "Rejected"

    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="decisions")
    requester_id = models.UUIDField(editable=False)
    person_id = models.UUIDField()
    person_label = models.CharField(max_length=200)
    groups = models.JSONField(
        default=list, help_text="Indexes of the request's groups in which the person counted when deciding."
    )
    verdict = models.CharField(max_length=10, choices=Verdict)
    reason = models.TextField(blank=True)
    act_hash = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["request", "person_id"], name="approvals_nobody_counts_twice"),
            models.CheckConstraint(
                condition=~models.Q(person_id=models.F("requester_id")), name="approvals_no_self_approval"
            ),
            models.CheckConstraint(
                condition=models.Q(verdict="approve") | ~models.Q(reason=""), name="approvals_reject_has_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.person_label}: {self.get_verdict_display()}"


class Notice(models.Model):
    """A line for one person, shown on their pages and sent by e-mail."""

    person_id = models.UUIDField()
    text = models.CharField(max_length=300)
    detail = models.TextField(blank=True)
    path = models.CharField(max_length=200, blank=True)
    alarm = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    mailed_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["person_id", "-created_at", "id"], name="approvals_notice_person")]

    def __str__(self) -> str:
        return self.text
