"""CAA records: who may issue, for whom and by which proof."""

import time

import pytest

from certificates.acme import caa
from certificates.acme.caa import Question, Record
from certificates.acme.errors import AcmeError
from certificates.acme.lookup import Lookup
from tests.acme.conftest import World

OURS = "ca.example.org"
URI = "https://ca.example.org/acme/servers/account/7"
CAA = [
    ([], False, ""),
    ([(0, "issue", OURS)], False, ""),
    ([(0, "ISSUE", f" {OURS.upper()} ; ")], False, ""),
    ([(0, "issue", "letsencrypt.org"), (0, "issue", OURS)], False, ""),
    ([(0, "issue", "letsencrypt.org")], False, "other authorities are named"),
    ([(0, "issue", ";")], False, "other authorities are named"),
    ([(0, "issue", "")], False, "other authorities are named"),
    ([(0, "issue", "%%%%%")], False, "a value cannot be read"),
    ([(0, "iodef", "mailto:a@example.org")], False, ""),
    ([(0, "issue", OURS)], True, ""),
    ([(0, "issue", OURS), (0, "issuewild", ";")], True, "other authorities are named"),
    ([(0, "issue", ";"), (0, "issuewild", OURS)], True, ""),
    ([(0, "issue", ";"), (0, "issuewild", OURS)], False, "other authorities are named"),
    ([(0, "issuewild", OURS)], False, ""),
    ([(128, "tbs", "x")], False, "the critical property tbs is not understood"),
    ([(0, "tbs", "x"), (0, "issue", OURS)], False, ""),
    ([(128, "issue", OURS)], False, ""),
    ([(0, "issue", f"{OURS}; accounturi={URI}")], False, ""),
    ([(0, "issue", f"{OURS}; accounturi={URI}0")], False, "another account is named"),
    ([(0, "issue", f"{OURS}; accounturi={URI}; accounturi=x")], False, "another account is named"),
    ([(0, "issue", f"{OURS};validationmethods=http-01,dns-01")], False, ""),
    ([(0, "issue", f"{OURS};validationmethods=http-01")], False, "another method of proof is named"),
    ([(0, "issue", f"{OURS};validationmethods=")], False, "another method of proof is named"),
    ([(0, "issue", f"{OURS}; something else")], False, "a parameter cannot be read"),
    ([(0, "issue", f"{OURS}; policy=ev")], False, ""),
]


@pytest.mark.parametrize("case", range(len(CAA)))
def test_caa_records(case):
    rows, wildcard, reason = CAA[case]
    assert caa.refusal([Record(*row) for row in rows], Question([OURS], URI, "dns-01", wildcard)) == reason


def test_caa_climbs_to_the_first_records(world: World):
    client = world.client()
    world.zone[("example.org", "CAA")] = ['0 issue "letsencrypt.org"']
    refused_order = client.order("a.b.example.org")
    world.prove(client, refused_order)
    body = client.post(refused_order["Location"]).json()
    assert body["status"] == "invalid"
    assert body["error"]["type"].endswith(":caa")
    assert body["error"]["detail"].startswith("a.b.example.org: The CAA records of example.org do not let")
    world.zone[("b.example.org", "CAA")] = ['0 issue "ca.example.org"']
    world.issue(client, "a.b.example.org")
    world.zone.broken.add("a.b.example.org")  # a zone that does not answer permits nothing
    order = client.order("a.b.example.org")
    challenge = client.challenge(order, "dns-01")
    world.zone[("_acme-challenge.a.b.example.org", "TXT")] = [f'"{client.digest_of(challenge["token"])}"']
    client.post(challenge["url"], {})
    assert client.post(challenge["url"]).json()["error"]["type"].endswith(":dns")
    world.rules(check_caa=False)
    assert world.look(challenge["url"]).state == "valid"


def test_a_name_server_that_takes_its_time(dns_server, monkeypatch):
    """All questions of one proof share one budget, however many labels the name has."""
    name = ".".join("a" * 100) + ".example.org"
    zone, address = dns_server
    monkeypatch.setattr(zone, "find", lambda name, kind: time.sleep(0.01) or [])
    asked = len(zone.asked)
    with pytest.raises(AcmeError, match=r"not reached in time|No answer"):
        caa.check(name, Question([OURS], URI, "dns-01", False), Lookup([address], total=0.1).caa)
    assert len(zone.asked) - asked < 103
