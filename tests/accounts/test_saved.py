"""What services of people leave behind: rows, events, and a lock that keeps the last officer safe."""

import json

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction

from keyvault_portal.accounts import services
from keyvault_portal.accounts.services import officers
from keyvault_portal.audit.models import AuditEvent

pytestmark = pytest.mark.django_db


def details(action):
    return json.loads(AuditEvent.objects.get(action=action).leaf)["details"]


def test_what_is_changed_of_a_person_is_stored_and_named(officer_actor, person):
    ann = person("ann")
    services.update_person(actor=officer_actor, person=ann, name="Ann Berg", site="Oslo", reporting_line="")
    ann.refresh_from_db()
    assert (ann.name, ann.site) == ("Ann Berg", "Oslo")
    assert details("person.edit") == {"changed": ["name", "site"]}


def test_the_event_says_which_session_ended(officer_actor, person):
    store = SessionStore()
    store.create()
    ended = UserSession.objects.create(
        user=person("ann"), ip="192.0.2.7", session_key=store.session_key, user_agent="browser"
    )
    number = ended.pk
    services.revoke_session(actor=officer_actor, session=ended)
    assert details("session.revoke") == {"address": "192.0.2.7", "session": number}


def test_who_changes_officers_holds_their_lock_until_the_transaction_ends():
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND pid = pg_backend_pid() AND granted"
    with transaction.atomic(), connection.cursor() as cursor:
        officers.lock_officers()
        cursor.execute(held, [officers._OFFICERS_LOCK])
        assert cursor.fetchone() == (1,)
