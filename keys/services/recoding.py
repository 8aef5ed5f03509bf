"""Moving one cell from an old key version to a new one: what each format needs to be opened and written again."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import compress
from operator import is_not
from typing import Protocol, cast
from uuid import UUID

from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.compact import (
    DIRECT_HEADER_SIZE,
    SEGMENT,
    SEGMENT_HEADER_SIZE,
    direct_key,
    format_text,
    open_compact,
    parse_text,
    segment_key,
)
from keys.crypto.envelope import Envelope, context_aad, open_envelope
from keys.crypto.errors import CryptoError, DecryptFailed, MalformedEnvelope
from keys.datastores.base import Cell, Page
from keys.datastores.formats import envelope_of
from keys.models import DataKey, DataStore, KeyVersion
from keys.services import budget, key_views, materials, rewrap, sealing, two_places
from keys.services.cache import BoundedCache
from keys.services.cell_heads import by_head, heads
from keys.services.ratelimit import ProviderCalls
from keys.services.segments import SegmentWriter
from keys.states import MAY_PROCESS, MAY_PROTECT
from keyvault_portal.errors import DecryptRefused, PortalError, WrongState

UNREADABLE = (CryptoError, DecryptRefused)
_SEGMENT = bytes([SEGMENT])
_NO_CONTEXT = (context_aad({}), b"")


class SetAside(Exception):
    """This cell cannot be read; `reason` is a stable word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


type Recoded = tuple[list[Cell], list[tuple[int, str]]]
"""The cells of a column as they are to be, and of those that cannot be read the place and the reason."""


class Recoder(Protocol):
    """Moves cells of one store from the version being left to the new one.

    A cell's context comes as associated data, None for none. Every provider call waits for its turn.
    """

    @property
    def provider_calls(self) -> int:
        """How many there were so far."""
        ...

    def prepare(self, page: Page) -> None:
        """Fetch what it takes to open these rows, in bulk."""
        ...

    def reserve(self, page: Page) -> None:
        """Lease the uses of the new version that writing these rows takes, before anything is written."""
        ...

    def recode(self, cell: Cell, context: bytes | None) -> Cell:
        """The cell on the new version, or the same object when it does not stand on the old one; raises SetAside."""
        ...

    def recode_column(self, cells: Sequence[Cell], contexts: Sequence[bytes | None]) -> Recoded:
        """`recode` of every cell that is not None; what cannot be read stays as it is and is named."""
        ...

    def open(self, cell: Cell, context: bytes | None) -> bytes:
        """The plaintext, whatever version the cell stands on; raises SetAside."""
        ...

    def close(self) -> None: ...


def _one_by_one(
    recode: Callable[[Cell, bytes | None], Cell],
    cells: list[Cell],
    contexts: Sequence[bytes | None],
    places: Iterable[int],
) -> list[tuple[int, str]]:
    """Recode these places of `cells` where they stand; returns those that cannot be read, and why."""
    aside = []
    for place in places:
        try:
            cells[place] = recode(cells[place], contexts[place])
        except SetAside as problem:
            aside.append((place, problem.reason))
    return aside


class CompactRecoder:
    """DIRECT and SEGMENT cells of a data key; everything new is written to segments."""

    def __init__(self, store: DataStore, old: KeyVersion, new: KeyVersion) -> None:
        self._old, self._old_pk, self._key = old, old.pk, old.key
        self._writer = SegmentWriter(new, f"store:{store.name}")
        self._cache: BoundedCache[bytes, tuple[int, Aead | None]] = BoundedCache(max_entries=2_000, max_age=3600)
        self._data_keys: dict[bytes, tuple[int, Aead | None]] = {}  # of the page at hand

    @property
    def provider_calls(self) -> int:
        return self._writer.calls.made

    def prepare(self, page: Page) -> None:
        begun = {head for column in page.columns for head in set(heads(column))}
        names = {head[2:] for head in begun if len(head) == SEGMENT_HEADER_SIZE and head[0] == SEGMENT}
        known = {name: self._cache.get(name) for name in names}
        self._data_keys = {name: found for name, found in known.items() if found is not None}
        wanted = [UUID(bytes=name) for name in names - self._data_keys.keys()]
        if not wanted:
            return
        # Another key's segment is left out: reading it under this one would be a mistake.
        found = DataKey.objects.filter(pk__in=wanted, version__key=self._key.pk).values_list(
            "pk", "wrapped", "version__key_version", "wrapped_by__key", "wrapped_by__key_version"
        )
        for name, wrapped, number, key_id, wrapper in found:
            self._writer.calls.take(1)
            version = key_views.version(self._key.pk, number)
            if version.state not in MAY_PROCESS and version.pk != self._old_pk:
                self._data_keys[name.bytes] = version.pk, None  # suspended or gone: what stays on it stops no walk
                continue
            secret = materials.data_key_material(name, bytes(wrapped), version, key_views.version(key_id, wrapper))
            held = version.pk, Aead(ALGORITHMS[self._key.algorithm], secret)
            self._data_keys[name.bytes] = held
            self._cache.put(name.bytes, held)

    def reserve(self, page: Page) -> None:
        """Nothing: segments are counted by their own bound, and each takes one use of the key that wraps it."""

    def recode_column(self, cells: Sequence[Cell], contexts: Sequence[bytes | None]) -> Recoded:
        """What a store mostly holds by the shortest way: all are opened, then all are sealed."""
        bound = [context or b"" for context in contexts]
        opened: list[bytes] = []
        places: list[int] = []
        others: list[int] = []
        for head, where in by_head(cells):
            held = self._data_keys.get(head[2:]) if head[:1] == _SEGMENT else None
            if held is None:
                others += [place for place in where if cells[place] is not None]
            elif held[0] == self._old_pk and held[1] is not None:
                payloads, aads = [cells[place] for place in where], [head + bound[place] for place in where]
                try:
                    opened += held[1].decrypt_all(cast("list[bytes]", payloads), aads, SEGMENT_HEADER_SIZE)
                    places += where
                except DecryptFailed:
                    others += where  # one by one, to see which
        new = list(cells)
        for place, sealed in zip(
            places, self._writer.seal_all(opened, [bound[place] for place in places]), strict=True
        ):
            new[place] = sealed
        return new, _one_by_one(self.recode, new, contexts, others)

    def recode(self, cell: Cell, context: bytes | None) -> Cell:
        version, plaintext = self.read(cell, context, only=self._old_pk)
        if plaintext is None or version != self._old_pk:
            return cell
        return self._writer.seal(plaintext, context or b"")

    def open(self, cell: Cell, context: bytes | None) -> bytes:
        plaintext = self.read(cell, context)[1]
        assert plaintext is not None
        return plaintext

    def read(self, cell: Cell, context: bytes | None, only: int | None = None) -> tuple[int, bytes | None]:
        """Version id and plaintext; the plaintext is left out when the cell stands on another version than `only`.

        Raises SetAside.
        """
        if not isinstance(cell, bytes) or not cell:
            raise SetAside("malformed")
        try:
            if cell[0] == SEGMENT:
                known = self._data_keys.get(segment_key(cell)[1])
                if known is None:
                    raise SetAside("unknown_data_key")
                version, cipher = known
                if only is not None and version != only:
                    return version, None
                if cipher is None:
                    raise SetAside("unusable_version")
                return version, open_compact(cipher, cell, SEGMENT_HEADER_SIZE, context or b"")
            _, key_id, number = direct_key(cell)
            if key_id != self._key.pk.bytes:
                raise SetAside("other_key")
            found = self._old if number == self._old.key_version else _version(self._key.pk, number)
            if only is not None and found.pk != only:
                return found.pk, None
            aad = cell[:DIRECT_HEADER_SIZE] + (context or b"")
            return found.pk, materials.cipher(found).decrypt(cell[DIRECT_HEADER_SIZE:], aad)
        except MalformedEnvelope:
            raise SetAside("malformed") from None
        except UNREADABLE:
            raise SetAside("decrypt_failed") from None

    def close(self) -> None:
        self._writer.close()


class _Direct(ABC):
    """What the formats share whose cells are written under the new version itself: one use and one call a cell."""

    def __init__(self, store: DataStore, old: KeyVersion, new: KeyVersion) -> None:
        self._old, self._new = old, new
        self._opening, self._sealing = ProviderCalls(old.provider), ProviderCalls(new.provider)
        self._copies = int(two_places.copies(new) is not None)
        self._known: set[object] = {old.key_version, old.kms_key_arn, new.key_version, new.kms_key_arn}

    def _require_known(self, **name: object) -> None:
        """Raise SetAside for a cell that names no version of the key: no walk would ever move it, and none counts it."""
        (value,) = name.values()
        if value not in self._known:
            if not KeyVersion.objects.filter(key_id=self._old.key_id, **name).exists():
                raise SetAside("unknown_version")
            self._known.add(value)

    @property
    def provider_calls(self) -> int:
        return self._opening.made + self._sealing.made

    def _turn_to_seal(self) -> None:
        self._opening.take(self._copies)
        self._sealing.take(1)

    def prepare(self, page: Page) -> None:  # noqa: B027
        """Nothing: a cell brings all it needs."""

    def reserve(self, page: Page) -> None:
        if self._new.state not in MAY_PROTECT:
            raise WrongState(f"{self._new} is {self._new.status}: nothing may be moved to it.", state=self._new.status)
        budget.prepare(self._new, sum(cell is not None for column in page.columns for cell in column))

    @abstractmethod
    def recode(self, cell: Cell, context: bytes | None) -> Cell: ...

    def recode_column(self, cells: Sequence[Cell], contexts: Sequence[bytes | None]) -> Recoded:
        new = list(cells)
        present = [place for place, cell in enumerate(cells) if cell is not None]
        return new, _one_by_one(self.recode, new, contexts, present)

    def close(self) -> None:  # noqa: B027
        """Nothing is held."""


class VaultTextRecoder(_Direct):
    """`vault:vN:` cells: encrypted under the version's own material."""

    def recode(self, cell: Cell, context: bytes | None) -> Cell:
        number, payload = self._parse(cell)
        if number != self._old.key_version:
            self._require_known(key_version=number)
            return cell
        plaintext, aad = self._decrypt(self._old, payload, context)
        budget.spend(self._new, 1)
        self._turn_to_seal()
        sealed = materials.cipher(self._new).encrypt(plaintext, aad)
        two_places.require_both(self._new, sealed)
        return format_text(self._new.key_version, sealed)

    def open(self, cell: Cell, context: bytes | None) -> bytes:
        number, payload = self._parse(cell)
        return self._decrypt(_version(self._old.key_id, number), payload, context)[0]

    def _parse(self, cell: Cell) -> tuple[int, bytes]:
        try:
            return parse_text(cell)  # type: ignore[arg-type]
        except MalformedEnvelope:
            raise SetAside("malformed") from None

    def _decrypt(self, version: KeyVersion, payload: bytes, context: bytes | None) -> tuple[bytes, bytes]:
        """The plaintext and what it stays bound to: without a context our API binds to that of no names, others to nothing."""
        for aad in _NO_CONTEXT if context is None else [context]:
            self._opening.take(1)
            try:
                return materials.cipher(version).decrypt(payload, aad), aad
            except UNREADABLE:
                continue
        raise SetAside("decrypt_failed")


class SealedValueRecoder(_Direct):
    """The portal's own values: there are never many, so each is written under the version itself, as `seal_value` does."""

    def __init__(self, store: DataStore, old: KeyVersion, new: KeyVersion) -> None:
        super().__init__(store, old, new)
        self._reader = CompactRecoder(store, old, new)  # which also knows the segments of former rotations

    @property
    def provider_calls(self) -> int:
        return super().provider_calls + self._reader.provider_calls

    def prepare(self, page: Page) -> None:
        self._reader.prepare(page)

    def recode(self, cell: Cell, context: bytes | None) -> Cell:
        self._opening.take(1)
        version, plaintext = self._reader.read(cell, context, only=self._old.pk)
        if plaintext is None or version != self._old.pk:
            return cell
        self._turn_to_seal()
        sealed = sealing.sealed_under(self._new, plaintext, context or b"")
        two_places.require_both(self._new, sealed[DIRECT_HEADER_SIZE:])
        return sealed

    def open(self, cell: Cell, context: bytes | None) -> bytes:
        return self._reader.open(cell, context)


class EnvelopeRecoder(_Direct):
    """Envelopes of a KEK: only the wrapped data key is written again, the data stays as it is."""

    def recode(self, cell: Cell, context: bytes | None) -> Cell:
        envelope = self._parse(cell, context)
        if envelope.kms_key_id != self._old.kms_key_arn:
            self._require_known(kms_key_arn=envelope.kms_key_id)
            return cell
        try:
            self._opening.take(1)
            data_key = materials.unwrap_under(self._old, envelope.wrapped_dek, context=envelope.encryption_context)
            # Read before it is trusted: a data key that does not open the data must not be carried on.
            open_envelope(envelope, data_key)
        except UNREADABLE:
            raise SetAside("decrypt_failed") from None
        self._turn_to_seal()
        wrapped = rewrap.wrapped_again(self._new, data_key, envelope.encryption_context)
        return replace(envelope, wrapped_dek=wrapped, kms_key_id=self._new.kms_key_arn).to_json()

    def open(self, cell: Cell, context: bytes | None) -> bytes:
        envelope = self._parse(cell, context)
        try:
            version = materials.version_by_arn(envelope.kms_key_id)
            self._opening.take(1)
            return open_envelope(
                envelope, materials.unwrap_under(version, envelope.wrapped_dek, context=envelope.encryption_context)
            )
        except (*UNREADABLE, PortalError):
            raise SetAside("decrypt_failed") from None

    def _parse(self, cell: Cell, context: bytes | None) -> Envelope:
        try:
            return envelope_of(cell, context)
        except MalformedEnvelope:
            raise SetAside("malformed") from None


RECODERS: dict[str, Callable[[DataStore, KeyVersion, KeyVersion], Recoder]] = {
    DataStore.Format.COMPACT: CompactRecoder,
    DataStore.Format.VAULT_TEXT: VaultTextRecoder,
    DataStore.Format.ENVELOPE_JSON: EnvelopeRecoder,
}


def recoder(store: DataStore, old: KeyVersion, new: KeyVersion) -> Recoder:
    """The recoder of a store's format, or that of the portal's own values."""
    if store.kind == DataStore.Kind.SEALED_VALUES:
        return SealedValueRecoder(store, old, new)
    return RECODERS[store.format](store, old, new)


def recode_page(
    recode: Recoder, names: Sequence[str], page: Page
) -> tuple[Page, list[list[Cell]], list[tuple[str, str, str]], int]:
    """The rows of a page that change, what to write over them, the cells that cannot be read (key, column, reason), and
    how many cells move.

    A row with one unreadable cell still moves its readable ones.
    """
    aside: list[tuple[str, str, str]] = []
    news: list[list[Cell]] = []
    moved = 0
    for name, olds, bound in zip(names, page.columns, page.contexts, strict=bool(page)):
        new, unreadable = recode.recode_column(olds, bound)
        aside += [(page.keys[place], name, reason) for place, reason in unreadable]
        moved += sum(map(is_not, new, olds))
        news.append(new)
    if moved < len(page) * len(news):
        differing = [
            any(map(is_not, *cells))
            for cells in zip(zip(*news, strict=True), zip(*page.columns, strict=True), strict=True)
        ]
        page, news = page.pick(differing), [list(compress(new, differing)) for new in news]
    return page, news, aside, moved


def _version(key_id: UUID, number: int) -> KeyVersion:
    found = KeyVersion.objects.select_related(*materials.CHAIN).filter(key_id=key_id, key_version=number).first()
    if found is None:
        raise SetAside("unknown_version")
    return found
