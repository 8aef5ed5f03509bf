"""What every page needs: the portal's name and the numbers in its navigation."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.web import actor_of


def portal(request: HttpRequest) -> dict[str, Any]:
    """`portal_name` and `nav_counts` (counted only by pages that draw the navigation)."""
    return {"portal_name": "KeyVault Portal", "nav_counts": SimpleLazyObject(lambda: _counts(request))}


def _counts(request: HttpRequest) -> dict[str, int]:
    person = getattr(request, "user", None)
    if not isinstance(person, Person) or not person.is_active:
        return {}
    try:
        from keyvault_portal.approvals.services import count_waiting
    except ImportError:
        return {}
    return {"approvals": count_waiting(actor_of(request))}
