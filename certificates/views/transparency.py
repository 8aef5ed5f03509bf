"""Certificate Transparency: the list of logs in force, watched logs, and what was found in them."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from certificates.models import LogList, LogMonitor
from certificates.scan_forms import LogListForm, MonitorForm
from certificates.services import log_lists, monitoring
from certificates.views.pages import MakePage
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import ConfirmPage, counted
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.paging import page_context


class Transparency(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor, in_force = actor_of(request), log_lists.current_list()
        context: dict[str, Any] = page_context(request, monitoring.visible_monitors(actor), ["name", "id"]) | {
            "title": "Certificate Transparency",
            "subtitle": "Logs that are read for certificates with your names, and the logs whose promises count.",
            "in_force": in_force, "number": len(log_lists.logs_of(in_force)),
            "old": in_force is not None and log_lists.is_old(in_force),
            "may_upload": actor.can(Permission.SETTINGS_MANAGE), "may_watch": actor.can_somewhere(Permission.TLS_SCAN),
            "empty_title": "No log is watched yet",
            "empty_text": "Watch a log, and you are told of every certificate for your names that nobody here knows.",
            "columns": [{"label": "Log"}, {"label": "State"}, {"label": "Names"}, {"label": "Read up to"}, {"label": "Tree head of"}],
        }  # fmt: skip
        return render(request, "certificates/transparency.html", context)


class LogListUpload(MakePage):
    required_permission = Permission.SETTINGS_MANAGE
    form_class, title, label = LogListForm, "Upload a list of logs", "Put it into force"
    intro = "Promises in certificates are verified with the keys of this list. Browsers renew theirs every few days."
    back = "certificates:transparency"

    def form(self, *given: Any, **more: Any) -> LogListForm:
        return LogListForm(*given, **more)

    def make(self, values: dict[str, Any]) -> LogList:
        return log_lists.upload_list(actor=self.actor, **values)

    def said(self, made: LogList) -> str:
        return f"The list {made.version} is in force."

    def address(self, made: LogList) -> str:
        return reverse(self.back)


class MonitorCreate(MakePage):
    required_permission = Permission.TLS_SCAN
    form_class, title, label = MonitorForm, "Watch a log", "Watch it"
    intro = (
        "Every new entry is read and hashed into a tree of our own, so that a log that lies is found out. "
        "Its host has to be one that may be scanned."
    )
    back, detail = "certificates:transparency", "certificates:monitor-detail"
    done = "It is watched from its present end on."

    def make(self, values: dict[str, Any]) -> LogMonitor:
        return monitoring.watch_log(actor=self.actor, **values)


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


class MonitorRemove(ConfirmPage):
    required_permission = Permission.TLS_SCAN
    done = "It is watched no more."

    def context(self) -> dict[str, Any]:
        row = monitoring.visible_monitor(self.actor, self.kwargs["monitor_id"])
        authorize(self.actor, Permission.TLS_SCAN, ring_id=row.ring_id, target=row.name)
        return {
            "title": f"Stop watching {row}", "submit_label": "Stop watching", "cancel_url": f"/certificates/transparency/{row.pk}/", "danger": True,
            "consequences": [
                counted(row.findings.count(), "finding is deleted", "findings are deleted", tone="danger"),
                "Certificates that others issue for your names are not noticed in this log any more.",
            ],
        }  # fmt: skip

    def act(self) -> str:
        monitoring.unwatch_log(actor=self.actor, monitor_id=self.kwargs["monitor_id"])
        return reverse("certificates:transparency")
