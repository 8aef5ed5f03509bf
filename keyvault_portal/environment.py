"""Settings from environment variables, one function a kind; a value that does not fit ends the process with a sentence.

An empty variable counts as not set. No sentence repeats a URL, which may hold a password.
"""

import math
import os
from collections.abc import Collection
from typing import Never
from urllib.parse import urlsplit


def flag(name: str, default: bool) -> bool:
    """Whether it says 1, true, yes or on; raises SystemExit for a word that says neither that nor the opposite."""
    text = os.environ.get(name) or str(default)
    if text.strip().lower() in {"1", "true", "yes", "on"}:
        return True
    if text.strip().lower() not in {"0", "false", "no", "off"}:
        _refuse(name, text, "1 or 0")
    return False


def listed(name: str, default: str = "") -> list[str]:
    """What stands between its commas."""
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def whole(name: str, default: int, *, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` up to `most`; raises SystemExit otherwise."""
    text = os.environ.get(name) or str(default)
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        _refuse(name, text, f"a whole number, at least {least}" + (f" and at most {most}" if most is not None else ""))
    return number


def seconds(name: str, default: float) -> float:
    """A time above zero; raises SystemExit otherwise."""
    text = os.environ.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        _refuse(name, text, "a number of seconds above 0, such as 5 or 0.5")
    return number


def choice(name: str, default: str, choices: Collection[str]) -> str:
    """One of `choices`, which are in capitals, however it is written; raises SystemExit otherwise."""
    text = os.environ.get(name) or default
    if text.upper() not in choices:
        _refuse(name, text, f"one of {', '.join(choices)}")
    return text.upper()


def url(name: str, *schemes: str) -> str | None:
    """A URL of one of `schemes`, None where none is set; raises SystemExit where it is not one."""
    text = os.environ.get(name)
    if not text:
        return None
    try:
        parts = urlsplit(text)
        fits = parts.scheme in schemes and text.startswith(f"{parts.scheme}://") and parts.port != 0
    except ValueError:  # a port that is none, as behind a password whose / or # is not quoted
        fits = False
    if not fits:
        starts = " or ".join(f"{scheme}://" for scheme in schemes)
        _refuse(name, None, f"a URL that starts with {starts}, with special characters of its password percent-encoded")
    return text


def _refuse(name: str, text: str | None, wanted: str) -> Never:
    found = "cannot be read" if text is None else f"is {text!r}"
    raise SystemExit(f"The setting {name} {found}: it must be {wanted}.")
