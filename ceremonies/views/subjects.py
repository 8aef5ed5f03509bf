"""The page on which a plan says what the ceremony is about, where that is no key."""

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from ceremonies.models import Ceremony
from ceremonies.services import plans, subjects
from ceremonies.views.guests import banner
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.errors import ValidationFailed


class Subject(ActorRequiredMixin, View):
    """Asks what the act's own form asks; others agree to exactly that."""

    required_permission = Permission.CEREMONY_MANAGE

    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        ceremony = plans.visible_ceremony(actor_of(request), ceremony_id)
        form = subjects.subject_form(ceremony, None, actor=actor_of(request))
        form.initial = dict(ceremony.subject)
        return self._page(request, ceremony, form)

    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        actor = actor_of(request)
        ceremony = plans.visible_ceremony(actor, ceremony_id)
        form = subjects.subject_form(ceremony, request.POST, actor=actor)
        if form.is_valid():
            try:
                subjects.set_subject(actor=actor, ceremony_id=ceremony.pk, values=form.cleaned_data)
            except ValidationFailed as error:
                for field, complaints in (error.errors or {"": [error.detail]}).items():
                    form.add_error(field if field in form.fields else None, complaints)
            else:
                messages.success(request, "The plan says what the ceremony is about.")
                return redirect("ceremonies:detail", ceremony.pk)
        return self._page(request, ceremony, form, 422)

    def _page(self, request: HttpRequest, ceremony: Ceremony, form: forms.Form, status: int = 200) -> HttpResponse:
        context = {
            "title": "What it is about", "subtitle": str(ceremony), "form": form, "submit_label": "Write it into the plan",
            "cancel_url": reverse("ceremonies:detail", args=[ceremony.pk]), "practice_banner": banner(ceremony.practice),
            "intro": "Others agree to exactly this, and everybody in the room sees it.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)
