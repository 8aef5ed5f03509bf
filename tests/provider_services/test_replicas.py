"""Copies of keys in other regions, on ministack with two of them: shown, used while the first is cut off, and put right."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from keys.models import KeyProvider, ProviderFinding
from keys.providers import registry
from keys.providers.base import KeyHandle, RemoteState, Replica
from keys.services import key_views, lifecycle, operations
from keys.services.overview import attention
from keys.services.policies import PolicyValues
from keys.services.providers import breaker, comparison, effects, findings, health, registration, replication
from keys.services.providers.effects import Order
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals.models import Notice
from keyvault_portal.errors import ProviderUnavailable
from tests.api.conftest import make_person, sign_in
from tests.faults.proxy import Proxy
from tests.keys.conftest import actor_of
from tests.provider_services.conftest import hurry, intent_of, work
from tests.providers.place_aws_kms import STRANGER
from tests.providers.place_aws_kms_ministack import new_account

FIRST, SECOND = "eu-central-1", "eu-west-1"


class Regions:
    """A registered AWS of two regions, each behind a line that can be cut."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.lines = {name: Proxy((str(parts.hostname), int(parts.port or 0))) for name in (FIRST, SECOND)}

    def address(self, region: str) -> str:
        return f"http://127.0.0.1:{self.lines[region].port}"

    @property
    def values(self) -> dict[str, str]:
        return {"region": FIRST, "endpoint": self.address(FIRST), "replica_regions": f"{SECOND}={self.address(SECOND)}"}


@pytest.fixture
def regions(places: Any, tree: Any, officer: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Regions]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", new_account())  # else each comparison looks at the keys of earlier tests
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    found = Regions(places["aws_kms_ministack"].provider._connection.primary.endpoint)
    registration.register_provider(actor=officer, kind="aws_kms", alias="far", title="Far", values=found.values)
    yield found
    for line in found.lines.values():
        line.cut()
    breaker.answered("far")
    registry.forget()


@pytest.fixture
def far(regions: Regions) -> KeyProvider:
    return KeyProvider.objects.get(alias="far")


def made(key: Any) -> Any:
    assert work(key).state == "done", intent_of(key).last_error
    key.refresh_from_db()
    return key


def sealed(service: Any, key: Any, text: bytes) -> str:
    key_views.forget()
    return operations.encrypt(service, key.pk, text, {"row": "1"}).ciphertext


def opened(service: Any, key: Any, ciphertext: str) -> bytes:
    key_views.forget()
    return operations.decrypt(service, key.pk, ciphertext, {"row": "1"}).plaintext


def drifts(far: KeyProvider, key: Any) -> Any:
    """The open differences of this key after a comparison."""
    comparison.compare(far.pk)
    return far.findings.filter(state="open", version__key=key)


@pytest.fixture
def service() -> Any:
    return actor_of(Role.SERVICE, "shop")


def test_a_replica_serves_while_the_first_region_is_cut_off(regions, far, remote_key, service, officer):
    make_person("olga", "security_officer")
    key = made(remote_key("records", "dek"))
    before = sealed(service, key, b"before")
    health.check_by_clock(far.pk)
    far.refresh_from_db()
    assert (far.shown_state, far.on_replica) == ("reachable", False)
    regions.lines[FIRST].cut()
    assert opened(service, key, before) == b"before"
    during = sealed(service, key, b"during")
    health.check_by_clock(far.pk)
    health.check_by_clock(far.pk)
    far.refresh_from_db()
    assert (far.shown_state, far.last_error) == ("on_replica", "")
    assert [(row.name, bool(row.error)) for row in far.regions.order_by("-primary")] == [(FIRST, True), (SECOND, False)]
    assert Notice.objects.filter(text="The key provider Far fails").count() == 1
    assert "Key provider Far serves from a replica" in [row.title for row in attention(officer)]
    report = health.test_provider(actor=officer, alias="far")
    assert f"{FIRST} does not answer" in report.detail

    # What the first region alone can do waits, and takes nothing from those whom the replica serves.
    waiting = remote_key("later", "dek")
    for _ in range(breaker.FAILURES + 1):
        hurry(intent_of(waiting))
        assert work(waiting).state == "waiting"
    assert breaker.look("far") is breaker.Circuit.CLOSED
    assert opened(service, key, during) == b"during"

    regions.lines[FIRST].mend()
    health.check_by_clock(far.pk)
    far.refresh_from_db()
    assert far.shown_state == "reachable"
    assert Notice.objects.filter(text="The key provider Far answers again").count() == 1
    hurry(intent_of(waiting))
    made(waiting)
    assert opened(service, key, during) == b"during"


def test_a_key_without_copies_goes_nowhere_else(regions, far, remote_key, service, officer):
    """Never to weaker protection: no other key, no other region than those of the settings, nothing of the portal's own."""
    registration.update_provider(
        actor=officer, alias="far", title="Far", values={"region": FIRST, "endpoint": regions.address(FIRST)}
    )
    registry.forget()
    key = made(remote_key("records", "dek"))
    text = sealed(service, key, b"text")
    registration.update_provider(actor=officer, alias="far", title="Far", values=regions.values)
    registry.forget()
    regions.lines[FIRST].cut()
    with pytest.raises(ProviderUnavailable):
        opened(service, key, text)
    with pytest.raises(ProviderUnavailable):
        sealed(service, key, b"text")


def test_when_all_regions_are_gone_it_is_down(regions, far, remote_key, service):
    key = made(remote_key("records", "dek"))
    text = sealed(service, key, b"text")
    health.check_by_clock(far.pk)
    for line in regions.lines.values():
        line.cut()
    with pytest.raises(ProviderUnavailable):
        opened(service, key, text)
    health.check_by_clock(far.pk)
    far.refresh_from_db()
    assert (far.shown_state, far.on_replica) == ("unreachable", False)
    assert all(row.error for row in far.regions.all())


def test_copies_are_compared_shown_and_put_right(regions, far, remote_key, service, officer, places):
    key = made(remote_key("records", "dek"))
    version = key.current
    comparison.compare(far.pk)
    assert not far.findings.exclude(state="resolved").filter(version=version).exists()
    assert [(row.region, row.state) for row in version.replicas.all()] == [(SECOND, "enabled")]

    keeper = registry.provider("far")
    there = keeper._connection.client(keeper._connection.replicas[0])
    there.disable_key(KeyId=version.handle.replace(FIRST, SECOND))
    comparison.compare(far.pk)
    finding = far.findings.get(version=version, state="open")
    assert (finding.kind, finding.detail.endswith(f"in {SECOND} it is disabled.")) == ("replica_drift", True)
    olga = sign_in(make_person("olga", "security_officer"))
    assert "Copies differ" in olga.get("/keys/providers/far/").content.decode()
    shown = olga.get(f"/keys/{key.pk}/").content.decode()
    assert (SECOND in shown, "Disabled" in shown) == (True, True)
    assert findings.can_mend(finding)
    findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    assert work(key, "enable").state == "done"
    comparison.compare(far.pk)
    finding.refresh_from_db()
    assert finding.state == "resolved"
    assert [row.state for row in version.replicas.all()] == ["enabled"]


def test_a_copys_own_policy_is_a_difference_with_its_region(regions, far, remote_key, officer):
    key = made(remote_key("records", "dek"))
    assert not drifts(far, key)
    copy = key.current.handle.replace(FIRST, SECOND)
    assert far.accepted_metadata.filter(owner=copy).exists()
    client = registry.provider("far")._connection.client_for(copy)
    accepted = json.loads(client.get_key_policy(KeyId=copy, PolicyName="default")["Policy"])
    wide = json.dumps({**accepted, "Statement": [*accepted["Statement"], STRANGER]})

    def opened_wide():
        client.put_key_policy(KeyId=copy, PolicyName="default", Policy=wide)
        return drifts(far, key).get()

    finding = opened_wide()
    assert (finding.kind, finding.opaque, finding.facts["region"]) == ("metadata_drift", copy, SECOND)
    assert f"the copy of {key.current} in {SECOND} is not what was accepted" in finding.detail
    assert {row["place"].split(" / ")[2] for row in finding.facts["changes"]} == {"stranger"}
    findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    assert work(key, "restore_metadata").state == "done"
    assert json.loads(client.get_key_policy(KeyId=copy, PolicyName="default")["Policy"]) == accepted
    assert not drifts(far, key)

    finding = opened_wide()
    findings.accept_finding(
        actor=officer, alias="far", finding_id=finding.pk, seen=finding.facts["sha256"], reason="The other site reads."
    )
    assert not drifts(far, key)
    assert far.accepted_metadata.get(owner=key.current.handle).reason == "", "the key's own are another matter"


def test_a_copy_that_is_open_wider_from_the_first_day_is_a_difference(regions, far, remote_key):
    key = made(remote_key("records", "dek"))
    copy = key.current.handle.replace(FIRST, SECOND)
    client = registry.provider("far")._connection.client_for(copy)
    client.tag_resource(KeyId=copy, Tags=[{"TagKey": "team", "TagValue": "shop"}])
    finding = drifts(far, key).get()
    assert (finding.opaque, [row["place"] for row in finding.facts["changes"]]) == (copy, ["tags / team"])


def test_copies_are_put_right_from_every_state(regions, far, remote_key, officer):
    alone = PolicyValues(cryptoperiod_days=90, rotate_roles=["security_officer"], destroy_roles=["security_officer"])
    key = made(remote_key("records", "dek", policy=alone))
    version, copy = key.current, key.current.handle.replace(FIRST, SECOND)
    client = registry.provider("far")._connection.client_for(copy)

    def put_right(act):
        finding = drifts(far, key).get()
        assert finding.kind == "replica_drift"
        findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
        assert work(key, act).state == "done", intent_of(key, act).last_error
        assert not drifts(far, key)

    client.schedule_key_deletion(KeyId=copy, PendingWindowInDays=7)
    put_right("enable")
    lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
    work(key, "disable")
    client.enable_key(KeyId=copy)
    put_right("disable")
    lifecycle.schedule_deletion(actor=officer, version_id=version.pk, grace_days=10)
    work(key, "schedule_deletion")
    client.cancel_key_deletion(KeyId=copy)
    client.enable_key(KeyId=copy)
    put_right("schedule_deletion")
    assert client.describe_key(KeyId=copy)["KeyMetadata"]["KeyState"] == "PendingDeletion"


class Recorder:
    """What an order does to copies."""

    alias, region_names = "far", (FIRST, SECOND)

    def replicas(self, handle: Any) -> list[Replica]:
        return []

    def align_replicas(self, handle: Any, state: RemoteState, days: int) -> None:
        self.told = (state, days)


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (10, (RemoteState.PENDING_DELETION, 10)),
        (2, (RemoteState.PENDING_DELETION, 7)),
        (30, (RemoteState.PENDING_DELETION, 30)),
        (90, (RemoteState.DISABLED, 90)),
    ],
)
def test_copies_are_not_ended_before_their_key(left, told):
    """A provider waits 7 to 30 days; a longer grace is waited out with the copy disabled, as with the key itself."""
    keeper, due = Recorder(), timezone.now() + timedelta(days=left) - timedelta(minutes=1)
    order = Order(keeper, "schedule_deletion", KeyHandle("AES-256-GCM", "k"), "", due_at=due, everywhere=True)
    effects.perform(order)
    assert keeper.told == told


def test_a_copy_that_is_gone_already_is_right_for_a_key_on_its_way_out():
    gone = [Replica(SECOND, None)]
    assert list(replication.amiss(gone, {RemoteState.PENDING_DELETION, RemoteState.DISABLED})) == []
    assert list(replication.amiss(gone, {RemoteState.DISABLED})) == [(SECOND, "there is none")]


def test_a_copy_that_is_missing_is_made(regions, far, remote_key, officer):
    key = made(remote_key("records", "dek"))
    third = "us-west-2"
    values = regions.values
    values["replica_regions"] += f", {third}={regions.address(SECOND)}"
    registration.update_provider(actor=officer, alias="far", title="Far", values=values)
    registry.forget()
    comparison.compare(far.pk)
    finding = ProviderFinding.objects.get(version=key.current, state="open")
    assert finding.detail.endswith(f"in {third} there is none.")
    findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    assert work(key, "enable").state == "done"
    comparison.compare(far.pk)
    assert sorted((row.region, row.state) for row in key.current.replicas.all()) == [
        (SECOND, "enabled"), (third, "enabled"),
    ]  # fmt: skip


def test_the_page_and_the_api_tell_the_regions_apart(regions, far):
    client = sign_in(make_person("olga", "security_officer"))
    health.check_by_clock(far.pk)
    regions.lines[FIRST].cut()
    health.check_by_clock(far.pk)
    page = client.get("/keys/providers/far/").content.decode()
    assert "A replica serves" in page
    assert (FIRST in page, SECOND in page) == (True, True)
    told = client.get("/api/v1/providers/far/health").json()
    assert told["on_replica"]
    assert [(row["name"], row["primary"], bool(row["error"])) for row in told["regions"]] == [
        (FIRST, True, True), (SECOND, False, False),
    ]  # fmt: skip
