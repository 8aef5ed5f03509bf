"""What pages of certificates have in common: a form that makes one thing, and an act that says its consequences first."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from keys.forms import ReasonForm, ServiceForm
from keyvault_portal.accounts.web import ActorRequiredMixin


class MakePage(ActorRequiredMixin, View, ABC):
    """A form whose values one service makes something of, which then is shown on its page.

    `back` names the page one came from, `detail` the page of what was made; `prefilled` are the fields that the address may
    fill in.
    """

    form_class: ClassVar[type[Any]]  # a ServiceForm that knows its actor
    title: ClassVar[str]
    label: ClassVar[str]
    intro: ClassVar[str] = ""
    back: ClassVar[str]
    detail: ClassVar[str] = ""
    done: ClassVar[str] = ""
    prefilled: ClassVar[tuple[str, ...]] = ()
    template_name: ClassVar[str] = "generic/form.html"

    @abstractmethod
    def make(self, values: dict[str, Any]) -> Any:
        """Call the service; returns what it made."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(self.form(initial={name: request.GET.get(name) for name in self.prefilled}))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = self.form(request.POST, request.FILES)
        if form.is_valid() and (made := form.run(self.make)) is not None:
            if said := self.said(made):
                messages.success(request, said)
            return redirect(self.address(made))
        return self.page(form, status=422)

    def form(self, *given: Any, **more: Any) -> ServiceForm:
        """The form for this actor."""
        made: ServiceForm = self.form_class(*given, actor=self.actor, **more)
        return made

    def said(self, made: Any) -> str:
        """What is said of it on the next page."""
        return self.done

    def address(self, made: Any) -> str:
        """The page to go on to."""
        return reverse(self.detail, args=[made.pk])

    def page(self, form: ServiceForm, status: int = 200, **more: Any) -> HttpResponse:
        """The form with more or other context."""
        context = {
            "title": self.title, "form": form, "submit_label": self.label, "cancel_url": reverse(self.back), "intro": self.intro,
        }  # fmt: skip
        return render(self.request, self.template_name, context | more, status=status)


class Confirmed(ActorRequiredMixin, View, ABC):
    """An act on one thing that says its consequences and asks for a reason."""

    title: ClassVar[str]
    label: ClassVar[str]
    danger: ClassVar[bool] = False
    irreversible: ClassVar[bool] = False

    @abstractmethod
    def load(self, request: HttpRequest, **named: UUID) -> Any:
        """What it is about, if this person may do that; raises NotFound, PermissionRefused."""

    @abstractmethod
    def home(self, row: Any) -> str:
        """The page to go back to."""

    @abstractmethod
    def act(self, request: HttpRequest, row: Any, reason: str) -> object:
        """Do it; returns anything but None."""

    @abstractmethod
    def consequences(self, row: Any) -> list[Any]:
        """What it means, in numbers."""

    def heading(self, row: Any) -> str:
        return f"{self.title} {row}"

    def agreed_by(self, request: HttpRequest, row: Any) -> int:
        """How many others have to agree first."""
        return 0

    def get(self, request: HttpRequest, **named: UUID) -> HttpResponse:
        return self._page(request, self.load(request, **named), ReasonForm())

    def post(self, request: HttpRequest, **named: UUID) -> HttpResponse:
        row, form = self.load(request, **named), ReasonForm(request.POST)
        if form.is_valid() and form.run(lambda values: self.act(request, row, values["reason"])) is not None:
            return redirect(self.home(row))
        return self._page(request, row, form, status=422)

    def _page(self, request: HttpRequest, row: Any, form: ReasonForm, status: int = 200) -> HttpResponse:
        needed = self.agreed_by(request, row)
        context = {
            "title": self.heading(row), "form": form, "submit_label": self.label, "cancel_url": self.home(row),
            "consequences": self.consequences(row), "danger": self.danger, "irreversible": self.irreversible,
            "needs_approval": f"{needed} other security officers." if needed else "",
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)
