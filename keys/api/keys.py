"""REST: keys, their policies and their versions; each action is one service."""

from collections.abc import Callable
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from keys import serializers as shapes
from keys.api.base import ACCEPTED, CURSOR
from keys.api.moves import MovesOfKeys
from keys.crypto.algorithms import ALGORITHMS
from keys.models import Key, KeyVersion
from keys.models.keys import VERSION_STATES
from keys.services import budget, exports, lifecycle, rotation
from keys.services.overview import visible_keys
from keys.transfer_serializers import ExportRequestSerializer
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, ValidationFailed
from keyvault_portal.paging import cursor_page

VERSION = r"versions/(?P<number>\d{1,9})"


class KeyFilter(filters.FilterSet):
    algorithm = filters.ChoiceFilter(choices=[(name, name) for name in ALGORITHMS])
    overdue = filters.BooleanFilter(method="filter_overdue", label="The cryptoperiod has ended")
    uses_due = filters.BooleanFilter(method="filter_uses_due", label="So many uses that rotation is due")
    status = filters.ChoiceFilter(field_name="current__status", choices=VERSION_STATES)
    ring = filters.CharFilter(field_name="ring__name")
    q = filters.CharFilter(method="filter_text")
    parent = filters.UUIDFilter(field_name="parent_id")

    class Meta:
        model = Key
        fields = ["kind", "provider", "name"]

    def filter_text(self, keys: QuerySet[Key], name: str, value: str) -> QuerySet[Key]:
        return keys.filter(Q(name__icontains=value) | Q(title__icontains=value))

    def filter_overdue(self, keys: QuerySet[Key], name: str, value: bool) -> QuerySet[Key]:
        now = timezone.now()
        return keys.filter(next_rotation_at__lt=now) if value else keys.exclude(next_rotation_at__lt=now)

    def filter_uses_due(self, keys: QuerySet[Key], name: str, value: bool) -> QuerySet[Key]:
        due = budget.due_versions().values("key_id")
        return keys.filter(pk__in=due) if value else keys.exclude(pk__in=due)


class KeyViewSet(MovesOfKeys, ReadOnlyModelViewSet[Key]):
    """Keys in view of the caller; writes go through the lifecycle services."""

    serializer_class = shapes.KeySerializer
    queryset = Key.objects.none()
    filterset_class = KeyFilter
    keyset_order = ("name", "id")
    required_permission = Permission.KEY_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Key]:
        return visible_keys(self.actor).select_related("ring", "current", "policy")

    @extend_schema(request=shapes.KeyCreateSerializer, responses={201: shapes.KeySerializer})
    def create(self, request: Request) -> Response:
        values = self.body(shapes.KeyCreateSerializer)
        ring = KeyRing.objects.filter(pk=values["ring"]).first()
        parent = visible_keys(self.actor).filter(pk=values["parent"]).first() if values["parent"] else None
        if ring is None or not self.actor.can(Permission.KEY_CREATE, ring.pk):
            raise ValidationFailed(errors={"ring": ["There is no such ring, or you may not create keys in it."]})
        if values["parent"] and parent is None:
            raise ValidationFailed(errors={"parent": ["There is no such key, or you may not see it."]})
        key = lifecycle.create_key(actor=self.actor, **(values | {"ring": ring, "parent": parent}))
        return Response(
            shapes.KeySerializer(key).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/v1/keys/{key.pk}"},
        )

    @extend_schema(request=shapes.KeyEditSerializer, responses=shapes.KeySerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """What describes the key, never what it is."""
        key = self.get_object()
        lifecycle.edit_key(actor=self.actor, key_id=key.pk, **self.body(shapes.KeyEditSerializer))
        return Response(shapes.KeySerializer(self.get_object()).data)

    @extend_schema(responses=shapes.BudgetSerializer)
    @action(detail=True, methods=["get"])
    def budget(self, request: Request, pk: str) -> Response:
        """Where the version in use stands against its safe limit of uses."""
        current = self.get_object().current
        if current is None:
            raise NotFound("This key has no version in use.")
        return Response(shapes.BudgetSerializer(budget.status(current)).data)

    @extend_schema(responses=shapes.PolicySerializer)
    @action(detail=True, methods=["get"])
    def policy(self, request: Request, pk: str) -> Response:
        """The policy that governs this key."""
        return Response(shapes.PolicySerializer(self.get_object().policy).data)

    @extend_schema(request=shapes.PolicyChangeSerializer, responses={200: shapes.PolicySerializer, 202: ACCEPTED})
    @policy.mapping.patch
    def change_policy(self, request: Request, pk: str) -> Response:
        key = self.get_object()
        serializer = shapes.PolicyChangeSerializer(key.policy, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        changes = dict(serializer.validated_data)
        reason = changes.pop("reason", "")
        policy = lifecycle.update_policy(actor=self.actor, key_id=key.pk, changes=changes, reason=reason)
        return Response(shapes.PolicySerializer(policy).data)

    @extend_schema(responses=shapes.VersionPageSerializer, parameters=[CURSOR])
    @action(detail=True, methods=["get"], pagination_class=None, filter_backends=[])
    def versions(self, request: Request, pk: str) -> Response:
        """Versions of this key, newest first, in keyset pages."""
        page = cursor_page(request, self.get_object().versions.all(), ["-key_version"])
        return Response({"results": shapes.VersionSerializer(page.rows, many=True).data, "next_cursor": page.older})

    @extend_schema(responses=shapes.VersionDetailSerializer, operation_id="keys_version_retrieve")
    @action(detail=True, methods=["get"], url_path=VERSION)
    def version(self, request: Request, pk: str, number: str) -> Response:
        """One version, and what its destruction would lose."""
        return Response(shapes.VersionDetailSerializer(self._version(self.get_object(), number)).data)

    @extend_schema(responses=shapes.EstimateSerializer)
    @action(detail=True, methods=["get"], url_path="dry-run")
    def dry_run(self, request: Request, pk: str) -> Response:
        """Items, provider calls and seconds a rotation would take."""
        estimate = rotation.dry_run(actor=self.actor, key_id=self.get_object().pk)
        return Response(estimate.as_dict())

    @extend_schema(request=shapes.RotateSerializer, responses={201: shapes.RotationSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        key, values = self.get_object(), self.body(shapes.RotateSerializer)
        number = values.pop("key_version")
        seen = None if number is None else self._version(key, number).pk
        found = rotation.request_rotation(actor=self.actor, key_id=key.pk, version_id=seen, **values)
        return Response(
            shapes.RotationSerializer(found).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/v1/rotations/{found.pk}"},
        )

    @extend_schema(request=ExportRequestSerializer, responses={202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def export(self, request: Request, pk: str) -> Response:
        """Ask for a wrapped copy for a recipient; others always have to agree, so this never answers at once."""
        values = self.body(ExportRequestSerializer)
        row = exports.request_export(actor=self.actor, key_id=self.get_object().pk, **values)
        return Response(status=status.HTTP_202_ACCEPTED, headers={"Location": f"/api/v1/exports/{row.pk}"})

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.KeySerializer)
    @action(detail=True, methods=["post"], url_path="withdraw-exportability")
    def withdraw_exportability(self, request: Request, pk: str) -> Response:
        """No version of this key can be exported from now on, for ever."""
        key = self.get_object()
        exports.withdraw_exportability(actor=self.actor, key_id=key.pk, **self.body(shapes.ReasonSerializer))
        return Response(shapes.KeySerializer(self.get_object()).data)

    @staticmethod
    def _version(key: Key, number: str | int) -> KeyVersion:
        version = key.versions.filter(key_version=int(number)).first()
        if version is None:
            raise NotFound(f"{key} has no version {number}.")
        return version

    def _act(self, number: str, permission: Permission, shape: type[Any], service: Callable[..., Any]) -> Response:
        key = self.get_object()
        authorize(self.actor, permission, ring_id=key.ring_id, target=str(key))
        version = self._version(key, number)
        service(actor=self.actor, version_id=version.pk, **self.body(shape))
        return Response(shapes.VersionSerializer(KeyVersion.objects.get(pk=version.pk)).data)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=VERSION + "/suspend")
    def suspend(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DISABLE, shapes.ReasonSerializer, lifecycle.suspend_version)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=VERSION + "/resume")
    def resume(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DISABLE, shapes.ReasonSerializer, lifecycle.resume_version)

    @extend_schema(request=shapes.ReasonSerializer, responses={200: shapes.VersionSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"], url_path=VERSION + "/activate")
    def activate(self, request: Request, pk: str, number: str) -> Response:
        """Take a version that waits into use; where another is in use this starts a rotation to it."""
        return self._act(number, Permission.KEY_ROTATE, shapes.ReasonSerializer, rotation.take_into_use)

    @extend_schema(request=shapes.CompromiseSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=VERSION + "/compromise")
    def compromise(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_COMPROMISE, shapes.CompromiseSerializer, rotation.rotate_compromised)

    @extend_schema(request=shapes.DeletionSerializer, responses={200: shapes.VersionSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"], url_path=VERSION + "/schedule-deletion")
    def schedule_deletion(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DESTROY, shapes.DeletionSerializer, lifecycle.schedule_deletion)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=VERSION + "/confirm-deletion")
    def confirm_deletion(self, request: Request, pk: str, number: str) -> Response:
        """Start the clock again that a use of the version stopped."""
        return self._act(number, Permission.KEY_DESTROY, shapes.ReasonSerializer, lifecycle.confirm_deletion)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=VERSION + "/cancel-deletion")
    def cancel_deletion(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DESTROY, shapes.ReasonSerializer, lifecycle.cancel_deletion)
