"""Pages: the inbox, one request with its exact act, and notices."""

import json
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views import View

from keyvault_portal.accounts.passkeys import passkeys_of
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import notices, services, signatures, signing_keys
from keyvault_portal.approvals.eligibility import agreeing, groups_counting
from keyvault_portal.approvals.errors import SignatureNeeded, SignatureRefused
from keyvault_portal.approvals.models import ApprovalRequest, Notice
from keyvault_portal.approvals.queries import events_of
from keyvault_portal.approvals.quorum import assign
from keyvault_portal.approvals.states import RequestState
from keyvault_portal.audit.evidence.signatures import SSH_NAMESPACE, statement
from keyvault_portal.audit.files import as_attachment
from keyvault_portal.downloads import list_download
from keyvault_portal.errors import Conflict, ValidationFailed
from keyvault_portal.paging import page_context
from keyvault_portal.polling import polled
from keyvault_portal.templatetags.portal import state_choices

ANY_STATE = [("", "Any"), *state_choices(RequestState)]
RECENT = ["-created_at", "-id"]
EXPORTED = {
    "operation": "operation", "title": "title", "target": "target_label", "requested_by": "requester_label", "reason": "reason", "state": "state",
    "created_at": "created_at", "expires_at": "expires_at", "decided_at": "decided_at", "act_hash": "act_hash", "id": "id",
}  # fmt: skip
ALARMS_SHOWN = 5
COLUMNS = [
    {"label": "Request"},
    {"label": "Target"},
    {"label": "Asked by"},
    {"label": "State"},
    {"label": "Asked"},
    {"label": "Expires"},
]


class ReasonForm(forms.Form):
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), max_length=2000, help_text="Kept in the record for good."
    )


class ApproveForm(forms.Form):
    act_hash = forms.CharField(widget=forms.HiddenInput, max_length=64)
    read = forms.BooleanField()
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), max_length=2000, required=False, label="Note")
    signature = forms.CharField(
        widget=forms.HiddenInput(attrs={"data-passkey-answer": ""}), max_length=signatures.LONGEST, required=False
    )

    def __init__(self, data: Any = None, *, act_hash: str, **options: Any) -> None:
        super().__init__(data, initial={"act_hash": act_hash}, **options)
        self.fields["read"].label = f"I have read the act {act_hash[:8]}… and agree to exactly this."

    def service_values(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("act_hash", "reason", "signature")}


class OfflineForm(ApproveForm):
    """The same decision with a signature that was made elsewhere."""

    signature = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6, "class": "mono", "spellcheck": "false", "autocomplete": "off"}),
        max_length=signatures.LONGEST, help_text="What the command wrote: an OpenSSH or OpenPGP signature, or one line of base64.",
    )  # fmt: skip

    field_order = ["signature", "read", "reason"]


class SigningKeyForm(forms.Form):
    name = forms.CharField(
        max_length=100, label="Name", help_text="So that you know it again, such as: token in my safe."
    )
    public_key = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 5, "class": "mono", "spellcheck": "false", "autocomplete": "off"}),
        max_length=signing_keys.LONGEST, label="Public key",
        help_text="A line that begins with ssh-ed25519, a PEM block of an Ed25519 key, or an OpenPGP certificate. Never the private half.",
    )  # fmt: skip


class RequestFilterForm(forms.Form):
    state = forms.ChoiceField(choices=ANY_STATE, required=False)


class Inbox(ActorRequiredMixin, View):
    """Waiting for me, asked by me, or everything in view."""

    required_permission = Permission.APPROVAL_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        actor, tab = actor_of(request), request.GET.get("tab", "waiting")
        form = RequestFilterForm(request.GET or None)
        if tab == "asked":
            rows = ApprovalRequest.objects.filter(requester_id=services.identity(actor))
        elif tab == "all":
            rows = services.visible_requests(actor)
            if form.is_valid() and form.cleaned_data["state"]:
                rows = rows.filter(state=form.cleaned_data["state"])
        else:
            tab, rows = "waiting", services.waiting_requests(actor)
        tabs = [
            {
                "label": label,
                "url": f"?tab={name}",
                "current": name == tab,
                "count": services.count_waiting(actor) if name == "waiting" else None,
            }
            for name, label in (("waiting", "Waiting for me"), ("asked", "Asked by me"), ("all", "All"))
        ]
        if download := list_download(actor, request, "approvals", rows.order_by(*RECENT), EXPORTED):
            return download
        context = page_context(request, rows, RECENT) | {
            "title": "Approvals", "exportable": True, "tabs": tabs, "columns": COLUMNS, "filter_form": form if tab == "all" else None,
            "empty_title": "Nobody waits for you" if tab == "waiting" else "Nothing here",
            "empty_text": "What needs your agreement appears here and by e-mail.",
            "alarms": list(notices.unread(services.identity(actor)).filter(alarm=True)[:ALARMS_SHOWN]),
        }  # fmt: skip
        return render(request, "approvals/inbox.html", context)


class Detail(ActorRequiredMixin, View):
    required_permission = (Permission.APPROVAL_VIEW, Permission.APPROVAL_DECIDE)

    def get(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        found = services.visible_request(actor_of(request), request_id)
        if not request.headers.get("HX-Request"):  # nobody reads a poll
            notices.mark_read(services.identity(actor_of(request)), path=request.path)
        return polled(request, "approvals/detail.html", "approvals/_live.html", detail_context(request, found))


def detail_context(request: HttpRequest, found: ApprovalRequest, form: ApproveForm | None = None) -> dict[str, Any]:
    """Everything the page of one request shows."""
    actor, decisions = actor_of(request), list(found.decisions.order_by("at"))
    groups = services.groups_of(found)
    progress = [
        {"role": group.role.replace("_", " "), "count": count, "threshold": group.threshold}
        for group, count in zip(groups, assign(groups, agreeing(decisions, groups)), strict=True)
    ]
    open_ = found.state == RequestState.PENDING.value and found.expires_at > timezone.now()
    counts = actor.id is not None and actor.id != found.requester_id and bool(groups_counting(actor.id, groups))
    decided = any(decision.person_id == actor.id for decision in decisions)
    return {
        "title": found.title, "approval": found, "state": found.state, "shown": found.state, "decisions": decisions, "progress": progress,
        "act_text": json.dumps(json.loads(bytes(found.act)), indent=2, sort_keys=True), "live": found.state in {"pending", "approved"},
        "may_decide": open_ and counts and not decided, "needs_second_factor": counts and not actor.second_factor,
        "may_reject": not services.left_to_others(found, actor.id),
        "may_withdraw": open_ and actor.id == found.requester_id,
        "may_break": open_ and actor.can(Permission.APPROVAL_BREAK_GLASS, found.ring_id),
        "approve_form": form if form and not isinstance(form, OfflineForm) else ApproveForm(act_hash=found.act_hash),
        "offline_form": form if isinstance(form, OfflineForm) else OfflineForm(act_hash=found.act_hash, auto_id="offline_%s"),
        "must_sign": counts and all(groups[index].signed for index in groups_counting(actor.id, groups)) if actor.id else False,
        "passkey_options": signatures.options_for(actor.id, bytes(found.act)) if actor.id and counts and open_ and not decided else "",
        "own_keys": list(signing_keys.keys_of(actor.id)), "namespace": SSH_NAMESPACE, "statement_name": statement_name(found),
        "reject_form": ReasonForm(prefix="reject"),
        "events": events_of(found) if actor.can(Permission.AUDIT_VIEW, found.ring_id) else [],
        "facts": [
            ("Target", found.target_label), ("Asked by", found.requester_label), ("Reason", found.reason),
            ("Asked", f"{found.created_at:%-d %b %Y, %H:%M} UTC"), ("Expires", f"{found.expires_at:%-d %b %Y, %H:%M} UTC"),
            ("Operation", found.operation),
        ],
    }  # fmt: skip


class Approve(ActorRequiredMixin, View):
    required_permission = Permission.APPROVAL_DECIDE

    def post(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        found = services.visible_request(actor_of(request), request_id)
        offline = "offline" in request.POST
        form = (
            OfflineForm(request.POST, act_hash=found.act_hash, auto_id="offline_%s")
            if offline
            else ApproveForm(request.POST, act_hash=found.act_hash)
        )
        if form.is_valid():
            try:
                services.approve(actor=actor_of(request), request_id=found.pk, **form.service_values())
            except (SignatureNeeded, SignatureRefused) as error:
                form.add_error("signature" if offline else None, f"{error.title}. {error.detail} {error.hint}")
            else:
                messages.success(request, "Your agreement is counted.")
                return redirect("approvals:detail", found.pk)
        return render(request, "approvals/detail.html", detail_context(request, found, form), status=422)


class Statement(ActorRequiredMixin, View):
    """The exact bytes that are signed offline, as a file."""

    required_permission = (Permission.APPROVAL_VIEW, Permission.APPROVAL_DECIDE)

    def get(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        found = services.visible_request(actor_of(request), request_id)
        response = HttpResponse(statement(bytes(found.act)), content_type="application/octet-stream")
        return as_attachment(response, statement_name(found))


def statement_name(found: ApprovalRequest) -> str:
    """What the file of the statement is called."""
    return f"act-{found.act_hash[:12]}.txt"


class Reject(ActorRequiredMixin, View):
    required_permission = Permission.APPROVAL_DECIDE

    def post(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        found = services.visible_request(actor_of(request), request_id)
        form = ReasonForm(request.POST, prefix="reject")
        if not form.is_valid():
            raise ValidationFailed(
                "Say why you reject it.",
                errors={name: [str(error) for error in found] for name, found in form.errors.items()},
            )
        services.reject(actor=actor_of(request), request_id=found.pk, reason=form.cleaned_data["reason"])
        messages.success(request, "The request is rejected.")
        return redirect("approvals:detail", found.pk)


class Withdraw(ActorRequiredMixin, View):
    required_permission = Permission.APPROVAL_VIEW

    def post(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        found = services.visible_request(actor_of(request), request_id)
        services.withdraw(actor=actor_of(request), request_id=found.pk)
        messages.success(request, "The request is withdrawn.")
        return redirect("approvals:detail", found.pk)


class BreakGlass(ActorRequiredMixin, View):
    """Says who will be alarmed before it asks."""

    required_permission = Permission.APPROVAL_BREAK_GLASS

    def get(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        return self._page(request, services.visible_request(actor_of(request), request_id), ReasonForm())

    def post(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        found = services.visible_request(actor_of(request), request_id)
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._page(request, found, form, status=422)
        services.break_glass(actor=actor_of(request), request_id=found.pk, reason=form.cleaned_data["reason"])
        messages.warning(request, "The glass is broken; everybody skipped has been told.")
        return redirect("approvals:detail", found.pk)

    def _page(self, request: HttpRequest, found: ApprovalRequest, form: ReasonForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Break the glass", "subtitle": str(found), "danger": True, "form": form, "submit_label": "Perform it without agreement",
            "question": "The act is performed at once, without the agreement that the policy asks for.",
            "consequences": [*found.consequences, "Everybody whose agreement is skipped gets an alarm with your name and reason.",
                             "The record keeps it for good, with the number of people skipped."],
            "cancel_url": f"/approvals/{found.pk}/", "act_hash": found.act_hash,
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


class SigningKeys(ActorRequiredMixin, View):
    """One's own keys for signing acts offline."""

    required_permission = Permission.APPROVAL_DECIDE

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, SigningKeyForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = SigningKeyForm(request.POST)
        if form.is_valid():
            try:
                signing_keys.ask_for_key(actor=actor_of(request), **form.cleaned_data)
            except ValidationFailed as error:
                for name, said in (error.errors or {"public_key": [f"{error.detail} {error.hint}"]}).items():
                    form.add_error(name, said)
            except Conflict as error:
                form.add_error("public_key", f"{error.detail} {error.hint}")
        return self._page(request, form, 422)

    def _page(self, request: HttpRequest, form: SigningKeyForm, status: int = 200) -> HttpResponse:
        me = services.identity(actor_of(request))
        context = {
            "title": "Signing keys", "subtitle": "Keys with which you sign acts away from the portal.", "form": form,
            "keys": list(signing_keys.keys_of(me)), "passkeys": len(passkeys_of(me)),
            "asked": ApprovalRequest.objects.filter(requester_id=me, operation=signing_keys.ADD_KEY, state=RequestState.PENDING.value),
        }  # fmt: skip
        return render(request, "approvals/signing_keys.html", context, status=status)


class SigningKeyRemove(ActorRequiredMixin, View):
    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        signing_keys.remove_key(actor=actor_of(request), key_id=pk)
        messages.success(request, "The key signs nothing any more; what it signed stays signed.")
        return redirect("approvals:signing-keys")


class Notices(ActorRequiredMixin, View):
    """What the portal told this person."""

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = Notice.objects.filter(person_id=services.identity(actor_of(request)))
        context = page_context(request, rows, RECENT) | {
            "title": "Notices", "unread": notices.unread(services.identity(actor_of(request))).exists(),
            "columns": [{"label": "Notice"}, {"label": "When"}, {"label": "Read"}], "empty_title": "No notices",
            "empty_text": "What needs you, and what became of what you asked, is told here and by e-mail.",
        }  # fmt: skip
        return render(request, "approvals/notices.html", context)

    def post(self, request: HttpRequest) -> HttpResponse:
        notices.mark_read(services.identity(actor_of(request)))
        return redirect("approvals:notices")
