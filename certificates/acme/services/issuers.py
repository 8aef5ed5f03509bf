"""Who issues for an ACME server: its authority, and since a rollover the one that took its place."""

from uuid import UUID

from django.db.models import QuerySet

from certificates.models import AcmeServer, Authority, Certificate
from certificates.rollover.steps import successor_of
from certificates.states import AuthorityState

_MOST = 8


def issuer_of(server: AcmeServer) -> Authority:
    """Who signs what is ordered now; clients keep the address of the authority that they know."""
    return _line(server)[-1]


def issued_for(server: AcmeServer) -> QuerySet[Certificate]:
    """The certificates of the server's authority and of whoever took its place."""
    return Certificate.objects.filter(authority__in=_line(server))


def rings_of(server: AcmeServer) -> set[UUID]:
    """The rings of those authorities."""
    return {authority.ring_id for authority in _line(server)}


def _line(server: AcmeServer) -> list[Authority]:
    found = [server.authority]
    while len(found) < _MOST and found[-1].state == AuthorityState.RETIRED.value:
        successor = successor_of(found[-1])
        if successor is None:
            break
        found.append(successor)
    return found
