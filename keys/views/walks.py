"""What the pages of a rotation and of a move share: both are a walk over what stands on a version, under somebody's control."""

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from keys.forms import ReasonForm, ServiceForm, ThrottleForm
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.errors import ValidationFailed

AFTER_GRACE = "after the grace period"  # when an act that ends something can be undone no more


class OneWalk(ActorRequiredMixin, View):
    """A view of the one that `walk` finds by the only value in the address, which services take by the same name."""

    required_permission = Permission.ROTATION_CONTROL
    walk: ClassVar[Callable[..., Any]]
    page: ClassVar[str]
    service: ClassVar[Callable[..., Any]]
    done: ClassVar[str] = ""

    def find(self, **which: UUID) -> Any:
        """Raises NotFound where there is none that may be seen."""
        return type(self).walk(self.request, **which)

    def run(self, which: dict[str, UUID], **values: Any) -> Any:
        """Let the service act."""
        return type(self).service(actor=actor_of(self.request), **which, **values)

    def back(self, found: Any) -> HttpResponse:
        """To its page, with word of what was done."""
        messages.success(self.request, self.done)
        return redirect(self.page, found.pk)


class WalkAct(OneWalk):
    """One button of the page."""

    def post(self, request: HttpRequest, **which: UUID) -> HttpResponse:
        found = self.find(**which)
        self.run(which)
        return self.back(found)


class WalkThrottle(OneWalk):
    """How many items a second it may move."""

    done = "The new rate holds from the next page on."

    def post(self, request: HttpRequest, **which: UUID) -> HttpResponse:
        found, form = self.find(**which), ThrottleForm(request.POST)
        if not form.is_valid():
            raise ValidationFailed("The rate is not a number of items a second.", errors=errors_of(form))
        self.run(which, rate_limit=form.cleaned_data["rate_limit"])
        return self.back(found)


class WalkConfirm(OneWalk):
    """A page that says the consequences and asks for a reason, for the acts that end something."""

    words: ClassVar[tuple[str, str, str]]  # title, question, button
    form: ClassVar[type[ReasonForm]] = ReasonForm
    danger = False
    irreversible: ClassVar[bool | str] = False  # or AFTER_GRACE

    def get(self, request: HttpRequest, **which: UUID) -> HttpResponse:
        return self._page(self.find(**which), self.form())

    def post(self, request: HttpRequest, **which: UUID) -> HttpResponse:
        found, form = self.find(**which), self.form(request.POST)
        if form.is_valid() and form.run(lambda values: (self.run(which, **values), True)[1]):
            return self.back(found)
        return self._page(found, form, status=422)

    def _page(self, found: Any, form: ReasonForm, status: int = 200) -> HttpResponse:
        title, question, button = self.words
        context = {
            "title": title, "subtitle": str(found), "question": question, "form": form, "submit_label": button, "danger": self.danger,
            "irreversible": self.irreversible, "consequences": self.consequences(found),
            "cancel_url": reverse(self.page, args=[found.pk]), "needs_approval": self.needs_approval(found),
        }  # fmt: skip
        return render(self.request, "generic/confirm.html", context, status=status)

    def consequences(self, found: Any) -> list[str]:
        """What it means, in numbers."""
        return []

    def needs_approval(self, found: Any) -> str:
        """Who must agree, in words."""
        return ""


def errors_of(form: ServiceForm) -> dict[str, list[str]]:
    """What a form found wrong, as an error carries it."""
    return {name: [str(error) for error in said] for name, said in form.errors.items()}
