"""How this installation runs and whether what it needs answers: read by the settings page, REST and health checks."""

from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from redis import Redis, RedisError

from keyvault_portal.audit.models import AuditCheckpoint, AuditSigner

type Facts = list[tuple[str, str]]


def facts() -> list[tuple[str, Facts]]:
    """Headings with their facts, in words; no secret is among them."""
    database = settings.DATABASES["default"]
    latest = AuditCheckpoint.objects.order_by("-tree_size").first()
    return [
        ("Mode", [
            ("Services", "embedded" if settings.EMBEDDED else "of your own"),
            ("Production rules", "on" if settings.PRODUCTION else "off"), ("Address", settings.PORTAL_ORIGIN),
            ("Allowed hosts", ", ".join(settings.ALLOWED_HOSTS)),
        ]),
        ("Database", [
            ("Host", str(database["HOST"])), ("Name", str(database["NAME"])), ("Role", str(database["USER"])), ("Server", _server_version()),
        ]),
        ("Background work", [
            ("Broker", "answers" if broker_answers() else "does not answer"),
            ("Schedule", f"{len(settings.CELERY_BEAT_SCHEDULE)} periodic tasks"),
        ]),
        ("Record", [
            ("Origin", settings.AUDIT_ORIGIN), ("Events", f"{latest.tree_size:,}" if latest else "0"),
            ("Last checkpoint", f"{latest.at:%Y-%m-%d %H:%M:%S} UTC" if latest else "none"),
            ("Signing keys", str(AuditSigner.objects.count())),
        ]),
        ("Sign-in", [
            ("Second factor", "required for officers"), ("Session ends after", f"{settings.SESSION_COOKIE_AGE // 3600} hours"),
        ]),
    ]  # fmt: skip


def database_answers() -> bool:
    """Whether the database serves a query."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def broker_answers() -> bool:
    """Whether the broker answers within two seconds."""
    try:
        with Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=timedelta(seconds=2).total_seconds()) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _server_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return f"PostgreSQL {cursor.fetchone()[0]}"
