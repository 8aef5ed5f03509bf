"""Real places at both ends: an HSM, a cloud's KMS, OpenBao and the portal itself, with rows in a real table.

What was protected before, during and after a move is opened afterwards, all of it and byte by byte, and again when the
old version is gone for good.
"""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from keys.models import Key, KeyProvider, KeyVersion
from keys.providers import registry
from keys.providers.base import KeyHandle, KeyMissing, RemoteState
from keys.services import census, key_views, lifecycle, materials, moving, operations, rotation, stores
from keys.services.providers import breaker, calls
from keys.services.providers import work as provider_work
from tests.moving.conftest import ALONE, drive, forget, fresh, turn
from tests.moving.test_undo import bring_to
from tests.provider_services.conftest import hurry, intent_of, work
from tests.shop import shop

__all__ = ["shop"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_softhsm, pytest.mark.slow]
WAYS = [
    ("local", "pkcs11", True), ("local", "pkcs11", False), ("local", "vault_transit", True), ("aws_kms", "pkcs11", False),
    ("vault_transit", "local", False), ("pkcs11", "aws_kms", False), ("local", "gcp_kms", True), ("gcp_kms", "azure_mhsm", False),
    ("azure_mhsm", "kmip", False), ("kmip", "gcp_kms", False),
]  # fmt: skip
ROWS = 40


@pytest.fixture
def real(places, monkeypatch, transactional_db):
    """real(kind): the alias of a real place, registered."""
    made = {}
    build = registry.build
    monkeypatch.setattr(
        registry, "build", lambda kind, alias, values: made[alias] if alias in made else build(kind, alias, values)
    )
    before = {}

    def at(kind):
        if kind == "local":
            return "local"
        alias = kind.replace("_", "-")
        if alias not in made:
            keeper = places[kind].provider
            before[kind], keeper.alias = keeper.alias, alias
            made[alias] = keeper
            row = {"kind": "azure_kv" if kind == "azure_mhsm" else kind, "title": kind}
            KeyProvider.objects.create(alias=alias, **row, created_by="test", calls_per_second=100_000)
            registry.forget()
        return alias

    yield at
    for kind, alias in before.items():
        places[kind].provider.alias = alias
    registry.forget()


class Table:
    """Envelopes in a table of another database, registered as a store."""

    def __init__(self, shop, tree, kek, service):
        self.shop, self.kek, self.service, self.plain = shop, kek, service, {}
        shop.connection.execute("CREATE TABLE letters (id bigint PRIMARY KEY, body text)")
        self.write()
        self.store = stores.register_store(
            actor=tree.officer, ring=tree.ring, key=kek, name="letters", title="Letters", dsn=shop.dsn, schema_name="public",
            table_name="letters", primary_key="id", columns=["body"], format="envelope_json", context_template={}, rate_limit=None,
        )  # fmt: skip

    def write(self, count=ROWS):
        forget()
        for number in range(len(self.plain), len(self.plain) + count):
            self.plain[number] = f"letter {number}".encode()
            sealed = operations.envelope_encrypt(self.service, self.kek.pk, self.plain[number], {"id": str(number)})
            self.shop.connection.execute("INSERT INTO letters VALUES (%s, %s)", [number, sealed.to_json()])

    def check(self):
        forget()
        rows = self.shop.connection.execute("SELECT id, body FROM letters").fetchall()
        opened = {number: operations.envelope_decrypt(self.service, json.loads(body)) for number, body in rows}
        assert opened == self.plain


def made_at(tree, alias):
    key = tree.make(
        f"kek-{alias}", "kek", "AES-256-GCM", tree.master, provider=alias, policy=ALONE, exportable=alias == "local"
    )
    if alias != "local":
        for _ in range(3):
            intent = work(key)
            if intent.state != "waiting":
                break
            hurry(intent)
        assert intent.state == "done", intent.last_error
    forget()
    return Key.objects.get(pk=key.pk)


@pytest.mark.parametrize(("source", "target", "with_material"), WAYS)
def test_a_key_moves_between_real_places(
    real, places, tree, sealing, shop, holdings, service, officer, start, source, target, with_material
):
    kek = made_at(tree, real(source))
    old = kek.current
    held, table = holdings(kek), Table(shop, tree, kek, service)
    held.add()

    move = start(kek, real(target), with_material=with_material)
    held.add()
    table.write(3)
    move = drive(move)
    held.add()
    table.write(3)
    held.check()
    table.check()
    assert move.compared >= 4
    assert move.new_version.provider == real(target)
    held.renew()
    assert census.live_items(old) == 0

    moving.drop_old(actor=officer, move_id=move.pk, reason="zero")
    KeyVersion.objects.filter(pk=old.pk).update(deletion_due_at=timezone.now() - timedelta(seconds=1))
    gone = KeyHandle("AES-256-GCM", KeyVersion.objects.get(pk=old.pk).handle)
    lifecycle.tick_deletions()
    if source != "local":
        provider_work.perform(intent_of(kek, "destroy").pk)
        try:
            state = places[source].provider.describe(gone).state
        except KeyMissing:
            state = RemoteState.DESTROYED
        assert state in {RemoteState.DESTROYED, RemoteState.PENDING_DELETION}
    rotation.tick_completions()
    moving.follow(move.pk)
    assert fresh(move).state == "completed"
    census.take(table.store)
    assert moving.dead_copies(fresh(move)) == len(table.plain), "they still carry the copy for the old place"
    held.add()
    table.write(3)
    held.check()
    table.check()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("aws_kms", "pkcs11"),
        ("vault_transit", "local"),
        ("gcp_kms", "azure_mhsm"),
        ("azure_mhsm", "kmip"),
        ("kmip", "gcp_kms"),
    ],
)
def test_an_undone_move_between_real_places_loses_nothing_although_the_new_key_is_deleted_behind_our_back(
    real, places, tree, sealing, shop, holdings, service, officer, start, source, target
):
    kek = made_at(tree, real(source))
    held, table = holdings(kek), Table(shop, tree, kek, service)
    held.add()
    move = drive(start(kek, real(target)))
    held.add()
    table.write(3)
    if target != "local":
        places[target].delete_behind_our_back(move.new_version.handle)
        forget()
        held.check()
        table.check()
    moving.undo_move(actor=officer, move_id=move.pk, reason="not after all")
    move = drive(move, "undone")
    assert census.live_items(move.new_version) == 0
    KeyVersion.objects.filter(pk=move.new_version_id).update(status="suspended")  # nobody needs it any more
    table.check()
    assert materials.active_version(kek).pk == move.old_version_id
    key_views.forget()
    assert turn(move).state == "undone"


@pytest.fixture
def breaks_off(places, monkeypatch):
    """breaks_off(kind, after): so many calls of the place succeed, then its library finds nobody there, until `.mend()`."""
    within = calls._within_deadline

    class Line:
        kind, left, failed = "", 10**9, 0

        def break_after(self, kind, after):
            self.kind, self.left = kind, after

        def mend(self):
            self.left = 10**9
            breaker.answered(self.kind.replace("_", "-"))

        def through(self, alias, work, seconds):
            if alias == self.kind.replace("_", "-"):
                self.left -= 1
                if self.left < 0:
                    self.failed += 1
                    place = places[self.kind]
                    work = place.make(**place.dead_address).check
            return within(alias, work, seconds)

    line = Line()
    monkeypatch.setattr(calls, "_within_deadline", line.through)
    return line


def _through_all_steps(line, kind, move, held, states):
    """In each step the line breaks after its first call, is mended, and the step is finished."""
    for state in states:
        move = bring_to(move, state)
        held.add()
        before = line.failed
        line.break_after(kind, 1)
        move = turn(move)
        broken = line.failed - before
        line.mend()
        assert broken, f"nothing was asked of {kind} in {state}"
        assert move.state == state, move.last_error
        held.check()
    return drive(move)


REMOTE = ["aws_kms", "pkcs11", "vault_transit", "gcp_kms", "azure_mhsm", "kmip"]


@pytest.mark.parametrize("kind", REMOTE)
def test_a_new_place_that_goes_away_in_the_middle_of_each_step_is_waited_for(
    real, tree, sealing, holdings, service, start, breaks_off, kind
):
    kek = made_at(tree, "local")
    held = holdings(kek)
    for _ in range(2):
        held.add()
    move = start(kek, real(kind))
    move = _through_all_steps(breaks_off, kind, move, held, ["dual_wrapping", "comparing", "re_wrapping"])
    assert move.new_version.provider == real(kind)
    held.add()
    held.check()


@pytest.mark.parametrize(("kind", "end"), [(kind, ("resumed", "undone")[at % 2]) for at, kind in enumerate(REMOTE)])
def test_an_old_place_that_goes_away_in_the_middle_is_waited_for_or_kept(
    real, tree, sealing, holdings, service, officer, start, breaks_off, kind, end
):
    kek = made_at(tree, real(kind))
    held = holdings(kek)
    for _ in range(2):
        held.add()
    move = bring_to(start(kek, "local"), "dual_wrapping")
    breaks_off.break_after(kind, 1)
    move = turn(move)
    breaks_off.mend()
    assert breaks_off.failed
    assert move.state == "dual_wrapping", move.last_error
    held.check()
    if end == "undone":
        moving.undo_move(actor=officer, move_id=move.pk, reason="not after all")
    move = drive(move, "undone" if end == "undone" else "re_wrapped")
    held.add()
    held.check()
