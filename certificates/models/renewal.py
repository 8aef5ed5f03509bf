"""ACME accounts, the certificates they keep alive, the attempts at it, where each is delivered, and how one is revoked."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from certificates.models.certificates import REASONS, Certificate
from certificates.renewal.states import OPEN_ORDERS, CaRevocationState, DeliveryState, OrderState, SourceState
from keys.models import Key, KeyVersion, SealedValue
from keyvault_portal.accounts.models import KeyRing, Person


class AcmeSource(models.Model):
    """An account at an ACME CA. `account_key` is sealed; its RFC 7638 thumbprint is public and answers challenges."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="acme_sources")
    name = models.SlugField(max_length=63, unique=True)
    directory = models.URLField(max_length=500, help_text="Address of the CA's directory (RFC 8555, 7.1.1).")
    ca_bundle = models.TextField(blank=True, help_text="PEM that its HTTPS is checked with; empty: public CAs.")
    contacts = models.JSONField(default=list, help_text="E-mail addresses.")
    terms_url = models.CharField(max_length=500, blank=True, help_text="The terms that were agreed to.")
    terms_agreed_by = models.CharField(max_length=200)
    eab_kid = models.CharField(max_length=200, blank=True)
    eab_key = models.ForeignKey(
        SealedValue, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    account_key = models.ForeignKey(SealedValue, on_delete=models.PROTECT, related_name="+", editable=False)
    thumbprint = models.CharField(max_length=64)
    account_url = models.CharField(max_length=500, blank=True)
    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in SourceState], default=SourceState.REGISTERING.value
    )
    offers_renewal_info = models.BooleanField(default=False)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in SourceState]), name="pki_source_state"),
            models.CheckConstraint(condition=~Q(state="ready") | ~Q(account_url=""), name="pki_source_has_account"),
        ]

    def __str__(self) -> str:
        return self.name


class DnsHook(models.Model):
    """How TXT records for dns-01 are written: by dynamic update (RFC 2136, TSIG) or by a webhook that is told (HMAC)."""

    class Kind(models.TextChoices):
        RFC2136 = "rfc2136", "Dynamic update (RFC 2136)"
        WEBHOOK = "webhook", "Webhook"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="dns_hooks")
    name = models.SlugField(max_length=63, unique=True)
    kind = models.CharField(max_length=10, choices=Kind)
    address = models.CharField(max_length=500, help_text="A URL, or host:port of the zone's primary server.")
    zone = models.CharField(max_length=253, blank=True)
    key_name = models.CharField(max_length=253, blank=True, help_text="The TSIG key's name.")
    key_algorithm = models.CharField(max_length=20, blank=True)
    secret = models.ForeignKey(SealedValue, on_delete=models.PROTECT, related_name="+", editable=False)
    wait_seconds = models.PositiveSmallIntegerField(default=10, help_text="Until secondaries have the record.")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(kind="rfc2136") | (~Q(zone="") & ~Q(key_name="")), name="pki_dns_hook_whole"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ManagedCertificate(models.Model):
    """A transport key that is to have a living certificate of an ACME CA, always; `certificate` is the present one."""

    class Challenge(models.TextChoices):
        HTTP_01 = "http-01", "http-01"
        DNS_01 = "dns-01", "dns-01"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="managed_certificates")
    source = models.ForeignKey(AcmeSource, on_delete=models.PROTECT, related_name="managed")
    key = models.OneToOneField(Key, on_delete=models.PROTECT, related_name="managed_certificate")
    names = models.JSONField(default=list, help_text="dns: and ip: names.")
    challenge = models.CharField(max_length=10, choices=Challenge)
    dns_hook = models.ForeignKey(DnsHook, on_delete=models.PROTECT, null=True, blank=True, related_name="managed")
    new_key = models.BooleanField(default=True, help_text="A new version of the key for each renewal.")
    enabled = models.BooleanField(default=True)
    certificate = models.OneToOneField(
        Certificate, on_delete=models.PROTECT, null=True, blank=True, related_name="managed"
    )
    renew_at = models.DateTimeField(help_text="When the next certificate is to be obtained.")
    renew_because = models.CharField(max_length=200, blank=True)
    window_start = models.DateTimeField(null=True, blank=True, help_text="The CA's suggestion (RFC 9773).")
    window_end = models.DateTimeField(null=True, blank=True)
    explanation_url = models.CharField(max_length=500, blank=True)
    ask_window_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Attempts that failed since the last success.")
    last_error = models.TextField(blank=True)
    told_at = models.DateTimeField(null=True, blank=True, help_text="When people were last told that it fails.")
    owner = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(challenge="dns-01") | Q(dns_hook__isnull=False), name="pki_managed_dns_has_hook"
            ),
        ]
        indexes = [models.Index(fields=["renew_at"], condition=Q(enabled=True), name="pki_managed_due")]

    def __str__(self) -> str:
        return ", ".join(name.partition(":")[2] for name in self.names[:3]) or str(self.pk)

    @property
    def shown_state(self) -> str:
        """The state for people, worst first."""
        if not self.enabled:
            return "paused"
        if self.failures:
            return "failed"
        return "valid" if self.certificate_id else "waiting"


class RenewalOrder(models.Model):
    """One attempt: written before the CA hears of it, resumed by whoever finds it, closed with the certificate or a reason."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    managed = models.ForeignKey(ManagedCertificate, on_delete=models.PROTECT, related_name="orders")
    version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in OrderState], default=OrderState.PREPARING.value
    )
    csr = models.BinaryField(null=True, blank=True, editable=False)
    order_url = models.CharField(max_length=500, blank=True)
    replaces = models.ForeignKey(Certificate, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    certificate = models.OneToOneField(
        Certificate, on_delete=models.PROTECT, null=True, blank=True, related_name="renewal_order"
    )
    because = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Tries that the CA or the network put off.")
    next_try_at = models.DateTimeField(default=timezone.now)
    claimed_until = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in OrderState]), name="pki_order_state"),
            models.UniqueConstraint(fields=["managed"], condition=Q(state__in=OPEN_ORDERS), name="pki_one_open_order"),
            models.CheckConstraint(
                condition=Q(state="issued", certificate__isnull=False, finished_at__isnull=False)
                | Q(state="failed", certificate=None, finished_at__isnull=False)
                | Q(state__in=OPEN_ORDERS, certificate=None, finished_at=None),
                name="pki_order_end",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["proving", "finalizing", "issued"]) | ~Q(order_url=""), name="pki_order_known"
            ),
        ]
        indexes = [models.Index(fields=["next_try_at"], condition=Q(state__in=OPEN_ORDERS), name="pki_order_due")]

    def __str__(self) -> str:
        return f"order for {self.managed}"


class ChallengeAnswer(models.Model):
    """What the CA is to find: `content` at the well-known path of `token`, or as TXT record below `name`. Nothing in it is secret."""

    order = models.ForeignKey(RenewalOrder, on_delete=models.CASCADE, related_name="answers")
    kind = models.CharField(max_length=10, choices=ManagedCertificate.Challenge)
    name = models.CharField(max_length=255)
    token = models.CharField(max_length=200, unique=True)
    content = models.CharField(max_length=300)
    published_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True, help_text="When the CA was told to look.")

    def __str__(self) -> str:
        return f"{self.kind} for {self.name}"


class DeployHook(models.Model):
    """A place where each new certificate is put; with `with_key` its private key too, in files only."""

    class Kind(models.TextChoices):
        FILE = "file", "PEM files"
        KUBERNETES = "kubernetes", "Kubernetes TLS secret"
        WEBHOOK = "webhook", "Webhook"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    managed = models.ForeignKey(ManagedCertificate, on_delete=models.PROTECT, related_name="hooks")
    kind = models.CharField(max_length=12, choices=Kind)
    place = models.CharField(max_length=500, help_text="A path below an allowed directory, or a URL.")
    namespace = models.CharField(max_length=63, blank=True)
    secret_name = models.CharField(max_length=253, blank=True)
    with_key = models.BooleanField(default=False)
    secret = models.ForeignKey(
        SealedValue, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    removed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(kind="webhook") | Q(with_key=False), name="pki_webhook_gets_no_key"),
            models.CheckConstraint(condition=~Q(kind="webhook") | Q(secret__isnull=False), name="pki_webhook_signs"),
            models.UniqueConstraint(
                fields=["kind", "place"], condition=Q(removed_at=None) & ~Q(kind="webhook"), name="pki_one_hook_a_file"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.place}"


class Errand(models.Model):
    """Something that is brought to another machine, tried until it is done there or given up."""

    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Delivery(Errand):
    """One certificate to one place."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    hook = models.ForeignKey(DeployHook, on_delete=models.PROTECT, related_name="deliveries")
    certificate = models.ForeignKey(Certificate, on_delete=models.PROTECT, related_name="deliveries")
    version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in DeliveryState], default=DeliveryState.QUEUED.value
    )

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["hook", "certificate"], name="pki_delivered_once"),
            models.CheckConstraint(condition=Q(state__in=[s.value for s in DeliveryState]), name="pki_delivery_state"),
            models.CheckConstraint(
                condition=Q(state="queued", finished_at=None) | (~Q(state="queued") & Q(finished_at__isnull=False)),
                name="pki_delivery_end",
            ),
        ]
        indexes = [models.Index(fields=["next_try_at"], condition=Q(state="queued"), name="pki_delivery_due")]

    def __str__(self) -> str:
        return f"{self.certificate} to {self.hook}"


class CaRevocation(Errand):
    """The wish that the CA of a certificate we obtained revoke it, carried there until the CA has answered."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    certificate = models.OneToOneField(Certificate, on_delete=models.PROTECT, related_name="ca_revocation")
    reason = models.CharField(max_length=30, choices=REASONS)
    note = models.CharField(max_length=2000, blank=True)
    invalid_since = models.DateTimeField(null=True, blank=True)
    requested_by = models.CharField(max_length=200)
    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in CaRevocationState], default=CaRevocationState.QUEUED.value
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in CaRevocationState]), name="pki_ca_revocation_state"
            ),
            models.CheckConstraint(
                condition=Q(state="queued", finished_at=None) | (~Q(state="queued") & Q(finished_at__isnull=False)),
                name="pki_ca_revocation_end",
            ),
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(state="queued"), name="pki_ca_revocation_due"),
        ]

    def __str__(self) -> str:
        return f"revocation of {self.certificate}"
