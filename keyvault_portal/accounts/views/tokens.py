"""API tokens: list, a new one (its text shown once), revocation."""

from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from keyvault_portal.accounts import queries, services
from keyvault_portal.accounts.filters import TokenFilter
from keyvault_portal.accounts.forms import TokenForm
from keyvault_portal.accounts.models import ApiToken, Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import ConfirmPage, FormPage, ListPage
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.visible import found


class TokenList(ListPage):
    template_name = "accounts/token_list.html"
    title = "API tokens"
    filter_class = TokenFilter
    columns = [
        {"label": "Token"},
        {"label": "Owner"},
        {"label": "Scopes"},
        {"label": "Last use"},
        {"label": "Expires"},
        {"label": "State"},
        {"label": "Actions", "hidden": True},
    ]
    sorts = {"-created": ("-created_at", "-id"), "created": ("created_at", "id")}
    empty = (
        "No token yet",
        "A program that uses keys signs in with a token: make one for its service account, with the fewest scopes it needs.",
    )
    exported = {"owner": "owner__name"} | {
        field: field
        for field in (
            "name",
            "scopes",
            "cidrs",
            "created_at",
            "expires_at",
            "last_used_at",
            "last_used_ip",
            "revoked_at",
            "id",
        )
    }

    def queryset(self) -> QuerySet[ApiToken]:
        return queries.visible_tokens(self.actor)

    def extra(self) -> dict[str, Any]:
        return {"now": timezone.now(), "actor": self.actor, "manages": self.actor.can(Permission.TOKEN_MANAGE)}


@method_decorator(never_cache, name="dispatch")
class NewToken(FormPage):
    """Answers the POST with the token's text itself: it is in no address, session or later page."""

    form_class = TokenForm
    back = "accounts:token-list"
    extra_context = {"title": "New API token", "submit_label": "Create the token"}

    def get_form_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_form_kwargs()
        owners = Q(pk=self.actor.id)
        if self.actor.can_somewhere(Permission.TOKEN_MANAGE):
            owners |= Q(kind=Person.Kind.SERVICE, pk__in=queries.visible_people(self.actor).values("pk"))
        people = Person.objects.filter(owners, is_active=True).order_by("name")
        return kwargs | {"owners": people, "rings": queries.visible_rings(self.actor)}

    def save(self, values: dict[str, Any]) -> str:
        self.token, self.text = services.create_token(actor=self.actor, **values)
        return reverse("accounts:token-list")

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            self.save(form.cleaned_data)
        except ValidationFailed as failure:
            for field, sentences in failure.errors.items():
                form.add_error(field if field in form.fields else None, sentences)
            return self.form_invalid(form)
        context = {"title": "Your new API token", "token": self.token, "text": self.text}
        return render(self.request, "accounts/token_created.html", context, status=201)


class RevokeToken(ConfirmPage):
    done = "The token is revoked."

    def token(self) -> ApiToken:
        return found(queries.visible_tokens(self.actor), self.kwargs["pk"], "token")

    def context(self) -> dict[str, Any]:
        token = self.token()
        used = (
            f"It was last used on {token.last_used_at:%-d %b %Y at %H:%M} UTC."
            if token.last_used_at
            else "It was never used."
        )
        return {
            "title": f"Revoke {token.name}",
            "question": f"Revoke the token {token.name} of {token.owner}?",
            "consequences": ["Whatever uses it is refused from now on.", used],
            "irreversible": True,
            "submit_label": "Revoke",
            "cancel_url": reverse("accounts:token-list"),
        }

    def act(self) -> str:
        services.revoke_token(actor=self.actor, token=self.token())
        return reverse("accounts:token-list")
