"""Keys, their policies and versions, and the segment data keys that live wrapped below them."""

import uuid
from datetime import timedelta

from django.db import models
from django.utils import timezone

from keys.hierarchy import KeyKind
from keys.states import VersionState
from keyvault_portal.accounts.models import KeyRing

VERSION_STATES = [(state.value, state.value.replace("_", " ").capitalize()) for state in VersionState]
KEY_KINDS = [
    (KeyKind.MASTER.value, "Master key"),
    (KeyKind.KEK.value, "Key encryption key"),
    (KeyKind.DEK.value, "Data encryption key"),
    (KeyKind.TOKEN_SIGNING.value, "Token signing key"),
    (KeyKind.TRANSPORT.value, "Transport key"),
]


class Key(models.Model):
    """A governed key: a name that outlives its versions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="keys")
    name = models.SlugField(max_length=100)
    title = models.CharField(max_length=150)
    purpose = models.TextField(blank=True)
    kind = models.CharField(max_length=20, choices=KEY_KINDS)
    algorithm = models.CharField(max_length=50)
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    provider = models.SlugField(max_length=63, default="local")
    exportable = models.BooleanField(
        default=False, help_text="Given when the key is made, or never; taken away at any time, never given back."
    )
    current = models.ForeignKey("KeyVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    next_rotation_at = models.DateTimeField(null=True, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ring", "name"], name="keys_key_name_in_ring"),
            models.CheckConstraint(condition=models.Q(kind__in=[k.value for k in KeyKind]), name="keys_key_kind"),
            models.CheckConstraint(
                condition=models.Q(kind="master", parent=None) | ~models.Q(kind="master"), name="keys_master_is_root"
            ),
        ]
        indexes = [
            models.Index(fields=["name", "id"], name="keys_key_name"),
            models.Index(fields=["ring", "name", "id"], name="keys_key_ring_name"),
            models.Index(fields=["kind", "name", "id"], name="keys_key_kind_name"),
            models.Index(fields=["next_rotation_at", "id"], name="keys_key_due"),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    @property
    def rotation_due_in(self) -> timedelta | None:
        """Time left until the cryptoperiod ends; negative when overdue."""
        return self.next_rotation_at - timezone.now() if self.next_rotation_at else None


class KeyPolicy(models.Model):
    """What governs one key; `version` rises with every change and is bound into approvals."""

    key = models.OneToOneField(Key, on_delete=models.CASCADE, primary_key=True, related_name="policy")
    version = models.PositiveIntegerField(default=1)
    cryptoperiod_days = models.PositiveIntegerField(null=True, blank=True)
    auto_rotate = models.BooleanField(default=False)
    rotate_roles = models.JSONField(default=list, help_text="Roles that may ask for a rotation.")
    destroy_roles = models.JSONField(default=list, help_text="Roles that may ask for destruction.")
    rotate_groups = models.JSONField(
        default=list, help_text="Groups that must agree to a rotation: role and threshold."
    )
    destroy_groups = models.JSONField(default=list, help_text="Groups that must agree to a destruction.")
    grace_days = models.PositiveSmallIntegerField(default=30)
    minimum_grace_days = models.PositiveSmallIntegerField(default=7)
    allowed_algorithms = models.JSONField(default=list, help_text="Empty: whatever the key's kind allows.")
    use_share_due = models.PositiveSmallIntegerField(
        default=50, help_text="Per cent of the safe number of uses at which rotation is due."
    )
    publish_before_use_hours = models.PositiveSmallIntegerField(
        default=24, help_text="Token keys: time in the JWKS before first use."
    )
    token_lifetime_hours = models.PositiveSmallIntegerField(
        default=24, help_text="Token keys: how long an issued token may live."
    )
    initiator_may_enter = models.BooleanField(
        default=False, help_text="Whoever opens an import by components may enter one of them."
    )
    provider_rotates_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="How often its provider rotates it by itself, beside the portal; empty: never."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(minimum_grace_days__gte=7, grace_days__gte=models.F("minimum_grace_days")),
                name="keys_policy_grace",
            ),
            models.CheckConstraint(
                condition=models.Q(use_share_due__gte=1, use_share_due__lte=95), name="keys_policy_use_share"
            ),
        ]

    def __str__(self) -> str:
        return f"Policy {self.version} of {self.key_id}"


class KeyVersion(models.Model):
    """One version of a key. The table and its first columns are queried by auditors: their names are part of the product."""

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="versions")
    key_version = models.PositiveIntegerField()
    kms_key_arn = models.CharField(max_length=500, unique=True)
    # Where this version lives; the key's own `provider` is where its next version will be made.
    provider = models.SlugField(max_length=63, default="local")
    status = models.CharField(max_length=20, choices=VERSION_STATES, default=VersionState.PRE_ACTIVE.value)
    created_at = models.DateTimeField(default=timezone.now)
    activated_at = models.DateTimeField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    re_encrypt_done = models.BooleanField(default=False)
    # Material: wrapped under `wrapped_by` (or under the sealed root when that is empty); `handle` is the provider's own.
    wrapped_material = models.BinaryField(null=True, blank=True, editable=False)
    wrapped_by = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="wraps")
    handle = models.TextField(blank=True, editable=False)
    public_key = models.BinaryField(null=True, blank=True, editable=False)
    # The version at the place before, of one that was made by moving the key; see keys.services.two_places.
    moved_from = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="moved_to", editable=False
    )
    # One way only, here and in the database: what PKCS#11 calls CKA_LOCAL (and, as material is never in the clear outside
    # its place, CKA_ALWAYS_SENSITIVE) and CKA_NEVER_EXTRACTABLE, and the first time it was given out.
    generated_here = models.BooleanField(default=True)
    never_extractable = models.BooleanField(default=True)
    exported_at = models.DateTimeField(null=True, blank=True)
    # Uses: an upper bound, because workers lease blocks and may die with some unused.
    uses_reserved = models.BigIntegerField(default=0)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_by = models.CharField(max_length=200, blank=True)
    suspended_from = models.CharField(max_length=20, blank=True)
    compromised_at = models.DateTimeField(null=True, blank=True)
    compromise_reason = models.CharField(max_length=50, blank=True)
    compromise_note = models.TextField(blank=True)
    deletion_from = models.CharField(max_length=20, blank=True)
    deletion_due_at = models.DateTimeField(null=True, blank=True)
    deletion_halted_at = models.DateTimeField(null=True, blank=True)
    deletion_halted_by = models.CharField(max_length=200, blank=True)
    # Items in data stores whose loss was accepted when the deletion was asked for; empty: no loss was.
    deletion_accepted_items = models.PositiveBigIntegerField(null=True, blank=True)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "encryption_keys"
        constraints = [
            models.UniqueConstraint(fields=["key", "key_version"], name="keys_version_number"),
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(status="active"), name="keys_one_active_version"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=[s.value for s in VersionState]), name="keys_version_status"
            ),
            models.CheckConstraint(condition=models.Q(key_version__gte=1), name="keys_version_from_one"),
            models.CheckConstraint(
                condition=~models.Q(status="destroyed") | models.Q(wrapped_material=None, handle=""),
                name="keys_destroyed_has_no_material",
            ),
            models.CheckConstraint(
                condition=models.Q(exported_at=None) | models.Q(never_extractable=False),
                name="keys_exported_was_extractable",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "id"], name="keys_version_status_id"),
            models.Index(
                fields=["deletion_due_at"],
                condition=models.Q(status="pending_deletion"),
                name="keys_version_deletion_due",
            ),
            # The few that were used much: a hundredth of 2^32, the smallest limit, is where a policy can find one due.
            models.Index(
                fields=["uses_reserved"],
                condition=models.Q(status="active", uses_reserved__gte=2**32 // 100),
                name="keys_version_used_much",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} v{self.key_version}"

    @property
    def state(self) -> VersionState:
        return VersionState(self.status)


class DataKey(models.Model):
    """A segment data key: encrypts at most 10,000 records; narrow on purpose, so re-wrapping a million costs little."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="data_keys")
    wrapped_by = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="wrapped_data_keys")
    wrapped = models.BinaryField(editable=False)
    segment = models.CharField(
        max_length=200, blank=True, help_text="Store, tenant or data subject the key is bound to."
    )
    records = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "data_keys"
        indexes = [
            models.Index(fields=["wrapped_by", "id"], name="keys_datakey_wrapped_by"),
            models.Index(fields=["version", "segment", "-created_at"], name="keys_datakey_segment"),
        ]

    def __str__(self) -> str:
        return str(self.id)
