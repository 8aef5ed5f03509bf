"""A rollover with a fleet of real TLS servers and clients: nobody fails at any step, and a gate that is skipped cuts people off."""

import pytest

from certificates.models import Authority
from certificates.rollover import gates, parties, steps
from certificates.rollover.steps import GateNotMet
from keyvault_portal.errors import ApprovalRequired
from tests.certificates.conftest import make_authority
from tests.certificates.test_acts import agree, officer_named
from tests.keys.conftest import auditor, fresh_caches, officer, service, tree
from tests.rollover.fleet import fleet, let_end

__all__ = ["auditor", "fresh_caches", "officer", "service", "tree"]
NAMES = {"dns": ["example.org"]}


def two_roots(tree):
    old = make_authority(tree, "root-a", profiles=["server"], names=NAMES, days=3000)
    new = make_authority(tree, "root-b", profiles=["server"], names=NAMES, days=5000)
    return old, new


def step(tree, row, to, **more):
    return steps.take_step(actor=tree.officer, rollover_id=row.pk, to=to, reason="A test.", **more)


def refused(tree, row, to):
    with pytest.raises(GateNotMet) as error:
        step(tree, row, to)
    return error.value.extra["faults"]


def agreed(row, to, people, **more):
    """The same, asked by the first of three officers and agreed to by the others."""
    asks, first, second = people
    with pytest.raises(ApprovalRequired) as waiting:
        steps.take_step(actor=asks, rollover_id=row.pk, to=to, reason="The key was copied.", **more)
    state, request = agree(waiting, first, second)
    assert state == "executed"
    row.refresh_from_db()
    return request


def officers():
    return [officer_named(name) for name in ("Asta", "Bo", "Cy")]


def test_a_root_is_rolled_over_and_nobody_fails(tree, tmp_path):
    old, new = two_roots(tree)
    with fleet(tree, tmp_path, old) as found:
        assert found.failures() == 0
        row = steps.plan_rollover(actor=tree.officer, old_id=old.pk, new_id=new.pk, reason="It ends in eight years.")
        step(tree, row, "trust_both")
        assert found.failures() == 0
        for number, client in enumerate(found.clients):
            assert refused(tree, row, "issue_b") == [f"{3 - number} of 3 relying parties do not trust Root B yet."]
            client.trust(old, new)
            assert found.failures() == 0
        row = step(tree, row, "issue_b")
        assert Authority.objects.get(pk=old.pk).state == "retired"
        before = [server.certificate for server in found.servers]
        for server in found.servers:
            server.renew()
            assert server.certificate.authority_id == new.pk
            assert found.failures() == 0
        # Renewed, but the old ones live on: who drops A now would refuse whoever still presents one.
        faults = refused(tree, row, "trust_b")
        assert faults[0].startswith("3 certificates of Root A live, the last until ")
        let_end(*before[:2])
        assert refused(tree, row, "trust_b")[0].startswith("1 certificate of Root A lives")
        let_end(before[2])
        row = step(tree, row, "trust_b")
        assert (row.state, row.forced) == ("trust_b", [])
        for client in found.clients:
            client.trust(new)
            assert found.failures() == 0
        assert {one.state for one in gates.standings(row)} == {"trusts_new"}


def test_issuing_from_b_before_everybody_trusts_it_cuts_people_off(tree, tmp_path):
    old, new = two_roots(tree)
    with fleet(tree, tmp_path, old) as found:
        row = steps.plan_rollover(actor=tree.officer, old_id=old.pk, new_id=new.pk, reason="The key was copied.")
        step(tree, row, "trust_both")
        found.clients[0].trust(old, new)
        # Alone nobody forces anything.
        with pytest.raises(GateNotMet, match="2 of 3"):
            step(tree, row, "issue_b", force=True)
        people = officers()
        request = agreed(row, "issue_b", people, force=True)
        assert "The gate is not met: 2 of 3 relying parties do not trust Root B yet." in request.consequences
        assert row.forced[0]["faults"] == ["2 of 3 relying parties do not trust Root B yet."]
        found.servers[0].renew()
        assert found.failures() == 2  # the two clients that had not added B
        # Back: A issues again, and the server returns to it.
        agreed(row, "trust_both", people)
        found.servers[0].issue(Authority.objects.get(pk=old.pk))
        assert found.failures() == 0


def test_dropping_a_while_its_certificates_live_cuts_people_off(tree, tmp_path):
    old, new = two_roots(tree)
    with fleet(tree, tmp_path, old) as found:
        row = steps.plan_rollover(actor=tree.officer, old_id=old.pk, new_id=new.pk, reason="A test.")
        step(tree, row, "trust_both")
        for client in found.clients:
            client.trust(old, new)
        step(tree, row, "issue_b")
        found.servers[0].renew()
        agreed(row, "trust_b", officers(), force=True)
        for client in found.clients:
            client.trust(new)
        assert found.failures() == 6  # three clients at the two servers that still present A's


def test_an_intermediate_is_rolled_over_below_a_root_that_everybody_trusts(tree, tmp_path):
    root = make_authority(tree, "root", path_length=1)
    old = make_authority(tree, "int-a", root, profiles=["server"], names=NAMES, path_length=0, days=400)
    new = make_authority(tree, "int-b", root, profiles=["server"], names=NAMES, path_length=0, days=800)
    row = steps.plan_rollover(actor=tree.officer, old_id=old.pk, new_id=new.pk, reason="A test.")
    step(tree, row, "trust_both")
    assert refused(tree, row, "issue_b") == [
        "No relying party has reported its bundle: nobody knows whom the step would break."
    ]
    report(tree, "browser", root)  # trusts both by the root
    report(tree, "pinned", old)  # trusts A alone, by its own fingerprint
    assert refused(tree, row, "issue_b") == ["1 of 2 relying parties do not trust Int B yet."]
    report(tree, "pinned", old, new)
    row = step(tree, row, "issue_b")
    assert [item.pk for item in steps.bundle(row)] == [old.certificate_id, root.certificate_id, new.certificate_id]


def report(tree, name, *authorities):
    found = [row.certificate.fingerprint for row in authorities]
    return parties.report_bundle(actor=tree.officer, ring=tree.ring, name=name, fingerprints=found)
