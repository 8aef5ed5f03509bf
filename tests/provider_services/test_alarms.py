"""Who is told, on the page and by e-mail, when a provider fails or does not hold what the inventory says."""

import pytest
from django.core import mail

from keys.models import KeyProvider
from keys.provider_tasks import provider_tick
from keys.services.providers import breaker, comparison, health
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.approvals.models import Notice
from tests.api.conftest import make_person
from tests.provider_services.conftest import closed, work

FAILS, OVER = "The key provider The far one fails", "The key provider The far one answers again"


@pytest.fixture
def people(tree):
    """The officer of everything, the one of the ring that has keys there, and some whom it does not concern."""
    elsewhere = KeyRing.objects.create(name="patients", title="Patients")
    theirs = make_person("omar", "security_officer"), make_person("rita", "security_officer", tree.ring)
    make_person("paul", "security_officer", elsewhere)
    make_person("dana", "operator")
    make_person("gone", "security_officer").__class__.objects.filter(email__startswith="gone").update(is_active=False)
    return {person.pk for person in theirs}


def told(text: str) -> list:
    return list(Notice.objects.filter(text=text, alarm=True).values_list("person_id", flat=True))


def test_a_breaker_that_opens_is_told_once_and_its_end_too(far, there, remote_key, people, monkeypatch):
    work(remote_key())
    for _ in range(breaker.FAILURES):
        assert told(FAILS) == []
        health.watch_circuits()
        breaker.failed("far")
    provider_tick()
    provider_tick()
    assert (set(told(FAILS)), len(told(FAILS))) == (people, 2)
    health.check_by_clock(far.pk)  # its test succeeds, but the breaker has not been closed by it yet in another process
    breaker.answered("far")
    health.check_by_clock(far.pk)
    health.check_by_clock(far.pk)
    assert (set(told(OVER)), len(told(OVER))) == (people, 2)
    assert KeyProvider.objects.get(pk=far.pk).alarmed_at is None


def test_one_outage_is_one_alarm_whoever_saw_it_first(far, there, remote_key, people):
    work(remote_key())
    there.down = True
    for _ in range(breaker.FAILURES + 1):
        health.check_by_clock(far.pk)
        health.watch_circuits()
    assert len(told(FAILS)) == 2
    there.down = False
    health.check_by_clock(far.pk)
    closed()
    health.check_by_clock(far.pk)
    assert len(told(OVER)) == 2


@pytest.mark.django_db(transaction=True)
def test_the_alarm_comes_by_e_mail_as_well(far, there, people, celery_eager):
    there.down = True
    health.check_by_clock(far.pk)
    assert [letter.subject for letter in mail.outbox] == [FAILS]  # no key of the ring lives there
    assert "/keys/providers/far/" in mail.outbox[0].body


def test_differences_are_told_when_they_appear_and_not_again(far, there, remote_key, people):
    key = remote_key()
    work(key)
    key.refresh_from_db()
    comparison.compare(far.pk)
    assert not Notice.objects.exists()
    there.keys.pop(key.current.handle)
    for _ in range(2):
        comparison.compare(far.pk)
    notices = Notice.objects.all()
    assert {notice.person_id for notice in notices} == people
    assert len(notices) == 2
    assert notices[0].text == "1 new difference between the inventory and The far one"
    assert "is not at the provider any more" in notices[0].detail
