"""What lists of ACME accounts and orders can be narrowed by; the same on pages and in the API."""

import django_filters
from django.db.models import Q, QuerySet
from django.forms import HiddenInput

from certificates.acme.states import AccountState, OrderState
from certificates.models import AcmeAccount, AcmeExternalKey, AcmeOrder


def _states(states: type[AccountState] | type[OrderState]) -> list[tuple[str, str]]:
    return [(state.value, state.value.capitalize()) for state in states]


class ExternalKeyFilter(django_filters.FilterSet):
    authority = django_filters.UUIDFilter(field_name="server__authority_id")

    class Meta:
        model = AcmeExternalKey
        fields = ["authority"]


class AccountFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="by_text", label="Contact or key's thumbprint")
    authority = django_filters.CharFilter(field_name="server__authority__name", label="Authority's short name")
    state = django_filters.ChoiceFilter(choices=_states(AccountState), label="State", empty_label="Any state")

    class Meta:
        model = AcmeAccount
        fields = ["q", "authority", "state"]

    def by_text(self, rows: QuerySet[AcmeAccount], name: str, value: str) -> QuerySet[AcmeAccount]:
        return rows.filter(Q(contact__icontains=value) | Q(thumbprint__startswith=value))


class OrderFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="by_text", label="Name")
    authority = django_filters.CharFilter(field_name="server__authority__name", label="Authority's short name")
    state = django_filters.ChoiceFilter(choices=_states(OrderState), label="State", empty_label="Any state")
    account = django_filters.UUIDFilter(field_name="account_id", widget=HiddenInput())

    class Meta:
        model = AcmeOrder
        fields = ["q", "authority", "state", "account"]

    def by_text(self, rows: QuerySet[AcmeOrder], name: str, value: str) -> QuerySet[AcmeOrder]:
        return rows.filter(authorizations__name__contains=value.lower().removeprefix("*.")).distinct()
