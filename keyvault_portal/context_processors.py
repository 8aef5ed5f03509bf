"""What every page needs: the portal's name and the numbers in its navigation."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.web import actor_of
from keyvault_portal.approvals import notices, services

NOTICES_BOUND = 100  # no further does the badge count


def portal(request: HttpRequest) -> dict[str, Any]:
    """`portal_name` and `nav_counts` (counted only by pages that draw the navigation)."""
    return {"portal_name": "KeyVault Portal", "nav_counts": SimpleLazyObject(lambda: _counts(request))}


def _counts(request: HttpRequest) -> dict[str, int]:
    person = getattr(request, "user", None)
    if not isinstance(person, Person) or not person.is_active:
        return {}
    return {
        "approvals": services.count_waiting(actor_of(request)),
        "notices": notices.unread(person.pk)[:NOTICES_BOUND].count(),
    }
