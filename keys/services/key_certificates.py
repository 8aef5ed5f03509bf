"""Certificates of keys of the hierarchy, for whoever signs with one: asked of the app that certifies, without knowing it."""

from collections.abc import Callable

from keys.models import KeyVersion

type Finder = Callable[[KeyVersion], list[bytes]]
"""The certificate of a version and those above it, in DER; empty when there is none that is valid for signing documents."""

_finders: list[Finder] = []


def find_through(finder: Finder) -> None:
    """Ask `finder` for certificates; an app does this once, when it is ready."""
    if finder not in _finders:
        _finders.append(finder)


def chain_of(version: KeyVersion) -> list[bytes]:
    """The chain of a version, its own certificate first; empty when nobody certified it."""
    return next((found for finder in _finders if (found := finder(version))), [])
