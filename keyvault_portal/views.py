"""Dashboard, settings and health: pages that look across the apps."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views import View

from keys.models import Key
from keys.services import overview
from keyvault_portal import installation
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import services as approvals


class Dashboard(ActorRequiredMixin, View):
    """What is wrong, what waits for me, what happens next."""

    required_permission = Permission.APPROVAL_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        findings = [
            {"tone": finding.tone, "title": finding.title, "detail": finding.detail, "url": finding.page}
            for finding in overview.attention(actor)
        ]
        posture = overview.posture(actor)
        context = {
            "title": "Dashboard", "findings": findings, "waiting": approvals.waiting_for(actor, limit=5),
            "running": overview.running_rotations(actor), "days": _calendar(actor), "posture": posture,
            "standings": sorted(posture.by_standing.items()),
        }  # fmt: skip
        return render(request, "dashboard.html", context)


def _due(key: Key, now: datetime) -> dict[str, str]:
    overdue = key.next_rotation_at is not None and key.next_rotation_at < now
    return {
        "title": key.title,
        "url": reverse("keys:key-detail", args=[key.pk]),
        "state": "overdue" if overdue else "due",
    }


def _calendar(actor: Any) -> list[dict[str, Any]]:
    today, now = timezone.localdate(), timezone.now()
    return [
        {
            "date": entry.day, "today": entry.day == today, "weekend": entry.day.weekday() >= 5,
            "items_due": [_due(key, now) for key in entry.keys],
        }
        for entry in overview.calendar(actor)
    ]  # fmt: skip


class Settings(ActorRequiredMixin, View):
    """How this installation runs; read-only, because settings come from the environment."""

    required_permission = Permission.SETTINGS_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        context = {
            "title": "Settings",
            "subtitle": "How this installation runs. Values come from environment variables; change them there and restart.",
            "sections": installation.facts(),
        }
        return render(request, "settings.html", context)


def healthz(request: HttpRequest) -> JsonResponse:
    """200 when the database and the broker answer, 503 otherwise; says which, and nothing more."""
    parts = {"database": installation.database_answers(), "broker": installation.broker_answers()}
    return JsonResponse(
        {"status": "ok" if all(parts.values()) else "unavailable", **parts}, status=200 if all(parts.values()) else 503
    )
