"""Data keys that serve several envelopes: how few calls of a provider that takes, and that nothing gets weaker by it."""

import os
import threading
import time
from typing import Any

import pytest
from django.db import connections

from keys.services import budget, data_key_cache, key_views, lifecycle, materials, operations, seal_watch
from keys.services.ratelimit import shared_memory
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable, Sealed, WrongState
from tests.api.conftest import make_person, sign_in
from tests.provider_services.conftest import closed, work

CONTEXT, OTHER = {"tenant": "acme", "table": "orders"}, {"tenant": "other", "table": "orders"}


@pytest.fixture(autouse=True)
def empty():
    def forget() -> None:
        data_key_cache.forget()
        data_key_cache._counts.clear()
        for name in shared_memory().scan_iter("kvp:datakeys:*"):
            shared_memory().delete(name)

    forget()
    yield
    forget()


@pytest.fixture
def kek(far, remote_key, there) -> Any:
    key = remote_key()
    assert work(key).state == "done"
    key.refresh_from_db()
    key_views.forget()
    there.calls.clear()
    return key


def seal(service: Any, key: Any, number: int, context: dict[str, str] = CONTEXT, text: bytes = b"text") -> list[Any]:
    return [operations.envelope_encrypt(service, key.pk, text, context) for _ in range(number)]


def wrapped(envelopes: list[Any]) -> int:
    return len({envelope.wrapped_dek for envelope in envelopes})


def test_one_call_serves_many_envelopes_and_one_more_opens_them(kek, service, there):
    made = seal(service, kek, 20)
    assert there.calls == ["encrypt"]
    assert wrapped(made) == 1
    assert len({envelope.nonce for envelope in made}) == 20
    assert {operations.envelope_decrypt(service, envelope) for envelope in made} == {b"text"}
    assert there.calls == ["encrypt", "decrypt"]


def test_a_data_key_belongs_to_its_context(kek, service, there):
    mine, others = seal(service, kek, 3), seal(service, kek, 3, OTHER)
    assert wrapped(mine + others) == 2
    operations.envelope_decrypt(service, mine[0])
    stolen = mine[0].to_dict() | {"encryption_context": OTHER}
    with pytest.raises(DecryptRefused):
        operations.envelope_decrypt(service, stolen)
    moved = others[0].to_dict() | {"wrapped_dek": mine[0].to_dict()["wrapped_dek"]}
    with pytest.raises(DecryptRefused):
        operations.envelope_decrypt(service, moved)
    reordered = dict(reversed(CONTEXT.items()))
    assert wrapped(mine + seal(service, kek, 1, reordered)) == 2, "another order is another text, so another context"


@pytest.mark.parametrize(
    ("bound", "keys"), [({"MESSAGES": 3}, 3), ({"BYTES": 100}, 4), ({"SECONDS": 0}, 7), ({"MESSAGES": 2**30}, 1)]
)
def test_it_is_bounded_by_messages_and_bytes_and_can_be_off(kek, service, settings, bound, keys):
    for name, value in bound.items():
        setattr(settings, f"DATA_KEY_CACHE_{name}", value)
    assert wrapped(seal(service, kek, 7, text=bytes(40))) == keys


def test_it_is_bounded_by_age(kek, service, there, settings):
    made = seal(service, kek, 2)
    operations.envelope_decrypt(service, made[0])
    (cache,) = [entry[1] for entry in data_key_cache._caches._entries.values()]
    cache._clock = lambda: time.monotonic() + settings.DATA_KEY_CACHE_SECONDS + 1
    assert wrapped(made + seal(service, kek, 1)) == 2
    operations.envelope_decrypt(service, made[0])
    assert there.calls == ["encrypt", "decrypt", "encrypt", "decrypt"]


@pytest.mark.django_db(transaction=True)
def test_threads_that_miss_at_once_cause_one_call(kek, there):
    version = materials.active_version(kek)
    budget.prepare(version, 100)
    there.slow = 0.5
    start, found = threading.Barrier(12), []

    def ask() -> None:
        start.wait(60)
        found.append(data_key_cache.sealing(version, CONTEXT, 4, "AES-256-GCM")[1])
        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(found), len(set(found)), there.calls) == (12, 1, ["encrypt"])


def test_the_provider_away_does_not_stop_what_is_kept_and_nothing_else_is_made_up(kek, service, there):
    made = seal(service, kek, 1)
    there.down = True
    assert wrapped(made + seal(service, kek, 2)) == 1
    with pytest.raises(ProviderUnavailable):
        seal(service, kek, 1, OTHER)
    there.down = False
    closed()
    assert seal(service, kek, 1, OTHER)


def test_a_suspended_version_serves_nothing_from_it(kek, service, officer):
    made = seal(service, kek, 1)
    operations.envelope_decrypt(service, made[0])
    lifecycle.suspend_version(actor=officer, version_id=kek.current_id, reason="r")
    key_views.forget()
    with pytest.raises(WrongState):
        seal(service, kek, 1)
    with pytest.raises(WrongState):
        operations.envelope_decrypt(service, made[0])


def test_a_sealed_portal_keeps_none(kek, service, there, monkeypatch):
    seal(service, kek, 1)

    def sealed() -> None:
        raise Sealed

    with monkeypatch.context() as patched:
        patched.setattr(seal_watch, "require_open", sealed)
        with pytest.raises(Sealed):
            seal(service, kek, 1)
    seal_watch._drop()
    seal(service, kek, 1)
    assert there.calls == ["encrypt", "encrypt"]


def test_a_forked_process_has_keys_of_its_own(kek, service):
    seal(service, kek, 1)
    child = os.fork()
    if child == 0:
        os._exit(len(data_key_cache._caches))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_keys_in_the_clear_and_keys_of_the_portal_are_always_fresh(kek, service, tree, there):
    clear = [operations.generate_data_key(service, kek.pk, CONTEXT) for _ in range(3)]
    assert len({one.plaintext.reveal() for one in clear}) == 3
    assert there.calls == ["encrypt"] * 3
    assert wrapped(seal(service, tree.kek, 3)) == 3


def test_what_it_saves_is_shown(kek, service, far, settings):
    assert data_key_cache.figures_of("far").hit_rate is None
    made = seal(service, kek, 19)
    operations.envelope_decrypt(service, made[0])
    data_key_cache.flush()
    told = data_key_cache.figures_of("far")
    assert (told.messages, told.calls, told.saved, told.hit_rate, told.kept) == (20, 2, 18, 90.0, 2)
    assert 0 <= told.oldest_seconds <= settings.DATA_KEY_CACHE_SECONDS
    client = sign_in(make_person("olga", "security_officer"))
    page = client.get("/keys/providers/far/").content.decode()
    assert "90.0 %, 18 calls saved" in page
    assert "100,000 messages" in page
    answer = client.get("/api/v1/providers/far/health").json()["data_keys"]
    assert (answer["hit_rate"], answer["saved"], answer["kept"]) == (90.0, 18, 2)
    settings.DATA_KEY_CACHE_SECONDS = 0
    assert "every envelope is a call" in client.get("/keys/providers/far/").content.decode()


def test_figures_are_for_people(kek, service, monkeypatch):
    from redis import RedisError

    def gone() -> None:
        raise RedisError

    monkeypatch.setattr(data_key_cache, "shared_memory", gone)
    assert wrapped(seal(service, kek, 3)) == 1
    data_key_cache.flush()
    assert data_key_cache.figures_of("far").messages == 0
