"""The recorded number of uses is never below the real one, whoever leases, forks or dies."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from keys.crypto import algorithms
from keys.models import KeyVersion
from keys.services import budget, materials, operations
from keyvault_portal.errors import LimitExceeded
from tests.keys.conftest import build_tree


@pytest.fixture
def small_limit(monkeypatch):
    """AES-256-GCM wears out after 1,000 uses."""
    row = replace(algorithms.ALGORITHMS["AES-256-GCM"], use_limit=1000)
    monkeypatch.setattr(budget, "ALGORITHMS", {**algorithms.ALGORITHMS, "AES-256-GCM": row})


def reserved(version):
    return KeyVersion.objects.values_list("uses_reserved", flat=True).get(pk=version.pk)


@pytest.mark.django_db(transaction=True)
def test_threads_never_spend_what_is_not_reserved(officer, settings):
    settings.KEY_USE_BLOCK = 50
    version = materials.active_version(build_tree(officer).dek)
    spent = []

    def work() -> None:
        count = 0
        for _ in range(200):
            budget.spend(version, 3)
            count += 3
        spent.append(count)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(spent) == 2400
    assert 2400 <= reserved(version) <= 2400 + 4 * 50 * 2


WORKER = """
import django, json, sys
django.setup()
from django.conf import settings
from django.db import connections
name, version_id, uses = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings.DATABASES["default"]["NAME"] = connections["default"].settings_dict["NAME"] = name
from keys.models import KeyVersion
from keys.services import budget
version = KeyVersion.objects.select_related("key").get(pk=version_id)
for _ in range(uses):
    budget.spend(version)
print(json.dumps({"spent": uses}))
"""


@pytest.mark.django_db(transaction=True)
def test_two_processes_together_stay_within_one_block_each(officer, settings):
    version = materials.active_version(build_tree(officer).dek)
    name = connection.settings_dict["NAME"]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, name, str(version.pk), "500"],
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "keyvault_portal.settings",
                "PYTHONPATH": str(settings.BASE_DIR),
            },
        )
        for _ in range(2)
    ]
    spent = sum(json.loads(worker.communicate(timeout=60)[0])["spent"] for worker in workers)
    assert spent == 1000
    assert spent <= reserved(version) <= spent + 2 * budget.block_size()


@pytest.mark.django_db(transaction=True)
def test_a_limit_of_a_thousand_is_refused_at_a_thousand(officer, service, small_limit):
    tree = build_tree(officer)
    version = materials.active_version(tree.dek)
    for _ in range(999):
        budget.spend(version)
    operations.encrypt(service, tree.dek.pk, b"the last one")
    with pytest.raises(LimitExceeded) as caught:
        operations.encrypt(service, tree.dek.pk, b"one too many")
    assert (caught.value.status, caught.value.code) == (409, "use_limit_exceeded")
    assert reserved(version) == 1000


@pytest.mark.django_db(transaction=True)
def test_a_refused_batch_takes_nothing(officer, small_limit):
    version = materials.active_version(build_tree(officer).dek)
    with pytest.raises(LimitExceeded):
        budget.spend(version, 1001)
    budget.spend(version, 1000)
    assert reserved(version) == 1000


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_leaves_no_lease_behind(officer):
    version = materials.active_version(build_tree(officer).dek)
    with transaction.atomic():
        budget.spend(version, 5)
        transaction.set_rollback(True)
    assert reserved(version) == 0
    budget.spend(version, 1)
    assert reserved(version) == budget.block_size()


@pytest.mark.django_db(transaction=True)
def test_a_forked_child_does_not_spend_its_parents_lease(officer):
    version = materials.active_version(build_tree(officer).dek)
    budget.spend(version)
    assert budget._leases[version.pk] == budget.block_size() - 1
    reader, writer = os.pipe()
    # No database in the child: a connection shared across a fork is broken.
    child = os.fork()
    if child == 0:
        os.write(writer, str(len(budget._leases)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"0"
    os.close(reader)
    os.close(writer)


def test_uses_are_counted_for_wrapping_too(tree):
    kek = materials.active_version(tree.kek)
    before = reserved(kek)
    materials.new_data_key(materials.active_version(tree.dek), "segment")
    assert reserved(kek) == before + 1


def test_signing_keys_do_not_wear_out(tree, service):
    operations.sign(service, tree.token.pk, b"x")
    version = materials.active_version(tree.token)
    assert reserved(version) == 0
    assert budget.status(version).limit is None


def test_rotation_is_due_at_the_policys_share(tree):
    version = materials.active_version(tree.dek)
    now = timezone.now()
    version.activated_at = now - timedelta(days=10)
    version.uses_reserved = 2**31 - 1
    early = budget.status(version, now=now)
    assert not early.due
    assert early.exhausted_at == pytest.approx(now + timedelta(days=10), abs=timedelta(seconds=1))
    version.uses_reserved = 2**31
    late = budget.status(version, now=now)
    assert late.due
    assert (late.share, late.due_at) == (50.0, now)
    version.uses_reserved = 0
    assert budget.status(version, now=now).exhausted_at is None


@pytest.mark.django_db(transaction=True)
def test_a_prepared_transaction_spends_without_asking(officer, django_assert_num_queries):
    version = materials.active_version(build_tree(officer).dek)
    budget.prepare(version, 500)
    with transaction.atomic(), django_assert_num_queries(0):
        for _ in range(500):
            budget.spend(version)
    assert reserved(version) == budget.block_size()


@pytest.mark.django_db(transaction=True)
def test_what_is_leased_already_is_not_leased_again(officer, django_assert_num_queries):
    version = materials.active_version(build_tree(officer).dek)
    budget.prepare(version, 500)
    left = budget._leases[version.pk]
    with django_assert_num_queries(0):
        budget.prepare(version, left)
    assert budget._leases[version.pk] == left
