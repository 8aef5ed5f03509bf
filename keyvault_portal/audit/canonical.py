"""Canonical JSON: the one byte string of a value, and the same on every machine."""

from typing import Any

import orjson

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def dumps(value: Any) -> bytes:
    """The canonical UTF-8 JSON of `value`: keys sorted by code point, no white space, integers within 53 bits.

    Raises TypeError for anything but str, int, bool, None, list, tuple and dict with str keys: a float has
    several spellings, and what is not plain data may carry a secret along.
    """
    _check(value)
    return orjson.dumps(value, option=_OPTIONS)


def _check(value: Any) -> None:
    if value is None or isinstance(value, (str, int)):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"Canonical JSON takes str keys, not {type(key).__name__}.")
            _check(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item)
    else:
        raise TypeError(f"Canonical JSON takes str, int, bool, None, list and dict, not {type(value).__name__}.")
