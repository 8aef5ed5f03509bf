"""Nobody waits for another transaction with the record's head in hand."""

import threading
import time

import pytest
from django.db import connection

from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.models import AuditEvent

PATIENCE = 60


def waiting() -> int:
    """How many connections to this database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with connection.cursor() as cursor:
        cursor.execute(query)
        (number,) = cursor.fetchone()
    return number


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_referred_to_is_waited_for_before_the_head_is_taken():
    """Two acts about one person at once: one holds the person, the other stores what refers to them. Both are done."""
    person = Person.objects.create_person(email="ann@example.org", name="Ann")
    actor, held, failures = system_actor("test"), threading.Event(), []

    def hold():
        try:
            with audit.atomic(actor=actor, action="person.edit", target=("person", person.pk, "Ann")) as act:
                Person.objects.select_for_update().get(pk=person.pk)
                held.set()
                deadline = time.monotonic() + PATIENCE
                while not waiting() and time.monotonic() < deadline:
                    time.sleep(0.02)
                act.record()
        except Exception as failure:
            failures.append(failure)
        finally:
            connection.close()

    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(PATIENCE)
    with audit.atomic(actor=actor, action="role.bind", target=("person", person.pk, "Ann")) as act:
        RoleBinding.objects.create(person=person, role="auditor", created_by="test")
        act.record()
    holding.join()
    assert not failures
    assert list(AuditEvent.objects.order_by("seq").values_list("action", flat=True)) == ["person.edit", "role.bind"]
