"""Watched endpoints: the list, one with its history, and what may be scanned at all."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views import View

from certificates.models import ScanRange, ScanTarget
from certificates.scan_forms import RangeForm, TargetFilterForm, TargetForm
from certificates.services import scan_policy, scanning
from certificates.tls.grading import grade
from certificates.views.pages import MakePage
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import ConfirmPage, counted
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.downloads import list_download
from keyvault_portal.paging import page_context

EXPORTED = {
    "host": "host", "port": "port", "ring": "ring__name", "state": "last__state", "grade": "last__grade", "sound": "last__sound",
    "versions": "last__versions", "hybrid": "last__hybrid", "staple": "last__staple", "certificate": "last__leaf__fingerprint",
    "ends": "last__leaf__not_after", "scanned": "last__finished_at", "error": "last__error",
}  # fmt: skip


class TargetList(ActorRequiredMixin, View):
    required_permission = Permission.TLS_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        actor = actor_of(request)
        form, rows = TargetFilterForm(request.GET or None), scanning.visible_targets(actor)
        if form.is_valid():
            rows = form.apply(rows)
        if download := list_download(actor, request, "endpoints", rows.order_by("host", "id"), EXPORTED):
            return download
        context = page_context(request, rows.defer("last__report"), ["host", "id"]) | {
            "exportable": True, "title": "Endpoints", "filter_form": form, "now": timezone.now(),
            "subtitle": "Live TLS servers that are watched: what they show, and what changed.",
            "may_add": actor.can_somewhere(Permission.TLS_SCAN),
            "empty_title": "No endpoint is watched yet",
            "empty_text": "Allow a network or a host to be scanned, then add its endpoints.",
            "columns": [
                {"label": "Endpoint"}, {"label": "State"}, {"label": "Grade"}, {"label": "Certificate"}, {"label": "Ends"},
                {"label": "Versions"}, {"label": "Last scan"},
            ],
        }  # fmt: skip
        return render(request, "certificates/target_list.html", context)


class TargetCreate(MakePage):
    required_permission = Permission.TLS_SCAN
    form_class, title, label = TargetForm, "Watch an endpoint", "Watch it"
    intro = "It is scanned at once, and then as often as you say. Only networks and hosts that a security officer allowed are scanned."
    back, detail = "certificates:target-list", "certificates:target-detail"
    done = "It is watched; its first scan is queued."

    def make(self, values: dict[str, Any]) -> ScanTarget:
        return scanning.add_target(actor=self.actor, **values)


class TargetDetail(ActorRequiredMixin, View):
    required_permission = Permission.TLS_VIEW

    def get(self, request: HttpRequest, target_id: UUID) -> HttpResponse:
        actor = actor_of(request)
        row = scanning.visible_target(actor, target_id)
        last = row.last
        report = scanning.report_of(last) if last is not None else None
        scans = list(row.scans.select_related("leaf").defer("report").order_by("-created_at", "-id")[:50])
        context = {
            "title": str(row), "row": row, "last": last, "scans": scans, "report": report, "may_scan": actor.can(Permission.TLS_SCAN, row.ring_id),
            "found": {"grade": grade(report)} if report is not None else None, "under_way": any(scan.finished_at is None for scan in scans),
            "facts": [
                ("Ring", row.ring), ("Owner", row.owner), ("Scanned", f"every {row.every_hours} h" if row.every_hours else "on demand"),
                ("Next scan", row.next_at.strftime("%-d %b %Y, %H:%M UTC") if row.next_at else ""), ("Watched since", f"{row.created_at:%-d %b %Y}"),
                ("Added by", row.created_by),
            ],
        }  # fmt: skip
        return render(request, "certificates/target_detail.html", context)


class TargetScan(ActorRequiredMixin, View):
    """Scan it now."""

    required_permission = Permission.TLS_SCAN

    def post(self, request: HttpRequest, target_id: UUID) -> HttpResponse:
        scanning.request_scan(actor=actor_of(request), target_id=target_id)
        messages.success(request, "A scan is queued.")
        return redirect("certificates:target-detail", target_id)


class TargetRemove(ConfirmPage):
    required_permission = Permission.TLS_SCAN
    done = "It is watched no more."

    def context(self) -> dict[str, Any]:
        row = scanning.visible_target(self.actor, self.kwargs["target_id"])
        authorize(self.actor, Permission.TLS_SCAN, ring_id=row.ring_id, target=str(row))
        return {
            "title": f"Stop watching {row}", "submit_label": "Stop watching", "cancel_url": f"/certificates/endpoints/{row.pk}/", "danger": True,
            "consequences": [
                counted(row.scans.count(), "scan is deleted", "scans are deleted", tone="danger"),
                "Certificates that were found stay in the inventory; they count as gone from this endpoint.",
            ],
        }  # fmt: skip

    def act(self) -> str:
        scanning.remove_target(actor=self.actor, target_id=self.kwargs["target_id"])
        return reverse("certificates:target-list")


class RangeList(ActorRequiredMixin, View):
    """What may be scanned: nothing that is not here, and a form for those who may add to it."""

    required_permission = Permission.TLS_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, RangeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = RangeForm(request.POST)
        if form.is_valid():
            made = form.run(lambda values: scan_policy.allow_range(actor=actor_of(request), **values))
            if made is not None:
                messages.success(request, f"{made} may be scanned.")
                return redirect("certificates:range-list")
        return self._page(request, form, status=422)

    def _page(self, request: HttpRequest, form: RangeForm, status: int = 200) -> HttpResponse:
        actor = actor_of(request)
        context: dict[str, Any] = page_context(request, ScanRange.objects.all(), ["value", "id"]) | {
            "title": "What may be scanned", "subtitle": "Nothing else is, whatever name leads there. This machine never is.",
            "form": form, "may_manage": actor.can(Permission.SETTINGS_MANAGE),
            "empty_title": "Nothing may be scanned yet", "empty_text": "A security officer adds a network or a host.",
            "columns": [{"label": "Network or host"}, {"label": "Reason"}, {"label": "Allowed by"}, {"label": "Actions", "hidden": True}],
        }  # fmt: skip
        return render(request, "certificates/range_list.html", context, status=status)


class RangeWithdraw(ActorRequiredMixin, View):
    required_permission = Permission.SETTINGS_MANAGE

    def post(self, request: HttpRequest, range_id: int) -> HttpResponse:
        scan_policy.withdraw_range(actor=actor_of(request), range_id=range_id)
        messages.success(request, "Nothing is scanned there from now on.")
        return redirect("certificates:range-list")
