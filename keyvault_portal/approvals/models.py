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
    signature = models.JSONField(
        null=True, help_text="The person's own signature over the act, with all that is needed to check it again."
    )
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

    @property
    def signed_with(self) -> str:
        """What signed this decision, in words; "" for nothing."""
        return _SIGNERS[self.signature["method"]] if self.signature else ""


_SIGNERS = {"passkey": "a passkey", "ssh": "an OpenSSH key", "ed25519": "an Ed25519 key", "openpgp": "an OpenPGP key"}


class SigningKey(models.Model):
    """The public half of a key with which one person signs acts offline; others agreed that it is theirs."""

    class Kind(models.TextChoices):
        ED25519 = "ed25519", "Ed25519"
        OPENPGP = "openpgp", "OpenPGP"

    person_id = models.UUIDField()
    person_label = models.CharField(max_length=200)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind)
    public_key = models.TextField(help_text="32 bytes in hexadecimal, or an armored OpenPGP certificate.")
    fingerprint = models.CharField(max_length=100)
    approval_id = models.UUIDField()
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=["ed25519", "openpgp"]), name="approvals_signing_key_kind"),
            models.UniqueConstraint(
                fields=["fingerprint"], condition=models.Q(removed_at=None), name="approvals_signing_key_of_one_person"
            ),
        ]  # fmt: skip
        indexes = [models.Index(fields=["person_id", "-created_at"], name="approvals_signing_key_person")]

    def __str__(self) -> str:
        return f"{self.name} ({self.get_kind_display()})"


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
