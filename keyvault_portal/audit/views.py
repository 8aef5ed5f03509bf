"""Pages of the record: reading, exporting, and checking a single event for oneself."""

from typing import Any

import orjson
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views import View

from keyvault_portal.accounts.web import ActorRequiredMixin
from keyvault_portal.audit.access import Permission
from keyvault_portal.audit.checkpoint import CheckpointError, verify
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.exports import FORMATS, SEARCHED, export
from keyvault_portal.audit.files import as_attachment, evidence_file
from keyvault_portal.audit.forms import EventFilter, ExportForm
from keyvault_portal.audit.merkle import ProofError
from keyvault_portal.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from keyvault_portal.audit.proofs import inclusion
from keyvault_portal.audit.signing import load_signer
from keyvault_portal.audit.tiles import TreeDamaged
from keyvault_portal.errors import NotFound, ValidationFailed
from keyvault_portal.paging import page_context

NEWS = 100  # new events are counted up to here


class RecordPage(ActorRequiredMixin, View):
    """A page for readers of the record."""

    required_permission = Permission.AUDIT_VIEW

    def form(self) -> EventFilter:
        return EventFilter(self.request.GET, actor=self.actor, permission=Permission.AUDIT_VIEW)


class EventList(RecordPage):
    """The newest events first, filtered by the address."""

    def get(self, request: HttpRequest) -> HttpResponse:
        form = self.form()
        filters = form.filters()
        size = AuditHead.objects.values_list("size", flat=True).get()
        found = filters.queryset()
        note = ""
        if first := filters.searched_from(size):
            found = found.filter(seq__gte=first)
            note = f"Text is searched in the newest {SEARCHED:,} events. Choose a time range to search further back."
        context = {
            "title": "Audit",
            "subtitle": f"{size:,} events",
            "columns": [{"label": label} for label in ("No.", "Time (UTC)", "Actor", "Action", "Target", "Outcome")],
            "filter_form": form,
            "pager_note": note,
            "empty_title": "No event yet",
            "newest": size - 1,
            "query": request.GET.urlencode(),
            "may_export": self.actor.can_somewhere(Permission.AUDIT_EXPORT),
            **page_context(request, found, ["-seq"]),
        }
        context["object_list"] = [(event, orjson.loads(bytes(event.leaf))) for event in context["object_list"]]
        return render(request, "audit/event_list.html", context)


class EventNews(RecordPage):
    """How many events that match came after `after`: the live line above the list."""

    def get(self, request: HttpRequest) -> HttpResponse:
        try:
            after = int(request.GET.get("after", ""))
        except ValueError:
            raise ValidationFailed("after is not an event number.") from None
        found = self.form().filters().queryset().filter(seq__gt=after).order_by("seq")
        count = len(found.values_list("seq", flat=True)[: NEWS + 1])
        query = request.GET.copy()
        for name in ("after", "cursor"):
            query.pop(name, None)
        context = {"count": min(count, NEWS), "more": count > NEWS, "after": after, "query": query.urlencode()}
        return render(request, "audit/_news.html", context)


class EventDetail(RecordPage):
    """One event with its proof of inclusion, verified while the page is made."""

    def get(self, request: HttpRequest, seq: int) -> HttpResponse:
        rings = self.actor.ring_ids(Permission.AUDIT_VIEW)
        event = AuditEvent.objects.filter(seq=seq).first() if seq < 2**63 else None
        if event is None or (rings is not None and event.ring_id not in rings):
            raise NotFound(f"There is no event {seq}.")
        leaf = orjson.loads(bytes(event.leaf))
        checkpoint = AuditCheckpoint.objects.filter(tree_size__gt=seq).order_by("tree_size").first()
        context: dict[str, Any] = {
            "title": f"Event {seq}",
            "state": event.outcome,
            "event": event,
            "facts": _facts(event, leaf),
            "canonical": bytes(event.leaf).decode(errors="replace"),
            "details": orjson.dumps(leaf["details"], option=orjson.OPT_INDENT_2).decode() if leaf["details"] else "",
            "leaf_hash": bytes(event.leaf_hash).hex(),
            "checkpoint": checkpoint,
        }
        return render(request, "audit/event_detail.html", context | _proof(event, checkpoint))


class CheckpointList(RecordPage):
    """The signed checkpoints, newest first."""

    def get(self, request: HttpRequest) -> HttpResponse:
        context = {
            "title": "Checkpoints",
            "subtitle": "Keep one elsewhere: whoever holds it can tell whether anything before it was changed.",
            "columns": [{"label": label} for label in ("Events", "Time (UTC)", "Root", "Signed note")],
            "empty_title": "No checkpoint yet",
            **page_context(request, AuditCheckpoint.objects.all(), ["-tree_size"]),
        }
        return render(request, "audit/checkpoint_list.html", context)


class CheckpointNote(RecordPage):
    """The signed note itself, to keep elsewhere."""

    def get(self, request: HttpRequest, size: int) -> HttpResponse:
        checkpoint = AuditCheckpoint.objects.filter(tree_size=size).first() if size < 2**63 else None
        if checkpoint is None:
            raise NotFound(f"There is no checkpoint of {size} events.")
        return as_attachment(
            HttpResponse(checkpoint.note, content_type="text/plain; charset=utf-8"), f"checkpoint-{size}.txt"
        )


class Export(ActorRequiredMixin, View):
    """Choose what to export; the answer to the form is the file, streamed."""

    required_permission = Permission.AUDIT_EXPORT

    def get(self, request: HttpRequest) -> HttpResponse:
        form = ExportForm(None, actor=self.actor, permission=Permission.AUDIT_EXPORT)
        form.initial = {name: request.GET.get(name, "") for name in form.fields} | {"format": "jsonl"}
        return self._page(request, form)

    def post(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        form = ExportForm(request.POST, actor=self.actor, permission=Permission.AUDIT_EXPORT)
        if not form.is_valid():
            return self._page(request, form, status=422)
        kind = form.cleaned_data["format"]
        response = StreamingHttpResponse(export(self.actor, kind, form.filters()), content_type=FORMATS[kind])
        return as_attachment(response, f"audit-{timezone.now():%Y%m%dT%H%M%SZ}.{kind}")

    def _page(self, request: HttpRequest, form: ExportForm, status: int = 200) -> HttpResponse:
        everything = self.actor.can(Permission.AUDIT_EXPORT)
        public_key = load_signer().public_key.hex() if everything else ""
        context = {"title": "Export the record", "form": form, "may_pack": everything, "public_key": public_key}
        return render(request, "audit/export.html", context, status=status)


class Evidence(ActorRequiredMixin, View):
    """The whole record as an evidence pack."""

    required_permission = Permission.AUDIT_EXPORT

    def post(self, request: HttpRequest) -> FileResponse:
        return evidence_file(self.actor)


def _facts(event: AuditEvent, leaf: dict[str, Any]) -> list[tuple[str, Any]]:
    actor, target = leaf["actor"], leaf["target"]
    return [
        ("Time (UTC)", leaf["at"]),
        ("Actor", f"{actor['label']} ({actor['kind']})"),
        ("Actor id", actor["id"]),
        ("Address", actor.get("address")),
        ("Token", actor.get("token")),
        ("Action", leaf["action"]),
        ("Target", " ".join(part for part in (target["type"], target["label"] or target["id"]) if part)),
        ("Target id", target["id"]),
        ("Key ring", leaf["ring"]),
    ]


def _proof(event: AuditEvent, checkpoint: AuditCheckpoint | None) -> dict[str, Any]:
    """The proof that the event is under the next checkpoint's root, which the key here signed, or why there is none."""
    if checkpoint is None:
        return {"proof_error": "No checkpoint covers this event."}
    try:
        proof = inclusion(event.seq, checkpoint.tree_size)
        proof.verify()
        signed = verify(checkpoint.note, [load_signer().public_key])
    except (ProofError, TreeDamaged, AuditUnavailable) as error:
        return {"proof_error": str(error)}
    except CheckpointError as error:
        detail = f"The checkpoint of {checkpoint.tree_size} events: {error} ./manage.py verify_audit says what to do."
        return {"proof_error": detail}
    if (proof.size, proof.root) != (signed.size, signed.root):
        return {"proof_error": "The proof leads to another root than the checkpoint's: the record was altered."}
    return {"path": [node.hex() for node in proof.path], "root": proof.root.hex()}
