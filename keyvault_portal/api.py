"""REST: what the dashboard and the settings page show."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from keys.advisor.rules import TONES
from keys.services import overview
from keyvault_portal import installation
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.filtering import refuse_undeclared


class FindingSerializer(serializers.Serializer[Any]):
    tone = serializers.ChoiceField(choices=TONES)
    title = serializers.CharField()
    detail = serializers.CharField()
    page = serializers.CharField(help_text="Path of the page where it is put right.")


class WaitingSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    target_label = serializers.CharField()
    requester_label = serializers.CharField()
    expires_at = serializers.DateTimeField()


class RunningSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    key_id = serializers.UUIDField()
    state = serializers.CharField()


class DueKeySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    next_rotation_at = serializers.DateTimeField(allow_null=True)
    overdue = serializers.BooleanField()


class DaySerializer(serializers.Serializer[Any]):
    date = serializers.DateField()
    keys = DueKeySerializer(many=True)


class PostureSerializer(serializers.Serializer[Any]):
    keys = serializers.IntegerField()
    bounded = serializers.BooleanField(help_text="Whether there are more keys than were looked at.")
    overdue = serializers.IntegerField(help_text="Keys whose cryptoperiod has ended.")
    uses_due = serializers.IntegerField(help_text="Keys with so many uses that rotation is due.")
    by_standing = serializers.DictField(child=serializers.IntegerField())
    recommended_share = serializers.IntegerField(help_text="Per cent.")
    quantum_safe = serializers.IntegerField()


class DashboardSerializer(serializers.Serializer[Any]):
    attention = FindingSerializer(many=True)
    waiting = WaitingSerializer(many=True)
    running = RunningSerializer(many=True)
    calendar = DaySerializer(many=True)
    posture = PostureSerializer()


class FactSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    value = serializers.CharField()


class SettingsSectionSerializer(serializers.Serializer[Any]):
    title = serializers.CharField()
    facts = FactSerializer(many=True)


class DashboardView(APIView):
    """What is wrong, what waits for the caller, what falls due, and the posture of the keys in view."""

    required_permission = Permission.APPROVAL_VIEW

    @extend_schema(responses=DashboardSerializer)
    def get(self, request: Request) -> Response:
        actor, now = request.actor, timezone.now()  # type: ignore[attr-defined]
        found: dict[str, Any] = {
            "attention": overview.attention(actor),
            "waiting": approvals.waiting_for(actor, limit=5),
            "running": overview.running_rotations(actor),
            "calendar": [
                {"date": entry.day, "keys": [
                    {"id": key.pk, "title": key.title, "next_rotation_at": key.next_rotation_at,
                     "overdue": key.next_rotation_at is not None and key.next_rotation_at < now}
                    for key in entry.keys
                ]}
                for entry in overview.calendar(actor)
            ],
            "posture": overview.posture(actor),
        }  # fmt: skip
        return Response(DashboardSerializer(found).data)


class SettingsView(APIView):
    """How this installation runs; settings come from the environment and are changed there."""

    required_permission = Permission.SETTINGS_VIEW

    @extend_schema(responses=SettingsSectionSerializer(many=True))
    def get(self, request: Request) -> Response:
        refuse_undeclared(request, ())
        sections = [
            {"title": title, "facts": [{"name": name, "value": value} for name, value in facts]}
            for title, facts in installation.facts()
        ]
        return Response(SettingsSectionSerializer(sections, many=True).data)
