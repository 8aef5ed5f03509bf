"""Key rings: list, the page of one, new and edit."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views import View

from keyvault_portal.accounts import queries, services
from keyvault_portal.accounts.filters import RingFilter
from keyvault_portal.accounts.forms import NewRingForm, RingForm
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import FormPage, ListPage
from keyvault_portal.accounts.web import ActorRequiredMixin
from keyvault_portal.visible import found


class RingList(ListPage):
    required_permission = Permission.KEY_VIEW
    template_name = "accounts/ring_list.html"
    title = "Key rings"
    filter_class = RingFilter
    columns = [{"label": "Ring", "sort": "name"}, {"label": "Description"}, {"label": "Since"}]
    sorts = {"name": ("name",), "-name": ("-name",)}
    empty = (
        "No key ring yet",
        "A ring is a named group of keys on which people get roles. Make one before the first key.",
    )
    exported = {field: field for field in ("name", "title", "description", "created_at", "id")}

    def queryset(self) -> QuerySet[KeyRing]:
        return queries.visible_rings(self.actor)

    def extra(self) -> dict[str, Any]:
        return {"may_create": self.actor.can(Permission.RING_MANAGE)}


class RingPage(ActorRequiredMixin, View):
    """One ring and who holds which role on it."""

    required_permission = Permission.KEY_VIEW

    def get(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        ring = found(queries.visible_rings(self.actor), pk, "ring")
        sees_people = self.actor.can(Permission.PERSON_VIEW, ring.pk)
        bindings = queries.visible_bindings(self.actor).filter(ring=ring).order_by("role", "person__name")[:200]
        context = {
            "title": ring.title,
            "ring": ring,
            "facts": [
                ("Name", ring.name),
                ("Description", ring.description),
                ("Since", f"{ring.created_at:%-d %b %Y}"),
            ],
            "bindings": bindings if sees_people else [],
            "may_edit": self.actor.can(Permission.RING_MANAGE, ring.pk),
        }
        return render(request, "accounts/ring_detail.html", context)


class NewRing(FormPage):
    required_permission = Permission.RING_MANAGE
    form_class = NewRingForm
    back = "accounts:ring-list"
    extra_context = {"title": "New key ring", "submit_label": "Create"}

    def save(self, values: dict[str, Any]) -> str:
        ring = services.create_ring(actor=self.actor, **values)
        return reverse("accounts:ring-detail", args=[ring.pk])


class EditRing(FormPage):
    required_permission = Permission.RING_MANAGE
    form_class = RingForm
    back = "accounts:ring-detail"
    extra_context = {"title": "Edit a key ring"}

    def ring(self) -> KeyRing:
        return found(queries.visible_rings(self.actor), self.kwargs["pk"], "ring")

    def get_initial(self) -> dict[str, Any]:
        ring = self.ring()
        return {"title": ring.title, "description": ring.description}

    def save(self, values: dict[str, Any]) -> str:
        ring = services.update_ring(actor=self.actor, ring=self.ring(), **values)
        return reverse("accounts:ring-detail", args=[ring.pk])
