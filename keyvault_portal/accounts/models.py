"""People, key rings, role bindings, API tokens and one-time links."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower

from keyvault_portal.accounts.permissions import Role


class PersonManager(BaseUserManager["Person"]):
    """Finds people by e-mail address, whatever its letters' case."""

    def get_by_natural_key(self, username: str | None) -> "Person":
        return self.get(email__iexact=username)

    def create_person(self, *, email: str, name: str, password: str | None = None, **extra: Any) -> "Person":
        """A person who can sign in (with a password, or by link until one is set)."""
        person = self.model(email=self.normalize_email(email).lower(), name=name, **extra)
        person.set_password(password) if password else person.set_unusable_password()
        person.save(using=self._db)
        return person


class Person(AbstractBaseUser):
    """Somebody or something that acts; rights come from role bindings only, never from a flag here."""

    class Kind(models.TextChoices):
        PERSON = "person", "Person"
        SERVICE = "service", "Service"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=150)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.PERSON)
    is_active = models.BooleanField(default=True)
    site = models.CharField(
        max_length=100, blank=True, help_text="Where this person works; ceremonies keep shares apart by site."
    )
    reporting_line = models.CharField(
        max_length=100, blank=True, help_text="Department or manager; ceremonies keep shares apart by it."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[PersonManager] = PersonManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["name"]
    is_staff = False
    is_superuser = False

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("email"), name="accounts_person_email_ci"),
            models.CheckConstraint(condition=models.Q(kind__in=["person", "service"]), name="accounts_person_kind"),
        ]

    def __str__(self) -> str:
        return self.name or self.email

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.split(" ")[0]

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Always False: Django's permission flags are not how rights are given here."""
        return False

    def has_module_perms(self, app_label: str) -> bool:
        return False


class KeyRing(models.Model):
    """A named group of keys: the unit on which roles are given."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=63, unique=True)
    title = models.CharField(max_length=150)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.title


class RoleBinding(models.Model):
    """This person holds this role on this ring, or on everything when `ring` is empty."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="bindings")
    role = models.CharField(max_length=20, choices=Role.choices)
    ring = models.ForeignKey(KeyRing, on_delete=models.CASCADE, null=True, blank=True, related_name="bindings")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["person", "role", "ring"], nulls_distinct=False, name="accounts_binding_once"
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="accounts_binding_role"),
        ]

    def __str__(self) -> str:
        return f"{self.person} as {self.get_role_display()} on {self.ring or 'everything'}"


class ApiToken(models.Model):
    """A credential for automation: only a peppered digest of its secret is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.BinaryField(max_length=32, editable=False)
    scopes = models.JSONField(default=list)
    rings = models.ManyToManyField(KeyRing, blank=True, related_name="api_tokens")
    cidrs = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_ip = models.GenericIPAddressField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["owner", "-created_at"], name="accounts_token_owner")]

    def __str__(self) -> str:
        return self.name


class OneTimeLink(models.Model):
    """A link that works once: sets up the first officer, or signs an invited person in."""

    class Purpose(models.TextChoices):
        SETUP = "setup", "Set up the first security officer"
        SIGN_IN = "sign_in", "Sign in"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    purpose = models.CharField(max_length=10, choices=Purpose)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, null=True, blank=True, related_name="links")
    digest = models.BinaryField(max_length=32, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.get_purpose_display()} until {self.expires_at:%Y-%m-%d %H:%M}"
