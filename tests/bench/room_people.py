"""Sixteen people in one room of a running portal, made through its services; prints their cookies as JSON."""

import json
import sys
import time
from importlib import import_module
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402

from ceremonies.models import Participant  # noqa: E402
from ceremonies.services import invitations, room  # noqa: E402
from ceremonies.views.entering import SESSION_KEY  # noqa: E402
from keyvault_portal.accounts.identity import actor_for_person  # noqa: E402
from keyvault_portal.accounts.models import Person, RoleBinding  # noqa: E402
from tests.room.cast import Cast, plan  # noqa: E402

STAFF = (("lena", "security_officer"), ("otto", "operator"), ("wilma", "auditor"))


def main(people: int) -> dict[str, Any]:
    persons = [_person(name, role) for name, role in STAFF]
    planner = actor_for_person(persons[0], second_factor=True)
    holders = [f"guest{number}" for number in range(people - len(STAFF))]
    cast = Cast(planner, plan(planner, threshold=3, share_count=len(holders)))
    cast.seat_staff()
    cast.seat_holders(*holders)
    cast.open()
    cast.gather()
    cast.start()
    cookies = {person.name: _signed_in(person) for person in persons}
    for name in holders:
        made = invitations.invite_guest(actor=planner, ceremony_id=cast.id, participant_id=cast.seat(name).pk)
        seat, secret = invitations.redeem_invitation(link=made.link.rstrip("/").rsplit("/", 1)[-1], code=made.code)
        cookies[name] = _session({SESSION_KEY: {"ceremony": str(cast.id), "seat": str(seat.pk), "secret": secret}})
    for seat in Participant.objects.filter(ceremony_id=cast.id):
        room.mark_present(seat)
    return {"ceremony": str(cast.id), "cookies": cookies}


def _person(name: str, role: str) -> Person:
    person = Person.objects.create_person(email=f"{name}@example.org", name=name.title())
    RoleBinding.objects.create(person=person, role=role, created_by="benchmark")
    return person


def _signed_in(person: Person) -> str:
    return _session({
        "_auth_user_id": str(person.pk), "_auth_user_backend": settings.AUTHENTICATION_BACKENDS[0], "_auth_user_hash": person.get_session_auth_hash(),
        "account_authentication_methods_user": str(person.pk), "account_authentication_methods": [{"method": "mfa", "type": "totp", "at": time.time()}],
    })  # fmt: skip


def _session(values: dict[str, Any]) -> str:
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    for name, value in values.items():
        store[name] = value
    store.save()
    return str(store.session_key)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
