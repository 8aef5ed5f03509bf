"""Certificate Transparency: the list of logs in force, watched logs, and what was found in them."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views import View

from certificates.models import LogMonitor
from certificates.scan_forms import LogListForm, MonitorForm
from certificates.services import log_lists, monitoring
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.paging import page_context

OLD_LIST_DAYS = 70  # browsers enforce nothing by a list that is older


class Transparency(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor, in_force = actor_of(request), log_lists.current_list()
        context: dict[str, Any] = page_context(request, monitoring.visible_monitors(actor), ["name", "id"]) | {
            "title": "Certificate Transparency",
            "subtitle": "Logs that are read for certificates with your names, and the logs whose promises count.",
            "in_force": in_force, "number": len(log_lists.logs_of(in_force)),
            "old": in_force is not None and log_lists.days_old(in_force) > OLD_LIST_DAYS,
            "may_upload": actor.can(Permission.SETTINGS_MANAGE), "may_watch": actor.can_somewhere(Permission.TLS_SCAN),
            "empty_title": "No log is watched yet",
            "empty_text": "Watch a log, and you are told of every certificate for your names that nobody here knows.",
            "columns": [{"label": "Log"}, {"label": "State"}, {"label": "Names"}, {"label": "Read up to"}, {"label": "Tree head of"}],
        }  # fmt: skip
        return render(request, "certificates/transparency.html", context)


class LogListUpload(ActorRequiredMixin, View):
    required_permission = Permission.SETTINGS_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, LogListForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = LogListForm(request.POST, request.FILES)
        if form.is_valid():
            made = form.run(lambda values: log_lists.upload_list(actor=actor_of(request), **values))
            if made is not None:
                messages.success(request, f"The list {made.version} is in force.")
                return redirect("certificates:transparency")
        return self._page(request, form, status=422)

    def _page(self, request: HttpRequest, form: LogListForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Upload a list of logs", "form": form, "submit_label": "Put it into force", "cancel_url": "/certificates/transparency/",
            "intro": "Promises in certificates are verified with the keys of this list. Browsers renew theirs every few days.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class MonitorCreate(ActorRequiredMixin, View):
    required_permission = Permission.TLS_SCAN

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, MonitorForm(actor=actor_of(request)))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = MonitorForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            made = form.run(lambda values: monitoring.watch_log(actor=actor_of(request), **values))
            if made is not None:
                messages.success(request, "It is watched from its present end on.")
                return redirect("certificates:monitor-detail", made.pk)
        return self._page(request, form, status=422)

    def _page(self, request: HttpRequest, form: MonitorForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Watch a log", "form": form, "submit_label": "Watch it", "cancel_url": "/certificates/transparency/",
            "intro": "Every new entry is read and hashed into a tree of our own, so that a log that lies is found out. "
            "Its host has to be one that may be scanned.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class MonitorDetail(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, monitor_id: UUID) -> HttpResponse:
        actor = actor_of(request)
        row = monitoring.visible_monitor(actor, monitor_id)
        rows = row.findings.defer("der").select_related("certificate")
        context = page_context(request, rows, ["-index"]) | {
            "title": row.name, "row": row, "may_watch": actor.can(Permission.TLS_SCAN, row.ring_id),
            "empty_title": "Nothing with your names yet", "empty_text": "New entries are read as the schedule says.",
            "columns": [{"label": "Entry"}, {"label": "Names"}, {"label": "Issuer"}, {"label": "Known here"}, {"label": "Logged"}],
            "facts": [
                ("Address", row.url), ("Names", ", ".join(row.domains)), ("Ring", row.ring), ("Read up to", f"entry {row.position:,}"),
                ("Read", f"every {row.every_minutes} minutes"),
            ],
        }  # fmt: skip
        return render(request, "certificates/monitor_detail.html", context)


class MonitorRead(ActorRequiredMixin, View):
    """Read it now."""

    required_permission = Permission.TLS_SCAN

    def post(self, request: HttpRequest, monitor_id: UUID) -> HttpResponse:
        monitoring.request_poll(actor=actor_of(request), monitor_id=monitor_id)
        messages.success(request, "It is read as soon as a worker is free.")
        return redirect("certificates:monitor-detail", monitor_id)


class MonitorRemove(ActorRequiredMixin, View):
    required_permission = Permission.TLS_SCAN

    def get(self, request: HttpRequest, monitor_id: UUID) -> HttpResponse:
        row = self._find(request, monitor_id)
        context = {
            "title": f"Stop watching {row}", "submit_label": "Stop watching", "cancel_url": f"/certificates/transparency/{row.pk}/", "danger": True,
            "consequences": [
                {"count": row.findings.count(), "text": "findings are deleted", "tone": "danger"},
                "Certificates that others issue for your names are not noticed in this log any more.",
            ],
        }  # fmt: skip
        return render(request, "generic/confirm.html", context)

    def post(self, request: HttpRequest, monitor_id: UUID) -> HttpResponse:
        monitoring.unwatch_log(actor=actor_of(request), monitor_id=monitor_id)
        messages.success(request, "It is watched no more.")
        return redirect("certificates:transparency")

    def _find(self, request: HttpRequest, monitor_id: UUID) -> LogMonitor:
        row = monitoring.visible_monitor(actor_of(request), monitor_id)
        authorize(actor_of(request), Permission.TLS_SCAN, ring_id=row.ring_id, target=row.name)
        return row
