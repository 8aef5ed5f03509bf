"""People: list, invitation, the page of one person, their roles, and keeping them out or letting them back in."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from keyvault_portal.accounts import queries, services
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.filters import PersonFilter
from keyvault_portal.accounts.forms import BindingForm, InviteForm, ProfileForm
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import DECIDING_ROLES, Permission
from keyvault_portal.accounts.second_factor import has_second_factor
from keyvault_portal.accounts.views.pages import ConfirmPage, FormPage, ListPage, counted
from keyvault_portal.accounts.web import ActorRequiredMixin
from keyvault_portal.audit import services as audit
from keyvault_portal.visible import found, on_rings

_OTHERS_AGREE = "Other security officers, where there are any: this changes who decides on requests."


def manageable_rings(actor: Actor) -> QuerySet[KeyRing]:
    """The rings on which the actor may give roles."""
    return on_rings(KeyRing.objects.all(), actor.ring_ids(Permission.PERSON_MANAGE), "pk")


class PersonList(ListPage):
    required_permission = Permission.PERSON_VIEW
    template_name = "accounts/person_list.html"
    title = "People"
    filter_class = PersonFilter
    columns = [
        {"label": "Name", "sort": "name"},
        {"label": "Roles"},
        {"label": "Site"},
        {"label": "Last sign-in"},
        {"label": "State"},
    ]
    sorts = {"name": ("name", "id"), "-name": ("-name", "-id")}
    empty = (
        "Nobody in view",
        "Ask a security officer for a role on everything, or for an invitation of the people you miss.",
    )
    exported = {
        field: field
        for field in ("name", "email", "kind", "is_active", "site", "reporting_line", "last_login", "created_at", "id")
    }

    def queryset(self) -> QuerySet[Person]:
        seen = queries.visible_bindings(self.actor)
        return queries.visible_people(self.actor).prefetch_related(Prefetch("bindings", seen, to_attr="roles_seen"))

    def extra(self) -> dict[str, Any]:
        return {"may_invite": self.actor.can(Permission.PERSON_MANAGE)}


class PersonPage(ActorRequiredMixin, View):
    """One person: who they are, what they may do, where they are signed in."""

    required_permission = Permission.PERSON_VIEW

    def get(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        actor = self.actor
        person = found(queries.visible_people(actor), pk, "person")
        everything = actor.can(Permission.PERSON_MANAGE)
        facts = [
            ("E-mail address", person.email),
            ("Kind", person.get_kind_display()),
            ("Site", person.site),
            ("Reporting line", person.reporting_line),
            ("Second factor", "set up" if has_second_factor(person) else "none"),
            ("Since", f"{person.created_at:%-d %b %Y}"),
            ("Last sign-in", f"{person.last_login:%-d %b %Y, %H:%M} UTC" if person.last_login else "never"),
        ]
        bindings = [
            {"binding": binding, "removable": actor.can(Permission.PERSON_MANAGE, binding.ring_id)}
            for binding in queries.visible_bindings(actor).filter(person=person).order_by("role", "ring__name")
        ]
        context = {
            "title": str(person),
            "person": person,
            "state": "active" if person.is_active else "inactive",
            "facts": facts,
            "bindings": bindings,
            "tokens": queries.visible_tokens(actor).filter(owner=person).order_by("-created_at")[:50],
            "sessions": queries.visible_sessions(actor).filter(user=person).order_by("-last_seen_at")[:50],
            "events": audit.events_for_target("person", person.pk, 20) if actor.can(Permission.AUDIT_VIEW) else [],
            "may_manage": everything,
            "may_bind": actor.can_somewhere(Permission.PERSON_MANAGE),
        }
        return render(request, "accounts/person_detail.html", context)


class Invite(FormPage):
    required_permission = Permission.PERSON_MANAGE
    form_class = InviteForm
    back = "accounts:person-list"
    extra_context = {"title": "Invite a person", "submit_label": "Invite"}
    done = "Created."

    def save(self, values: dict[str, Any]) -> str:
        person = services.create_person(actor=self.actor, **values)
        if person.kind == Person.Kind.PERSON:
            _mail_invitation(self.request, self.actor, person)
        return reverse("accounts:person-detail", args=[person.pk])


class InviteAgain(ActorRequiredMixin, View):
    required_permission = Permission.PERSON_MANAGE

    def post(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        person = found(queries.visible_people(self.actor), pk, "person")
        if _mail_invitation(request, self.actor, person):
            messages.success(request, f"A sign-in link is on its way to {person.email}.")
        return redirect("accounts:person-detail", person.pk)


class EditPerson(FormPage):
    required_permission = Permission.PERSON_MANAGE
    form_class = ProfileForm
    back = "accounts:person-detail"
    extra_context = {"title": "Edit a person"}

    def person(self) -> Person:
        return found(queries.visible_people(self.actor), self.kwargs["pk"], "person")

    def get_initial(self) -> dict[str, Any]:
        person = self.person()
        return {field: getattr(person, field) for field in self.form_class.base_fields}

    def save(self, values: dict[str, Any]) -> str:
        person = self.person()
        try:
            services.update_person(actor=self.actor, person=person, **values)
        except services.MailUnavailable as failure:
            messages.error(self.request, f"{failure.detail} {failure.hint}")
        return reverse("accounts:person-detail", args=[person.pk])


class BindRole(FormPage):
    """Gives a role; for one that decides the agreement of others is asked for instead."""

    required_permission = Permission.PERSON_MANAGE
    form_class = BindingForm
    back = "accounts:person-detail"
    extra_context = {"title": "Give a role", "submit_label": "Give this role"}
    done = "The role is given."

    def get_form_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_form_kwargs()
        everything = self.actor.can(Permission.PERSON_MANAGE)
        return kwargs | {"rings": manageable_rings(self.actor), "everything": everything}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = found(queries.visible_people(self.actor), self.kwargs["pk"], "person")
        return super().get_context_data(**kwargs) | {"subtitle": f"To {person}"}

    def save(self, values: dict[str, Any]) -> str:
        person = found(queries.visible_people(self.actor), self.kwargs["pk"], "person")
        services.bind_role(actor=self.actor, person=person, role=values["role"], ring=values["ring"])
        return reverse("accounts:person-detail", args=[person.pk])


class UnbindRole(ConfirmPage):
    required_permission = Permission.PERSON_MANAGE
    done = "The role is taken away."

    def binding(self) -> RoleBinding:
        return found(queries.visible_bindings(self.actor), self.kwargs["pk"], "role")

    def context(self) -> dict[str, Any]:
        binding = self.binding()
        asks = binding.role in DECIDING_ROLES and binding.person_id != self.actor.id
        return {
            "title": "Take a role away",
            "question": f"{binding}: take this role away?",
            "consequences": [
                f"{binding.person} loses these rights at once, in open sessions and with every token.",
            ],
            "needs_approval": _OTHERS_AGREE if asks else "",
            "danger": True,
            "submit_label": "Ask to take it away" if asks else "Take it away",
            "cancel_url": reverse("accounts:person-detail", args=[binding.person_id]),
        }

    def act(self) -> str:
        binding = self.binding()
        services.unbind_role(actor=self.actor, binding=binding)
        return reverse("accounts:person-detail", args=[binding.person_id])


class ChangeActive(ConfirmPage):
    """Deactivates or reactivates a person."""

    required_permission = Permission.PERSON_MANAGE
    deactivates = True
    done = "Done, and on the record."

    def person(self) -> Person:
        return found(queries.visible_people(self.actor), self.kwargs["pk"], "person")

    def context(self) -> dict[str, Any]:
        person = self.person()
        back = reverse("accounts:person-detail", args=[person.pk])
        asks = services.decides(person) and person.pk != self.actor.id
        if not self.deactivates:
            return {
                "title": f"Reactivate {person}",
                "consequences": ["They may sign in again, with the roles and tokens they had."],
                "needs_approval": _OTHERS_AGREE if asks else "",
                "submit_label": "Ask to reactivate" if asks else "Reactivate",
                "cancel_url": back,
            }
        counts = Person.objects.filter(pk=person.pk).aggregate(
            sessions=Count("usersession", distinct=True),
            tokens=Count("api_tokens", filter=Q(api_tokens__revoked_at=None), distinct=True),
        )
        return {
            "title": f"Deactivate {person}",
            "consequences": [
                counted(counts["sessions"], "session ends at once", "sessions end at once"),
                counted(counts["tokens"], "token is refused", "tokens are refused"),
            ],
            "needs_approval": _OTHERS_AGREE if asks else "",
            "danger": True,
            "submit_label": "Ask to deactivate" if asks else "Deactivate",
            "cancel_url": back,
        }

    def act(self) -> str:
        change = services.deactivate_person if self.deactivates else services.reactivate_person
        person = change(actor=self.actor, person=self.person())
        return reverse("accounts:person-detail", args=[person.pk])


def _mail_invitation(request: HttpRequest, actor: Actor, person: Person) -> bool:
    """Whether the mail went out; a failure is told on the next page, since the person exists already."""
    try:
        services.send_invitation(actor=actor, person=person)
    except services.MailUnavailable as failure:
        messages.error(request, f"{failure.detail} {failure.hint}")
        return False
    return True
