"""One's own account: roles, second factors, sessions; and ending sessions of others for those who manage people."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views import View

from keyvault_portal.accounts import queries, services
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.second_factor import has_second_factor, requires_second_factor
from keyvault_portal.accounts.web import ActorRequiredMixin
from keyvault_portal.visible import found


class Profile(ActorRequiredMixin, View):
    """What the portal knows about me, and where I am signed in."""

    def get(self, request: HttpRequest) -> HttpResponse:
        person = _me(request)
        context = {
            "title": "My account",
            "person": person,
            "bindings": person.bindings.select_related("ring").order_by("role", "ring__name"),
            "sessions": queries.visible_sessions(self.actor).filter(user=person).order_by("-last_seen_at")[:50],
            "current_session": request.session.session_key,
            "has_second_factor": has_second_factor(person),
            "requires_second_factor": requires_second_factor(self.actor),
            "decides": self.actor.can_somewhere(Permission.APPROVAL_DECIDE),
            "facts": [
                ("E-mail address", person.email),
                ("Site", person.site),
                ("Reporting line", person.reporting_line),
            ],
        }
        return render(request, "accounts/profile.html", context)


class RevokeSession(ActorRequiredMixin, View):
    """Ends one session: my own, or anybody's for those who manage people."""

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        session = found(queries.visible_sessions(self.actor), pk, "session")
        services.revoke_session(actor=self.actor, session=session)
        messages.success(request, "The session is ended.")
        if session.user_id == self.actor.id:
            return redirect("accounts:profile")
        return redirect("accounts:person-detail", session.user_id)


class RevokeOtherSessions(ActorRequiredMixin, View):
    """Ends all my sessions but this one."""

    def post(self, request: HttpRequest) -> HttpResponse:
        ended = services.revoke_sessions(
            actor=self.actor, person=_me(request), besides=request.session.session_key or ""
        )
        messages.success(request, f"Sessions ended: {ended}.")
        return redirect("accounts:profile")


def _me(request: HttpRequest) -> Person:
    return Person.objects.get(pk=str(request.user.pk))
