"""Reading a JSON body strictly: what is not declared is refused, and every field says what is wrong with it."""

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from keys.services.operations import MAX_BATCH
from keyvault_portal.edges import HttpError, length_required
from keyvault_portal.errors import TooLarge, ValidationFailed

MAX_BODY = 10_000_000  # bytes of JSON; a batch of 1,000 items of 7 KiB fits
MAX_TEXT = 4096  # characters of a name or an address in a body

type Reader = Callable[[], bytes]
"""Gives the body of a request when asked for it, or raises what the protocol has against it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One member of an object: `read` turns its JSON value into ours or raises ValueError with a sentence."""

    name: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    required: bool = True
    default: Any = None


def check_head(content_type: str, length: int | None) -> None:
    """Refuse a body by its headers alone: 415 for another media type, 411 without a length, 413 beyond MAX_BODY."""
    media_type, _, _ = content_type.partition(";")
    if media_type.strip().lower() != "application/json":
        raise HttpError(415, "The body is not JSON.", hint="Send Content-Type: application/json.")
    if length is None:
        raise length_required()
    if length > MAX_BODY:
        raise TooLarge(
            f"The body has {length:,} bytes; at most {MAX_BODY:,} are read.", hint="Send the items in several requests."
        )


def load(body: bytes) -> dict[str, Any]:
    """The JSON object in `body` (RFC 8259); raises HttpError 400 for anything else, TooLarge beyond MAX_BODY."""
    check_head("application/json", len(body))
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The position says enough; the message of the parser could quote what it read. It has none for what is no UTF-8.
        try:
            body.decode()
        except UnicodeDecodeError as no_text:
            raise HttpError(400, f"The body is not UTF-8: it cannot be read at byte {no_text.start}.") from None
        raise HttpError(400, f"The body is not JSON: it cannot be read at character {error.pos}.") from None
    if not isinstance(value, dict):
        raise HttpError(400, "The body is not a JSON object.")
    return value


def take(value: Any, fields: Sequence[Field], ignored: set[str] | None = None) -> dict[str, Any]:
    """The declared members of a JSON object, read; raises ValidationFailed naming every member that is wrong.

    Undeclared members are wrong too, unless there is a set `ignored` to put their names into.
    """
    if type(value) is not dict:
        raise ValidationFailed("An item is a JSON object.")
    taken: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    found = 0
    for field in fields:
        name = field.name
        if name in value:
            found += 1
            try:
                taken[name] = field.read(value[name])
            except ValueError as error:
                errors[name] = [str(error)]
        elif field.required:
            errors[name] = ["This field is required."]
        else:
            taken[name] = field.default
    if found != len(value):
        known = {field.name for field in fields}
        unknown = [name[:100] for name in value if name not in known]
        if ignored is None:
            errors |= {name: ["This field is not known."] for name in unknown}
        else:
            ignored.update(unknown)
    if errors:
        raise ValidationFailed(errors=errors)
    return taken


def octets(value: Any) -> bytes:
    """Bytes from canonical standard base64 (RFC 4648, section 4)."""
    if type(value) is not str:
        raise ValueError("Give base64 text.")
    try:
        return a2b_base64(value, strict_mode=True)
    except (Base64Error, ValueError):
        raise ValueError("This is not standard base64.") from None


def batch(value: Any) -> list[Any]:
    """The items of a batch as they are; raises TooLarge beyond MAX_BATCH."""
    if type(value) is not list or not value:
        raise ValueError("Give at least one item.")
    if len(value) > MAX_BATCH:
        raise TooLarge(f"A batch holds at most {MAX_BATCH} items.", hint="Send the items in several requests.")
    return value


def text(value: Any) -> str:
    if type(value) is not str or not value:
        raise ValueError("Give text.")
    return value


def name(value: Any) -> str:
    if len(text(value)) > MAX_TEXT:
        raise ValueError(f"At most {MAX_TEXT} characters.")
    return str(value)


def context(value: Any) -> dict[str, str]:
    """Names to texts, in the order given: ciphertexts are bound to `json.dumps` of it."""
    if type(value) is not dict:
        raise ValueError("Give an object of names and texts.")
    for item in value.values():
        if type(item) is not str:
            raise ValueError("A context maps names to texts.")
    return value


def mapping(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("Give an object.")
    return value


def version(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 2**31:
        raise ValueError("Give a version number of 1 or more.")
    return value


def flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("Give true or false.")
    return value
