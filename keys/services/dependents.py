"""What other apps have standing on a key version: they say it here, because keys never asks upward.

Data and wrapped keys are counted by the census; a certification authority or a server's certificate is known to its app alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

from keys.models import KeyVersion


@dataclass(frozen=True, slots=True)
class Dependents:
    """Sentences for people, the numbers in them: what is lost with the version, and what its replacement would mean."""

    when_destroyed: tuple[str, ...] = ()
    when_rotated: tuple[str, ...] = ()


type Asker = Callable[[KeyVersion], Dependents]

_askers: list[Asker] = []


def depend_through(asker: Asker) -> None:
    """Ask `asker` whenever a version is to be replaced or destroyed; apps do this once, when they are ready."""
    if asker not in _askers:
        _askers.append(asker)


def dependents_of(version: KeyVersion) -> Dependents:
    """What every app that registered says of this version."""
    said = [asker(version) for asker in _askers]
    return Dependents(
        tuple(line for found in said for line in found.when_destroyed),
        tuple(line for found in said for line in found.when_rotated),
    )
