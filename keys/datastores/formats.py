"""How a cell says which key it stands on, in Python for one cell and in SQL for a whole column."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Protocol
from uuid import UUID

from psycopg import sql

from keys.crypto.compact import DIRECT, SEGMENT, direct_key, parse_text, segment_key
from keys.crypto.envelope import MAX_KEY_ID_CHARS, Envelope, key_named
from keys.crypto.errors import MalformedEnvelope
from keys.datastores.base import Cell, Locator


class Format(Protocol):
    """One way of writing ciphertext into a column."""

    column_types: frozenset[str]

    def locate(self, cell: Cell) -> Locator:
        """The key this cell names; raises MalformedEnvelope when it names none."""
        ...

    def group_expression(self, column: sql.Composable, column_type: str, server: int) -> sql.Composable:
        """SQL of the part of the cell that `locate_group` understands, NULL where SQL cannot tell.

        `server` is the number of its version as it says it (`server_version_num`).
        """
        ...

    def only_python_tells(self, column_type: str) -> bool:
        """Whether a cell may name a key although its `group_expression` is NULL: then `locate` has to read it."""
        ...

    def locate_group(self, value: object) -> Locator | None:
        """The locator of a group counted by `group_expression`."""
        ...


class CompactFormat:
    """bytea in the compact form, DIRECT or SEGMENT."""

    column_types = frozenset({"bytea"})

    def locate(self, cell: Cell) -> Locator:
        if not isinstance(cell, bytes) or not cell:
            raise MalformedEnvelope("not a compact ciphertext")
        if cell[0] == SEGMENT:
            return Locator("segment", data_key_id=UUID(bytes=segment_key(cell)[1]))
        if cell[0] == DIRECT:
            _, key_id, version = direct_key(cell)
            return Locator("direct", key_id=UUID(bytes=key_id), version=version)
        raise MalformedEnvelope("this compact form cannot be followed in a store")

    def group_expression(self, column: sql.Composable, column_type: str, server: int) -> sql.Composable:
        # get_byte fails on an empty value, so its length is asked first.
        return sql.SQL(
            "CASE WHEN octet_length({c}) < 18 THEN NULL WHEN get_byte({c}, 0) = 2 THEN substr({c}, 1, 18) "
            "WHEN get_byte({c}, 0) = 1 THEN substr({c}, 1, 22) END"
        ).format(c=column)

    def only_python_tells(self, column_type: str) -> bool:
        return False

    def locate_group(self, value: object) -> Locator | None:
        try:
            return self.locate(value if isinstance(value, bytes) else None)
        except MalformedEnvelope:
            return None


class VaultTextFormat:
    """text in the form `vault:vN:base64`."""

    column_types = frozenset({"text", "character varying"})

    def locate(self, cell: Cell) -> Locator:
        if not isinstance(cell, str):
            raise MalformedEnvelope("not a vault: text")
        return Locator("vault", version=parse_text(cell)[0])

    def group_expression(self, column: sql.Composable, column_type: str, server: int) -> sql.Composable:
        return sql.SQL("substring({c} from '^vault:v([1-9][0-9]{{0,9}}):')").format(c=column)

    def only_python_tells(self, column_type: str) -> bool:
        return False

    def locate_group(self, value: object) -> Locator | None:
        return Locator("vault", version=int(value)) if isinstance(value, str) else None


class EnvelopeJsonFormat:
    """The envelope recipe as JSON in a json, jsonb or text column."""

    column_types = frozenset({"json", "jsonb", "text", "character varying"})

    def locate(self, cell: Cell) -> Locator:
        if cell is None:
            raise MalformedEnvelope("no envelope")
        return Locator("envelope", arn=key_named(cell))

    def group_expression(self, column: sql.Composable, column_type: str, server: int) -> sql.Composable:
        if column_type == "jsonb":
            return sql.SQL("CASE jsonb_typeof({c} -> 'kms_key_id') WHEN 'string' THEN {c} ->> 'kms_key_id' END").format(
                c=column
            )
        if server < _IS_JSON:
            return sql.SQL("NULL::text")
        # Read as JSON, not searched: names and values may be written with escapes, and a context may hold the same name.
        # What nests too deep would end the statement, and so would a character that is JSON but no text here.
        return sql.SQL(
            "CASE WHEN octet_length({t}) - octet_length(translate({t}, '[{{', '')) < 100 THEN "
            "CASE WHEN {t} IS JSON OBJECT WITH UNIQUE KEYS THEN "
            "CASE json_typeof({t}::json -> 'kms_key_id') WHEN 'string' THEN {t}::json ->> 'kms_key_id' END END END"
        ).format(t=sql.SQL("{}::text").format(column))

    def only_python_tells(self, column_type: str) -> bool:
        return column_type != "jsonb"

    def locate_group(self, value: object) -> Locator | None:
        if isinstance(value, str) and 0 < len(value) <= MAX_KEY_ID_CHARS:
            return Locator("envelope", arn=value)
        return None


_IS_JSON = 160_000  # the first version of PostgreSQL that has it

FORMATS: Mapping[str, Format] = {
    "compact": CompactFormat(),
    "vault_text": VaultTextFormat(),
    "envelope_json": EnvelopeJsonFormat(),
}


def located(form: str, cell: Cell) -> Locator | None:
    """What a cell of this format names, None when it names no key."""
    try:
        return FORMATS[form].locate(cell)
    except MalformedEnvelope:
        return None


@dataclass(frozen=True, slots=True)
class ContextTemplate:
    """What each cell is bound to, from the store's template: `{column}` and `{pk}` stand for the cell's own."""

    template: Mapping[str, str]

    def bind(self, column: str) -> Callable[[str], bytes | None]:
        """What gives a cell of `column`, by its primary key, its associated data: `context_aad` of its own context.

        The template is written as JSON once, cut where the keys belong. It gives None when the template is empty.
        """
        if not self.template:
            return lambda pk: None
        pieces = ["{"]
        for name, value in self.template.items():
            first, *rest = json.dumps(value.replace("{column}", column)).split("{pk}")
            pieces[-1] += f"{', ' if len(pieces[0]) > 1 else ''}{json.dumps(name)}: {first}"
            pieces += rest
        pieces[-1] += "}"
        return lambda pk: encode_basestring_ascii(pk)[1:-1].join(pieces).encode()


def envelope_of(cell: Cell, bound_to: bytes | None) -> Envelope:
    """The envelope in a cell, its context checked against the row's (as associated data) when one is expected.

    jsonb forgets the order of names, and the order belongs to the associated data: the expected context brings it back.
    Raises MalformedEnvelope, also for an envelope that was moved here from another row or column.
    """
    envelope = Envelope.from_json(cell or "")
    if bound_to is None:
        return envelope
    expected = json.loads(bound_to)
    if envelope.encryption_context != expected:
        raise MalformedEnvelope("the envelope belongs to another place")
    return Envelope.from_json(json.dumps(envelope.to_dict() | {"encryption_context": expected}))
