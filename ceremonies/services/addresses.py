"""Shares and seats are known by their person's address; they follow it when an officer changes it."""

from django.db import IntegrityError, transaction

from ceremonies.models import Participant, Share
from ceremonies.states import ENDED
from keyvault_portal.accounts.models import Person
from keyvault_portal.errors import Conflict


def follow(person: Person) -> None:
    """Keep what `person` holds, and their seats in ceremonies that are not over, theirs; raises Conflict.

    Minutes and seats of ceremonies that ended say what the address was.
    """
    try:
        with transaction.atomic():
            Share.objects.filter(person=person).update(email=person.email.lower())
            open_seats = Participant.objects.filter(person=person).exclude(ceremony__state__in=[s.value for s in ENDED])
            open_seats.update(email=person.email.lower())
    except IntegrityError:
        raise Conflict(
            f"Somebody with the address {person.email} holds a share or a seat beside {person} already.",
            hint="Choose another address.",
        ) from None
