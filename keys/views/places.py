"""The places where keys can live, side by side, and what this organisation's inventory would cost a year in each."""

from typing import Any

from django import forms
from django.db.models import Min, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views import View

from keys.models import KeyVersion
from keys.providers.comparison import FEATURES, PLACES, PRICES, SOURCES, yearly_cost
from keys.services.overview import visible_keys
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of

CALLS_A_YEAR = 10_000_000  # where no use was counted yet


class InventoryForm(forms.Form):
    keys = forms.IntegerField(min_value=0, max_value=10_000_000)
    versions = forms.IntegerField(min_value=0, max_value=100_000_000, help_text="Kept all year; at least one a key.")
    calls = forms.IntegerField(
        min_value=0,
        max_value=10**12,
        label="Calls a year",
        help_text="At most, for the keys you see: as many as processes have reserved, in blocks, as a year of such days.",
    )
    advanced = forms.BooleanField(required=False, label="RSA over 2048 bits or elliptic curves")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("versions", 0) < values.get("keys", 0):
            self.add_error("versions", "Every key has at least one version.")
        return values


class Places(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        inventory = _inventory(actor_of(request))
        form = InventoryForm(request.GET if "keys" in request.GET else inventory)
        asked = form.cleaned_data if form.is_valid() else None
        used = {cell.source for row in FEATURES.values() for cell in row.values()} | {
            price.source for price in PRICES.values()
        }
        sources = sorted(used, key=lambda key: SOURCES[key].page)
        numbers = {key: number for number, key in enumerate(sources, 1)}
        context = {
            "title": "Places for keys", "subtitle": "What each offers, what it limits and what it costs.", "form": form,
            "places": PLACES.values(),
            "features": [
                (name, [(row[place].text, SOURCES[row[place].source], numbers[row[place].source]) for place in PLACES])
                for name, row in FEATURES.items()
            ],
            "costs": [_cost(place, asked, numbers) for place in PLACES] if asked else [],
            "sources": [SOURCES[key] for key in sources],
        }  # fmt: skip
        return render(request, "keys/places.html", context)


def _inventory(actor: Actor) -> dict[str, Any]:
    """What the actor sees of the organisation's own keys."""
    keys = visible_keys(actor)
    versions = KeyVersion.objects.filter(key__in=keys).exclude(status=VersionState.DESTROYED.value)
    count = keys.count()
    used = versions.aggregate(uses=Sum("uses_reserved"), since=Min("created_at"))
    days = max(1, (timezone.now() - used["since"]).days) if used["since"] else 1
    calls = round((used["uses"] or 0) / days * 365) or CALLS_A_YEAR
    return {"keys": count, "versions": max(count, versions.count()), "calls": calls}


def _cost(place: str, asked: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    price = PRICES.get(place)
    found = yearly_cost(place, asked["keys"], asked["versions"], asked["calls"], advanced=asked["advanced"])
    return {"place": PLACES[place], "cost": found, "source": numbers[price.source] if price else None}
