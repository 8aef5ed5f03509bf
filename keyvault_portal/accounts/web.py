"""What pages need of the actor: who asks, from where, and whether they may open the page at all."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.mixins import AccessMixin
from django.http import HttpRequest, HttpResponseBase

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.second_factor import session_has_second_factor
from keyvault_portal.errors import NotAuthenticated, PermissionRefused


def client_address(request: HttpRequest) -> str | None:
    """The caller's IP address, as `address_in` reads it."""
    return address_in(request.META)


def address_in(environ: Mapping[str, Any]) -> str | None:
    """The caller's IP address; the proxy's word for it counts only behind a trusted one (`TRUST_PROXY`).

    Of X-Forwarded-For the last entry is taken: it is the one our own proxy wrote, earlier ones are the caller's claim.
    """
    address = environ.get("REMOTE_ADDR", "")
    if settings.TRUST_PROXY and (forwarded := environ.get("HTTP_X_FORWARDED_FOR", "")):
        address = forwarded.rsplit(",", 1)[-1]
    return _canonical(address)


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str | None:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return None


def actor_of(request: HttpRequest) -> Actor:
    """The actor of this request, resolved once; raises NotAuthenticated when nobody is signed in."""
    actor: Actor | None = getattr(request, "actor", None)
    if actor is None:
        if not isinstance(request.user, Person):
            raise NotAuthenticated
        actor = actor_for_person(
            request.user, address=client_address(request), second_factor=session_has_second_factor(request)
        )
        request.actor = actor  # type: ignore[attr-defined]
    return actor


class ActorRequiredMixin(AccessMixin):
    """A page for signed-in people; with `required_permission` (one or several) for holders of one of them on some ring.

    This opens the page; whether the actor may see or do a thing on it is decided per object by queries and services.
    """

    required_permission: ClassVar[Permission | tuple[Permission, ...] | None] = None
    actor: Actor

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        self.actor = actor_of(request)
        required = self.required_permission or ()
        wanted = (required,) if isinstance(required, Permission) else required
        if wanted and not any(self.actor.can_somewhere(permission) for permission in wanted):
            raise PermissionRefused(
                "Your roles do not include this page.",
                hint="Ask a security officer for a role that includes it.",
                permission=wanted[0].value,
            )
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
