"""Certification authorities: whose key signs, what they may certify, where their status is published."""

import uuid

from django.db import models
from django.db.models import Q

from certificates.names import NameRules
from certificates.states import AuthorityState
from keys.models import Key, KeyVersion
from keyvault_portal.accounts.models import KeyRing

AUTHORITY_STATES = [(state.value, state.value.capitalize()) for state in AuthorityState]


class Authority(models.Model):
    """A CA whose key is a key of the hierarchy; `name` is public: it stands in every certificate it issues."""

    class Kind(models.TextChoices):
        ROOT = "root", "Root"
        INTERMEDIATE = "intermediate", "Intermediate"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="authorities")
    name = models.SlugField(max_length=63, unique=True)
    title = models.CharField(max_length=64, help_text="The common name in its certificate.")
    organization = models.CharField(max_length=64, blank=True)
    kind = models.CharField(max_length=20, choices=Kind)
    state = models.CharField(max_length=20, choices=AUTHORITY_STATES, default=AuthorityState.PENDING.value)
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    key = models.OneToOneField(Key, on_delete=models.PROTECT, related_name="authority")
    key_version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="+")
    certificate = models.ForeignKey("Certificate", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    days = models.PositiveIntegerField(help_text="Life of its own certificate.")
    path_length = models.PositiveSmallIntegerField(null=True, blank=True)
    # What it may issue.
    profiles = models.JSONField(default=list)
    names = models.JSONField(default=dict, help_text="Names it may certify, by kind; also its name constraints.")
    max_days = models.PositiveIntegerField(null=True, blank=True, help_text="Shorter than the profile's limit, if set.")
    # Its status service.
    crl_hours = models.PositiveIntegerField(default=168)
    crl_partitions = models.PositiveSmallIntegerField(default=1)
    delta_crls = models.BooleanField(default=False)
    next_crl_at = models.DateTimeField(null=True, blank=True, help_text="When a new CRL has to be signed.")
    crl_error = models.TextField(blank=True)
    responder_key = models.ForeignKey(Key, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    responder = models.ForeignKey("Certificate", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        verbose_name_plural = "authorities"
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in AuthorityState]), name="pki_authority_state"
            ),
            models.CheckConstraint(
                condition=Q(state="pending") | Q(certificate__isnull=False), name="pki_authority_has_certificate"
            ),
            models.CheckConstraint(
                condition=Q(kind="root", parent=None) | Q(kind="intermediate"), name="pki_root_has_no_parent"
            ),
            models.CheckConstraint(condition=Q(crl_partitions__gte=1, crl_partitions__lte=1024), name="pki_partitions"),
            models.CheckConstraint(condition=Q(crl_hours__gte=1, crl_hours__lte=8784), name="pki_crl_hours"),
        ]
        indexes = [models.Index(fields=["next_crl_at"], name="pki_authority_crl_due")]

    def __str__(self) -> str:
        return self.title

    @property
    def name_rules(self) -> NameRules:
        return NameRules.parse(self.names)
