"""What the pages of this app have in common: filtered keyset lists, and services behind forms and confirmations."""

from typing import Any, ClassVar

import django_filters
from django.contrib import messages
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views import View
from django.views.generic import FormView

from keyvault_portal.accounts.web import ActorRequiredMixin
from keyvault_portal.errors import Conflict, ValidationFailed
from keyvault_portal.paging import page_context


class ListPage(ActorRequiredMixin, View):
    """A list in keyset pages. `sorts` maps the query's `sort` to fields, the first being the default."""

    template_name: ClassVar[str]
    title: ClassVar[str]
    filter_class: ClassVar[type[django_filters.FilterSet]]
    columns: ClassVar[list[dict[str, Any]]]
    sorts: ClassVar[dict[str, tuple[str, ...]]]

    def queryset(self) -> QuerySet[Any]:
        raise AttributeError("A list page says what it lists.")

    def get(self, request: HttpRequest) -> HttpResponse:
        filtered = self.filter_class(request.GET, queryset=self.queryset())
        order = self.sorts.get(request.GET.get("sort", ""), next(iter(self.sorts.values())))
        rows = filtered.qs if filtered.is_valid() else filtered.queryset.none()
        context = {
            "title": self.title,
            "columns": self.columns,
            "filter_form": filtered.form,
            **page_context(request, rows, order),
        }
        return render(request, self.template_name, context | self.extra())

    def extra(self) -> dict[str, Any]:
        return {}


class FormPage(ActorRequiredMixin, FormView):
    """A form whose `save` calls one service; what that finds wrong is shown at the fields."""

    template_name = "generic/form.html"
    done = "Saved."

    def save(self, values: dict[str, Any]) -> str:
        raise AttributeError("A form page says what it saves.")

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


class ConfirmPage(ActorRequiredMixin, View):
    """A page that says the consequences of an act and does it on POST."""

    done = "Done."

    def context(self) -> dict[str, Any]:
        raise AttributeError("A confirmation says what will happen.")

    def act(self) -> str:
        raise AttributeError("A confirmation says what it does.")

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return render(request, "generic/confirm.html", self.context())

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        url = self.act()
        messages.success(request, self.done)
        return redirect(url)
