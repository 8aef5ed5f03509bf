"""Keys on their way in and out: what is asked for, what has arrived, who did it, and to whom a key was given."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from keys.models.keys import Key, KeyVersion
from keys.models.stores import SealedValue
from keys.states import OPEN_IMPORTS, ExportState, ImportState

IMPORT_STATES = [(s.value, s.value.capitalize()) for s in ImportState]
EXPORT_STATES = [(s.value, s.value.capitalize()) for s in ExportState]
_CLOSED = [s.value for s in ImportState if s not in OPEN_IMPORTS]


class KeyImport(models.Model):
    """One key on its way in. Whatever could reveal it is gone as soon as the import is over, however it ended."""

    class Method(models.TextChoices):
        RSA_OAEP = "rsa_oaep", "RSA-OAEP (SHA-256)"
        RSA_AES_KW = "rsa_aes_kw", "RSA-AES key wrap"
        HPKE_X25519 = "hpke_x25519", "HPKE (X25519)"
        PROVIDER = "provider", "Wrapped for the provider itself"
        KEY = "key", "Under another key of the hierarchy"
        COMPONENTS = "components", "Components of custodians"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="imports")
    version = models.OneToOneField(KeyVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="came_by")
    method = models.CharField(max_length=20, choices=Method)
    state = models.CharField(max_length=20, choices=IMPORT_STATES, default=ImportState.OPEN.value)
    nonce = models.CharField(max_length=32, blank=True, help_text="Comes with the upload and is good for one.")
    check_value = models.CharField(max_length=6, blank=True, help_text="Of the whole key, in hexadecimal.")
    public_key = models.BinaryField(null=True, blank=True, editable=False)
    sealed_private = models.ForeignKey(
        SealedValue, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    offer = models.JSONField(default=dict, blank=True, help_text="What the provider wants back with the wrapped key.")
    from_export = models.ForeignKey(
        "KeyExport", on_delete=models.PROTECT, null=True, blank=True, related_name="imports_back",
        help_text="What was given out under another key and comes back.",
    )  # fmt: skip
    upload = models.BinaryField(null=True, blank=True, editable=False)
    seen = models.JSONField(default=list, blank=True, help_text="Digests of uploads that were tried.")
    component_values = models.JSONField(default=list, blank=True, help_text="Check value of each component, in order.")
    activate = models.BooleanField(default=True)
    last_error = models.TextField(blank=True)
    reason = models.TextField(blank=True)
    opened_by = models.CharField(max_length=200)
    opened_by_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    received_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "key_imports"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in ImportState]), name="keys_import_state"),
            models.UniqueConstraint(
                fields=["key"], condition=~Q(state__in=_CLOSED), name="keys_one_import_of_a_key"
            ),
            models.CheckConstraint(
                condition=Q(state__in=_CLOSED, finished_at__isnull=False) | (~Q(state__in=_CLOSED) & Q(finished_at=None)),
                name="keys_import_finished",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=_CLOSED) | Q(upload=None, sealed_private=None), name="keys_import_leaves_nothing"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(version__isnull=False), name="keys_import_made_a_version"
            ),
            models.CheckConstraint(
                condition=~Q(method="key") | Q(from_export__isnull=False), name="keys_import_under_a_key_comes_back"
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["key", "-created_at"], name="keys_import_key"),
            models.Index(fields=["expires_at"], condition=~Q(state__in=_CLOSED), name="keys_import_expiry"),
        ]

    def __str__(self) -> str:
        return f"Import of {self.key}"

    @property
    def shown_state(self) -> str:
        """What the pages say of it."""
        return "expecting" if self.state == ImportState.OPEN.value else self.state

    @property
    def wrap_method(self) -> str:
        """How a person wraps for the public key of this import."""
        return str(self.offer.get("method", self.method))

    @property
    def components_wanted(self) -> int:
        return len(self.component_values)


class KeyComponent(models.Model):
    """One component of a key, entered by one custodian: `arrived` until a worker has compared it, then `sealed`; empty once the
    import is over."""

    key_import = models.ForeignKey(KeyImport, on_delete=models.PROTECT, related_name="components")
    number = models.PositiveSmallIntegerField()
    person_id = models.UUIDField()
    person_label = models.CharField(max_length=200)
    arrived = models.BinaryField(
        null=True, blank=True, editable=False
    )  # HPKE to the import's key, as the browser made it
    sealed = models.ForeignKey(
        SealedValue, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    entered_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "key_components"
        constraints = [
            models.UniqueConstraint(fields=["key_import", "number"], name="keys_component_once"),
            models.UniqueConstraint(fields=["key_import", "person_id"], name="keys_component_one_a_person"),
            models.CheckConstraint(condition=Q(number__gte=1), name="keys_component_from_one"),
            models.CheckConstraint(condition=Q(arrived=None) | Q(sealed=None), name="keys_component_arrived_or_sealed"),
        ]

    def __str__(self) -> str:
        return f"Component {self.number} of {self.key_import_id}"


class KeyExport(models.Model):
    """One time a key version was given out: to whom, by whom, agreed by which request. Never deleted, never changed back."""

    class Method(models.TextChoices):
        RSA_AES_KW = "rsa_aes_kw", "RSA-AES key wrap"
        HPKE_X25519 = "hpke_x25519", "HPKE (X25519)"
        KEY = "key", "Under another key of the hierarchy"
        ESCROW = "escrow", "Under an escrow key"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="exports")
    method = models.CharField(max_length=20, choices=Method)
    state = models.CharField(max_length=20, choices=EXPORT_STATES, default=ExportState.QUEUED.value)
    recipient = models.CharField(max_length=200, help_text="Who gets it, as people call them.")
    recipient_key = models.BinaryField(null=True, blank=True, editable=False)
    fingerprint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the recipient's public key (SPKI).")
    wrapping_version = models.ForeignKey(
        KeyVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="exports_wrapped"
    )
    check_value = models.CharField(max_length=6, blank=True)
    wrapped = models.BinaryField(null=True, blank=True, editable=False)
    reason = models.TextField()
    approval_id = models.UUIDField(null=True, blank=True)
    requested_by = models.CharField(max_length=200)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    collected_at = models.DateTimeField(null=True, blank=True)
    collected_by = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "key_exports"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in ExportState]), name="keys_export_state"),
            models.CheckConstraint(
                condition=~Q(method__in=["rsa_aes_kw", "hpke_x25519"]) | (Q(recipient_key__isnull=False) & ~Q(fingerprint="")),
                name="keys_export_to_a_public_key",
            ),
            models.CheckConstraint(
                condition=~Q(method="key") | Q(wrapping_version__isnull=False), name="keys_export_under_a_key"
            ),
            models.CheckConstraint(condition=~Q(method="escrow") | Q(wrapped=None), name="keys_escrow_is_not_kept"),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["version", "-created_at"], name="keys_export_version"),
            models.Index(fields=["created_at"], condition=Q(state="queued"), name="keys_export_queued"),
        ]

    def __str__(self) -> str:
        return f"Export of {self.version}"
