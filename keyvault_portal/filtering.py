"""What lists of the REST API are narrowed by: only what a list declares, so that no typing error looks like an answer."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from django_filters.utils import translate_validation
from rest_framework.decorators import action
from rest_framework.request import Request

from keyvault_portal.errors import ValidationFailed


class DeclaredFilterBackend(DjangoFilterBackend):  # type: ignore[misc]
    """Narrows by the filters of the view; of a list, a name or a value that means nothing raises ValidationFailed."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filterset = self.get_filterset(request, queryset, view)
        if view.action == "list":
            paging = view.paginator.get_schema_operation_parameters(view)
            refuse_undeclared(
                request, {parameter["name"] for parameter in paging}.union(getattr(filterset, "filters", ()))
            )
        if filterset is None:
            return queryset
        if not filterset.is_valid():
            raise translate_validation(filterset.errors)
        # Neither true nor false is None to a boolean field, and None restricts nothing.
        values = filterset.form.cleaned_data
        unread = [name for name in values if values[name] is None and request.query_params.get(name, "").strip()]
        if unread:
            raise ValidationFailed(errors={name: ["This value cannot be read."] for name in unread})
        return filterset.qs  # type: ignore[no-any-return]


def whole_list(*, detail: bool) -> Callable[[Callable[..., Any]], Any]:
    """An action of a view set that answers with all of a short list: no pages, no filters, so its query is empty."""

    def decorate(answer: Callable[..., Any]) -> Any:
        @wraps(answer)
        def answer_all(view: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
            refuse_undeclared(request, ())
            return answer(view, request, *args, **kwargs)

        return action(detail=detail, methods=["get"], pagination_class=None, filter_backends=[])(answer_all)

    return decorate


def refuse_undeclared(request: Request, declared: Iterable[str]) -> None:
    """Raise ValidationFailed at every name in the query that is not among `declared`."""
    if unknown := request.query_params.keys() - set(declared):
        raise ValidationFailed(errors={name[:100]: ["This list has no such parameter."] for name in sorted(unknown)})
