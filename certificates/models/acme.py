"""ACME: which authorities serve it and how, who has an account, what was ordered and how each name was proved."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from certificates.acme.states import AccountState, AuthorizationState, ChallengeState, ChallengeType, OrderState
from certificates.models.authorities import Authority
from certificates.models.certificates import Certificate, IssuanceGrant
from certificates.names import NameRules
from keys.models import SealedValue
from keyvault_portal.accounts.models import Person


def _choices(states: type[AccountState] | type[OrderState] | type[AuthorizationState] | type[ChallengeState]) -> list[tuple[str, str]]:  # fmt: skip
    return [(state.value, state.value.capitalize()) for state in states]


class AcmeServer(models.Model):
    """That an authority serves ACME, and by which rules; its address holds the authority's name."""

    authority = models.OneToOneField(Authority, on_delete=models.PROTECT, related_name="acme")
    enabled = models.BooleanField(default=True)
    profiles = models.JSONField(default=list, help_text="Profiles that may be ordered; the first is the default.")
    days = models.PositiveIntegerField(null=True, blank=True, help_text="Life of what it issues; none: the profile's.")
    names = models.JSONField(default=dict, help_text="Names it serves, within those of the authority.")
    challenges = models.JSONField(default=list)
    external_account_required = models.BooleanField(default=True)
    terms_url = models.URLField(max_length=500, blank=True)
    check_caa = models.BooleanField(default=True)
    caa_identities = models.JSONField(default=list, help_text="Domain names that mean this authority in CAA records.")
    order_hours = models.PositiveSmallIntegerField(default=24)
    networks = models.JSONField(
        default=list, help_text="Networks, besides the public ones, where proofs are looked for."
    )
    resolvers = models.JSONField(default=list, help_text="DNS resolvers; none: those of the machine.")
    http_port = models.PositiveIntegerField(default=80)
    tls_port = models.PositiveIntegerField(default=443)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(order_hours__gte=1, order_hours__lte=168), name="acme_order_hours"),
            models.CheckConstraint(
                condition=Q(http_port__gte=1, http_port__lte=65535, tls_port__gte=1, tls_port__lte=65535),
                name="acme_ports",
            ),
        ]

    def __str__(self) -> str:
        return f"ACME of {self.authority}"

    @property
    def name_rules(self) -> NameRules:
        return NameRules.parse(self.names)


class AcmeExternalKey(models.Model):
    """A key for external account binding (RFC 8555, 7.3.4): whoever has it may open one account, or many."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(AcmeServer, on_delete=models.PROTECT, related_name="external_keys")
    label = models.CharField(max_length=100)
    owner = models.ForeignKey(
        Person, on_delete=models.SET_NULL, null=True, blank=True, related_name="+",
        help_text="Who owns what is issued to its accounts.",
    )  # fmt: skip
    secret = models.OneToOneField(SealedValue, on_delete=models.PROTECT, related_name="+")
    once = models.BooleanField(default=True, help_text="For one account only.")
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.label

    @property
    def shown_state(self) -> str:
        """What people read: active, used, expired or revoked."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "used" if self.once and self.used_at else "active"


class AcmeAccount(models.Model):
    """Who holds this key (RFC 8555, 7.1.2). Rows stay, so that a key that was deactivated never comes back."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(AcmeServer, on_delete=models.PROTECT, related_name="accounts")
    state = models.CharField(max_length=12, choices=_choices(AccountState), default=AccountState.VALID.value)
    jwk = models.JSONField()
    thumbprint = models.CharField(max_length=43)
    contact = models.JSONField(default=list)
    terms_agreed_at = models.DateTimeField(null=True, blank=True)
    external_key = models.ForeignKey(
        AcmeExternalKey, on_delete=models.PROTECT, null=True, blank=True, related_name="accounts"
    )
    created_at = models.DateTimeField(default=timezone.now)
    created_from = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "thumbprint"], name="acme_one_account_a_key"),
            models.CheckConstraint(condition=Q(state__in=[s.value for s in AccountState]), name="acme_account_state"),
        ]
        indexes = [models.Index(fields=["created_at", "id"], name="acme_account_newest")]

    def __str__(self) -> str:
        return self.contact[0].removeprefix("mailto:") if self.contact else f"key {self.thumbprint[:12]}"


class AcmeOrder(models.Model):
    """One certificate somebody asked for (RFC 8555, 7.1.3). `names` are DNS names, wildcards with their "*.", and IP addresses."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(AcmeServer, on_delete=models.PROTECT, related_name="orders")
    account = models.ForeignKey(AcmeAccount, on_delete=models.PROTECT, related_name="orders")
    state = models.CharField(max_length=10, choices=_choices(OrderState), default=OrderState.PENDING.value)
    names = models.JSONField()
    profile = models.CharField(max_length=30)
    replaces = models.ForeignKey(Certificate, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    grant = models.OneToOneField(IssuanceGrant, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    certificate = models.OneToOneField(
        Certificate, on_delete=models.PROTECT, null=True, blank=True, related_name="acme_order"
    )
    error = models.JSONField(null=True, blank=True, help_text="The problem document of what went wrong.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in OrderState]), name="acme_order_state"),
            models.CheckConstraint(
                condition=Q(state="valid", certificate__isnull=False) | (~Q(state="valid") & Q(certificate=None)),
                name="acme_valid_has_certificate",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["processing", "valid"]) | Q(grant__isnull=False), name="acme_processing_has_grant"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["pending", "ready"]) | Q(grant=None), name="acme_early_has_no_grant"
            ),
            models.UniqueConstraint(
                fields=["replaces"], condition=~Q(state="invalid"), name="acme_replaced_once"
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["created_at", "id"], name="acme_order_newest"),
            models.Index(fields=["account", "created_at", "id"], name="acme_order_of_account"),
            models.Index(
                fields=["expires_at"], condition=Q(state__in=["pending", "ready", "processing"]), name="acme_order_open"
            ),
        ]

    def __str__(self) -> str:
        return ", ".join(self.names[:3]) + (f" and {len(self.names) - 3} more" if len(self.names) > 3 else "")

    @property
    def expired(self) -> bool:
        return self.expires_at <= timezone.now()

    @property
    def failure(self) -> str:
        """Why it failed, in words."""
        return str(self.error.get("detail", "")) if self.error else ""


class AcmeAuthorization(models.Model):
    """That one name of an order has to be proved, and whether it was (RFC 8555, 7.1.4). `name` is without "*."."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    order = models.ForeignKey(AcmeOrder, on_delete=models.CASCADE, related_name="authorizations")
    name = models.CharField(max_length=253)
    wildcard = models.BooleanField(default=False)
    state = models.CharField(
        max_length=12, choices=_choices(AuthorizationState), default=AuthorizationState.PENDING.value
    )
    proved_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "name", "wildcard"], name="acme_one_authorization_a_name"),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in AuthorizationState]), name="acme_authorization_state"
            ),
            models.CheckConstraint(
                condition=~Q(state="valid") | Q(proved_at__isnull=False), name="acme_valid_was_proved"
            ),
        ]
        indexes = [models.Index(fields=["name"], name="acme_authorization_name")]

    def __str__(self) -> str:
        return f"*.{self.name}" if self.wildcard else self.name

    @property
    def shown_state(self) -> str:
        """The state at this moment: what was not closed in time is expired."""
        open_ = self.state in {AuthorizationState.PENDING.value, AuthorizationState.VALID.value}
        return AuthorizationState.EXPIRED.value if open_ and self.expires_at <= timezone.now() else self.state


class AcmeChallenge(models.Model):
    """One way to prove a name (RFC 8555, 7.1.5); while it is processing, `next_try_at` says when it is looked at."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    authorization = models.ForeignKey(AcmeAuthorization, on_delete=models.CASCADE, related_name="challenges")
    kind = models.CharField(max_length=15, choices=[(kind.value, kind.value) for kind in ChallengeType])
    token = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=10, choices=_choices(ChallengeState), default=ChallengeState.PENDING.value)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    validated_at = models.DateTimeField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["authorization", "kind"], name="acme_one_challenge_a_kind"),
            models.CheckConstraint(
                condition=Q(state__in=[s.value for s in ChallengeState]), name="acme_challenge_state"
            ),
            models.CheckConstraint(
                condition=Q(state="processing", next_try_at__isnull=False)
                | (~Q(state="processing") & Q(next_try_at=None)),
                name="acme_processing_is_due",
            ),
            models.CheckConstraint(
                condition=Q(state="valid", validated_at__isnull=False) | (~Q(state="valid") & Q(validated_at=None)),
                name="acme_valid_says_when",
            ),
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(state="processing"), name="acme_challenge_due"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.authorization}"

    @property
    def failure(self) -> str:
        """Why it failed, or failed last, in words."""
        return str(self.error.get("detail", "")) if self.error else ""
