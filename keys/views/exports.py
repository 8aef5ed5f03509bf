"""Giving a key out: the page that says what it means and to whom, what came of it, and withdrawing that it can be done at all."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from keys.forms import ReasonForm
from keys.hierarchy import WRAPPING_ALGORITHMS
from keys.models import Key, KeyExport
from keys.services import commands, exports, policies
from keys.services.exports.giving import why_not
from keys.services.exports.requesting import ALONE_NEVER
from keys.services.exports.wrapping import KEPT, export_context
from keys.services.overview import visible_exports, visible_keys
from keys.views.keys import agreement_words, visible_key
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.audit.files import as_attachment
from keyvault_portal.visible import found


class ExportForm(ReasonForm):
    version_number = forms.IntegerField(
        min_value=1, required=False, label="Version", help_text="Empty: the version in use."
    )
    recipient = forms.CharField(max_length=200, help_text="Who gets it, as the record will call them.")
    recipient_key = forms.CharField(
        required=False, max_length=20_000, label="The recipient's public key", widget=forms.Textarea(attrs={"rows": 6, "class": "mono"}),
        help_text="RSA of at least 2048 bits, or X25519; as PEM. Its fingerprint is what approvers compare.",
    )  # fmt: skip
    wrapping_key = forms.ModelChoiceField(
        Key.objects.none(),
        required=False,
        label="Or wrap it under",
        help_text="Another key of the hierarchy, instead of a public key.",
    )
    field_order = ("version_number", "recipient", "recipient_key", "wrapping_key", "reason")

    def __init__(self, *args: Any, key: Key, choices: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        wraps = choices.filter(algorithm__in=WRAPPING_ALGORITHMS, current__status="active").exclude(pk=key.pk)
        self.fields["wrapping_key"].queryset = wraps.order_by("name")  # type: ignore[attr-defined]

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        values["wrapping_key"] = values["wrapping_key"].pk if values["wrapping_key"] else None
        return values


class ExportRequest(ActorRequiredMixin, View):
    """Always ends in a request for agreement; a key that can never be exported says why instead of asking."""

    required_permission = Permission.KEY_EXPORT

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = _key(request, key_id, Permission.KEY_EXPORT)
        return self._page(request, key, self._form(request, key))

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = _key(request, key_id, Permission.KEY_EXPORT)
        form = self._form(request, key, request.POST)
        if form.is_valid():
            row = form.run(lambda values: exports.request_export(actor=actor_of(request), key_id=key.pk, **values))
            if row is not None:
                return redirect("keys:export-detail", row.pk)
        return self._page(request, key, form, status=422)

    @staticmethod
    def _form(request: HttpRequest, key: Key, data: Any = None) -> ExportForm:
        return ExportForm(data, key=key, choices=visible_keys(actor_of(request)))

    @staticmethod
    def _page(request: HttpRequest, key: Key, form: ExportForm, status: int = 200) -> HttpResponse:
        refused, version = why_not(key), key.current
        groups = policies.strictest_groups(policies.values_of(key.policy)) or ALONE_NEVER
        context = {
            "title": f"Export {key.title}", "key": key, "form": form, "refused": refused, "submit_label": "Ask for the export",
            "consequences": exports.consequences(version, "The recipient") if version else [],
            "question": "A copy of this key will exist outside the portal, for ever.", "danger": True,
            "needs_approval": agreement_words(groups), "cancel_url": f"/keys/{key.pk}/",
        }  # fmt: skip
        return render(request, "keys/export_request.html", context, status=status)


def _key(request: HttpRequest, key_id: UUID, permission: Permission) -> Key:
    key = visible_key(request, key_id)
    authorize(actor_of(request), permission, ring_id=key.ring_id, target=str(key))
    return key


def _visible(request: HttpRequest, export_id: UUID) -> KeyExport:
    rows = visible_exports(actor_of(request)).select_related("version__key__ring", "wrapping_version__key__ring")
    return found(rows, export_id, "export")


class ExportDetail(ActorRequiredMixin, View):
    required_permission = Permission.KEY_VIEW

    def get(self, request: HttpRequest, export_id: UUID) -> HttpResponse:
        row = _visible(request, export_id)
        key = row.version.key
        wrapper = row.wrapping_version
        context = {
            "title": f"Export of {row.version}", "row": row, "key": key, "state": row.state,
            "may_collect": actor_of(request).can(Permission.KEY_EXPORT, key.ring_id) and row.state == "ready",
            "kept_days": KEPT.days, "context": export_context(row) if wrapper else None,
            "commands": commands.open_commands(row.method, bytes(row.recipient_key)) if row.recipient_key else "",
            "facts": [
                ("Key", f"{key.ring.name}/{key.name}, version {row.version.key_version}"),
                ("Recipient", row.recipient), ("Wrapped by", row.get_method_display()),
                ("Under", f"{wrapper.key.ring.name}/{wrapper.key.name}, version {wrapper.key_version}" if wrapper else ""),
                ("Fingerprint of the public key (SHA-256)", row.fingerprint), ("Check value", row.check_value), ("Reason", row.reason),
                ("Asked for", f"{row.created_at:%-d %b %Y, %H:%M} by {row.requested_by}"),
                ("Collected", f"{row.collected_at:%-d %b %Y, %H:%M} by {row.collected_by}" if row.collected_at else ""),
            ],
        }  # fmt: skip
        return render(request, "keys/export_detail.html", context)


class ExportCollect(ActorRequiredMixin, View):
    """The wrapped key as a file, for its recipient."""

    required_permission = Permission.KEY_EXPORT

    @method_decorator(never_cache)
    def post(self, request: HttpRequest, export_id: UUID) -> HttpResponse:
        row = exports.collect_export(actor=actor_of(request), export_id=_visible(request, export_id).pk)
        content = HttpResponse(bytes(row.wrapped or b""), content_type="application/octet-stream")
        return as_attachment(content, "export.bin")


class ExportErase(ActorRequiredMixin, View):
    required_permission = Permission.KEY_EXPORT

    def post(self, request: HttpRequest, export_id: UUID) -> HttpResponse:
        row = exports.erase_export(actor=actor_of(request), export_id=_visible(request, export_id).pk)
        messages.success(request, "The wrapped key is erased here. That it was given out stays written.")
        return redirect("keys:export-detail", row.pk)


class WithdrawExportability(ActorRequiredMixin, View):
    required_permission = Permission.KEY_EDIT

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        return self._page(request, _key(request, key_id, Permission.KEY_EDIT), ReasonForm())

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key, form = _key(request, key_id, Permission.KEY_EDIT), ReasonForm(request.POST)
        done = (
            None
            if not form.is_valid()
            else form.run(
                lambda values: exports.withdraw_exportability(actor=actor_of(request), key_id=key.pk, **values)
            )
        )
        if done is not None:
            messages.success(request, f"{key} can never be exported from now on.")
            return redirect("keys:key-detail", key.pk)
        return self._page(request, key, form, status=422)

    @staticmethod
    def _page(request: HttpRequest, key: Key, form: ReasonForm, status: int = 200) -> HttpResponse:
        consequences = [
            "No version of this key can be exported any more, not even by agreement.",
            "What was given out before stays with whoever has it.",
        ]
        context = {
            "title": f"Never export {key.title} again", "form": form, "consequences": consequences, "irreversible": True,
            "submit_label": "Withdraw it for ever", "cancel_url": f"/keys/{key.pk}/",
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)
