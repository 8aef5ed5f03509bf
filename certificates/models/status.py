"""Published status: signed CRLs and OCSP answers, served as the bytes they are."""

from django.db import models
from django.db.models import Q

from certificates.models.authorities import Authority
from certificates.models.certificates import Certificate


class CertificateList(models.Model):
    """One signed CRL; the newest of an authority, kind and partition is the one that is served."""

    class Kind(models.TextChoices):
        FULL = "full", "Full"
        DELTA = "delta", "Delta"

    authority = models.ForeignKey(Authority, on_delete=models.PROTECT, related_name="crls")
    kind = models.CharField(max_length=5, choices=Kind, default=Kind.FULL)
    partition = models.PositiveSmallIntegerField(default=0)
    number = models.PositiveBigIntegerField()
    base_number = models.PositiveBigIntegerField(null=True, blank=True)
    entries = models.PositiveIntegerField()
    der = models.BinaryField(editable=False)
    this_update = models.DateTimeField()
    next_update = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["authority", "kind", "partition", "number"], name="pki_crl_number"),
            models.CheckConstraint(
                condition=Q(kind="full", base_number=None) | Q(kind="delta", base_number__isnull=False),
                name="pki_delta_has_base",
            ),
        ]

    def __str__(self) -> str:
        return f"CRL {self.number} of {self.authority_id}"


class OcspAnswer(models.Model):
    """The pre-signed answer for one certificate and one digest of CertID."""

    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="answers")
    digest = models.CharField(max_length=10)
    der = models.BinaryField(editable=False)
    state = models.CharField(max_length=10, help_text="What the answer says of the certificate.")
    this_update = models.DateTimeField()
    next_update = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["certificate", "digest"], name="pki_one_answer")]
        indexes = [models.Index(fields=["this_update", "id"], name="pki_answer_age")]

    def __str__(self) -> str:
        return f"OCSP answer for {self.certificate_id}"
