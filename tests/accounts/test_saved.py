"""What services of people leave behind: rows, events, and a lock that keeps the last officer safe."""

import json

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.core import mail
from django.db import connection, transaction

from keyvault_portal.accounts import services
from keyvault_portal.accounts.services import officers
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import NotFound, ValidationFailed

pytestmark = pytest.mark.django_db


def details(action):
    return json.loads(AuditEvent.objects.get(action=action).leaf)["details"]


def test_what_is_changed_of_a_person_is_stored_and_named(officer_actor, person):
    ann = person("ann")
    services.update_person(actor=officer_actor, person=ann, name="Ann Berg", site="Oslo", reporting_line="")
    ann.refresh_from_db()
    assert (ann.name, ann.site) == ("Ann Berg", "Oslo")
    assert details("person.edit") == {"changed": ["name", "site"]}


def test_a_changed_address_is_on_record_and_told_to_both(officer_actor, officer, person):
    ann = person("ann")
    EmailAddress.objects.create(user=ann, email=ann.email)
    link = services.create_sign_in_link(actor=officer_actor, person=ann).rstrip("/").rsplit("/", 1)[1]
    values = {"name": "Ann", "site": "", "reporting_line": ""}
    with pytest.raises(ValidationFailed):
        services.update_person(actor=officer_actor, person=person("eve"), **values, email=officer.email.upper())
    services.update_person(actor=officer_actor, person=ann, **values, email="Ann.Berg@Example.org")
    ann.refresh_from_db()
    assert ann.email == "ann.berg@example.org"
    changed = AuditEvent.objects.get(action="person.edit", outcome="success")
    assert json.loads(changed.leaf)["details"] == {
        "changed": ["email"], "old_email": "ann@example.org", "new_email": "ann.berg@example.org",
    }  # fmt: skip
    assert [message.to for message in mail.outbox] == [["ann@example.org"], ["ann.berg@example.org"]]
    assert all("from ann@example.org to ann.berg@example.org" in message.body for message in mail.outbox)
    with pytest.raises(NotFound):
        services.redeem_sign_in_link(link=link)
    assert not EmailAddress.objects.filter(user=ann).exists()


def test_a_service_is_not_mailed_about_its_address(officer_actor, person):
    shop = person("shop", kind="service")
    services.update_person(
        actor=officer_actor, person=shop, name="Shop", site="", reporting_line="", email="till@example.org"
    )
    assert not mail.outbox


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
