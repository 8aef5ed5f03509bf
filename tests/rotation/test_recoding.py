"""Every format moves under the provider's budget, and leases the uses it takes before it writes."""

import json
from typing import Any

import pytest
from psycopg import sql

from keys.crypto.compact import format_text, parse_text
from keys.crypto.envelope import context_aad, seal_envelope
from keys.crypto.secret import SecretBytes
from keys.datastores.base import Page, StoreRefused
from keys.datastores.formats import ContextTemplate
from keys.models import KeyVersion, ReEncryptionJob
from keys.services import budget, census, lifecycle, materials, ratelimit, recoding, rotation
from keys.services.opening import open_store
from keys.services.operations import texts as api
from keys.services.rotation.ending import verify
from keys.services.segments import SegmentWriter
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.errors import WrongState
from tests.rotation.test_rotation import read_all
from tests.shop import TEMPLATE, register_customers, seal_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]
ROWS = 30


@pytest.fixture
def envelopes(organisation, shop, active):
    """A table of envelopes under the KEK, as applications of the usual recipe write them."""
    kek = active(organisation.keys["kek"])
    shop.connection.execute("CREATE TABLE notes (id bigint PRIMARY KEY, body jsonb)")
    for number in range(1, ROWS + 1):
        context = {"table": "notes", "id": str(number)}
        data_key = SecretBytes(bytes([number]) * 32)
        wrapped = materials.wrap_under(kek, data_key, context=context)
        sealed = seal_envelope(b"note %d" % number, context, kek.kms_key_arn, data_key, wrapped)
        shop.connection.execute("INSERT INTO notes VALUES (%s, %s)", [number, sealed.to_json()])
    template = {"table": "notes", "id": "{pk}"}
    return register(organisation, shop, "notes", "kek", "envelope_json", template)


@pytest.fixture
def texts(organisation, shop, active):
    """A table of vault: texts under a data key."""
    version = active(organisation.keys["pii"])
    shop.connection.execute("CREATE TABLE words (id bigint PRIMARY KEY, body text)")
    for number in range(1, ROWS + 1):
        aad = context_aad({"id": str(number)})
        text = format_text(version.key_version, materials.cipher(version).encrypt(b"word %d" % number, aad))
        shop.connection.execute("INSERT INTO words VALUES (%s, %s)", [number, text])
    return register(organisation, shop, "words", "pii", "vault_text", {"id": "{pk}"})


def register(organisation, shop, table, key, form, template):
    return register_customers(
        organisation, shop, name=table, table_name=table, columns=["body"], format=form, context_template=template,
        key=organisation.keys[key],
    )  # fmt: skip


def rotate(organisation, name, store) -> ReEncryptionJob:
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys[name].pk, reason="yearly"
    )
    found.refresh_from_db()
    assert found.state == "re_encrypted", found.last_error
    return found.jobs.get(store=store)


def plaintexts(store, version: KeyVersion) -> list[bytes]:
    adapter, reader = open_store(store), recoding.recoder(store, version, version)
    try:
        rows = adapter.ask_page(None, None, 1000)()
        reader.prepare(rows)
        return [reader.open(row.cells[0], row.contexts[0]) for row in rows]
    finally:
        adapter.close()


def test_texts_without_a_context_are_read_and_stay_bound_to_what_they_were(organisation, shop, active):
    """Our own API binds them to the context of no names, others to nothing at all; either reads them afterwards as before."""
    organisation.add("back", Role.SERVICE)
    key, back = organisation.keys["pii"], organisation.actor("back")
    old = active(key)
    items = [api.PlaintextItem(b"word %d" % number) for number in range(1, ROWS + 1)]
    cells = [item.ciphertext for item in api.encrypt_many(back, key.pk, items)]
    cells[9] = format_text(old.key_version, materials.cipher(old).encrypt(b"word 10", b""))
    shop.connection.execute("CREATE TABLE words (id bigint PRIMARY KEY, body text)")
    for number, cell in enumerate(cells, 1):
        shop.connection.execute("INSERT INTO words VALUES (%s, %s)", [number, cell])
    store = register(organisation, shop, "words", "pii", "vault_text", {})

    job = rotate(organisation, "pii", store)

    new = active(key)
    assert (job.items_done, job.items_failed) == (ROWS, 0)
    assert plaintexts(store, new) == [item.plaintext for item in items]
    moved = {number: cell for number, (cell,) in shop.cells("words").items()}
    assert all(cell.startswith(f"vault:v{new.key_version}:") for cell in moved.values())
    assert materials.cipher(new).decrypt(parse_text(moved.pop(10))[1], b"") == b"word 10"
    for number, cell in moved.items():
        assert api.decrypt(back, key.pk, cell).plaintext == b"word %d" % number


def test_a_text_with_a_context_does_not_pass_for_one_without(organisation, shop, active):
    version = active(organisation.keys["pii"])
    text = format_text(version.key_version, materials.cipher(version).encrypt(b"word", context_aad({"id": "1"})))
    shop.connection.execute("CREATE TABLE words (id bigint PRIMARY KEY, body text)")
    shop.connection.execute("INSERT INTO words VALUES (1, %s)", [text])
    for template in ({}, {"id": "2"}):
        with pytest.raises(StoreRefused, match="body of row 1 cannot be read: decrypt failed"):
            register(organisation, shop, "words", "pii", "vault_text", template)
    plain = format_text(version.key_version, materials.cipher(version).encrypt(b"word", b"{}"))
    shop.connection.execute("UPDATE words SET body = %s", [plain])
    with pytest.raises(StoreRefused, match="body of row 1 cannot be read: decrypt failed"):
        register(organisation, shop, "words", "pii", "vault_text", {"id": "{pk}"})


@pytest.fixture
def turns(settings, monkeypatch):
    """How many calls each limit let through; nobody waits."""
    settings.PROVIDER_BUDGETS = {"local": 1_000_000}
    taken: dict[str, int] = {}

    def acquire(self: ratelimit.RateLimiter, items: int = 1) -> float:
        taken[self.name] = taken.get(self.name, 0) + items
        return 0.0

    monkeypatch.setattr(ratelimit.RateLimiter, "acquire", acquire)
    return taken


PROVIDER = "kvp:rate:provider:local"


def test_envelopes_take_two_calls_each_under_the_budget(organisation, envelopes, active, turns):
    turns.clear()
    job = rotate(organisation, "kek", envelopes)
    assert job.items_done == ROWS
    assert job.provider_calls == 2 * ROWS
    # Beside the cells, the keys that the KEK wraps were wrapped again under the same budget.
    others = sum(
        other.provider_calls for other in ReEncryptionJob.objects.filter(rotation=job.rotation).exclude(pk=job.pk)
    )
    assert turns[PROVIDER] == job.provider_calls + others
    assert plaintexts(envelopes, active(organisation.keys["kek"])) == [
        b"note %d" % number for number in range(1, ROWS + 1)
    ]


def test_texts_take_two_calls_each_under_the_budget(organisation, texts, active, turns):
    turns.clear()
    job = rotate(organisation, "pii", texts)
    assert (job.items_done, job.provider_calls, turns[PROVIDER]) == (ROWS, 2 * ROWS, 2 * ROWS)
    assert plaintexts(texts, active(organisation.keys["pii"])) == [b"word %d" % number for number in range(1, ROWS + 1)]


def test_segments_take_a_call_a_data_key_under_the_budget(organisation, customers, turns):
    turns.clear()
    job = rotate(organisation, "pii", customers[0])
    assert job.items_done == 5000
    assert job.provider_calls == turns[PROVIDER] == 2  # open the segment that was, make the one to be


def test_without_a_budget_nobody_waits(organisation, texts, monkeypatch):
    def acquire(self: Any, items: int = 1) -> float:
        raise AssertionError("local keys cost nothing")

    monkeypatch.setattr(ratelimit.RateLimiter, "acquire", acquire)
    assert rotate(organisation, "pii", texts).items_done == ROWS


@pytest.mark.parametrize(("name", "fixture"), [("kek", "envelopes"), ("pii", "texts")])
def test_the_uses_of_a_page_are_leased_before_it_is_written(
    organisation, name, fixture, request, monkeypatch, settings
):
    """With leases of one use a page would ask the database for every cell; it asks once."""
    store = request.getfixturevalue(fixture)
    settings.KEY_USE_BLOCK = 1
    asked: list[int] = []
    reserve = budget._reserve

    def counted(version: KeyVersion, needed: int, wanted: int, limit: int) -> int:
        asked.append(needed)
        return reserve(version, needed, wanted, limit)

    old = materials.active_version(organisation.keys[name])
    new = lifecycle.introduce_version(actor=organisation.actor("ada"), key_id=organisation.keys[name].pk, activate=True)
    old, new = (KeyVersion.objects.select_related(*materials.CHAIN).get(pk=version.pk) for version in (old, new))
    used = new.uses_reserved
    monkeypatch.setattr(budget, "_reserve", counted)
    adapter, moving = open_store(store), recoding.recoder(store, old, new)
    rows = adapter.ask_page(None, None, 1000)()
    moving.prepare(rows)
    moving.reserve(rows)
    moved = [moving.recode(row.cells[0], row.contexts[0]) for row in rows]
    adapter.close()
    assert asked == [ROWS]
    assert all(cell is not row.cells[0] for cell, row in zip(moved, rows, strict=True))
    new.refresh_from_db()
    assert new.uses_reserved == used + ROWS


def test_a_row_written_since_it_was_read_is_left_alone(organisation, customers, shop):
    """Whatever column was written, and also when the writer commits only while our update waits for it."""
    import threading

    adapter = open_store(customers[0])
    page = adapter.ask_page(None, None, 3)()
    first, second, third = page
    shop.connection.execute("ALTER TABLE customers ADD note text")
    shop.connection.execute("UPDATE customers SET note = 'seen' WHERE id = %s", [int(first.pk)])
    written: list[set[str]] = []
    with shop.connection.transaction():
        shop.connection.execute("UPDATE customers SET email = 'theirs' WHERE id = %s", [int(second.pk)])
        ours = threading.Thread(target=lambda: written.append(adapter.ask_write(page, [[b"new"] * 3] * 2)()))
        ours.start()
        waiting = sql.SQL(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while not shop.connection.execute(waiting).fetchone()[0]:
            pass
    ours.join(60)
    adapter.close()
    assert written == [{third.pk}]
    cells = shop.cells()
    assert (cells[int(first.pk)][0], cells[int(second.pk)][0], cells[int(third.pk)][0]) == (
        first.cells[0],
        b"theirs",
        b"new",
    )


@pytest.mark.parametrize(
    "template",
    [TEMPLATE, {}, {"{pk}": "{column}"}, {"a": "{pk}{pk}", "b": "x{column}{pk}\"\\é"}, {"one": ""}, {"id": "{pk"}],
)  # fmt: skip
@pytest.mark.parametrize("pk", ["1", "", 'ä"\\', "{pk}", "{column}", "line\nfeed\U0001f511"])
@pytest.mark.parametrize("column", ["email", "{pk}", 'q"uote'])
def test_a_bound_template_is_the_context_as_python_writes_it(template, pk, column):
    context = {name: value.replace("{column}", column).replace("{pk}", pk) for name, value in template.items()}
    bound = ContextTemplate(template).bind(column)(pk)
    assert bound == (json.dumps(context).encode() if template else None)


def test_cells_of_many_data_keys_in_one_page_each_go_their_way(organisation, customers, active):
    """Side by side: two data keys of the old version, the new version, NULL, what was changed by hand, what is no cell."""
    key = organisation.keys["pii"]
    old = active(key)

    def write(version: KeyVersion, count: int) -> list[bytes]:
        with SegmentWriter(version, "application") as writer:
            return [writer.seal(b"%d" % number, b"aad") for number in range(count)]

    first, second = write(old, 3), write(old, 3)
    new = lifecycle.introduce_version(actor=organisation.actor("ada"), key_id=key.pk, activate=True)
    old, new = (KeyVersion.objects.select_related(*materials.CHAIN).get(pk=version.pk) for version in (old, new))
    (moved,) = write(new, 1)
    broken = first[2][:-1] + bytes([first[2][-1] ^ 1])
    cells = [moved, first[0], second[0], None, broken, b"\x02short", second[1], first[1]]
    page = Page([str(number) for number in range(len(cells))], [cells], [[b"aad"] * len(cells)])
    recode = recoding.recoder(customers[0], old, new)
    recode.prepare(page)
    changing, (written,), aside, count = recoding.recode_page(recode, ["email"], page)
    assert (list(changing.keys), count) == (["1", "2", "6", "7"], 4)
    assert aside == [("4", "email", "decrypt_failed"), ("5", "email", "malformed")]
    again = Page(changing.keys, [written], changing.contexts)
    recode.prepare(again)
    assert [recode.open(cell, b"aad") for cell in written] == [b"0", b"0", b"1", b"1"]
    assert recode.recode_column(written, again.contexts[0])[0] == written
    recode.close()


def test_a_suspended_older_version_stops_neither_the_walk_nor_its_end(organisation, shop, active):
    key, ada = organisation.keys["pii"], organisation.actor("ada")
    first = active(key)
    plain = seal_customers(shop, first, range(1, 101))
    rotation.request_rotation(actor=ada, key_id=key.pk, reason="yearly")
    second = active(key)
    plain |= seal_customers(shop, second, range(101, 201))
    store = register_customers(organisation, shop)
    lifecycle.suspend_version(actor=ada, version_id=first.pk, reason="looked into")

    found = rotation.request_rotation(actor=ada, key_id=key.pk, reason="yearly")

    found.refresh_from_db()
    assert found.state == "re_encrypted", found.last_error
    third = active(key)
    assert census.count_store(store) == {
        (column, version.pk): 100 for column in ("email", "card") for version in (first, third)
    }
    assert verify(found.pk) > 0, "what stands on the version that rests is left out of the sample"
    lifecycle.resume_version(actor=ada, version_id=first.pk)
    assert read_all(store, third) == plain


def test_what_a_suspended_version_holds_is_refused_by_its_name(organisation, active):
    key, version = organisation.keys["pii"], active(organisation.keys["pii"])
    with SegmentWriter(version, "test") as writer:
        writer.seal(b"x", b"")
    lifecycle.suspend_version(actor=organisation.actor("ada"), version_id=version.pk, reason="looked into")
    with pytest.raises(WrongState, match=f"^{key} v1 is suspended: its data keys cannot be used"):
        materials.data_key_materials(version.data_keys.values_list("pk", flat=True))
