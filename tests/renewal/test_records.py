"""Records in DNS are taken away whatever became of the order: after a failure, by another worker, at last by people."""

from datetime import timedelta

import pytest
from django.utils import timezone

from certificates.models import AcmeSource, ChallengeAnswer, ManagedCertificate, RenewalOrder
from certificates.renewal import managing, ordering, schedule
from certificates.renewal.tasks import tidy_up
from keys.models import SealedValue
from keys.services import sealing, stores
from keyvault_portal.approvals.models import Notice
from tests.api.conftest import make_person
from tests.renewal.conftest import make_hook

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(home, receiver) -> RenewalOrder:
    """An order that failed while its record was being written; no CA is asked here."""
    sealed: SealedValue = sealing.seal_value(
        home.officer, purpose="ACME account key", plaintext=b"none", key=stores.sealing_key(home.officer)
    )
    source = AcmeSource.objects.create(
        ring=home.ring, name="ca", directory="https://ca.example/dir", account_key=sealed, account_url="https://ca.example/1", state="ready",
        thumbprint="t" * 43, terms_agreed_by="Olga", created_by="Olga",
    )  # fmt: skip
    row = ManagedCertificate.objects.create(
        ring=home.ring, source=source, key=home.make("www", "transport", "ECDSA-P256-SHA256", home.kek), names=["dns:www.example.org"],
        challenge="dns-01", dns_hook=make_hook(home, receiver), renew_at=timezone.now() + timedelta(days=9), created_by="Olga",
    )  # fmt: skip
    found = managing.begin(row, "Asked for.")
    RenewalOrder.objects.filter(pk=found.pk).update(state="failed", finished_at=timezone.now())
    ChallengeAnswer.objects.create(
        order=found, kind="dns-01", name="_acme-challenge.www.example.org", token="t" * 30, content="the-value"
    )
    return RenewalOrder.objects.get(pk=found.pk)


def test_a_record_whose_worker_died_before_it_noted_it(order, receiver):
    ordering.tidy(order)
    assert [event for event, _, _ in receiver.calls] == [
        {"action": "cleanup", "name": "_acme-challenge.www.example.org", "value": "the-value"}
    ]
    assert not ChallengeAnswer.objects.exists()


def test_a_hook_that_is_away_is_asked_again_by_the_tick(order, receiver, celery_eager):
    receiver.answers[:] = [503, 403]
    ordering.tidy(order)
    tidy_up(str(order.pk))
    assert ChallengeAnswer.objects.count() == 1
    schedule.tick()
    assert not ChallengeAnswer.objects.exists()
    assert len(receiver.calls) == 3


def test_an_open_order_keeps_its_records(order, receiver):
    RenewalOrder.objects.update(state="preparing", finished_at=None)
    tidy_up(str(order.pk))
    assert receiver.calls == []


def test_after_three_days_people_are_told_to_do_it(order, receiver):
    make_person("olga", "security_officer")
    receiver.answers[:] = [403, 403]
    RenewalOrder.objects.update(finished_at=timezone.now() - timedelta(days=2))
    ordering.tidy(order)
    assert (Notice.objects.count(), ChallengeAnswer.objects.count()) == (0, 1)
    RenewalOrder.objects.update(finished_at=timezone.now() - timedelta(days=4))
    ordering.tidy(order)
    assert "_acme-challenge.www.example.org with the value the-value" in Notice.objects.get().detail
    assert not ChallengeAnswer.objects.exists()
