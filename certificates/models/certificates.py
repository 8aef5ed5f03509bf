"""Every certificate there is: ours and those brought in, with what was signed for each and who was told of its end."""

import uuid

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.utils import timezone

from certificates.states import COMPROMISES, CertificateState, GrantState, Reason
from keys.models import Key
from keyvault_portal.accounts.models import KeyRing, Person

CERTIFICATE_STATES = [(state.value, state.value.capitalize()) for state in CertificateState]
REASONS = [(reason.value, reason.value.replace("_", " ").capitalize()) for reason in Reason]


class Certificate(models.Model):
    """One certificate in DER. `serial` is lower-case hexadecimal; `search` holds the words that find it: those of its names and its subject."""

    class Source(models.TextChoices):
        ISSUED = "issued", "Issued here"
        UPLOADED = "uploaded", "Uploaded"
        SCANNED = "scanned", "Found by a scan"
        REPORTED = "reported", "Reported by an agent"
        ACME = "acme", "Obtained by ACME"

    class KeyOrigin(models.TextChoices):
        REQUEST = "request", "Made by the requester"
        HANDED_OVER = "handed_over", "Made here and handed over"
        HIERARCHY = "hierarchy", "A key of the hierarchy"
        UNKNOWN = "unknown", "Nowhere in the hierarchy"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Every index costs each certificate its time: what stands first in another, or is seldom there, has none of its own.
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="certificates", db_index=False)
    authority = models.ForeignKey(
        "Authority", on_delete=models.PROTECT, null=True, blank=True, related_name="issued", db_index=False,
        help_text="Who issued it, if that is one of ours.",
    )  # fmt: skip
    issued_under = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The next one of its chain.",
    )
    renews = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="renewed_by", db_index=False
    )
    source = models.CharField(max_length=10, choices=Source, default=Source.ISSUED)
    profile = models.CharField(max_length=30, blank=True)
    state = models.CharField(max_length=10, choices=CERTIFICATE_STATES, default=CertificateState.VALID.value)
    serial = models.CharField(max_length=40)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the DER, in hexadecimal.")
    spki_sha256 = models.CharField(max_length=64, help_text="SHA-256 of the SubjectPublicKeyInfo.")
    der = models.BinaryField(editable=False)
    subject = models.CharField(max_length=300, blank=True)
    issuer = models.CharField(max_length=300, blank=True)
    names = models.JSONField(default=list)
    search = models.TextField(editable=False)
    key_algorithm = models.CharField(max_length=50)
    signature_algorithm = models.CharField(max_length=50)
    weaknesses = models.JSONField(default=list, blank=True)
    key = models.ForeignKey(
        Key, on_delete=models.PROTECT, null=True, blank=True, related_name="certificates", db_index=False
    )
    key_origin = models.CharField(max_length=12, choices=KeyOrigin, default=KeyOrigin.REQUEST)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    owner = models.ForeignKey(
        Person, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    owner_label = models.CharField(max_length=200, blank=True)
    requested_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    partition = models.PositiveSmallIntegerField(default=0)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=30, choices=REASONS, blank=True)
    invalid_since = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True, help_text="When a hold was last taken back.")
    crl_entry = models.BinaryField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["authority", "serial"], name="pki_serial_of_authority"),
            models.UniqueConstraint(fields=["ring", "fingerprint"], name="pki_fingerprint_in_ring"),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in CertificateState]), name="pki_certificate_state"
            ),
            models.CheckConstraint(
                condition=Q(state="valid", revoked_at=None, crl_entry=None, reason="")
                | (~Q(state="valid") & Q(revoked_at__isnull=False) & ~Q(reason="")),
                name="pki_revoked_says_when",
            ),
            # What another CA issued is on that CA's list, not on one of ours.
            models.CheckConstraint(
                condition=Q(state="valid")
                | Q(authority=None, crl_entry=None)
                | Q(authority__isnull=False, crl_entry__isnull=False),
                name="pki_revoked_is_listed",
            ),
            models.CheckConstraint(
                condition=~Q(state="held") | Q(reason=Reason.CERTIFICATE_HOLD.value), name="pki_held_is_hold"
            ),
        ]
        indexes = [
            models.Index(fields=["not_after", "id"], name="pki_certificate_expiry"),
            models.Index(fields=["ring", "not_after", "id"], name="pki_certificate_ring_expiry"),
            models.Index(fields=["created_at", "id"], name="pki_certificate_newest"),
            models.Index(
                fields=["authority", "partition", "id"], condition=~Q(state="valid"), name="pki_certificate_revoked"
            ),
            models.Index(fields=["spki_sha256"], name="pki_certificate_key"),
            models.Index(
                fields=["spki_sha256"],
                condition=Q(reason__in=COMPROMISES),
                name="pki_certificate_compromised",
            ),
            models.Index(fields=["renews"], condition=Q(renews__isnull=False), name="pki_certificate_renews"),
            models.Index(fields=["key"], condition=Q(key__isnull=False), name="pki_certificate_of_key"),
            models.Index(fields=["owner"], condition=Q(owner__isnull=False), name="pki_certificate_owner"),
            models.Index(fields=["fingerprint"], opclasses=["varchar_pattern_ops"], name="pki_certificate_fingerprint"),
            models.Index(fields=["ring", "id"], condition=~Q(weaknesses=[]), name="pki_certificate_weak"),
            models.Index(fields=["ring", "id"], condition=Q(key_origin="unknown"), name="pki_certificate_keyless"),
            models.Index(fields=["serial"], opclasses=["varchar_pattern_ops"], name="pki_certificate_serial"),
            GinIndex(fields=["search"], opclasses=["gin_trgm_ops"], name="pki_certificate_search"),
        ]

    def __str__(self) -> str:
        common = next((part[3:] for part in self.subject.split(",") if part.startswith("CN=")), "")
        return common or (self.names[0].partition(":")[2] if self.names else "") or self.subject or self.serial

    @property
    def expired(self) -> bool:
        return self.not_after <= timezone.now()

    @property
    def shown_state(self) -> str:
        """The state for people: a valid one whose time is over is expired."""
        return "expired" if self.expired and self.state == CertificateState.VALID.value else self.state

    @property
    def badge(self) -> str:
        """The look of that state: a hold is a warning here, while a share that is held is as it should be."""
        return "on_hold" if self.state == CertificateState.HELD.value else self.shown_state

    @property
    def reason_words(self) -> str:
        """Why it was revoked, for people."""
        return Reason(self.reason).words if self.reason else ""


class IssuanceGrant(models.Model):
    """The leave to sign one to-be-signed certificate once, never deleted.

    It is written before a provider signs; one for a key that the portal keeps, whose signature leaves this process only with
    a durable certificate, is written with that, or as lost. Its unique serial is why no serial number is ever used twice, not
    even by an issuance that failed.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    authority = models.ForeignKey("Authority", on_delete=models.PROTECT, related_name="grants", db_index=False)
    serial = models.CharField(max_length=40)
    profile = models.CharField(max_length=30)
    tbs_sha256 = models.CharField(max_length=64)
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in GrantState], default=GrantState.OPEN.value
    )
    certificate = models.OneToOneField(
        Certificate, on_delete=models.PROTECT, null=True, blank=True, related_name="grant"
    )
    to_be_signed = models.BinaryField(null=True, blank=True, editable=False, help_text="Of one that a worker redeems.")
    row = models.JSONField(default=dict, blank=True)
    requested_by = models.CharField(max_length=200)
    error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    spent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["authority", "serial"], name="pki_grant_serial"),
            models.CheckConstraint(condition=Q(state__in=[s.value for s in GrantState]), name="pki_grant_state"),
            models.CheckConstraint(
                condition=Q(state="done", certificate__isnull=False) | (~Q(state="done") & Q(certificate=None)),
                name="pki_grant_done_has_certificate",
            ),
        ]
        indexes = [
            models.Index(fields=["spent_at"], condition=Q(state="spent"), name="pki_grant_spent"),
        ]

    def __str__(self) -> str:
        return f"{self.profile} {self.serial}"


class ExpiryNotice(models.Model):
    """That the people of a certificate were told so many days before its end: the row is why nobody is told twice."""

    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="expiry_notices")
    days = models.PositiveSmallIntegerField()
    sent_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["certificate", "days"], name="pki_notice_once")]

    def __str__(self) -> str:
        return f"{self.days} days before the end of {self.certificate_id}"
