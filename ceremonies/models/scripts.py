"""Scripts of the organisation's own, beside those in the tree."""

import uuid

from django.db import models
from django.utils import timezone

from ceremonies.script import Kind

_WORDS = {Kind.BYOK: "Key by components", Kind.ROOT_CA: "Root CA"}
KINDS = [(kind.value, _WORDS.get(kind, kind.value.replace("_", " ").capitalize())) for kind in Kind]


class ScriptTemplate(models.Model):
    """An uploaded script: usable once others agreed to its very hash; `text` is kept as it came."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=63)
    version = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=KINDS)
    title = models.CharField(max_length=150)
    text = models.TextField()
    sha256 = models.CharField(max_length=64, unique=True)
    uploaded_by = models.CharField(max_length=200)
    uploaded_at = models.DateTimeField(default=timezone.now)
    approved_at = models.DateTimeField(null=True, blank=True)
    approval_id = models.UUIDField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="ceremonies_script_version"),
            models.CheckConstraint(
                condition=models.Q(kind__in=[kind.value for kind in Kind]), name="ceremonies_script_kind"
            ),
            models.CheckConstraint(
                condition=models.Q(approved_at=None) | models.Q(approval_id__isnull=False),
                name="ceremonies_script_approved",
            ),
        ]
        ordering = ["name", "-version"]

    def __str__(self) -> str:
        return f"{self.title} (version {self.version})"
