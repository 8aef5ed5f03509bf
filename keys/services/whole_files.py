"""Files that are complete or absent."""

import os
from collections.abc import Iterable
from pathlib import Path


def replace_whole(target: Path, pieces: Iterable[bytes]) -> None:
    """Write `pieces` beside `target` (mode 0600) and move the result into place; nothing is left after an error."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
