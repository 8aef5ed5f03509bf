"""A second database with a table of cells encrypted by the portal, and one of the same size for the peers."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import urandom

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.benchmarks.scratch import Scratch, create_database, drop_database, write_out
from keys.crypto.envelope import context_aad
from keys.models import DataStore, Key, ReEncryptionJob, Rotation
from keys.services import creation, lifecycle, materials, stores
from keys.services.segments import SegmentWriter
from keys.states import RotationState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission

CELL = 1024
TEMPLATE = {"table": "customers", "column": "{column}", "id": "{pk}"}
_TABLES = """
CREATE TABLE customers (id bigint PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE peer (id bigint PRIMARY KEY, body bytea NOT NULL, key_version integer NOT NULL DEFAULT 1);
ALTER TABLE customers ALTER body SET STORAGE EXTERNAL;
ALTER TABLE peer ALTER body SET STORAGE EXTERNAL;
"""


@dataclass(frozen=True, slots=True)
class Shop:
    """The target database, its registered store, and the key that governs it."""

    actor: Actor
    url: str
    store: DataStore
    key: Key
    peer_key: bytes

    def rotate(self) -> ReEncryptionJob:
        """A new active version of the key, and the job that moves the store to it; nothing is sent to a broker."""
        key = Key.objects.get(pk=self.key.pk)
        old = materials.active_version(key)
        new = lifecycle.introduce_version(actor=self.actor, key_id=key.pk, activate=True)
        rotation = Rotation.objects.create(
            key=key, old_version=old, new_version=new, reason="benchmark", requested_by="benchmark",
            state=RotationState.RE_ENCRYPTING.value,
        )  # fmt: skip
        return ReEncryptionJob.objects.create(
            rotation=rotation, store=self.store, mode=ReEncryptionJob.Mode.RE_ENCRYPT.value
        )

    def finish(self, job: ReEncryptionJob) -> int:
        """How many cells the job moved; raises RuntimeError unless it moved every one."""
        job.refresh_from_db()
        if job.state != "done" or job.items_failed:
            raise RuntimeError(f"The job ended as {job.state}: {job.last_error}")
        Rotation.objects.filter(pk=job.rotation_id).update(state=RotationState.COMPLETED.value)
        return job.items_done


@contextmanager
def open_shop(place: Scratch, rows: int) -> Iterator[Shop]:
    """The shop with `rows` rows of one cell of 1 KiB in each table; the database is dropped at the end."""
    name = f"benchmark_{secrets.token_hex(6)}"
    create_database(name)
    try:
        url = place.database_url.rsplit("/", 1)[0] + f"/{name}"
        yield _fill(url, rows)
    finally:
        drop_database(name)


def tidy(url: str) -> None:
    """Take away what earlier rounds left, so that none pays for another's dead rows and unwritten pages."""
    with psycopg.connect(url, autocommit=True) as target:
        target.execute("VACUUM (ANALYZE) customers, peer")
    write_out(url)


def make_keys(actor: Actor, ring: KeyRing) -> dict[str, Key]:
    """A hierarchy of one key a level, and one for the portal's own sealed values."""
    keys: dict[str, Key] = {}
    for name, kind, parent in (
        ("root", "master", ""), ("wrapping", "kek", "root"), ("data", "dek", "wrapping"), ("portal", "dek", "wrapping"),
    ):  # fmt: skip
        keys[name] = creation.create_key(
            actor=actor, ring=ring, name=name, title=name.title(), kind=kind, algorithm="AES-256-GCM",
            parent=keys.get(parent),
        )  # fmt: skip
    return keys


def all_rights() -> Actor:
    """The benchmark itself, over its own scratch database."""
    return system_actor("benchmark", *Permission)


def _fill(url: str, rows: int) -> Shop:
    actor = all_rights()
    ring = KeyRing.objects.create(name="benchmark", title="Benchmark")
    keys = make_keys(actor, ring)
    stores.register_sealed_values(actor=actor, key=keys["portal"])
    peer_key = AESGCM.generate_key(256)
    cipher, version = AESGCM(peer_key), materials.active_version(keys["data"])
    with psycopg.connect(url) as target:
        target.execute(_TABLES)
        with (
            SegmentWriter(version, "benchmark") as writer,
            target.cursor() as cursor,
            cursor.copy("COPY customers (id, body) FROM STDIN") as stream,
        ):
            for number in range(1, rows + 1):
                aad = context_aad({"table": "customers", "column": "body", "id": str(number)})
                stream.write_row((number, writer.seal(urandom(CELL), aad)))
        with target.cursor() as cursor, cursor.copy("COPY peer (id, body) FROM STDIN") as stream:
            for number in range(1, rows + 1):
                nonce = urandom(12)
                stream.write_row((number, nonce + cipher.encrypt(nonce, urandom(CELL), None)))
    tidy(url)
    store = stores.register_store(
        actor=actor, ring=ring, key=keys["data"], name="customers", title="Customers", dsn=url, schema_name="public",
        table_name="customers", primary_key="id", columns=["body"], format="compact", context_template=TEMPLATE,
        rate_limit=None,
    )  # fmt: skip
    return Shop(actor, url, store, keys["data"], peer_key)
