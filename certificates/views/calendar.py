"""The calendar of the ends of certificates."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Window
from django.db.models.functions import RowNumber, TruncDate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views import View

from certificates.models import Certificate
from certificates.services.reading import visible_certificates
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.paging import page_context

CALENDAR_DAYS, SHOWN_A_DAY, MANY = 30, 4, 1_000


class ExpiryCalendar(ActorRequiredMixin, View):
    """The next 30 days by day, what ended lately, and the certificates that end next."""

    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        now = timezone.now()
        rows = visible_certificates(actor_of(request)).filter(state="valid").exclude(profile="ocsp-responder")
        soon = rows.filter(not_after__gt=now, not_after__lte=now + timedelta(days=CALENDAR_DAYS))
        shown = soon.only("subject", "names", "serial", "not_after").annotate(
            place=Window(RowNumber(), partition_by=TruncDate("not_after"), order_by=["not_after", "id"])
        )
        due = list(shown.filter(place__lte=SHOWN_A_DAY).order_by("not_after", "id"))
        context = page_context(request, rows.filter(not_after__gt=now).select_related("authority"), ["not_after", "id"], size=25) | {
            "title": "Expiry calendar", "subtitle": "What ends in the next 30 days. People are told 30, 14, 7 and 1 days before.",
            "days": _days(now.date(), due, _renewed(due), _crowded(soon)),
            "late": rows.filter(not_after__lte=now, not_after__gt=now - timedelta(days=30))[:MANY].count(), "due": soon[:MANY].count(),
            "columns": [{"label": "Certificate"}, {"label": "Issuer"}, {"label": "Owner"}, {"label": "Ends"}],
            "empty_title": "Nothing ends", "empty_text": "There is no certificate that is still valid.",
        }  # fmt: skip
        return render(request, "certificates/expiry.html", context)


def _renewed(rows: Collection[Certificate]) -> set[UUID]:
    """Which of these have a successor; asked for those that are shown only, by their ids."""
    found = Certificate.objects.filter(renews__in=[row.pk for row in rows])
    return {renewed for renewed in found.values_list("renews_id", flat=True) if renewed is not None}


def _crowded(soon: QuerySet[Certificate]) -> dict[date, int]:
    """The days on which more end than are shown, and how many in all."""
    counted = soon.order_by().annotate(day=TruncDate("not_after")).values("day").annotate(count=Count("id"))
    return dict(counted.filter(count__gt=SHOWN_A_DAY).values_list("day", "count"))


def _days(
    today: date, due: Iterable[Certificate], renewed: Collection[UUID], crowded: Mapping[date, int]
) -> list[dict[str, Any]]:
    by_day: dict[date, list[dict[str, str]]] = {}
    for row in due:
        state = "done" if row.pk in renewed else "due"
        item = {"title": str(row), "url": f"/certificates/{row.pk}/", "state": state}
        by_day.setdefault(row.not_after.date(), []).append(item)
    days = [today + timedelta(days=number) for number in range(CALENDAR_DAYS)]
    return [
        {
            "date": day,
            "today": day == today,
            "weekend": day.weekday() > 4,
            "items_due": by_day.get(day, []),
            "more": crowded[day] - SHOWN_A_DAY if day in crowded else 0,
            "url": f"/certificates/?state=valid&sort=ends&on={day}",
        }
        for day in days
    ]
