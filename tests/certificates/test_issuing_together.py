"""Threads of one process that issue at the same time: they share a commit, and nobody's fault is anybody else's."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connection

from certificates.models import Certificate
from certificates.services import issuing, revoking
from certificates.states import Reason
from keyvault_portal.audit import ledger
from keyvault_portal.audit.commands import verification_settings
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.verification import verify
from keyvault_portal.errors import PermissionRefused, PortalError, ValidationFailed
from tests.certificates.conftest import order, outcomes
from tests.certificates.test_together import wait_until


class Slow:
    """The record takes its time with the first entry, until the other calls wait behind it."""

    def __init__(self, append_after):
        self.append_after, self.entries, self.behind = append_after, [], 0

    def __call__(self, head, events, *rest):
        self.entries.append(len(events))
        if len(self.entries) == 1:
            wait_until(lambda: len(issuing._together._waiting) >= self.behind)
        return self.append_after(head, events, *rest)

    def issue(self, *calls):
        """What each call returned or raised; the first is at the record before the others begin."""
        self.behind = len(calls) - 1
        with ThreadPoolExecutor(len(calls)) as pool:
            first = pool.submit(self.one, calls[0])
            wait_until(lambda: self.entries)
            return [call.result(60) for call in [first, *[pool.submit(self.one, call) for call in calls[1:]]]]

    @staticmethod
    def one(call):
        try:
            return call()
        except PortalError as error:
            return error
        finally:
            connection.close()


@pytest.fixture
def slow(at_once, monkeypatch):
    slow = Slow(ledger.append_after)
    monkeypatch.setattr(ledger, "append_after", slow)
    return slow


def test_callers_at_the_same_time_share_a_commit(at_once, slow):
    made = slow.issue(*[partial(at_once, f"h{number}.example.org") for number in range(8)])
    assert slow.entries == [1, 7]
    assert {row.names[0] for row in made} == {f"dns:h{number}.example.org" for number in range(8)}
    assert made[0].names == ["dns:h0.example.org"]
    stored = Certificate.objects.filter(pk__in=[row.pk for row in made])
    assert {row.grant.state for row in stored} == {"done"}
    assert outcomes()[-8:] == ["success"] * 8
    assert verify(verification_settings(every_signature=True)).finding is None


def test_what_one_may_not_have_hinders_nobody_beside_it(at_once, slow, auditor):
    made = slow.issue(at_once, partial(at_once, "b.example.com"), partial(at_once, actor=auditor), at_once)
    assert [type(result) for result in made] == [Certificate, ValidationFailed, PermissionRefused, Certificate]
    assert slow.entries[:2] == [1, 1]
    assert sorted(outcomes()[-4:]) == ["refused", "refused", "success", "success"]


def test_a_compromised_key_hinders_nobody_beside_it(at_once, slow, tree):
    wanted = order("b.example.org")
    row = at_once(wanted=wanted)
    revoking.revoke_certificate(actor=tree.officer, certificate_id=row.pk, reason=Reason.KEY_COMPROMISE.value)
    at_once()
    slow.entries.clear()
    made = slow.issue(at_once, partial(at_once, wanted=wanted), at_once, at_once)
    assert [type(result) for result in made] == [Certificate, ValidationFailed, Certificate, Certificate]
    assert sorted(outcomes()[-4:]) == ["refused", "success", "success", "success"]


def test_a_record_that_cannot_be_written_fails_all_that_wait_for_it_once(at_once, slow, monkeypatch):
    def away(*rest):
        raise AuditUnavailable

    slow.append_after = away
    monkeypatch.setattr(ledger, "append_locked", away)
    failed = slow.issue(*[at_once] * 4)
    assert [type(result) for result in failed] == [AuditUnavailable] * 4
    assert len({id(result) for result in failed}) == 4, "each thread has its own traceback"
    assert outcomes() == ["success"], "nothing is tried again"
