"""REST: key providers, their health and differences, and the work that is done at them."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from keys import provider_serializers as shapes
from keys.api.base import CURSOR, ActorView
from keys.models import KeyProvider, ProviderIntent
from keys.providers.registry import KINDS
from keys.serializers import KeySerializer, ReasonSerializer
from keys.services import data_key_cache
from keys.services.overview import visible_keys
from keys.services.providers import breaker, comparison, figures, findings, health, intents, registration, replication
from keys.services.ratelimit import provider_budget
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.filtering import whole_list
from keyvault_portal.paging import cursor_page
from keyvault_portal.visible import on_rings

DIFFERENCE = r"differences/(?P<number>\d{1,18})"


class ProviderFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=lambda: [(name, kind.title) for name, kind in KINDS.items()])

    class Meta:
        model = KeyProvider
        fields = ["state"]


class ProviderViewSet(ActorView, ReadOnlyModelViewSet[KeyProvider]):
    """Where keys may live; credentials are write-only."""

    serializer_class = shapes.ProviderSerializer
    queryset = KeyProvider.objects.none()
    filterset_class = ProviderFilter
    keyset_order = ("alias",)
    required_permission = Permission.PROVIDER_VIEW
    lookup_field = "alias"
    lookup_value_regex = "[-a-z0-9]{1,63}"

    def get_queryset(self) -> QuerySet[KeyProvider]:
        return registration.providers()

    def _manager(self) -> None:
        authorize(self.actor, Permission.PROVIDER_MANAGE, target="key providers")

    @extend_schema(request=shapes.ProviderCreateSerializer, responses={201: shapes.ProviderSerializer})
    def create(self, request: Request) -> Response:
        self._manager()
        row = registration.register_provider(actor=self.actor, **self.body(shapes.ProviderCreateSerializer))
        return Response(
            shapes.ProviderSerializer(row).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/v1/providers/{row.alias}"},
        )

    @extend_schema(request=shapes.ProviderEditSerializer, responses=shapes.ProviderSerializer)
    def update(self, request: Request, alias: str) -> Response:
        """Change its title, settings or budget; every process sees it within a few seconds."""
        self._manager()
        row = registration.update_provider(
            actor=self.actor, alias=self.get_object().alias, **self.body(shapes.ProviderEditSerializer)
        )
        return Response(shapes.ProviderSerializer(row).data)

    @extend_schema(responses=shapes.KindSerializer(many=True))
    @whole_list(detail=False)
    def kinds(self, request: Request) -> Response:
        """The kinds there are, and what is missing to use one."""
        rows = [{"kind": kind, "title": title, "missing": missing} for kind, title, missing in registration.kinds()]
        return Response(rows)

    @extend_schema(request=None, responses=shapes.TestReportSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, alias: str) -> Response:
        """A harmless round trip, also while the breaker is open."""
        self._manager()
        report = health.test_provider(actor=self.actor, alias=self.get_object().alias)
        return Response(report.as_dict())

    @extend_schema(responses=shapes.HealthSerializer)
    @action(detail=True, methods=["get"])
    def health(self, request: Request, alias: str) -> Response:
        """Latency, errors and the breaker, over the last hour."""
        row = self.get_object()
        hour = figures.of(row.alias)
        found = {
            "circuit": breaker.look(row.alias).value, "calls": hour.calls, "failures": hour.errors, "p50_ms": hour.p50, "p95_ms": hour.p95,
            "p99_ms": hour.p99, "budget": provider_budget(row.alias), "complaints": figures.complaints(row.alias),
            "on_replica": row.on_replica, "regions": replication.regions_of(row),
            "data_keys": data_key_cache.figures_of(row.alias),
        }  # fmt: skip
        return Response(shapes.HealthSerializer(found).data)

    @extend_schema(request=ReasonSerializer, responses=shapes.ProviderSerializer)
    @action(detail=True, methods=["post"])
    def disable(self, request: Request, alias: str) -> Response:
        """Send nothing to it any more: its keys cannot be used until it is enabled again."""
        self._manager()
        row = registration.disable_provider(
            actor=self.actor, alias=self.get_object().alias, **self.body(ReasonSerializer)
        )
        return Response(shapes.ProviderSerializer(row).data)

    @extend_schema(request=ReasonSerializer, responses=shapes.ProviderSerializer)
    @action(detail=True, methods=["post"])
    def enable(self, request: Request, alias: str) -> Response:
        """Take it into use again."""
        self._manager()
        row = registration.enable_provider(
            actor=self.actor, alias=self.get_object().alias, **self.body(ReasonSerializer)
        )
        return Response(shapes.ProviderSerializer(row).data)

    @extend_schema(
        request=None, responses={202: OpenApiResponse(description="A worker compares; Location lists what differs.")}
    )
    @action(detail=True, methods=["post"])
    def compare(self, request: Request, alias: str) -> Response:
        """Compare what it really has with the inventory."""
        self._manager()
        row = comparison.request_comparison(actor=self.actor, alias=self.get_object().alias)
        where = {"Location": f"/api/v1/providers/{row.alias}/differences"}
        return Response(status=status.HTTP_202_ACCEPTED, headers=where)

    @extend_schema(responses=shapes.DifferencePageSerializer, parameters=[CURSOR])
    @action(detail=True, methods=["get"], pagination_class=None, filter_backends=[])
    def differences(self, request: Request, alias: str) -> Response:
        """What differs from the inventory and is not resolved, in keyset pages."""
        rows = findings.findings_of(self.get_object()).order_by()
        page = cursor_page(request, rows, ["id"])
        return Response({"results": shapes.DifferenceSerializer(page.rows, many=True).data, "next_cursor": page.older})

    @extend_schema(request=ReasonSerializer, responses=shapes.DifferenceSerializer)
    @action(detail=True, methods=["post"], url_path=DIFFERENCE + "/ignore")
    def ignore(self, request: Request, alias: str, number: str) -> Response:
        """Leave a difference as it is, with a reason."""
        self._manager()
        finding = findings.ignore_finding(
            actor=self.actor, alias=self.get_object().alias, finding_id=int(number), **self.body(ReasonSerializer)
        )
        return Response(shapes.DifferenceSerializer(finding).data)

    @extend_schema(request=shapes.AcceptanceSerializer, responses=shapes.DifferenceSerializer)
    @action(detail=True, methods=["post"], url_path=DIFFERENCE + "/accept")
    def accept(self, request: Request, alias: str, number: str) -> Response:
        """Take a changed policy, attribute or tag as right; 409 if it has changed again."""
        self._manager()
        finding = findings.accept_finding(
            actor=self.actor, alias=self.get_object().alias, finding_id=int(number), **self.body(shapes.AcceptanceSerializer)
        )  # fmt: skip
        return Response(shapes.DifferenceSerializer(finding).data)

    @extend_schema(request=None, responses=shapes.DifferenceSerializer)
    @action(detail=True, methods=["post"], url_path=DIFFERENCE + "/mend")
    def mend(self, request: Request, alias: str, number: str) -> Response:
        """Bring the provider to the state of the inventory."""
        self._manager()
        finding = findings.mend_finding(actor=self.actor, alias=self.get_object().alias, finding_id=int(number))
        return Response(shapes.DifferenceSerializer(finding).data)

    @extend_schema(request=shapes.AdoptionSerializer, responses={201: KeySerializer})
    @action(detail=True, methods=["post"], url_path=DIFFERENCE + "/adopt")
    def adopt(self, request: Request, alias: str, number: str) -> Response:
        """Take an unknown key into the inventory."""
        self._manager()
        values = self.body(shapes.AdoptionSerializer)
        key = findings.adopt_key(
            actor=self.actor, alias=self.get_object().alias, finding_id=int(number), **self._placed(values)
        )
        return Response(
            KeySerializer(key).data, status=status.HTTP_201_CREATED, headers={"Location": f"/api/v1/keys/{key.pk}"}
        )

    def _placed(self, values: dict[str, Any]) -> dict[str, Any]:
        ring = KeyRing.objects.filter(pk=values["ring"]).first()
        parent = visible_keys(self.actor).filter(pk=values["parent"]).first() if values["parent"] else None
        if ring is None or not self.actor.can(Permission.KEY_CREATE, ring.pk):
            raise ValidationFailed(errors={"ring": ["There is no such ring, or you may not create keys in it."]})
        if values["parent"] and parent is None:
            raise ValidationFailed(errors={"parent": ["There is no such key, or you may not see it."]})
        return values | {"ring": ring, "parent": parent}


class WorkFilter(filters.FilterSet):
    key = filters.UUIDFilter(field_name="version__key_id")
    provider = filters.CharFilter(field_name="version__provider")

    class Meta:
        model = ProviderIntent
        fields = ["state", "act"]


class WorkViewSet(ActorView, ReadOnlyModelViewSet[ProviderIntent]):
    """Work at providers: queued, calling, waiting, done or failed."""

    serializer_class = shapes.WorkSerializer
    queryset = ProviderIntent.objects.none()
    filterset_class = WorkFilter
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.KEY_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[ProviderIntent]:
        rows = ProviderIntent.objects.select_related("version__key")
        return on_rings(rows, self.actor.ring_ids(Permission.KEY_VIEW), "version__key__ring_id")

    @extend_schema(request=None, responses=shapes.WorkSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Try failed work again."""
        intent = intents.retry_intent(actor=self.actor, intent_id=self.get_object().pk)
        return Response(shapes.WorkSerializer(intent).data)
