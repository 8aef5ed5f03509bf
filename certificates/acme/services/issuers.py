"""Who issues for an ACME server: its authority, and since a rollover the one that took its place."""

from uuid import UUID

from django.db.models import QuerySet

from certificates.models import AcmeServer, Authority, Certificate
from certificates.rollover.steps import line_of


def issuer_of(server: AcmeServer) -> Authority:
    """Who signs what is ordered now; clients keep the address of the authority that they know."""
    return line_of(server.authority)[-1]


def issued_for(server: AcmeServer) -> QuerySet[Certificate]:
    """The certificates of the server's authority and of whoever took its place."""
    return Certificate.objects.filter(authority__in=line_of(server.authority))


def rings_of(server: AcmeServer) -> set[UUID]:
    """The rings of those authorities."""
    return {authority.ring_id for authority in line_of(server.authority)}
