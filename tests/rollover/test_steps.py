"""The rollover's machine: every way through it, the same rule in the database, reports that are late, and bad input."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates.models import Certificate, RelyingParty, Rollover
from certificates.rollover import gates, parties, steps
from certificates.rollover.states import ROLLOVER_MOVES, RolloverState, after
from certificates.rollover.steps import GateNotMet
from certificates.services import authorities, issuing, revoking, status
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.certificates.conftest import Hierarchy, csr, make_authority, refreshed
from tests.keys.conftest import auditor, fresh_caches, officer, service, tree
from tests.rollover.test_fleet import NAMES, report, step, two_roots

__all__ = ["auditor", "fresh_caches", "officer", "service", "tree"]
R = RolloverState


@pytest.fixture
def planned(tree):
    old, new = two_roots(tree)
    row = steps.plan_rollover(actor=tree.officer, old_id=old.pk, new_id=new.pk, reason="A test.")
    report(tree, "shop", old, new)
    return row


def go(tree, row, state):
    """By the shortest legal way to a state."""
    for to in {R.TRUST_A: (), R.TRUST_BOTH: ("trust_both",), R.ISSUE_B: ("trust_both", "issue_b"),
               R.TRUST_B: ("trust_both", "issue_b", "trust_b"), R.CANCELLED: ("cancelled",)}[state]:  # fmt: skip
        row = step(tree, row, to)
    return row


def test_ends_are_ends():
    assert {state for state, moves in ROLLOVER_MOVES.items() if not moves} == {R.TRUST_B, R.CANCELLED}
    assert after(R.TRUST_B) is None
    assert after(R.CANCELLED) is None


@pytest.mark.parametrize("state", list(R))
def test_only_the_tables_moves_are_made(tree, planned, state):
    row = go(tree, planned, state)
    assert row.state == state.value
    for to in R:
        if to in ROLLOVER_MOVES[state]:
            continue
        with pytest.raises(WrongState):
            step(tree, row, to.value)
        assert refreshed(row).state == state.value


@pytest.mark.parametrize("state", [R.TRUST_BOTH, R.ISSUE_B, R.TRUST_B, R.CANCELLED])
def test_the_database_lets_no_step_be_skipped(planned, state):
    with pytest.raises(IntegrityError), transaction.atomic():
        Rollover.objects.filter(pk=planned.pk).update(state=state.value)
    with pytest.raises(IntegrityError), transaction.atomic():
        Rollover.objects.filter(pk=planned.pk).update(state="trust_b", trust_b_at=timezone.now())


def test_back_and_forth(tree, planned):
    row = go(tree, planned, R.ISSUE_B)
    row = step(tree, row, "trust_both")
    assert (row.issue_b_at, refreshed(row.old).state) == (None, "active")
    row = step(tree, row, "issue_b")
    assert refreshed(row.old).state == "retired"
    assert AuditEvent.objects.filter(action="rollover.step", outcome="success").count() == 4
    assert [item["state"] for item in steps.as_steps(row)] == ["done", "done", "current", "todo"]


def test_what_an_authority_issued_two_rollovers_ago_is_renewed_by_the_one_that_issues_now(tree, planned):
    a, b = planned.old, planned.new
    c = make_authority(tree, "root-c", profiles=["server"], names=NAMES, days=7000)
    order = issuing.order_from_csr(csr("a.example.org"), profile="server", names=[("dns", "a.example.org")])
    first = issuing.issue_certificate(actor=tree.officer, authority_id=a.pk, order=order)
    assert steps.line_of(a) == [a]
    go(tree, planned, R.ISSUE_B)
    row = steps.plan_rollover(actor=tree.officer, old_id=b.pk, new_id=c.pk, reason="A stronger key yet.")
    report(tree, "shop", a, b, c)
    go(tree, row, R.ISSUE_B)
    assert steps.line_of(refreshed(a)) == [a, b, c]
    again = issuing.renew_from_csr(actor=tree.officer, certificate_id=first.pk, raw=csr("a.example.org"))
    assert (again.authority, again.renews) == (c, first)


def test_one_at_a_time(tree, planned):
    with pytest.raises(Conflict):
        steps.plan_rollover(actor=tree.officer, old_id=planned.old_id, new_id=planned.new_id, reason="Again.")
    step(tree, planned, "cancelled")
    assert steps.plan_rollover(actor=tree.officer, old_id=planned.old_id, new_id=planned.new_id, reason="Again.").pk


def test_b_has_to_be_able_to_take_over(tree):
    old = make_authority(tree, "a", profiles=["server", "client"], names={"dns": ["example.org"]}, days=3000)
    short = make_authority(tree, "b", profiles=["server"], names={"dns": ["example.org"]}, days=100)
    row = steps.plan_rollover(actor=tree.officer, old_id=old.pk, new_id=short.pk, reason="A test.")
    faults = gates.gate(row).faults
    assert faults[0] == "B does not issue what A issues: client."
    assert "not later than A" in faults[1]
    with pytest.raises(GateNotMet):
        step(tree, row, "trust_both")


def test_b_has_to_outlive_a_and_not_only_equal_it(planned):
    Certificate.objects.filter(pk=planned.new.certificate_id).update(not_after=planned.old.certificate.not_after)
    assert "not later than" in gates.gate(refreshed(planned)).faults[0]


def test_b_has_to_be_in_service(tree, planned):
    authorities.retire_authority(actor=tree.officer, authority_id=planned.new_id, reason="A test.")
    assert gates.gate(refreshed(planned)).faults == [f"{planned.new} is retired: it cannot issue."]


def test_what_is_revoked_holds_nobody_up(tree, planned):
    leaf = Hierarchy(tree, planned.old, planned.old, planned.old).issue("dns:www.example.org")
    row = go(tree, planned, R.ISSUE_B)
    assert gates.gate(row).faults[0].startswith("1 certificate of ")
    revoking.revoke_certificate(actor=tree.officer, certificate_id=leaf.pk, reason="superseded")
    assert gates.gate(row).met


def test_its_responder_that_is_certified_for_ever_holds_nobody_up(planned):
    assert status.ensure_responder(planned.old_id)
    assert Certificate.objects.filter(authority=planned.old, profile="ocsp-responder").exists()
    assert not gates.living_of(planned.old).exists()


def test_an_old_report_does_not_count(tree, planned):
    row = step(tree, planned, "trust_both")
    RelyingParty.objects.update(reported_at=timezone.now() - timedelta(days=8))
    assert gates.gate(row).faults == ["1 of 1 relying parties have not reported for 7 days."]
    parties.remove_party(actor=tree.officer, party_id=RelyingParty.objects.get().pk, reason="Scrapped.")
    assert gates.gate(row).faults == [
        "No relying party has reported its bundle: nobody knows whom the step would break."
    ]
    report(tree, "shop", row.old, row.new)
    assert gates.gate(row).met
    assert gates.standings(row)[0].state == "trusts_both"


def test_reports_are_on_record_when_they_change(tree):
    digest = "AB:" * 31 + "AB"
    for _ in range(3):
        row = parties.report_bundle(actor=tree.officer, ring=tree.ring, name="shop", fingerprints=[digest, digest])
    assert row.fingerprints == ["ab" * 32]
    assert AuditEvent.objects.filter(action="trust.report").count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"), ({"name": "a b"}, "name"), ({"name": "x" * 101}, "name"), ({"fingerprints": ["ab"]}, "fingerprints"),
        ({"fingerprints": ["zz" * 32]}, "fingerprints"), ({"fingerprints": [f"{number:064x}" for number in range(1001)]}, "fingerprints"),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be(tree, change, field):
    values = {"name": "shop", "fingerprints": ["ab" * 32]} | change
    with pytest.raises(ValidationFailed) as wrong:
        parties.report_bundle(actor=tree.officer, ring=tree.ring, **values)
    assert field in wrong.value.errors


def test_who_may_report_and_who_may_step(tree, planned, service, auditor):
    assert parties.report_bundle(actor=service, ring=tree.ring, name="shop", fingerprints=[]).fingerprints == []
    with pytest.raises(PermissionRefused):
        parties.report_bundle(actor=auditor, ring=tree.ring, name="shop", fingerprints=[])
    with pytest.raises(PermissionRefused):
        steps.take_step(actor=auditor, rollover_id=planned.pk, to="trust_both", reason="No.")


def test_who_agrees_reads_whether_a_goes_on_or_comes_back(tree, planned):
    ahead = steps.consequences(planned, R.TRUST_BOTH)
    assert not any("issues again" in line for line in ahead)
    assert any("gate" in line for line in ahead)
    row = go(tree, planned, R.ISSUE_B)
    assert steps.consequences(row, R.TRUST_BOTH) == [f"{row.old} issues again, and {row.new} too."]


@pytest.mark.parametrize(("to", "reason"), [("nowhere", "A test."), ("trust_both", " ")])
def test_bad_steps(tree, planned, to, reason):
    with pytest.raises(ValidationFailed):
        steps.take_step(actor=tree.officer, rollover_id=planned.pk, to=to, reason=reason)
