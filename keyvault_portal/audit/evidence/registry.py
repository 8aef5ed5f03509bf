"""Files that upper layers add to every evidence pack."""

from collections.abc import Callable, Iterable

Contents = Callable[[], Iterable[bytes]]

_files: dict[str, Contents] = {}


def register_evidence(name: str, contents: Contents) -> None:
    """Add the file `name` (such as approvals.jsonl) to every pack; `contents()` yields its bytes in pieces.

    Called from AppConfig.ready; a later registration of the same name replaces the earlier one.
    """
    if "/" in name or name.startswith("."):
        raise ValueError("An evidence file has a plain name.")
    _files[name] = contents


def registered() -> dict[str, Contents]:
    """The files registered so far, by name."""
    return dict(_files)
