"""What the pages of this app have in common: filtered keyset lists, and services behind forms and confirmations."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import django_filters
from django.contrib import messages
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View
from django.views.generic import FormView

from keyvault_portal.accounts.web import ActorRequiredMixin
from keyvault_portal.downloads import list_download
from keyvault_portal.errors import Conflict, ValidationFailed
from keyvault_portal.paging import page_context


def counted(count: int, one: str, many: str, *, tone: str = "") -> dict[str, Any]:
    """A consequence in numbers, as templates/components/consequences.html shows it: `one` is said of a single thing."""
    return {"count": count, "text": one if count == 1 else many, "tone": tone}


class ListPage(ActorRequiredMixin, View, ABC):
    """A list in keyset pages. `sorts` maps the query's `sort` to fields, the first being the default.

    `exported` maps the headings of the list as a file to fields; `empty` says that there is nothing, and what to do next.
    """

    template_name: ClassVar[str]
    title: ClassVar[str]
    filter_class: ClassVar[type[django_filters.FilterSet]]
    columns: ClassVar[list[dict[str, Any]]]
    sorts: ClassVar[dict[str, tuple[str, ...]]]
    exported: ClassVar[dict[str, str]]
    empty: ClassVar[tuple[str, str]]

    @abstractmethod
    def queryset(self) -> QuerySet[Any]:
        """All that this actor may see."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        filtered = self.filter_class(request.GET, queryset=self.queryset())
        order = self.sorts.get(request.GET.get("sort", ""), next(iter(self.sorts.values())))
        rows = filtered.qs if filtered.is_valid() else filtered.queryset.none()
        if download := list_download(
            self.actor, request, self.title.lower().replace(" ", "-"), rows.order_by(*order), self.exported
        ):
            return download
        context = {
            "title": self.title,
            "exportable": True,
            "empty_title": self.empty[0],
            "empty_text": self.empty[1],
            "columns": self.columns,
            "filter_form": filtered.form,
            **page_context(request, rows, order),
        }
        return render(request, self.template_name, context | self.extra())

    def extra(self) -> dict[str, Any]:
        """More context for the template."""
        return {}


class FormPage(ActorRequiredMixin, FormView, ABC):
    """A form whose `save` calls one service; what that finds wrong is shown at the fields.

    `back` names the page one came from; it takes the same arguments as this one.
    """

    back: ClassVar[str]
    template_name = "generic/form.html"
    http_method_names = ["get", "head", "options", "post"]
    done = "Saved."

    @abstractmethod
    def save(self, values: dict[str, Any]) -> str:
        """Do it; returns the address to go on to."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {"cancel_url": reverse(self.back, kwargs=self.kwargs)} | super().get_context_data(**kwargs)

    def form_valid(self, form: Form) -> HttpResponse:
        try:
            url = self.save(form.cleaned_data)
        except ValidationFailed as failure:
            for field, sentences in failure.errors.items():
                form.add_error(field if field in form.fields else None, sentences)
            return self.form_invalid(form)
        except Conflict as conflict:
            form.add_error(None, conflict.detail)
            return self.form_invalid(form)
        messages.success(self.request, self.done)
        return redirect(url)

    def form_invalid(self, form: Form) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=422)


class ConfirmPage(ActorRequiredMixin, View, ABC):
    """A page that says the consequences of an act and does it on POST."""

    done = "Done."

    @abstractmethod
    def context(self) -> dict[str, Any]:
        """Of templates/generic/confirm.html."""

    @abstractmethod
    def act(self) -> str:
        """Do it; returns the address to go on to."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return render(request, "generic/confirm.html", self.context())

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        url = self.act()
        messages.success(request, self.done)
        return redirect(url)
