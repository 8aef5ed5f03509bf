"""Dashboard, settings and health: pages that look across the apps."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views import View
from redis import Redis, RedisError

from keys.models import Key
from keys.services import overview
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit.models import AuditCheckpoint, AuditSigner


class Dashboard(ActorRequiredMixin, View):
    """What is wrong, what waits for me, what happens next."""

    required_permission = Permission.APPROVAL_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        findings = [
            {
                "tone": finding.tone, "title": finding.title, "detail": finding.detail,
                "url": reverse(finding.url_name, args=finding.url_args) + (f"?{finding.query}" if finding.query else ""),
            }
            for finding in overview.attention(actor)
        ]  # fmt: skip
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
        database = settings.DATABASES["default"]
        latest = AuditCheckpoint.objects.order_by("-tree_size").first()
        context = {
            "title": "Settings",
            "subtitle": "How this installation runs. Values come from environment variables; change them there and restart.",
            "sections": [
                ("Mode", [
                    ("Services", "embedded" if settings.EMBEDDED else "of your own"),
                    ("Production rules", "on" if settings.PRODUCTION else "off"), ("Address", settings.PORTAL_ORIGIN),
                    ("Allowed hosts", ", ".join(settings.ALLOWED_HOSTS)),
                ]),
                ("Database", [("Host", database["HOST"]), ("Name", database["NAME"]), ("Role", database["USER"]), ("Server", _server_version())]),
                ("Background work", [("Broker", "answers" if _broker_answers() else "does not answer"),
                                     ("Schedule", f"{len(settings.CELERY_BEAT_SCHEDULE)} periodic tasks")]),
                ("Record", [
                    ("Origin", settings.AUDIT_ORIGIN), ("Events", f"{latest.tree_size:,}" if latest else "0"),
                    ("Last checkpoint", f"{latest.at:%Y-%m-%d %H:%M:%S} UTC" if latest else "none"),
                    ("Signing keys", AuditSigner.objects.count()),
                ]),
                ("Sign-in", [("Second factor", "required for officers"), ("Session ends after", f"{settings.SESSION_COOKIE_AGE // 3600} hours")]),
            ],
        }  # fmt: skip
        return render(request, "settings.html", context)


def healthz(request: HttpRequest) -> JsonResponse:
    """200 when the database and the broker answer, 503 otherwise; says which, and nothing more."""
    parts = {"database": _database_answers(), "broker": _broker_answers()}
    return JsonResponse(
        {"status": "ok" if all(parts.values()) else "unavailable", **parts}, status=200 if all(parts.values()) else 503
    )


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _server_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return f"PostgreSQL {cursor.fetchone()[0]}"


def _broker_answers() -> bool:
    try:
        with Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=timedelta(seconds=2).total_seconds()) as client:
            return bool(client.ping())
    except RedisError:
        return False
