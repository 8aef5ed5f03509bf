"""A rotation whose key lives at a real OpenBao server, while that server is away, refuses us, or throttles everything."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery.exceptions import Retry

from keys.models import Key, KeyVersion, ReEncryptionJob, Rotation
from keys.provider_tasks import provider_work
from keys.providers import registry
from keys.services import key_views, materials, operations, rewrap, rotation
from keys.services.operations import PlaintextItem
from keys.services.providers import breaker, health, registration
from keys.tasks import reencrypt
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals.models import Notice
from keyvault_portal.errors import PortalError, ProviderUnavailable
from tests.faults.proxy import Proxy
from tests.keys.conftest import actor_of
from tests.provider_services.conftest import hurry, intent_of
from tests.providers import bao
from tests.providers.grounds import Ground, standing
from tests.providers.place import Place
from tests.providers.troubled import answering

pytestmark = [pytest.mark.django_db(transaction=True)]
BELOW, PAGE = 12, 5


@pytest.fixture(autouse=True)
def _one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that nothing stops is done in one slice here, however slow the server is."""
    monkeypatch.setattr("keys.tasks.SLICE_SECONDS", 600.0)


@pytest.fixture
def ground(places: Any, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with standing("vault_transit", places, tmp_path, settings, monkeypatch) as found:
        yield found
    breaker.answered(found.alias)


@pytest.fixture
def kek(organisation: Any, ground: Ground) -> Key:
    """A KEK at the server, with data keys below it."""
    ground.register(organisation)
    key = organisation.key("far-kek", "kek", "root", provider=ground.alias)
    provider_work(str(intent_of(key).pk))
    for number in range(BELOW):
        organisation.key(f"data-{number}", "dek", "far-kek")
    key.refresh_from_db()
    return key


@pytest.fixture
def after_a_page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """after_a_page(do): something happens when the first page of the walk is written."""

    def arrange(do: Callable[[], None]) -> None:
        real = rewrap._Walk._write

        def write(*arguments: Any) -> None:
            real(*arguments)
            monkeypatch.setattr(rewrap._Walk, "_write", real)
            do()

        monkeypatch.setattr(rewrap._Walk, "_write", write)

    return arrange


def rotate(organisation: Any, kek: Key) -> tuple[Rotation, ReEncryptionJob]:
    moving = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=kek.pk, reason="Its time is over.", rate_limit=4 * PAGE
    )
    return moving, ReEncryptionJob.objects.get(rotation=moving)


def sealed(organisation: Any) -> dict[int, bytes]:
    versions = KeyVersion.objects.filter(key__name__startswith="data-").select_related(*materials.CHAIN)
    return {version.pk: materials.cipher(version).encrypt(b"data", b"{}") for version in versions}


def all_open(texts: dict[int, bytes]) -> bool:
    materials.forget()
    versions = KeyVersion.objects.filter(pk__in=texts).select_related(*materials.CHAIN)
    return all(materials.cipher(version).decrypt(texts[version.pk], b"{}") == b"data" for version in versions)


def stopped(job: ReEncryptionJob, kek: Key, moved: int) -> None:
    """One slice meets the trouble, says so, and leaves the rest for the next."""
    materials.forget()  # nothing helps it that was unwrapped before
    with pytest.raises((Retry, ProviderUnavailable)):
        reencrypt(str(job.pk))
    job.refresh_from_db()
    assert (job.state, bool(job.last_error)) == ("running", True)
    old = job.rotation.old_version
    assert (rewrap.count(old.pk), rewrap.count(job.rotation.new_version_id)) == (BELOW - moved, moved)


def test_the_server_is_away_in_the_middle(organisation, ground, kek, after_a_page):
    texts = sealed(organisation)
    ground.take_away()
    moving, job = rotate(organisation, kek)
    intent = intent_of(kek)
    for _ in range(3):  # it cannot even begin; nothing is lost
        provider_work(str(intent.pk))
        hurry(intent)
    intent.refresh_from_db()
    assert (intent.state, Rotation.objects.get(pk=moving.pk).state) == ("waiting", "introducing")
    ground.give_back()
    breaker.answered(ground.alias)
    provider_work(str(intent.pk))
    moving.refresh_from_db()
    assert moving.state == "re_encrypting", intent_of(kek).last_error

    after_a_page(ground.take_away)
    stopped(job, kek, PAGE)
    for _ in range(breaker.FAILURES):  # minutes pass; the breaker opens, and the job asks again all the same
        with suppress(Retry, ProviderUnavailable):
            reencrypt(str(job.pk))
    ground.give_back()
    breaker.answered(ground.alias)
    reencrypt(str(job.pk))
    moving.refresh_from_db()
    assert (moving.state, rewrap.count(moving.old_version_id)) == ("re_encrypted", 0)
    assert all_open(texts)


def test_credentials_revoked_in_the_middle(organisation, ground, kek, after_a_page, places):
    texts = sealed(organisation)
    place: Place = places["vault_transit"]
    address = place.provider._connection.address  # type: ignore[attr-defined]
    made = bao.call(address, "post", "auth/token/create", {"policies": ["portal"], "ttl": "1h"})["auth"]
    file = Path(ground.values["token_file"])
    kept = file.read_text()
    file.write_text(made["client_token"])
    registry.forget()
    moving, job = rotate(organisation, kek)
    provider_work(str(intent_of(kek).pk))
    after_a_page(lambda: bao.call(address, "post", "auth/token/revoke", {"token": made["client_token"]}) and None)
    stopped(job, kek, PAGE)
    health.check_by_clock(registration.find(organisation.actor("ada"), ground.alias).pk)
    assert Notice.objects.filter(text__endswith=" fails", alarm=True).exists()
    assert made["client_token"] not in job.last_error
    file.write_text(kept)  # somebody acts, and it goes on by itself
    reencrypt(str(job.pk))
    assert (Rotation.objects.get(pk=moving.pk).state, all_open(texts)) == ("re_encrypted", True)


def test_a_whole_batch_is_throttled(organisation, ground, kek, after_a_page):
    """The walk waits and goes on; callers of the data plane get the word for each item, and no breaker opens."""
    texts = sealed(organisation)
    moving, job = rotate(organisation, kek)
    provider_work(str(intent_of(kek).pk))
    with answering(429, {"errors": ["too many requests"]}) as server:
        line = Proxy(("127.0.0.1", server.server_port))
        usual = ground.values["address"]

        def point_to(address: str) -> None:
            registration.update_provider(
                actor=organisation.actor("ada"), alias=ground.alias, title="Far", values=ground.values | {"address": address}
            )  # fmt: skip
            registry.forget()

        after_a_page(lambda: point_to(f"http://127.0.0.1:{line.port}"))
        stopped(job, kek, PAGE)
        service = actor_of(Role.SERVICE, "shop")
        key_views.forget()
        items = [PlaintextItem(b"text", {"row": str(number)}) for number in range(20)]
        answers = operations.envelope_encrypt_many(service, kek.pk, items)
        assert {answer.code for answer in answers if isinstance(answer, PortalError)} == {"provider_throttled"}
        assert len(answers) == 20
        assert breaker.look(ground.alias) is breaker.Circuit.CLOSED
        assert urlsplit(usual).port != line.port
        point_to(usual)
        line.cut()
    reencrypt(str(job.pk))
    assert (Rotation.objects.get(pk=moving.pk).state, all_open(texts)) == ("re_encrypted", True)
    assert len(operations.envelope_encrypt_many(service, kek.pk, items)) == 20
