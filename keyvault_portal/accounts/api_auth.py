"""Who calls the REST API: a bearer token (RFC 6750) or a signed-in session, and which right a view asks for."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework import authentication, permissions
from rest_framework.request import Request

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import TokenRefused, actor_for_token
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.second_factor import requires_second_factor
from keyvault_portal.accounts.web import actor_of, client_address
from keyvault_portal.errors import PermissionRefused


class SecondFactorRequired(PermissionRefused):
    code, title = "second_factor_required", "A second factor is required"


def bearer_token(request: HttpRequest) -> str | None:
    """The text of the bearer token that a request carries (RFC 6750, section 2.1), or None."""
    scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer kvp_...`; sets `request.actor`."""

    def authenticate(self, request: Request) -> tuple[Person, Actor] | None:
        text = bearer_token(request._request)
        if text is None:
            return None
        actor = actor_for_token(text, client_address(request._request))
        owner = Person.objects.filter(pk=str(actor.id), is_active=True).first()
        if owner is None:
            raise TokenRefused("owner_inactive")
        request._request.actor = actor  # type: ignore[attr-defined]
        return owner, actor

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="KeyVault Portal"'


def request_actor(request: HttpRequest) -> Actor:
    """The actor of a request before any view: by its bearer token, else as `session_actor`; raises TokenRefused too."""
    text = bearer_token(request)
    return session_actor(request) if text is None else actor_for_token(text, client_address(request))


def session_actor(request: HttpRequest) -> Actor:
    """The actor of a browser session outside REST framework; raises NotAuthenticated, and as `check_session` does."""
    actor = actor_of(request)
    check_session(request, actor)
    return actor


def check_session(request: HttpRequest, actor: Actor) -> None:
    """Refuse a session without the CSRF token, or without the second factor that the person's roles ask for."""
    check = authentication.CSRFCheck(lambda _: HttpResponse())
    check.process_request(request)
    if reason := check.process_view(request, lambda _: HttpResponse(), (), {}):
        raise PermissionRefused(f"CSRF Failed: {reason}", hint="Send the X-CSRFToken header with the session cookie.")
    if requires_second_factor(actor) and not actor.second_factor:
        raise SecondFactorRequired(
            "Your roles require a second factor, and this session has none.",
            hint="Set up or use a second factor in the portal, then try again.",
        )


class SessionAuthentication(authentication.BaseAuthentication):
    """The browser session, with CSRF protection and the second factor that the person's roles ask for."""

    def authenticate(self, request: Request) -> tuple[Person, None] | None:
        person = getattr(request._request, "user", None)
        if not isinstance(person, Person) or not person.is_active:
            return None
        check_session(request._request, actor_of(request._request))
        return person, None


class InPerson(permissions.BasePermission):
    """Lets people in by their own session: what is theirs alone is in the scope of no token."""

    def has_permission(self, request: Request, view: Any) -> bool:
        actor: Actor | None = getattr(request, "actor", None)
        if actor is not None and actor.token_id is not None:
            raise PermissionRefused("This is a person's own, and no token stands in for them.", hint="Sign in for it.")
        return actor is not None


class HasPermission(permissions.BasePermission):
    """Lets an actor in who holds the view's `required_permission` on some ring; a view that names none is closed.

    `required_permission` is one Permission, or a mapping from the view set's action (or lower-case method) to one.
    Which objects the actor may see or change is decided by the query and by the service.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        actor: Actor | None = getattr(request, "actor", None)
        wanted = getattr(view, "required_permission", None)
        if actor is not None and request.method not in view.allowed_methods:
            return True  # to be told so with 405
        if isinstance(wanted, dict):
            action = getattr(view, "action", None) or (request.method or "").lower()
            wanted = wanted.get(action)
        if actor is None or not isinstance(wanted, Permission):
            return False
        if not actor.can_somewhere(wanted):
            raise PermissionRefused(
                f"{actor.label} lacks the right {wanted.value}.",
                hint="Ask a security officer for a role that includes it.",
                permission=wanted.value,
            )
        return True
