"""Cells that are written under the new version itself: `vault:vN:` text, the portal's own values, envelopes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from keys.crypto.compact import DIRECT_HEADER_SIZE, format_text, parse_text
from keys.crypto.envelope import Envelope, context_aad, open_envelope
from keys.crypto.errors import MalformedEnvelope
from keys.datastores.base import Cell, Page
from keys.datastores.formats import envelope_of
from keys.models import DataStore, KeyVersion
from keys.services import budget, materials, rewrap, sealing, two_places
from keys.services.ratelimit import ProviderCalls
from keys.services.recoding.base import UNREADABLE, Recoded, SetAside, one_by_one, version_of
from keys.services.recoding.compact import CompactRecoder
from keys.states import MAY_PROTECT
from keyvault_portal.errors import PortalError, WrongState

_NO_CONTEXT = (context_aad({}), b"")


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
        return new, one_by_one(self.recode, new, contexts, present)

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
        return self._decrypt(version_of(self._old.key_id, number), payload, context)[0]

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
