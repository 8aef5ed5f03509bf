"""What lists of people, rings, bindings and tokens can be narrowed by; the same on pages and in the API."""

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils import timezone

from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Role


class PersonFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="by_text", label="Name or e-mail address")
    role = django_filters.ChoiceFilter(choices=Role.choices, method="by_role", label="Role", empty_label="Any role")
    kind = django_filters.ChoiceFilter(choices=Person.Kind.choices, label="Kind", empty_label="Any kind")
    is_active = django_filters.BooleanFilter(
        label="State", widget=forms.Select(choices=[("", "Any state"), ("true", "Active"), ("false", "Inactive")])
    )

    class Meta:
        model = Person
        fields = ["q", "role", "kind", "is_active"]

    def by_text(self, people: QuerySet[Person], name: str, value: str) -> QuerySet[Person]:
        return people.filter(Q(name__icontains=value) | Q(email__icontains=value))

    def by_role(self, people: QuerySet[Person], name: str, value: str) -> QuerySet[Person]:
        return people.filter(pk__in=RoleBinding.objects.filter(role=value).values("person_id"))


class RingFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="by_text", label="Name or title")

    class Meta:
        model = KeyRing
        fields = ["q"]

    def by_text(self, rings: QuerySet[KeyRing], name: str, value: str) -> QuerySet[KeyRing]:
        return rings.filter(Q(name__icontains=value) | Q(title__icontains=value))


class BindingFilter(django_filters.FilterSet):
    class Meta:
        model = RoleBinding
        fields = ["person", "role", "ring"]


class TokenFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="by_text", label="Token or owner")
    state = django_filters.ChoiceFilter(
        choices=[("active", "Active"), ("expired", "Expired"), ("revoked", "Revoked")],
        method="by_state",
        label="State",
        empty_label="Any state",
    )

    class Meta:
        model = ApiToken
        fields = ["q", "state"]

    def by_text(self, tokens: QuerySet[ApiToken], name: str, value: str) -> QuerySet[ApiToken]:
        return tokens.filter(
            Q(name__icontains=value) | Q(owner__name__icontains=value) | Q(owner__email__icontains=value)
        )

    def by_state(self, tokens: QuerySet[ApiToken], name: str, value: str) -> QuerySet[ApiToken]:
        expired = Q(expires_at__lte=timezone.now())
        if value == "revoked":
            return tokens.exclude(revoked_at=None)
        return tokens.filter(expired if value == "expired" else ~expired | Q(expires_at=None), revoked_at=None)
